"""Spans where traces are on, and nothing where they are off."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from dataclasses import replace

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from scaffolder.agents.http.transport import AgentClient, HttpRequest
from scaffolder.config import Settings
from scaffolder.errors import AgentRejectedError, HostWaitError
from scaffolder.observability import traces
from tests.job_server import Reply, serve_rest


def test_spans_nest_and_have_attributes_of_ours(spans: InMemorySpanExporter) -> None:
    with traces.span("outer"), traces.span("inner", kind="client", target="git", commit=None) as span:
        span.set(files=3, url=None)
    inner, outer = spans.get_finished_spans()
    assert inner.parent is not None
    assert inner.parent.span_id == outer.context.span_id
    assert inner.kind is trace.SpanKind.CLIENT
    assert dict(inner.attributes or {}) == {"scaffolder.target": "git", "scaffolder.files": 3}


def test_an_error_is_there_by_its_class_and_without_its_message(spans: InMemorySpanExporter) -> None:
    with pytest.raises(AgentRejectedError), traces.span("call"):
        raise AgentRejectedError("it said s3cret")
    [span] = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.ERROR
    assert "s3cret" not in span.to_json()
    assert dict(span.attributes or {}) == {"error.type": "AgentRejectedError"}


def test_an_end_that_is_no_error_leaves_no_mark(spans: InMemorySpanExporter) -> None:
    with pytest.raises(HostWaitError), traces.span("export", no_errors=(HostWaitError,)):
        raise HostWaitError("later", retry_after_seconds=60)
    [span] = spans.get_finished_spans()
    assert span.status.status_code is trace.StatusCode.UNSET
    assert dict(span.attributes or {}) == {}


def test_a_request_is_told_of_a_trace_that_is_kept(spans: InMemorySpanExporter) -> None:
    with traces.span("call"):
        traceparent = traces.get_traceparent()
    [span] = spans.get_finished_spans()
    assert traceparent == f"00-{span.context.trace_id:032x}-{span.context.span_id:016x}-{span.context.trace_flags:02x}"


def test_a_trace_of_airflow_that_nobody_keeps_goes_nowhere() -> None:
    """Airflow's tasks have ids of a trace where traces are off, too."""
    context = trace.SpanContext(trace_id=7, span_id=8, is_remote=True, trace_flags=trace.TraceFlags(0))
    with trace.use_span(trace.NonRecordingSpan(context)), traces.span("call"):
        assert traces.get_traceparent() is None


@pytest.mark.parametrize("before", ["", "import opentelemetry.trace"], ids=["elsewhere", "in a task of Airflow's"])
def test_nothing_is_loaded_where_traces_are_off(before: str) -> None:
    """Airflow's tasks have loaded the interface of OpenTelemetry, whether or not its spans are kept."""
    code = (
        f"import sys; from scaffolder.observability import traces\n{before}\n"
        "loaded = {name for name in sys.modules if name.startswith('opentelemetry')}\n"
        "with traces.span('one', target='git') as span: span.set(files=1)\n"
        "assert traces.get_traceparent() is None\n"
        "found = {name for name in sys.modules if name.startswith('opentelemetry')}\n"
        "print([name for name in found if name not in loaded or name.startswith('opentelemetry.sdk.trace')])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("is_traced", "is_allowed", "given", "sent"),
    [
        (True, True, (), 1),
        (False, True, (), 0),
        (True, False, (), 0),
        (True, True, (("Traceparent", "00-of-the-step"),), 1),
    ],
)
def test_an_agent_is_told_of_the_trace_where_that_is_wanted(
    spans: InMemorySpanExporter, is_traced: bool, is_allowed: bool, given: tuple[tuple[str, str], ...], sent: int
) -> None:
    settings = replace(Settings(), agent_trace_context=is_allowed)

    async def ask() -> None:
        async with AgentClient(server.connection, settings=settings, is_traced=is_traced) as client:
            with traces.span("call"):
                await client.send(HttpRequest(method="GET", path="/", headers=given))

    with serve_rest(lambda _: Reply({})) as server:
        asyncio.run(ask())
    [request] = server.requests
    found = [value for name, value in request.headers.items() if name.lower() == "traceparent"]
    assert len(found) == sent
    if given:
        assert found == ["00-of-the-step"]
    elif found:
        assert f"{spans.get_finished_spans()[0].context.trace_id:032x}" in found[0]
