"""Our metrics to wherever Airflow's own go: statsd, DogStatsD or OpenTelemetry, as its section ``[metrics]`` says.

Tasks have Airflow's Task SDK, its servers its core; each has a client of its own, and only one is set up.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from functools import cache
from types import ModuleType
from typing import Any, Final

from scaffolder.observability.metrics import Metric, set_sink

log = logging.getLogger(__name__)

# What statsd and its dialects take for syntax is none of a value's.
_SYNTAX: Final = re.compile(r"[^A-Za-z0-9_./-]")
_VALUE_CHARACTERS: Final = 80
# Airflow's limit for a name with its tags, each with a comma and an equals sign.
_CHARACTERS: Final = 250


def send_from_task() -> None:
    """Send the metrics of this process as a task does."""
    from airflow.sdk.observability import stats

    set_sink(_make_sink(stats))


def send_from_server() -> None:
    """Send the metrics of this process as Airflow's scheduler and API server do."""
    from airflow.observability import stats

    set_sink(_make_sink(stats))


class _Sink:
    """Sends by one of Airflow's clients. What cannot be sent fails nothing: the log says so, once in each process."""

    def __init__(self, stats: ModuleType) -> None:
        self._stats: Any = stats
        self._has_failed = False

    def __call__(self, metric: Metric, value: float, tags: Mapping[str, str]) -> None:
        shown = clean_tags(metric.name, tags)
        try:
            if metric.kind == "counter":
                self._stats.incr(metric.name, int(value), tags=shown)
            elif metric.kind == "gauge":
                self._stats.gauge(metric.name, value, tags=shown)
            else:
                self._stats.timing(metric.name, value, tags=shown)
        except Exception as error:  # noqa: BLE001  # whatever a client raises is no reason for work to fail
            if not self._has_failed:
                log.warning("Metrics such as %s could not be sent: %s", metric.name, type(error).__name__)
            self._has_failed = True


@cache
def _make_sink(stats: ModuleType) -> _Sink:
    return _Sink(stats)


def clean_tags(name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the tags as all of Airflow's clients take them: without syntax, and not too long."""
    shown = {tag: _SYNTAX.sub("_", value)[:_VALUE_CHARACTERS] or "_" for tag, value in tags.items()}
    room = _CHARACTERS - len(name) - sum(len(tag) + 2 for tag in shown)
    if sum(map(len, shown.values())) > room:
        shown = {tag: value[: room // len(shown)] for tag, value in shown.items()}
    return shown
