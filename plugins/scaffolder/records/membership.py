"""Who may do what with a project. A project without members is open to whoever Airflow lets in."""

from __future__ import annotations

from typing import Final

from scaffolder.errors import PermissionDeniedError
from scaffolder.records.models import MemberRole
from scaffolder.records.store import ProjectRecords

_MAY_GENERATE: Final = frozenset({MemberRole.MEMBER, MemberRole.OWNER})


def check_may_generate(records: ProjectRecords, project: str, *, username: str | None) -> None:
    """Raise PermissionDeniedError where `username` may not generate into `project` (slug).

    Runs that no user triggered (schedules) act for the DAG's author and may generate into open projects only.
    """
    members, role = records.get_membership(project, username=username)
    if members and role not in _MAY_GENERATE:
        raise PermissionDeniedError(
            f"user {username!r} is {role.value if role else 'no member'} of project {project!r}; accepted are "
            f"{sorted(role.value for role in _MAY_GENERATE)}"
        )


def may_read(records: ProjectRecords, project: str, *, username: str | None) -> bool:
    """Say whether `username` may see `project`: its members, and everyone where it has none."""
    members, role = records.get_membership(project, username=username)
    return not members or role is not None
