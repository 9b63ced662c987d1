from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scaffolder.agents.contract import Answer, CallRequest, Usage
from scaffolder.agents.llm import LlmAgent, parse_llm_connection
from scaffolder.config import Settings
from scaffolder.errors import AgentAnswerError, AgentConfigurationError, AgentRejectedError
from tests.ledgers import RecordingLedger
from tests.llm_server import API_KEY, EXPECTED_HEADERS, Asked, LlmServer, Said, serve_models

#: Every way to a model, with what is spoken there; the last one streams.
MODELS = {
    "openai:gpt-test": "responses",
    "openai-chat:gpt-test": "chat",
    "anthropic:claude-test": "anthropic",
    "anthropic:claude-sonnet-5": "anthropic",
}
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "port": {"type": "integer", "maximum": 65535}},
    "required": ["name", "port"],
    "additionalProperties": False,
}
every_model = pytest.mark.parametrize("model", MODELS)


@pytest.fixture(scope="module")
def models() -> Iterator[LlmServer]:
    with serve_models() as server:
        yield server


@pytest.fixture
def server(models: LlmServer) -> LlmServer:
    models.reset()
    return models


def make_agent(server: LlmServer, model: str, *, key: str | None = API_KEY, **settings: Any) -> LlmAgent:
    host = server.url if model.startswith("anthropic:") else f"{server.url}/v1"
    extra = {"model": model} | ({} if key else {"auth": "none"})
    connection = parse_llm_connection("writer", host=host, password=key, extra=extra)
    return LlmAgent(connection, settings=replace(Settings(), agent_timeout_seconds=30, **settings))


def call(agent: LlmAgent, ledger: RecordingLedger | None = None, **fields: Any) -> Answer:
    async def run() -> Answer:
        async with agent:
            request = await agent.prepare(CallRequest(**({"prompt": "Name a service"} | fields)))
            return await agent.call(request, idempotency_key="key-1", ledger=ledger or RecordingLedger())

    return asyncio.run(run())


@every_model
def test_a_prompt_is_answered_in_words(server: LlmServer, model: str) -> None:
    server.brain = lambda _: "A café – 東京 🚀"
    ledger = RecordingLedger()

    answer = call(make_agent(server, model), ledger, system_prompt="Be brief")

    assert answer.data == {"text": "A café – 東京 🚀"}
    [asked] = server.asked
    assert (asked.api, asked.system, asked.turns) == (MODELS[model], "Be brief", ["Name a service"])
    assert ledger.sent == ["answer"]
    assert ledger.requests[0]["model"] == model


@every_model
def test_an_object_is_answered_by_its_schema(server: LlmServer, model: str) -> None:
    server.brain = lambda _: {"name": "billing", "port": 8080}

    answer = call(make_agent(server, model), output_schema=SCHEMA)

    assert answer.data == {"name": "billing", "port": 8080}
    assert server.asked[0].schema is not None
    assert set(server.asked[0].schema["properties"]) == {"name", "port"}


@every_model
def test_the_model_is_told_what_is_wrong_with_its_answer(server: LlmServer, model: str) -> None:
    answers: list[Any] = [{"name": "billing", "port": 99999}, {"name": "billing", "port": 8080}]
    server.brain = lambda _: answers.pop(0)
    ledger = RecordingLedger()

    answer = call(make_agent(server, model), ledger, output_schema=SCHEMA)

    assert answer.data["port"] == 8080
    assert ledger.sent == ["answer", "answer, once more (2)"]
    assert server.asked[1].turns[0] == "Name a service"
    assert "99999" in server.asked[1].turns[1]
    assert "- port: 99999 is greater than the maximum of 65535" in server.asked[1].turns[2]


@every_model
def test_an_object_that_never_fits_is_no_answer(server: LlmServer, model: str) -> None:
    server.brain = lambda _: {"name": "billing"}
    ledger = RecordingLedger()

    with pytest.raises(AgentAnswerError, match=r"no answer of 3 fits: the answer: 'port' is a required property"):
        call(make_agent(server, model), ledger, output_schema=SCHEMA)
    assert len(ledger.sent) == 3


@pytest.mark.parametrize("text", ["[1]", "no JSON", '{"name": "a", "port": NaN}', '{"name": "\\ud800", "port": 1}', ""])
def test_only_json_objects_are_objects(server: LlmServer, text: str) -> None:
    server.brain = lambda _: text

    with pytest.raises(AgentAnswerError, match="no answer of 3 fits: it is not"):
        call(make_agent(server, "openai-chat:gpt-test"), output_schema=SCHEMA)


