"""`GitLabHook`: Airflow's connections of type ``gitlab``."""

from __future__ import annotations

from typing import Final

from airflow.sdk import BaseHook

from scaffolder.config import get_settings
from scaffolder.errors import ExportTargetError, ScaffolderError
from scaffolder.exports.gitlab.transport import DEFAULT_URL, GitLabConnection
from scaffolder.exports.hook import find_connection, read_extra
from scaffolder.exports.host_api import HostUnreachableError

_KINDS: Final = ("private", "oauth")
# Not "token_type": Airflow hides the values of extras with such names, and would take "private" out of all logs.
_EXTRAS: Final = ("auth", "ca_certificate")


class GitLabHook(BaseHook):
    """Read a GitLab's connection: host is its URL (``https://gitlab.com`` where there is none), password the token.

    The extra ``auth`` is ``private`` for personal, group and project access tokens, or ``oauth``;
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
        connection = find_connection(conn_id, conn_type=self.conn_type)
        if not connection.password:
            raise ExportTargetError(f"connection {conn_id!r} has no password; accepted is a token of GitLab's")
        extra = read_extra(conn_id, connection.extra, accepted=_EXTRAS)
        kind = extra.get("auth", _KINDS[0])
        if kind not in _KINDS:
            raise ExportTargetError(f"connection {conn_id!r} has an auth that is none; accepted are {list(_KINDS)}")
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
