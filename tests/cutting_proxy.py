"""A TCP proxy that cuts the line after some bytes, as a network does in the middle of a push."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass


@dataclass
class CuttingProxy:
    """Passes on what clients send to the server at `port`, but only `bytes_left` of it in all; None is no limit."""

    port: int
    url: str = ""
    bytes_left: int | None = None
    cuts: int = 0

    def take(self, data: bytes) -> bytes:
        if self.bytes_left is None:
            return data
        passed = data[: self.bytes_left]
        self.bytes_left -= len(passed)
        return passed


@contextmanager
def serve_cutting_proxy(port: int) -> Iterator[CuttingProxy]:
    """Serve on 127.0.0.1, in front of `port`."""
    proxy = CuttingProxy(port=port)
    listener = socket.create_server(("127.0.0.1", 0))
    proxy.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    thread = threading.Thread(target=_accept, args=(listener, proxy), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        with suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _accept(listener: socket.socket, proxy: CuttingProxy) -> None:
    while True:
        try:
            client, _ = listener.accept()
        except OSError:
            return
        server = socket.create_connection(("127.0.0.1", proxy.port))
        threading.Thread(target=_send_up, args=(client, server, proxy), daemon=True).start()
        threading.Thread(target=_send_down, args=(server, client), daemon=True).start()


def _send_up(client: socket.socket, server: socket.socket, proxy: CuttingProxy) -> None:
    with suppress(OSError):
        while data := client.recv(4096):
            passed = proxy.take(data)
            server.sendall(passed)
            if len(passed) < len(data):
                proxy.cuts += 1
                break
    _close(client, server)


def _send_down(server: socket.socket, client: socket.socket) -> None:
    with suppress(OSError):
        while data := server.recv(65_536):
            client.sendall(data)
    _close(client, server)


def _close(*ends: socket.socket) -> None:
    for end in ends:
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
        end.close()