def test_an_object_may_not_be_nested_deeper_than_the_settings_say(server: LlmServer) -> None:
    server.brain = lambda _: '{"name": ' + "[" * 100_000 + "]" * 100_000 + "}"

    with pytest.raises(AgentAnswerError, match="no answer of 3 fits: it is not JSON, or nested deeper than 200"):
        call(make_agent(server, "openai-chat:gpt-test"), output_schema=SCHEMA)


def test_what_an_error_says_of_an_answer_is_printable_and_cut(server: LlmServer) -> None:
    server.brain = lambda _: {"\x1b[31m" + "x" * 5_000: 1}
    schema = {"type": "object", "additionalProperties": {"type": "string"}}

    with pytest.raises(AgentAnswerError, match="no answer of 3 fits") as caught:
        call(make_agent(server, "openai-chat:gpt-test"), output_schema=schema)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_000


@every_model
@pytest.mark.parametrize("schema", [None, SCHEMA])
def test_an_answer_that_is_cut_off_is_none(server: LlmServer, model: str, schema: Any) -> None:
    server.brain = lambda _: {"name": "billing" * 100, "port": 8080}

    with pytest.raises(AgentAnswerError, match="answer: the answer is cut off at max_tokens 50. Raise max_tokens"):
        call(make_agent(server, model), model_settings={"max_tokens": 50}, output_schema=schema)


@every_model
def test_an_answer_that_is_cut_off_at_the_models_own_limit_says_so(server: LlmServer, model: str) -> None:
    server.brain = lambda _: Said("Once upon a", finish="length")

    with pytest.raises(AgentAnswerError, match="cut off at the model's own limit of tokens"):
        call(make_agent(server, model))


@every_model
def test_a_model_may_decline(server: LlmServer, model: str) -> None:
    server.brain = lambda _: Said("", finish="content_filter")

    with pytest.raises(AgentAnswerError, match=r"answer: the model declines to answer \(content filter\)"):
        call(make_agent(server, model))


def test_an_empty_answer_is_none(server: LlmServer) -> None:
    server.brain = lambda _: " \n"

    with pytest.raises(AgentAnswerError, match="the answer is empty"):
        call(make_agent(server, "openai:gpt-test"))


@every_model
def test_tokens_are_counted_for_each_request(server: LlmServer, model: str) -> None:
    server.brain = lambda _: "x" * 400
    ledger = RecordingLedger()

    call(make_agent(server, model), ledger, prompt="y" * 200)

    assert ledger.usages == [
        Usage(
            input_tokens=51,  # the server counts at least one for the system's words
            output_tokens=100,
            model=model,
        )
    ]


def test_a_step_may_ask_another_model_of_the_connection(server: LlmServer) -> None:
    ledger = RecordingLedger()

    call(make_agent(server, "openai:gpt-5"), ledger, model="openai-chat:gpt-test")

    assert server.asked[0].api == "chat"
    assert [usage.model for usage in ledger.usages if usage] == ["openai-chat:gpt-test"]


def test_settings_arrive(server: LlmServer) -> None:
    settings = {"temperature": 0.5, "top_p": 0.9, "seed": 7, "max_tokens": 500, "stop_sequences": ["END"]}

    call(make_agent(server, "openai-chat:gpt-test"), model_settings=settings)

    body = server.asked[0].body
    assert (body["temperature"], body["top_p"], body["seed"], body["stop"]) == (0.5, 0.9, 7, ["END"])
    assert body.get("max_tokens") == 500 or body.get("max_completion_tokens") == 500


def test_a_server_that_wants_no_key_gets_none(server: LlmServer) -> None:
    with pytest.raises(AgentRejectedError, match="401"):
        call(make_agent(server, "openai-chat:gpt-test", key=None))
    with pytest.raises(AgentRejectedError, match="401"):
        call(make_agent(server, "anthropic:claude-test", key=None))


@every_model
def test_nothing_of_the_environment_leaves_the_worker(
    server: LlmServer, model: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    secret = "sk-of-the-environment"
    for provider in ("OPENAI", "ANTHROPIC"):
        for name in ("API_KEY", "ADMIN_KEY", "AUTH_TOKEN", "ORG_ID", "PROJECT_ID", "PROFILE", "WEBHOOK_SECRET"):
            monkeypatch.setenv(f"{provider}_{name}", secret)
        monkeypatch.setenv(f"{provider}_BASE_URL", "http://127.0.0.1:9/elsewhere")
        headers = f"X-Secret: {secret}\nAuthorization: {secret}\nx-api-key: {secret}\nAnthropic-Beta: {secret}"
        monkeypatch.setenv(f"{provider}_CUSTOM_HEADERS", f"{headers}\nContent-Type: text/{secret}\nHost: {secret}")
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")

    with caplog.at_level(logging.DEBUG):
        call(make_agent(server, model))

    [asked] = server.asked
    assert secret not in str(asked.headers)
    assert set(asked.headers) <= EXPECTED_HEADERS
    assert asked.headers["user-agent"] == "airflow-scaffolder"
    assert API_KEY not in caplog.text


@every_model
def test_a_recorded_call_is_not_asked_again(server: LlmServer, model: str) -> None:
    answers: list[Any] = [{"name": "a"}, {"name": "billing", "port": 1}]
    server.brain = lambda _: answers.pop(0)
    ledger = RecordingLedger()
    first = call(make_agent(server, model), ledger, output_schema=SCHEMA)

    again = RecordingLedger(recorded=ledger.recorded)
    second = call(make_agent(server, model), again, output_schema=SCHEMA)

    assert (second.data, again.sent) == (first.data, [])


def test_what_was_paid_for_before_a_failure_is_not_asked_again(server: LlmServer) -> None:
    brains: list[Any] = [{"name": "a"}, {"name": "billing", "port": 1}]

    def think(asked: Asked) -> Any:
        if len(asked.turns) == 3 and not server.failures and len(server.asked) == 2:
            return Said("", finish="content_filter")
        return brains.pop(0)

    server.brain = think
    ledger = RecordingLedger()
    with pytest.raises(AgentAnswerError):
        call(make_agent(server, "openai:gpt-test"), ledger, output_schema=SCHEMA)
    kept = dict(list(ledger.recorded.items())[:1])

    again = RecordingLedger(recorded=kept)
    assert call(make_agent(server, "openai:gpt-test"), again, output_schema=SCHEMA).data["port"] == 1
    assert again.sent == ["answer, once more (2)"]


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"prompt": None, "operation": "op"}, "is a language model and the step has no prompt; accepted is a prompt"),
        ({"prompt": "  "}, "has no prompt"),
        ({"model": "anthropic:claude"}, "accepted are models of 'openai'"),
        (
            {"model_settings": {"timeout": 3, "extra_headers": {}}},
            r"\['extra_headers', 'timeout'\]; accepted are \['freq",
        ),
        ({"model_settings": {"max_tokens": 0}}, "max_tokens: 0 is less than the minimum of 1"),
        ({"model_settings": {"temperature": "hot"}}, "temperature: 'hot' is not of type 'number'"),
        ({"model_settings": {"openai_transport": "websocket"}}, "accepted are"),
        ({"files": True, "output_schema": SCHEMA}, "both files and output_schema"),
        ({"output_schema": {"type": "array"}}, "type 'array'; accepted for a language model is 'object'"),
        ({"output_schema": {"type": "object", "properties": 3}}, "output_schema cannot be used"),
        ({"output_schema": {"type": "object", "patternProperties": {}}}, "output_schema cannot be used"),
    ],
)
def test_refuses_before_anything_is_sent(server: LlmServer, fields: dict[str, Any], message: str) -> None:
    ledger = RecordingLedger()

    with pytest.raises(AgentRejectedError, match=message):
        call(make_agent(server, "openai:gpt-test"), ledger, **fields)
    assert (server.asked, ledger.sent) == ([], [])


def test_the_test_model_answers_without_a_server() -> None:
    connection = parse_llm_connection("writer", host=None, password=None, extra={"model": "test"})
    agent = LlmAgent(connection, settings=Settings())

    assert call(agent).data["text"]
    assert set(call(agent, output_schema=SCHEMA).data) == {"name", "port"}
    assert call(agent, files=True).data["files"]


def test_is_known_by_provider_server_and_model(server: LlmServer) -> None:
    agent = make_agent(server, "openai:gpt-test")

    assert agent.identity == {"provider": "openai", "base_url": f"{server.url}/v1", "model": "openai:gpt-test"}
    assert agent.can_resend(CallRequest(prompt="Hello"))


@pytest.mark.parametrize("method", ["poll", "fetch_result", "cancel"])
def test_has_no_jobs(server: LlmServer, method: str) -> None:
    with pytest.raises(AgentConfigurationError, match="has no jobs to ask after"):
        asyncio.run(getattr(make_agent(server, "openai:gpt-test"), method)({}))
