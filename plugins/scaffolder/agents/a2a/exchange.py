"""A2A's operations over a2a-sdk, with plain data on our side.

Its bytes go through `AgentClient`, so that origin, deadline, size, credentials and TLS are as for every agent.
Importing this module loads the library (half a second, with protobuf), so that is left to who talks to an agent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import httpx
from a2a.client import ClientCallContext
from a2a.client.errors import A2AClientError
from a2a.client.transports import ClientTransport, JsonRpcTransport, RestTransport
from a2a.compat.v0_3.jsonrpc_transport import CompatJsonRpcTransport
from a2a.compat.v0_3.rest_transport import CompatRestTransport
from a2a.types import a2a_pb2 as a2a_types
from a2a.utils.constants import VERSION_HEADER
from a2a.utils.errors import (
    A2AError,
    InternalError,
    InvalidAgentResponseError,
    TaskNotCancelableError,
    TaskNotFoundError,
)
from google.protobuf import json_format, struct_pb2

from scaffolder.agents.a2a.card import JSON_RPC, AgentInterface
from scaffolder.agents.a2a.contents import Part, Reply
from scaffolder.agents.http.failures import clean, raise_for_status
from scaffolder.agents.http.messages import HttpAnswer, HttpRequest
from scaffolder.agents.http.transport import AgentClient
from scaffolder.errors import (
    AgentAnswerError,
    AgentJobError,
    AgentRejectedError,
    AgentUnavailableError,
    ScaffolderError,
)

# A triggerer has others to serve, and gives the end of a task half a minute.
_POLL_TIMEOUT_SECONDS: Final = 60
_CANCEL_TIMEOUT_SECONDS: Final = 7
#: By whether it is JSON-RPC, and whether it is 1.x.
_TRANSPORTS: Final[
    Mapping[tuple[bool, bool], Callable[[httpx.AsyncClient, a2a_types.AgentCard, str], ClientTransport]]
] = {
    (True, True): JsonRpcTransport,
    (False, True): RestTransport,
    (True, False): CompatJsonRpcTransport,
    (False, False): CompatRestTransport,
}
_ACCEPT: Final = "application/json, application/a2a+json, application/problem+json"
#: With these HTTP+JSON says what is wrong with a request (section 11.6 of the specification; the last one in 0.3).
_REFUSALS: Final = frozenset({400, 404, 409})
#: Where a message is looked for among the newest tasks: it is the first of its task.
_LISTED_TASKS: Final = 50
_LISTED_MESSAGES: Final = 10
#: Integers beyond are not exact as protobuf's numbers.
_MAX_EXACT: Final = 2**53


class Exchange:
    """The operations of one agent, by one of its interfaces."""

    def __init__(self, client: AgentClient, interface: AgentInterface) -> None:
        self._client = client
        self._name = client.connection.name
        self._tenant = interface.tenant
        version = "1.0" if interface.is_current else "0.3"
        # Deadlines are our client's: the library's own would be 5 s.
        http = httpx.AsyncClient(
            transport=_Transport(client),
            headers={VERSION_HEADER: version},
            timeout=httpx.Timeout(None),
            trust_env=False,
        )
        kind = _TRANSPORTS[interface.binding == JSON_RPC, interface.is_current]
        self._transport: ClientTransport = kind(http, a2a_types.AgentCard(), interface.url)

    async def aclose(self) -> None:
        """Let go of what the library holds; the client stays open."""
        await self._transport.close()

    async def send_message(
        self, parts: Sequence[Part], *, message_id: str, timeout_seconds: float | None = None
    ) -> Reply:
        """Send a message without waiting for its task. A repeated message has the same id (section 3.3.1)."""
        request = a2a_types.SendMessageRequest(
            tenant=self._tenant,
            message=a2a_types.Message(
                message_id=message_id, role=a2a_types.ROLE_USER, parts=[self._make_part(part) for part in parts]
            ),
            configuration=a2a_types.SendMessageConfiguration(return_immediately=True, history_length=0),
        )
        with self._translated():
            response = await self._transport.send_message(request, context=ClientCallContext(timeout=timeout_seconds))
            if response.HasField("task"):
                return self._read_task(response.task)
            if response.HasField("message"):
                return Reply(task_id=None, state="COMPLETED", parts=_read_parts(response.message.parts))
            raise AgentAnswerError(f"{self._name} answered with neither a task nor a message")

    async def get_task(self, task_id: str) -> Reply:
        """Return a task as it stands. Raises AgentJobError where the agent doesn't know it."""
        request = a2a_types.GetTaskRequest(tenant=self._tenant, id=task_id, history_length=0)
        with self._translated():
            try:
                context = ClientCallContext(timeout=_POLL_TIMEOUT_SECONDS)
                return self._read_task(await self._transport.get_task(request, context=context))
            except A2AError as error:
                # HTTP+JSON of 0.3 has the status and nothing that says why.
                if isinstance(error, TaskNotFoundError) or _find_status(error) == 404:
                    raise AgentJobError(f"{self._name} does not know the task") from None
                raise

    async def find_task(self, message_id: str, *, timeout_seconds: float) -> str | None:
        """Return the id of the task that a message began, if it is among the newest and the agent keeps messages."""
        request = a2a_types.ListTasksRequest(
            tenant=self._tenant, page_size=_LISTED_TASKS, history_length=_LISTED_MESSAGES
        )
        with self._translated():
            listed = await self._transport.list_tasks(request, context=ClientCallContext(timeout=timeout_seconds))
        for task in listed.tasks:
            if any(message.message_id == message_id for message in task.history):
                return str(task.id)
        return None

    async def cancel_task(self, task_id: str) -> None:
        """Cancel a task; one that is over or gone is no error."""
        request = a2a_types.CancelTaskRequest(tenant=self._tenant, id=task_id)
        with self._translated():
            try:
                await self._transport.cancel_task(request, context=ClientCallContext(timeout=_CANCEL_TIMEOUT_SECONDS))
            except (TaskNotFoundError, TaskNotCancelableError):
                return
            except A2AError as error:
                # HTTP+JSON of 0.3 has the status and nothing that says why.
                status = _find_status(error)
                if status != 404 and (status not in _REFUSALS or (await self.get_task(task_id)).is_running):
                    raise

    def _make_part(self, part: Part) -> a2a_types.Part:
        made = a2a_types.Part(filename=part.filename, media_type=part.media_type)
        try:
            if part.kind == "data":
                made.data.CopyFrom(json_format.ParseDict(part.value, struct_pb2.Value()))
            else:
                setattr(made, part.kind, part.value)
        except (json_format.Error, ValueError) as error:
            raise AgentRejectedError(
                f"{self._name}: a part of kind {part.kind!r} cannot be sent: {type(error).__name__}. Accepted are text "
                "that is Unicode, and JSON of less than 100 levels"
            ) from error
        return made

    def _read_task(self, task: a2a_types.Task) -> Reply:
        if not task.id:
            raise AgentAnswerError(f"{self._name} answered with a task without an id")
        status = _read_parts(task.status.message.parts)
        # Artifacts are the results; some agents have none and say it all with the last status.
        results = [part for artifact in task.artifacts for part in _read_parts(artifact.parts)]
        return Reply(
            task_id=task.id,
            state=a2a_types.TaskState.Name(task.status.state).removeprefix("TASK_STATE_"),
            status_text="\n".join(part.value for part in status if part.kind == "text"),
            parts=tuple(results) if task.artifacts else status,
        )

    @contextmanager
    def _translated(self) -> Iterator[None]:
        # None of the library's errors is kept as the cause: they repeat, as it came, what the agent said.
        try:
            yield
        except A2AError as error:
            raise self._make_error(error) from None
        except NotImplementedError:
            raise AgentRejectedError(f"{self._name} speaks A2A 0.3, which cannot do that") from None
        except (json_format.Error, LookupError, TypeError, ValueError, AttributeError, RecursionError) as error:
            raise AgentAnswerError(
                f"{self._name} answered what is not A2A: the library raises {type(error).__name__}"
            ) from None

    def _make_error(self, error: A2AError) -> ScaffolderError:
        """Return the error of ours that `error` is."""
        if isinstance(error.__cause__, httpx.HTTPStatusError):
            response = error.__cause__.response
            answer = HttpAnswer(
                status=response.status_code,
                headers=dict(response.headers),
                content=response.content,
                url=str(response.url),
            )
            try:
                raise_for_status(answer, self._name, self._client.secrets)
            except ScaffolderError as failure:
                return failure
        message = f"{self._name} answered with an error: {clean(str(error.message), self._client.secrets)}"
        if isinstance(error, InternalError):
            return AgentUnavailableError(message, in_doubt=True)
        # A2AClientError is what the library raises for answers that it can't make out.
        if isinstance(error, InvalidAgentResponseError | A2AClientError):
            return AgentAnswerError(message)
        return AgentRejectedError(message)


