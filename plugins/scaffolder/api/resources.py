"""What an auth manager knows our resources by, and what Airflow's stock roles may do with them."""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Literal

Method = Literal["GET", "POST", "PUT", "DELETE"]


class Resource(StrEnum):
    """A custom view of Airflow's auth managers."""

    CATALOGUE = "Scaffolder"  # agents, workflows, step types, templates
    PROJECTS = "Scaffolder projects"  # and their members
    GENERATED = "Scaffolder generated projects"
    EXPORTS = "Scaffolder repository exports"
    ADMINISTRATION = "Scaffolder administration"  # passes membership


_READING: Final[dict[Resource, tuple[Method, ...]]] = {
    Resource.CATALOGUE: ("GET",),
    Resource.PROJECTS: ("GET",),
    Resource.GENERATED: ("GET",),
    Resource.EXPORTS: ("GET",),
}
_WORKING: Final[dict[Resource, tuple[Method, ...]]] = {
    Resource.CATALOGUE: ("GET",),
    Resource.PROJECTS: ("GET", "POST", "PUT", "DELETE"),
    Resource.GENERATED: ("GET", "POST", "PUT", "DELETE"),
    Resource.EXPORTS: ("GET", "POST"),
}

STOCK_ROLES: Final[dict[str, dict[Resource, tuple[Method, ...]]]] = {
    "Viewer": _READING,
    "User": _WORKING,
    "Op": _WORKING,
    "Admin": {**_WORKING, Resource.ADMINISTRATION: ("PUT",)},
}
