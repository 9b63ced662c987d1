from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scaffolder.agents.contract import Answer, CallRequest
from scaffolder.agents.llm import LlmAgent, parse_llm_connection
from scaffolder.config import Settings
from scaffolder.errors import AgentAnswerError, LimitExceededError
from tests.ledgers import RecordingLedger
from tests.llm_server import API_KEY, Asked, LlmServer, Said, serve_models

every_model = pytest.mark.parametrize(
    "model", ["openai:gpt-test", "openai-chat:gpt-test", "anthropic:claude-test", "anthropic:claude-sonnet-5"]
)
PROJECT = {
    "README.md": "# Billing\n\nCafé – 東京 🚀\n",
    "src/billing/__init__.py": "",
    "src/billing/app.py": 'print("{\\"a\\": 1}")\r\n{{ 7 * 7 }}\n' * 5,
    "src/billing/models.py": "class Invoice:\n    total: int\n" * 8,
    "tests/test_app.py": "def test_app():\n    assert True\n" * 4,
    "pyproject.toml": '[project]\nname = "billing"\n',
    "Dockerfile": "FROM scratch\n",
}


class Writer:
    """A model that writes the files of a project. `sizes` are what it estimates, by default what they are."""

    def __init__(self, project: dict[str, str], **sizes: int) -> None:
        self.project = project
        self.sizes = sizes

    def __call__(self, asked: Asked) -> Any:
        return self.plan() if is_manifest(asked) else self.write(asked)

    def plan(self) -> Any:
        files = [
            {"path": path, "purpose": f"the {path}", "size_bytes": self.sizes.get(path, len(content.encode()))}
            for path, content in self.project.items()
        ]
        return {"summary": "A service", "files": files}

    def write(self, asked: Asked) -> Any:
        return {key: self.project[path] for key, path in asked_files(asked).items()}


def is_manifest(asked: Asked) -> bool:
    return bool(asked.schema) and "summary" in asked.schema["properties"]


def asked_files(asked: Asked) -> dict[str, str]:
    """The paths that a request asks for, by the property that is to hold each of them."""
    assert asked.schema
    prefix = "The complete content of "
    return {key: value["description"].removeprefix(prefix) for key, value in asked.schema["properties"].items()}


@pytest.fixture(scope="module")
def models() -> Iterator[LlmServer]:
    with serve_models() as server:
        yield server


@pytest.fixture
def server(models: LlmServer) -> LlmServer:
    models.reset()
    return models


def write(
    server: LlmServer,
    model: str = "openai-chat:gpt-test",
    ledger: RecordingLedger | None = None,
    *,
    max_tokens: int | None = None,
    **settings: Any,
) -> Answer:
    host = server.url if model.startswith("anthropic:") else f"{server.url}/v1"
    connection = parse_llm_connection("writer", host=host, password=API_KEY, extra={"model": model})
    agent = LlmAgent(connection, settings=replace(Settings(), agent_timeout_seconds=30, **settings))

    async def run() -> Answer:
        model_settings = {"max_tokens": max_tokens} if max_tokens else {}
        request = CallRequest(prompt="Write a service", files=True, model_settings=model_settings)
        request = await agent.prepare(request)
        return await agent.call(request, idempotency_key="key-1", ledger=ledger or RecordingLedger())

    return asyncio.run(run())


def contents(answer: Answer) -> dict[str, str]:
    return {file["path"]: file["content"] for file in answer.data["files"]}


def groups(server: LlmServer) -> list[list[str]]:
    return [list(asked_files(asked).values()) for asked in server.asked if not is_manifest(asked)]


@every_model
def test_files_arrive_as_they_were_written_and_in_order(server: LlmServer, model: str) -> None:
    server.brain = Writer(PROJECT)
    ledger = RecordingLedger()

    answer = write(server, model, ledger)

    assert answer.data["summary"] == "A service"
    assert list(contents(answer).items()) == list(PROJECT.items())
    assert ledger.sent == ["manifest", "files 1"]


def test_each_request_for_contents_knows_the_whole_manifest(server: LlmServer) -> None:
    server.brain = Writer(PROJECT)

    write(server)

    [manifest, files] = server.asked
    assert manifest.turns[0].startswith("Write a service\n")
    assert files.turns[0] == manifest.turns[0]
    assert [file["path"] for file in json.loads(files.turns[1])["files"]] == list(PROJECT)
    assert "- file_3: src/billing/app.py (the src/billing/app.py)" in files.turns[2]


def test_claude_streams_what_may_become_long(server: LlmServer) -> None:
    server.brain = Writer(PROJECT)

    write(server, "anthropic:claude-sonnet-5")

    assert [asked.body.get("stream") for asked in server.asked] == [True, True]


def test_groups_are_planned_for_half_of_what_an_answer_holds(server: LlmServer) -> None:
    project = {f"file{number}.py": "x" * 1_000 for number in range(10)}
    server.brain = Writer(project)

    answer = write(server, max_tokens=2_000)

    assert contents(answer) == project
    assert [len(group) for group in groups(server)] == [3, 3, 3, 1]


def test_groups_have_no_more_than_20_files(server: LlmServer) -> None:
    project = {f"file{number}.py": "x" for number in range(45)}
    server.brain = Writer(project)

    assert contents(write(server)) == project
    assert [len(group) for group in groups(server)] == [20, 20, 5]


@every_model
def test_what_is_cut_off_is_asked_for_again_in_smaller_groups(server: LlmServer, model: str) -> None:
    # The model underestimates, so all of it is asked for at once and doesn't fit.
    project = {f"file{number}.py": f"line {number}\n" * 40 for number in range(8)}
    server.brain = Writer(project, **dict.fromkeys(project, 1))

    answer = write(server, model, max_tokens=300)

    assert contents(answer) == project
    assert len(groups(server)[0]) == 8
    assert all(len(group) < 8 for group in groups(server)[1:])


