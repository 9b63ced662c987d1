"""Notifications on real records and a real server: what is sent, again or not again, and what is kept of it."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.errors import SettingsError
from scaffolder.notifications import service
from scaffolder.notifications.channels import Channel
from scaffolder.notifications.delivery import Deliver, Outcome
from scaffolder.notifications.service import SendingCounts, send_due_notifications
from scaffolder.notifications.webhook import Webhook, WebhookClient, parse_webhook
from scaffolder.records.models import RunIdentity
from scaffolder.records.notifications import Notification, NotificationRecords
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.certificates import Authority
from tests.conftest import CHECKOUT
from tests.misbehaving import (
    Behaviour,
    MisbehavingServer,
    Wire,
    WireRequest,
    drip,
    flood,
    hang,
    head,
    misbehave,
    respond,
    send_and_reset,
    send_raw,
)

SECRET = "whsec_" + base64.b64encode(b"0123456789abcdef0123456789abcdef").decode()
PLANTED = "planted-8f3a1c7e5b"
RUN_AT = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
OK = respond(b"", status=204, headers={})


class Receiver:
    """A webhook and its channel, the records behind it, and rounds of sending."""

    def __init__(self, server: MisbehavingServer, connection: psycopg.Connection[Any], settings: Settings) -> None:
        self.server = server
        self.connection = connection
        self.projects = ProjectRecords(connection)
        self.records = NotificationRecords(connection)
        self.settings = replace(settings, notification_timeout_seconds=2)
        self.channel = make_channel()
        self.reports: list[str] = []
        self.secret = SECRET
        self.path = "/hooks/1"

    def send(self, *channels: Channel, deliver: Deliver | None = None) -> SendingCounts:
        return send_due_notifications(
            self.records,
            channels=channels or [self.channel],
            deliver=deliver or self.deliver,
            settings=self.settings,
            report=self.reports.append,
        )

    def deliver(self, channel: Channel, notification: Notification) -> Outcome:
        webhook = parse_webhook("ci", host=self.server.url + self.path, password=self.secret)
        return deliver_once(webhook, notification, timeout_seconds=self.settings.notification_timeout_seconds)

    def watch(self) -> None:
        """Have the channel there before anything happens."""
        assert self.send() == SendingCounts()

    def make_ready(self, *, project: str = "default", name: str = "bookings") -> UUID:
        key = self.open(project=project, name=name)
        self.projects.mark_ready(key, rules=keep_days(30))
        return key

    def open(self, *, project: str = "default", name: str = "bookings") -> UUID:
        key = uuid4()
        self.projects.open_generated_project(
            key,
            project=project,
            name=name,
            workflow="openapi_service",
            params={"token": PLANTED},
            run=RunIdentity(dag_id="openapi_service", run_id=f"run_{key}", run_at=RUN_AT, triggered_by="ada"),
        )
        return key

    def rows(self) -> list[tuple[Any, ...]]:
        return self.connection.execute(
            "SELECT channel, status, attempts, error FROM notification ORDER BY event_id, channel"
        ).fetchall()

    def make_due(self) -> None:
        self.connection.execute("UPDATE notification SET next_attempt_at = now()")

    def wait_seconds(self) -> float:
        query = "SELECT extract(epoch FROM next_attempt_at - now())::float8 FROM notification"
        [[seconds]] = self.connection.execute(query).fetchall()
        return float(seconds)

    def ids(self) -> list[str]:
        return [request.headers["webhook-id"] for request in self.server.requests]


def make_channel(**values: Any) -> Channel:
    return Channel(**({"name": "ci", "events": ["*"], "webhook_conn_id": "ci"} | values))


def deliver_once(webhook: Webhook, notification: Notification, *, timeout_seconds: float) -> Outcome:
    async def send() -> Outcome:
        async with WebhookClient(webhook, timeout_seconds=timeout_seconds) as client:
            return await client.send(notification)

    return asyncio.run(send())


def check_signature(request: WireRequest, key: bytes) -> None:
    """Do what a receiver does, with what Python has."""
    signed = f"{request.headers['webhook-id']}.{request.headers['webhook-timestamp']}.".encode() + request.body
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert request.headers["webhook-signature"] == f"v1,{expected}"
    assert abs(int(request.headers["webhook-timestamp"]) - time.time()) < 30


@pytest.fixture
def receiver(connection: psycopg.Connection[Any], settings: Settings) -> Iterator[Receiver]:
    connection.execute("TRUNCATE notification, notification_channel")
    with misbehave(OK) as server:
        yield Receiver(server, connection, settings)


# What is sent


def test_a_project_that_is_ready_is_told_with_a_signature(receiver: Receiver) -> None:
    receiver.watch()
    key = receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, sent=1)
    [request] = receiver.server.requests
    check_signature(request, base64.b64decode(SECRET.removeprefix("whsec_")))
    assert (request.method, request.target) == ("POST", "/hooks/1")
    assert request.headers["content-type"] == "application/json"
    [[event_id, at, expires_at]] = receiver.connection.execute(
        "SELECT e.id, e.at, g.expires_at FROM event e JOIN generated_project g ON g.id = e.generated_project_id "
        "WHERE e.detail ->> 'to' = 'ready'"
    ).fetchall()
    assert request.headers["webhook-id"] == f"evt_{event_id}"
    assert json.loads(request.body) == {
        "type": "generated_project.ready",
        "timestamp": at.astimezone(UTC).isoformat(),
        "data": {
            "event": {"id": event_id, "actor": None, "from": "generating", "to": "ready", "error": None},
            "generated_project": {
                "id": str(key),
                "project": "default",
                "name": "bookings",
                "workflow": "openapi_service",
                "status": "ready",
                "head_commit": None,
                "file_count": 0,
                "size_bytes": 0,
                "expires_at": expires_at.astimezone(UTC).isoformat(),
                "dag_id": "openapi_service",
                "run_id": f"run_{key}",
            },
            "repository_export": None,
        },
    }


def test_plain_text_signs_as_it_is(receiver: Receiver) -> None:
    receiver.secret = "a plain text that is long enough: ü"
    receiver.watch()
    receiver.make_ready()
    receiver.send()
    check_signature(receiver.server.requests[0], receiver.secret.encode())


def test_exports_are_told_with_what_they_have_made(receiver: Receiver) -> None:
    receiver.watch()
    key, export = receiver.make_ready(), uuid4()
    receiver.projects.set_actor("grace")
    receiver.projects.exports.intend(
        export,
        generated_project_id=key,
        step_id="publish",
        target="github",
        options={"owner": PLANTED},
        idempotency_key="k",
        commit="1f2e",
    )
    receiver.projects.exports.mark_exporting(export)
    receiver.projects.exports.mark_exported(export, url="https://github.com/acme/bookings", result={"x": PLANTED})
    receiver.projects.exports.mark_rolled_back(export, reason="the run failed")
    assert receiver.send(make_channel(events=["repository_export.*"])).sent == 2
    told = [json.loads(request.body) for request in receiver.server.requests]
    assert [one["type"] for one in told] == ["repository_export.exported", "repository_export.rolled_back"]
    assert told[0]["data"]["event"]["actor"] == "grace"
    assert told[1]["data"]["event"]["error"] == "the run failed"
    # As it is by now.
    expected = {"id": str(export), "target": "github", "url": None, "commit": "1f2e", "status": "rolled_back"}
    assert [one["data"]["repository_export"] for one in told] == [expected, expected]
    assert told[0]["data"]["generated_project"]["id"] == str(key)
    assert PLANTED not in b"".join(request.body for request in receiver.server.requests).decode()


@pytest.mark.parametrize(
    "channel, told",
    [
        ({}, {"generated_project.ready", "generated_project.failed"}),
        ({"events": ["generated_project.failed"]}, {"generated_project.failed"}),
        ({"events": ["repository_export.*"]}, set()),
        ({"projects": ["team-*"]}, {"generated_project.failed"}),
        ({"projects": ["nobody"]}, set()),
    ],
)
def test_a_channel_gets_its_events_of_its_projects(receiver: Receiver, channel: dict[str, Any], told: set[str]) -> None:
    receiver.channel = make_channel(**channel)
    receiver.watch()
    receiver.make_ready(project="payments")
    receiver.projects.mark_failed(receiver.open(project="team-a"), error="no", rules=keep_days(7))
    assert receiver.send() == SendingCounts(queued=len(told), sent=len(told))
    assert {json.loads(request.body)["type"] for request in receiver.server.requests} == told


def test_what_no_pattern_names_is_no_event_for_anybody(receiver: Receiver) -> None:
    receiver.watch()
    receiver.open()
    receiver.connection.execute("INSERT INTO project (slug, name) VALUES ('payments', 'payments')")
    assert receiver.send() == SendingCounts()


def test_every_channel_is_told(receiver: Receiver) -> None:
    channels = [make_channel(name=name) for name in ("a", "b", "c")]
    receiver.send(*channels)
    receiver.make_ready()
    assert receiver.send(*channels) == SendingCounts(queued=3, sent=3)
    assert len(set(receiver.ids())) == 1
    assert receiver.send(*channels) == SendingCounts()


# From when on, and until when


def test_a_new_channel_is_told_of_nothing_old_and_one_that_comes_back_of_what_it_missed(receiver: Receiver) -> None:
    receiver.make_ready()
    receiver.watch()
    receiver.make_ready()
    assert receiver.send(make_channel(name="other")) == SendingCounts()
    assert receiver.send() == SendingCounts(queued=1, sent=1)


def test_a_transaction_that_commits_late_is_not_missed(
    receiver: Receiver, postgres: EmbeddedPostgres, records_database: str
) -> None:
    receiver.watch()
    late = receiver.open(name="late")
    with psycopg.connect(postgres.url(records_database)) as other:
        other.execute("UPDATE generated_project SET status = 'failed', error = 'x' WHERE id = %s", [late])
        receiver.make_ready(name="early")
        assert receiver.send() == SendingCounts(queued=1, sent=1)
    assert receiver.send() == SendingCounts(queued=1, sent=1)
    names = [json.loads(request.body)["data"]["generated_project"]["name"] for request in receiver.server.requests]
    assert names == ["early", "late"]
    ids = [int(one.removeprefix("evt_")) for one in receiver.ids()]
    assert ids[1] < ids[0]


def test_what_is_too_old_is_not_told_any_more(receiver: Receiver) -> None:
    receiver.watch()
    receiver.connection.execute("UPDATE notification_channel SET since = now() - interval '30 days'")
    receiver.server.behave(respond(b"", status=503))
    receiver.make_ready()
    receiver.send()
    receiver.make_due()
    age = "UPDATE event SET at = now() - make_interval(days => %s, mins => %s)"
    receiver.connection.execute(age, [6, 1_439])
    assert receiver.send().later == 1
    receiver.make_due()
    receiver.connection.execute(age, [7, 1])
    receiver.make_ready()
    receiver.connection.execute(age, [7, 1])
    assert receiver.send() == SendingCounts(failed=1)
    [(_, status, attempts, error)] = receiver.rows()
    assert (status, attempts) == ("failed", 2)
    assert re.fullmatch(r"not sent within 7 day\(s\); last: webhook 'ci' .* answered 503: no reason given", error)
    assert receiver.reports[-1] == "1 notification(s) were not sent within 7 day(s) and have failed"


def test_what_is_gone_is_not_told(receiver: Receiver) -> None:
    receiver.watch()
    receiver.server.behave(respond(b"", status=503))
    receiver.make_ready()
    receiver.send()
    receiver.connection.execute("DELETE FROM generated_project")
    receiver.make_due()
    assert receiver.send() == SendingCounts(failed=1)
    assert receiver.rows() == [("ci", "failed", 2, "its generated project is gone")]
    assert len(receiver.server.requests) == 1
    receiver.connection.execute("DELETE FROM event")
    assert receiver.rows() == []


# What receivers do


@pytest.mark.parametrize("status", [500, 501, 502, 503, 529, 408, 425, 429])
def test_a_receiver_that_is_away_is_told_again_under_the_same_id(receiver: Receiver, status: int) -> None:
    receiver.watch()
    receiver.server.behave(respond({"detail": "busy"}, status=status), OK)
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, later=1)
    assert receiver.rows() == [("ci", "pending", 1, f"webhook 'ci' ({receiver.server.url}) answered {status}: busy")]
    assert receiver.send() == SendingCounts()
    receiver.make_due()
    assert receiver.send() == SendingCounts(sent=1)
    assert receiver.rows() == [("ci", "sent", 2, None)]
    assert len(receiver.server.requests) == 2
    assert len(set(receiver.ids())) == 1
    for request in receiver.server.requests:
        check_signature(request, base64.b64decode(SECRET.removeprefix("whsec_")))
    receiver.make_due()
    assert receiver.send() == SendingCounts()


@pytest.mark.parametrize(
    "behaviour",
    [
        lambda wire, _: wire.reset(),
        lambda wire, _: wire.close(),
        send_raw(b"HTTP/1.1 20"),
        send_raw(b"nonsense\r\n\r\n"),
        send_and_reset(b"HTTP/1.1 200 OK\r\n"),
    ],
)
def test_a_connection_that_breaks_is_tried_again(receiver: Receiver, behaviour: Behaviour) -> None:
    receiver.watch()
    receiver.server.behave(behaviour, OK)
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, later=1)
    assert receiver.rows()[0][3].startswith(f"webhook 'ci' ({receiver.server.url}) did not answer: ")
    receiver.make_due()
    assert receiver.send() == SendingCounts(sent=1)
    assert len(set(receiver.ids())) == 1


def test_nobody_there_is_tried_again(receiver: Receiver) -> None:
    receiver.watch()
    receiver.server.url = "http://127.0.0.1:9"
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, later=1)


@pytest.mark.parametrize("behaviour", [hang, drip(b"HTTP/1.1 200 OK\r\nX-A: ", b"a")])
def test_a_slow_receiver_is_given_up_in_time(receiver: Receiver, behaviour: Behaviour) -> None:
    receiver.settings = replace(receiver.settings, notification_timeout_seconds=1)
    receiver.watch()
    receiver.server.behave(behaviour, OK)
    receiver.make_ready()
    began = time.monotonic()
    assert receiver.send() == SendingCounts(queued=1, later=1)
    assert 0.9 < time.monotonic() - began < 3
    assert receiver.rows()[0][3].endswith("took longer than 1 s (SCAFFOLDER_NOTIFICATION_TIMEOUT_SECONDS)")


@pytest.mark.parametrize(
    "behaviour",
    [
        respond({"ok": True}, status=202),
        drip(head(200, Content_Length=1_000_000), b"a"),
        flood(head(200, Content_Length=10**9), b"a" * 65_536, times=1_000),
        send_raw(head(200, Content_Length=100), b"broken off"),
        send_raw(head(200, Content_Encoding="gzip"), b"no gzip"),
    ],
)
def test_what_follows_a_2xx_does_not_matter(receiver: Receiver, behaviour: Behaviour) -> None:
    receiver.watch()
    receiver.server.behave(behaviour)
    receiver.make_ready()
    began = time.monotonic()
    assert receiver.send() == SendingCounts(queued=1, sent=1)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("status", [200, 500])
def test_no_more_of_an_answer_is_taken_than_its_beginning(receiver: Receiver, status: int) -> None:
    taken = 0

    def flood_and_count(wire: Wire, _: WireRequest) -> None:
        nonlocal taken
        wire.send(head(status, Content_Length=10**9))
        with suppress(OSError):
            for _ in range(2_000):
                wire.send(b"a" * 65_536)
                taken += 65_536
        wire.close()

    receiver.watch()
    receiver.server.behave(flood_and_count)
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, sent=status == 200, later=status == 500)
    # What the sockets' buffers hold comes on top.
    assert 0 < taken < 20_000_000


@pytest.mark.parametrize(
    "status, headers, error",
    [
        (400, {}, "answered 400: no such event"),
        (401, {}, "answered 401: no such event"),
        (403, {"Retry-After": "1"}, "answered 403: no such event"),
        (404, {}, "answered 404: no such event"),
        (410, {}, "answered 410: no such event"),
        (301, {"Location": "{url}/elsewhere"}, "answered 301, a redirect; redirects are not followed"),
        (307, {"Location": "{url}/elsewhere"}, "answered 307, a redirect; redirects are not followed"),
        (304, {}, "answered 304, a redirect; redirects are not followed"),
    ],
)
def test_a_refusal_is_final_and_nothing_is_followed(
    receiver: Receiver, status: int, headers: dict[str, str], error: str
) -> None:
    receiver.watch()
    given = {name: value.format(url=receiver.server.url) for name, value in headers.items()}
    body = b"" if status == 304 else json.dumps({"message": "no such event"}).encode()
    receiver.server.behave(respond(body, status=status, headers=given), OK)
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, failed=1)
    assert receiver.rows() == [("ci", "failed", 1, f"webhook 'ci' ({receiver.server.url}) {error}")]
    assert [request.target for request in receiver.server.requests] == ["/hooks/1"]
    receiver.make_due()
    assert receiver.send() == SendingCounts()
    # The channel itself goes on.
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, sent=1)


@pytest.mark.parametrize("attempts, low, high", [(0, 5, 15), (1, 10, 30), (3, 40, 120), (90, 86_399, 86_400)])
def test_waits_double_up_to_a_day(receiver: Receiver, attempts: int, low: float, high: float) -> None:
    receiver.settings = replace(receiver.settings, notification_tries=100)
    receiver.watch()
    receiver.server.behave(respond(b"", status=503))
    receiver.make_ready()
    receiver.send()
    receiver.connection.execute("UPDATE notification SET attempts = %s, next_attempt_at = now()", [attempts])
    receiver.send()
    assert low - 2 < receiver.wait_seconds() <= high


def test_what_has_been_tried_often_enough_has_failed(receiver: Receiver) -> None:
    receiver.settings = replace(receiver.settings, notification_tries=3)
    receiver.watch()
    receiver.server.behave(respond(b"", status=500))
    receiver.make_ready()
    found = []
    for _ in range(4):
        found.append(receiver.send())
        receiver.make_due()
    assert [(one.later, one.failed) for one in found] == [(1, 0), (1, 0), (0, 1), (0, 0)]
    [(_, status, attempts, error)] = receiver.rows()
    assert (status, attempts) == ("failed", 3)
    assert error.endswith("answered 500: no reason given (try 3 of 3)")
    assert len(receiver.server.requests) == 3


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize(
    "text, seconds",
    [
        ("120", 120),
        (None, None),  # a date, ten minutes from when the test runs
        ("99999999999999999999", 86_400),
    ],
)
def test_a_receiver_that_asks_to_wait_is_left_alone_altogether(
    receiver: Receiver, status: int, text: str | None, seconds: float | None
) -> None:
    text = text or (datetime.now(UTC) + timedelta(seconds=600)).strftime("%a, %d %b %Y %H:%M:%S GMT")
    receiver.watch()
    receiver.server.behave(respond(b"", status=status, headers={"Retry-After": text}), OK)
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, later=1)
    waited = receiver.wait_seconds()
    assert (60 < waited < 601) if seconds is None else (seconds - 5 < waited <= seconds)
    receiver.make_ready()
    receiver.make_due()
    assert receiver.send() == SendingCounts(queued=1)
    assert len(receiver.server.requests) == 1
    assert receiver.send(make_channel(name="other")) == SendingCounts()
    receiver.connection.execute("UPDATE notification_channel SET blocked_until = now()")
    assert receiver.send().sent == 2


def test_a_receiver_that_is_down_keeps_nobody_waiting_and_uses_up_no_tries(receiver: Receiver) -> None:
    channels = [make_channel(name="down"), make_channel(name="up")]

    def deliver(channel: Channel, notification: Notification) -> Outcome:
        return Outcome(state="unavailable", reason="down") if channel.name == "down" else Outcome(state="sent")

    receiver.send(*channels)
    for _ in range(10):
        receiver.make_ready()
    assert receiver.send(*channels, deliver=deliver) == SendingCounts(queued=20, sent=10, later=3)
    attempts = [row[2] for row in receiver.rows() if row[0] == "down"]
    assert sorted(attempts) == [0] * 7 + [1] * 3
    # The others come first in the next round.
    assert receiver.send(*channels, deliver=deliver) == SendingCounts(later=3)
    assert sorted(row[2] for row in receiver.rows() if row[0] == "down") == [0] * 4 + [1] * 6


def test_failures_that_are_not_in_a_row_are_no_reason_to_stop(receiver: Receiver) -> None:
    outcomes = iter([*["unavailable"] * 2, "sent", *["unavailable"] * 2, "refused", *["unavailable"] * 2, "sent"])
    receiver.watch()
    for _ in range(9):
        receiver.make_ready()
    counts = receiver.send(deliver=lambda _, __: Outcome(state=next(outcomes), reason="x"))  # type: ignore[arg-type]  # one of its three
    assert counts == SendingCounts(queued=9, sent=2, later=6, failed=1)


def test_a_round_ends_although_more_is_due(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "ROUND_SECONDS", 0.5)
    receiver.watch()
    for _ in range(4):
        receiver.make_ready()

    def deliver(channel: Channel, notification: Notification) -> Outcome:
        time.sleep(0.3)
        return Outcome(state="sent")

    assert receiver.send(deliver=deliver).sent == 2
    assert receiver.send(deliver=deliver).sent == 2


def test_a_channel_that_cannot_be_used_keeps_what_belongs_to_it(receiver: Receiver) -> None:
    def refuse(channel: Channel, notification: Notification) -> Outcome:
        raise SettingsError("there is no connection 'ci'")

    receiver.watch()
    for _ in range(2):
        receiver.make_ready()
    for queued in (2, 0):
        assert receiver.send(deliver=refuse) == SendingCounts(queued=queued, unusable=["ci"])
    assert receiver.reports == ["channel 'ci' cannot be used: there is no connection 'ci'"] * 2
    assert receiver.rows() == [("ci", "pending", 0, None)] * 2
    assert receiver.send() == SendingCounts(sent=2)


def test_a_certificate_that_nobody_knows_is_refused_and_one_of_the_connections_own_authority_accepted(
    receiver: Receiver, tmp_path: Path
) -> None:
    authority = Authority("Ours")
    receiver.watch()
    receiver.make_ready()
    with misbehave(OK, tls=authority.issue("localhost").make_server_context(tmp_path), host="localhost") as server:
        receiver.server = server
        assert receiver.send() == SendingCounts(queued=1, later=1)
        assert "certificate" in receiver.rows()[0][3].lower()
        assert server.requests == []
        trusting = parse_webhook(
            "ci", host=server.url, password=SECRET, extra={"ca_certificate": authority.certificate}
        )
        receiver.make_due()
        counts = receiver.send(deliver=lambda _, one: deliver_once(trusting, one, timeout_seconds=2))
        assert counts == SendingCounts(sent=1)
    broken = parse_webhook("ci", host="https://x", password=SECRET, extra={"ca_certificate": "/nowhere.pem"})
    with pytest.raises(SettingsError, match="connection 'ci' has a ca_certificate that cannot be used"):
        WebhookClient(broken, timeout_seconds=1)


# Once


def test_two_senders_at_once_share_the_work_and_send_nothing_twice(
    receiver: Receiver, postgres: EmbeddedPostgres, records_database: str
) -> None:
    channels = [make_channel(name="a"), make_channel(name="b")]
    receiver.send(*channels)
    receiver.connection.execute("INSERT INTO project (slug, name) VALUES ('bulk', 'bulk')")
    receiver.connection.execute(
        """
        INSERT INTO generated_project (id, project_id, name, workflow, dag_id, run_id, run_at, params)
        SELECT gen_random_uuid(), (SELECT id FROM project), 'x', 'x', 'x', i::text, now(), '{}'
        FROM generate_series(1, 100) i
        """
    )
    receiver.connection.execute("UPDATE generated_project SET status = 'failed', error = 'x'")
    sent: Counter[tuple[str, int]] = Counter()
    counts: list[SendingCounts] = []
    start = threading.Barrier(2)

    def run() -> None:
        with psycopg.connect(postgres.url(records_database), autocommit=True) as own:
            start.wait()

            def deliver(channel: Channel, notification: Notification) -> Outcome:
                outcome = receiver.deliver(channel, notification)
                sent[channel.name, notification.event_id] += 1
                return outcome

            counts.append(
                send_due_notifications(
                    NotificationRecords(own),
                    channels=channels,
                    deliver=deliver,
                    settings=receiver.settings,
                    report=receiver.reports.append,
                )
            )

    threads = [threading.Thread(target=run) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(sent) == 200
    assert set(sent.values()) == {1}
    assert Counter(receiver.ids()) == Counter(dict.fromkeys(receiver.ids(), 2))
    assert len(receiver.server.requests) == 200
    assert (sum(one.queued for one in counts), sum(one.sent for one in counts)) == (200, 200)
    # Each has a fair part of it.
    assert min(one.sent for one in counts) > 20
    assert receiver.reports == []
    assert {row[1:] for row in receiver.rows()} == {("sent", 1, None)}


KILLED = """
import asyncio, os, signal, sys
import psycopg
from scaffolder.config import Settings
from scaffolder.notifications.channels import Channel
from scaffolder.notifications.service import send_due_notifications
from scaffolder.notifications.webhook import WebhookClient, parse_webhook
from scaffolder.records.retention import keep_days
from scaffolder.records.notifications import NotificationRecords

