"""One Airflow on this machine: Postgres, four processes and the bundled agent, started and stopped as one."""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from local_airflow.airflow_rest import AirflowRest
from local_airflow.environment import AIRFLOW_DATABASE, PROGRAMS, RECORDS_DATABASE, Environment, Folders
from local_airflow.errors import LocalAirflowError, ProcessDiedError
from local_airflow.files import digest_of_files
from local_airflow.health import Component, wait_until_healthy
from local_airflow.lock import exclusive_lock
from local_airflow.migrations import Migration, is_migrated, migrate
from local_airflow.ports import is_port_free
from local_airflow.postgres import EmbeddedPostgres
from local_airflow.processes import ProcessTable
from local_airflow.state import (
    InstanceSettings,
    StateDirectory,
    load_settings,
    save_settings,
    with_free_ports,
)

AGENT = "agent"
API_SERVER = "api-server"
AIRFLOW_COMMANDS: Mapping[str, Sequence[str]] = {
    API_SERVER: ("api-server",),
    # Airflow's log servers listen on all interfaces. Here the API server reads the same files.
    "scheduler": ("scheduler", "--skip-serve-logs"),
    "dag-processor": ("dag-processor",),
    "triggerer": ("triggerer", "--skip-serve-logs"),
}
# Of the instance's own programs, which come first on its PATH.
SCAFFOLDER_MIGRATION: Sequence[str] = ("scaffolder", "db", "migrate")
_RESTART_TIMEOUT_SECONDS = 10.0
# Shorter than Airflow's triggerer takes at its worst: whoever starts again takes over what it left.
_STOP_TIMEOUT_SECONDS = 3.0
_ENOUGH_CORES = 4
# The API server takes longest. With few cores it gets one of its own while the others start one after the
# other: 15 s instead of 19 s with two cores.
_START_DELAY_SECONDS = {"scheduler": 4.0, "triggerer": 7.0}
_START_TIMEOUT_SECONDS = 180.0


