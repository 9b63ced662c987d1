"""What agent calls, exports, ends of runs and notifications tell metrics and traces, on real records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, ClassVar

import psycopg
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from structlog.contextvars import get_contextvars

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.agents.contract import Answer, CallRequest, Job, Ledger, Usage
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentJobError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    AgentWaitError,
    ExportConflictError,
    ExportRejectedError,
    HostWaitError,
    RecordsUnavailableError,
    SecretFoundError,
)
from scaffolder.exports.contract import ExportRequest, ExportResult
from scaffolder.generation.file_generation import GenerationRequest, TemplateUse, generate_files, refuse_secrets
from scaffolder.generation.merge import TreeEdits
from scaffolder.notifications.delivery import Outcome
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.exports import Exports
from tests.factories import make_file, open_project
from tests.records.test_agent_calls import ASK, DOWN, IN_DOUBT, ScriptedAgent, Step, step  # noqa: F401  # a fixture
from tests.records.test_notifications import Receiver, receiver  # noqa: F401  # a fixture
from tests.unit.templates.trees import commit_tree, write_tree

Told = list[tuple[str, dict[str, str], float]]

AGENT = {"connection": "scripted", "protocol": "rest"}
JOB = Job(handle={"url": "/jobs/1"}, poll_seconds=1, timeout_seconds=60)


def count(told: Told, name: str) -> list[tuple[dict[str, str], float]]:
    return [(tags, value) for told_name, tags, value in told if told_name == name]


def test_every_request_is_counted_by_what_came_of_it_and_each_wait_between(step: Step, told: Told) -> None:  # noqa: F811  # the fixture
    step.call(ScriptedAgent([DOWN, AgentRateLimitedError("slowly"), Answer(data=[1])]))
    outcomes = ("unavailable", "rate_limited", "answered")
    assert count(told, "agent.requests") == [(AGENT | {"outcome": outcome}, 1) for outcome in outcomes]
    assert count(told, "agent.latency") == [(AGENT | {"outcome": outcome}, 0) for outcome in outcomes]
    assert [tags["reason"] for tags, _ in count(told, "agent.retries")] == ["unavailable", "rate_limited"]


@pytest.mark.parametrize(
    ("end", "outcome"),
    [
        (AgentRejectedError("no"), "refused"),
        (AgentAnswerError("half"), "unusable"),
        (ValueError("ours"), "interrupted"),
        (KeyboardInterrupt(), "interrupted"),
        (JOB, "accepted"),
    ],
)
def test_each_end_of_a_request_has_its_outcome(step: Step, told: Told, end: Any, outcome: str) -> None:  # noqa: F811
    try:
        step.call(ScriptedAgent([end]))
    except BaseException as error:
        assert error is end
    assert count(told, "agent.requests") == [(AGENT | {"outcome": outcome}, 1)]


def test_a_wait_without_a_worker_is_none_on_one(step: Step, told: Told) -> None:  # noqa: F811
    with pytest.raises(AgentWaitError):
        step.call(ScriptedAgent([AgentRateLimitedError("slowly", retry_after_seconds=3_000)]))
    assert count(told, "agent.requests") == [(AGENT | {"outcome": "rate_limited"}, 1)]
    assert count(told, "agent.retries") == []


def test_a_request_is_over_before_what_became_of_it_is_asked(
    step: Step,  # noqa: F811
    told: Told,
    spans: InMemorySpanExporter,
) -> None:
    class Recovering(ScriptedAgent):
        async def recover(self, request: CallRequest, *, idempotency_key: str) -> Answer | Job | None:
            told_before.extend(count(told, "agent.requests"))
            ended_before.extend(span.name for span in spans.get_finished_spans())
            return Answer(data="found")

    told_before: list[Any] = []
    ended_before: list[str] = []
    assert step.call(Recovering([IN_DOUBT])).response == "found"
    assert told_before == count(told, "agent.requests") == [(AGENT | {"outcome": "unavailable"}, 1)]
    assert ended_before == ["scaffolder.agent_call"]


def test_a_call_in_parts_is_counted_by_its_parts_and_an_answer_of_the_records_is_no_request(
    step: Step,  # noqa: F811
    told: Told,
) -> None:
    agent = ScriptedAgent([Answer(data="a"), Answer(data="b")], parts=("one", "two"))
    step.call(agent)
    assert count(told, "agent.requests") == [(AGENT | {"outcome": "answered"}, 1)] * 2
    step.call(agent)
    assert len(count(told, "agent.requests")) == 2
    assert count(told, "agent.replays") == [(AGENT, 1)]


def test_tokens_and_cost_are_those_of_the_records(step: Step, told: Told) -> None:  # noqa: F811
    usage = Usage(model="cheap", input_tokens=1_000, output_tokens=10)
    step.settings = replace(step.settings, agent_prices='{"cheap": {"input": 2, "output": 10, "call": 0.5}}')
    call = step.call(ScriptedAgent([Answer(data=1, usage=usage)]))
    directions = [(AGENT | {"direction": "input"}, 1_000), (AGENT | {"direction": "output"}, 10)]
    assert count(told, "agent.tokens") == directions
    assert count(told, "agent.cost") == [(AGENT, int((call.cost or 0) * 1_000_000))]
    assert call.cost == Decimal("0.5021")


def test_tokens_of_a_result_that_could_not_be_recorded_are_told_by_the_next_try(
    step: Step,  # noqa: F811
    told: Told,
    postgres: EmbeddedPostgres,
    records_database: str,
) -> None:
    class Losing(ScriptedAgent):
        async def fetch_result(self, handle: Mapping[str, Any]) -> Answer:
            cut_connections(postgres, records_database)
            return await super().fetch_result(handle)

    result = Answer(data=1, usage=Usage(model="gpt", input_tokens=5, output_tokens=3))
    call = step.call(ScriptedAgent([JOB]))
    with pytest.raises(RecordsUnavailableError):
        step.finish(Losing([result]), call)
    assert told_of_charges(told) == []
    with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
        step.records = ProjectRecords(connection)
        step.finish(ScriptedAgent([result]), call)
    assert told_of_charges(told) == [("agent.tokens", 5), ("agent.tokens", 3), ("agent.cost", 40)]


@pytest.mark.parametrize("is_job", [False, True])
def test_tokens_of_a_refused_answer_are_told(step: Step, told: Told, is_job: bool) -> None:  # noqa: F811
    refused = Answer(data=1, refusal="too long", usage=Usage(model="gpt", input_tokens=5, output_tokens=3))
    call = step.call(ScriptedAgent([JOB])) if is_job else None
    with pytest.raises(AgentAnswerError):
        step.finish(ScriptedAgent([refused]), call) if call else step.call(ScriptedAgent([refused]))
    assert told_of_charges(told) == [("agent.tokens", 5), ("agent.tokens", 3), ("agent.cost", 40)]


def told_of_charges(told: Told) -> list[tuple[str, float]]:
    return [(name, value) for name, _, value in told if name in {"agent.tokens", "agent.cost"}]


def cut_connections(postgres: EmbeddedPostgres, database: str) -> None:
    with psycopg.connect(postgres.url("postgres"), autocommit=True) as other:
        other.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", (database,))


def test_a_circuit_opens_once_and_again_after_a_call_that_was_let_through(
    step: Step,  # noqa: F811
    told: Told,
    connection: psycopg.Connection[Any],
) -> None:
    step.settings = replace(step.settings, agent_circuit_failures=2, agent_tries=1)
    for number in range(2):
        with pytest.raises(AgentUnavailableError):
            step.call(ScriptedAgent([DOWN]), step_id=str(number))
    assert count(told, "agent.circuit_openings") == [({"connection": "scripted"}, 1)]
    connection.execute("UPDATE agent_circuit SET retry_at = now()")
    with pytest.raises(AgentUnavailableError):
        step.call(ScriptedAgent([DOWN]), step_id="3")
    assert len(count(told, "agent.circuit_openings")) == 2


def test_a_job_is_counted_once_when_it_is_over(step: Step, told: Told) -> None:  # noqa: F811
    done = step.call(ScriptedAgent([JOB]))
    assert count(told, "agent.jobs") == []
    for _ in range(2):
        step.finish(ScriptedAgent([Answer(data=1)]), done)
    assert count(told, "agent.jobs") == [(AGENT | {"outcome": "done"}, 1)]
    lost = step.call(ScriptedAgent([JOB]), replace(ASK, body={"other": 1}))
    with pytest.raises(AgentJobError):
        step.fail_job(ScriptedAgent(), lost, is_over=False)
    assert [tags["outcome"] for tags, _ in count(told, "agent.job_duration")] == ["done", "given_up"]


def test_a_request_is_a_client_span_without_what_it_says(step: Step, spans: InMemorySpanExporter) -> None:  # noqa: F811
    said = replace(ASK, body={"document": "s3cret-plan"})
    call = step.call(ScriptedAgent([DOWN, Answer(data={"answer": "s3cret-answer"})]), said)
    first, second = spans.get_finished_spans()
    attributes = {
        "scaffolder.connection": "scripted",
        "scaffolder.protocol": "rest",
        "scaffolder.operation": ASK.subject,
        "scaffolder.agent_call_id": str(call.id),
    }
    assert dict(first.attributes or {}) == attributes | {"scaffolder.outcome": "unavailable"}
    assert dict(second.attributes or {}) == attributes | {"scaffolder.outcome": "answered"}
    assert "s3cret" not in first.to_json() + second.to_json()


@pytest.mark.parametrize(
    ("asked", "operation"),
    [
        (CallRequest(operation="generateModels"), "generateModels"),
        (CallRequest(method="POST", path="/v1/s3cret"), "POST"),
        (CallRequest(prompt="s3cret"), "prompt"),
        (CallRequest(message="s3cret"), "message"),
    ],
)
def test_a_span_names_no_path_and_no_text(
    step: Step,  # noqa: F811
    spans: InMemorySpanExporter,
    asked: CallRequest,
    operation: str,
) -> None:
    call = step.call(ScriptedAgent([JOB]), asked)
    step.finish(ScriptedAgent(), call, asked)
    sent, fetched = spans.get_finished_spans()
    assert [(one.attributes or {})["scaffolder.operation"] for one in (sent, fetched)] == [operation] * 2
    assert "s3cret" not in sent.to_json() + fetched.to_json()


def test_the_span_of_a_part_does_not_say_what_the_agent_called_it(
    step: Step,  # noqa: F811
    spans: InMemorySpanExporter,
) -> None:
    step.call(ScriptedAgent([Answer(data="a")], parts=("files 1: 's3cret/\n{{7*7}}'",)), CallRequest(prompt="x"))
    part, call = spans.get_finished_spans()
    assert [(one.attributes or {})["scaffolder.operation"] for one in (part, call)] == ["part", "prompt"]
    assert "s3cret" not in part.to_json() + call.to_json()
    assert "s3cret" in step.recorded()[1].operation, "the records know"


def test_the_span_of_a_template_from_git_has_no_url(
    records: ProjectRecords, settings: Settings, spans: InMemorySpanExporter, tmp_path: Path
) -> None:
    native = {"template.yaml": 'name: tiny\nversion: "1.0.0"\ndescription: x\n', "files/a.txt": "one"}
    local = write_tree(tmp_path / "templates" / "tiny", native).parent
    repository = write_tree(tmp_path / "s3cret-repository", native)
    commit = commit_tree(repository)
    settings = replace(settings, templates_dir=local, allowed_templates="*, *://*")
    for step_id, reference in (("git", f"git+file://{repository}@{commit}"), ("local", "tiny")):
        generate_files(
            records,
            open_project(records),
            step_id=step_id,
            request=GenerationRequest(edits=TreeEdits(), templates=(TemplateUse(reference=reference, values={}),)),
            settings=settings,
        )
    rendered = [span for span in spans.get_finished_spans() if span.name == "scaffolder.render_template"]
    attributes = [dict(span.attributes or {}) for span in rendered]
    assert attributes == [
        {"scaffolder.template": name, "scaffolder.version": version, "scaffolder.files": 1}
        for name, version in (("git", commit), ("tiny", "1.0.0"))
    ]
    assert "s3cret" not in "".join(span.to_json() for span in spans.get_finished_spans())


def test_lines_written_while_an_agent_is_asked_carry_the_call(step: Step) -> None:  # noqa: F811
    class Noting(ScriptedAgent):
        async def call(self, request: CallRequest, *, idempotency_key: str, ledger: Ledger) -> Answer | Job:
            seen.append(get_contextvars()["agent_call_id"])
            return await super().call(request, idempotency_key=idempotency_key, ledger=ledger)

    seen: list[str] = []
    call = step.call(Noting())
    assert seen == [str(call.id)]
    assert get_contextvars() == {}


def test_exports_are_counted_by_what_came_of_them(records: ProjectRecords, settings: Settings, told: Told) -> None:
    exports = Exports(records, settings)
    for _ in range(2):
        exports.export("archive")
    archive = exports.only.archive_path
    assert archive is not None
    exports.export("archive", format="tar.gz")
    expected = [({"target": "archive", "outcome": outcome}, 1) for outcome in ("exported", "again", "exported")]
    assert count(told, "export.finished") == expected
    records.mark_failed(exports.key, error="x", rules=None)
    with pytest.raises(ExportConflictError):
        exports.export("archive")
    assert count(told, "export.finished") == expected, "nothing was begun"


class EndingExporter:
    """Somebody else's exporter, by an entry point; it ends as it is told."""

    target = "ending"
    needs_connection = False
    author_options: frozenset[str] = frozenset()
    end: ClassVar[BaseException]

    def check_options(self, options: Mapping[str, Any]) -> None:
        pass

    def export(self, request: ExportRequest) -> ExportResult:
        raise self.end


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        (ExportRejectedError("no"), "failed"),
        (ZeroDivisionError("ours"), "failed"),
        (HostWaitError("later", retry_after_seconds=600), "waiting"),
        (KeyboardInterrupt(), "interrupted"),
        (RecordsUnavailableError("away"), None),
    ],
)
def test_each_end_of_an_export_has_its_outcome(
    records: ProjectRecords,
    settings: Settings,
    told: Told,
    spans: InMemorySpanExporter,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    error: BaseException,
    outcome: str | None,
) -> None:
    point = f"[scaffolder.exporters]\nending = {__name__}:EndingExporter\n"
    distribution = {"METADATA": "Metadata-Version: 2.1\nName: ending\nVersion: 1\n", "entry_points.txt": point}
    write_tree(tmp_path / "ending-1.dist-info", distribution)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(EndingExporter, "end", error, raising=False)
    exports = Exports(records, settings)
    with pytest.raises(type(error)):
        exports.export("ending")
    assert count(told, "export.finished") == ([({"target": "ending", "outcome": outcome}, 1)] if outcome else [])
    assert len(count(told, "export.duration")) == (outcome is not None)
    span = spans.get_finished_spans()[-1]
    assert span.status.status_code is (StatusCode.ERROR if outcome in {"failed", None} else StatusCode.UNSET)
    assert (span.attributes or {}).get("scaffolder.outcome") == outcome


