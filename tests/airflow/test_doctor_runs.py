"""Which runs are live, asked of Airflow's own tables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from airflow import settings
from airflow.models import DagRun
from airflow.utils.state import DagRunState
from airflow.utils.types import DagRunType
from sqlalchemy import create_engine
from sqlalchemy.engine import Engine
from sqlalchemy.orm import scoped_session, sessionmaker

from scaffolder.doctor.hook import AirflowRuns
from scaffolder.errors import AirflowUnavailableError
from tests.factories import RUN_AT


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """Airflow's database: its engine and sessions are another one's for this test."""
    engine = create_engine(f"sqlite:///{tmp_path}/airflow.db")
    monkeypatch.setattr(settings, "Session", scoped_session(sessionmaker(bind=engine)))
    yield engine
    settings.Session.remove()
    engine.dispose()


def test_queued_and_running_runs_are_live(engine: Engine) -> None:
    DagRun.metadata.create_all(engine, tables=[DagRun.__table__])
    wanted = {(f"dag{number % 3}", f"run {number}") for number in range(500)}
    with engine.begin() as connection:
        for number, state in enumerate(DagRunState):
            connection.execute(
                DagRun.__table__.insert().values(
                    dag_id=f"dag{number % 3}",
                    run_id=f"run {number}",
                    state=state,
                    run_type=DagRunType.MANUAL,
                    run_after=RUN_AT,
                    log_template_id=1,
                    clear_number=0,
                    conf={},
                )
            )
    states = list(DagRunState)
    live = {states.index(DagRunState.QUEUED), states.index(DagRunState.RUNNING)}
    assert AirflowRuns().find_live(wanted) == {(f"dag{number % 3}", f"run {number}") for number in live}
    assert AirflowRuns().find_live({("dag1", "run 0")}) == set()
    assert AirflowRuns().find_live(set()) == set()


@pytest.mark.usefixtures("engine")
def test_a_database_without_airflow_is_named() -> None:
    with pytest.raises(AirflowUnavailableError, match="no such table: dag_run.*AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"):
        AirflowRuns().find_live({("dag", "run")})
