"""Settings, and what happens when generation takes too much."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from demo_agent.errors import GenerationStoppedError
from demo_agent.settings import Settings, read_settings
from demo_agent.workers import OverloadedError, Workers
from tests.demo_agent.agent_documents import document, operation

PLAIN = json.dumps(document({"/a": {"get": operation({"type": "string"})}}))
# Python's `re` backtracks without end on this one.
ENDLESS = json.dumps(
    document({"/a": {"get": operation({"type": "string", "pattern": "^(a+)+$", "example": "a" * 60 + "!"})}})
)

BAD_SETTINGS = [
    ({}, "DEMO_AGENT_TOKEN is not set"),
    ({"DEMO_AGENT_TOKEN": ""}, "DEMO_AGENT_TOKEN is not set"),
    ({"DEMO_AGENT_TOKEN": "two words"}, "printable ASCII"),
    ({"DEMO_AGENT_TOKEN_FILE": "/nonexistent/token"}, "DEMO_AGENT_TOKEN_FILE is '/nonexistent/token', which cannot be"),
    ({"DEMO_AGENT_TOKEN_FILE": "/dev/null"}, "DEMO_AGENT_TOKEN is not set"),
    ({"DEMO_AGENT_TOKEN": "t", "DEMO_AGENT_TIMEOUT_SECONDS": "0"}, "from 1 to 3600"),
    ({"DEMO_AGENT_TOKEN": "t", "DEMO_AGENT_TIMEOUT_SECONDS": "-1"}, "'-1'"),
    ({"DEMO_AGENT_TOKEN": "t", "DEMO_AGENT_MEMORY_MIB": "many"}, "DEMO_AGENT_MEMORY_MIB is 'many'"),
]


@pytest.mark.parametrize(("environment", "expected"), BAD_SETTINGS)
def test_refuses_bad_settings(environment: dict[str, str], expected: str) -> None:
    with pytest.raises(ValueError, match=expected):
        read_settings(environment)


def test_reads_settings() -> None:
    settings = read_settings({"DEMO_AGENT_TOKEN": "t", "DEMO_AGENT_MAX_CONCURRENT": "3"})
    assert settings == Settings(token="t", max_concurrent=3)


def test_reads_the_token_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("of-a-file\n")
    assert read_settings({"DEMO_AGENT_TOKEN_FILE": str(tmp_path / "token")}).token == "of-a-file"


def generate(settings: Settings, *texts: str) -> list[object]:
    async def all_at_once() -> list[object]:
        workers = Workers(settings)
        tasks = (workers.generate(text, name="things") for text in texts)
        return list(await asyncio.gather(*tasks, return_exceptions=True))

    return asyncio.run(all_at_once())


def test_stops_at_the_deadline() -> None:
    started = time.monotonic()
    (result,) = generate(Settings(token="t", timeout_seconds=2), ENDLESS)
    assert isinstance(result, GenerationStoppedError)
    assert time.monotonic() - started < 6


def test_stops_where_memory_ends() -> None:
    wide = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(400)}}
    paths = {f"/a{n}": {"get": operation(wide)} for n in range(60)}
    (result,) = generate(Settings(token="t", memory_mib=120), json.dumps(document(paths)))
    assert isinstance(result, GenerationStoppedError)


def test_refuses_more_than_may_wait() -> None:
    settings = Settings(token="t", max_concurrent=1, max_waiting=1)
    results = generate(settings, PLAIN, PLAIN, PLAIN)
    assert [isinstance(result, OverloadedError) for result in results] == [False, False, True]
    assert all(isinstance(result, dict) for result in results[:2])
