"""Lists the tools of an MCP server (revision 2025-06-18, streamable HTTP): they are listed, never called."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Self

from scaffolder.agents.http.failures import printable
from scaffolder.agents.http.messages import HttpAnswer, HttpRequest, parse_json
from scaffolder.errors import (
    AgentAnswerError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)

if TYPE_CHECKING:
    from scaffolder.agents.http.transport import AgentClient

log = logging.getLogger(__name__)

PROTOCOL_VERSION: Final = "2025-06-18"
MAX_TOOLS: Final = 10_000
_MAX_PAGES: Final = 1_000
_ACCEPT: Final = "application/json, text/event-stream"
_SHOWN_CHARACTERS: Final = 300
_SESSION: Final = "mcp-session-id"


class McpSession:
    """A session with the MCP server at `path` of `client`'s agent; an async context manager.

    `server` is what it says of itself: its ``serverInfo`` with ``instructions``. The bounds of one answer hold for the
    whole session: `Settings.max_agent_response_size`, and `timeout_seconds` from its making to its end, by default
    `Settings.agent_timeout_seconds`. Raises the errors of `AgentClient.send`, and AgentAnswerError where the agent
    does not speak MCP.
    """

    def __init__(self, client: AgentClient, path: str, *, timeout_seconds: float | None = None) -> None:
        self._timeout_seconds = client.settings.agent_timeout_seconds if timeout_seconds is None else timeout_seconds
        self._ends_at = time.monotonic() + self._timeout_seconds
        self._size = 0
        self._client = client
        self._path = path
        self._headers: tuple[tuple[str, str], ...] = ()
        self._number = 0
        self.server: Mapping[str, Any] = {}

    async def __aenter__(self) -> Self:
        answer, result = await self._ask(
            "initialize",
            {
                "protocolVersion": PROTOCOL_VERSION,
                "capabilities": {},
                "clientInfo": {"name": "airflow-scaffolder", "version": "1"},
            },
        )
        version = result.get("protocolVersion")
        if not isinstance(version, str):
            raise AgentAnswerError(f"{self._name} names no version of MCP; accepted is {PROTOCOL_VERSION}")
        self._headers = (("MCP-Protocol-Version", version),)
        if session := answer.headers.get(_SESSION):
            self._headers += (("Mcp-Session-Id", session),)
        info = result.get("serverInfo")
        self.server = {**(info if isinstance(info, Mapping) else {}), "instructions": result.get("instructions")}
        await self._post({"jsonrpc": "2.0", "method": "notifications/initialized"})
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        if not any(name == "Mcp-Session-Id" for name, _ in self._headers):
            return
        try:
            await self._send(HttpRequest(method="DELETE", path=self._path, headers=self._headers))
        except ScaffolderError as error:
            # Servers may refuse that; their sessions then end by themselves.
            log.info("The MCP session was left open: %s", error)

    async def list_tools(self) -> list[Mapping[str, Any]]:
        """Return all tools. Raises LimitExceededError for more than `MAX_TOOLS`."""
        tools: list[Mapping[str, Any]] = []
        cursor: str | None = None
        seen: set[str] = set()
        for _ in range(_MAX_PAGES):
            _, result = await self._ask("tools/list", {} if cursor is None else {"cursor": cursor})
            page = result.get("tools")
            if not isinstance(page, list):
                raise AgentAnswerError(f"{self._name} answered 'tools/list' without tools")
            tools += [tool for tool in page if isinstance(tool, Mapping)]
            if len(tools) > MAX_TOOLS:
                break
            cursor = result.get("nextCursor")
            if cursor is None:
                return tools
            if not isinstance(cursor, str) or cursor in seen:
                raise AgentAnswerError(f"{self._name} answered 'tools/list' with a cursor that leads in a circle")
            seen.add(cursor)
        raise LimitExceededError(f"{self._name} lists more than {MAX_TOOLS} tools, or {_MAX_PAGES} pages of them")

    @property
    def _name(self) -> str:
        return self._client.connection.name

    async def _ask(self, method: str, params: Mapping[str, Any]) -> tuple[HttpAnswer, Mapping[str, Any]]:
        self._number += 1
        answer = await self._post({"jsonrpc": "2.0", "id": self._number, "method": method, "params": params})
        message = next((one for one in self._read(answer) if one.get("id") == self._number), None)
        if message is None:
            raise AgentAnswerError(f"{self._name} answered {method!r} without a response to it; accepted is MCP")
        if isinstance(error := message.get("error"), Mapping):
            reason = printable(str(error.get("message")))[:_SHOWN_CHARACTERS]
            raise AgentRejectedError(f"{self._name} refused {method!r}: {reason}")
        if not isinstance(result := message.get("result"), Mapping):
            raise AgentAnswerError(f"{self._name} answered {method!r} without a result")
        return answer, result

    async def _post(self, message: Mapping[str, Any]) -> HttpAnswer:
        request = HttpRequest(
            method="POST",
            path=self._path,
            headers=self._headers,
            content=json.dumps(message).encode(),
            content_type="application/json",
        )
        return await self._send(request, accept=_ACCEPT)

    async def _send(self, request: HttpRequest, **options: Any) -> HttpAnswer:
        left = self._ends_at - time.monotonic()
        if left <= 0:
            raise AgentUnavailableError(f"{self._name} took longer than {self._timeout_seconds:g} s to list its tools")
        answer = await self._client.send(request, timeout_seconds=left, **options)
        self._size += len(answer.content)
        limit = self._client.settings.max_agent_response_size
        if self._size > limit:
            raise LimitExceededError(
                f"{self._name} answered more than {limit} bytes in all (SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE)"
            )
        return answer

    def _read(self, answer: HttpAnswer) -> list[Mapping[str, Any]]:
        if answer.media_type != "text/event-stream":
            data = answer.json()
            return [data] if isinstance(data, Mapping) else []
        messages = []
        for text in _read_events(answer.content):
            try:
                message = parse_json(text, max_depth=answer.max_json_depth)
            except ValueError as error:
                raise AgentAnswerError(
                    f"{self._name} sent an event that is no JSON ({type(error).__name__})"
                ) from error
            if isinstance(message, Mapping):
                messages.append(message)
        return messages


def _read_events(content: bytes) -> list[bytes]:
    """Return the data of the events of a stream (HTML, section 9.2.6, "Interpreting an event stream")."""
    events: list[bytes] = []
    data: list[bytes] = []
    for line in [*content.replace(b"\r\n", b"\n").replace(b"\r", b"\n").split(b"\n"), b""]:
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
        elif not line and data:
            events.append(b"\n".join(data))
            data = []
    return events
