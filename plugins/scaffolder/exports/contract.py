"""What an exporter is: the contract, and what passes through it. `registry` knows those there are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Final, Protocol, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, HttpUrl, ValidationError

from scaffolder.config import Settings
from scaffolder.errors import ExportTargetError
from scaffolder.exports.identity import CommitIdentity
from scaffolder.exports.ledger import ExportLedger
from scaffolder.generation.repository import ProjectRepository
from scaffolder.records.models import GeneratedProject, ProjectFile, RepositoryExport

RepositoryName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,99}\Z")]
# git-check-ref-format(1), and no more than what needs no quoting anywhere.
BranchName = Annotated[
    str,
    Field(
        max_length=200,
        pattern=r"^(?!HEAD\Z|@\Z)(?!.*(?:\.\.|@\{|\.lock(?:/|\Z)))[A-Za-z0-9_@][A-Za-z0-9_@.-]*(?<!\.)"
        r"(?:/[A-Za-z0-9_@-][A-Za-z0-9_@.-]*(?<!\.))*\Z",
    ),
]

_SHOWN_CHARACTERS: Final = 100


def _has_no_login(url: HttpUrl) -> HttpUrl:
    if url.username or url.password:
        raise ValueError("it has credentials in it; accepted is a URL without, and a secret from a connection")
    return url


WebhookUrl = Annotated[HttpUrl, AfterValidator(_has_no_login)]


class ExportOptions(BaseModel):
    """The options of a target. Subclasses name them; unknown ones are errors."""

    # Patterns are Python's: look-ahead is needed, and \Z, as $ lets a line end through.
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True, regex_engine="python-re")


class SecretReference(ExportOptions):
    """A secret value that lies in an Airflow connection.

    `field` is ``password``, ``login``, ``host`` or the name of an extra.
    """

    connection: Annotated[str, Field(min_length=1, max_length=250)]
    field: Annotated[str, Field(min_length=1, max_length=250)] = "password"


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """One commit to be put somewhere.

    `ledger` is the export's record: what an earlier try made, and where this one notes what it makes. `directory` is
    where archives of this generated project go. `connection` is what the exporter's own `connect` returned.
    `read_files` lists the files of the commit with their origins, `read_secret` fetches a secret from a connection.
    """

    ledger: ExportLedger
    generated_project: GeneratedProject
    repository: ProjectRepository
    directory: Path
    options: Mapping[str, Any]
    connection: Any = field(repr=False)
    identity: CommitIdentity | None
    settings: Settings
    read_files: Callable[[], Sequence[ProjectFile]]
    read_secret: Callable[[SecretReference], str]

    @property
    def export(self) -> RepositoryExport:
        """The export's record, as it is now."""
        return self.ledger.export

    @property
    def commit(self) -> str:
        """The generated project's commit that is exported."""
        return self.export.commit

    @property
    def name(self) -> str:
        """The generated project's name."""
        return self.generated_project.name


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """Where the commit is now. `result` is what else there is to tell, as JSON."""

    url: str
    archive_path: Path | None = None
    archive_sha256: str | None = None
    exported_commit: str | None = None
    result: Mapping[str, Any] = field(default_factory=dict)


class Exporter(Protocol):
    """Puts a commit somewhere. Calling it again with the same request must find the first call's work done.

    `author_options` are those that only a workflow's author may set, not whoever triggers ``export_repository``; inner
    ones with dots.
    """

    target: str
    needs_connection: bool
    author_options: frozenset[str]

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise ExportTargetError where an option is unknown or its value isn't accepted."""

    def connect(self, conn_id: str) -> Any:
        """Return what `export` needs of the Airflow connection `conn_id`, without a request.

        Raises ExportTargetError.
        """

    def locate(self, connection: Any) -> str | None:
        """Return the host that `connection` speaks of, as a URL without credentials."""

    def export(self, request: ExportRequest) -> ExportResult:
        """Put `request.commit` there. Raises the errors of ``scaffolder.errors`` that speak of exports."""

    def roll_back(self, request: ExportRequest) -> str | None:
        """Take away what this export made, where that is sure to hurt nobody.

        Return what is left behind and why, None where nothing is.
        """


def label_url(url: HttpUrl) -> str:
    """Return a name for `url` that tells it from others but not what is in its path: some hold tokens there."""
    return f"{url.host} {hashlib.sha256(str(url).encode()).hexdigest()[:8]}"


Options = TypeVar("Options", bound=ExportOptions)


def read_options(kind: type[Options], options: Mapping[str, Any], *, target: str) -> Options:
    """Return `options` as `kind`. Raises ExportTargetError with every problem."""
    try:
        return kind.model_validate(dict(options))
    except ValidationError as error:
        problems = "; ".join(_describe(kind, problem) for problem in error.errors(include_url=False))
        raise ExportTargetError(f"target {target!r}: {problems}") from None


def _describe(kind: type[ExportOptions], problem: Mapping[str, Any]) -> str:
    location: tuple[str | int, ...] = problem["loc"]
    place = ".".join(str(part) for part in location) or "options"
    if problem["type"] == "extra_forbidden":
        accepted = f"; accepted are {sorted(kind.model_fields)}" if len(location) == 1 else ""
        return f"there is no option {place!r}{accepted}"
    if problem["type"] == "missing":
        return f"option {place!r} is missing"
    value = problem.get("input")
    shown = f" is {value!r}"[:_SHOWN_CHARACTERS] if isinstance(value, str | int | float | bool | None) else ""
    return f"option {place!r}{shown}: {problem['msg']}"
