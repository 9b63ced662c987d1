"""Our metrics through Airflow's own clients, real ones, to where they arrive."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterator
from typing import Any

import pytest
from airflow.observability import stats as server_stats
from airflow.sdk._shared.observability.common import get_otel_data_exporter
from airflow.sdk._shared.observability.metrics.otel_logger import SafeOtelLogger
from airflow.sdk._shared.observability.metrics.statsd_logger import SafeStatsdLogger
from airflow.sdk._shared.observability.otel_env_config import load_metrics_env_config
from airflow.sdk.observability import stats as task_stats
from opentelemetry.sdk.metrics import Counter, Histogram, MeterProvider
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from statsd import StatsClient

from scaffolder.observability import metrics
from scaffolder.observability.hook import clean_tags, send_from_server, send_from_task
from scaffolder.web import create_app
from tests.conftest import CHECKOUT

# What a connection, a workflow or a secret's kind may be called at worst.
HOSTILE = "a b,c=d|e:f\n#@{g}é/" + "x" * 300


@pytest.fixture(autouse=True)
def _forget_sinks() -> Iterator[None]:
    yield
    metrics.set_sink(None)
    for stats in (task_stats, server_stats):
        stats.initialize(factory=NoStats, export_legacy_names=False)


class NoStats:
    """Takes all and does nothing."""

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


def clean(metric: metrics.Metric) -> dict[str, str]:
    return clean_tags(metric.name, dict.fromkeys(metric.tags, HOSTILE))


def tell_all(value: str) -> None:
    """Tell every metric once, with `value` for all its tags."""
    for metric in metrics.METRICS.values():
        tags = dict.fromkeys(metric.tags, value)
        if metric.kind == "counter":
            metrics.count(metric, 2, **tags)
        elif metric.kind == "gauge":
            metrics.gauge(metric, 2)
        else:
            metrics.time(metric, 0.002, **tags)


def test_every_metric_arrives_by_statsd_whatever_its_tags_say(caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(5)
        statsd = StatsClient("127.0.0.1", server.getsockname()[1], prefix="airflow")
        client = SafeStatsdLogger(
            statsd,
            influxdb_tags_enabled=True,
            statsd_influxdb_enabled=True,
        )
        task_stats.initialize(factory=lambda: client, export_legacy_names=True)
        send_from_task()
        tell_all(HOSTILE)
        lines = [server.recv(65_536).decode() for _ in metrics.METRICS]
        statsd.close()
    kinds = {"counter": "2|c", "gauge": "2|g", "timer": "2.000000|ms"}
    assert lines == [
        f"airflow.{metric.name}{''.join(f',{tag}={value}' for tag, value in clean(metric).items())}"
        f":{kinds[metric.kind]}"
        for metric in metrics.METRICS.values()
    ]
    assert caplog.records == []


def test_every_metric_arrives_by_opentelemetry() -> None:
    reader = InMemoryMetricReader()
    client = SafeOtelLogger(MeterProvider([reader]))
    server_stats.initialize(factory=lambda: client, export_legacy_names=True)
    send_from_server()
    tell_all(HOSTILE)
    data: Any = reader.get_metrics_data()
    found = {
        metric.name: point.attributes
        for resource in data.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
    }
    assert found == {f"airflow.{metric.name}": clean(metric) for metric in metrics.METRICS.values()}


def test_tasks_send_what_was_added_where_opentelemetry_is_told_to(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each task is a process: its totals are those of one task. The documents say which variable to set."""
    document = (CHECKOUT / "docs" / "observability.md").read_text()
    [line] = [line for line in document.splitlines() if line.startswith("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY")]
    monkeypatch.setenv(*line.split("="))
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    exporter: Any = get_otel_data_exporter(otel_env_config=load_metrics_env_config())
    try:
        kinds = {Counter, Histogram}
        assert {exporter._preferred_temporality[kind] for kind in kinds} == {AggregationTemporality.DELTA}
    finally:
        exporter.shutdown()


def test_a_client_that_fails_fails_no_work_and_is_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def __getattr__(self, name: str) -> Any:
            raise OSError(f"no {name}")

    task_stats.initialize(factory=Failing, export_legacy_names=False)
    send_from_task()
    with caplog.at_level(logging.WARNING, "scaffolder.observability.hook"):
        tell_all("x")
    assert [record.getMessage() for record in caplog.records] == [
        "Metrics such as scaffolder.generated.finished could not be sent: OSError"
    ]


@pytest.mark.parametrize(("value", "shown"), [("", "_"), ("/api/{id}", "/api/_id_"), ("a" * 99, "a" * 80)])
def test_tags_are_what_all_clients_take(value: str, shown: str) -> None:
    assert clean_tags("scaffolder.export.finished", {"target": value}) == {"target": shown}


def test_the_longest_routes_are_told_apart() -> None:
    """A name with its tags is not too long for them."""
    paths = set(create_app().openapi()["paths"])
    cleaned = {
        clean_tags("scaffolder.api.requests", {"route": path, "method": "DELETE", "status": "404"})["route"]
        for path in paths
    }
    assert len(cleaned) == len(paths)
