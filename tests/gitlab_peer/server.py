"""The peer's HTTP server: reads requests, lets faults meet them, and sends what API and git answer."""

from __future__ import annotations

import json
import os
import re
import socket
import ssl
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.github_peer import bare_git
from tests.github_peer.traffic import Fault, Request
from tests.gitlab_peer import merge_requests, projects, settings
from tests.gitlab_peer.peer import GitlabPeer, Moment
from tests.gitlab_peer.refusals import too_many_requests
from tests.gitlab_peer.routing import answer_request
from tests.gitlab_peer.state import DEVELOPER

#: Their routes are registered as they are imported.
RESOURCES = (merge_requests, projects, settings)
_GIT_PATH = re.compile(r"/(.+?/[^/]+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")


@contextmanager
def serve_gitlab(root: Path, *, prefix: str = "", tls: ssl.SSLContext | None = None) -> Iterator[GitlabPeer]:
    """Serve a GitLab whose repositories lie in `root`, below the path `prefix`."""
    peer = GitlabPeer(root, prefix=prefix)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"peer": peer}))
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    peer.url = f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}{prefix}"
    try:
        yield peer
    finally:
        peer.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients are killed on purpose.
        pass


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet: apart they wait for each other's acknowledgement
    peer: GitlabPeer

    def _handle(self) -> None:
        peer, request = self.peer, self._read()
        with peer.lock:
            (peer.git_requests if request.is_git else peer.requests).append(request)
            fault = next((fault for fault in peer.faults if fault.meets(request)), None)
            if fault:
                fault.times -= 1
        if self._notify("before", request) is False:
            self._reset()
            return
        if fault and not fault.comes_after and not self._suffer(fault, request):
            return
        status, headers, body = self._answer_git(request) if request.is_git else self._answer_api(request)
        self._notify("after", request)
        if fault and fault.comes_after and not self._suffer(fault, request):
            return
        self._send(request, status, headers, body)

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = parts.path.removeprefix(self.peer.prefix)
        authorization = headers.pop("authorization", "")
        return Request(
            method=self.command,
            path=path.removeprefix("/api/v4"),
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            authorization=headers.pop("private-token", "") or authorization,
            headers=headers,
            content=self._read_body(),
        )

    def _read_body(self) -> bytes:
        if self.headers.get("Transfer-Encoding") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = b""
        while size := int(self.rfile.readline(), 16):
            body += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return body

    def _notify(self, moment: Moment, request: Request) -> bool | None:
        return self.peer.on_request(moment, request.method, request.path) if self.peer.on_request else None

    def _suffer(self, fault: Fault, request: Request) -> bool:
        """Fail as told. Return whether the request goes on all the same."""
        peer = self.peer
        if callable(fault.kind):
            fault.kind(self)
            self.close_connection = True
        elif fault.name == "reset":
            self._reset()
        elif fault.name == "hang":
            peer.closing.wait(peer.hang_seconds if fault.seconds is None else fault.seconds)
            self.close_connection = True
        elif fault.name == "slow":
            peer.closing.wait(peer.slow_seconds if fault.seconds is None else fault.seconds)
            return True
        elif fault.name == "429":
            seconds = peer.retry_after_seconds if fault.seconds is None else fault.seconds
            refusal = too_many_requests(seconds, reset_at=int(time.time() + seconds))
            self._send(request, refusal.status, refusal.headers, json.dumps(refusal.body).encode())
        else:
            # What stands before GitLab answers in HTML.
            self._send(request, int(fault.name), {"Content-Type": "text/html"}, b"<html>Whoops</html>")
        return False

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The server would shut the connection down first, which says farewell.
        os.close(self.connection.detach())

    def _answer_api(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        if not urlsplit(self.path).path.startswith(f"{self.peer.prefix}/api/v4/"):
            return 200, {"Content-Type": "text/html"}, b"<html>Sign in</html>"
        with self.peer.lock:
            answer = answer_request(self.peer, request)
        body = b"" if answer.status == 204 else json.dumps(answer.data).encode()
        return answer.status, {"Content-Type": "application/json", **answer.headers}, body

    def _answer_git(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        peer, matched = self.peer, _GIT_PATH.fullmatch(request.path)
        if matched is None:
            return 404, {}, b"Not Found"
        full_path, service = matched.groups()
        username = peer.authenticate_git(request)
        project, _ = peer.find(full_path)
        pushes = "git-receive-pack" in {service, request.query.get("service")}
        is_seen = project is not None and (project.visibility == "public" or username is not None)
        if username is None and (pushes or request.authorization or not is_seen):
            return 401, {"WWW-Authenticate": 'Basic realm="GitLab"'}, b"HTTP Basic: Access denied."
        if project is None or project.level is None:
            return (
                404,
                {},
                b"The project you were looking for could not be found or you don't have permission to view it.",
            )
        if pushes and (project.archived or project.level < DEVELOPER):
            return 403, {}, b"You are not allowed to push code to this project."
        answer = bare_git.run_backend(
            project.directory,
            service,
            method=request.method,
            query=urlsplit(self.path).query,
            headers=request.headers,
            body=request.content,
            user=username or "",
        )
        if service == "git-receive-pack":
            with peer.lock:
                peer.note_first_push(project)
        return answer

    def _send(self, request: Request, status: int, headers: dict[str, str], body: bytes) -> None:
        request.status = status
        self.send_response(status)
        for name, value in ({"Content-Type": "text/plain", "X-Request-Id": f"{id(request):X}"} | headers).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass
