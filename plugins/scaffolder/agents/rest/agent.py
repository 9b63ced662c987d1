"""Agents with a REST API: described by OpenAPI, or called by method and path where nothing describes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from scaffolder.agents.contract import Answer, CallRequest, Job, JobStatus, Ledger, Pages, Usage
from scaffolder.agents.http.failures import printable
from scaffolder.agents.http.messages import HttpRequest
from scaffolder.agents.rest import jobs, pagination, undescribed
from scaffolder.errors import AgentAnswerError, AgentConfigurationError, AgentRejectedError

if TYPE_CHECKING:
    from scaffolder.agents.connection import AgentConnection
    from scaffolder.agents.discovery.registry import EndpointFinder
    from scaffolder.agents.openapi import OperationDefinition
    from scaffolder.config import Settings

# Methods whose second request has no effect of its own (RFC 9110, section 9.2.2; QUERY came with OpenAPI 3.2).
IDEMPOTENT_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE", "QUERY"})
_ACCEPTED: Final = 202
_MAX_WARNINGS: Final = 10
_MODEL_CHARACTERS: Final = 100
# More than any call can use: a count beyond it is a mistake, and would not fit into the records.
_MAX_TOKENS: Final = 10**12
# What agents call the tokens that they count: first OpenAI's Responses and Anthropic, then OpenAI's older API.
_TOKEN_COUNTS: Final = (("input_tokens", "output_tokens"), ("prompt_tokens", "completion_tokens"))


class RestAgent:
    """One REST agent while somebody talks to it. See `scaffolder.agents.contract.Agent`.

    `endpoints` finds operations; without it (in the triggerer) the agent can be asked after jobs only, or be called by
    method and path. `on_secret` is told every secret before it is used.
    """

    protocol = "rest"

    def __init__(
        self,
        connection: AgentConnection,
        *,
        settings: Settings,
        endpoints: EndpointFinder | None,
        on_secret: Callable[[str], None] = lambda _secret: None,
    ) -> None:
        from scaffolder.agents.http.transport import AgentClient

        self.conn_id = connection.conn_id
        self.identity: Mapping[str, Any] = {"protocol": "rest", "base_url": connection.base_url}
        self._name = connection.name
        self._settings = settings
        self._endpoints = endpoints
        self._client = AgentClient(connection, settings=settings, on_secret=on_secret, is_traced=True)
        self._jobs = jobs.JobClient(self._client)
        self._operations: dict[str, OperationDefinition] = {}

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self._client.aclose()

    async def prepare(self, request: CallRequest) -> CallRequest:
        """Find the operation and build the request, so that what does not fit is refused before anything is sent."""
        problems = jobs.find_problems(request.job) if request.job else []
        problems += pagination.find_problems(request.pages) if request.pages else []
        if request.job and request.pages:
            problems.append("it has both job and pages; accepted is one of them")
        sent = self._build(request, await self._find(request))
        if request.pages and sent.method != "GET":
            problems.append(f"it has pages, but its method is {sent.method}; accepted is GET")
        if problems:
            raise AgentRejectedError(f"{self._name}: {request.subject!r} was not sent: {'; '.join(problems)}")
        return request

    def can_resend(self, request: CallRequest) -> bool:
        """Say whether the method is idempotent, or the operation declares an Idempotency-Key."""
        if request.operation is None:
            return request.method in IDEMPOTENT_METHODS
        operation = self._operations.get(request.operation)
        return operation is not None and (
            operation.takes_idempotency_key or operation.method.upper() in IDEMPOTENT_METHODS
        )

    async def call(self, request: CallRequest, *, idempotency_key: str, ledger: Ledger) -> Answer | Job:
        """Send the request once; with `pages`, once for each page. An error in any page is the error of all."""
        operation = await self._find(request)
        sent = self._build(request, operation)
        if request.pages:
            return await self._read_pages(request.pages, request, operation, sent)
        answer = await self._client.send(sent, idempotency_key=idempotency_key, timeout_seconds=request.timeout_seconds)
        if answer.status == _ACCEPTED:
            if request.job is None:
                raise AgentAnswerError(
                    f"{self._name} answered {request.subject!r} with 202: it goes on working. Accepted is a step that "
                    "declares job"
                )
            return self._jobs.accept(request.job, answer)
        data = answer.json()
        flaws = operation.check_answer(answer.status, data) if operation else []
        return self._make_answer(request, flaws, data=data, status=answer.status, usage=read_usage(data))

    async def recover(self, request: CallRequest, *, idempotency_key: str) -> Answer | Job | None:
        """Return None: HTTP has no way to ask what became of a request."""
        return None

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """Ask after a job with a GET; one that the agent no longer knows has failed."""
        return await self._jobs.poll(handle)

    async def fetch_result(self, handle: Mapping[str, Any]) -> Answer:
        """Return the result of a job that is done."""
        result = await self._jobs.fetch_result(handle)
        return Answer(data=result.data, status=result.status, usage=read_usage(result.whole))

    async def cancel(self, handle: Mapping[str, Any]) -> None:
        """Cancel a job; one that is over or gone is no error."""
        await self._jobs.cancel(handle)

    async def _find(self, request: CallRequest) -> OperationDefinition | None:
        if request.operation is None:
            return None
        if request.operation not in self._operations:
            if self._endpoints is None:
                raise AgentConfigurationError(
                    f"{self._name}: operation {request.operation!r} cannot be looked up without the records"
                )
            self._operations[request.operation] = await self._endpoints.find(self._client, request.operation)
        return self._operations[request.operation]

    def _build(self, request: CallRequest, operation: OperationDefinition | None) -> HttpRequest:
        if operation is not None:
            return operation.build(request.parameters, request.body)
        if request.method is None or request.path is None:
            raise AgentRejectedError(
                f"{self._name} got a {request.subject}; accepted are operation, and method with path"
            )
        return undescribed.build_request(request.method, request.path, parameters=request.parameters, body=request.body)

    async def _read_pages(
        self, pages: Pages, request: CallRequest, operation: OperationDefinition | None, first: HttpRequest
    ) -> Answer:
        read: list[int] = []
        flaws: dict[str, None] = {}

        async def fetch(page: HttpRequest) -> pagination.Page:
            # No idempotency key: it stands for one request, and these are several.
            answer = await self._client.send(page, timeout_seconds=request.timeout_seconds)
            data = answer.json()
            read.append(answer.status)
            if operation is not None:
                flaws.update(dict.fromkeys(operation.check_answer(answer.status, data)))
            return pagination.Page(answer=answer, data=data)

        items = await pagination.read_pages(
            first,
            pages,
            name=f"{self._name}: {request.subject!r}",
            fetch=fetch,
            resolve=lambda reference, base: self._client.resolve(reference, base=base),
            max_size=self._settings.max_agent_response_size,
        )
        return self._make_answer(request, list(flaws), data=items, status=read[0], usage=None)

    def _make_answer(
        self, request: CallRequest, flaws: list[str], *, data: Any, status: int, usage: Usage | None
    ) -> Answer:
        """Return an answer with how it differs from its description: as warnings, or why the step refuses it."""
        warnings = self._warn(flaws)
        if warnings and request.on_invalid_response == "refuse":
            return Answer(data=data, status=status, usage=usage, refusal="; ".join(warnings))
        return Answer(data=data, status=status, usage=usage, warnings=warnings)

    def _warn(self, flaws: list[str]) -> tuple[str, ...]:
        warnings = [f"{self._name} answered what its description does not allow: {flaw}" for flaw in flaws]
        if len(warnings) > _MAX_WARNINGS:
            warnings[_MAX_WARNINGS:] = [f"… and {len(warnings) - _MAX_WARNINGS} more"]
        return tuple(warnings)


def read_usage(data: Any) -> Usage | None:
    """Return what an answer says it has consumed (``usage``, as language models have it), or None."""
    usage = data.get("usage") if isinstance(data, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    model = data.get("model")
    for names in _TOKEN_COUNTS:
        taken, made = (_read_count(usage.get(name)) for name in names)
        if taken is not None or made is not None:
            return Usage(
                input_tokens=taken or 0,
                output_tokens=made or 0,
                model=printable(model)[:_MODEL_CHARACTERS] if isinstance(model, str) and model else None,
            )
    return None


def _read_count(value: Any) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MAX_TOKENS
    return value if is_count else None
