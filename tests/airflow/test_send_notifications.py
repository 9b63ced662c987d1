"""Sending from Airflow: the operator with real connections and notifiers, and the DAG that runs it."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from email import message_from_string
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import psycopg
import pytest
from airflow.sdk import BaseNotifier
from airflow.sdk.exceptions import AirflowFailException

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.errors import RecordsUnavailableError
from scaffolder.operators import notifications
from scaffolder.operators.notifications import SendNotificationsOperator
from scaffolder.records.models import RunIdentity
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.airflow.test_plugin import run_python
from tests.factories import RUN_AT
from tests.misbehaving import MisbehavingServer, misbehave, respond
from tests.records.test_notifications import SECRET, check_signature
from tests.unit.test_notification_channels import DOCUMENTATION

OK = respond(b"", status=204, headers={})
NOTHING = {"queued": 0, "sent": 0, "later": 0, "failed": 0, "unusable": []}


class Recorder(BaseNotifier):
    """Keeps what it was told, in the fields that Airflow has rendered."""

    template_fields = ("text", "values")
    told: ClassVar[list[tuple[Any, ...]]] = []

    def __init__(self, text: str, values: Any = None, plain: str = "", fail: bool = False) -> None:
        super().__init__()
        self.text, self.values, self.plain, self.fail = text, values, plain, fail

    def notify(self, context: Any) -> None:
        if self.fail:
            raise RuntimeError("token-5d2e8f")
        self.told.append((self.text, self.values, self.plain, context["repository_export"], context["ti"]))


class AsyncRecorder(BaseNotifier):
    """Can only be awaited."""

    template_fields = ("text",)
    told: ClassVar[list[str]] = []

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    async def async_notify(self, context: Any) -> None:
        self.told.append(f"{self.text} {context['event']['type']}")


class Greedy(BaseNotifier):
    """Changes what it was given."""

    told: ClassVar[list[int]] = []

    def __init__(self, addresses: list[str]) -> None:
        super().__init__()
        self.addresses = addresses

    def notify(self, context: Any) -> None:
        self.addresses.append("me, too")
        self.told.append(len(self.addresses))


class Sending:
    """The operator, in an Airflow with a webhook and records."""

    def __init__(self, server: MisbehavingServer, records: ProjectRecords, monkeypatch: pytest.MonkeyPatch) -> None:
        self.server = server
        self.records = records
        self._monkeypatch = monkeypatch

    def configure(self, *channels: Any, **settings: Any) -> None:
        given = replace(Settings(), notifications=json.dumps(channels), notification_timeout_seconds=2, **settings)
        self._monkeypatch.setattr(notifications, "get_settings", lambda: given)

    def connect(self, conn_id: str = "ci", **fields: Any) -> None:
        given = {"conn_type": "http", "host": f"{self.server.url}/hook", "password": SECRET} | fields
        self._monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(given))

    def run(self) -> dict[str, Any]:
        context: Any = {"ti": "the task"}
        return SendNotificationsOperator(task_id="send").execute(context)

    def finish(self, *, error: str | None = None) -> None:
        key = uuid4()
        run = RunIdentity(dag_id="d", run_id=str(key), run_at=RUN_AT, triggered_by="ada")
        self.records.open_generated_project(
            key, project="default", name="bookings", workflow="w", params={"p": "{{ 7 * 7 }}"}, run=run
        )
        if error is None:
            self.records.mark_ready(key, rules=keep_days(30))
        else:
            self.records.mark_failed(key, error=error, rules=keep_days(7))


def webhook(**values: Any) -> dict[str, Any]:
    return {"name": "ci", "events": ["*"], "webhook_conn_id": "ci"} | values


def notifier(name: str, **arguments: Any) -> dict[str, Any]:
    return {"name": "told", "events": ["*"], "notifier": f"{__name__}.{name}", "arguments": arguments}


@pytest.fixture
def sending(
    connection: psycopg.Connection[Any],
    records: ProjectRecords,
    postgres: EmbeddedPostgres,
    records_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Sending]:
    connection.execute("TRUNCATE notification, notification_channel")
    host = psycopg.conninfo.conninfo_to_dict(postgres.url(records_database))
    database = {"conn_type": "postgres", "host": host["host"], "login": host.get("user"), "schema": records_database}
    monkeypatch.setenv("AIRFLOW_CONN_SCAFFOLDER_DB", json.dumps(database))
    Recorder.told.clear()
    AsyncRecorder.told.clear()
    with misbehave(OK) as server:
        found = Sending(server, records, monkeypatch)
        found.connect()
        found.configure(webhook())
        yield found


@pytest.mark.parametrize("conn_type", ["http", "generic"])
def test_a_webhook_is_sent_to_by_its_connection(sending: Sending, conn_type: str) -> None:
    sending.connect(conn_type=conn_type)
    assert sending.run() == NOTHING
    for _ in range(3):
        sending.finish()
    assert sending.run() == NOTHING | {"queued": 3, "sent": 3}
    assert [request.target for request in sending.server.requests] == ["/hook"] * 3
    # Nothing is left open, but nothing is opened three times either.
    assert sending.server.connections == 1
    assert sending.run() == NOTHING


def test_the_signature_is_by_the_connections_secret(sending: Sending) -> None:
    sending.connect(password="a plain text that is long enough")
    sending.run()
    sending.finish()
    sending.run()
    check_signature(sending.server.requests[0], b"a plain text that is long enough")


def test_a_receiver_that_is_down_does_not_fail_the_task(sending: Sending, capsys: pytest.CaptureFixture[str]) -> None:
    sending.server.behave(respond(b"", status=500), respond(b"", status=400))
    sending.run()
    for _ in range(2):
        sending.finish()
    assert sending.run() == NOTHING | {"queued": 2, "later": 1, "failed": 1}
    log = capsys.readouterr().out
    assert "is tried again in" in log
    assert "has failed: webhook 'ci'" in log
    assert SECRET not in log


@pytest.mark.parametrize(
    "fields, problem",
    [
        ({"password": None}, "connection 'ci' has no secret: set its password"),
        ({"password": "short-5d2e8f"}, "connection 'ci' has a secret of 12 characters"),
        ({"conn_type": "postgres"}, "connection 'ci' is of type 'postgres'; accepted is 'http' or 'generic'"),
        ({"extra": "{"}, "connection 'ci' has an extra that is no JSON"),
        ({"extra": "[]"}, "connection 'ci' has an extra that is no JSON object"),
        (None, "there is no connection 'ci'; accepted is one of type 'http' or 'generic'"),
    ],
)
def test_a_connection_that_is_no_webhook_is_told_and_its_notifications_are_kept(
    sending: Sending,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    fields: dict[str, Any] | None,
    problem: str,
) -> None:
    sending.configure(webhook(), notifier("Recorder", text="{{ event.type }}"))
    sending.run()
    sending.finish()
    if fields is None:
        monkeypatch.delenv("AIRFLOW_CONN_CI")
    else:
        sending.connect(**fields)
    assert sending.run() == NOTHING | {"queued": 2, "sent": 1, "unusable": ["ci"]}
    log = capsys.readouterr().out
    assert f"channel 'ci' cannot be used: {problem}" in log
    assert "5d2e8f" not in log
    assert sending.server.requests == []
    sending.connect()
    assert sending.run() == NOTHING | {"sent": 1}


def test_a_notifier_gets_its_arguments_rendered(sending: Sending) -> None:
    text = "{{ generated_project.project }}/{{ generated_project.name }} is {{ event.to }} ({{ event.from }})"
    values = {"list": ["{{ event.error or 'fine' }}"], "export": "{{ repository_export }}"}
    sending.configure(notifier("Recorder", text=text, values=values, plain="{{ event }}"))
    sending.run()
    sending.finish()
    # What others supply is a value, never a template.
    sending.finish(error="{{ 7 * 7 }}")
    assert sending.run() == NOTHING | {"queued": 2, "sent": 2}
    assert Recorder.told == [
        (
            "default/bookings is ready (generating)",
            {"list": ["fine"], "export": "None"},
            "{{ event }}",
            None,
            "the task",
        ),
        (
            "default/bookings is failed (generating)",
            {"list": ["{{ 7 * 7 }}"], "export": "None"},
            "{{ event }}",
            None,
            "the task",
        ),
    ]


def test_a_notifier_that_can_only_be_awaited_is(sending: Sending) -> None:
    sending.configure(notifier("AsyncRecorder", text="{{ generated_project.name }}"), webhook())
    sending.run()
    for _ in range(2):
        sending.finish()
    assert sending.run() == NOTHING | {"queued": 4, "sent": 4}
    assert AsyncRecorder.told == ["bookings generated_project.ready"] * 2


def test_a_notifier_does_not_change_what_the_next_one_is_given(sending: Sending) -> None:
    sending.configure(notifier("Greedy", addresses=["a"]))
    sending.run()
    for _ in range(2):
        sending.finish()
    assert sending.run() == NOTHING | {"queued": 2, "sent": 2}
    assert Greedy.told == [2, 2]


@pytest.mark.parametrize("arguments", [{"text": "x", "fail": True}, {"text": "{{ 1 / 0 }}"}, {"text": "{{ nothing }"}])
def test_a_notifier_that_raises_is_tried_again(
    sending: Sending, connection: psycopg.Connection[Any], arguments: dict[str, Any]
) -> None:
    sending.configure(notifier("Recorder", **arguments))
    sending.run()
    sending.finish()
    assert sending.run() == NOTHING | {"queued": 1, "later": 1}
    [(status, error)] = connection.execute("SELECT status, error FROM notification").fetchall()
    assert status == "pending"
    assert error.startswith(f"notifier '{__name__}.Recorder' raised ")
    assert "5d2e8f" not in error
    sending.configure(notifier("Recorder", text="x"))
    connection.execute("UPDATE notification SET next_attempt_at = now()")
    assert sending.run() == NOTHING | {"sent": 1}


@pytest.mark.parametrize(
    "values, problem",
    [
        ({"notifier": "nowhere.Notifier"}, "notifier 'nowhere.Notifier' is not there (ModuleNotFoundError)"),
        ({"notifier": f"{__name__}.Nothing"}, "is not there (AttributeError)"),
        ({"notifier": f"{__name__}.Sending"}, "is none; accepted is a subclass of BaseNotifier"),
        ({"notifier": "os.path.join"}, "is none; accepted is a subclass of BaseNotifier"),
        ({"arguments": {"token": "5d2e8f"}}, "does not take the arguments ['token'] (TypeError)"),
    ],
)
def test_a_notifier_that_cannot_be_made_is_told(
    sending: Sending, capsys: pytest.CaptureFixture[str], values: dict[str, Any], problem: str
) -> None:
    sending.configure(notifier("Recorder") | values)
    sending.run()
    sending.finish()
    assert sending.run() == NOTHING | {"queued": 1, "unusable": ["told"]}
    log = capsys.readouterr().out
    assert problem in log
    assert "5d2e8f" not in log


@contextmanager
def serve_mail() -> Iterator[tuple[int, list[str]]]:
    """Take mail as RFC 5321 has it, as much of it as a client needs."""
    mails: list[str] = []

    class Handler(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"220 test\r\n")
            while line := self.rfile.readline().decode():
                if line.upper().startswith("DATA"):
                    self.wfile.write(b"354 go on\r\n")
                    mails.append("".join(iter(lambda: self.rfile.readline().decode(), ".\r\n")))
                self.wfile.write(b"250 ok\r\n")

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1], mails
        finally:
            server.shutdown()
            thread.join()


def test_airflows_own_mail_is_sent_as_documented(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    [documented] = [
        channel
        for text in DOCUMENTATION.split("```json\n")[1:]
        if text.startswith("[")
        for channel in json.loads(text.partition("```")[0])
        if channel["name"] == "mail"
    ]
    sending.configure(documented)
    sending.run()
    sending.finish(error="<b>no</b>")
    with serve_mail() as (port, mails):
        extra = {"disable_ssl": True, "disable_tls": True, "retry_limit": 1}
        mail = {"conn_type": "smtp", "host": "127.0.0.1", "port": port, "extra": json.dumps(extra)}
        monkeypatch.setenv("AIRFLOW_CONN_SMTP_DEFAULT", json.dumps(mail))
        assert sending.run() == NOTHING | {"queued": 1, "sent": 1}
    [text] = mails
    message = message_from_string(text)
    assert (message["To"], message["Subject"]) == ("platform@example.com", "bookings: failed")
    [part] = message.get_payload()
    assert part.get_payload(decode=True).strip() == b"w has failed: &lt;b&gt;no&lt;/b&gt;"


def test_the_task_is_tried_again_where_the_records_are_away(sending: Sending, monkeypatch: pytest.MonkeyPatch) -> None:
    away = {"conn_type": "postgres", "host": "127.0.0.1", "port": 9, "login": "x", "schema": "x"}
    monkeypatch.setenv("AIRFLOW_CONN_SCAFFOLDER_DB", json.dumps(away))
    with pytest.raises(RecordsUnavailableError):
        sending.run()


def test_a_setting_that_cannot_be_used_fails_the_task_at_once(sending: Sending) -> None:
    sending.configure(webhook(events=["x"]))
    with pytest.raises(AirflowFailException, match="SettingsError: SCAFFOLDER_NOTIFICATIONS: channel 'ci': events"):
        sending.run()


LOAD_DAG = """
import json, os
from airflow.dag_processing.dagbag import DagBag
from airflow.serialization.serialized_objects import DagSerialization
bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"] + "/send_notifications.py")
found = {"dags": list(bag.dags), "errors": [text.strip().splitlines()[-1] for text in bag.import_errors.values()]}
for dag in bag.dags.values():
    dag = DagSerialization.from_dict(json.loads(json.dumps(DagSerialization.to_dict(dag))))
    found["schedule"] = dag.timetable.summary
    found["period"] = dag.timetable.timetable.serialize()["delta"]
    found["assets"] = [type(dag.timetable.asset_condition).__name__] + sorted(
        asset.uri for _, asset in dag.timetable.asset_condition.iter_assets()
    )
    found["catchup"], found["runs"] = dag.catchup, dag.max_active_runs
    found["tasks"] = {task.task_id: task.task_type for task in dag.tasks}
