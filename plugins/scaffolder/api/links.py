"""Where things are, as links: our app is below a path of Airflow's, which may itself be below one."""

from __future__ import annotations

from typing import Annotated, Final
from uuid import UUID

from fastapi import Depends, Request

PREFIX: Final = "/api/v1"
MOUNT: Final = "/scaffolder"


def find_root(request: Request) -> str:
    """Return the path that Airflow has mounted our app at."""
    root: str = request.scope.get("root_path", "")
    return root


def find_base(root: Annotated[str, Depends(find_root)]) -> str:
    """Return the path that Airflow itself is below, empty for none."""
    return root.removesuffix(MOUNT)


def link_generated(root: str, project: str, generated_id: UUID) -> str:
    """Return the path of a generated project in the API."""
    return f"{root}{PREFIX}/projects/{project}/generated/{generated_id}"


Root = Annotated[str, Depends(find_root)]
Base = Annotated[str, Depends(find_base)]
