from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from scaffolder.agents.contract import CallRequest
from scaffolder.agents.llm import LlmAgent, parse_llm_connection
from scaffolder.agents.service import AgentCalls
from scaffolder.config import Settings
from scaffolder.errors import AgentUnavailableError, BudgetExceededError
from scaffolder.records.models import AgentCall, GeneratedProject
from scaffolder.records.store import ProjectRecords
from tests.factories import open_project
from tests.llm_server import API_KEY, CHARACTERS_PER_TOKEN, Asked, LlmServer, serve_models

PROJECT = {"a.py": "print('a')\n", "b.py": "print('b')\n"}


@pytest.fixture
def server() -> Iterator[LlmServer]:
    with serve_models() as server:
        server.brain = write_project
        yield server


@pytest.fixture
def project(records: ProjectRecords) -> GeneratedProject:
    return open_project(records)


def write_project(asked: Asked) -> Any:
    assert asked.schema
    if "summary" in asked.schema["properties"]:
        files = [{"path": path, "purpose": "", "size_bytes": len(content)} for path, content in PROJECT.items()]
        return {"summary": "Two files", "files": files}
    return dict(zip(asked.schema["properties"], PROJECT.values(), strict=True))


def call(
    records: ProjectRecords, project: GeneratedProject, server: LlmServer, settings: Settings, **fields: Any
) -> AgentCall:
    """One try of a step's task."""
    extra = {"model": "openai-chat:gpt-test"}
    connection = parse_llm_connection("writer", host=f"{server.url}/v1", password=API_KEY, extra=extra)
    agent = LlmAgent(connection, settings=settings)
    calls = AgentCalls(records, project.id, step_id="models", agent=agent, settings=settings)
    return asyncio.run(calls.call(CallRequest(**({"prompt": "Write", "files": True} | fields))))


def test_a_retried_task_pays_for_nothing_twice(
    records: ProjectRecords, project: GeneratedProject, server: LlmServer, settings: Settings
) -> None:
    settings = replace(settings, agent_tries=1)

    def fail_after_the_manifest(asked: Asked) -> Any:
        server.failures = [(503, {}, b"")]
        return write_project(asked)

    server.brain = fail_after_the_manifest
    with pytest.raises(AgentUnavailableError):
        call(records, project, server, settings)
    server.brain = write_project
    answered = call(records, project, server, settings)
    again = call(records, project, server, settings)

    assert answered.response["files"] == [{"path": path, "content": text} for path, text in PROJECT.items()]
    assert again.id == answered.id
    assert len(server.asked) == 2
    spent = records.agent_calls.sum_spending(project.id, step_id="models", days=1)
    assert spent[0].tokens == sum(count_tokens(asked) for asked in server.asked)


def count_tokens(asked: Asked) -> int:
    """What the server says it took, in and out."""
    texts = [asked.system, *asked.turns, json.dumps(write_project(asked))]
    return sum(max(1, len(text) // CHARACTERS_PER_TOKEN) for text in texts)


def test_each_request_is_counted_before_the_next_is_sent(
    records: ProjectRecords, project: GeneratedProject, server: LlmServer, settings: Settings
) -> None:
    with pytest.raises(BudgetExceededError, match="SCAFFOLDER_MAX_STEP_TOKENS"):
        call(records, project, server, replace(settings, max_step_tokens=10))

    assert len(server.asked) == 1


@pytest.mark.parametrize("text", ["zero \0 inside", "é 🚀 \u2028"])
def test_whatever_a_model_writes_can_be_recorded(
    records: ProjectRecords, project: GeneratedProject, server: LlmServer, settings: Settings, text: str
) -> None:
    server.brain = lambda _: text

    assert call(records, project, server, settings, files=False).response == {"text": text}