def test_commits_and_exports_are_spans(
    records: ProjectRecords, settings: Settings, spans: InMemorySpanExporter
) -> None:
    exports = Exports(records, settings)
    exports.export("archive")
    commit, export = spans.get_finished_spans()
    assert (commit.name, export.name) == ("scaffolder.git_commit", "scaffolder.export")
    assert dict(commit.attributes or {}) == {
        "scaffolder.files": 2,
        "scaffolder.bytes": 15,
        "scaffolder.commit": exports.commit,
    }
    assert (export.attributes or {})["scaffolder.export_id"] == str(exports.only.id)


def test_an_end_is_counted_once_with_what_it_brought(records: ProjectRecords, settings: Settings, told: Told) -> None:
    exports = Exports(records, settings)
    for _ in range(2):
        records.mark_ready(exports.key, rules=keep_days(30))
    workflow = {"workflow": "openapi_service"}
    assert told == [
        ("generated.finished", workflow | {"status": "ready"}, 1),
        ("generated.duration", workflow | {"status": "ready"}, 0),
        ("generated.files", workflow, 2),
        ("generated.bytes", workflow, 15),
    ]
    told.clear()
    other = open_project(records)
    for _ in range(2):
        records.mark_failed(other.id, error="x", rules=None)
    assert [name for name, *_ in told] == ["generated.finished", "generated.duration"]


