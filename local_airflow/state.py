"""The state directory: where everything of one instance lies, and the secrets and ports it keeps."""

from __future__ import annotations

import base64
import json
import os
import secrets
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from local_airflow.errors import StateError
from local_airflow.files import write_atomically
from local_airflow.ports import is_port_free, pick_port

API_PORT = 8080
AGENT_PORT = 8090


@dataclass(frozen=True)
class StateDirectory:
    """Paths below the state directory `root`."""

    root: Path

    @property
    def airflow_home(self) -> Path:
        """AIRFLOW_HOME, also the working directory of every process."""
        return self.root / "airflow"

    @property
    def postgres(self) -> Path:
        """The embedded Postgres."""
        return self.root / "postgres"

    @property
    def processes(self) -> Path:
        """One file for each process that was started."""
        return self.root / "processes"

    @property
    def logs(self) -> Path:
        """What the processes print."""
        return self.root / "logs"

    @property
    def git_remotes(self) -> Path:
        """Bare repositories that the connection `demo_git` pushes to."""
        return self.root / "git-remotes"

    @property
    def passwords_file(self) -> Path:
        """Where SimpleAuthManager reads the passwords."""
        return self.airflow_home / "passwords.json"

    @property
    def env_file(self) -> Path:
        """Shell file with the environment of all processes, to be sourced by people."""
        return self.root / "env"

    @property
    def settings_file(self) -> Path:
        """Secrets and ports."""
        return self.root / "settings.json"

    @property
    def migrated_file(self) -> Path:
        """What the databases were last migrated to; lies with them because it is true only of them."""
        return self.postgres / "migrated"

    def create(self) -> None:
        """Create what is missing.

        Raises StateError if the place cannot be written.
        """
        # Postgres refuses to run as root and gets a user of its own, who must be able to pass through.
        mode = 0o711 if os.geteuid() == 0 else 0o700
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            self.root.chmod(mode)
            for folder in (self.airflow_home, self.processes, self.logs, self.git_remotes):
                folder.mkdir(mode=0o700, exist_ok=True)
            self._write_airflow_cfg()
        except OSError as error:
            raise StateError(
                f"cannot write to {self.root}: {error.strerror}. Use a checkout in a directory of your own."
            ) from error

    def _write_airflow_cfg(self) -> None:
        # Without a file Airflow writes its defaults there, four processes at a time.
        cfg = self.airflow_home / "airflow.cfg"
        if not cfg.exists():
            write_atomically(cfg, text="# The settings are in the environment: see ../env\n")


@dataclass(frozen=True, kw_only=True)
class InstanceSettings:
    """Secrets and ports of one instance; all processes get the same."""

    api_port: int
    agent_port: int
    jwt_secret: str = field(repr=False)
    fernet_key: str = field(repr=False)
    secret_key: str = field(repr=False)
    agent_token: str = field(repr=False)
    passwords: Mapping[str, str] = field(repr=False)

    @property
    def api_url(self) -> str:
        """Where Airflow's UI and REST API answer."""
        return f"http://127.0.0.1:{self.api_port}"

    @property
    def agent_url(self) -> str:
        """Where the bundled agent answers."""
        return f"http://127.0.0.1:{self.agent_port}"


def new_settings(*, users: Collection[str], api_port: int = API_PORT, agent_port: int = AGENT_PORT) -> InstanceSettings:
    """Return settings with fresh secrets and ports that are free now."""
    api = pick_port(api_port)
    return InstanceSettings(
        api_port=api,
        agent_port=pick_port(agent_port, avoid={api}),
        jwt_secret=secrets.token_urlsafe(48),
        fernet_key=base64.urlsafe_b64encode(secrets.token_bytes(32)).decode(),
        secret_key=secrets.token_urlsafe(48),
        agent_token=secrets.token_urlsafe(32),
        passwords={user: secrets.token_urlsafe(12) for user in users},
    )


def load_settings(directory: StateDirectory, *, users: Collection[str]) -> InstanceSettings:
    """Read the kept settings, or make new ones; add passwords of users that have none.

    Raises StateError if the file is there but not readable as settings.
    """
    try:
        text = directory.settings_file.read_text(encoding="utf-8")
    except FileNotFoundError:
        return new_settings(users=users)
    try:
        kept = InstanceSettings(**json.loads(text))
        missing = {user: secrets.token_urlsafe(12) for user in users if user not in kept.passwords}
    except (ValueError, TypeError, AttributeError) as error:
        raise StateError(
            f"{directory.settings_file} is damaged. 'make clean' begins again (and removes the records)."
        ) from error
    return replace(kept, passwords={**kept.passwords, **missing}) if missing else kept


def save_settings(directory: StateDirectory, settings: InstanceSettings) -> None:
    """Keep `settings`, and the passwords in the form SimpleAuthManager reads."""
    write_atomically(directory.settings_file, text=json.dumps(asdict(settings), indent=2) + "\n")
    write_atomically(directory.passwords_file, text=json.dumps(dict(settings.passwords)) + "\n")


def with_free_ports(settings: InstanceSettings, *, api_is_ours: bool, agent_is_ours: bool) -> InstanceSettings:
    """Return `settings` with other ports in place of those that somebody else has taken meanwhile."""
    api, agent = settings.api_port, settings.agent_port
    if not api_is_ours and not is_port_free(api):
        api = pick_port(API_PORT, avoid={agent})
    if not agent_is_ours and not is_port_free(agent):
        agent = pick_port(AGENT_PORT, avoid={api})
    return replace(settings, api_port=api, agent_port=agent)
