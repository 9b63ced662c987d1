"""`GitRemoteHook`: a git host through an Airflow connection of type ``git_remote``."""

from __future__ import annotations

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from scaffolder.errors import ExportTargetError
from scaffolder.generation.git_remote import GitRemote


class GitRemoteHook(BaseHook):
    """Read a git host's connection: host is the repositories' URL, with ``{name}`` for the repository's name.

    Login and password (or token) are handed to git when it asks, and stand nowhere else.

    :param target_conn_id: a connection of type ``git_remote``.
    """

    conn_name_attr = "target_conn_id"
    default_conn_name = "git_remote_default"
    conn_type = "git_remote"
    hook_name = "Git host"

    def __init__(self, target_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.target_conn_id = target_conn_id

    def get_conn(self) -> GitRemote:
        """Return the git host. Raises ExportTargetError."""
        try:
            connection = self.get_connection(self.target_conn_id)
        except AirflowNotFoundException as error:
            raise ExportTargetError(
                f"there is no connection {self.target_conn_id!r}; accepted is one of type {self.conn_type!r}"
            ) from error
        if connection.conn_type != self.conn_type:
            raise ExportTargetError(
                f"connection {self.target_conn_id!r} is of type {connection.conn_type!r}; accepted is "
                f"{self.conn_type!r}"
            )
        host = (connection.host or "").strip()
        if not host:
            raise ExportTargetError(
                f"connection {self.target_conn_id!r} has no host; accepted is a URL such as "
                "'https://git.example.com/team/{name}.git'"
            )
        url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
        return GitRemote(url=url, username=connection.login, password=connection.password or None)