@pytest.mark.parametrize("status", ["ready", "failed"])
def test_an_end_stands_and_is_told_of_where_postgres_goes_away_after_it(
    records: ProjectRecords, postgres: EmbeddedPostgres, records_database: str, told: Told, status: str
) -> None:
    class Losing(ProjectRecords):
        @contextmanager
        def transaction(self) -> Iterator[None]:
            with super().transaction():
                yield
            cut_connections(postgres, records_database)

    key = open_project(records).id
    with psycopg.connect(postgres.url(records_database), autocommit=True) as connection:
        losing = Losing(connection)
        rules = keep_days(30)
        assert (
            losing.mark_ready(key, rules=rules)
            if status == "ready"
            else losing.mark_failed(key, error="x", rules=rules)
        )
    assert count(told, "generated.finished") == [({"workflow": "openapi_service", "status": status}, 1)]


def test_secrets_are_counted_by_kind_and_not_named(settings: Settings, told: Told) -> None:
    planted = make_file(
        "key.pem",
        "-----BEGIN PRIVATE KEY-----\n"
        + "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSj" * 20
        + "\n-----END PRIVATE KEY-----\n",
    )
    try:
        refuse_secrets([planted, make_file("fine.txt")], settings=settings)
    except SecretFoundError as error:
        kinds = [kind for _, _, kind in error.findings]
    assert count(told, "generation.secrets_found") == [({"kind": kind}, 1) for kind in kinds]


def test_notifications_are_counted_by_channel_and_what_came_of_them(
    receiver: Receiver,  # noqa: F811
    told: Told,
) -> None:
    receiver.watch()
    receiver.make_ready()
    for state in ("unavailable", "sent"):
        receiver.send(deliver=lambda *_, state=state: Outcome(state=state, reason="x"))
        receiver.make_due()
    receiver.make_ready()
    receiver.send(deliver=lambda *_: Outcome(state="refused", reason="gone"))
    found = [(name, tags, value) for name, tags, value in told if name.startswith("notification.")]
    names = ("postponed", "sent", "failed")
    assert found == [(f"notification.{name}", {"channel": "ci"}, 1) for name in names]
    receiver.make_ready()
    receiver.send(deliver=lambda *_: Outcome(state="unavailable", reason="x"))
    receiver.make_due()
    receiver.connection.execute("UPDATE event SET at = at - interval '400 days'")
    told.clear()
    receiver.send(deliver=lambda *_: Outcome(state="unavailable", reason="x"))
    assert count(told, "notification.aged") == [({}, 1)]