class LocalAirflow:
    """An instance whose state lies in `state_dir`.

    `include_folder` holds the bundled agent (``demo_agent``); None starts no agent. `users` are
    SimpleAuthManager's, name to role. `environment` adds or replaces variables of all processes,
    ``AIRFLOW__SECTION__KEY`` included. `migrate_records` is the command that migrates the records'
    database; None leaves that database empty. `programs` is the ``bin`` of the environment that Airflow runs from;
    the agent always runs from this process's.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        dags_folder: Path,
        plugins_folder: Path,
        generated_projects_dir: Path,
        include_folder: Path | None = None,
        users: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        migrate_records: Sequence[str] | None = SCAFFOLDER_MIGRATION,
        programs: Path = PROGRAMS,
        report: Callable[[str], None] = lambda _message: None,
    ) -> None:
        self.directory = StateDirectory(state_dir.absolute())
        self.postgres = EmbeddedPostgres(self.directory.postgres)
        self._folders = Folders(
            dags=dags_folder.absolute(),
            plugins=plugins_folder.absolute(),
            generated_projects=generated_projects_dir.absolute(),
        )
        self._include_folder = include_folder.absolute() if include_folder else None
        self._users = dict(users or {"admin": "admin"})
        self._overrides = dict(environment or {})
        self._migrate_records = migrate_records
        self._programs = programs
        self._report = report
        self._table = ProcessTable(
            self.directory.processes,
            working_directory=self.directory.airflow_home,
            logs=self.directory.logs,
        )
        self._clients: dict[str, AirflowRest] = {}
        self._settings: InstanceSettings | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def settings(self) -> InstanceSettings:
        """Ports and secrets; what was kept if the instance is not started by this object."""
        if self._settings is None:
            self._settings = load_settings(self.directory, users=self._users)
        return self._settings

    @property
    def url(self) -> str:
        """Where Airflow's UI and REST API answer."""
        return self.settings.api_url

    @property
    def rest(self) -> AirflowRest:
        """Airflow's REST API as ``admin``."""
        return self.rest_as("admin")

    def rest_as(self, username: str) -> AirflowRest:
        """Return Airflow's REST API as one of the users."""
        if username not in self._clients:
            password = self.settings.passwords[username]
            self._clients[username] = AirflowRest(self.url, username=username, password=password)
        return self._clients[username]

    @property
    def records_url(self) -> str:
        """The URL of the records' database."""
        return self.postgres.url(RECORDS_DATABASE)

    @property
    def airflow_url(self) -> str:
        """The URL of Airflow's metadata database."""
        return self.postgres.url(AIRFLOW_DATABASE)

    def environment(self) -> dict[str, str]:
        """Return the complete environment of the instance's processes, to run a command in it."""
        return self._environment().complete(os.environ)

    def start(self) -> None:
        """Start what does not run, restart what runs old code or settings, and wait until all are healthy.

        What this call has started is stopped again if it fails or is interrupted. Raises LocalAirflowError.
        """
        self.directory.create()
        with exclusive_lock(self.directory.root / "start.lock", doing="starting or stopping this Airflow"):
            before = set(self.running())
            try:
                self._start_on_free_ports()
            except BaseException:
                self._stop([name for name in self._table.names() if name not in before])
                if "postgres" not in before:
                    self.postgres.stop()
                raise

    def stop(self) -> list[str]:
        """End all processes of the instance, whoever started them, and return the names of those that ran."""
        if not self.directory.root.is_dir():
            return []
        with exclusive_lock(self.directory.root / "start.lock", doing="starting or stopping this Airflow"):
            stopped = self._stop(self._table.names())
            if self.postgres.is_running():
                self.postgres.stop()
                stopped.append("postgres")
            return stopped

    def running(self) -> dict[str, int]:
        """Return name and pid of the processes that run."""
        pids = {name: self._table.pid(name) for name in self._table.names()}
        pids["postgres"] = self.postgres.pid()
        return {name: pid for name, pid in pids.items() if pid is not None}

    def restart(self, name: str) -> None:
        """End one process in order, start it again and wait until it is healthy."""
        component = self._component(name)
        self._table.stop([name], timeout_seconds=_RESTART_TIMEOUT_SECONDS)
        self._launch([component], all_components=[component])

    def kill(self, name: str) -> None:
        """Kill one process as a crash would; `restart` brings it back."""
        self._table.kill(name)

    def log_of(self, name: str) -> Path:
        """Return the log file of one process."""
        return self._table.log_of(name)

    def _start_on_free_ports(self) -> None:
        try:
            self._start()
        except ProcessDiedError:
            # Between the choice of a port and its use some seconds pass, in which another checkout may take
            # it.
            self._stop([name for name in (API_SERVER, AGENT) if self._table.pid(name) is None])
            if is_port_free(self.settings.api_port) and is_port_free(self.settings.agent_port):
                raise
            self._start()

    def _start(self) -> None:
        if self.postgres.start():
            self._report("Postgres is up")
        self._settle_settings()
        components = self._components()
        version = self._schema_version()
        migrated = is_migrated(self.directory.migrated_file, version=version)
        stale = [component for component in components if self._is_stale(component, migrated=migrated)]
        self._stop([component.name for component in stale])
        if not migrated:
            self._report("Preparing the databases")
            migrate(
                self._migrations(),
                postgres=self.postgres,
                environment=self.environment(),
                stamp=self.directory.migrated_file,
                version=version,
            )
        self._launch(stale, all_components=components)

    def _settle_settings(self) -> None:
        running = self.running()
        kept = load_settings(self.directory, users=self._users)
        self._settings = with_free_ports(kept, api_is_ours=API_SERVER in running, agent_is_ours=AGENT in running)
        self._close_clients()
        self._folders.generated_projects.mkdir(parents=True, exist_ok=True)
        save_settings(self.directory, self._settings)
        self._environment().write_env_file()

    def _launch(self, components: Sequence[Component], *, all_components: Sequence[Component]) -> None:
        started_at: dict[str, float] = {}
        begin = time.monotonic()
        few_cores = (os.cpu_count() or 1) < _ENOUGH_CORES
        for component in sorted(components, key=_start_delay):
            if few_cores and len(components) > 1:
                time.sleep(max(0.0, begin + _start_delay(component) - time.monotonic()))
            started_at[component.name] = time.time()
            self._table.start(
                component.name,
                command=component.command,
                environment=component.environment,
                fingerprint=component.fingerprint,
            )
        wait_until_healthy(
            all_components,
            table=self._table,
            started_at=started_at,
            timeout_seconds=_START_TIMEOUT_SECONDS,
            report=self._report,
        )

    def _stop(self, names: Sequence[str]) -> list[str]:
        self._close_clients()
        return self._table.stop(names, timeout_seconds=_STOP_TIMEOUT_SECONDS)

    def _close_clients(self) -> None:
        for client in self._clients.values():
            client.close()
        self._clients.clear()

    def _is_stale(self, component: Component, *, migrated: bool) -> bool:
        return (
            self._table.pid(component.name) is None
            or not self._table.has_fingerprint(component.name, fingerprint=component.fingerprint)
            or not (migrated or component.name == AGENT)
        )

    def _environment(self) -> Environment:
        return Environment(
            directory=self.directory,
            settings=self.settings,
            folders=self._folders,
            socket_directory=self.postgres.socket_directory,
            users=self._users,
            overrides=self._overrides,
            programs=self._programs,
        )

    def _schema_version(self) -> str:
        records = digest_of_files([self._folders.plugins / "scaffolder" / "records"])
        return f"airflow {_airflow_version()}, records {records}, {self._migrate_records is not None}\n"

    def _migrations(self) -> list[Migration]:
        logs = self.directory.logs
        airflow = Migration(
            database=AIRFLOW_DATABASE,
            command=(str(self._programs / "python"), "-m", "airflow", "db", "migrate"),
            log=logs / "airflow-migration.log",
        )
        records = Migration(
            database=RECORDS_DATABASE,
            command=self._migrate_records or (shutil.which("true") or "true",),
            log=logs / "records-migration.log",
        )
        return [airflow, records]

    def _component(self, name: str) -> Component:
        for component in self._components():
            if component.name == name:
                return component
        raise LocalAirflowError(f"no process {name!r}; there are {[c.name for c in self._components()]}")

    def _components(self) -> list[Component]:
        environment = self.environment()
        code = digest_of_files([self._folders.plugins])
        fingerprint = _fingerprint(environment, _airflow_version(), code)
        url = self.settings.api_url
        components = [
            Component(
                name=name,
                command=(str(self._programs / "python"), "-m", "airflow", *command),
                environment=environment,
                fingerprint=fingerprint,
                health_url=f"{url}/api/v2/monitor/health",
                # The first task would otherwise wait some seconds for this part of the server to be built.
                warm_up_url=f"{url}/execution/health" if name == API_SERVER else None,
            )
            for name, command in AIRFLOW_COMMANDS.items()
        ]
        agent = self._agent(environment)
        return components if agent is None else [agent, *components]

    def _agent(self, environment: Mapping[str, str]) -> Component | None:
        if self._include_folder is None:
            return None
        port = self.settings.agent_port
        variables = {**environment, "DEMO_AGENT_TOKEN": self.settings.agent_token}
        variables["PYTHONPATH"] = str(self._include_folder)
        code = digest_of_files([self._include_folder / "demo_agent"])
        return Component(
            name=AGENT,
            command=(sys.executable, "-m", "demo_agent", "--host", "127.0.0.1", "--port", str(port)),
            environment=variables,
            fingerprint=_fingerprint({}, self.settings.agent_token, str(port), code),
            health_url=f"{self.settings.agent_url}/health",
        )


def _start_delay(component: Component) -> float:
    return _START_DELAY_SECONDS.get(component.name, 0.0)


def _fingerprint(environment: Mapping[str, str], *more: str) -> str:
    ours = {k: v for k, v in environment.items() if k.startswith(("AIRFLOW", "SCAFFOLDER"))}
    return hashlib.sha256(json.dumps([sorted(ours.items()), more]).encode()).hexdigest()


def _airflow_version() -> str:
    return importlib.metadata.version("apache-airflow-core")