class _Transport(httpx.AsyncBaseTransport):
    """Hands the library's requests to our client. What that raises passes through the library as it is."""

    def __init__(self, client: AgentClient) -> None:
        self._client = client

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        answer = await self._client.send(
            HttpRequest(
                method=request.method,
                path=str(request.url),
                headers=tuple((name, value) for name, value in request.headers.multi_items() if "a2a-" in name.lower()),
                content=await request.aread() or None,
                content_type=request.headers.get("content-type"),
            ),
            timeout_seconds=request.extensions["timeout"]["read"],
            accept=_ACCEPT,
            allow=_REFUSALS,
        )
        if answer.status not in _REFUSALS:
            answer.json()  # the library reads JSON again, and is less strict
        return httpx.Response(answer.status, headers=dict(answer.headers), content=answer.content, request=request)


def _find_status(error: A2AError) -> int | None:
    """Return the HTTP status that an error of the library came with, if it wasn't 200."""
    return error.__cause__.response.status_code if isinstance(error.__cause__, httpx.HTTPStatusError) else None


def _read_parts(parts: Sequence[a2a_types.Part]) -> tuple[Part, ...]:
    return tuple(_read_part(part) for part in parts)


def _read_part(part: a2a_types.Part) -> Part:
    kind: Any = part.WhichOneof("content") or "unknown"
    value = None if kind == "unknown" else _make_plain(part.data) if kind == "data" else getattr(part, kind)
    return Part(kind=kind, value=value, filename=part.filename, media_type=part.media_type)


def _make_plain(value: struct_pb2.Value) -> Any:
    """Return JSON data the same each time: protobuf has no integers, and no order of names."""
    kind = value.WhichOneof("kind")
    if kind == "struct_value":
        return {name: _make_plain(value.struct_value.fields[name]) for name in sorted(value.struct_value.fields)}
    if kind == "list_value":
        return [_make_plain(item) for item in value.list_value.values]
    if kind == "number_value":
        number = value.number_value
        return int(number) if number.is_integer() and abs(number) <= _MAX_EXACT else number
    return None if kind in {"null_value", None} else getattr(value, kind)
