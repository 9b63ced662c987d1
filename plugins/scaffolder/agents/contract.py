"""What a step asks of an agent, what an agent answers, and what every protocol of agents provides."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Final, Literal, Protocol, Self

Resend = Literal["auto", "always", "never"]
Replay = Literal["never", "on_retry", "always"]
OnInvalidResponse = Literal["warn", "refuse"]
Method = Literal["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE"]

_STRICT: Final = {"extra": "forbid"}
_REST: Final = frozenset({"parameters", "body", "pages", "job"})
# What says which kind of request it is, and what goes with it.
_KINDS: Final[Mapping[str, frozenset[str]]] = {
    "operation": _REST,
    "method": _REST | {"path"},
    "prompt": frozenset({"system_prompt", "model", "model_settings", "files"}),
    "message": frozenset({"job"}),
}
_FIELDS: Final = frozenset(_KINDS).union(*_KINDS.values())


@dataclass(frozen=True, kw_only=True)
class Pages:
    """How the answer of a REST operation goes on.

    `items` is the JSON pointer (RFC 6901) of each page's list, ``""`` where the page is the list. `kind` says how the
    next page is found: ``link`` (RFC 8288, ``rel="next"``), ``cursor`` (the JSON pointer `cursor` of the answer goes
    into the query parameter `parameter`, or is the next URL where there is none), ``offset`` (`parameter` counts items)
    or ``page`` (`parameter` counts pages from `first`). `size_parameter` and `size` ask for pages of that size.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    kind: Literal["link", "cursor", "offset", "page"]
    items: str = ""
    cursor: str | None = None
    parameter: str | None = None
    first: int = 1
    size_parameter: str | None = None
    size: int | None = None
    max_pages: int = 100
    max_items: int = 10_000


@dataclass(frozen=True, kw_only=True)
class JobRule:
    """How a REST operation that answers 202 is asked after. Pointers are JSON pointers (RFC 6901).

    The job is at the answer's ``Operation-Location`` or ``Location``, or at `status_path`, in which ``{job}`` is the
    value at `id`. It is over when it answers 200 (or 303 to its result) and, where `state` is given, the value there is
    one of `done` or `failed`. Its result is at `result` of that answer, or is what `result_path` answers.
    `cancel_method` is sent to `cancel_path`, by default to the job's own path; None where jobs can't be cancelled. A2A
    says all that itself: there, `poll_seconds` and `timeout_seconds` count only.
    """

    __pydantic_config__: ClassVar[dict[str, str]] = _STRICT

    id: str | None = None
    status_path: str | None = None
    state: str | None = None
    done: tuple[str, ...] = ("succeeded", "completed", "done")
    failed: tuple[str, ...] = ("failed", "cancelled", "canceled", "error")
    result: str | None = None
    result_path: str | None = None
    cancel_method: Literal["DELETE", "POST", "PUT"] | None = "DELETE"
    cancel_path: str | None = None
    poll_seconds: float = 5.0
    timeout_seconds: int = 86_400


@dataclass(frozen=True, kw_only=True)
class CallRequest:
    """What a step asks of an agent: plain JSON data, all expressions computed.

    One of these is there: `operation` (REST, by its id in the description), `method` and `path` (REST that nothing
    describes), `prompt` (a language model) or `message` (A2A: text, or a mapping with ``text``, ``data``, ``files``).
    `output_schema` is a JSON Schema that the answer must fit; a language model is asked for it. `files` asks a
    language model for files: a manifest first, then the contents in bounded groups.
    """

    operation: str | None = None
    method: Method | None = None
    path: str | None = None
    parameters: Mapping[str, Any] = field(default_factory=dict)
    body: Any = None
    pages: Pages | None = None
    job: JobRule | None = None
    prompt: str | None = None
    system_prompt: str | None = None
    model: str | None = None
    model_settings: Mapping[str, Any] = field(default_factory=dict)
    files: bool = False
    message: str | Mapping[str, Any] | None = None
    output_schema: Mapping[str, Any] | None = None
    on_invalid_response: OnInvalidResponse = "warn"
    resend: Resend = "auto"
    timeout_seconds: int | None = None

    @property
    def kind(self) -> str:
        """What traces call it: the operation's id, the method, ``prompt`` or ``message``; nothing that a user says."""
        return self.operation or self.method or ("prompt" if self.prompt is not None else "message")

    @property
    def subject(self) -> str:
        """What the records and the log call it."""
        if self.operation:
            return self.operation
        if self.method:
            return f"{self.method} {self.path}"
        return "prompt" if self.prompt is not None else "message"


