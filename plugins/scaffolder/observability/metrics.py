"""Every metric there is, and how code tells of one; what is sent where is up to the sink (`hook`).

Without a sink nothing is sent: the command line has none. Tags are of low cardinality: never a project, an id, a user.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal, Protocol

from scaffolder.errors import BudgetExceededError, DiskSpaceError, LimitExceededError, QuotaExceededError

Kind = Literal["counter", "gauge", "timer"]

#: A tag whose value is not known.
UNKNOWN: Final = "unknown"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """One metric. `unit` is that of its values, or what a counter counts; `meaning` is what the documentation says."""

    name: str
    kind: Kind
    unit: str
    tags: tuple[str, ...] = ()
    meaning: str


class Sink(Protocol):
    """Where metrics go. It raises nothing."""

    def __call__(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        """Take one value; a timer's is in milliseconds."""


_METRICS: Final[dict[str, Metric]] = {}
_sink: Sink | None = None


def _define(name: str, kind: Kind, unit: str, tags: str, meaning: str) -> Metric:
    metric = Metric(name=f"scaffolder.{name}", kind=kind, unit=unit, tags=tuple(tags.split()), meaning=meaning)
    _METRICS[metric.name] = metric
    return metric


GENERATED_FINISHED: Final = _define(
    "generated.finished",
    "counter",
    "generated projects",
    "workflow status",
    "Became ready or failed (`status`), once for each time: what failed, was cleared and became ready counts twice.",
)
GENERATED_DURATION: Final = _define(
    "generated.duration", "timer", "ms", "workflow status", "From its record to that end; waits are in it."
)
GENERATED_FILES: Final = _define(
    "generated.files", "counter", "files", "workflow", "Files of what became ready, whichever step wrote them."
)
GENERATED_BYTES: Final = _define("generated.bytes", "counter", "bytes", "workflow", "The bytes of those files.")
STEP_FINISHED: Final = _define(
    "step.finished",
    "counter",
    "tries",
    "workflow step_type outcome",
    "Ends of tries. `outcome`: success, failed (for good), retry (Airflow tries again), deferred (waits without a "
    "worker and comes back), skipped, interrupted (ended from outside). A step that ends counts once as success or "
    "failed, whatever came before.",
)
STEP_DURATION: Final = _define(
    "step.duration", "timer", "ms", "workflow step_type outcome", "One stay on a worker, up to such an end."
)
STEP_ERRORS: Final = _define(
    "step.errors",
    "counter",
    "errors",
    "step_type error",
    "Tries that ended with an error: its class, or `other` for one that is not ours.",
)
STEP_WAITS: Final = _define(
    "step.waits",
    "counter",
    "waits",
    "step_type reason",
    "Waits without a worker: for a job (agent_job), or because an agent or a git host asked (agent_asked, host_asked).",
)
AGENT_REQUESTS: Final = _define(
    "agent.requests",
    "counter",
    "requests",
    "connection protocol outcome",
    "Every request sent, tries again and parts of a call included; asking after jobs and lost answers is not. "
    "`outcome`: answered, accepted (a long job), rate_limited, unavailable (also where the lost answer was got later), "
    "refused, unusable (an answer we do not accept), interrupted. Where Postgres went away nothing is counted.",
)
AGENT_LATENCY: Final = _define(
    "agent.latency",
    "timer",
    "ms",
    "connection protocol outcome",
    "From such a request to its whole answer or error.",
)
AGENT_REPLAYS: Final = _define(
    "agent.replays", "counter", "answers", "connection protocol", "Answers taken from the records; nothing was sent."
)
AGENT_TOKENS: Final = _define(
    "agent.tokens",
    "counter",
    "tokens",
    "connection protocol direction",
    "Tokens that agents say they have used, `direction` input or output; refused answers are paid for, too.",
)
AGENT_COST: Final = _define(
    "agent.cost",
    "counter",
    "millionths",
    "connection protocol",
    "What that cost by SCAFFOLDER_AGENT_PRICES, in millionths of its currency.",
)
AGENT_RETRIES: Final = _define(
    "agent.retries",
    "counter",
    "waits",
    "connection reason",
    "Waits on a worker before another try; those without one are in `step.waits`. `reason`: unavailable, rate_limited, "
    "circuit_open.",
)
AGENT_CIRCUIT_OPENINGS: Final = _define(
    "agent.circuit_openings",
    "counter",
    "openings",
    "connection",
    "The circuit breaker opened, also again after a call that was let through.",
)
AGENT_JOBS: Final = _define(
    "agent.jobs",
    "counter",
    "jobs",
    "connection protocol outcome",
    "Long jobs that are over: done, failed, or given_up (too late, or not wanted any more).",
)
AGENT_JOB_DURATION: Final = _define(
    "agent.job_duration", "timer", "ms", "connection protocol outcome", "From a job's acceptance to that."
)
EXPORT_FINISHED: Final = _define(
    "export.finished",
    "counter",
    "tries",
    "target outcome",
    "Ends of exports. `outcome`: exported, again (it was there already), waiting (the host asked), failed, "
    "interrupted (ended from outside). One that a retry completes has failed before: `step.finished` says how steps "
    "end. Where Postgres went away nothing is counted: `step.errors` has it.",
)
EXPORT_DURATION: Final = _define("export.duration", "timer", "ms", "target outcome", "One such try.")
EXPORT_ROLLED_BACK: Final = _define(
    "export.rolled_back", "counter", "exports", "target", "What a failed run had made was taken back."
)
SECRETS_FOUND: Final = _define(
    "generation.secrets_found", "counter", "findings", "kind", "Secrets in files, which were refused for them."
)
LIMIT_EXCEEDED: Final = _define(
    "limit.exceeded",
    "counter",
    "refusals",
    "where",
    "Over a limit of files, bytes, depth, time. `where`: open (a run begins), step or api.",
)
QUOTA_REFUSED: Final = _define(
    "quota.refused", "counter", "refusals", "where", "A project's quota is used up. `where`: open, step or api."
)
BUDGET_REFUSED: Final = _define(
    "budget.refused", "counter", "refusals", "where", "A budget of tokens or money is used up. `where`: step."
)
DISK_REFUSED: Final = _define(
    "disk.refused",
    "counter",
    "refusals",
    "where",
    "Less than SCAFFOLDER_MIN_FREE_DISK_SIZE would have stayed free. `where`: open, step or api.",
)
NOTIFICATION_SENT: Final = _define(
    "notification.sent", "counter", "notifications", "channel", "Received: once for each event and channel."
)
NOTIFICATION_POSTPONED: Final = _define(
    "notification.postponed", "counter", "tries", "channel", "Not received; will be tried again."
)
NOTIFICATION_FAILED: Final = _define(
    "notification.failed",
    "counter",
    "notifications",
    "channel",
    "Given up, after the last try or as the receiver said.",
)
NOTIFICATION_AGED: Final = _define(
    "notification.aged",
    "counter",
    "notifications",
    "",
    "Given up after SCAFFOLDER_NOTIFICATION_MAX_AGE_DAYS.",
)
CLEANUP_DUE: Final = _define(
    "cleanup.due", "gauge", "generated projects", "", "Due and still there, after a clean-up of all projects."
)
CLEANUP_OLDEST_DUE: Final = _define(
    "cleanup.oldest_due_seconds", "gauge", "s", "", "Since the oldest of those that were due ended."
)
CLEANUP_KEPT: Final = _define("cleanup.kept", "gauge", "generated projects", "", "Past their days and kept.")
CLEANUP_ORPHANS: Final = _define(
    "cleanup.orphans",
    "gauge",
    "directories, records",
    "",
    "Directories without a record and records without a directory.",
)
CLEANUP_REMOVED: Final = _define("cleanup.removed", "counter", "generated projects", "", "Removed.")
CLEANUP_BYTES_FREED: Final = _define("cleanup.bytes_freed", "counter", "bytes", "", "Freed on the disk.")
CLEANUP_ERRORS: Final = _define("cleanup.errors", "counter", "things", "", "Could not be removed.")
API_REQUESTS: Final = _define(
    "api.requests",
    "counter",
    "requests",
    "route method status",
    "Requests to the REST API and the pages. `route` is the pattern, `none` where none fits.",
)
API_LATENCY: Final = _define(
    "api.latency", "timer", "ms", "route method status", "Until the answer begins: downloads and streams go on."
)
API_STREAMS_OPEN: Final = _define(
    "api.streams_open",
    "gauge",
    "streams",
    "",
    "Streams of events that one process of the API server has open.",
)