@every_model
def test_files_that_came_in_full_before_the_cut_are_kept(server: LlmServer, model: str) -> None:
    project = {f"file{number}.py": f"line {number}\n" * 40 for number in range(8)}
    server.brain = Writer(project, **dict.fromkeys(project, 1))

    write(server, model, max_tokens=300)

    first, *later = groups(server)
    kept = set(first) - {path for group in later for path in group}
    assert kept in ({"file0.py", "file1.py"}, {"file0.py", "file1.py", "file2.py"})


@every_model
def test_a_single_file_that_is_cut_off_is_an_error(server: LlmServer, model: str) -> None:
    server.brain = Writer(PROJECT | {"big.py": "x = 1\n" * 400})
    ledger = RecordingLedger()

    with pytest.raises(AgentAnswerError, match=r"files \d+: 'big.py': the answer is cut off at max_tokens 300"):
        write(server, model, ledger, max_tokens=300)


@every_model
def test_half_a_file_is_never_taken_for_a_whole_one(server: LlmServer, model: str) -> None:
    """Also where the provider closes what was left open: the answer is proper JSON then."""
    project = {"a.py": "a" * 40, "b.py": "b" * 40, "c.py": "c" * 40}
    writer = Writer(project)

    def think(asked: Asked) -> Any:
        if is_manifest(asked):
            return writer.plan()
        wanted = writer.write(asked)
        if len(wanted) == 3:
            return Said(json.dumps({"file_1": project["a.py"], "file_2": "bbbb"}), finish="length")
        return wanted

    server.brain = think

    assert contents(write(server, model)) == project
    assert groups(server) == [["a.py", "b.py", "c.py"], ["b.py"], ["c.py"]]


@pytest.mark.parametrize(
    "said",
    [
        "no JSON at all",
        "",
        "[]",
        '{"file_1": 5, "other": "x"}',
        '{"file_1": "\\ud800"}',
        '{"file_1": ' + "[" * 50_000,
    ],
)
def test_an_answer_without_the_files_is_asked_again_down_to_single_files(server: LlmServer, said: str) -> None:
    project = {"a.py": "a", "b.py": "b", "c.py": "c"}
    writer = Writer(project)
    server.brain = lambda asked: writer(asked) if is_manifest(asked) or len(asked_files(asked)) == 1 else said

    assert contents(write(server)) == project
    assert groups(server) == [["a.py", "b.py", "c.py"], ["a.py"], ["b.py"], ["c.py"]]


def test_a_model_that_never_gives_a_file_is_given_up(server: LlmServer) -> None:
    writer = Writer({"a.py": "a"})
    server.brain = lambda asked: writer(asked) if is_manifest(asked) else {"wrong": "a"}

    with pytest.raises(AgentAnswerError, match="files 1: 'a.py': no answer of 3 fits"):
        write(server)
    assert len(server.asked) == 4


@pytest.mark.parametrize(
    "paths, problem",
    [
        (["../etc/passwd"], "the path '../etc/passwd' is not a relative path with forward slashes"),
        (["/etc/passwd"], "the path '/etc/passwd' is not"),
        (["a//b"], "is not"),
        (["a\\b"], "is not"),
        (["C:/a"], "is not"),
        (["a/./b"], "is not"),
        (["a\nb"], "is not"),
        ([""], "is not"),
        (["a" * 1_025], "is not"),
        (["a.py", "a.py"], "the path 'a.py' is there more than once"),
        ([], "it lists 0; accepted are 1 to 3"),
        (["a", "b", "c", "d"], "it lists 4; accepted are 1 to 3"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_asked_for_again(server: LlmServer, paths: list[str], problem: str) -> None:
    wrong = {"summary": "", "files": [{"path": path, "purpose": "", "size_bytes": 1} for path in paths]}
    plans: list[Any] = [wrong, Writer({"a.py": "a"}).plan()]
    server.brain = lambda asked: plans.pop(0) if is_manifest(asked) else {"file_1": "a"}

    answer = write(server, max_agent_files=3)

    assert contents(answer) == {"a.py": "a"}
    assert problem in server.asked[1].prompt


def test_a_manifest_that_is_cut_off_is_an_error(server: LlmServer) -> None:
    server.brain = Writer(PROJECT)

    with pytest.raises(AgentAnswerError, match="manifest: the answer is cut off at max_tokens 20"):
        write(server, max_tokens=20)


def test_all_files_together_are_bounded(server: LlmServer) -> None:
    project = {f"file{number}.py": "é" * 600 for number in range(10)}
    server.brain = Writer(project)
    ledger = RecordingLedger()

    with pytest.raises(LimitExceededError, match="more than 10000 bytes .SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE"):
        write(server, ledger=ledger, max_tokens=2_000, max_agent_response_size=10_000)
    assert len(ledger.sent) < 11


def test_a_retry_asks_only_for_what_is_missing(server: LlmServer) -> None:
    project = {f"file{number}.py": "x" * 1_000 for number in range(10)}
    writer = Writer(project)
    server.brain = writer
    ledger = RecordingLedger()
    whole = write(server, ledger=ledger, max_tokens=2_000)
    assert ledger.sent == ["manifest", "files 1", "files 2", "files 3", "files 4: 'file9.py'"]

    again = RecordingLedger(recorded=dict(list(ledger.recorded.items())[:3]))
    answer = write(server, ledger=again, max_tokens=2_000)

    assert (answer.data, again.sent) == (whole.data, ["files 3", "files 4: 'file9.py'"])
