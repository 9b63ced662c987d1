"""A real A2A agent on a2a-sdk's own server: both bindings, 1.0 and 0.3, behind a bearer token. It does as it is told."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from a2a.helpers import new_task_from_user_message, new_text_message
from a2a.server.agent_execution import AgentExecutor, RequestContext
from a2a.server.events import EventQueue
from a2a.server.request_handlers import DefaultRequestHandler
from a2a.server.routes import create_jsonrpc_routes, create_rest_routes
from a2a.server.tasks import InMemoryTaskStore, TaskUpdater
from a2a.types import a2a_pb2 as types
from google.protobuf import json_format, struct_pb2
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

TOKEN = "agent-token-5c4b3a"
BINARY = bytes(range(256))
SKILL = {
    "id": "models",
    "name": "Models",
    "description": "Makes models",
    "tags": ["code"],
    "examples": ["a pet"],
    "inputModes": ["text/plain"],
    "outputModes": ["application/json"],
}


@dataclass
class A2aServer:
    """The agent while a test talks to it.

    `card` is what it says of itself. `sent` are the messages that it got, `requests` every request as (method, path,
    headers). `answer_instead` may answer a request instead of the agent, before or, with `after`, once it has acted.
    """

    url: str = ""
    card: Any = None
    sent: list[types.Message] = field(default_factory=list)
    requests: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    answer_instead: Callable[[str], Response | None] = lambda _: None
    after: bool = False
    released: threading.Event = field(default_factory=threading.Event)

    def make_card(self, *bindings: str, version: str = "1.0", url: str | None = None) -> dict[str, Any]:
        """Return a card with these interfaces, in this order."""
        paths = {"JSONRPC": "/rpc", "HTTP+JSON": "/rest"}
        return {
            "name": "Test agent",
            "version": "7",
            "description": "For tests",
            "capabilities": {},
            "skills": [SKILL],
            "supportedInterfaces": [
                {
                    "url": (url or self.url) + paths.get(binding, "/other"),
                    "protocolBinding": binding,
                    "protocolVersion": version,
                }
                for binding in bindings
            ],
        }


class _Executor(AgentExecutor):
    """Does what the text of the message says."""

    def __init__(self, server: A2aServer) -> None:
        self._server = server

    async def execute(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.message is not None
        self._server.sent.append(context.message)
        order = context.get_user_input()
        if order == "say hello":
            await event_queue.enqueue_event(new_text_message("hello", role=types.ROLE_AGENT))
            return
        if order == "say file":
            part = types.Part(url=f"{self._server.url}/files/out.txt", filename="out.txt")
            await event_queue.enqueue_event(types.Message(message_id="1", role=types.ROLE_AGENT, parts=[part]))
            return
        task = new_task_from_user_message(context.message)
        await event_queue.enqueue_event(task)
        updater = TaskUpdater(event_queue, task.id, task.context_id)
        await _ORDERS[order](self._server, updater, context.message)

    async def cancel(self, context: RequestContext, event_queue: EventQueue) -> None:
        assert context.task_id is not None
        assert context.context_id is not None
        await TaskUpdater(event_queue, context.task_id, context.context_id).cancel()


async def _work(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    await updater.start_work(updater.new_agent_message([types.Part(text="thinking\x1b[31m")]))
    for _ in range(2_000):
        if server.released.is_set():
            break
        await asyncio.sleep(0.005)
    await updater.add_artifact([types.Part(text="first"), types.Part(text="second")])
    await updater.complete()


async def _make_files(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    data = json_format.ParseDict({"port": 8080, "b": [1, 2.5, None, True], "a": {}}, struct_pb2.Value())
    await updater.add_artifact(
        [
            types.Part(raw="print('ä')\r\n".encode(), filename="src/main.py", media_type="text/x-python"),
            types.Part(raw=BINARY, filename="logo.png"),
            types.Part(text="# Title\n", filename="README.md"),
            types.Part(data=data, filename="config.json"),
            types.Part(data=data),
            types.Part(text="done"),
            types.Part(raw=b"nameless"),
        ]
    )
    await updater.complete()


async def _echo(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    await updater.add_artifact(list(message.parts))
    await updater.complete()


async def _link(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    url = "https://elsewhere.example/secret-path" if "elsewhere" in message.parts[0].text else f"{server.url}/files/a"
    await updater.add_artifact([types.Part(url=url, filename="a.bin")])
    await updater.complete()


async def _complete(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    await updater.complete(updater.new_agent_message([types.Part(text="all said")]))


async def _fail(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    await updater.failed(updater.new_agent_message([types.Part(text=f"no\n\x1b[31m{TOKEN} left")]))


async def _reject(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    await updater.reject()


async def _ask(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    await updater.requires_input(updater.new_agent_message([types.Part(text="which one?")]))


async def _ask_for_credentials(server: A2aServer, updater: TaskUpdater, message: types.Message) -> None:
    await updater.requires_auth()


_ORDERS: dict[str, Callable[[A2aServer, TaskUpdater, types.Message], Awaitable[None]]] = {
    "work": _work,
    "make files": _make_files,
    "echo": _echo,
    "link": _link,
    "link elsewhere": _link,
    "complete": _complete,
    "fail": _fail,
    "reject": _reject,
    "ask": _ask,
    "ask for credentials": _ask_for_credentials,
}


@contextmanager
def serve_a2a() -> Iterator[A2aServer]:
    """Serve one agent on a port of its own."""
    server = A2aServer()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.card = server.make_card("JSONRPC", "HTTP+JSON")
        config = uvicorn.Config(_make_app(server), log_config=None, ws="none", lifespan="off")
        running = uvicorn.Server(config)
        thread = threading.Thread(target=running.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.released.set()
            running.should_exit = True
            thread.join(timeout=10)
            assert not thread.is_alive()


def _make_app(server: A2aServer) -> Any:
    card = json_format.ParseDict(server.make_card("JSONRPC"), types.AgentCard())
    handler = DefaultRequestHandler(_Executor(server), InMemoryTaskStore(), card)
    files = {"/files/a": BINARY, "/files/out.txt": b"out"}

    async def show_card(_: Request) -> Response:
        return server.card if isinstance(server.card, Response) else JSONResponse(server.card)

    async def show_file(request: Request) -> Response:
        return Response(files[request.url.path], media_type="application/octet-stream")

    inner = Starlette(
        routes=[
            Route("/.well-known/agent-card.json", show_card),
            Route("/files/{name}", show_file),
            *create_jsonrpc_routes(handler, "/rpc", enable_v0_3_compat=True),
            *create_rest_routes(handler, path_prefix="/rest", enable_v0_3_compat=True),
        ]
    )

    async def app(scope: Any, receive: Any, send: Any) -> None:
        request = Request(scope)
        server.requests.append((request.method, request.url.path, dict(request.headers)))
        if request.headers.get("authorization") != f"Bearer {TOKEN}":
            await JSONResponse({"title": "who are you?"}, status_code=401)(scope, receive, send)
            return
        instead = server.answer_instead(request.url.path)
        if instead is None:
            await inner(scope, receive, send)
            return
        if server.after:
            await inner(scope, receive, _swallow)
        await instead(scope, receive, send)

    return app


async def _swallow(_: Any) -> None:
    """Take an answer that gets lost."""


def answer_json_rpc(**content: Any) -> Response:
    """Return a JSON-RPC answer that no library of ours has made."""
    return Response(json.dumps({"jsonrpc": "2.0", "id": "1", **content}), media_type="application/json")
