"""What arrives at a statsd server, with InfluxDB's tags."""

from __future__ import annotations

import socket

Sent = tuple[str, dict[str, str], float]


def read_metrics(server: socket.socket, *, quiet_seconds: float = 0.5) -> list[Sent]:
    """Return what has arrived since this was asked before: names without Airflow's prefix, tags, values."""
    server.settimeout(quiet_seconds)
    found: list[Sent] = []
    while True:
        try:
            lines = server.recv(65_536).decode().splitlines()
        except TimeoutError:
            return found
        for line in lines:
            name, value = line.partition("|")[0].rsplit(":", 1)
            name, *tags = name.removeprefix("airflow.").split(",")
            found.append((name, dict(tag.split("=") for tag in tags), float(value)))
