"""`GitLabHook`: Airflow's connections of type ``gitlab``."""

from __future__ import annotations

import json
from typing import Any, Final

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from scaffolder.config import get_settings
from scaffolder.errors import ExportTargetError, ScaffolderError
from scaffolder.exports.gitlab.transport import DEFAULT_URL, GitLabConnection
from scaffolder.exports.host_api import HostUnreachableError

_TOKEN_TYPES: Final = ("private", "oauth")
_EXTRAS: Final = ("token_type", "ca_certificate")


class GitLabHook(BaseHook):
    """Read a GitLab's connection: host is its URL (``https://gitlab.com`` where there is none), password the token.

    The extra ``token_type`` is ``private`` for personal, group and project access tokens, or ``oauth``;
    ``ca_certificate`` is PEM text or a path, for hosts with an authority of their own.

    :param gitlab_conn_id: a connection of type ``gitlab``.
    """

    conn_name_attr = "gitlab_conn_id"
    default_conn_name = "gitlab_default"
    conn_type = "gitlab"
    hook_name = "GitLab"

    def __init__(self, gitlab_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.gitlab_conn_id = gitlab_conn_id

    def get_conn(self) -> GitLabConnection:
        """Return GitLab as the connection's account, without a request. Raises ExportTargetError."""
        conn_id = self.gitlab_conn_id
        accepted = f"accepted is one of type {self.conn_type!r}"
        try:
            connection = self.get_connection(conn_id)
        except AirflowNotFoundException as error:
            raise ExportTargetError(f"there is no connection {conn_id!r}; {accepted}") from error
        if connection.conn_type != self.conn_type:
            raise ExportTargetError(f"connection {conn_id!r} is of type {connection.conn_type!r}; {accepted}")
        if not connection.password:
            raise ExportTargetError(f"connection {conn_id!r} has no password; accepted is a token of GitLab's")
        extra = _read_extra(conn_id, connection.extra)
        kind = extra.get("token_type", _TOKEN_TYPES[0])
        if kind not in _TOKEN_TYPES:
            raise ExportTargetError(
                f"connection {conn_id!r} has a token_type that is none; accepted are {list(_TOKEN_TYPES)}"
            )
        host = (connection.host or "").strip() or DEFAULT_URL
        return GitLabConnection(
            url=host if "://" in host else f"{connection.schema or 'https'}://{host}",
            token=connection.password,
            is_oauth=kind == "oauth",
            ca_certificate=extra.get("ca_certificate"),
            conn_id=conn_id,
            settings=get_settings(),
        )

    def test_connection(self) -> tuple[bool, str]:
        """Ask GitLab whose token it is; Airflow's connection form shows the answer."""
        try:
            connection = self.get_conn()
            answer = connection.send("GET", "/user", body=None, query=None)
        except (ScaffolderError, HostUnreachableError) as error:
            return False, str(error)
        if answer.status != 200:
            return False, f"{connection.location}: {answer.status} {connection.describe(answer)}"
        return True, f"{connection.location} knows the token as {answer.data.get('username')!r}"


def _read_extra(conn_id: str, text: str | None) -> dict[str, str]:
    """Return the extras that are filled in. Values stand in no message: they may be keys."""
    try:
        extra: Any = json.loads(text) if text else {}
    except ValueError:
        extra = None
    if not isinstance(extra, dict):
        raise ExportTargetError(f"connection {conn_id!r} has an extra that is no JSON object")
    given = {name: value for name, value in extra.items() if value not in (None, "")}
    if unknown := sorted(given.keys() - set(_EXTRAS)):
        raise ExportTargetError(f"connection {conn_id!r} has the extras {unknown}; accepted are {list(_EXTRAS)}")
    if wrong := sorted(name for name, value in given.items() if not isinstance(value, str)):
        raise ExportTargetError(f"connection {conn_id!r} has the extras {wrong} that are no text; accepted is text")
    return given
