from __future__ import annotations

import json
from typing import Any

import pytest

from scaffolder.agents.a2a import AgentCard, AgentInterface, parse_card
from scaffolder.errors import AgentAnswerError

SKILL = {
    "id": "models",
    "name": "Models",
    "description": "Makes models",
    "tags": ["code"],
    "examples": ["a pet"],
    "inputModes": ["text/plain"],
    "outputModes": ["application/json"],
}
CARD = {
    "name": "Agent",
    "version": "7",
    "description": "Does things",
    "supportedInterfaces": [
        {"url": "https://a.example/rpc", "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "acme"},
        {"url": "https://a.example/rest", "protocolBinding": "HTTP+JSON", "protocolVersion": "1.1"},
        {"url": "https://a.example:443", "protocolBinding": "GRPC", "protocolVersion": "1.0"},
    ],
    "skills": [SKILL],
}


def test_reads_a_card() -> None:
    expected = AgentCard(
        name="Agent",
        version="7",
        description="Does things",
        skills=(SKILL,),
        interfaces=(
            AgentInterface(url="https://a.example/rpc", binding="JSONRPC", version="1.0", tenant="acme"),
            AgentInterface(url="https://a.example/rest", binding="HTTP+JSON", version="1.1"),
            AgentInterface(url="https://a.example:443", binding="GRPC", version="1.0"),
        ),
    )
    assert parse_card(CARD) == expected
    assert parse_card(json.dumps(CARD)) == expected
    assert parse_card(json.dumps(CARD).encode()) == expected


def test_reads_a_card_of_the_version_before() -> None:
    card = parse_card(
        {
            "url": "https://a.example/rpc",
            "protocolVersion": "0.3.0",
            "additionalInterfaces": [{"url": "https://a.example/rest", "transport": "HTTP+JSON"}],
        }
    )
    assert card.interfaces == (
        AgentInterface(url="https://a.example/rpc", binding="JSONRPC", version="0.3.0"),
        AgentInterface(url="https://a.example/rest", binding="HTTP+JSON", version="0.3.0"),
    )
    assert [interface.is_legacy for interface in card.interfaces] == [True, True]


def test_a_card_of_both_versions_is_read_as_the_newer() -> None:
    assert parse_card({**CARD, "url": "https://a.example/old"}) == parse_card(CARD)


@pytest.mark.parametrize(
    "binding, version, current, legacy",
    [
        ("JSONRPC", "1.0", True, False),
        ("HTTP+JSON", "1.12", True, False),
        ("GRPC", "1.0", False, False),
        ("JSONRPC", "10.0", False, False),
        ("JSONRPC", "0.3.0", False, True),
        ("HTTP+JSON", "0.3", False, True),
        ("JSONRPC", "0.2", False, False),
        ("JSONRPC", "2.0", False, False),
        ("JSONRPC", "", False, False),
    ],
)
def test_knows_what_we_speak(binding: str, version: str, current: bool, legacy: bool) -> None:
    interface = AgentInterface(url="https://a.example", binding=binding, version=version)
    assert (interface.is_current, interface.is_legacy) == (current, legacy)


def test_skills_have_the_modes_of_their_card_where_they_name_none() -> None:
    card = parse_card({"skills": [{"name": "x"}], "defaultInputModes": ["a/b"], "defaultOutputModes": ["c/d"]})
    expected = {
        "id": "x",
        "name": "x",
        "description": "",
        "tags": [],
        "examples": [],
        "inputModes": ["a/b"],
        "outputModes": ["c/d"],
    }
    assert card.skills == (expected,)


@pytest.mark.parametrize(
    "card",
    [
        {},
        {"name": 1, "version": None, "skills": "x", "supportedInterfaces": {}},
        {"skills": [1, None], "supportedInterfaces": ["x", {"url": 1}], "url": ["x"], "additionalInterfaces": 5},
    ],
)
def test_what_is_of_a_wrong_type_is_left_out(card: Any) -> None:
    assert parse_card(card) == AgentCard(name="", version="", description="", skills=(), interfaces=())


@pytest.mark.parametrize(
    "card, expected",
    [([], "list"), (None, "NoneType"), ("{", "no JSON"), (b"\xff", "no JSON"), ("[" * 100_000, "no JSON")],
)
def test_refuses_what_is_no_card(card: Any, expected: str) -> None:
    with pytest.raises(AgentAnswerError, match=expected):
        parse_card(card)


def test_an_interface_survives_being_stored() -> None:
    interface = AgentInterface(url="https://a.example", binding="JSONRPC", version="1.0", tenant="acme")
    assert AgentInterface(**json.loads(json.dumps(interface.as_data()))) == interface
