"""Who may do what with a project, by its visibility and the user's role in it."""

from __future__ import annotations

from typing import Final

from scaffolder.errors import PermissionDeniedError, RecordNotFoundError
from scaffolder.records.models import MemberRole, ProjectAccess, Visibility
from scaffolder.records.store import ProjectRecords

_WRITERS: Final = frozenset({MemberRole.MEMBER, MemberRole.OWNER})


def may_read(access: ProjectAccess) -> bool:
    """Say whether the user may see the project and all that belongs to it."""
    return access.role is not None or access.visibility is not Visibility.PRIVATE


def check_may_write(access: ProjectAccess, *, username: str | None) -> None:
    """Raise PermissionDeniedError where the user may not generate into the project and export from it."""
    if access.role not in _WRITERS and not (access.role is None and access.visibility is Visibility.OPEN):
        raise PermissionDeniedError(
            f"user {username!r} is {_describe(access)} of project {access.project!r}; accepted are "
            f"{sorted(role.value for role in _WRITERS)}"
        )


def check_may_manage(access: ProjectAccess, *, username: str | None) -> None:
    """Raise PermissionDeniedError where the user may not change the project itself and who belongs to it."""
    if access.role is not MemberRole.OWNER:
        raise PermissionDeniedError(
            f"user {username!r} is {_describe(access)} of project {access.project!r}; accepted is {MemberRole.OWNER}"
        )


def check_may_generate(records: ProjectRecords, project: str, *, username: str | None) -> None:
    """Raise PermissionDeniedError where `username` may not generate into `project` (slug).

    A project that is not there will be made, open to all. Runs that no user triggered (schedules) act for the DAG's
    author and may generate into open projects only.
    """
    access = records.projects.get_access(project, username=username)
    if access is not None:
        check_may_write(access, username=username)


def check_may_export(records: ProjectRecords, project: str, *, username: str | None, missing: str) -> None:
    """Raise as `check_may_generate`, or RecordNotFoundError(`missing`) where the user may not even see the project."""
    access = records.projects.get_access(project, username=username)
    if access is None or not may_read(access):
        raise RecordNotFoundError(missing)
    check_may_write(access, username=username)


def _describe(access: ProjectAccess) -> str:
    return access.role.value if access.role else "no member"
