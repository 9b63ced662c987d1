from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import psycopg
import pytest
from sqlalchemy import make_url

import scaffolder
from local_airflow.postgres import EmbeddedPostgres
from scaffolder.errors import RecordsUnavailableError, SchemaVersionError
from scaffolder.records import schema

TABLES = {
    "installation",
    "project",
    "project_member",
    "generated_project",
    "project_commit",
    "file_change",
    "agent_call",
    "agent_circuit",
    "agent_description",
    "endpoint",
    "host_pace",
    "requested_run",
    "notification",
    "notification_channel",
    "repository_export",
    "event",
}


def list_tables(postgres: EmbeddedPostgres, database: str) -> set[str]:
    with psycopg.connect(postgres.url(database)) as connection:
        rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return {row[0] for row in rows}


def list_functions(postgres: EmbeddedPostgres, database: str) -> set[str]:
    query = "SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace"
    with psycopg.connect(postgres.url(database)) as connection:
        return {row[0] for row in connection.execute(query).fetchall()}


def test_migrates_up_and_down_and_up_again(postgres: EmbeddedPostgres, empty_database: str) -> None:
    url = make_url(postgres.url(empty_database, driver="psycopg"))
    assert schema.migrate(url) == schema.LATEST_REVISION
    assert list_tables(postgres, empty_database) == TABLES | {"alembic_version"}
    assert schema.migrate(url, revision="base") == "base"
    assert list_tables(postgres, empty_database) == {"alembic_version"}
    assert list_functions(postgres, empty_database) == set()
    assert schema.migrate(url) == schema.LATEST_REVISION
    assert schema.check(url) == schema.LATEST_REVISION


def test_files_survive_the_way_up_and_down(postgres: EmbeddedPostgres, empty_database: str) -> None:
    url = make_url(postgres.url(empty_database, driver="psycopg"))
    schema.migrate(url, revision="0001")
    fill = """
        INSERT INTO project (slug, name) VALUES ('default', 'default');
        INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params)
        SELECT id::uuid, 1, 'x', 'x', 'x', id, now(), '{}'
        FROM unnest(ARRAY['00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-00000000000b']) id;
        INSERT INTO project_file
        SELECT g.id, path, repeat('a', 64), 3, 33188, 'step:' || step, step
        FROM generated_project g, (VALUES ('b', 'more'), ('a', 'files'), ('a/ü', 'files')) f (path, step);
    """
    rows = "SELECT * FROM project_file ORDER BY generated_project_id, path"
    with psycopg.connect(postgres.url(empty_database), autocommit=True) as connection:
        connection.execute(fill)
        before = connection.execute(rows).fetchall()
        assert len(before) == 6
        for revision in ("head", "0001", "head"):
            schema.migrate(url, revision=revision)
            assert connection.execute(rows).fetchall() == before


def test_migrating_twice_changes_nothing(postgres: EmbeddedPostgres, records_database: str) -> None:
    url = make_url(postgres.url(records_database, driver="psycopg"))
    before = list_tables(postgres, records_database)
    assert schema.migrate(url) == schema.LATEST_REVISION
    assert list_tables(postgres, records_database) == before


def test_eight_migrations_at_once_all_succeed(postgres: EmbeddedPostgres, empty_database: str) -> None:
    code = (
        "import sys; from sqlalchemy import make_url; from scaffolder.records import schema\n"
        "print(schema.migrate(make_url(sys.argv[1])))"
    )
    url = postgres.url(empty_database, driver="psycopg")
    path = str(Path(scaffolder.__file__).parent.parent)
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code, url], env={"PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        for _ in range(8)
    ]
    answers = [process.communicate(timeout=60) for process in processes]
    assert [answer[0].decode().strip() for answer in answers] == [schema.LATEST_REVISION] * 8, answers
    assert list_tables(postgres, empty_database) == TABLES | {"alembic_version"}


def test_check_names_the_remedy_for_an_empty_database(postgres: EmbeddedPostgres, empty_database: str) -> None:
    with pytest.raises(
        SchemaVersionError, match="at revision None, this version needs '.*': run `scaffolder db migrate`"
    ):
        schema.check(make_url(postgres.url(empty_database, driver="psycopg")))


def test_a_schema_of_a_later_version_is_left_to_that_version(postgres: EmbeddedPostgres, empty_database: str) -> None:
    url = make_url(postgres.url(empty_database, driver="psycopg"))
    schema.migrate(url)
    with psycopg.connect(postgres.url(empty_database)) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    way_back = rf"'9999'.* install the version that has it, .* --revision {schema.LATEST_REVISION}`"
    with pytest.raises(SchemaVersionError, match=way_back):
        schema.check(url)
    for revision in ("head", "0001", "base"):
        with pytest.raises(SchemaVersionError, match=way_back):
            schema.migrate(url, revision=revision)
    assert list_tables(postgres, empty_database) >= TABLES


def test_says_that_the_database_is_away() -> None:
    with pytest.raises(RecordsUnavailableError, match="cannot be used now"):
        schema.check(make_url("postgresql+psycopg://nobody@127.0.0.1:9/none"))


def test_the_latest_revision_is_the_newest_migration() -> None:
    versions = Path(schema.__file__).parent / "migrations" / "versions"
    revisions = [found[1] for path in versions.glob("[0-9]*.py") if (found := re.match(r"(\d+)_", path.name))]
    assert max(revisions) == schema.LATEST_REVISION
