"""GitHub through the Airflow connection of GithubHook."""

from __future__ import annotations

from airflow.sdk.exceptions import AirflowNotFoundException

from scaffolder.config import get_settings
from scaffolder.errors import ExportTargetError
from scaffolder.exports.github.transport import GitHubConnection


def connect_github(conn_id: str) -> GitHubConnection:
    """Return GitHub as the account of the connection `conn_id`: a token, or a GitHub App. Sends no request.

    Raises ExportTargetError where there is no such connection, it is of another type, or lacks credentials.
    """
    from airflow.providers.github.hooks.github import GithubHook

    accepted = f"accepted is one of type {GithubHook.conn_type!r}"
    try:
        found = GithubHook.get_connection(conn_id)
        if found.conn_type != GithubHook.conn_type:
            raise ExportTargetError(f"connection {conn_id!r} is of type {found.conn_type!r}; {accepted}")
        client = GithubHook(conn_id).get_conn()
    except AirflowNotFoundException as error:
        raise ExportTargetError(f"there is no connection {conn_id!r}; {accepted}") from error
    except (ValueError, OSError) as error:
        raise ExportTargetError(
            f"connection {conn_id!r} cannot be used: {error} Accepted is a token as its password, or app_id, "
            "installation_id and private_key (or key_path) of a GitHub App as extras"
        ) from error
    return GitHubConnection(client, conn_id=conn_id, settings=get_settings())
