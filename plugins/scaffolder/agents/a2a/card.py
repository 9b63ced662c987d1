"""An agent card: what an A2A agent says of itself. Read from plain data, so that discovery needs no library."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from scaffolder.errors import AgentAnswerError

CARD_PATH: Final = "/.well-known/agent-card.json"
JSON_RPC: Final = "JSONRPC"
HTTP_JSON: Final = "HTTP+JSON"

_LEGACY_VERSION: Final = "0.3"
_SKILL_TEXTS: Final = ("id", "name", "description")
_SKILL_LISTS: Final = ("tags", "examples", "inputModes", "outputModes")


@dataclass(frozen=True, kw_only=True)
class AgentInterface:
    """One way to an agent: `binding` is ``JSONRPC``, ``HTTP+JSON`` or another, `version` the protocol's, as ``1.0``."""

    url: str
    binding: str
    version: str
    tenant: str = ""

    @property
    def is_current(self) -> bool:
        """Whether we speak it as it is."""
        return self.binding in {JSON_RPC, HTTP_JSON} and self.version.split(".")[0] == "1"

    @property
    def is_legacy(self) -> bool:
        """Whether it is of the one version before 1.0 that we speak."""
        return self.binding in {JSON_RPC, HTTP_JSON} and self.version.split(".")[:2] == ["0", "3"]

    def as_data(self) -> dict[str, str]:
        """Return it as plain data; ``AgentInterface(**data)`` is the way back."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class AgentCard:
    """What a card says; text that is missing is empty.

    Each of `skills` is ``{id, name, description, tags, examples, inputModes, outputModes}``, all there: three texts and
    four lists of text. `interfaces` are in the agent's order of preference.
    """

    name: str
    version: str
    description: str
    skills: tuple[dict[str, Any], ...]
    interfaces: tuple[AgentInterface, ...]


def parse_card(card: Any) -> AgentCard:
    """Read a card of A2A 1.x or 0.3: parsed JSON, or its text. What is missing or of a wrong type is left out.

    Raises AgentAnswerError where it is no JSON object.
    """
    if isinstance(card, str | bytes):
        try:
            card = json.loads(card)
        except (ValueError, RecursionError) as error:
            raise AgentAnswerError(f"the agent card is no JSON: {type(error).__name__}") from error
    if not isinstance(card, Mapping):
        raise AgentAnswerError(f"the agent card is {type(card).__name__}; accepted is an object")
    return AgentCard(
        name=_text(card, "name"),
        version=_text(card, "version"),
        description=_text(card, "description"),
        skills=tuple(_parse_skill(skill, card) for skill in _mappings(card.get("skills"))),
        interfaces=tuple(interface for interface in _parse_interfaces(card) if interface.url),
    )


def _parse_skill(skill: Mapping[str, Any], card: Mapping[str, Any]) -> dict[str, Any]:
    parsed: dict[str, Any] = {key: _text(skill, key) for key in _SKILL_TEXTS}
    parsed |= {key: _texts(skill.get(key)) for key in _SKILL_LISTS}
    parsed["id"] = parsed["id"] or parsed["name"]
    parsed["inputModes"] = parsed["inputModes"] or _texts(card.get("defaultInputModes"))
    parsed["outputModes"] = parsed["outputModes"] or _texts(card.get("defaultOutputModes"))
    return parsed


def _parse_interfaces(card: Mapping[str, Any]) -> list[AgentInterface]:
    if current := _mappings(card.get("supportedInterfaces")):
        return [
            AgentInterface(
                url=_text(interface, "url"),
                binding=_text(interface, "protocolBinding").upper(),
                version=_text(interface, "protocolVersion") or "1.0",
                tenant=_text(interface, "tenant"),
            )
            for interface in current
        ]
    # Before 1.0 the card had one URL and, in another list, more of them.
    version = _text(card, "protocolVersion") or _LEGACY_VERSION
    first = {"url": card.get("url"), "transport": card.get("preferredTransport") or JSON_RPC}
    return [
        AgentInterface(url=_text(interface, "url"), binding=_text(interface, "transport").upper(), version=version)
        for interface in (first, *_mappings(card.get("additionalInterfaces")))
    ]


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return value if isinstance(value, str) else ""


def _texts(value: Any) -> list[str]:
    return [item for item in value if isinstance(item, str)] if isinstance(value, list) else []


def _mappings(value: Any) -> list[Mapping[str, Any]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []
