from __future__ import annotations

from typing import Any

import pytest

from scaffolder.agents.http.authentication import BearerToken, HeaderKey, NoAuthentication
from scaffolder.agents.llm import parse_llm_connection
from scaffolder.errors import AgentConfigurationError, AgentRejectedError

KEY = "sk-test-8c1d7f2b9e"


def parse(*, host: str | None = None, password: str | None = KEY, **extra: Any) -> Any:
    return parse_llm_connection("writer", host=host, password=password, extra=extra)


@pytest.mark.parametrize(
    "model, base_url, authentication",
    [
        ("openai:gpt-5", "https://api.openai.com/v1", BearerToken(token=KEY)),
        ("openai-responses:gpt-5", "https://api.openai.com/v1", BearerToken(token=KEY)),
        ("openai-chat:gpt-5", "https://api.openai.com/v1", BearerToken(token=KEY)),
        ("anthropic:claude-sonnet-5", "https://api.anthropic.com", HeaderKey(name="x-api-key", key=KEY)),
    ],
)
def test_a_model_of_a_provider_needs_no_host(model: str, base_url: str, authentication: Any) -> None:
    connection = parse(model=model)

    assert (connection.base_url, str(connection.model)) == (base_url, model)
    assert connection.server.authentication == authentication
    assert connection.is_hosted_by_provider


def test_a_host_is_the_base_url_of_another_server() -> None:
    connection = parse(host="http://localhost:11434/v1/", model="openai-chat:llama3:8b")

    assert connection.base_url == "http://localhost:11434/v1"
    assert (connection.model.prefix, connection.model.name) == ("openai-chat", "llama3:8b")
    assert not connection.is_hosted_by_provider


def test_a_server_may_want_no_key() -> None:
    connection = parse(host="http://localhost:11434/v1", password=None, model="openai-chat:llama3", auth="none")

    assert connection.server.authentication == NoAuthentication()


def test_the_test_model_has_no_server() -> None:
    connection = parse(password=None, model="test")

    assert (connection.server, connection.base_url, connection.secrets) == (None, None, ())


def test_extras_that_the_form_leaves_empty_are_not_given() -> None:
    assert parse(model="openai:gpt-5", fallback_conn_ids=[], auth="", ca_certificate=None).secrets == (KEY,)
    assert parse(model="openai:gpt-5", fallback_conn_ids=[""])


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"model": "openai:gpt-5", "password": None}, "has no API key: set its password.*environment are not used"),
        ({"model": "anthropic:claude", "password": ""}, "has no API key"),
        ({}, "has no model in its extra; accepted are 'openai:…'"),
        ({"model": "gpt-5"}, "has model 'gpt-5'.*accepted are"),
        ({"model": "openai:"}, "has model 'openai:'"),
        ({"model": "gateway/openai:gpt-5"}, "has model 'gateway/openai:gpt-5'"),
        ({"model": "bedrock:claude"}, "has model 'bedrock:claude'"),
        ({"model": 5}, "has model 5"),
        ({"model": "openai:gpt-5", "fallback_conn_ids": ["other"]}, "has fallback_conn_ids, which are not followed"),
        ({"model": "openai:gpt-5", "base_url": "https://x"}, r"unknown extras \['base_url'\]; accepted are \['auth'"),
        ({"model": "openai:gpt-5", "auth": "oauth2"}, "has an auth in its extra that is not 'none'"),
        ({"model": "openai:gpt-5", "host": "ftp://models"}, "names no agent"),
        ({"model": "openai:gpt-5", "host": "https://user:pw@models"}, "names no agent"),
        ({"model": "openai:gpt-5", "password": "sk-ünicode"}, "characters that no header takes"),
        ({"model": "openai:gpt-5", "ca_certificate": "nothing"}, "neither PEM text nor"),
    ],
)
def test_refuses_what_cannot_be_used(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(AgentConfigurationError, match=message) as caught:
        parse(**fields)

    assert "sk-" not in str(caught.value)
    assert "pw" not in str(caught.value)


def test_keys_in_the_environment_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENAI_API_KEY", "OPENAI_ADMIN_KEY", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN"):
        monkeypatch.setenv(name, "sk-of-the-environment")

    with pytest.raises(AgentConfigurationError, match="has no API key"):
        parse(password=None, model="openai:gpt-5")


@pytest.mark.parametrize(
    "name, chosen", [(None, "openai:gpt-5"), ("openai:o4", "openai:o4"), ("openai-chat:o4", "openai-chat:o4")]
)
def test_a_step_may_choose_another_model_of_the_family(name: str | None, chosen: str) -> None:
    assert str(parse(model="openai:gpt-5").choose_model(name)) == chosen


@pytest.mark.parametrize(
    "name, message",
    [
        ("anthropic:claude", "connection 'writer' is for 'openai:gpt-5'; accepted are models of 'openai'"),
        ("test", "accepted are models of 'openai'"),
        ("o4", "asks for model 'o4'; accepted are 'openai:…'"),
    ],
)
def test_a_key_never_goes_to_another_family(name: str, message: str) -> None:
    with pytest.raises(AgentRejectedError, match=message):
        parse(model="openai:gpt-5").choose_model(name)


def test_no_secret_is_shown() -> None:
    assert KEY not in repr(parse(model="openai:gpt-5"))
