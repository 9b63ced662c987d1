"""The peer's HTTP server: reads requests, lets faults and limits meet them, and sends what API and git answer."""

from __future__ import annotations

import json
import os
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.github_peer import apps, bare_git, graphql, pulls, repositories, settings, vaults
from tests.github_peer.descriptions import load_models
from tests.github_peer.peer import GithubPeer, Moment
from tests.github_peer.refusals import RefusalError
from tests.github_peer.routing import Answer, answer_request
from tests.github_peer.state import now
from tests.github_peer.traffic import Fault, Request, refuse_named

#: Their routes are registered as they are imported.
RESOURCES = (apps, graphql, pulls, repositories, settings, vaults)
API_VERSIONS = ("2022-11-28", "2026-03-10")
_RATE_LIMIT = 5000
_GIT_PATH = re.compile(r"/([^/]+)/([^/]+?)(?:\.git)?/(info/refs|git-upload-pack|git-receive-pack)")


@contextmanager
def serve_github(root: Path) -> Iterator[GithubPeer]:
    """Serve a GitHub whose repositories lie in `root`."""
    # Importing takes most of a second, which is not the first request's.
    load_models()
    peer = GithubPeer(root)
    server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"peer": peer}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    peer.url = f"http://127.0.0.1:{server.server_address[1]}"
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
    peer: GithubPeer

    def _handle(self) -> None:
        peer, request = self.peer, self._read()
        with peer.lock:
            (peer.git_requests if request.is_git else peer.requests).append(request)
            peer.in_flight += not request.is_git
            fault = self._take_fault(request)
        try:
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
        finally:
            with peer.lock:
                peer.in_flight -= not request.is_git

    def _read(self) -> Request:
        parts = urlsplit(self.path)
        headers = {name.lower(): value for name, value in self.headers.items()}
        path = re.sub(r"^/api(/v3)?(?=/)", "", parts.path)
        return Request(
            method=self.command,
            path=path,
            query=dict(parse_qsl(parts.query, keep_blank_values=True)),
            authorization=headers.pop("authorization", ""),
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

    # Faults

    def _take_fault(self, request: Request) -> Fault | None:
        fault = next((fault for fault in self.peer.faults if fault.meets(request)), None)
        if fault:
            fault.times -= 1
        return fault

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
        else:
            default = peer.reset_seconds if fault.kind == "primary limit" else peer.retry_after_seconds
            refusal = refuse_named(fault, default if fault.seconds is None else fault.seconds)
            self._send(request, refusal.status, refusal.headers, json.dumps(refusal.body).encode())
        return False

    def _reset(self) -> None:
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        # The server would shut the connection down first, which says farewell.
        os.close(self.connection.detach())

    # The API

    def _answer_api(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        peer = self.peer
        with peer.lock:
            try:
                self._check_admission(request)
                answer = answer_request(peer, request)
            except RefusalError as refusal:
                answer = Answer(refusal.status, refusal.body, refusal.headers)
        body = b"" if answer.status == 204 else json.dumps(answer.data).encode()
        return answer.status, answer.headers, body

    def _check_admission(self, request: Request) -> None:
        peer = self.peer
        if request.writes:
            peer.write_times.append(request.at)
        if peer.limits:
            arrivals = sorted(peer.write_times) if request.writes else []
            wait = peer.limits.find_wait(arrivals, in_flight=peer.in_flight)
            if wait is not None:
                peer.limit_violations += 1
                raise peer.limits.refuse(wait)
        if "user-agent" not in request.headers:
            raise RefusalError(403, "Request forbidden by administrative rules. Please have a User-Agent header.")
        version = request.headers.get("x-github-api-version", API_VERSIONS[0])
        if version not in API_VERSIONS:
            raise RefusalError(400, f"The API version '{version}' is not supported.")

    # git

    def _answer_git(self, request: Request) -> tuple[int, dict[str, str], bytes]:
        peer, matched = self.peer, _GIT_PATH.fullmatch(request.path)
        if matched is None:
            return 404, {}, b"Not Found"
        owner, name, service = matched.groups()
        token = peer.authenticate_git(request)
        repository, has_moved = peer.find(f"{owner}/{name}")
        permission = repository and peer.find_permission(token, repository)
        pushes = "git-receive-pack" in {service, request.query.get("service")}
        if token is None and (request.authorization or pushes or permission is None):
            return 401, {"WWW-Authenticate": 'Basic realm="GitHub"'}, b"Invalid username or token."
        if repository is None or permission is None:
            return 404, {}, b"Repository not found."
        if has_moved:
            query = f"?{urlsplit(self.path).query}" if request.query else ""
            return 301, {"Location": f"{peer.url}/{repository.full_name}.git/{service}{query}"}, b""
        if pushes and repository.archived:
            return 403, {}, b"This repository was archived so it is read-only."
        login = token.login if token else ""
        if pushes and permission not in {"write", "maintain", "admin"}:
            return 403, {}, f"Permission to {repository.full_name}.git denied to {login}.".encode()
        answer = bare_git.run_backend(
            repository.directory,
            service,
            method=request.method,
            query=urlsplit(self.path).query,
            headers=request.headers,
            body=request.content,
            user=login,
        )
        if service == "git-receive-pack":
            repository.pushed_at = now()
        return answer

    def _send(self, request: Request, status: int, headers: dict[str, str], body: bytes) -> None:
        request.status = status
        self.send_response(status)
        defaults = {"Content-Type": "text/plain"} if request.is_git else self._make_api_headers(request)
        for name, value in (defaults | headers).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _make_api_headers(self, request: Request) -> dict[str, str]:
        with self.peer.lock:
            self.peer.rate_used += 1
            used = self.peer.rate_used
        return {
            "Content-Type": "application/json; charset=utf-8",
            "x-github-request-id": f"{id(request):X}:{used}",
            "x-github-api-version-selected": request.headers.get("x-github-api-version", API_VERSIONS[0]),
            "x-ratelimit-limit": str(_RATE_LIMIT),
            "x-ratelimit-remaining": str(max(0, _RATE_LIMIT - used)),
            "x-ratelimit-used": str(used),
            "x-ratelimit-reset": str(int(time.time()) + 3600),
            "x-ratelimit-resource": "core",
        }

    do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _handle

    def log_message(self, format: str, *args: Any) -> None:
        pass
