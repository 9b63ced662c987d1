"""The whole error hierarchy. Operators turn permanent errors into failures without a retry; Airflow retries the rest.

::

    ScaffolderError
    ├── PermanentError                   retrying cannot help: the task fails at once
    │   ├── SettingsError                a setting that cannot be used
    │   ├── WorkflowDefinitionError      a workflow file that cannot become a DAG
    │   ├── ExpressionError              a workflow value that cannot be computed
    │   ├── InvalidParametersError       parameters that are not accepted
    │   ├── PermissionDeniedError        the user may not do this to this project
    │   ├── TemplateError                a template that cannot be loaded or rendered
    │   │   └── TemplateNotAllowedError  a template, or code in it, that the settings do not allow
    │   ├── UnsafePathError              paths that must not become files
    │   ├── FileConflictError            two sources for one path
    │   ├── SecretFoundError             files with secrets in them
    │   ├── LimitExceededError           a file, project, answer or rendering over a limit
    │   │   └── QuotaExceededError       a project that has used up its quota
    │   ├── StatusTransitionError        a record asked to make a forbidden move
    │   ├── RecordNotFoundError          a record that is not there
    │   ├── RecordConflictError          a change that other records do not allow
    │   ├── IdempotencyKeyError          an Idempotency-Key that was used for another request
    │   ├── SchemaVersionError           the records' schema is not the one this version needs
    │   ├── StorageError                 the projects directory cannot be written
    │   │   └── DiskSpaceError           too little space is free on its disk
    │   ├── AgentConfigurationError      an agent's connection or description cannot be used
    │   ├── AgentRejectedError           the agent refused the request, or the request does not fit
    │   ├── AgentAnswerError             the agent's answer is not what it should be
    │   ├── AgentJobError                a long job failed, was cancelled or took too long
    │   ├── AgentFateUnknownError        a request may have been acted upon, so it is not sent again
    │   ├── BudgetExceededError          a step, run or project has used up its tokens or money
    │   ├── ExportTargetError            a target that is unknown or not configured
    │   ├── ExportConflictError          something that is not ours is where the export should go
    │   └── ExportRejectedError          the target refused the export
    └── TransientError                   may pass by itself: Airflow retries
        ├── RecordsUnavailableError      Postgres is away
        ├── AirflowUnavailableError      Airflow's own API does not answer as it should
        ├── TooManyStreamsError          as many streams of events are open as may be
        ├── AgentUnavailableError        the agent is down, slow or answered 5xx
        ├── AgentRateLimitedError        the agent asked to wait
        ├── AgentWaitError               an agent wants to be left alone for longer than a worker waits
        ├── AgentCircuitOpenError        the agent has failed too often: no call is let through for a while
        ├── HostUnavailableError         a git host is away
        └── HostWaitError                a git host wants to be left alone for longer than a worker waits

A message says what failed, the offending value and what is accepted. Messages never hold tokens, credentialed URLs
or agent payloads.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping


class ScaffolderError(Exception):
    """Everything this package raises on purpose."""


class PermanentError(ScaffolderError):
    """Retrying cannot help."""


class TransientError(ScaffolderError):
    """May pass by itself. `retry_after_seconds` is what the other side asked for, where it said so."""

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SettingsError(PermanentError):
    """A setting that cannot be used."""


class WorkflowDefinitionError(PermanentError):
    """A workflow file that cannot become a DAG. `problems` are sentences, each with file and line."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ExpressionError(PermanentError):
    """A workflow value that cannot be computed."""