METRICS: Final[Mapping[str, Metric]] = _METRICS

# The first that fits: a quota is a limit, too.
_REFUSALS: Final[tuple[tuple[type[Exception], Metric], ...]] = (
    (QuotaExceededError, QUOTA_REFUSED),
    (LimitExceededError, LIMIT_EXCEEDED),
    (BudgetExceededError, BUDGET_REFUSED),
    (DiskSpaceError, DISK_REFUSED),
)


def set_sink(sink: Sink | None) -> None:
    """Send what is told from here on in this process to `sink`."""
    global _sink  # noqa: PLW0603  # one for each process, like Airflow's own
    _sink = sink


def count(metric: Metric, value: int = 1, /, **tags: str) -> None:
    """Add `value` to a counter."""
    _send(metric, "counter", value, tags)


def gauge(metric: Metric, value: float, /) -> None:
    """Say what a gauge is at."""
    _send(metric, "gauge", value, {})


def time(metric: Metric, seconds: float, /, **tags: str) -> None:
    """Tell a timer how long something took."""
    _send(metric, "timer", max(0.0, seconds) * 1000, tags)


def count_refusal(error: BaseException, *, where: str) -> None:
    """Count an error that says that something is used up, and no other."""
    for kind, metric in _REFUSALS:
        if isinstance(error, kind):
            count(metric, where=where)
            return


def _send(metric: Metric, kind: Kind, value: float, tags: Mapping[str, str]) -> None:
    # Mistakes of ours, whether or not anybody listens.
    if metric.kind != kind or set(tags) != set(metric.tags):
        raise TypeError(f"{metric.name} is a {metric.kind} with tags {metric.tags}, not a {kind} with {tuple(tags)}")
    if _sink is not None:
        _sink(metric, value, {name: tags[name] for name in metric.tags})
