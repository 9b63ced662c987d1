"""Real servers for tests: an agent that answers as told, byte for byte where asked, and git over HTTP with a password."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

DESCRIPTION: dict[str, Any] = {
    "openapi": "3.1.0",
    "info": {"title": "Test agent", "version": "1"},
    "paths": {
        "/v1/models": {
            "post": {
                "operationId": "generateModels",
                "parameters": [{"name": "Idempotency-Key", "in": "header"}],
                "requestBody": {
                    "required": True,
                    "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Request"}}},
                },
                "responses": {"200": {"description": "ok"}},
            }
        },
        "/v1/items/{item}": {
            "parameters": [{"$ref": "#/components/parameters/Item"}],
            "get": {
                "operationId": "getItem",
                "parameters": [{"name": "verbose", "in": "query"}, {"name": "X-Trace", "in": "header"}],
                "responses": {"200": {"description": "ok"}},
            },
        },
    },
    "components": {
        "parameters": {"Item": {"name": "item", "in": "path", "required": True, "schema": {"type": "string"}}},
        "schemas": {
            "Request": {
                "type": "object",
                "properties": {"document": {"type": "string"}, "name": {"$ref": "#/components/schemas/Name"}},
                "required": ["document"],
                "additionalProperties": False,
            },
            "Name": {"type": "string", "pattern": "^[a-z]+$"},
        },
    },
}


@dataclass
class AgentServer:
    """An agent. `answers` are given one after the other, the last one for ever; `requests` are those it got."""

    url: str = ""
    token: str = "agent-token-1f2e3d"
    description: Any = field(default_factory=lambda: DESCRIPTION)
    answers: list[Any] = field(default_factory=list)
    requests: list[dict[str, Any]] = field(default_factory=list)

    def answer(self, *answers: Any) -> None:
        """Set the answers: (status, headers, body) or a function of the handler that writes what it likes."""
        self.answers = list(answers)


def json_answer(data: Any, *, status: int = 200, **headers: str) -> tuple[int, dict[str, str], bytes]:
    return status, {"Content-Type": "application/json"} | headers, json.dumps(data).encode()


@contextmanager
def serve_agent() -> Iterator[AgentServer]:
    agent = AgentServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = self.rfile.read(length)
            if self.headers.get("Authorization") != f"Bearer {agent.token}":
                self._send(*json_answer({"title": "Unauthorized", "detail": "wrong token"}, status=401))
            elif self.path == "/openapi.json":
                self._send(*json_answer(agent.description))
            else:
                request = {"method": self.command, "path": self.path, "headers": dict(self.headers), "body": body}
                agent.requests.append(request)
                answer = agent.answers.pop(0) if len(agent.answers) > 1 else agent.answers[0]
                if callable(answer):
                    answer(self)
                    self.close_connection = True
                else:
                    self._send(*answer)

        def _send(self, status: int, headers: dict[str, str], body: bytes) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with _serving(Handler) as url:
        agent.url = url
        yield agent


@dataclass
class GitServer:
    """git over HTTP below `root`, for one user with a password; `refuse_pushes` is a hook's reason for refusing."""

    url: str
    root: Path
    username: str = "ada"
    password: str = "git-p4ssword-9a8b7c"

    def create(self, name: str, *, refuse_pushes: str | None = None) -> Path:
        directory = self.root / f"{name}.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", str(directory)], check=True)
        subprocess.run(["git", "-C", str(directory), "config", "http.receivepack", "true"], check=True)
        if refuse_pushes:
            hook = directory / "hooks" / "pre-receive"
            hook.parent.mkdir(exist_ok=True)
            hook.write_text(f"#!/bin/sh\nprintf '%s\\n' '{refuse_pushes}' >&2\nexit 1\n")
            hook.chmod(0o755)
        return directory


@contextmanager
def serve_git(root: Path) -> Iterator[GitServer]:
    """Serve `root` with git's own http-backend as a CGI program."""
    server = GitServer(url="", root=root)

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            expected = base64.b64encode(f"{server.username}:{server.password}".encode()).decode()
            if self.headers.get("Authorization") != f"Basic {expected}":
                self.send_response(401)
                self.send_header("WWW-Authenticate", 'Basic realm="git"')
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self._run_backend()

        def _run_backend(self) -> None:
            parts = urlsplit(self.path)
            body = self._read_body()
            environment = os.environ | {
                "GIT_PROJECT_ROOT": str(root),
                "GIT_HTTP_EXPORT_ALL": "1",
                "REQUEST_METHOD": self.command,
                "PATH_INFO": parts.path,
                "QUERY_STRING": parts.query,
                "CONTENT_TYPE": self.headers.get("Content-Type", ""),
                "CONTENT_LENGTH": str(len(body)),
                "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
                "REMOTE_USER": server.username,
            }
            finished = subprocess.run(
                ["git", "http-backend"], input=body, env=environment, capture_output=True, check=False
            )
            head, _, content = finished.stdout.partition(b"\r\n\r\n")
            headers = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
            self.send_response(int(headers.pop("Status", "200").split()[0]))
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _read_body(self) -> bytes:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
            return body

        do_GET = do_POST = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with _serving(Handler) as url:
        server.url = url
        yield server


@contextmanager
def _serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def drip(handler: Any) -> None:
    """Answer for ever, one byte at a time."""
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1000000\r\n\r\n")
    for _ in range(1_000):
        time.sleep(0.1)
        try:
            handler.wfile.write(b" ")
            handler.wfile.flush()
        except OSError:
            return