database, url, secret = sys.argv[1:]

async def send(notification):
    async with WebhookClient(parse_webhook("ci", host=url, password=secret), timeout_seconds=5) as client:
        return await client.send(notification)

def deliver(channel, notification):
    assert asyncio.run(send(notification)).state == "sent"
    os.kill(os.getpid(), signal.SIGKILL)

with psycopg.connect(database, autocommit=True) as connection:
    send_due_notifications(
        NotificationRecords(connection),
        channels=[Channel(name="ci", events=["*"], webhook_conn_id="ci")],
        deliver=deliver,
        settings=Settings(),
        report=print,
    )
"""


def test_a_sender_that_is_killed_before_it_records_is_followed_by_the_same_id(
    receiver: Receiver, postgres: EmbeddedPostgres, records_database: str
) -> None:
    receiver.watch()
    receiver.make_ready()
    finished = subprocess.run(
        [sys.executable, "-c", KILLED, postgres.url(records_database), receiver.server.url, SECRET],
        env=os.environ | {"PYTHONPATH": str(CHECKOUT / "plugins")},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert finished.returncode == -signal.SIGKILL, finished.stderr
    assert len(receiver.server.requests) == 1
    assert receiver.rows() == [("ci", "pending", 1, None)]
    # Nobody touches it while the dead one may still be at it.
    assert receiver.send() == SendingCounts()
    assert 60 < receiver.wait_seconds() <= 70
    receiver.make_due()
    assert receiver.send() == SendingCounts(sent=1)
    assert len(receiver.server.requests) == 2
    assert len(set(receiver.ids())) == 1


def test_what_kills_its_senders_is_given_up(receiver: Receiver) -> None:
    def die(channel: Channel, notification: Notification) -> Outcome:
        raise KeyboardInterrupt

    receiver.settings = replace(receiver.settings, notification_tries=2)
    receiver.watch()
    receiver.make_ready()
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            receiver.send(deliver=die)
        receiver.make_due()
    assert receiver.send(deliver=die) == SendingCounts(failed=1)
    assert receiver.rows() == [("ci", "failed", 3, "whoever was to send it was ended each time")]


def test_a_sender_that_is_late_does_not_undo_what_another_has_done(
    receiver: Receiver, postgres: EmbeddedPostgres, records_database: str
) -> None:
    receiver.watch()
    receiver.make_ready()
    outcome = Outcome(state="unavailable", reason="too late")

    def be_late(channel: Channel, notification: Notification) -> Outcome:
        receiver.make_due()
        with psycopg.connect(postgres.url(records_database), autocommit=True) as own:
            other = NotificationRecords(own)
            taken = other.claim("ci", lease_seconds=60)
            assert taken is not None
            assert taken.attempts == 2
        return outcome

    receiver.send(deliver=be_late)
    assert receiver.rows() == [("ci", "pending", 2, None)]
    assert 50 < receiver.wait_seconds() <= 60
    # Sent is sent, whoever has it now.
    receiver.make_due()
    outcome = Outcome(state="sent")
    receiver.connection.execute("UPDATE notification SET attempts = 0")
    assert receiver.send(deliver=be_late) == SendingCounts(sent=1)
    assert receiver.rows()[0][1] == "sent"


def test_nothing_is_locked_while_it_is_sent(
    receiver: Receiver, postgres: EmbeddedPostgres, records_database: str
) -> None:
    states: list[tuple[Any, ...]] = []

    def look(wire: Wire, request: WireRequest) -> None:
        with psycopg.connect(postgres.url(records_database)) as other:
            query = """
                SELECT a.state, a.xact_start, (SELECT count(*) FROM pg_locks l WHERE l.pid = a.pid)
                FROM pg_stat_activity a WHERE a.pid = %s
            """
            states.extend(other.execute(query, [receiver.connection.info.backend_pid]).fetchall())
        OK(wire, request)

    receiver.watch()
    receiver.server.behave(look)
    receiver.make_ready()
    assert receiver.send() == SendingCounts(queued=1, sent=1)
    assert states == [("idle", None, 0)]


# Secrets


def test_no_secret_is_in_a_log_an_error_or_a_record(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    key = SECRET.removeprefix("whsec_")
    receiver.path = f"/services/{PLANTED}?key={PLANTED}2"
    echo = {"detail": f"wrong: {SECRET} {key} services/{PLANTED} key={PLANTED}2 \x1b[31m"}
    receiver.watch()
    receiver.server.behave(
        respond(echo, status=500), respond(echo, status=404), send_raw(f"{SECRET} {PLANTED}\r\n\r\n".encode()), hang
    )
    with caplog.at_level("INFO"):
        for _ in range(4):
            receiver.make_ready()
            receiver.send()
    assert [request.target for request in receiver.server.requests] == [receiver.path] * 4
    rows = receiver.rows()
    assert [row[1] for row in rows] == ["pending", "failed", "pending", "pending"]
    assert rows[0][3] == f"webhook 'ci' ({receiver.server.url}) answered 500: wrong: *** *** ***/*** key=*** [31m"
    shown = [row[3] for row in rows] + receiver.reports + [record.getMessage() for record in caplog.records]
    assert not [text for text in shown if key in text or PLANTED in text]
    for request in receiver.server.requests:
        assert key not in request.body.decode() + str(request.headers)
        assert PLANTED not in request.body.decode()


def test_the_documented_check_accepts_what_is_sent_and_nothing_else(receiver: Receiver) -> None:
    text = (CHECKOUT / "docs" / "notifications.md").read_text()
    [code] = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    receiver.watch()
    receiver.make_ready()
    receiver.send()
    [request] = receiver.server.requests
    is_genuine = names["is_genuine"]
    assert is_genuine(request.headers, request.body, SECRET)
    assert not is_genuine(request.headers, request.body + b" ", SECRET)
    assert not is_genuine(request.headers, request.body, "whsec_" + base64.b64encode(bytes(32)).decode())
    assert not is_genuine({**request.headers, "webhook-id": "evt_0"}, request.body, SECRET)
    old = {**request.headers, "webhook-timestamp": str(int(time.time()) - 600)}
    assert not is_genuine(old, request.body, SECRET)
