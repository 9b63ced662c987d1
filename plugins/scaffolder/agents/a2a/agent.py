"""`A2aAgent`: an agent that speaks A2A, as a step talks to it: one message, then a task that is asked after."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Self

from scaffolder.agents.a2a.card import AgentCard, AgentInterface, parse_card
from scaffolder.agents.a2a.contents import Part, Reply, make_data, read_message
from scaffolder.agents.connection import AgentConnection, find_origin
from scaffolder.agents.contract import Answer, CallRequest, Job, JobRule, JobStatus, Ledger
from scaffolder.agents.http.failures import clean, printable
from scaffolder.agents.http.messages import HttpRequest
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentConfigurationError,
    AgentJobError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    PermanentError,
    TransientError,
)

if TYPE_CHECKING:
    from scaffolder.agents.a2a.exchange import Exchange

log = logging.getLogger(__name__)

_COMPLETED: Final = "COMPLETED"
#: How a task ends that brings nothing; a step can't go on with one that waits for somebody.
_ENDINGS: Final = {
    "FAILED": "failed",
    "CANCELED": "was cancelled there",
    "REJECTED": "was refused",
    "INPUT_REQUIRED": "asks for input, which a step cannot give",
    "AUTH_REQUIRED": "asks for other credentials, which a step cannot give",
}
#: After a request whose fate is unknown somebody waits already.
_LOOK_UP_SECONDS: Final = 30


class A2aAgent:
    """An agent that speaks A2A 1.x by JSON-RPC or HTTP+JSON, or 0.3 where it has nothing newer.

    Tasks are polled: agents are asked neither to stream nor to notify. A message is sent without a context id, which
    an agent need not accept from a client (section 3.4.1 of the specification), and with the call's key as its id.

    An answer is ``{text, data, files, task_id}``, see `contents.make_data`. Parts with a file name are files. Those
    that are a URL are fetched where it is of the connection's own origin, and refused otherwise.
    """

    protocol = "a2a"

    def __init__(
        self,
        connection: AgentConnection,
        *,
        settings: Settings,
        on_secret: Callable[[str], None] = lambda _: None,
    ) -> None:
        from scaffolder.agents.http.transport import AgentClient

        self.conn_id = connection.conn_id
        self.identity: Mapping[str, Any] = {"protocol": "a2a", "base_url": connection.base_url}
        self._connection = connection
        self._name = connection.name
        self._settings = settings
        self._client = AgentClient(connection, settings=settings, on_secret=on_secret, is_traced=True)
        self._exchanges: dict[AgentInterface, Exchange] = {}
        self._interface: AgentInterface | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        for exchange in self._exchanges.values():
            await exchange.aclose()
        await self._client.aclose()

    async def prepare(self, request: CallRequest) -> CallRequest:
        """Check the message and the agent's card. Raises AgentRejectedError and AgentConfigurationError."""
        if request.message is None:
            raise AgentRejectedError(f"{self._name} takes a message; given is {request.subject!r}")
        for name in ("poll_seconds", "timeout_seconds"):
            if request.job and not getattr(request.job, name) > 0:
                raise AgentRejectedError(f"job.{name} is {getattr(request.job, name)}; accepted is more than 0")
        files = sum(1 for part in read_message(request.message) if part.filename)
        if files > self._settings.max_agent_files:
            raise LimitExceededError(
                f"message has {files} files; accepted are up to {self._settings.max_agent_files} "
                "(SCAFFOLDER_MAX_AGENT_FILES)"
            )
        await self._choose_interface()
        return request

    def can_resend(self, request: CallRequest) -> bool:
        """Return False: agents need not notice that a message comes twice (section 3.3.1 of the specification).

        What the specification offers instead is used by `recover`.
        """
        return False

    async def call(self, request: CallRequest, *, idempotency_key: str, ledger: Ledger) -> Answer | Job:
        """Send the message, once.

        Raises AgentJobError where the task has ended without a result, or waits for somebody.
        """
        interface = await self._choose_interface()
        exchange = await self._open(interface)
        reply = await exchange.send_message(
            read_message(request.message), message_id=idempotency_key, timeout_seconds=request.timeout_seconds
        )
        return await self._settle(reply, interface, request)

    async def recover(self, request: CallRequest, *, idempotency_key: str) -> Answer | Job | None:
        """Look for the message among the agent's tasks; agents of 0.3 can't list theirs.

        Raises TransientError where the agent is away: it may be able to tell later.
        """
        interface = await self._choose_interface()
        found = await self._find_task(await self._open(interface), idempotency_key)
        if found is None:
            return None
        log.info("The answer was lost, but the message has become a task: %s", self._describe_task(found))
        return await self._settle(found, interface, request)

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """Ask after a task."""
        try:
            reply = await self._get_task(handle)
        except AgentJobError as error:
            return JobStatus(state="failed", note=str(error))
        if reply.is_running:
            return JobStatus(state="running", note=clean(reply.status_text, self._client.secrets))
        if reply.state == _COMPLETED:
            return JobStatus(state="done")
        return JobStatus(state="failed", note=self._describe_ending(reply))

    async def fetch_result(self, handle: Mapping[str, Any]) -> Answer:
        """Return the answer of a completed task. Raises AgentJobError where it isn't."""
        reply = await self._get_task(handle)
        if reply.is_running:
            raise AgentJobError(f"{self._describe_task(reply)} is still at work")
        return await self._make_answer(reply)

    async def cancel(self, handle: Mapping[str, Any]) -> None:
        """Cancel a task; one that is over or gone is no error."""
        exchange = await self._open(AgentInterface(**handle["interface"]))
        await exchange.cancel_task(handle["task_id"])

    async def fetch_card(self) -> AgentCard:
        """Return what the agent says of itself."""
        answer = await self._client.send(HttpRequest(method="GET", path=self._connection.description_path))
        return parse_card(answer.json())

    # Finding the way

    async def _choose_interface(self) -> AgentInterface:
        """Return the first interface of the card that we speak and that is of the connection's own origin."""
        if self._interface is None:
            try:
                card = await self.fetch_card()
            except AgentUnavailableError as error:
                # Whatever became of this request, no message has been sent.
                raise AgentUnavailableError(str(error), retry_after_seconds=error.retry_after_seconds) from error
            own = [resolved for one in card.interfaces if (resolved := self._resolve(one)) is not None]
            spoken = [one for one in own if one.is_current] or [one for one in own if one.is_legacy]
            if not spoken:
                raise AgentConfigurationError(
                    f"{self._name}: its card offers {[_describe(one) for one in card.interfaces]}; accepted are "
                    f"JSONRPC and HTTP+JSON of A2A 1.x or 0.3 at {self._connection.origin}"
                )
            self._interface = spoken[0]
        return self._interface

    def _resolve(self, interface: AgentInterface) -> AgentInterface | None:
        try:
            return replace(interface, url=self._client.resolve(interface.url))
        except AgentRejectedError:
            return None

    async def _open(self, interface: AgentInterface) -> Exchange:
        if interface not in self._exchanges:
            # In a thread: importing takes half a second, in which a triggerer has others to serve.
            module = await asyncio.to_thread(import_module, "scaffolder.agents.a2a.exchange")
            self._exchanges.setdefault(interface, module.Exchange(self._client, interface))
        return self._exchanges[interface]

    # Tasks and answers

    async def _get_task(self, handle: Mapping[str, Any]) -> Reply:
        exchange = await self._open(AgentInterface(**handle["interface"]))
        return await exchange.get_task(handle["task_id"])

    async def _find_task(self, exchange: Exchange, message_id: str) -> Reply | None:
        """Return the task that the agent has made of a message, or None where it has none, or doesn't say."""
        try:
            task_id = await exchange.find_task(message_id, timeout_seconds=_LOOK_UP_SECONDS)
            return await exchange.get_task(task_id) if task_id else None
        except PermanentError as error:
            log.info("Whether the agent has the message cannot be found out: %s", error)
            return None

    async def _settle(self, reply: Reply, interface: AgentInterface, request: CallRequest) -> Answer | Job:
        """Return what a reply to a message comes to."""
        rule = request.job or JobRule()
        job = Job(
            handle={"task_id": reply.task_id, "interface": interface.as_data()},
            poll_seconds=rule.poll_seconds,
            timeout_seconds=rule.timeout_seconds,
        )
        if reply.is_running:
            return job
        try:
            return await self._make_answer(reply)
        except TransientError as error:
            # The message has been acted upon; only files of the answer couldn't be fetched.
            if reply.task_id is None:
                raise AgentUnavailableError(str(error), in_doubt=True) from error
            log.info("%s is done; its files are fetched later: %s", self._describe_task(reply), error)
            return job

    async def _make_answer(self, reply: Reply) -> Answer:
        """Return the answer of a reply that is over. Raises AgentJobError where it brings none."""
        if reply.state != _COMPLETED:
            raise AgentJobError(f"{self._describe_task(reply)} {self._describe_ending(reply)}")
        count = sum(1 for part in reply.parts if part.filename)
        if count > self._settings.max_agent_files:
            raise LimitExceededError(
                f"{self._name} answered {count} files; accepted are up to {self._settings.max_agent_files} "
                "(SCAFFOLDER_MAX_AGENT_FILES)"
            )
        parts = await self._fetch_files(reply.parts)
        lost = [part for part in parts if part.kind == "unknown" or (part.kind in {"raw", "url"} and not part.filename)]
        warning = f"{self._name}: {len(lost)} part(s) of the answer are left out: of an unknown kind, or without a name"
        return Answer(data=make_data(parts, task_id=reply.task_id), warnings=(warning,) if lost else ())

    async def _fetch_files(self, parts: tuple[Part, ...]) -> list[Part]:
        """Return `parts` with the content of files that are a URL. Raises AgentRejectedError for one of elsewhere."""
        size_bytes = 0
        fetched: list[Part] = []
        for part in parts:
            if part.kind == "url" and part.filename:
                path = self._client.resolve(part.value)
                answer = await self._client.send(HttpRequest(method="GET", path=path), accept="*/*")
                size_bytes += len(answer.content)
                if size_bytes > self._settings.max_agent_response_size:
                    raise LimitExceededError(
                        f"{self._name} answered files of more than "
                        f"{self._settings.max_agent_response_size} bytes (SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE)"
                    )
                fetched.append(replace(part, kind="raw", value=answer.content))
            else:
                fetched.append(part)
        return fetched

    def _describe_task(self, reply: Reply) -> str:
        return f"{self._name}: task {clean(reply.task_id or '', self._client.secrets, limit=100)!r}"

    def _describe_ending(self, reply: Reply) -> str:
        """Return what became of a task that brings no answer. Raises AgentAnswerError for an unknown state."""
        if reply.state not in _ENDINGS:
            raise AgentAnswerError(
                f"{self._describe_task(reply)} is in state {reply.state!r}; accepted are "
                f"{['SUBMITTED', 'WORKING', _COMPLETED, *_ENDINGS]}"
            )
        said = clean(reply.status_text, self._client.secrets)
        return f"{_ENDINGS[reply.state]}: {said}" if said else _ENDINGS[reply.state]


def _describe(interface: AgentInterface) -> str:
    # Of an address elsewhere only the origin is said.
    origin = find_origin(interface.url) or "no URL"
    return printable(f"{interface.binding} {interface.version} at {origin}")[:200]
