"""Connections of exports: `GitRemoteHook` for git hosts (``git_remote``), `CommitIdentityHook` for who commits."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

from airflow.sdk import BaseHook
from airflow.sdk.exceptions import AirflowNotFoundException

from scaffolder.errors import ExportTargetError
from scaffolder.exports.contract import SecretReference
from scaffolder.exports.identity import CommitIdentity
from scaffolder.generation.git_remote import GitRemote

if TYPE_CHECKING:
    from airflow.sdk import Connection

_REMOTE_EXTRAS: Final = ("private_key", "private_key_passphrase", "host_keys", "ca_certificate")
_IDENTITY_EXTRAS: Final = ("email", "private_key")


class GitRemoteHook(BaseHook):
    """Read a git host's connection: host is the repositories' URL, with ``{name}`` for the repository's name.

    Login and password (or token) are handed to git when it asks, and stand nowhere else. ``ssh:`` URLs need the extras
    ``private_key`` (with ``private_key_passphrase`` where it has one) and ``host_keys``, the lines of ``ssh-keyscan``
    that the host's operator confirms; ``ca_certificate`` (PEM text or path) is for ``https:`` URLs.

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
        connection = find_connection(self.target_conn_id, conn_type=self.conn_type)
        host = (connection.host or "").strip()
        if not host:
            raise ExportTargetError(
                f"connection {self.target_conn_id!r} has no host; accepted is a URL such as "
                "'https://git.example.com/team/{name}.git'"
            )
        url = host if "://" in host else f"{connection.schema or 'https'}://{host}"
        extra = read_extra(self.target_conn_id, connection.extra, accepted=_REMOTE_EXTRAS)
        return GitRemote(url=url, username=connection.login, password=connection.password or None, **extra)


class CommitIdentityHook(BaseHook):
    """Read a commit identity: login is the name, the extra ``email`` the address.

    Where commits are to be signed, the extra ``private_key`` is an OpenSSH, PEM or OpenPGP key, the password its
    passphrase.

    :param identity_conn_id: a connection of type ``commit_identity``.
    """

    conn_name_attr = "identity_conn_id"
    default_conn_name = "commit_identity_default"
    conn_type = "commit_identity"
    hook_name = "Commit identity"

    def __init__(self, identity_conn_id: str = default_conn_name) -> None:
        super().__init__()
        self.identity_conn_id = identity_conn_id

    def get_conn(self) -> CommitIdentity:
        """Return the identity. Raises ExportTargetError."""
        connection = find_connection(self.identity_conn_id, conn_type=self.conn_type)
        extra = read_extra(self.identity_conn_id, connection.extra, accepted=_IDENTITY_EXTRAS)
        try:
            return CommitIdentity(
                name=connection.login or "",
                email=extra.get("email", ""),
                private_key=extra.get("private_key"),
                passphrase=connection.password or None,
            )
        except ExportTargetError as error:
            raise ExportTargetError(f"connection {self.identity_conn_id!r}: {error}") from None


def read_secret(reference: SecretReference) -> str:
    """Return the secret that lies in a connection of any type, for whoever keeps it at a host.

    Raises ExportTargetError where there is none.
    """
    conn_id = reference.connection
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ExportTargetError(f"there is no connection {conn_id!r} for a secret") from error
    if reference.field in {"password", "login", "host"}:
        value = getattr(connection, reference.field)
    else:
        value = connection.extra_dejson.get(reference.field)
    if not isinstance(value, str) or not value:
        raise ExportTargetError(
            f"connection {conn_id!r} has no {reference.field!r}; accepted is password, login, host or the name of an "
            "extra that is a text"
        )
    return value


def find_connection(conn_id: str, *, conn_type: str) -> Connection:
    """Return the connection `conn_id`. Raises ExportTargetError where there is none of this type."""
    try:
        connection = BaseHook.get_connection(conn_id)
    except AirflowNotFoundException as error:
        raise ExportTargetError(f"there is no connection {conn_id!r}; accepted is one of type {conn_type!r}") from error
    if connection.conn_type != conn_type:
        raise ExportTargetError(
            f"connection {conn_id!r} is of type {connection.conn_type!r}; accepted is {conn_type!r}"
        )
    return connection


def read_extra(conn_id: str, text: str | None, *, accepted: tuple[str, ...]) -> dict[str, str]:
    """Return the extras that are filled in. Values stand in no message: they may be keys."""
    try:
        extra: Any = json.loads(text) if text else {}
    except ValueError:
        raise ExportTargetError(f"connection {conn_id!r} has an extra that is no JSON") from None
    if not isinstance(extra, dict):
        raise ExportTargetError(f"connection {conn_id!r} has an extra that is no JSON object")
    given = {name: value for name, value in extra.items() if value not in (None, "")}
    if unknown := sorted(given.keys() - set(accepted)):
        raise ExportTargetError(f"connection {conn_id!r} has the extras {unknown}; accepted are {list(accepted)}")
    if wrong := sorted(name for name, value in given.items() if not isinstance(value, str)):
        raise ExportTargetError(f"connection {conn_id!r} has the extras {wrong} that are no text; accepted is text")
    return given
