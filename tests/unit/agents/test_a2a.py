from __future__ import annotations

import asyncio
import base64
import json
import subprocess
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import uuid4

import pytest
from starlette.responses import JSONResponse, Response

from scaffolder.agents.a2a import A2aAgent
from scaffolder.agents.connection import parse_connection
from scaffolder.agents.contract import Answer, CallRequest, Job, JobStatus, Ledger
from scaffolder.config import KIB, Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentConfigurationError,
    AgentJobError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)
from tests.a2a_server import BINARY, TOKEN, A2aServer, answer_json_rpc, serve_a2a

CURRENT = [("JSONRPC", "1.0"), ("HTTP+JSON", "1.0")]
LEGACY = [("JSONRPC", "0.3.0"), ("HTTP+JSON", "0.3.0")]
DATA = {"a": {}, "b": [1, 2.5, None, True], "port": 8080}


class NoLedger(Ledger):
    async def part(self, name: str, request: Any, send: Callable[[], Awaitable[Answer]]) -> Answer:
        raise AssertionError(name)


@pytest.fixture(scope="module")
def running_server() -> Iterator[A2aServer]:
    with serve_a2a() as server:
        yield server


@pytest.fixture
def server(running_server: A2aServer) -> A2aServer:
    running_server.card = running_server.make_card("JSONRPC", "HTTP+JSON")
    running_server.sent.clear()
    running_server.requests.clear()
    running_server.answer_instead = lambda _: None
    running_server.after = False
    running_server.released.clear()
    return running_server


@pytest.fixture(params=CURRENT + LEGACY, ids=" ".join)
def any_way(request: pytest.FixtureRequest, server: A2aServer) -> A2aServer:
    """The server with a card of one binding and version."""
    binding, version = request.param
    server.card = server.make_card(binding, version=version)
    return server


@pytest.fixture(params=CURRENT, ids=" ".join)
def current_way(request: pytest.FixtureRequest, server: A2aServer) -> A2aServer:
    binding, version = request.param
    server.card = server.make_card(binding, version=version)
    return server


def open_agent(server: A2aServer, *, token: str = TOKEN, **settings: Any) -> A2aAgent:
    connection = parse_connection("bot", conn_type="a2a", host=server.url, password=token)
    return A2aAgent(connection, settings=replace(Settings(agent_timeout_seconds=10), **settings))


async def send(
    agent: A2aAgent, message: Any, *, key: str | None = None, timeout_seconds: int | None = None
) -> Answer | Job:
    request = await agent.prepare(CallRequest(message=message, timeout_seconds=timeout_seconds))
    return await agent.call(request, idempotency_key=key or str(uuid4()), ledger=NoLedger())


def call(server: A2aServer, message: Any, *, key: str | None = None, **settings: Any) -> Answer | Job:
    """Send a message, and return what the agent makes of it."""

    async def run() -> Answer | Job:
        async with open_agent(server, **settings) as agent:
            return await send(agent, message, key=key)

    return asyncio.run(run())


def finish(server: A2aServer, message: Any, **settings: Any) -> tuple[JobStatus, Answer]:
    """Send a message, and return the end of its task and the answer."""

    async def run() -> tuple[JobStatus, Answer]:
        async with open_agent(server, **settings) as agent:
            job = await send(agent, message)
            assert isinstance(job, Job)
            status = await poll_to_the_end(agent, job)
            return status, await agent.fetch_result(job.handle)

    return asyncio.run(run())


async def poll_to_the_end(agent: A2aAgent, job: Job) -> JobStatus:
    for _ in range(1_000):
        status = await agent.poll(job.handle)
        if status.state != "running":
            return status
        await asyncio.sleep(0.01)
    raise AssertionError(status)


def test_a_message_is_answered_at_once(any_way: A2aServer) -> None:
    assert call(any_way, "say hello") == Answer(data={"text": "hello", "data": [], "files": [], "task_id": None})


