from __future__ import annotations

import base64
import json
import re
from typing import Any

import pytest

from scaffolder.errors import SettingsError
from scaffolder.notifications.channels import EVENT_TYPES, load_channels
from scaffolder.notifications.webhook import parse_secret, parse_webhook, sign
from tests.conftest import CHECKOUT

DOCUMENTATION = (CHECKOUT / "docs" / "notifications.md").read_text()
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def load(*channels: Any) -> Any:
    return load_channels(json.dumps(list(channels)))


def make_channel(**values: Any) -> dict[str, Any]:
    given = {"name": "ci", "events": ["*"], "webhook_conn_id": "hook"} | values
    return {name: value for name, value in given.items() if value is not ...}


def test_nobody_is_told_by_default() -> None:
    assert load_channels("[]") == ()


@pytest.mark.parametrize(
    "patterns, types",
    [
        (["*"], EVENT_TYPES),
        (["generated_project.*"], EVENT_TYPES[:4]),
        (["*.failed"], ("generated_project.failed", "repository_export.failed")),
        (["repository_export.rolled_back", "generated_project.ready"], (EVENT_TYPES[0], EVENT_TYPES[6])),
        (["*", "generated_project.ready"], EVENT_TYPES),
    ],
)
def test_patterns_mean_the_events_that_there_are(patterns: list[str], types: tuple[str, ...]) -> None:
    [channel] = load(make_channel(events=patterns))
    assert channel.event_types == types


