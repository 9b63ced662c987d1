"""Who may do what: Airflow's auth manager decides the action, membership of the project decides the row.

Airflow's administrators of our resources pass membership. What is private is not there (404) for those it is hidden
from. State changes need the token in the ``Authorization`` header: a cookie comes along with forged requests, too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from airflow.api_fastapi.core_api.security import GetUserDep
from airflow.models.dag import DagModel
from fastapi import Depends, Path, Request
from fastapi.security.utils import get_authorization_scheme_param

from scaffolder.api.records import open_records
from scaffolder.api.resources import Resource
from scaffolder.errors import PermissionDeniedError, RecordNotFoundError
from scaffolder.records.membership import check_may_manage, check_may_write, may_read
from scaffolder.records.models import GeneratedProject, MemberRole, ProjectAccess, RepositoryExport
from scaffolder.records.store import ProjectRecords

if TYPE_CHECKING:
    from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod

EXPORT_DAG: Final = "export_repository"
SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
SLUG_PATTERN: Final = "^[a-z0-9][a-z0-9-]{0,62}$"

Slug = Annotated[str, Path(pattern=SLUG_PATTERN, description="A project's slug.", examples=["payments"])]


@dataclass(frozen=True, kw_only=True)
class Caller:
    """Who asks. `user` is the auth manager's."""

    user: Any
    name: str

    def may(self, method: ResourceMethod, resource: Resource) -> bool:
        """Say whether the auth manager lets the caller do something to a kind of resource."""
        manager = get_auth_manager()
        if not manager.is_authorized_custom_view(method=method, resource_name=resource.value, user=self.user):
            return False
        # SimpleAuthManager lets everybody do everything to custom views; it knows who may change runs.
        return method == "GET" or manager.is_authorized_dag(
            method=method,
            access_entity=DagAccessEntity.RUN,
            user=self.user,
        )

    def check_may(self, method: ResourceMethod, resource: Resource) -> None:
        """Raise PermissionDeniedError where the auth manager does not let the caller."""
        if not self.may(method, resource):
            raise PermissionDeniedError(
                f"user {self.name!r} may not {method} here; what is needed is that permission on {resource.value!r}"
                + ("" if method == "GET" else ", and on DAG runs")
            )

    def may_read_dag(self, dag_id: str) -> bool:
        """Say whether the caller may see a DAG."""
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        allowed: bool = get_auth_manager().is_authorized_dag(method="GET", details=details, user=self.user)
        return allowed

    def check_may_trigger(self, dag_id: str) -> None:
        """Raise PermissionDeniedError where the caller may not start runs of a DAG."""
        details = DagDetails(id=dag_id, team_name=DagModel.get_team_name(dag_id))
        if not get_auth_manager().is_authorized_dag(
            method="POST", access_entity=DagAccessEntity.RUN, details=details, user=self.user
        ):
            raise PermissionDeniedError(f"user {self.name!r} may not trigger runs of DAG {dag_id!r}")

    def is_administrator(self) -> bool:
        """Say whether the caller passes membership.

        Those who may edit connections reach the records' database anyway; SimpleAuthManager knows them by that.
        """
        manager = get_auth_manager()
        return manager.is_authorized_custom_view(
            method="PUT", resource_name=Resource.ADMINISTRATION.value, user=self.user
        ) and manager.is_authorized_connection(method="PUT", user=self.user)


def get_caller(request: Request, user: GetUserDep) -> Caller:
    """Return who asks. Raises PermissionDeniedError for a state change that has no token but the cookie's."""
    # Read as Airflow reads it: a scheme without a token is nothing, and the cookie would count.
    scheme, token = get_authorization_scheme_param(request.headers.get("authorization"))
    if request.method not in SAFE_METHODS and (scheme.lower() != "bearer" or not token.strip()):
        raise PermissionDeniedError(
            f"{request.method} needs the token in the Authorization header; a cookie alone is not accepted"
        )
    return Caller(user=user, name=user.get_name())


CallerDep = Annotated[Caller, Depends(get_caller)]


@dataclass(frozen=True, kw_only=True)
class ProjectScope:
    """A project that the caller may work with, as far as the route's permission says."""

    caller: Caller
    project: str
    access: ProjectAccess

    def find_generated(self, records: ProjectRecords, generated_id: UUID) -> GeneratedProject:
        """Return a generated project of this project. Raises RecordNotFoundError, for those of others too."""
        found = records.get_generated_project(generated_id)
        if found.project != self.project:
            raise RecordNotFoundError(f"there is no generated project {str(generated_id)!r}")
        return found

    def find_export(self, records: ProjectRecords, generated_id: UUID, export_id: UUID) -> RepositoryExport:
        """Return an export of a generated project of this project. Raises RecordNotFoundError."""
        generated_project = self.find_generated(records, generated_id)
        found = records.exports.get(export_id)
        if found.generated_project_id != generated_project.id:
            raise RecordNotFoundError(f"there is no repository export {str(export_id)!r}")
        return found


class MayUse:
    """The caller may do what the request's method says to a kind of resource that belongs to no project."""

    def __init__(self, resource: Resource) -> None:
        self._resource = resource

    def __call__(self, request: Request, caller: CallerDep) -> Caller:
        """Return the caller. Raises PermissionDeniedError."""
        caller.check_may(_get_action(request), self._resource)
        return caller


class IsProjectMemberOrReadOnly:
    """Everybody who sees the project may read, its members may write; `role` owner: only its owners may.

    `resource` is what the auth manager is asked about.
    """

    def __init__(self, resource: Resource, *, role: MemberRole = MemberRole.MEMBER) -> None:
        self._resource = resource
        self._role = role

    def __call__(self, request: Request, project: Slug, caller: CallerDep) -> ProjectScope:
        """Return the project. Raises PermissionDeniedError and RecordNotFoundError."""
        caller.check_may(_get_action(request), self._resource)
        scope = find_readable_project(project, caller=caller)
        if request.method not in SAFE_METHODS and not caller.is_administrator():
            check = check_may_manage if self._role is MemberRole.OWNER else check_may_write
            check(scope.access, username=caller.name)
        return scope


class CanGenerateProject(IsProjectMemberOrReadOnly):
    """The caller may create generated projects here, as far as `Caller.check_may_trigger` lets them run a workflow."""

    def __init__(self) -> None:
        super().__init__(Resource.GENERATED)


class CanExportRepository(IsProjectMemberOrReadOnly):
    """The caller may export from the project, and trigger the DAG that does so."""

    def __init__(self) -> None:
        super().__init__(Resource.EXPORTS)

    def __call__(self, request: Request, project: Slug, caller: CallerDep) -> ProjectScope:
        """Return the project. Raises PermissionDeniedError and RecordNotFoundError."""
        scope = super().__call__(request, project, caller)
        caller.check_may_trigger(EXPORT_DAG)
        return scope


def find_readable_project(slug: str, *, caller: Caller) -> ProjectScope:
    """Return a project that the caller may see. Raises RecordNotFoundError."""
    with open_records() as records:
        access = records.projects.get_access(slug, username=caller.name)
    if access is None or not (may_read(access) or caller.is_administrator()):
        raise RecordNotFoundError(f"there is no project {slug!r}")
    return ProjectScope(caller=caller, project=slug, access=access)


def _get_action(request: Request) -> ResourceMethod:
    """Return the method that the auth manager is asked about."""
    if request.method in SAFE_METHODS:
        return "GET"
    methods: dict[str, ResourceMethod] = {"POST": "POST", "DELETE": "DELETE"}
    return methods.get(request.method, "PUT")