def test_a_task_is_asked_after_until_it_is_done(any_way: A2aServer) -> None:
    async def run() -> None:
        async with open_agent(any_way) as agent:
            job = await send(agent, "work")
            assert isinstance(job, Job)
            assert job.poll_seconds > 0
            assert job.timeout_seconds > 0
            while not (status := await agent.poll(job.handle)).note:
                assert status.state == "running"
            assert status == JobStatus(state="running", note="thinking [31m")
            with pytest.raises(AgentJobError, match="still at work"):
                await agent.fetch_result(job.handle)
            any_way.released.set()
            assert await poll_to_the_end(agent, job) == JobStatus(state="done")
            answer = await agent.fetch_result(job.handle)
        task_id = job.handle["task_id"]
        assert answer == Answer(data={"text": "first\nsecond", "data": [], "files": [], "task_id": task_id})

    asyncio.run(run())
    assert len(any_way.sent) == 1


def test_a_fresh_agent_goes_on_with_the_handle_alone(any_way: A2aServer) -> None:
    job = call(any_way, "work")
    assert isinstance(job, Job)
    assert TOKEN not in json.dumps(job.handle)
    any_way.card = Response("the card is not asked for again", status_code=500)
    any_way.released.set()

    async def go_on() -> Answer:
        async with open_agent(any_way) as agent:
            handle = json.loads(json.dumps(job.handle))
            await poll_to_the_end(agent, replace(job, handle=handle))
            return await agent.fetch_result(handle)

    assert asyncio.run(go_on()).data["text"] == "first\nsecond"


def test_many_tasks_are_asked_after_at_a_time(server: A2aServer) -> None:
    job = call(server, "complete")
    assert isinstance(job, Job)

    async def run() -> list[JobStatus]:
        async with open_agent(server) as agent:
            await poll_to_the_end(agent, job)
            return await asyncio.gather(*(agent.poll(job.handle) for _ in range(100)))

    assert asyncio.run(run()) == [JobStatus(state="done")] * 100


def test_parts_with_a_name_are_files_and_the_rest_is_text_and_data(current_way: A2aServer) -> None:
    status, answer = finish(current_way, "make files")
    assert status == JobStatus(state="done")
    assert answer.data["text"] == "done"
    assert answer.data["data"] == [DATA]
    assert answer.data["files"] == [
        {"path": "src/main.py", "content": "print('ä')\r\n"},
        {"path": "logo.png", "content": base64.b64encode(BINARY).decode(), "encoding": "base64"},
        {"path": "README.md", "content": "# Title\n"},
        {"path": "config.json", "content": json.dumps(DATA, indent=2) + "\n"},
    ]
    assert len(answer.warnings) == 1
    assert "1 part(s) of the answer are left out" in answer.warnings[0]


def test_whole_numbers_stay_whole_and_names_are_in_order(server: A2aServer) -> None:
    _, answer = finish(server, "make files")
    assert json.dumps(answer.data["data"]) == json.dumps([DATA])


def test_files_are_those_that_a_file_generation_step_takes(server: A2aServer) -> None:
    from scaffolder.generation.tree import parse_files

    _, answer = finish(server, "make files")
    files = parse_files(answer.data["files"], origin="agent_call:1")
    assert [file.content for file in files][:2] == ["print('ä')\r\n".encode(), BINARY]


def test_the_last_status_is_the_answer_of_a_task_without_artifacts(any_way: A2aServer) -> None:
    _, answer = finish(any_way, "complete")
    assert answer.data["text"] == "all said"


def test_a_message_takes_text_data_and_files_there_and_back(any_way: A2aServer) -> None:
    files = [
        {"path": "a/b.txt", "content": "ä\r\n"},
        {"path": "b.bin", "content": base64.b64encode(BINARY).decode(), "encoding": "base64"},
        {"path": "c.bin", "content": base64.b64encode(b"a\0").decode(), "encoding": "base64"},
    ]
    _, answer = finish(any_way, {"text": "echo", "data": DATA, "files": files})
    assert answer.data["text"] == "echo"
    assert answer.data["data"] == [DATA]
    assert answer.data["files"] == files


