from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres, _server_user


@pytest.fixture
def root() -> Iterator[Path]:
    # The paths of pytest's own temporary directories are too long for a socket.
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder)


@pytest.fixture(
    params=["pg", "with space, comma and %/pg", "deep/" * 40 + "pg"], ids=["plain", "odd characters", "deep"]
)
def postgres(request: pytest.FixtureRequest, root: Path) -> Iterator[EmbeddedPostgres]:
    postgres = EmbeddedPostgres(root / request.param)
    yield postgres
    postgres.stop()


def test_the_socket_lies_with_the_data_where_its_path_permits(root: Path) -> None:
    postgres = EmbeddedPostgres(root / "pg")
    assert postgres.socket_directory.parent == postgres.directory
    assert EmbeddedPostgres(root / "odd, path").socket_directory.parent != root / "odd, path"


def test_serves_wherever_the_directory_is_and_keeps_data(postgres: EmbeddedPostgres) -> None:
    assert postgres.start()
    assert not postgres.start()
    for _ in range(2):
        postgres.create_database("it's")
    postgres.create_database("other")
    with psycopg.connect(postgres.url("other")) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    postgres.stop()
    assert not postgres.is_running()
    postgres.start()
    with psycopg.connect(postgres.url("other")) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    postgres.drop_database("other")
    postgres.drop_database("other")
    with pytest.raises(psycopg.OperationalError, match="does not exist"):
        psycopg.connect(postgres.url("other"))


def test_a_stale_pid_file_does_not_keep_it_from_starting(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "pg")
    postgres.start()
    text = (postgres.data / "postmaster.pid").read_text()
    postgres.stop()
    # Postgres itself knows a stranger only by another user.
    server_user = _server_user()
    stranger = subprocess.Popen(["/bin/sleep", "60"], user=server_user.pw_uid if server_user else None)
    try:
        (postgres.data / "postmaster.pid").write_text("\n".join([str(stranger.pid), *text.splitlines()[1:]]))
        assert not postgres.is_running()
        assert postgres.start()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
        postgres.stop()


def test_an_interrupted_initialisation_is_begun_again(tmp_path: Path) -> None:
    postgres = EmbeddedPostgres(tmp_path / "pg")
    (tmp_path / "pg" / "data.incomplete").mkdir(parents=True)
    (tmp_path / "pg" / "data.incomplete" / "PG_VERSION").write_text("18\n")
    assert postgres.start()
    postgres.stop()


def test_libpq_variables_of_the_shell_change_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGHOST", "nowhere.invalid")
    monkeypatch.setenv("LC_ALL", "xx_XX")
    postgres = EmbeddedPostgres(tmp_path / "pg")
    postgres.start()
    try:
        postgres.create_database("it")
        psycopg.connect(postgres.url("it")).close()
    finally:
        postgres.stop()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root gives the server another user")
def test_opens_parents_for_passing_through_but_not_for_listing(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    postgres = EmbeddedPostgres(private / "pg")
    postgres.start()
    postgres.stop()
    assert private.stat().st_mode & 0o077 == 0o011
