"""GitHub through the Airflow connection of GithubHook."""

from __future__ import annotations

from scaffolder.config import get_settings
from scaffolder.errors import ExportTargetError
from scaffolder.exports.github.transport import GitHubConnection
from scaffolder.exports.hook import find_connection


def connect_github(conn_id: str) -> GitHubConnection:
    """Return GitHub as the account of the connection `conn_id`: a token, or a GitHub App. Sends no request.

    Raises ExportTargetError where there is no such connection, it is of another type, or lacks credentials.
    """
    from airflow.providers.github.hooks.github import GithubHook

    find_connection(conn_id, conn_type=GithubHook.conn_type)
    try:
        client = GithubHook(conn_id).get_conn()
    except (ValueError, OSError) as error:
        raise ExportTargetError(
            f"connection {conn_id!r} cannot be used: {error} Accepted is a token as its password, or app_id, "
            "installation_id and private_key (or key_path) of a GitHub App as extras"
        ) from error
    return GitHubConnection(client, conn_id=conn_id, settings=get_settings())