@pytest.mark.parametrize(
    "patterns, slugs",
    [
        (..., None),
        (["team-*", "*"], None),
        (["team-*"], ["team-a", "team-b"]),
        (["?ayments", "team-[!a]"], ["payments", "team-b"]),
        (["Payments"], []),
    ],
)
def test_patterns_choose_among_projects(patterns: Any, slugs: list[str] | None) -> None:
    [channel] = load(make_channel(projects=patterns))
    assert channel.choose_projects(["payments", "team-a", "team-b"]) == slugs


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "SCAFFOLDER_NOTIFICATIONS is no JSON; accepted is a list such as "),
        ("[" * 100_000, "SCAFFOLDER_NOTIFICATIONS is no JSON; accepted is a list such as "),
        ("{}", "SCAFFOLDER_NOTIFICATIONS holds an object; accepted is a list such as "),
        ("null", "SCAFFOLDER_NOTIFICATIONS holds null; accepted is a list such as "),
        ("[1]", "SCAFFOLDER_NOTIFICATIONS: channel number 1 is 1; accepted is an object with name and events"),
    ],
)
def test_what_is_no_list_of_channels_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_channels(text)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "values, message",
    [
        ({"name": ...}, "number 1: name is missing; accepted is text: [a-z0-9][a-z0-9_-]{0,62}"),
        ({"name": "A b"}, "number 1: name is 'A b'; accepted is [a-z0-9][a-z0-9_-]{0,62}"),
        ({"name": "ci\n"}, "number 1: name is 'ci\\n'; accepted is [a-z0-9][a-z0-9_-]{0,62}"),
        ({"name": 5}, "number 1: name is 5; accepted is text"),
        ({"events": ...}, "'ci': events is missing; accepted is a list of at least one of ['generated_project.ready'"),
        ({"events": []}, "'ci': events is []; accepted is a list of at least one"),
        ({"events": "*"}, "'ci': events is text; accepted is a list of at least one"),
        ({"events": ["*", "generated_project.done"]}, "'ci': events.1 is 'generated_project.done'; accepted are ["),
        ({"events": ["agent_call.*"]}, "'ci': events.0 is 'agent_call.*'; accepted are ['generated_project.ready'"),
        ({"projects": []}, "'ci': projects is []; accepted is a list of at least one pattern"),
        ({"projects": [" "]}, "'ci': projects.0 is ' '; accepted is a pattern of projects' names such as 'team-*'"),
        ({"webhook_conn_id": ...}, "'ci' has neither of webhook_conn_id and notifier; accepted is exactly one of them"),
        ({"notifier": "a.B"}, "'ci' has both of webhook_conn_id and notifier; accepted is exactly one of them"),
        ({"webhook_conn_id": " "}, "'ci': webhook_conn_id is ' '; accepted is the id of a connection"),
        ({"arguments": {"to": "x"}}, "'ci' has arguments, but no notifier; accepted is to leave them out"),
        ({"notifier": "Notifier"}, "'ci': notifier is 'Notifier'; accepted is the path of a class such as"),
        ({"notifier": "os; x.y"}, "'ci': notifier is 'os; x.y'; accepted is the path of a class such as"),
        ({"arguments": ["x"]}, "'ci': arguments is a list; accepted is an object"),
        ({"event": ["*"]}, "'ci': unknown key 'event'; accepted are ['name', 'events', 'projects', 'webhook_conn_id'"),
    ],
)
def test_a_channel_that_cannot_be_used_is_refused_with_what_is_accepted(values: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load(make_channel(**values))
    assert str(caught.value).startswith(f"SCAFFOLDER_NOTIFICATIONS: channel {message}")


def test_every_problem_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load(make_channel(name="a", events=["x"], foo=1), make_channel(name="b"), make_channel(name="b"))
    assert [found[:40] for found in str(caught.value).split("SCAFFOLDER_NOTIFICATIONS: ")[1:]] == [
        "channel 'a': events.0 is 'x'; accepted a",
        "channel 'a': unknown key 'foo'; accepted",
        "channel 'b': the name is there 2 times; ",
    ]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps([make_channel(webhook_conn_id=..., notifier="a.B", arguments=["xoxb-secret"])]),
        json.dumps([make_channel(notifier="a.B", arguments={"token": "xoxb-secret"})]),
        '[{"arguments": {"token": "xoxb-secret"}},',
        json.dumps("xoxb-secret"),
    ],
)
def test_arguments_are_in_no_message(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_channels(text)
    assert "xoxb-secret" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_arguments_are_not_shown() -> None:
    assert "xoxb" not in repr(load(make_channel(webhook_conn_id=..., notifier="a.B", arguments={"token": "xoxb"})))


def test_the_documented_channels_are_accepted() -> None:
    examples = re.findall(r"```json\n(\[.*?\n\])\n```", DOCUMENTATION, re.DOTALL)
    assert [channel.name for text in examples for channel in load_channels(text)] == ["ci", "mail", "slack"]


def test_the_documentation_lists_every_event() -> None:
    assert re.findall(r"^\| `((?:generated_project|repository_export)\.\w+)` \|", DOCUMENTATION, re.MULTILINE) == list(
        EVENT_TYPES
    )


# Webhooks


def test_signs_as_the_libraries_of_standard_webhooks_do() -> None:
    # The example that their libraries are tested with.
    signature = sign(
        parse_secret("hook", SECRET),
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert signature == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


@pytest.mark.parametrize(
    "text, key",
    [
        ("whsec_" + base64.b64encode(bytes(24)).decode(), bytes(24)),
        ("whsec_" + base64.b64encode(bytes(64)).decode(), bytes(64)),
        ("correct horse battery st", b"correct horse battery st"),
    ],
)
def test_secrets_are_base64_or_long_text(text: str, key: bytes) -> None:
    assert parse_secret("hook", text) == key


@pytest.mark.parametrize(
    "text, message",
    [
        (None, "has no secret: set its password"),
        ("  ", "has no secret: set its password"),
        ("s3cr3t-but-only-23-long", "has a secret of 23 characters"),
        ("whsec_s3cr3t", "has a secret that begins with whsec_ but is no base64"),
        ("whsec_s3cr3t==s3cr3t==s3cr3t==s3cr3t==", "has a secret that begins with whsec_ but is no base64"),
        ("whsec_" + base64.b64encode(b"s3cr3t").decode(), "has a secret of 6 bytes"),
        ("whsec_" + base64.b64encode(bytes(65)).decode(), "has a secret of 65 bytes"),
    ],
)
def test_a_secret_that_is_none_is_refused_without_being_shown(text: str | None, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_webhook("hook", host="https://x", password=text)
    assert str(caught.value).startswith(f"connection 'hook' {message}; accepted is whsec_ and base64 of 24 to 64 bytes")
    assert "s3cr3t" not in str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    "fields, url",
    [
        ({"host": "https://ci.example.com/hooks/1?a=b&c"}, "https://ci.example.com/hooks/1?a=b&c"),
        ({"host": "https://ci.example.com"}, "https://ci.example.com/"),
        ({"host": "http://CI.example.com/x", "port": 8080}, "http://ci.example.com:8080/x"),
        ({"host": "ci.example.com/x", "schema": "http"}, "http://ci.example.com/x"),
        ({"host": "ci.example.com:8443/x"}, "https://ci.example.com:8443/x"),
    ],
)
def test_the_host_is_a_url(fields: dict[str, Any], url: str) -> None:
    assert parse_webhook("hook", password=SECRET, **fields).url == url


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"host": None}, "names no webhook: accepted as host is a URL such as "),
        ({"host": "ftp://x"}, "names no webhook: accepted as host is a URL such as "),
        ({"host": "https://ada:pw@x/"}, "names no webhook: accepted as host is a URL such as "),
        ({"host": "https://x/#y"}, "names no webhook: accepted as host is a URL such as "),
        ({"host": "https://x/a b"}, "names no webhook: accepted as host is a URL such as "),
        ({"host": "https://x:99999/"}, "names no webhook: accepted as host is a URL such as "),
        ({"login": "ada"}, "has a login; accepted is none: the password is the secret that signs, and is not sent"),
        ({"extra": {"Authorization": "pw"}}, "has the extras ['Authorization']; accepted are ['ca_certificate']"),
        ({"extra": {"ca_certificate": "pw"}}, "has a ca_certificate that is neither PEM text nor the absolute path"),
        ({"extra": {"ca_certificate": 5}}, "has a ca_certificate that is neither PEM text nor the absolute path"),
    ],
)
def test_a_connection_that_is_no_webhook_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        parse_webhook("hook", **({"host": "https://x", "password": SECRET} | fields))
    assert str(caught.value).startswith(f"connection 'hook' {message}")
    assert "pw" not in str(caught.value)


def test_neither_url_nor_secret_is_shown() -> None:
    webhook = parse_webhook("hook", host="https://hooks.example.com/T0/B0?token=abcdefgh", password=SECRET)
    assert webhook.name == "webhook 'hook' (https://hooks.example.com)"
    assert not any(text in repr(webhook) for text in ("T0", "abcdefgh", SECRET[6:], repr(webhook.key)))
