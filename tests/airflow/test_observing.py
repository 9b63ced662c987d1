"""How a try of a step ends, for metrics, log lines and traces."""

from __future__ import annotations

import logging
from types import SimpleNamespace
from typing import Any, cast

import pytest
from airflow.sdk import Context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout, TaskDeferred
from airflow.sdk.observability import stats
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.contextvars import get_contextvars

from scaffolder.errors import AgentUnavailableError, InvalidParametersError, LimitExceededError, QuotaExceededError
from scaffolder.observability import metrics
from scaffolder.operators import observing
from scaffolder.operators.triggers import AgentJobTrigger
from scaffolder.records.models import GeneratedProject

Told = list[tuple[str, dict[str, str], float]]

PROJECT = cast(
    "GeneratedProject",
    SimpleNamespace(id="0f1c", project="payments", workflow="openapi_service"),  # all that is looked at
)


@pytest.fixture(autouse=True)
def _keep_the_tests_sink(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observing, "send_from_task", lambda: None)


def make_context(*, try_number: int = 1, max_tries: int = 2) -> Context:
    return cast("Context", {"ti": SimpleNamespace(try_number=try_number, max_tries=max_tries)})


def end(error: BaseException | None, context: Context | None = None) -> dict[str, Any]:
    """Observe a step that ends with `error`, and return the fields of its log lines."""
    fields: dict[str, Any] = {}
    try:
        with observing.observing_step(context or make_context(), step_id="models", step_type="api_call") as observation:
            observation.tell_of(PROJECT)
            fields = get_contextvars()
            if error is not None:
                raise error  # noqa: TRY301  # it is how the step ends
    except BaseException as caught:
        assert caught is error
    assert get_contextvars() == {}
    return fields


ENDS: list[tuple[str, BaseException | None, int, str, str | None]] = [
    ("success", None, 1, "success", None),
    ("permanent", InvalidParametersError("x"), 1, "failed", "InvalidParametersError"),
    ("failed by name", AirflowFailException("x"), 1, "failed", "other"),
    ("transient", AgentUnavailableError("x"), 1, "retry", "AgentUnavailableError"),
    ("transient for the last time", AgentUnavailableError("x"), 3, "failed", "AgentUnavailableError"),
    ("somebody's", ZeroDivisionError("x"), 2, "retry", "other"),
    ("timed out", AirflowTaskTimeout("x"), 1, "retry", "other"),
    ("timed out for the last time", AirflowTaskTimeout("x"), 3, "failed", "other"),
    ("skipped", AirflowSkipException("x"), 1, "skipped", None),
    ("killed", SystemExit(1), 1, "interrupted", None),
    ("deferred", TaskDeferred(trigger=cast("Any", None), method_name="go_on"), 1, "deferred", None),
]


@pytest.mark.parametrize(
    ("error", "try_number", "outcome", "name"), [one[1:] for one in ENDS], ids=[one[0] for one in ENDS]
)
def test_each_end_of_a_try_has_its_outcome(
    told: Told,
    spans: InMemorySpanExporter,
    error: BaseException | None,
    try_number: int,
    outcome: str,
    name: str | None,
) -> None:
    end(error, make_context(try_number=try_number))
    tags = {"workflow": "openapi_service", "step_type": "api_call", "outcome": outcome}
    errors = [("step.errors", {"step_type": "api_call", "error": name}, 1)] if name else []
    assert told == [*errors, ("step.finished", tags, 1), ("step.duration", tags, 0)]
    [span] = spans.get_finished_spans()
    assert span.name == "scaffolder.step"
    found = dict(span.attributes or {})
    assert found.pop("error.type", None) == (type(error).__name__ if name else None)
    assert span.status.status_code is (StatusCode.ERROR if name else StatusCode.UNSET)
    assert found == {
        "scaffolder.step_id": "models",
        "scaffolder.step_type": "api_call",
        "scaffolder.workflow": "openapi_service",
        "scaffolder.project": "payments",
        "scaffolder.generated_project_id": "0f1c",
        "scaffolder.outcome": outcome,
    }


@pytest.mark.parametrize(
    ("error", "metric"), [(LimitExceededError("x"), "limit.exceeded"), (QuotaExceededError("x"), "quota.refused")]
)
def test_what_is_used_up_is_counted(told: Told, error: Exception, metric: str) -> None:
    end(error)
    assert (metric, {"where": "step"}, 1) in told


def test_lines_carry_fields_and_one_says_why_while_they_are_there(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fields = end(InvalidParametersError("params are wrong"))
        end(ZeroDivisionError("s3cret of a library"))
        end(AirflowTaskTimeout("Timeout, PID: 1"))
    assert fields == {"step_id": "models", "project": "payments", "generated_project_id": "0f1c"}
    assert [record.getMessage() for record in caplog.records] == [
        "This try of step models ends: InvalidParametersError: params are wrong",
        "This try of step models ends: ZeroDivisionError",
        "This try of step models ends: AirflowTaskTimeout",
    ]


def test_a_trigger_of_an_older_version_still_waits() -> None:
    """It was put into Airflow's database without the fields of log lines."""
    trigger = AgentJobTrigger(agent_conn_id="a", handle={}, poll_seconds=1, until=0, agent_call_id="c")
    with trigger._bound_fields():
        assert get_contextvars() == {"agent_call_id": "c"}


def test_metrics_have_a_way_out_of_a_task(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    told: list[str] = []

    class Keeping:
        def incr(self, name: str, *_: Any, **__: Any) -> None:
            told.append(name)

    # One of Airflow's, that of whichever test came before, is set up again by the next.
    stats.initialize(factory=Keeping, export_legacy_names=False)
    try:
        with observing.observing_task():
            metrics.count(metrics.EXPORT_ROLLED_BACK, target="git")
    finally:
        metrics.set_sink(None)
        stats.initialize(factory=SimpleNamespace, export_legacy_names=False)
    assert told == ["scaffolder.export.rolled_back"]
