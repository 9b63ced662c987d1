"""The commands ``scaffolder permissions``: what Airflow's auth manager has to know of our resources."""

from __future__ import annotations

from typing import Final

import typer

from scaffolder.api.resources import STOCK_ROLES, Method

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
    from airflow.api_fastapi.app import get_auth_manager_cls

    name = get_auth_manager_cls().__name__
    if not _is_fab():
        typer.echo(f"{name} has no permissions to create: it decides by its own roles")
        return
    roles = _create()
    typer.echo(f"FAB's roles {', '.join(roles)} have Scaffolder's permissions")


def _is_fab() -> bool:
    from airflow.api_fastapi.app import get_auth_manager_cls

    try:
        from airflow.providers.fab.auth_manager.fab_auth_manager import FabAuthManager
    except ImportError:
        return False
    return issubclass(get_auth_manager_cls(), FabAuthManager)


def _create() -> list[str]:
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    roles = [
        {
            "role": role,
            "perms": [
                (_ACTIONS[method], resource.value) for resource, methods in resources.items() for method in methods
            ],
        }
        for role, resources in STOCK_ROLES.items()
    ]
    with get_application_builder() as builder:
        builder.sm.bulk_sync_roles(roles)
    return list(STOCK_ROLES)
