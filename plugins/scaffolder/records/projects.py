"""Projects and who is a member of them."""

from __future__ import annotations

from scaffolder.errors import RecordConflictError, RecordNotFoundError
from scaffolder.records import project_statements as statements
from scaffolder.records.access import RecordsAccess, as_text
from scaffolder.records.models import MemberRole, Project, ProjectAccess, ProjectMember, Visibility


class ProjectRegister(RecordsAccess):
    """Projects by slug, over one open connection."""

    def create(
        self,
        slug: str,
        *,
        name: str,
        description: str = "",
        visibility: Visibility = Visibility.PRIVATE,
        owner: str | None = None,
    ) -> Project:
        """Make a project whose first member is `owner`. Raises RecordConflictError where the slug is taken."""
        values = {
            "slug": slug,
            "name": as_text(name),
            "description": as_text(description),
            "visibility": visibility.value,
            "created_by": owner,
        }
        with self.transaction():
            made = self._rows(Project, statements.CREATE_PROJECT, values)
            if not made:
                raise RecordConflictError(f"project {slug!r} is there already; accepted is a slug that is free")
            if owner is not None:
                self._execute(
                    statements.UPSERT_MEMBER, {"slug": slug, "username": owner, "role": MemberRole.OWNER.value}
                )
        return made[0]

    def get(self, slug: str) -> Project:
        """Return the record. Raises RecordNotFoundError."""
        found = self._rows(Project, statements.SELECT_PROJECT, {"slug": slug})
        if not found:
            raise RecordNotFoundError(f"there is no project {slug!r}")
        return found[0]

    def update(
        self,
        slug: str,
        *,
        name: str | None = None,
        description: str | None = None,
        visibility: Visibility | None = None,
    ) -> Project:
        """Change what is given and return the record. Raises RecordNotFoundError."""
        values = {
            "slug": slug,
            "name": None if name is None else as_text(name),
            "description": None if description is None else as_text(description),
            "visibility": visibility.value if visibility else None,
        }
        with self.transaction():
            project = self._lock(slug)
            if visibility not in {None, Visibility.OPEN} and not self._has_owner(slug):
                raise RecordConflictError(
                    f"project {slug!r} has no owner, so nobody could open it again once it is {visibility}; "
                    "accepted is to make somebody its owner first"
                )
            self._execute(statements.UPDATE_PROJECT, values)
            return self.get(project.slug)

    def delete(self, slug: str) -> None:
        """Remove a project that has generated nothing. Raises RecordNotFoundError and RecordConflictError."""
        with self.transaction():
            self._lock(slug)
            counts = self._fetch_one(statements.COUNT_RECORDS_OF_PROJECT, {"slug": slug})
            if counts and counts["generated_projects"]:
                raise RecordConflictError(
                    f"project {slug!r} has the records of {counts['generated_projects']} generated project(s), "
                    f"{counts['left_over']} of them not deleted; accepted is a project without any"
                )
            self._execute(statements.DELETE_MEMBERS, {"slug": slug})
            self._execute(statements.DELETE_PROJECT, {"slug": slug})

    # Members

    def get_access(self, slug: str, *, username: str | None) -> ProjectAccess | None:
        """Return what decides whether `username` may do something to a project; None where there is no such project."""
        found = self._rows(ProjectAccess, statements.SELECT_ACCESS, {"slug": slug, "username": username})
        return found[0] if found else None

    def list_members(self, slug: str) -> list[ProjectMember]:
        """Return the members of a project, by name."""
        return self._rows(ProjectMember, statements.SELECT_MEMBERS, {"slug": slug})

    def set_member(self, slug: str, *, username: str, role: MemberRole) -> None:
        """Make `username` a member, or give a member another role.

        Raises RecordNotFoundError, and RecordConflictError where a private project would lose its last owner.
        """
        with self.transaction():
            project = self._lock(slug)
            self._execute(statements.UPSERT_MEMBER, {"slug": slug, "username": username, "role": role.value})
            self._check_owned(project)

    def remove_member(self, slug: str, *, username: str) -> None:
        """Take a member out. Raises as `set_member`."""
        with self.transaction():
            project = self._lock(slug)
            if not self._execute(statements.DELETE_MEMBER, {"slug": slug, "username": username}):
                raise RecordNotFoundError(f"user {username!r} is no member of project {slug!r}")
            self._check_owned(project)

    def _lock(self, slug: str) -> Project:
        found = self._rows(Project, statements.LOCK_PROJECT, {"slug": slug})
        if not found:
            raise RecordNotFoundError(f"there is no project {slug!r}")
        return found[0]

    def _has_owner(self, slug: str) -> bool:
        return any(member.role is MemberRole.OWNER for member in self.list_members(slug))

    def _check_owned(self, project: Project) -> None:
        if project.visibility is not Visibility.OPEN and not self._has_owner(project.slug):
            raise RecordConflictError(
                f"project {project.slug!r} would have no owner; accepted is to make somebody else its owner first"
            )
