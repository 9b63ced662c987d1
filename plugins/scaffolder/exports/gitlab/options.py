"""What can be said of an export to GitLab. Names and limits follow GitLab's REST API documentation."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Final, Literal, Self

from pydantic import Field, model_validator

from scaffolder.exports.change_request import ChangeRequestOptions
from scaffolder.exports.contract import BranchName, ExportOptions, SecretReference, WebhookUrl
from scaffolder.exports.hosted import OnConflict

# What projects may be called that are there already; of new ones GitLab wants more, and says so.
ProjectPath = Annotated[str, Field(pattern=r"^(?!\.{1,2}\Z)(?!.*\.(git|atom)\Z)[A-Za-z0-9_.][A-Za-z0-9_.-]{0,254}\Z")]
NamespacePath = Annotated[
    str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*){0,20}\Z", max_length=255)
]
Username = Annotated[str, Field(pattern=r"^[A-Za-z0-9_.-]{1,255}\Z")]
Topic = Annotated[str, Field(pattern=r"^[^,\x00-\x1f\x7f]{1,255}\Z")]
VariableKey = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,255}\Z")]
Access = Literal["disabled", "private", "enabled"]
ProtectionRole = Literal["no_one", "developer", "maintainer", "admin"]
MemberRole = Literal["guest", "planner", "reporter", "developer", "maintainer", "owner"]
WebhookEvent = Literal[
    "push",
    "tag_push",
    "issues",
    "confidential_issues",
    "merge_requests",
    "note",
    "confidential_note",
    "job",
    "pipeline",
    "wiki_page",
    "deployment",
    "releases",
    "feature_flag",
]

# Roles as numbers: https://docs.gitlab.com/api/project_members and https://docs.gitlab.com/api/protected_branches
LEVELS: Final = {
    "no_one": 0,
    "guest": 10,
    "planner": 15,
    "reporter": 20,
    "developer": 30,
    "maintainer": 40,
    "owner": 50,
    "admin": 60,
}

_DRAFT: Final = "Draft: "
_TITLE_CHARACTERS: Final = 255


class CiOptions(ExportOptions):
    """How pipelines run."""

    config_path: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*\Z")] | None = None
    shared_runners: bool | None = None
    group_runners: bool | None = None
    default_git_depth: Annotated[int, Field(ge=0, le=1000)] | None = None
    timeout_seconds: Annotated[int, Field(ge=600, le=2_592_000)] | None = None
    git_strategy: Literal["fetch", "clone"] | None = None
    auto_cancel_pending_pipelines: Literal["enabled", "disabled"] | None = None
    auto_devops: bool | None = None
    auto_devops_deploy_strategy: Literal["continuous", "manual", "timed_incremental"] | None = None
    public_jobs: bool | None = None


class Features(ExportOptions):
    """Who may use which part of a project: nobody, its members, or everyone who sees the project."""

    issues: Access | None = None
    wiki: Access | None = None
    snippets: Access | None = None
    merge_requests: Access | None = None
    packages: Access | None = None
    container_registry: Access | None = None
    ci: Access | None = None


class ProtectedBranch(ExportOptions):
    """A branch, or a wildcard, and who may do what with it."""

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x20\x7f]*\Z")]
    push: ProtectionRole = "maintainer"
    merge: ProtectionRole = "maintainer"
    unprotect: Literal["developer", "maintainer", "admin"] | None = None
    allow_force_push: bool = False
    code_owner_approval: bool = False


class Member(ExportOptions):
    """A user or a group and its role; `expires` is the first day without it."""

    user: Username | None = None
    group: NamespacePath | None = None
    role: MemberRole = "developer"
    expires: date | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.user is None) == (self.group is None):
            raise ValueError("accepted is one of user and group")
        return self


class Variable(ExportOptions):
    """A CI/CD variable. A `value` stands in the export's record, a `secret` comes from a connection."""

    key: VariableKey
    value: Annotated[str, Field(max_length=10_000)] | None = None
    secret: SecretReference | None = None
    masked: bool = False
    hidden: bool = False
    protected: bool = False
    raw: bool = False
    environment_scope: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f]*\Z")] = "*"
    variable_type: Literal["env_var", "file"] = "env_var"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.value is None) == (self.secret is None):
            raise ValueError("accepted is one of value and secret")
        return self


class Label(ExportOptions):
    """A label; `color` is six hexadecimal digits."""

    name: Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^,\x00-\x1f\x7f]*\Z")]
    color: Annotated[str, Field(pattern=r"^#?[0-9A-Fa-f]{6}\Z")] = "6699cc"
    description: str = ""


class Webhook(ExportOptions):
    """Where GitLab reports events. The secret token comes from a connection."""

    url: WebhookUrl
    events: Annotated[list[WebhookEvent], Field(min_length=1)] = ["push"]
    secret: SecretReference | None = None
    branch_filter: Annotated[str, Field(max_length=255)] | None = None
    verify_certificate: bool = True


class MergeRequestOptions(ChangeRequestOptions):
    """A merge request in a project that is there already.

    `auto_merge` merges it, by the project's merge method, as soon as its pipeline has succeeded and all checks have
    passed.
    """

    auto_merge: bool = False
    squash: bool | None = None
    remove_source_branch: bool | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.draft and self.auto_merge:
            raise ValueError("a draft is not merged; accepted is one of draft and auto_merge")
        if self.draft and len(_DRAFT + (self.title or "")) > _TITLE_CHARACTERS:
            raise ValueError(f"a draft's title has up to {_TITLE_CHARACTERS - len(_DRAFT)} characters")
        if wrong := [label for label in self.labels if "," in label]:
            raise ValueError(f"labels {wrong} have a comma, which separates labels")
        return self

    def mark_title(self, title: str) -> str:
        """Return the title by which GitLab knows whether it is a draft."""
        return f"{_DRAFT}{title}" if self.draft else title


class GitLabOptions(ExportOptions):
    """The options of the target ``gitlab``.

    Without `merge_request` a project is made, named like the generated project, in the connection's own namespace or in
    `namespace`, the full path of a group. `codeowners` becomes ``.gitlab/CODEOWNERS``, in a commit on top.
    """

    repository: ProjectPath | None = None
    namespace: NamespacePath | None = None
    on_conflict: OnConflict = "fail"
    visibility: Literal["private", "internal", "public"] = "private"
    description: Annotated[str, Field(max_length=2000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*\Z")] = ""
    topics: list[Topic] = []
    default_branch: BranchName = "main"
    merge_method: Literal["merge", "rebase_merge", "ff"] | None = None
    squash: Literal["never", "always", "default_on", "default_off"] | None = None
    remove_source_branch_after_merge: bool | None = None
    only_allow_merge_if_pipeline_succeeds: bool | None = None
    only_allow_merge_if_all_discussions_are_resolved: bool | None = None
    ci: CiOptions = CiOptions()
    features: Features = Features()
    protected_branches: list[ProtectedBranch] = []
    members: list[Member] = []
    variables: list[Variable] = []
    labels: list[Label] = []
    webhooks: list[Webhook] = []
    codeowners: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    merge_request: MergeRequestOptions | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.merge_request is not None:
            allowed = {"repository", "namespace", "merge_request"}
            if extra := sorted(self.model_fields_set - allowed):
                raise ValueError(f"a merge_request changes no project, so {extra} cannot be set with it")
            if self.repository is None:
                raise ValueError("a merge_request needs repository, the one to change")
        return self
