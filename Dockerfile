# Airflow with Scaffolder: the official image, the pinned requirements, then what changes most.
FROM apache/airflow:3.3.2-python3.11

COPY --chown=airflow:0 requirements.txt /opt/scaffolder/
RUN pip install --no-cache-dir -r /opt/scaffolder/requirements.txt

RUN mkdir -p /opt/airflow/generated-projects /opt/airflow/logs

COPY --chown=airflow:0 pyproject.toml README.md LICENSE /opt/scaffolder/
COPY --chown=airflow:0 plugins /opt/scaffolder/plugins
COPY --chown=airflow:0 include /opt/scaffolder/include
RUN pip install --no-cache-dir --no-deps -e /opt/scaffolder
COPY --chown=airflow:0 dags /opt/scaffolder/dags

ENV AIRFLOW__CORE__DAGS_FOLDER=/opt/scaffolder/dags \
    AIRFLOW__CORE__PLUGINS_FOLDER=/opt/scaffolder/plugins \
    SCAFFOLDER_GENERATED_PROJECTS_DIR=/opt/airflow/generated-projects
