"""A real agent that says what it offers: documents by path, with ETags, and an MCP server at /mcp."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal

TOKEN = "describe-token-5b3c"

Response = tuple[int, dict[str, str], bytes]


@dataclass
class DescriptionServer:
    """What is served. `failure` is a status that answers everything, `delay_seconds` are waited for before each
    answer; `requests` are those that came."""

    url: str = ""
    documents: dict[str, tuple[str, bytes]] = field(default_factory=dict)
    tools: list[list[dict[str, Any]]] | None = None
    cursors: list[str] = field(default_factory=list)
    mcp_answers: dict[str, Any] = field(default_factory=dict)
    as_events: bool = False
    failure: int | None = None
    delay_seconds: float = 0
    #: What a GET of /mcp does: it is not allowed, hangs as a stream without events does, or fails.
    get_behaviour: Literal["refuses", "hangs", "fails"] = "refuses"
    is_over: threading.Event = field(default_factory=threading.Event)
    requests: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)

    def serve(self, document: Any, path: str = "/openapi.json", media_type: str = "application/json") -> None:
        content = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.documents[path] = (media_type, content)

    def answer_mcp(self, message: dict[str, Any]) -> dict[str, Any] | None:
        method = message["method"]
        if method in self.mcp_answers:
            return {"jsonrpc": "2.0", "id": message.get("id"), **self.mcp_answers[method]}
        if method == "initialize":
            result: dict[str, Any] = {
                "protocolVersion": message["params"]["protocolVersion"],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "tools", "title": "Test tools", "version": "3"},
                "instructions": "Use them well.",
            }
        elif method == "tools/list":
            pages = self.tools or [[]]
            index = self.cursors.index(message["params"]["cursor"]) + 1 if "cursor" in message["params"] else 0
            result = {"tools": pages[index]}
            if index < len(self.cursors):
                result["nextCursor"] = self.cursors[index]
        else:
            return None
        return {"jsonrpc": "2.0", "id": message["id"], "result": result}

    def respond(self, method: str, path: str, headers: dict[str, str], body: bytes) -> Response:
        self.requests.append((method, path, headers, body))
        self.is_over.wait(self.delay_seconds)
        if self.failure is not None:
            return self.failure, {}, b""
        if path == "/mcp" and self.tools is not None:
            return self._respond_mcp(method, headers, body)
        if path not in self.documents or method != "GET":
            return 404, {"Content-Type": "application/json"}, b'{"title": "Not found"}'
        media_type, content = self.documents[path]
        etag = f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        if headers.get("if-none-match") == etag:
            return 304, {"ETag": etag}, b""
        return 200, {"ETag": etag, "Content-Type": media_type}, content

    def _respond_mcp(self, method: str, headers: dict[str, str], body: bytes) -> Response:
        if method == "GET" and self.get_behaviour == "hangs":
            self.is_over.wait(20)
        if method == "GET" and self.get_behaviour == "fails":
            return 500, {}, b""
        if method != "POST":
            return 405, {}, b""
        message = json.loads(body)
        is_first = message["method"] == "initialize"
        if not is_first and headers.get("mcp-session-id") != "session-1":
            return 400, {}, b""
        session = {"Mcp-Session-Id": "session-1"} if is_first else {}
        answer = self.answer_mcp(message)
        if answer is None:
            return 202, session, b""
        if not self.as_events:
            return 200, {**session, "Content-Type": "application/json"}, json.dumps(answer).encode()
        note = {"jsonrpc": "2.0", "method": "notifications/message", "params": {}}
        text = "".join(f": ping\r\nevent: message\r\ndata: {json.dumps(one)}\r\n\r\n" for one in (note, answer))
        return 200, {**session, "Content-Type": "text/event-stream"}, text.encode()


@contextmanager
def serve_descriptions() -> Iterator[DescriptionServer]:
    served = DescriptionServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            names = {name.lower(): value for name, value in self.headers.items()}
            status, headers, content = served.respond(self.command, self.path, names, body)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            if status != 304:
                self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _handle

        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield served
    finally:
        served.is_over.set()
        server.shutdown()
        server.server_close()
        thread.join()
