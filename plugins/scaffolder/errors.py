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
    │   │   └── QuotaExceededError       a project has used up its quota
    │   ├── StatusTransitionError        a record asked to make a forbidden move
    │   ├── RecordNotFoundError          a record that is not there
    │   ├── RecordConflictError          a change that other records do not allow
    │   ├── IdempotencyKeyError          an Idempotency-Key that was used for another request
    │   ├── SchemaVersionError           the records' schema is not the one this version needs
    │   ├── StorageError                 the projects directory cannot be written
    │   │   └── DiskSpaceError           too little space is free on the disk
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
from typing import ClassVar


class ScaffolderError(Exception):
    """Everything this package raises on purpose. `remedy` says what to look at and what to change."""

    remedy: ClassVar[str]

    @classmethod
    def get_meaning(cls) -> str:
        """Return what it means, in one sentence: the first of its docstring."""
        return " ".join((cls.__doc__ or "").split()).partition(". ")[0].rstrip(".") + "."


class PermanentError(ScaffolderError):
    """Retrying cannot help: the task fails at once."""

    remedy = (
        "The message says what it is about. Where it says that the scan for secrets did not run: install "
        "kingfisher-bin as requirements.txt pins it, and let the worker write SCAFFOLDER_CACHE_DIR."
    )


class TransientError(ScaffolderError):
    """May pass by itself: Airflow retries. `retry_after_seconds` is what the other side asked for, where it said so."""

    remedy = (
        "Where it stays, the worker is short of memory, processes or processor time for the process of a template "
        "or of the scan for secrets: give it more, or run fewer tasks at once."
    )

    def __init__(self, message: str, *, retry_after_seconds: float | None = None) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class SettingsError(PermanentError):
    """A setting that cannot be used."""

    remedy = (
        "Correct the variable or the connection that the message names, in the environment of all components, and "
        "start them anew."
    )


class WorkflowDefinitionError(PermanentError):
    """A workflow file that cannot become a DAG. `problems` are sentences, each with file and line."""

    remedy = (
        "Correct the lines that the import error of workflow_errors.py names. Airflow reads the file again by itself."
    )

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class ExpressionError(PermanentError):
    """A workflow value that cannot be computed."""

    remedy = (
        "Correct the expression in the workflow. Of `steps` there are only those that run before; look at what "
        "they gave with `scaffolder show`."
    )


class InvalidParametersError(PermanentError):
    """Parameters that are not accepted.

    `pointers` says what is wrong where in a document, by JSON Pointer (RFC 6901); `parameter` is that of a query.
    """

    remedy = (
        "Send what the message accepts. Where a run failed: trigger a new one, for parameters of a run do not change."
    )

    def __init__(
        self, message: str, *, pointers: Mapping[str, str] | None = None, parameter: str | None = None
    ) -> None:
        super().__init__(message)
        self.pointers = dict(pointers or {})
        self.parameter = parameter


class PermissionDeniedError(PermanentError):
    """The user may not do this to this project."""

    remedy = (
        "Let an owner make the user a member of the project, or give the permission in Airflow (with FAB: "
        "`scaffolder permissions sync`, after upgrades too). For a connection: SCAFFOLDER_EXPORT_CONNECTIONS."
    )


class TemplateError(PermanentError):
    """A template that cannot be loaded or rendered."""

    remedy = (
        "Correct the template at the file and line that the message names, or the values that it refuses; "
        "`scaffolder template check` and `scaffolder render` try both without Airflow. For one from git: its URL "
        "and tag."
    )


class TemplateNotAllowedError(TemplateError):
    """A template, or code in it, that the settings do not allow."""

    remedy = (
        "Add the template to SCAFFOLDER_ALLOWED_TEMPLATES. For one that runs its author's code: read that code, "
        "then set SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES and `trust: true` in the step."
    )


class UnsafePathError(PermanentError):
    """Paths that must not become files. `offenders` holds every one of the batch as (path, reason)."""

    remedy = (
        "Rename the paths where they come from: the template, or the prompt of the agent. For files of CI systems: "
        "`allow_ci_files: true` in the step, or another `target_path` of the export."
    )

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

    remedy = (
        "Say `on_conflict: ours`, `theirs` or `skip` in the step, or put one of the sources elsewhere with `into`. "
        "For move and delete: correct the path."
    )

    def __init__(self, conflicts: Iterable[tuple[str, str, str]]) -> None:
        self.conflicts = tuple(conflicts)
        listing = "; ".join(f"{path!r}: {ours} and {theirs}" for path, ours, theirs in self.conflicts)
        super().__init__(
            f"{len(self.conflicts)} conflict(s), so none of the files was written: {listing}. Accepted is on_conflict: "
            "ours, theirs or skip, if that is wanted"
        )


