"""`AirflowRuns`: DAG runs as Airflow's own database knows them."""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import Final

from scaffolder.errors import AirflowUnavailableError

_RUNS_PER_STATEMENT: Final = 200


class AirflowRuns:
    """Implements `Runs`, in processes that may read Airflow's database: not in tasks."""

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """See `Runs`."""
        from airflow.models import DagRun
        from airflow.utils.session import create_session
        from airflow.utils.state import DagRunState
        from sqlalchemy import select, tuple_
        from sqlalchemy.exc import SQLAlchemyError

        live: set[tuple[str, str]] = set()
        remaining = iter(runs)
        try:
            while chunk := list(islice(remaining, _RUNS_PER_STATEMENT)):
                statement = select(DagRun.dag_id, DagRun.run_id).where(
                    tuple_(DagRun.dag_id, DagRun.run_id).in_(chunk),
                    DagRun.state.in_((DagRunState.QUEUED, DagRunState.RUNNING)),
                )
                with create_session() as session:
                    live.update((str(dag_id), str(run_id)) for dag_id, run_id in session.execute(statement))
        except SQLAlchemyError as error:
            reason = str(getattr(error, "orig", None) or error).strip().split("\n", 1)[0]
            raise AirflowUnavailableError(
                f"Airflow's database cannot tell which runs are live: {reason}. Check AIRFLOW_HOME and "
                "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN of this process"
            ) from error
        return live
