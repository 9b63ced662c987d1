"""Airflow's real API server alone, under one of its auth managers, with users for each role and the plugin in it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import httpx2
import jwt

from local_airflow.ports import pick_port
from local_airflow.postgres import EmbeddedPostgres
from tests.conftest import CHECKOUT

AuthManager = Literal["simple", "fab"]

PASSWORD = "a-password-of-the-tests"
MALFORMED_TOKEN = "no.token.atall"
SECRET = "a-secret-of-the-tests-0123456789abcdef0123456789abcdef0123456789"
# Their roles in Airflow, in the words of SimpleAuthManager; FAB's are the same with a capital.
USERS = {
    "ann": "user",
    "mel": "user",
    "olga": "user",
    "oscar": "user",
    "vera": "user",
    "vic": "viewer",
    "root": "admin",
}
_MANAGERS = {
    "simple": "airflow.api_fastapi.auth.managers.simple.simple_auth_manager.SimpleAuthManager",
    "fab": "airflow.providers.fab.auth_manager.fab_auth_manager.FabAuthManager",
}

# All that is done before the server starts, in one process: importing Airflow takes longest.
_PREPARE = """
import json, os, sys
from airflow.cli.cli_parser import get_parser

def run(*words):
    arguments = get_parser().parse_args(words)
    arguments.func(arguments)

run("db", "migrate")
if sys.argv[1] == "fab":
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from scaffolder.permission_commands import sync
    with get_application_builder() as builder:
        builder.sm.sync_roles()
        for name, role in json.loads(sys.argv[2]).items():
            found = builder.sm.find_role(role.capitalize())
            assert builder.sm.add_user(name, name, name, f"{name}@example.com", found, password=sys.argv[3])
    sync()
    with get_application_builder() as builder:
        builder.sm.sync_roles()  # as Airflow does at every start: nothing of ours may go
run("dags", "reserialize")
for dag_id in ("plain", "export_repository"):
    run("dags", "unpause", dag_id, "--yes")
"""


@dataclass
class ApiServer:
    """A running server, and requests to it as one of `USERS`."""

    url: str
    auth_manager: AuthManager
    environment: Mapping[str, str]
    log: Path
    _tokens: dict[str, str] = field(default_factory=dict)

    @property
    def users(self) -> Mapping[str, str]:
        """Their roles in Airflow."""
        return USERS

    @cached_property
    def client(self) -> httpx2.Client:
        return httpx2.Client(base_url=self.url, timeout=60)

    def token(self, username: str) -> str:
        """Log in as people do."""
        if username not in self._tokens:
            answer = self.client.post("/auth/token", json={"username": username, "password": PASSWORD})
            assert answer.status_code == 201, answer.text
            self._tokens[username] = answer.json()["access_token"]
        return self._tokens[username]

    def expired_token(self, username: str) -> str:
        """A token like the user's, whose time is over."""
        claims = jwt.decode(self.token(username), options={"verify_signature": False})
        header = jwt.get_unverified_header(self.token(username))
        claims |= {"exp": int(time.time()) - 60, "iat": int(time.time()) - 120, "nbf": int(time.time()) - 120}
        return jwt.encode(claims, SECRET, algorithm=header["alg"], headers={"kid": header.get("kid")})

    def request(
        self,
        method: str,
        path: str,
        *,
        user: str | None = None,
        token: str | None = None,
        cookie: str | None = None,
        **options: Any,
    ) -> httpx2.Response:
        """Send a request; without `user`, `token` and `cookie` (a token, as browsers send it) an anonymous one."""
        headers = dict(options.pop("headers", {}))
        if user is not None:
            token = self.token(user)
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        if cookie is not None:
            headers["Cookie"] = f"_token={cookie}"
        return self.client.request(method, path, headers=headers, **options)


@contextmanager
def serve_api(
    root: Path,
    *,
    auth_manager: AuthManager,
    postgres: EmbeddedPostgres,
    records_database: str,
    generated_projects_dir: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ApiServer]:
    """Prepare Airflow's database, start its API server, and end it."""
    root.mkdir(parents=True, exist_ok=True)
    database = f"airflow_{auth_manager}_{os.getpid()}"
    postgres.create_database(database)
    port = pick_port(18_080 + os.getpid() % 1_000)
    passwords = root / "passwords.json"
    passwords.write_text(json.dumps(dict.fromkeys(USERS, PASSWORD)))
    records = {
        "conn_type": "postgres",
        "host": str(postgres.socket_directory),
        "port": 5432,
        "login": "postgres",
        "schema": records_database,
    }
    variables = {
        **{name: value for name, value in os.environ.items() if not name.startswith("AIRFLOW")},
        "AIRFLOW_HOME": str(root / "airflow"),
        "AIRFLOW__CORE__AUTH_MANAGER": _MANAGERS[auth_manager],
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "dags"),
        "AIRFLOW__CORE__PLUGINS_FOLDER": str(CHECKOUT / "plugins"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_USERS": ",".join(f"{name}:{role}" for name, role in USERS.items()),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_PASSWORDS_FILE": str(passwords),
        "AIRFLOW__CORE__FERNET_KEY": "",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": postgres.url(database, driver="psycopg2"),
        "AIRFLOW__DATABASE__EXTERNAL_DB_MANAGERS": (
            "airflow.providers.fab.auth_manager.models.db.FABDBManager" if auth_manager == "fab" else ""
        ),
        "AIRFLOW__API_AUTH__JWT_SECRET": SECRET,
        "AIRFLOW__API__SECRET_KEY": SECRET,
        "AIRFLOW__API__BASE_URL": f"http://127.0.0.1:{port}",
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
        "AIRFLOW__FAB__UPDATE_FAB_PERMS": "True",
        "AIRFLOW_CONN_SCAFFOLDER_DB": json.dumps(records),
        "SCAFFOLDER_GENERATED_PROJECTS_DIR": str(generated_projects_dir),
        "PYTHONPATH": str(CHECKOUT / "plugins"),
        **(environment or {}),
    }
    log = root / "api-server.log"
    with log.open("wb") as output:
        subprocess.run(
            [sys.executable, "-c", _PREPARE, auth_manager, json.dumps(USERS), PASSWORD],
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=True,
            timeout=180,
        )
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "airflow",
                "api-server",
                "--host",
                "127.0.0.1",
                "--port",
                str(port),
                "--workers",
                "1",
            ],
            env=variables,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    server = ApiServer(url=f"http://127.0.0.1:{port}", auth_manager=auth_manager, environment=variables, log=log)
    try:
        _wait_until_healthy(server, process)
        yield server
    finally:
        server.client.close()
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, 9)
            process.wait()


def _wait_until_healthy(server: ApiServer, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until:
        assert process.poll() is None, server.log.read_text()
        try:
            if server.client.get("/api/v2/version").is_success:
                return
        except httpx2.TransportError:
            time.sleep(0.2)
    raise AssertionError(server.log.read_text())
