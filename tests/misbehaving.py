"""A server that misbehaves on the wire as told, byte for byte, with TLS where asked, and the certificates for that."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class WireRequest:
    """A request as it came: the head's names are lower-case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes


Behaviour = Callable[["Wire", WireRequest], None]


class Wire:
    """The server's end of one connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reader = connection.makefile("rb")
        self.is_over = False

    def send(self, data: bytes) -> None:
        self._connection.sendall(data)

    def close(self) -> None:
        """End the connection as servers do."""
        self.is_over = True

    def reset(self) -> None:
        """End the connection with a reset instead of a farewell."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.is_over = True

    def read(self) -> WireRequest | None:
        line = self._reader.readline().decode("latin-1")
        if not line.strip():
            return None
        method, target, _ = line.split(" ", 2)
        headers: dict[str, str] = {}
        while (text := self._reader.readline().decode("latin-1").rstrip("\r\n")) != "":
            name, _, value = text.partition(":")
            headers[name.lower()] = value.strip()
        body = self._reader.read(int(headers.get("content-length", 0)))
        return WireRequest(method, target, headers, body)

    def release(self) -> None:
        self._reader.close()
        self._connection.close()


@dataclass
class MisbehavingServer:
    """Behaves for one request after the other as told, the last behaviour for ever. `requests` are those it got."""

    url: str = ""
    behaviours: list[Behaviour] = field(default_factory=list)
    requests: list[WireRequest] = field(default_factory=list)
    connections: int = 0

    def behave(self, *behaviours: Behaviour) -> None:
        self.behaviours = list(behaviours)

    def next_behaviour(self) -> Behaviour:
        return self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]


@contextmanager
def misbehave(
    *behaviours: Behaviour, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> Iterator[MisbehavingServer]:
    """Serve on a free port of 127.0.0.1. `host` is what the URL says."""
    server = MisbehavingServer(behaviours=list(behaviours))
    listener = socket.create_server(("127.0.0.1", 0))
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with suppress(OSError):
            connection.settimeout(20)
            wire = Wire(_shake_hands(connection, tls) if tls else connection)
            try:
                while not wire.is_over and (request := wire.read()) is not None:
                    server.requests.append(request)
                    server.next_behaviour()(wire, request)
            finally:
                wire.release()

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                server.connections += 1
                thread = threading.Thread(target=serve, args=(connection,), daemon=True)
                thread.start()
                threads.append(thread)

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    server.url = f"{'https' if tls else 'http'}://{host}:{listener.getsockname()[1]}"
    try:
        yield server
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for thread in (accepting, *threads):
            thread.join(5)


def _shake_hands(connection: socket.socket, tls: ssl.SSLContext) -> ssl.SSLSocket:
    wrapped = tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
    try:
        wrapped.do_handshake()
    except ssl.SSLError:
        # Read what is still coming: closing before that resets the connection, and our reason is lost on the way.
        with socket.socket(fileno=wrapped.detach()) as plain:
            plain.shutdown(socket.SHUT_WR)
            plain.settimeout(5)
            while plain.recv(65_536):
                pass
        raise
    return wrapped


def head(status: int = 200, **headers: str | int) -> bytes:
    """Return the head of an answer; underscores in names stand for dashes."""
    lines = [f"HTTP/1.1 {status} Whatever", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def respond(body: Any = b"", *, status: int = 200, headers: dict[str, str] | None = None) -> Behaviour:
    """Answer properly: bytes as they are, other data as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {"Content-Length": str(len(content)), **(headers if headers is not None else JSON)}

    def behave(wire: Wire, request: WireRequest) -> None:
        wire.send(head(status, **given) + (b"" if request.method == "HEAD" else content))

    return behave


def send_raw(*pieces: bytes) -> Behaviour:
    """Send exactly this and end the connection."""

    def behave(wire: Wire, request: WireRequest) -> None:
        for piece in pieces:
            wire.send(piece)
        wire.close()

    return behave


def send_and_reset(data: bytes) -> Behaviour:
    """Send this and end the connection with a reset."""

    def behave(wire: Wire, request: WireRequest) -> None:
        wire.send(data)
        time.sleep(0.05)  # a reset overtakes what has not been read yet
        wire.reset()

    return behave


def drip(beginning: bytes, piece: bytes, *, every_seconds: float = 0.05) -> Behaviour:
    """Send the beginning, and then `piece` for ever, slowly."""

    def behave(wire: Wire, request: WireRequest) -> None:
        wire.send(beginning)
        with suppress(OSError):
            for _ in range(1_000):
                time.sleep(every_seconds)
                wire.send(piece)
        wire.close()

    return behave


def flood(beginning: bytes, piece: bytes, *, times: int) -> Behaviour:
    """Send the beginning, and then `piece` many times, as fast as it goes."""

    def behave(wire: Wire, request: WireRequest) -> None:
        wire.send(beginning)
        with suppress(OSError):
            for _ in range(times):
                wire.send(piece)
        wire.close()

    return behave


def hang(wire: Wire, request: WireRequest) -> None:
    """Say nothing until the other side gives up."""
    with suppress(OSError):
        wire._connection.recv(1)
    wire.close()


def make_bomb(size: int) -> bytes:
    """Return `size` spaces, compressed."""
    return gzip.compress(b" " * size)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
