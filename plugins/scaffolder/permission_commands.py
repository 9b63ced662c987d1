"""The commands ``scaffolder permissions``: what Airflow's auth manager has to know of our resources."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any, Final

import typer

from scaffolder.api.resources import STOCK_ROLES, Method, Resource
from scaffolder.errors import AirflowUnavailableError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

# FAB's words.
_ACTIONS: Final[dict[Method, str]] = {
    "GET": "can_read",
    "POST": "can_create",
    "PUT": "can_edit",
    "DELETE": "can_delete",
}

permissions_app = typer.Typer(help="Permissions in Airflow's auth manager.", no_args_is_help=True)


@permissions_app.command("sync")
def sync() -> None:
    """Create our permissions in FAB's auth manager and give them to its roles Viewer, User, Op and Admin.

    Adds what is missing and takes nothing away, so it is safe to run again. Other auth managers have no permissions
    to create.
    """
    # What Airflow and FAB log is not the answer.
    with redirect_stdout(sys.stderr):
        name = _get_name()
        roles = _create() if _is_fab() else None
    if roles is None:
        typer.echo(f"{name} has no permissions to create: it decides by its own roles")
        return
    typer.echo(f"FAB's roles {', '.join(roles)} have Scaffolder's permissions")


def _get_name() -> str:
    from airflow.api_fastapi.app import get_auth_manager_cls

    return str(get_auth_manager_cls().__name__)


def _is_fab() -> bool:
    from airflow.api_fastapi.app import get_auth_manager_cls

    try:
        from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
    except ImportError:
        return False
    return issubclass(get_auth_manager_cls(), FabAuthManager)


def _create() -> list[str]:
    """Create and give the permissions; return the roles. Raises AirflowUnavailableError."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder
    from airflow.providers.fab.auth_manager.security_manager.override import FabException
    from sqlalchemy.exc import SQLAlchemyError

    wanted = {role: _name_permissions(resources) for role, resources in STOCK_ROLES.items()}
    try:
        with get_application_builder() as builder:
            builder.sm.bulk_sync_roles([{"role": role, "perms": names} for role, names in wanted.items()])
            missing = _find_missing(builder.sm, wanted)
    except (FabException, SQLAlchemyError) as error:
        raise _refuse(_describe(error)) from error
    if missing is not None:
        role, (action, resource) = missing
        raise _refuse(f"role {role!r} was not given {action} on {resource!r}")
    return list(wanted)


def _name_permissions(resources: Mapping[Resource, Iterable[Method]]) -> list[tuple[str, str]]:
    return [(_ACTIONS[method], resource.value) for resource, methods in resources.items() for method in methods]


def _find_missing(
    security_manager: Any, wanted: Mapping[str, list[tuple[str, str]]]
) -> tuple[str, tuple[str, str]] | None:
    """Return the first permission that a role has not got: FAB logs that it cannot give one, and goes on."""
    security_manager.session.expire_all()
    for role, names in wanted.items():
        found = security_manager.find_role(role)
        given = {(one.action.name, one.resource.name) for one in found.permissions} if found else set()
        for name in names:
            if name not in given:
                return role, name
    return None


def _describe(error: Exception) -> str:
    """Return what the database said; FAB's own messages are without it."""
    cause = error if error.__cause__ is None else error.__cause__
    return str(getattr(cause, "orig", None) or cause).strip().split("\n", 1)[0]


def _refuse(reason: str) -> AirflowUnavailableError:
    return AirflowUnavailableError(f"FAB's permissions cannot be written to Airflow's database: {reason}")