def test_files_have_names_and_media_types_in_either_spelling(server: A2aServer) -> None:
    files = [
        {"name": "a.txt", "content": "a"},
        {"name": "b.bin", "content_base64": "AAE="},
        {"path": "c.py", "content": "c", "media_type": "text/x-python", "executable": True},
    ]
    finish(server, {"text": "echo", "files": files})
    parts = [(part.filename, part.raw, part.media_type) for part in server.sent[0].parts][1:]
    assert parts == [
        ("a.txt", b"a", "text/plain"),
        ("b.bin", b"\x00\x01", "application/octet-stream"),
        ("c.py", b"c", "text/x-python"),
    ]


def test_the_message_has_the_idempotency_key_as_its_id_and_no_context_of_ours(any_way: A2aServer) -> None:
    contexts = []
    for _ in range(2):
        call(any_way, "complete", key="key-1")
        contexts.append(any_way.sent[-1].context_id)
    assert [message.message_id for message in any_way.sent] == ["key-1", "key-1"]
    assert contexts[0] != contexts[1]


@pytest.mark.parametrize(
    "message, expected",
    [
        ("", "message is empty; accepted is one with any of text, data and files"),
        ({}, "message is empty"),
        (["a"], "message is list; accepted is text or a mapping"),
        ({"text": 1}, "message.text is int; accepted is text"),
        ({"words": "a"}, r"unknown keys \['words'\]; accepted are \['data', 'files', 'text'\]"),
        ({"files": {"path": "a"}}, r"message.files is dict; accepted is a list of \{path, content\}"),
        ({"files": ["a"]}, r"message.files\[0\] is str; accepted is a mapping"),
        ({"files": [{"content": "a"}]}, r"message.files\[0\] has no path"),
        ({"files": [{"path": "a"}]}, r"message.files\[0\] has no content; accepted is text as one of"),
        ({"files": [{"path": "a", "content": "a", "content_base64": "YQ=="}]}, "accepted is text as one of"),
        ({"files": [{"path": "a", "content_base64": "!"}]}, "has content that is no base64"),
        ({"files": [{"path": "a", "content_base64": "YQ==", "encoding": "utf-8"}]}, "has encoding 'utf-8'"),
        ({"files": [{"path": "a", "content": "a", "encoding": "latin-1"}]}, "has encoding 'latin-1'; accepted are"),
        ({"files": [{"path": "a", "content": "\ud800"}]}, "has content that is no utf-8"),
        ({"files": [{"path": "a", "content": "a", "mode": 1}]}, r"has unknown keys \['mode'\]"),
        ({"files": [{"path": "a", "content": "a", "media_type": 1}]}, "has media_type 1; accepted is text"),
    ],
)
def test_a_message_that_does_not_fit_is_refused(server: A2aServer, message: Any, expected: str) -> None:
    with pytest.raises(AgentRejectedError, match=expected):
        call(server, message)
    assert server.requests == []


def test_all_problems_of_a_message_are_named(server: A2aServer) -> None:
    with pytest.raises(AgentRejectedError) as caught:
        call(server, {"text": 1, "files": [{}, {"path": "a"}], "words": ""})
    assert all(name in str(caught.value) for name in ("words", "text", "files[0]", "files[1]"))


def test_other_kinds_of_requests_are_refused(server: A2aServer) -> None:
    async def run() -> None:
        async with open_agent(server) as agent:
            await agent.prepare(CallRequest(operation="makeModels"))

    with pytest.raises(AgentRejectedError, match="takes a message; given is 'makeModels'"):
        asyncio.run(run())


@pytest.mark.parametrize("data", [json.loads("[" * 200 + "]" * 200), {"a": "\ud800"}], ids=["deep", "half a character"])
def test_data_that_a2a_cannot_carry_is_refused_before_it_is_sent(server: A2aServer, data: Any) -> None:
    with pytest.raises(AgentRejectedError, match="a part of kind 'data' cannot be sent"):
        call(server, {"data": data})
    assert server.sent == []


