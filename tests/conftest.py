"""What all tests share: an Airflow home of their own, and one real Postgres server for the session."""

from __future__ import annotations

import itertools
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

# Airflow reads these when it is imported, so they come before anything else does.
_HOME = Path(tempfile.mkdtemp(prefix="scaffolder-tests-"))
_HOME.chmod(0o711)  # the Postgres server may run as another user and has to get through
CHECKOUT = Path(__file__).resolve().parent.parent
# What can be made again is shared by the processes of all tests: the scanner's rules take ten seconds to compile.
CACHE = Path(os.environ.setdefault("SCAFFOLDER_TEST_CACHE", str(_HOME / "cache")))
os.environ["AIRFLOW_HOME"] = str(_HOME / "airflow")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
os.environ["AIRFLOW__CORE__DAGS_FOLDER"] = str(CHECKOUT / "dags")
os.environ["AIRFLOW__CORE__PLUGINS_FOLDER"] = str(CHECKOUT / "plugins")

import psycopg  # noqa: E402

from local_airflow.postgres import EmbeddedPostgres  # noqa: E402
from scaffolder.config import Settings  # noqa: E402
from scaffolder.observability import metrics  # noqa: E402
from scaffolder.records import schema  # noqa: E402
from scaffolder.records.store import ProjectRecords  # noqa: E402

_numbers = itertools.count()


def pytest_unconfigure() -> None:
    shutil.rmtree(_HOME, ignore_errors=True)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Keep the tests of a file in one process, and all those that share the live Airflow or the API servers."""
    alone = {"tests/acceptance/test_compose.py", "tests/acceptance/test_installation.py"}
    from xdist.scheduler.loadscope import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            path = nodeid.partition("::")[0]
            if path in alone:
                return path
            folder = path.rpartition("/")[0]
            return folder if folder in ("tests/acceptance", "tests/api") else path

    return Scheduling(config, log)


@pytest.fixture(scope="session")
def postgres() -> Iterator[EmbeddedPostgres]:
    """One server for all tests."""
    server = EmbeddedPostgres(_HOME / "postgres")
    server.start()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def migrated_database(postgres: EmbeddedPostgres) -> str:
    """The name of a migrated database."""
    from sqlalchemy import make_url

    postgres.create_database("migrated")
    schema.migrate(make_url(postgres.url("migrated", driver="psycopg")))
    return "migrated"


@pytest.fixture
def empty_database(postgres: EmbeddedPostgres) -> str:
    """The name of a database of this test's own, without a schema."""
    name = f"empty_{next(_numbers)}"
    postgres.create_database(name)
    return name


@pytest.fixture
def records_database(postgres: EmbeddedPostgres, migrated_database: str) -> str:
    """The name of the migrated database, emptied for this test."""
    with psycopg.connect(postgres.url(migrated_database), autocommit=True) as connection:
        connection.execute("TRUNCATE project, agent_description, event, host_pace, notification_channel CASCADE")
        connection.execute("UPDATE installation SET has_directory = false")
    return migrated_database


@pytest.fixture
def connection(postgres: EmbeddedPostgres, records_database: str) -> Iterator[psycopg.Connection[Any]]:
    """A plain connection to the test's records."""
    with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
        yield connection


@pytest.fixture
def records(connection: psycopg.Connection[Any]) -> ProjectRecords:
    """The test's records."""
    return ProjectRecords(connection)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings with a projects directory of this test's own."""
    (tmp_path / "generated-projects").mkdir()
    return replace(
        Settings(),
        generated_projects_dir=tmp_path / "generated-projects",
        cache_dir=CACHE,
        git_timeout_seconds=60,
        agent_timeout_seconds=30,
    )


@pytest.fixture
def told() -> Iterator[list[tuple[str, dict[str, str], float]]]:
    """What metrics were told, as (name without "scaffolder.", tags, value); timers without their value."""
    found: list[tuple[str, dict[str, str], float]] = []

    def keep(metric: metrics.Metric, value: float, tags: Mapping[str, str]) -> None:
        found.append((metric.name.removeprefix("scaffolder."), dict(tags), 0 if metric.kind == "timer" else value))

    metrics.set_sink(keep)
    yield found
    metrics.set_sink(None)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """Traces, turned on, and what they have kept."""
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    # OpenTelemetry lets a process set it once.
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", provider)
    yield exporter
    provider.shutdown()