print(json.dumps(found))
"""


def test_the_dag_runs_when_something_is_ready_and_every_few_minutes(tmp_path: Path) -> None:
    settings = {
        "SCAFFOLDER_NOTIFICATIONS": json.dumps([webhook()]),
        "SCAFFOLDER_NOTIFICATION_INTERVAL_MINUTES": "7",
    }
    found = run_python(LOAD_DAG, tmp_path, **settings)
    assert found == {
        "dags": ["send_notifications"],
        "errors": [],
        "schedule": "Asset or 0:07:00",
        "period": 420.0,
        "assets": [
            "SerializedAssetAny",
            "scaffolder://generated-project/ready",
            "scaffolder://repository-export/exported",
        ],
        "catchup": False,
        "runs": 1,
        "tasks": {"send": "SendNotificationsOperator"},
    }


def test_there_is_no_dag_where_nobody_is_to_be_told(tmp_path: Path) -> None:
    assert run_python(LOAD_DAG, tmp_path) == {"dags": [], "errors": []}


def test_a_setting_that_cannot_be_used_is_an_import_error(tmp_path: Path) -> None:
    found = run_python(LOAD_DAG, tmp_path, SCAFFOLDER_NOTIFICATIONS=json.dumps([webhook(events=["x"])]))
    assert found["dags"] == []
    [error] = found["errors"]
    assert "SCAFFOLDER_NOTIFICATIONS: channel 'ci': events.0 is 'x'; accepted are" in error