@pytest.mark.parametrize(
    "order, note",
    [
        ("fail", "failed: no [31m*** left"),
        ("reject", "was refused"),
        ("ask", "asks for input, which a step cannot give: which one?"),
        ("ask for credentials", "asks for other credentials, which a step cannot give"),
    ],
)
def test_a_task_that_brings_nothing_has_failed(any_way: A2aServer, order: str, note: str) -> None:
    async def run() -> None:
        async with open_agent(any_way) as agent:
            job = await send(agent, order)
            assert isinstance(job, Job)
            assert await poll_to_the_end(agent, job) == JobStatus(state="failed", note=note)
            with pytest.raises(AgentJobError) as caught:
                await agent.fetch_result(job.handle)
            assert str(caught.value).endswith(f"task {job.handle['task_id']!r} {note}")

    asyncio.run(run())


def test_a_task_that_has_failed_at_once_is_no_job(server: A2aServer) -> None:
    task = {"id": f"t1\n{TOKEN}{'x' * 9000}", "status": {"state": "TASK_STATE_INPUT_REQUIRED"}}
    server.answer_instead = lambda path: answer_json_rpc(result={"task": task}) if path == "/rpc" else None
    with pytest.raises(AgentJobError, match=r"task 't1 \*\*\*x+' asks for input, which a step cannot give") as caught:
        call(server, "ask")
    assert len(str(caught.value)) < 300


def test_a_task_is_cancelled(any_way: A2aServer) -> None:
    async def run() -> JobStatus:
        async with open_agent(any_way) as agent:
            job = await send(agent, "work")
            assert isinstance(job, Job)
            await agent.cancel(job.handle)
            return await poll_to_the_end(agent, job)

    assert asyncio.run(run()) == JobStatus(state="failed", note="was cancelled there")


def test_a_task_that_is_over_or_gone_is_cancelled_without_an_error(any_way: A2aServer) -> None:
    async def run() -> None:
        async with open_agent(any_way) as agent:
            job = await send(agent, "complete")
            assert isinstance(job, Job)
            await poll_to_the_end(agent, job)
            await agent.cancel(job.handle)
            await agent.cancel({**job.handle, "task_id": "gone"})

    asyncio.run(run())


@pytest.mark.parametrize("status", [400, 409])
def test_a_task_that_goes_on_though_it_was_cancelled_is_an_error(server: A2aServer, status: int) -> None:
    server.card = server.make_card("HTTP+JSON")
    refusal = Response(status_code=status)
    server.answer_instead = lambda path: refusal if path.endswith(":cancel") else None

    async def run() -> None:
        async with open_agent(server) as agent:
            job = await send(agent, "work")
            assert isinstance(job, Job)
            await agent.cancel(job.handle)

    with pytest.raises(AgentRejectedError, match=f"answered {status}"):
        asyncio.run(run())


def test_a_task_that_the_agent_does_not_know_has_failed(any_way: A2aServer) -> None:
    async def run() -> JobStatus:
        async with open_agent(any_way) as agent:
            job = await send(agent, "complete")
            assert isinstance(job, Job)
            return await agent.poll({**job.handle, "task_id": "gone"})

    status = asyncio.run(run())
    assert (status.state, status.note.endswith("does not know the task")) == ("failed", True)


def test_the_first_interface_that_we_speak_is_taken(server: A2aServer) -> None:
    server.card = server.make_card("GRPC", "HTTP+JSON", "JSONRPC")
    call(server, "say hello")
    assert "/rest/message:send" in [path for _, path, _ in server.requests]


def test_the_version_is_said_and_a_newer_one_preferred(server: A2aServer) -> None:
    legacy = server.make_card("JSONRPC", version="0.3.0")["supportedInterfaces"]
    server.card = server.make_card("HTTP+JSON", version="1.2")
    server.card["supportedInterfaces"][:0] = legacy
    call(server, "say hello")
    _, path, headers = server.requests[-1]
    assert (path, headers["a2a-version"]) == ("/rest/message:send", "1.0")


def test_an_old_card_is_understood(server: A2aServer) -> None:
    server.card = {"name": "Old", "url": f"{server.url}/rpc", "protocolVersion": "0.3.0", "skills": []}
    assert isinstance(call(server, "say hello"), Answer)
    assert server.requests[-1][2]["a2a-version"] == "0.3"