class SecretFoundError(PermanentError):
    """Files with secrets in them. `findings` holds (path, line, kind of secret); the secret itself is nowhere."""

    remedy = (
        "Take the secret out of the template or the agent's input, and renew it if it is a real one. An example "
        "that is no secret: name its path in the step's `allow_secrets_in`."
    )

    def __init__(self, findings: Iterable[tuple[str, int, str]]) -> None:
        self.findings = tuple(findings)
        listing = "; ".join(f"{path!r}, line {line}: {kind}" for path, line, kind in self.findings)
        super().__init__(
            f"{len(self.findings)} secret(s) in files, so none of them was written: {listing}. Take them out, or let "
            "the step name the paths where they are wanted (allow_secrets_in)"
        )


class LimitExceededError(PermanentError):
    """A file, project, answer or rendering over a limit."""

    remedy = (
        "Make what the message names smaller, or raise the setting that it names (or `max_pages`, `max_items` of "
        "the step). Raise memory and time of templates only as far as a worker has them."
    )


class QuotaExceededError(LimitExceededError):
    """A project has used up its quota of generated projects or of their bytes."""

    remedy = (
        "Delete generated projects of the project, or wait for the clean-up; then clear the task. Or raise the "
        "project's quota in SCAFFOLDER_QUOTAS."
    )


class StatusTransitionError(PermanentError):
    """A record asked to make a forbidden move."""

    remedy = (
        "Nothing is to be repaired: something else has ended the generated project (a clean-up, a cancelled or "
        "another run). Trigger a new run."
    )


class RecordNotFoundError(PermanentError):
    """A record that is not there."""

    remedy = (
        "Check the id or the name, and that the user may see the project: what is private does not exist for "
        "others. Where a file or archive is not on this machine: all components need the same "
        "SCAFFOLDER_GENERATED_PROJECTS_DIR."
    )


class RecordConflictError(PermanentError):
    """A change that other records do not allow."""

    remedy = (
        "Do first what the message accepts: another slug, another owner, a DAG that is not paused, generated "
        "projects deleted. Or send the request again, where it says so."
    )


class IdempotencyKeyError(PermanentError):
    """An Idempotency-Key that was used for another request."""

    remedy = "Send a new Idempotency-Key; the old one only repeats the request that it came with."


class SchemaVersionError(PermanentError):
    """The records' schema is not the one this version needs."""

    remedy = (
        "Run `scaffolder db migrate`. Where the schema is newer than the program: install the version that "
        "migrated it, on all machines."
    )


class StorageError(PermanentError):
    """The projects directory cannot be written."""

    remedy = (
        "Check SCAFFOLDER_GENERATED_PROJECTS_DIR (or SCAFFOLDER_CACHE_DIR, where the message says so): that it is "
        "mounted, whole, and may be written by the user of the tasks. Then `scaffolder doctor`. About its file "
        "`.scaffolder`: see Back-up and restore."
    )


class DiskSpaceError(StorageError):
    """Too little space is free on the disk of the projects directory."""

    remedy = (
        "Free space: run the DAG cleanup_generated_projects with `free_size`, or enlarge the disk; then clear the "
        "task. The reserve is SCAFFOLDER_MIN_FREE_DISK_SIZE."
    )


class AgentConfigurationError(PermanentError):
    """An agent's connection or description cannot be used."""

    remedy = (
        "Correct the connection that the message names (type, host, token, extras), or the step. Where an "
        "operation is unknown: `scaffolder discover` shows what there is; run the DAG discover_agent_apis."
    )


class AgentRejectedError(PermanentError):
    """The agent refused the request, or the request does not fit."""

    remedy = (
        "Read the agent's reason in the message. 401 and 403: renew the token in the connection. 400 and 422: "
        "correct the step's body or parameters. Certificates: the connection's `ca_certificate`. Quota of a model: "
        "its account."
    )


class AgentAnswerError(PermanentError):
    """The agent's answer is not what it should be."""

    remedy = (
        "Look at the answer with `scaffolder show`, and compare it with the agent's description or the step's "
        "`output_schema`, `job` and `pages`; correct the step, or tell the agent's people."
    )


class AgentJobError(PermanentError):
    """A long job failed, was cancelled or took too long."""

    remedy = (
        "Look for the job at the agent: the message has its state and reason. Clear the task to submit a new job; "
        "raise the job's `timeout_seconds` if it only took too long."
    )


