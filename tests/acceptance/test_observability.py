"""What the operators of the platform see of a run: metrics, fields of log lines, traces; on a live Airflow."""

from __future__ import annotations

import pytest

from local_airflow.airflow_rest import wait_until
from scaffolder.observability.metrics import METRICS
from tests.acceptance.conftest import Live, Run, read_log
from tests.acceptance.test_main_job import run_service
from tests.acceptance.test_steps import FILES, GOOD
from tests.otlp_receiver import ReceivedSpan
from tests.statsd_receiver import Sent, read_metrics


@pytest.fixture(scope="module")
def observed(live: Live) -> tuple[Run, list[Sent]]:
    """A main job and the metrics of it."""
    read_metrics(live.metrics)
    run = run_service(live, "bookings", project="observed")
    return run, read_metrics(live.metrics)


def test_a_run_is_counted_once_in_every_way(
    observed: tuple[Run, list[Sent]],
) -> None:
    run, sent = observed
    project = run.generated_project
    workflow = {"workflow": "openapi_service"}
    agent = {"connection": "demo_agent", "protocol": "rest", "outcome": "answered"}
    for expected in [
        ("scaffolder.generated.finished", workflow | {"status": "ready"}, 1),
        ("scaffolder.generated.files", workflow, project.file_count),
        ("scaffolder.generated.bytes", workflow, project.size_bytes),
        ("scaffolder.step.finished", workflow | {"step_type": "api_call", "outcome": "success"}, 1),
        ("scaffolder.step.finished", workflow | {"step_type": "file_generation", "outcome": "success"}, 1),
        ("scaffolder.step.finished", workflow | {"step_type": "repo_creation", "outcome": "success"}, 1),
        ("scaffolder.agent.requests", agent, 1),
        ("scaffolder.export.finished", {"target": "archive", "outcome": "exported"}, 1),
    ]:
        assert sent.count(expected) == 1, (expected, sent)
    timed = {name for name, _, _ in sent if METRICS[name].kind == "timer"}
    assert timed >= {
        "scaffolder.generated.duration",
        "scaffolder.step.duration",
        "scaffolder.agent.latency",
        "scaffolder.export.duration",
    }
    assert {name: set(tags) for name, tags, _ in sent} == {name: set(METRICS[name].tags) for name, _, _ in sent}


def test_log_lines_say_what_they_are_about(live: Live, observed: tuple[Run, list[Sent]]) -> None:
    run, _ = observed
    generated = {"project": "observed", "generated_project_id": str(run.generated_project.id)}
    [call] = run.read("agent_calls")
    [export] = run.read("exports")
    for task_id, event, fields in [
        ("open_generated_project", "Generated project ", {}),
        ("models", "Asking agent 'demo_agent': generateModels", {"step_id": "models"}),
        ("models", "The agent answered 200 in ", {"step_id": "models", "agent_call_id": str(call.id)}),
        ("files", "Templates: ", {"step_id": "files"}),
        ("publish", "Exported commit ", {"step_id": "publish", "export_id": str(export.id)}),
        ("finish_generated_project", "Generated project ", {}),
    ]:
        lines = read_log(live, run, task_id)
        [line] = [line for line in lines if str(line["event"]).startswith(event)]
        assert line.items() >= (generated | fields).items(), line


def test_a_run_that_the_listener_ends_is_counted_by_the_scheduler(live: Live) -> None:
    read_metrics(live.metrics, quiet_seconds=0.05)
    run = live.run("mapped")
    assert run.state == "success", run.tasks
    ended = ("scaffolder.generated.finished", {"workflow": "mapped", "status": "ready"}, 1)
    sent: list[Sent] = []

    def is_told() -> bool:
        sent.extend(read_metrics(live.metrics))
        return ended in sent

    assert wait_until(is_told, timeout_seconds=20, poll_seconds=0.1)
    assert sent.count(ended) == 1
    steps = [tags for name, tags, _ in sent if name == "scaffolder.step.finished"]
    assert steps == [{"workflow": "mapped", "step_type": "file_generation", "outcome": "success"}] * 4


def find_parent(span: ReceivedSpan, spans: list[ReceivedSpan]) -> ReceivedSpan:
    [parent] = [one for one in spans if one.span_id == span.parent_id]
    return parent


def test_spans_lie_below_those_of_airflows_tasks(live: Live) -> None:
    live.agent.answer(GOOD)
    live.git.create("traced")
    run = live.run("steps", name="traced", project="observed", target="git", connection="test_git")
    assert run.state == "success", {task: run.log(task) for task, state in run.tasks.items() if state == "failed"}
    generated = {"generated_project_id": str(run.generated_project.id)}
    assert wait_until(
        lambda: len(live.traces.find("scaffolder.step", **generated)) == 4, timeout_seconds=20, poll_seconds=0.1
    )
    [step] = live.traces.find("scaffolder.step", **generated, step_id="models")
    assert find_parent(step, live.traces.spans).trace_id == step.trace_id
    ours = [one for one in live.traces.spans if one.trace_id == step.trace_id and one.name.startswith("scaffolder.")]
    names = {one.name: find_parent(one, live.traces.spans).name for one in ours if one.name != "scaffolder.step"}
    assert names == {
        "scaffolder.agent_call": "scaffolder.step",
        "scaffolder.git_commit": "scaffolder.step",
        "scaffolder.export": "scaffolder.step",
        "scaffolder.git_push": "scaffolder.export",
    }
    [call] = [one for one in ours if one.name == "scaffolder.agent_call"]
    [recorded] = run.read("agent_calls")
    assert (
        call.attributes.items()
        >= {
            "scaffolder.connection": "test_agent",
            "scaffolder.protocol": "rest",
            "scaffolder.agent_call_id": str(recorded.id),
            "scaffolder.outcome": "answered",
        }.items()
    )
    traceparent = f"00-{call.trace_id}-{call.span_id}-01"
    assert live.agent.requests[-1]["headers"]["traceparent"] == traceparent
    said = (live.agent.token, FILES[0]["path"], str(FILES[0]["content"]).strip(), "# traced")
    assert not [text for text in said for one in ours if text in one.text]