def test_a_tenant_is_passed_on(server: A2aServer) -> None:
    server.card = server.make_card("HTTP+JSON")
    server.card["supportedInterfaces"][0] |= {"tenant": "acme", "url": server.url}
    with pytest.raises(AgentRejectedError):
        call(server, "say hello")
    assert server.requests[-1][1] == "/acme/message:send"


@pytest.mark.parametrize(
    "url", ["https://elsewhere.example/secret-path?key=k", "http://user:pw@127.0.0.1/rpc", "ftp://x"]
)
def test_interfaces_elsewhere_are_refused_by_their_origin_only(server: A2aServer, url: str) -> None:
    server.card = server.make_card("JSONRPC", url=url)
    with pytest.raises(AgentConfigurationError, match="its card offers") as caught:
        call(server, "say hello")
    assert not any(secret in str(caught.value) for secret in ("secret-path", "key=", "pw"))
    assert [path for _, path, _ in server.requests] == ["/.well-known/agent-card.json"]


def test_an_interface_of_our_own_is_found_among_others(server: A2aServer) -> None:
    elsewhere = server.make_card("JSONRPC", url="https://elsewhere.example")["supportedInterfaces"]
    server.card["supportedInterfaces"][:0] = elsewhere
    assert isinstance(call(server, "say hello"), Answer)


