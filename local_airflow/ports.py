"""Finds TCP ports of this machine that nobody uses."""

from __future__ import annotations

import socket
from collections.abc import Collection

from local_airflow.errors import StateError

HOST = "127.0.0.1"
_CONNECT_TIMEOUT_SECONDS = 0.5
_TRIES = 200


def is_port_free(port: int) -> bool:
    """Say whether a server could listen on `port` of the loopback address now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # Without it a port of a server that has just ended counts as taken for a minute (TIME_WAIT).
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    # A server on all interfaces does not keep macOS from binding the loopback address: ask it, too.
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.settimeout(_CONNECT_TIMEOUT_SECONDS)
        return probe.connect_ex((HOST, port)) != 0


def pick_port(preferred: int, *, avoid: Collection[int] = ()) -> int:
    """Return the first free port at or after `preferred` that is not in `avoid`."""
    for port in range(preferred, min(preferred + _TRIES, 65_536)):
        if port not in avoid and is_port_free(port):
            return port
    raise StateError(f"no free port on {HOST} from {preferred} to {preferred + _TRIES - 1}")
