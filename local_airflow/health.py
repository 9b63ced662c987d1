"""Waits until the processes of an instance can be used, and says which one cannot."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2

from local_airflow.airflow_rest import parse_time
from local_airflow.errors import NotHealthyError, ProcessDiedError
from local_airflow.processes import ProcessTable

_POLL_SECONDS = 0.2
# Airflow's health report knows these processes by their heartbeats.
_REPORTED_AS = {"scheduler": "scheduler", "dag-processor": "dag_processor", "triggerer": "triggerer"}


@dataclass(frozen=True, kw_only=True)
class Component:
    """One process of an instance."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    fingerprint: str
    health_url: str
    warm_up_url: str | None = None
    """Requested once when healthy: what is slow only the first time."""


def wait_until_healthy(
    components: Sequence[Component],
    *,
    table: ProcessTable,
    started_at: Mapping[str, float],
    timeout_seconds: float,
    report: Callable[[str], None],
) -> None:
    """Wait for all `components`.

    A heartbeat counts only if it is later than `started_at` of the component: after a crash those of the
    process before look healthy for a while. Raises ProcessDiedError, NotHealthyError.
    """
    begin = time.monotonic()
    first = min(started_at.values(), default=time.time())
    waiting = list(components)
    with httpx2.Client(trust_env=False, timeout=5) as client:
        while waiting:
            for component in tuple(waiting):
                if _is_healthy(component, client=client, started_at=started_at.get(component.name, 0.0)):
                    waiting.remove(component)
                    if component.name in started_at:
                        report(f"{component.name} is up after {time.time() - first:.1f} s")
                        _warm_up(component, client=client)
                    continue
                log = table.log_of(component.name)
                if table.pid(component.name) is None:
                    raise ProcessDiedError(component.name, exit_code=table.exit_code(component.name), log=log)
                if time.monotonic() - begin > timeout_seconds:
                    raise NotHealthyError(component.name, seconds=timeout_seconds, log=log)
            if waiting:
                time.sleep(_POLL_SECONDS)
    _check_nothing_died(components, table=table)


def heartbeat_report(health_url: str, *, client: httpx2.Client) -> Mapping[str, Any]:
    """Return Airflow's health report; empty if it gives none."""
    try:
        response = client.get(health_url)
        report = response.json() if response.is_success else {}
    except (httpx2.HTTPError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}


def _is_healthy(component: Component, *, client: httpx2.Client, started_at: float) -> bool:
    report = heartbeat_report(component.health_url, client=client)
    key = _REPORTED_AS.get(component.name)
    if key is None:
        return bool(report)
    part = report.get(key) or {}
    heartbeat = parse_time(part.get(f"latest_{key}_heartbeat"))
    return part.get("status") == "healthy" and heartbeat is not None and heartbeat.timestamp() >= started_at


def _warm_up(component: Component, *, client: httpx2.Client) -> None:
    if component.warm_up_url is not None:
        try:
            client.get(component.warm_up_url, timeout=60)
        except httpx2.HTTPError:
            return


def _check_nothing_died(components: Sequence[Component], *, table: ProcessTable) -> None:
    for component in components:
        if table.pid(component.name) is None:
            log: Path = table.log_of(component.name)
            raise ProcessDiedError(component.name, exit_code=table.exit_code(component.name), log=log)