def find_flaw(values: Mapping[str, Any]) -> str | None:
    """Return why these fields of a `CallRequest` make no request, or None where they do; others are passed over."""
    given = {name for name, value in values.items() if name in _FIELDS and value not in (None, {}, False)}
    kinds = given & _KINDS.keys()
    if len(kinds) != 1:
        return f"it has {sorted(kinds) or 'none'} of {sorted(_KINDS)}; accepted is one of them"
    kind = kinds.pop()
    if kind == "method" and "path" not in given:
        return "it has a method and no path; accepted are both"
    if others := sorted(given - {kind} - _KINDS[kind]):
        return f"{others} don't go with {kind!r}; accepted are {sorted(_KINDS[kind])}"
    return None


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a call consumed, where the agent said so. `model` is the one that answered."""

    input_tokens: int = 0
    output_tokens: int = 0
    model: str | None = None


@dataclass(frozen=True, kw_only=True)
class Answer:
    """A complete answer: plain JSON data, None where there is none. `warnings` are sentences for the log.

    `refusal` is why it can't be used, where it was paid for all the same.
    """

    data: Any
    status: int | None = None
    usage: Usage | None = None
    warnings: tuple[str, ...] = ()
    refusal: str | None = None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A long job that an agent has accepted. `handle` is plain JSON data that the agent's `poll` understands.

    It holds no secret: it is stored in the records and in Airflow's database.
    """

    handle: Mapping[str, Any]
    poll_seconds: float
    timeout_seconds: int


@dataclass(frozen=True, kw_only=True)
class JobStatus:
    """How a job is getting on. `retry_after_seconds` is what the agent asks for; `note` is for the log."""

    state: Literal["running", "done", "failed"]
    note: str = ""
    retry_after_seconds: float | None = None


class Ledger(Protocol):
    """What the service gives a protocol that needs several paid requests for one call (language models).

    Each part is recorded, counted against the budget before it is sent, and answered from the records where a try
    before this one has had it already.
    """

    async def part(self, name: str, request: Any, send: Callable[[], Awaitable[Answer]]) -> Answer:
        """Return the answer of part `name`; `request` is plain JSON data with everything that matters for it."""
        ...


class Agent(Protocol):
    """One agent while a task talks to it; an async context manager.

    Errors are those of `scaffolder.errors`: AgentUnavailableError and AgentRateLimitedError are worth another try,
    with `in_doubt` set where the request may have been acted upon; all others are permanent.
    """

    conn_id: str
    #: ``rest``, ``llm`` or ``a2a``.
    protocol: str
    #: What matters for an answer besides the request (origin, default model), without secrets: part of the digest.
    identity: Mapping[str, Any]

    async def __aenter__(self) -> Self: ...

    async def __aexit__(self, *exc_info: object) -> None: ...

    async def prepare(self, request: CallRequest) -> CallRequest:
        """Check `request` before anything is recorded or sent. Raises a PermanentError; may fill in defaults."""
        ...

    def can_resend(self, request: CallRequest) -> bool:
        """Say whether `request` may be sent again when nobody knows what became of it (`Resend` ``auto``)."""
        ...

    async def call(self, request: CallRequest, *, idempotency_key: str, ledger: Ledger) -> Answer | Job:
        """Send the request, once."""
        ...

    async def recover(self, request: CallRequest, *, idempotency_key: str) -> Answer | Job | None:
        """Return what became of a request in doubt, where the agent can be asked; None where it can't, or has nothing.

        It is called for requests only that can't be sent again. Raises TransientError where it may tell later.
        """
        ...

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """Ask after a job, changing nothing there; one that the agent no longer knows has failed."""
        ...

    async def fetch_result(self, handle: Mapping[str, Any]) -> Answer:
        """Return the answer of a job that is done."""
        ...

    async def cancel(self, handle: Mapping[str, Any]) -> None:
        """Cancel a job; one that is over or gone is no error."""
        ...
