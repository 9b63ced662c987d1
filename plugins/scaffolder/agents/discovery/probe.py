"""What the test of a connection finds out: whether the agent is there, takes our credentials, and describes itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.http.failures import printable
from scaffolder.agents.http.messages import HttpAnswer, HttpRequest
from scaffolder.config import Settings
from scaffolder.errors import AgentAnswerError, AgentConfigurationError

if TYPE_CHECKING:
    from scaffolder.agents.http.transport import AgentClient

#: Somebody is looking at the form meanwhile.
_TIMEOUT_SECONDS: Final = 30
_NOT_THERE: Final = frozenset({404, 410})
_NAME_CHARACTERS: Final = 200
_ACCEPT: Final = "application/json, application/yaml;q=0.9, */*;q=0.5"


async def probe(connection: AgentConnection, *, settings: Settings, on_secret: Callable[[str], None]) -> str:
    """Ask the agent for its description and return a sentence on it. Raises the errors of `AgentClient.send`."""
    from scaffolder.agents.http.transport import AgentClient

    settings = replace(settings, agent_timeout_seconds=min(_TIMEOUT_SECONDS, settings.agent_timeout_seconds))
    async with AgentClient(connection, settings=settings, on_secret=on_secret) as client:
        if connection.conn_type == "a2a":
            return await _probe_card(client)
        if connection.description_kind == "mcp":
            return await _probe_mcp(client)
        return await _probe_description(client)


async def _probe_description(client: AgentClient) -> str:
    path = client.connection.description_path
    answer = await client.send(HttpRequest(method="GET", path=path), accept=_ACCEPT, allow=_NOT_THERE)
    if answer.status in _NOT_THERE:
        return f"The agent is there, but nothing describes it at {path!r}: steps call it by method and path"
    if _is_yaml(answer):
        return f"The agent describes itself in YAML at {path!r}"
    description = answer.json()
    if not isinstance(description, dict):
        raise AgentAnswerError(f"{answer.agent} has no description at {path!r}; accepted is an OpenAPI document")
    info = description.get("info")
    return f"The agent describes itself as {_show(info.get('title') if isinstance(info, dict) else None)}"


async def _probe_card(client: AgentClient) -> str:
    from scaffolder.agents.a2a.card import parse_card
    from scaffolder.agents.connection import find_origin

    connection = client.connection
    answer = await client.send(HttpRequest(method="GET", path=connection.description_path))
    card = parse_card(answer.json())
    if not any(find_origin(interface.url) == connection.origin for interface in card.interfaces):
        raise AgentConfigurationError(
            f"{connection.name} has a card without an address of its own; accepted is one at {connection.origin}"
        )
    return f"The agent's card names it {_show(card.name)}, with {len(card.skills)} skill(s)"


async def _probe_mcp(client: AgentClient) -> str:
    from scaffolder.agents.discovery.mcp import McpSession

    path = client.connection.description_path
    async with McpSession(client, path) as session:
        return f"The MCP server at {path!r} names itself {_show(session.server.get('name'))}"


def _is_yaml(answer: HttpAnswer) -> bool:
    return "yaml" in answer.media_type or answer.url.partition("?")[0].endswith((".yaml", ".yml"))


def _show(name: Any) -> str:
    return repr(printable(name)[:_NAME_CHARACTERS]) if isinstance(name, str) and name else "nothing in particular"
