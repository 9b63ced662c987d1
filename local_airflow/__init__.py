"""Runs a complete Airflow with an embedded Postgres on this machine: for `make run`, tests and benchmarks.

Not part of the distribution. `LocalAirflow` is the library; ``python -m local_airflow`` is the command line.
"""

from local_airflow.airflow_rest import AirflowRest, AirflowRestError
from local_airflow.errors import LocalAirflowError
from local_airflow.instance import LocalAirflow
from local_airflow.postgres import EmbeddedPostgres

__all__ = ["AirflowRest", "AirflowRestError", "EmbeddedPostgres", "LocalAirflow", "LocalAirflowError"]
