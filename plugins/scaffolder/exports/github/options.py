"""What can be said of an export to GitHub. Names and limits follow GitHub's REST API documentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from scaffolder.exports.change_request import ChangeRequestOptions
from scaffolder.exports.contract import BranchName, ExportOptions, RepositoryName, SecretReference, WebhookUrl
from scaffolder.exports.hosted import OnConflict

Login = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,99}\Z")]
Topic = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,49}\Z")]
# "Names can only contain alphanumeric characters or underscores", and may begin with neither a number nor GITHUB_.
VariableName = Annotated[str, Field(pattern=r"^(?!(?i:GITHUB_))[A-Za-z_][A-Za-z0-9_]{0,254}\Z")]


class Features(ExportOptions):
    """Which parts of a repository are on."""

    issues: bool | None = None
    wiki: bool | None = None
    projects: bool | None = None


class MergeOptions(ExportOptions):
    """How pull requests may be merged."""

    merge_commit: bool | None = None
    squash: bool | None = None
    rebase: bool | None = None
    auto_merge: bool | None = None
    update_branch: bool | None = None
    squash_title: Literal["PR_TITLE", "COMMIT_OR_PR_TITLE"] | None = None
    squash_message: Literal["PR_BODY", "COMMIT_MESSAGES", "BLANK"] | None = None


class Collaborator(ExportOptions):
    """A user or a team of the owning organisation, and its role there."""

    user: Login | None = None
    team: Login | None = None
    role: Annotated[str, Field(min_length=1, max_length=100)] = "push"

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if (self.user is None) == (self.team is None):
            raise ValueError("accepted is one of user and team")
        return self


class Restrictions(ExportOptions):
    """Who alone may push to a protected branch."""

    users: list[Login] = []
    teams: list[Login] = []
    apps: list[str] = []


class BranchProtection(ExportOptions):
    """The protection of the default branch."""

    required_approvals: Annotated[int, Field(ge=0, le=6)] | None = None
    dismiss_stale_reviews: bool = False
    require_code_owner_reviews: bool = False
    require_last_push_approval: bool = False
    status_checks: list[str] | None = None
    strict_status_checks: bool = False
    enforce_admins: bool = False
    linear_history: bool = False
    conversation_resolution: bool = False
    allow_force_pushes: bool = False
    allow_deletions: bool = False
    restrictions: Restrictions | None = None


class Environment(ExportOptions):
    """A deployment environment. `reviewers` are users and teams who approve deployments."""

    name: Annotated[str, Field(min_length=1, max_length=255)]
    wait_minutes: Annotated[int, Field(ge=0, le=43_200)] = 0
    prevent_self_review: bool = False
    reviewers: Annotated[list[Collaborator], Field(max_length=6)] = []
    protected_branches_only: bool = False
    variables: dict[VariableName, str] = {}
    secrets: dict[VariableName, SecretReference] = {}


class Label(ExportOptions):
    """An issue label; `color` is six hexadecimal digits."""

    name: Annotated[str, Field(min_length=1, max_length=50)]
    color: Annotated[str, Field(pattern=r"^[0-9A-Fa-f]{6}\Z")] = "ededed"
    description: Annotated[str, Field(max_length=100)] = ""


class Webhook(ExportOptions):
    """Where GitHub reports events. The secret comes from a connection."""

    url: WebhookUrl
    events: Annotated[list[str], Field(min_length=1)] = ["push"]
    content_type: Literal["json", "form"] = "json"
    secret: SecretReference | None = None
    active: bool = True


class Ruleset(ExportOptions):
    """A repository ruleset, in the words of GitHub's own API: only the name is ours to know."""

    model_config = ExportOptions.model_config | {"extra": "allow"}

    name: Annotated[str, Field(min_length=1, max_length=100)]
    target: Literal["branch", "tag", "push"] = "branch"
    enforcement: Literal["disabled", "active", "evaluate"] = "active"
    conditions: dict[str, Any] | None = None
    rules: list[dict[str, Any]] = []
    bypass_actors: list[dict[str, Any]] = []


class PullRequestOptions(ChangeRequestOptions):
    """A pull request in a repository that is there already. `auto_merge` says how it is merged when it may be."""

    auto_merge: Literal["merge", "squash", "rebase"] | None = None
    team_reviewers: list[Login] = []


class GitHubOptions(ExportOptions):
    """The options of the target ``github``.

    Without `pull_request` a repository is made, named like the generated project, for the connection's user or for
    `owner`. `codeowners` becomes ``.github/CODEOWNERS``, in a commit on top.
    """

    repository: RepositoryName | None = None
    owner: Login | None = None
    on_conflict: OnConflict = "fail"
    visibility: Literal["private", "internal", "public"] = "private"
    description: Annotated[str, Field(max_length=350, pattern=r"^[^\x00-\x1f\x7f]*\Z")] = ""
    homepage: Annotated[str, Field(max_length=255, pattern=r"^https?://\S+\Z")] | None = None
    topics: Annotated[list[Topic], Field(max_length=20)] = []
    default_branch: BranchName = "main"
    features: Features = Features()
    is_template: bool | None = None
    merge: MergeOptions = MergeOptions()
    delete_branch_on_merge: bool | None = None
    collaborators: list[Collaborator] = []
    branch_protection: BranchProtection | None = None
    rulesets: list[Ruleset] = []
    custom_properties: dict[str, str | list[str] | None] = {}
    variables: dict[VariableName, str] = {}
    secrets: dict[VariableName, SecretReference] = {}
    environments: list[Environment] = []
    labels: list[Label] = []
    webhooks: list[Webhook] = []
    codeowners: dict[str, Annotated[list[str], Field(min_length=1)]] = {}
    pull_request: PullRequestOptions | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.pull_request is not None:
            allowed = {"repository", "owner", "pull_request"}
            if extra := sorted(self.model_fields_set - allowed):
                raise ValueError(f"a pull_request changes no repository, so {extra} cannot be set with it")
            if self.repository is None:
                raise ValueError("a pull_request needs repository, the one to change")
        if self.owner is None and any(one.team for one in self.collaborators):
            raise ValueError("collaborators.team needs owner, an organisation")
        return self
