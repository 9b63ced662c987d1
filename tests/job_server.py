"""A REST agent on 127.0.0.1 in a thread and event loop of its own: any method, thousands of requests at a time."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.http.authentication import BearerToken

TOKEN = "job-token-7d6e5f"


@dataclass(frozen=True)
class Received:
    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, str]:
        return dict(parse_qsl(urlsplit(self.target).query, keep_blank_values=True))


@dataclass(frozen=True)
class Reply:
    """What to answer; `delay` seconds later."""

    data: Any = None
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    content: bytes | None = None
    delay: float = 0.0

    def to_bytes(self) -> bytes:
        headers = {"Content-Type": "application/json"} | self.headers
        content = b"" if self.data is None else json.dumps(self.data).encode()
        content = self.content if self.content is not None else content
        lines = [f"HTTP/1.1 {self.status} X", *(f"{name}: {value}" for name, value in headers.items())]
        return "\r\n".join([*lines, f"Content-Length: {len(content)}", "", ""]).encode() + content


@dataclass
class RestServer:
    """Answers with what `answer` returns; keeps what it got in `requests`."""

    answer: Callable[[Received], Reply] = lambda _request: Reply(status=404)
    url: str = ""
    requests: list[Received] = field(default_factory=list)

    @property
    def connection(self) -> AgentConnection:
        return AgentConnection(conn_id="rest_agent", base_url=self.url, authentication=BearerToken(token=TOKEN))

    def script(self, *replies: Reply) -> None:
        """Give these replies one after the other, the last one for ever."""
        waiting = list(replies)
        self.answer = lambda _request: waiting.pop(0) if len(waiting) > 1 else waiting[0]

    @property
    def targets(self) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.requests]


@dataclass
class JobService:
    """Jobs below ``/jobs`` that take `seconds`; POST makes one, GET asks, DELETE cancels."""

    seconds: float = 1.0
    started: dict[str, float] = field(default_factory=dict)
    cancelled: set[str] = field(default_factory=set)
    methods: Counter[str] = field(default_factory=Counter)

    def start(self) -> str:
        job = str(len(self.started) + 1)
        self.started[job] = time.monotonic()
        return job

    def answer(self, request: Received) -> Reply:
        self.methods[request.method] += 1
        if request.method == "POST":
            job = self.start()
            return Reply({"id": job}, status=202, headers={"Location": f"/jobs/{job}"})
        job = request.path.rpartition("/")[2]
        if job not in self.started:
            return Reply({"detail": "no such job"}, status=404)
        if request.method == "DELETE":
            self.cancelled.add(job)
            return Reply(status=204)
        if job in self.cancelled:
            return Reply({"status": "cancelled", "detail": "as was asked"})
        if time.monotonic() - self.started[job] < self.seconds:
            return Reply({"status": "running"}, status=202)
        return Reply({"status": "succeeded", "result": {"job": job}})


@contextmanager
def serve_rest(answer: Callable[[Received], Reply] | None = None) -> Iterator[RestServer]:
    server = RestServer() if answer is None else RestServer(answer)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def run() -> None:
        connections: set[asyncio.Task[None]] = set()

        async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            connections.add(task)
            try:
                with suppress(asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
                    await _talk(server, reader, writer)
            finally:
                connections.discard(asyncio.current_task())
                writer.transport.abort()
                with suppress(ConnectionError):
                    await writer.wait_closed()

        listening = await asyncio.start_server(talk, "127.0.0.1", 0, backlog=2048)
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        listening.close()
        talking = list(connections)
        for task in talking:
            task.cancel()
        await asyncio.gather(*talking, return_exceptions=True)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()), daemon=True)
    thread.start()
    started.wait()
    try:
        yield server
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


async def _talk(server: RestServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while True:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        method, target, _ = head[0].split(" ")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:-2])}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Received(method, target, headers, body)
        server.requests.append(request)
        if headers.get("authorization") != f"Bearer {TOKEN}":
            reply = Reply({"detail": "wrong token"}, status=401)
        else:
            reply = server.answer(request)
        if reply.delay:
            await asyncio.sleep(reply.delay)
        writer.write(reply.to_bytes())
        await writer.drain()