@pytest.mark.parametrize(
    "card, error",
    [
        ({"name": "no interfaces"}, AgentConfigurationError),
        ({"supportedInterfaces": [{"url": "/rpc", "protocolBinding": "GRPC"}]}, AgentConfigurationError),
        (
            {"supportedInterfaces": [{"url": "/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "2.0"}]},
            AgentConfigurationError,
        ),
        (["card"], AgentAnswerError),
        (Response("<html>", media_type="text/html"), AgentAnswerError),
        (Response("{", media_type="application/json"), AgentAnswerError),
        (Response(status_code=404), AgentRejectedError),
        (Response(status_code=307, headers={"Location": "https://elsewhere.example/"}), AgentRejectedError),
    ],
)
def test_a_card_that_cannot_be_used_is_refused(server: A2aServer, card: Any, error: type[ScaffolderError]) -> None:
    server.card = card
    with pytest.raises(error):
        call(server, "say hello")


def test_an_agent_whose_card_is_away_was_sent_nothing(server: A2aServer) -> None:
    server.card = Response(status_code=502, headers={"Retry-After": "7"})
    with pytest.raises(AgentUnavailableError) as caught:
        call(server, "say hello")
    assert not caught.value.in_doubt
    assert caught.value.retry_after_seconds == 7


def test_credentials_that_are_refused_are_not_repeated(any_way: A2aServer) -> None:
    async def run() -> None:
        async with open_agent(any_way, token="wrong-token-9z8y") as agent:
            await send(agent, "say hello")

    with pytest.raises(AgentRejectedError, match="401.*who are you") as caught:
        asyncio.run(run())
    assert "wrong-token-9z8y" not in str(caught.value)


@pytest.mark.parametrize(
    "code, error",
    [
        (-32001, AgentRejectedError),
        (-32004, AgentRejectedError),
        (-32005, AgentRejectedError),
        (-32006, AgentAnswerError),
        (-32009, AgentRejectedError),
        (-32600, AgentRejectedError),
        (-32601, AgentRejectedError),
        (-32602, AgentRejectedError),
        (-32603, AgentUnavailableError),
        (-32700, AgentRejectedError),
        (-1, AgentAnswerError),
        ("x", AgentAnswerError),
    ],
)
def test_errors_of_json_rpc_are_put_into_their_class(
    server: A2aServer, code: Any, error: type[ScaffolderError]
) -> None:
    refusal = {"code": code, "message": f"not\n\x1b[31mthis {TOKEN} {'x' * 9000}"}
    server.answer_instead = lambda path: answer_json_rpc(error=refusal) if path == "/rpc" else None
    with pytest.raises(error, match=r"not \[31mthis \*\*\* xxx") as caught:
        call(server, "say hello")
    assert len(str(caught.value)) < 700
    # Neither is it where a log shows what led to the error.
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
    if isinstance(caught.value, AgentUnavailableError):
        assert caught.value.in_doubt


@pytest.mark.parametrize(
    "status, error, in_doubt, wait",
    [
        (400, AgentRejectedError, None, None),
        (404, AgentRejectedError, None, None),
        (413, AgentRejectedError, None, None),
        (429, AgentRateLimitedError, None, 3),
        (500, AgentUnavailableError, True, 3),
        (502, AgentUnavailableError, True, 3),
        (503, AgentUnavailableError, False, 3),
    ],
)
def test_http_statuses_are_put_into_their_class(
    current_way: A2aServer, status: int, error: type[ScaffolderError], in_doubt: bool | None, wait: float | None
) -> None:
    body = {"error": {"code": status, "message": f"not this {TOKEN}"}}
    refusal = JSONResponse(body, status_code=status, headers={"Retry-After": "3"})
    current_way.answer_instead = lambda path: refusal if path in {"/rpc", "/rest/message:send"} else None
    with pytest.raises(error, match=rf"answered {status}: not this \*\*\*") as caught:
        call(current_way, "say hello")
    assert getattr(caught.value, "in_doubt", None) is in_doubt
    assert getattr(caught.value, "retry_after_seconds", None) == wait
    assert TOKEN not in "".join(traceback.format_exception(caught.value))


def test_a_refusal_over_http_says_why(server: A2aServer) -> None:
    server.card = server.make_card("HTTP+JSON")
    detail = {"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": "CONTENT_TYPE_NOT_SUPPORTED"}
    body = {"error": {"code": 400, "message": "no pictures", "details": [detail]}}
    refusal = JSONResponse(body, status_code=400)
    server.answer_instead = lambda path: refusal if path.startswith("/rest") else None
    with pytest.raises(AgentRejectedError, match="no pictures"):
        call(server, "say hello")


@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "[]",
        '"x"',
        "{}",
        '{"result": 5}',
        '{"result": null}',
        '{"result": {}}',
        '{"result": {"task": {}}}',
        '{"result": {"task": {"id": 7}}}',
        '{"result": {"task": {"status": {"state": "TASK_STATE_WORKING"}}}}',
        '{"result": {"task": {"id": "t1"}}}',
        '{"result": {"task": {"id": "t1", "status": {"state": "TASK_STATE_NEW"}}}}',
        '{"result": {"task": {"id": "t1", "status": {"state": 99}}}}',
        '{"result": {"task": {"id": "t1", "status": "working"}}}',
        '{"result": {"message": {"parts": "x"}}}',
        '{"result": {"message": {"parts": [{"text": NaN}]}}}',
        '{"result": {"message": {"parts": [{"data": 1e999}]}}}',
        '{"result": {"message": {"parts": [{"text": "a", "text": "b"}]}}}',
        '{"result": {"message": {"parts": [{"text": "\\ud800"}]}}}',
        '{"result": {"message": {"parts": [{"data": ' + "[" * 150 + "]" * 150 + "}]}}}",
        '{"error": "x"}',
        '{"error": ["secret"]}',
    ],
)
@pytest.mark.parametrize("version", ["1.0", "0.3.0"])
def test_answers_that_are_not_a2a_are_refused(server: A2aServer, content: str, version: str) -> None:
    server.card = server.make_card("JSONRPC", version=version)
    answer = Response(content, media_type="application/json")
    server.answer_instead = lambda path: answer if path == "/rpc" else None
    with pytest.raises(AgentAnswerError):
        call(server, "say hello")


def test_json_that_is_too_deep_and_other_media_types_are_refused(current_way: A2aServer) -> None:
    answers = {
        LimitExceededError: Response("[" * 100_000 + "]" * 100_000, media_type="application/json"),
        AgentAnswerError: Response("<html>", media_type="text/html"),
    }
    for error, answer in answers.items():
        current_way.answer_instead = lambda path, answer=answer: answer if "card" not in path else None
        with pytest.raises(error):
            call(current_way, "say hello")


def test_a_refusal_that_is_too_deep_is_refused(current_way: A2aServer) -> None:
    refusal = Response("[" * 60_000, status_code=400, media_type="application/json")
    current_way.answer_instead = lambda path: refusal if "card" not in path else None
    with pytest.raises((AgentAnswerError, AgentRejectedError)):
        call(current_way, "say hello")


def test_parts_of_kinds_to_come_are_left_out_with_a_warning(server: A2aServer) -> None:
    parts = [{"hologram": "x", "filename": "a"}, {"text": "b", "mood": "good"}]
    message = {"messageId": "1", "role": "ROLE_AGENT", "parts": parts}
    server.answer_instead = lambda path: answer_json_rpc(result={"message": message}) if path == "/rpc" else None
    answer = call(server, "say hello")
    assert isinstance(answer, Answer)
    assert (answer.data["text"], answer.data["files"], len(answer.warnings)) == ("b", [], 1)


def lose_answer(server: A2aServer, *, after: bool) -> None:
    """Let the answer to the message get lost, after the agent has acted upon it or before."""
    lost = iter([Response(status_code=502)])
    server.after = after
    sends = {"/rpc", "/rest/message:send", "/rest/v1/message:send"}
    server.answer_instead = lambda path: next(lost, None) if path in sends else None


def test_a_message_whose_answer_was_lost_is_found_among_the_tasks(current_way: A2aServer) -> None:
    call(current_way, "complete", key="key-1")
    lose_answer(current_way, after=True)

    async def run() -> Answer:
        async with open_agent(current_way) as agent:
            with pytest.raises(AgentUnavailableError, match="502") as caught:
                await send(agent, "work", key="key-2")
            assert caught.value.in_doubt
            job = await agent.recover(CallRequest(message="work"), idempotency_key="key-2")
            assert isinstance(job, Job)
            current_way.released.set()
            await poll_to_the_end(agent, job)
            return await agent.fetch_result(job.handle)

    assert asyncio.run(run()).data["text"] == "first\nsecond"
    assert [message.message_id for message in current_way.sent] == ["key-1", "key-2"]


def recover(server: A2aServer, key: str = "a key that was never sent") -> Answer | Job | None:
    async def run() -> Answer | Job | None:
        async with open_agent(server) as agent:
            return await agent.recover(CallRequest(message="work"), idempotency_key=key)

    return asyncio.run(run())


def test_a_message_that_never_came_stays_in_doubt(current_way: A2aServer) -> None:
    lose_answer(current_way, after=False)
    with pytest.raises(AgentUnavailableError, match="502") as caught:
        call(current_way, "work")
    assert caught.value.in_doubt
    assert current_way.sent == []
    assert recover(current_way) is None


@pytest.mark.parametrize("binding", ["JSONRPC", "HTTP+JSON"])
def test_an_old_agent_that_cannot_list_tasks_stays_in_doubt(server: A2aServer, binding: str) -> None:
    server.card = server.make_card(binding, version="0.3.0")
    lose_answer(server, after=True)
    with pytest.raises(AgentUnavailableError, match="502") as caught:
        call(server, "complete")
    assert caught.value.in_doubt
    assert recover(server) is None


def test_no_message_is_sent_again_without_being_told() -> None:
    connection = parse_connection("bot", conn_type="a2a", host="http://127.0.0.1:9", password=TOKEN)
    agent = A2aAgent(connection, settings=Settings())
    assert not agent.can_resend(CallRequest(message="work"))


def test_an_agent_that_is_away_was_sent_nothing() -> None:
    server = A2aServer(url="http://127.0.0.1:9")
    with pytest.raises(AgentUnavailableError) as caught:
        call(server, "say hello")
    assert not caught.value.in_doubt


@pytest.mark.parametrize("step, setting", [(1, 10), (None, 1)])
def test_the_deadline_is_the_step_s_or_that_of_the_settings(server: A2aServer, step: int | None, setting: int) -> None:
    class Slow(Response):
        async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
            await asyncio.sleep(1.2)

    async def run() -> None:
        async with open_agent(server, agent_timeout_seconds=setting) as agent:
            await send(agent, "say hello", timeout_seconds=step)

    slow = iter([Slow()])
    server.answer_instead = lambda path: next(slow, None) if path == "/rpc" else None
    with pytest.raises(AgentUnavailableError, match="longer than 1 s") as caught:
        asyncio.run(run())
    assert caught.value.in_doubt


def test_files_that_are_a_url_of_the_agent_are_fetched(any_way: A2aServer) -> None:
    _, answer = finish(any_way, "link")
    content = base64.b64encode(BINARY).decode()
    assert answer.data["files"] == [{"path": "a.bin", "content": content, "encoding": "base64"}]


def test_files_that_are_a_url_of_elsewhere_are_refused(server: A2aServer) -> None:
    with pytest.raises(AgentRejectedError, match="a link leads to https://elsewhere.example; accepted") as caught:
        finish(server, "link elsewhere")
    assert "secret-path" not in str(caught.value)


def test_a_message_is_not_sent_again_for_a_file_that_cannot_be_fetched(server: A2aServer) -> None:
    missing = iter([Response(status_code=503)])
    server.answer_instead = lambda path: next(missing, None) if path.startswith("/files") else None
    with pytest.raises(AgentUnavailableError, match="503") as caught:
        call(server, "say file")
    assert caught.value.in_doubt
    answer = call(server, "say file")
    assert isinstance(answer, Answer)
    assert answer.data["files"] == [{"path": "out.txt", "content": "out"}]


def test_files_of_a_task_that_cannot_be_fetched_yet_are_fetched_later(server: A2aServer) -> None:
    part = {"url": f"{server.url}/files/out.txt", "filename": "out.txt"}
    artifacts = [{"artifactId": "1", "parts": [part]}]
    task = {"id": "t1", "status": {"state": "TASK_STATE_COMPLETED"}, "artifacts": artifacts}
    sent = answer_json_rpc(result={"task": task})
    asked = answer_json_rpc(result=task)
    answers = iter([sent, Response(status_code=503), asked])
    server.answer_instead = lambda path: next(answers, None) if "card" not in path else None

    async def run() -> Answer:
        async with open_agent(server) as agent:
            job = await send(agent, "x")
            assert isinstance(job, Job)
            return await agent.fetch_result(job.handle)

    assert asyncio.run(run()).data["files"] == [{"path": "out.txt", "content": "out"}]


@pytest.mark.parametrize(
    "order, settings, expected",
    [
        ("make files", {"max_agent_files": 3}, r"answered 4 files; accepted are up to 3 \(SCAFFOLDER_MAX_AGENT_FILES"),
        ("echo", {"max_agent_response_size": 2 * KIB}, "more than 2048 bytes"),
    ],
)
def test_answers_over_a_limit_are_refused(
    server: A2aServer, order: str, settings: dict[str, int], expected: str
) -> None:
    message = {"text": order, "files": [{"path": "a", "content": "a" * 4000}]} if order == "echo" else order
    with pytest.raises(LimitExceededError, match=expected):
        finish(server, message, **settings)


def test_the_files_behind_urls_count_together(server: A2aServer) -> None:
    parts = [{"url": f"{server.url}/files/a", "filename": f"{n}.bin"} for n in range(5)]
    message = {"messageId": "1", "role": "ROLE_AGENT", "parts": parts}
    server.answer_instead = lambda path: answer_json_rpc(result={"message": message}) if path == "/rpc" else None
    server.card["skills"] = []
    assert isinstance(call(server, "x", max_agent_response_size=5 * len(BINARY)), Answer)
    with pytest.raises(LimitExceededError, match="files of more than 1279 bytes"):
        call(server, "x", max_agent_response_size=5 * len(BINARY) - 1)


def test_a_message_of_too_many_files_is_refused(server: A2aServer) -> None:
    files = [{"path": str(n), "content": ""} for n in range(3)]
    with pytest.raises(LimitExceededError, match="message has 3 files; accepted are up to 2"):
        call(server, {"files": files}, max_agent_files=2)


def test_reading_cards_and_handles_needs_no_library() -> None:
    code = (
        "import sys, scaffolder.agents.a2a as a; a.parse_card({});"
        "print(sorted({name.partition('.')[0] for name in sys.modules} & {'a2a', 'httpx', 'httpx2', 'grpc', 'google'}))"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