class InvalidParametersError(PermanentError):
    """Parameters that are not accepted.

    `pointers` says what is wrong where in a document, by JSON Pointer (RFC 6901); `parameter` is that of a query.
    """

    def __init__(
        self, message: str, *, pointers: Mapping[str, str] | None = None, parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.pointers = dict(pointers or {})
        self.parameter = parameter


class PermissionDeniedError(PermanentError):
    """The user may not do this to this project."""


class TemplateError(PermanentError):
    """A template that cannot be loaded or rendered."""


class TemplateNotAllowedError(TemplateError):
    """A template, or code in it, that the settings do not allow."""


class UnsafePathError(PermanentError):
    """Paths that must not become files. `offenders` holds every one of the batch as (path, reason)."""

    def __init__(
        self, offenders: Iterable[tuple[str, str]], *, accepted: str = "relative paths with forward slashes"
    ) -> None:
        self.offenders = tuple(offenders)
        listing = "; ".join(f"{path!r}: {reason}" for path, reason in self.offenders)
        super().__init__(
            f"{len(self.offenders)} unsafe path(s), so none of the files was written: {listing}. "
            f"Accepted are {accepted}."
        )


class FileConflictError(PermanentError):
    """Two sources for one path, or nothing where something was to be moved or deleted.

    `conflicts` holds every one as (path, the one that is there, the one that came).
    """

    def __init__(self, conflicts: Iterable[tuple[str, str, str]]) -> None:
        self.conflicts = tuple(conflicts)
        listing = "; ".join(f"{path!r}: {ours} and {theirs}" for path, ours, theirs in self.conflicts)
        super().__init__(
            f"{len(self.conflicts)} conflict(s), so none of the files was written: {listing}. Accepted is on_conflict: "
            "ours, theirs or skip, if that is wanted"
        )


class SecretFoundError(PermanentError):
    """Files with secrets in them. `findings` holds (path, line, kind of secret); the secret itself is nowhere."""

    def __init__(self, findings: Iterable[tuple[str, int, str]]) -> None:
        self.findings = tuple(findings)
        listing = "; ".join(f"{path!r}, line {line}: {kind}" for path, line, kind in self.findings)
        super().__init__(
            f"{len(self.findings)} secret(s) in files, so none of them was written: {listing}. Take them out, or let "
            "the step name the paths where they are wanted (allow_secrets_in)"
        )


class LimitExceededError(PermanentError):
    """A file, project, answer or rendering over a limit."""


class QuotaExceededError(LimitExceededError):
    """A project has used up its quota of generated projects or of their bytes."""


class StatusTransitionError(PermanentError):
    """A record asked to make a forbidden move."""


class RecordNotFoundError(PermanentError):
    """A record that is not there."""


class RecordConflictError(PermanentError):
    """A change that other records do not allow."""


class IdempotencyKeyError(PermanentError):
    """An Idempotency-Key that was used for another request."""


class SchemaVersionError(PermanentError):
    """The records' schema is not the one this version needs."""


class StorageError(PermanentError):
    """The projects directory cannot be written."""


class DiskSpaceError(StorageError):
    """Too little space is free on the disk of the projects directory."""


class AgentConfigurationError(PermanentError):
    """An agent's connection or description cannot be used."""


class AgentRejectedError(PermanentError):
    """The agent refused the request."""


class AgentAnswerError(PermanentError):
    """The agent's answer is not what it should be."""


class AgentJobError(PermanentError):
    """A long job failed, was cancelled or took too long."""


class AgentFateUnknownError(PermanentError):
    """A request may have been acted upon, so it is not sent again."""


class BudgetExceededError(PermanentError):
    """A step, run or project has used up its tokens or money."""


class ExportTargetError(PermanentError):
    """A target that is unknown or not configured."""


class ExportConflictError(PermanentError):
    """Something that is not ours is where the export should go."""


class ExportRejectedError(PermanentError):
    """The target refused the export."""


class RecordsUnavailableError(TransientError):
    """Postgres is away."""


class AirflowUnavailableError(TransientError):
    """Airflow's own API does not answer as it should."""


class TooManyStreamsError(TransientError):
    """As many streams of events are open as may be."""


class AgentUnavailableError(TransientError):
    """The agent is down, slow or answered 5xx.

    `in_doubt` says that the request was sent and may have been acted upon.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, in_doubt: bool = False) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.in_doubt = in_doubt


class AgentRateLimitedError(TransientError):
    """The agent asked to wait."""


class AgentWaitError(TransientError):
    """An agent wants to be left alone for longer than a worker waits. `tries` is how often it was asked by then."""

    def __init__(self, message: str, *, retry_after_seconds: float, tries: int) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.tries = tries


class AgentCircuitOpenError(TransientError):
    """The agent has failed too often: no call is let through for a while."""


class HostUnavailableError(TransientError):
    """A git host is away.

    `in_doubt` says that a request that must not be sent twice was sent and may have been acted upon.
    """

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, in_doubt: bool = False) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.in_doubt = in_doubt


class HostWaitError(TransientError):
    """A git host wants to be left alone for longer than a worker waits."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
