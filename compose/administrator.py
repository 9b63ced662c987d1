"""The first user of Airflow's FAB auth manager."""

from __future__ import annotations

from compose.secret_files import SecretError

NAME = "admin"


def ensure_administrator(password: str) -> str:
    """Make the user ``admin`` with the role Admin; one that is there keeps its password. Return what was done."""
    from airflow.providers.fab.auth_manager.cli_commands.utils import get_application_builder

    with get_application_builder() as builder:
        manager = builder.sm
        if manager.find_user(NAME):
            return f"User {NAME} is there."
        role = manager.find_role("Admin")
        if not role or not manager.add_user(NAME, "Scaffolder", "Administrator", f"{NAME}@localhost", role, password):
            raise SecretError(f"user {NAME} could not be made; what FAB says is above")
    return f"User {NAME} is made. `docker compose run --rm secrets show admin_password` prints the password."