class AgentFateUnknownError(PermanentError):
    """A request may have been acted upon, so it is not sent again."""

    remedy = (
        "Look at the agent, by the Idempotency-Key in the message, whether the request was acted upon. Then clear "
        "the task to send it again; `resend: always` in the step, if twice is harmless."
    )


class BudgetExceededError(PermanentError):
    """A step, run or project has used up its tokens or money."""

    remedy = (
        "See what was spent with `scaffolder show`. Raise the step's `budget` or the setting that the message "
        "names and clear the task, or wait until SCAFFOLDER_BUDGET_DAYS have passed. A budget of money needs "
        "SCAFFOLDER_AGENT_PRICES."
    )


class ExportTargetError(PermanentError):
    """A target that is unknown or not configured."""

    remedy = (
        "Correct the connection or the options that the message names: docs/exports.md and docs/gitlab.md have "
        "them all."
    )


class ExportConflictError(PermanentError):
    """Something that is not ours is where the export should go."""

    remedy = (
        "Look at the repository that the message names. Choose another name (or `on_conflict: suffix`), branch or "
        "`target_path`, or move away what is there; then export again. Where it is about a status: wait for the "
        "run."
    )


class ExportRejectedError(PermanentError):
    """The target refused the export."""

    remedy = (
        "Read the host's reason in the message. 401 and 403: renew the connection's token, and give it the rights "
        "of docs/exports.md. Otherwise correct the options, or the rules of the repository."
    )


class RecordsUnavailableError(TransientError):
    """Postgres is away."""

    remedy = (
        "Check that Postgres runs and that the connection scaffolder_db is right, and that it has connections left "
        "(see Sizing). In the API: SCAFFOLDER_RECORDS_POOL_SIZE."
    )


class AirflowUnavailableError(TransientError):
    """Airflow's own API does not answer as it should."""

    remedy = (
        "Check Airflow's API server and database. On the command line: AIRFLOW_HOME and "
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN must be those of the scheduler."
    )


class TooManyStreamsError(TransientError):
    """As many streams of events are open as may be."""

    remedy = "Close pages and clients that watch events, raise SCAFFOLDER_EVENT_STREAMS, or run more API servers."


class AgentUnavailableError(TransientError):
    """The agent is down, slow or answered 5xx.

    `in_doubt` says that the request was sent and may have been acted upon.
    """

    remedy = (
        "Check that the agent runs and is reached from the workers. Slow, not down: "
        "SCAFFOLDER_AGENT_TIMEOUT_SECONDS or the step's `timeout`, or make it a `job`."
    )

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, in_doubt: bool = False) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.in_doubt = in_doubt


class AgentRateLimitedError(TransientError):
    """The agent asked to wait."""

    remedy = (
        "Nothing, if it passes. Otherwise put the steps of that agent into an Airflow `pool`, or ask for a higher "
        "limit there."
    )


class AgentWaitError(TransientError):
    """An agent wants to be left alone for longer than a worker waits. `tries` is how often it was asked by then."""

    remedy = (
        "Nothing: the task waits without a worker and goes on. Up to SCAFFOLDER_AGENT_MAX_WAIT_SECONDS are waited "
        "on the worker."
    )

    def __init__(self, message: str, *, retry_after_seconds: float, tries: int) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.tries = tries


class AgentCircuitOpenError(TransientError):
    """The agent has failed too often: no call is let through for a while."""

    remedy = (
        "Mend the agent: the calls before say what failed (`scaffolder show`). One call is let through after "
        "SCAFFOLDER_AGENT_CIRCUIT_SECONDS, and closes it if it succeeds."
    )


class HostUnavailableError(TransientError):
    """A git host is away.

    `in_doubt` says that a request that must not be sent twice was sent and may have been acted upon.
    """

    remedy = (
        "Check the host's status page and the way to it from the workers. When the retries are used up: clear the "
        "task; what was done is not done twice."
    )

    def __init__(self, message: str, *, retry_after_seconds: float | None = None, in_doubt: bool = False) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
        self.in_doubt = in_doubt


class HostWaitError(TransientError):
    """A git host wants to be left alone for longer than a worker waits."""

    remedy = (
        "Nothing: the task waits without a worker and goes on. Many at once: raise "
        "SCAFFOLDER_GITHUB_WRITES_PER_MINUTE and SCAFFOLDER_GITHUB_WRITES_PER_HOUR only as far as the host allows."
    )

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message, retry_after_seconds=retry_after_seconds)
