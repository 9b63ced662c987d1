"""The environment variables that configure Airflow and Scaffolder, for processes and for people's shells."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from local_airflow.files import write_atomically
from local_airflow.state import InstanceSettings, StateDirectory

AIRFLOW_DATABASE = "airflow"
RECORDS_DATABASE = "scaffolder"
PROGRAMS = Path(sys.executable).parent
_LOOPBACK = "127.0.0.1,localhost"

# What a user's shell may hold and what would change our processes: Airflow's settings, and libpq's defaults.
_FOREIGN_PREFIXES = ("AIRFLOW__", "PG")
_FOREIGN_NAMES = frozenset({"AIRFLOW_HOME", "AIRFLOW_CONFIG", "PYTHONHOME", "PYTHONSTARTUP"})


@dataclass(frozen=True, kw_only=True)
class Folders:
    """The folders that an instance works on."""

    dags: Path
    plugins: Path
    generated_projects: Path


@dataclass(frozen=True, kw_only=True)
class Environment:
    """All variables of an instance. `programs` is the directory of the commands ``airflow`` and ``scaffolder``."""

    directory: StateDirectory
    settings: InstanceSettings
    folders: Folders
    socket_directory: Path
    users: Mapping[str, str]
    overrides: Mapping[str, str] = field(default_factory=dict)
    programs: Path = PROGRAMS

    def variables(self) -> dict[str, str]:
        """Return what differs from the surrounding environment."""
        return {
            "AIRFLOW_HOME": str(self.directory.airflow_home),
            "AIRFLOW_CONN_SCAFFOLDER_DB": self._records_connection(),
            "SCAFFOLDER_GENERATED_PROJECTS_DIR": str(self.folders.generated_projects),
            "SCAFFOLDER_ADMINISTRATORS": ",".join(name for name, role in self.users.items() if role == "admin"),
            **_names(self._places()),
            **_names(_LIVELY),
            **_names(_QUIET),
            "SCARF_ANALYTICS": "false",
            "DO_NOT_TRACK": "1",
            **self.overrides,
        }

    def complete(self, surrounding: Mapping[str, str]) -> dict[str, str]:
        """Return the environment of a process: ours, and of `surrounding` what does not interfere."""
        kept = {name: value for name, value in surrounding.items() if not _is_foreign(name)}
        # A company's proxy must not see, and cannot serve, requests to this machine.
        for name in ("NO_PROXY", "no_proxy"):
            kept[name] = ",".join(filter(None, (surrounding.get(name), _LOOPBACK)))
        kept["PATH"] = f"{self.programs}:{surrounding.get('PATH', '')}"
        return kept | self.variables()

    def write_env_file(self) -> None:
        """Write the file that people source; it holds secrets, so only its owner may read it."""
        lines = [f"export {name}={quote(value)}" for name, value in sorted(self.variables().items())]
        path = f'export PATH={quote(str(self.programs))}:"$PATH"'
        write_atomically(self.directory.env_file, text="\n".join([*lines, path, ""]), mode=0o600)

    def _records_connection(self) -> str:
        return json.dumps(
            {
                "conn_type": "postgres",
                "host": str(self.socket_directory),
                "port": 5432,
                "login": "postgres",
                "schema": RECORDS_DATABASE,
            }
        )

    def _places(self) -> dict[str, str]:
        url = self.settings.api_url
        return {
            "core.dags_folder": str(self.folders.dags),
            "core.plugins_folder": str(self.folders.plugins),
            "core.execution_api_server_url": f"{url}/execution/",
            "core.fernet_key": self.settings.fernet_key,
            "core.simple_auth_manager_users": ",".join(f"{n}:{role}" for n, role in self.users.items()),
            "core.simple_auth_manager_passwords_file": str(self.directory.passwords_file),
            "database.sql_alchemy_conn": f"postgresql+psycopg2://postgres:@/{AIRFLOW_DATABASE}?host="
            f"{self.socket_directory}&port=5432",
            "api.base_url": url,
            "api.host": "127.0.0.1",
            "api.port": str(self.settings.api_port),
            "api.secret_key": self.settings.secret_key,
            "api_auth.jwt_secret": self.settings.jwt_secret,
        }


# Settings that make an instance on a laptop answer quickly; production wants Airflow's defaults.
_LIVELY = {
    "core.executor": "LocalExecutor",
    "core.parallelism": "8",
    "core.dags_are_paused_at_creation": "False",
    "core.load_examples": "False",
    "core.auth_manager": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    # The default asks the name server for this machine's name.
    "core.hostname_callable": "socket.gethostname",
    "core.min_serialized_dag_update_interval": "5",
    "scheduler.scheduler_idle_sleep_time": "0.1",
    # What a killed scheduler was running is run again after seconds, not after five minutes.
    "scheduler.orphaned_tasks_check_interval": "5",
    "scheduler.scheduler_health_check_threshold": "15",
    "workers.min_heartbeat_interval": "1",
    # What a killed triggerer was waiting for is taken over after 10 s, not 30 s.
    "triggerer.job_heartbeat_sec": "2",
    "triggerer.triggerer_health_check_threshold": "10",
    "dag_processor.refresh_interval": "10",
    "dag_processor.min_file_process_interval": "15",
    "api.workers": "1",
}
_QUIET = {
    "usage_data_collection.enabled": "False",
    "logging.colored_console_log": "False",
}


def quote(value: str) -> str:
    """Return `value` in single quotes as any POSIX shell reads it, line breaks included."""
    quoted = shlex.quote(value)
    return quoted if quoted.startswith("'") else f"'{quoted}'"


def _names(settings: Mapping[str, str]) -> dict[str, str]:
    return {f"AIRFLOW__{name.upper().replace('.', '__')}": value for name, value in settings.items()}


def _is_foreign(name: str) -> bool:
    return name in _FOREIGN_NAMES or name.startswith(_FOREIGN_PREFIXES)
