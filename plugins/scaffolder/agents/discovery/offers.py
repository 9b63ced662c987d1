"""What an agent offers, asked of the agent: an OpenAPI document, an A2A card, or the tools of an MCP server."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

from scaffolder.agents.connection import find_origin
from scaffolder.agents.http.failures import printable
from scaffolder.agents.http.messages import HttpRequest, parse_json
from scaffolder.errors import AgentAnswerError, AgentConfigurationError, PermanentError, TransientError
from scaffolder.records.endpoints import Offer, OfferedEndpoint

if TYPE_CHECKING:
    from scaffolder.agents.http.transport import AgentClient
    from scaffolder.records.models import AgentDescription

_ACCEPT: Final = "application/json, application/yaml;q=0.9, text/yaml;q=0.9, */*;q=0.5"
_NOT_MODIFIED: Final = 304
#: Somebody is waiting, and some servers keep a request open without an end.
_EXPLORE_SECONDS: Final = 15
_LINE_CHARACTERS: Final = 300
_DESCRIPTION_CHARACTERS: Final = 20_000
_ETAG_CHARACTERS: Final = 1_000
# What of a tool is kept (MCP 2025-06-18, "Tool").
_TOOL_KEYS: Final = ("name", "title", "description", "inputSchema", "outputSchema", "annotations")


async def fetch_offer(
    client: AgentClient, *, known: AgentDescription | None = None, timeout_seconds: float | None = None
) -> Offer | None:
    """Return what the agent that `client` talks to offers, None where it still is what is `known`.

    Raises the errors of `AgentClient.send`, AgentAnswerError for what is no description, AgentConfigurationError for
    one that cannot be used, and LimitExceededError.
    """
    connection = client.connection
    if connection.conn_type == "agent_api" and connection.description_kind == "mcp":
        offer = await _fetch_tools(client, connection.description_path, timeout_seconds=timeout_seconds)
        return None if _is_known(offer.digest, offer.source, known) else offer
    source = find_url(client, connection.description_path)
    headers: tuple[tuple[str, str], ...] = ()
    if known and known.etag and known.source == source:
        headers = (("If-None-Match", known.etag),)
    answer = await client.send(
        HttpRequest(method="GET", path=connection.description_path, headers=headers),
        accept=_ACCEPT,
        allow=frozenset({_NOT_MODIFIED} if headers else ()),
        timeout_seconds=timeout_seconds,
    )
    if answer.status == _NOT_MODIFIED:
        return None
    if _is_known(hashlib.sha256(answer.content).hexdigest(), source, known):
        return None
    etag = _read_etag(answer.headers.get("etag"))
    document = parse_document(answer.content, name=answer.agent, max_depth=answer.max_json_depth)
    if connection.conn_type == "a2a":
        return read_card(document, content=answer.content, source=source, origin=connection.origin, etag=etag)
    from scaffolder.agents.openapi.document import read_offer

    return read_offer(document, content=answer.content, source=source, base_url=connection.base_url, etag=etag)


async def explore(client: AgentClient, path: str) -> Offer:
    """Return what is offered at `path` of an agent that nobody has said the kind of.

    Tried are what is at `path`, the usual places of descriptions below it, and MCP. Servers may be anywhere: nobody
    calls what is found. Raises AgentConfigurationError with all that was tried, and a TransientError where that is all
    that came of it.
    """
    timeout_seconds = min(_EXPLORE_SECONDS, client.settings.agent_timeout_seconds)
    tried: dict[str, PermanentError | TransientError] = {}
    below = path.partition("?")[0].rstrip("/")
    for place in dict.fromkeys((path, f"{below}/openapi.json", "/.well-known/agent-card.json")):
        try:
            return await _read_place(client, place, timeout_seconds=timeout_seconds)
        except (PermanentError, TransientError) as error:
            tried[f"GET {place}"] = error
    try:
        return await _fetch_tools(client, path, timeout_seconds=timeout_seconds)
    except (PermanentError, TransientError) as error:
        tried[f"MCP at {path}"] = error
    if all(isinstance(error, TransientError) for error in tried.values()):
        raise next(iter(tried.values()))
    reasons = "; ".join(f"{place}: {error}" for place, error in tried.items())
    raise AgentConfigurationError(f"nothing at {client.connection.base_url} says what it offers. {reasons}")


async def _read_place(client: AgentClient, place: str, *, timeout_seconds: float) -> Offer:
    answer = await client.send(HttpRequest(method="GET", path=place), accept=_ACCEPT, timeout_seconds=timeout_seconds)
    document = parse_document(answer.content, name=answer.agent, max_depth=answer.max_json_depth)
    return read_document(document, content=answer.content, source=find_url(client, place))


def parse_document(content: bytes, *, name: str, max_depth: int) -> Any:
    """Return a description, JSON or YAML, as plain data. Raises AgentAnswerError; `name` begins its message."""
    from scaffolder.yaml_document import YamlDocumentError, parse_plain_yaml

    start = content[:100].removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    if start == b"<":
        raise AgentAnswerError(f"{name} has a page where its description should be; accepted is JSON or YAML")
    try:
        if start in {b"{", b"["}:
            return parse_json(content, max_depth=max_depth)
        return parse_plain_yaml(content, max_depth=max_depth)
    except YamlDocumentError as error:
        raise AgentAnswerError(f"{name} has a description that cannot be read, line {error.line}: {error}") from error
    except ValueError as error:
        reason = str(error) or f"nested deeper than {max_depth} levels"
        raise AgentAnswerError(f"{name} has a description that is no JSON: {printable(reason)}") from error


def read_document(document: Any, *, content: bytes, source: str) -> Offer:
    """Return what a document of any kind offers, wherever its servers are. Raises AgentConfigurationError."""
    from scaffolder.agents.openapi.document import is_openapi, read_offer

    if is_openapi(document):
        return read_offer(document, content=content, source=source, base_url=None)
    if isinstance(document, Mapping) and "skills" in document:
        return read_card(document, content=content, source=source, origin=None)
    raise AgentConfigurationError(f"{printable(source)!r} is neither an OpenAPI document nor an A2A card")


def read_card(document: Any, *, content: bytes, source: str, origin: str | None, etag: str | None = None) -> Offer:
    """Return what an A2A card offers: its skills. Raises AgentConfigurationError where no address is at `origin`."""
    from scaffolder.agents.a2a.card import parse_card

    card = parse_card(document)
    urls = [interface.url for interface in card.interfaces]
    foreign = [url for url in urls if origin is not None and find_origin(url) != origin]
    if origin is not None and len(foreign) == len(urls):
        raise AgentConfigurationError(
            f"the card {printable(source)!r} has no address at {origin}, which is what is accepted"
        )
    warnings = [
        f"the address {find_origin(url) or 'that is none'} is not used: it is another origin" for url in foreign
    ]
    endpoints = [
        _make_endpoint(skill["id"], "SKILL", skill["name"] or skill["description"], {"skill": skill})
        for skill in card.skills
    ]
    return Offer(
        kind="a2a",
        source=source,
        title=_line(card.name),
        version=_line(card.version),
        description=card.description[:_DESCRIPTION_CHARACTERS],
        etag=etag,
        digest=hashlib.sha256(content).hexdigest(),
        endpoints=_keep_usable(endpoints, warnings),
        warnings=tuple(warnings),
        servers=tuple(_line(url) for url in urls),
    )


async def _fetch_tools(client: AgentClient, path: str, *, timeout_seconds: float | None) -> Offer:
    from scaffolder.agents.discovery.mcp import McpSession

    async with McpSession(client, path, timeout_seconds=timeout_seconds) as session:
        tools = await session.list_tools()
    warnings: list[str] = []
    endpoints = [_read_tool(tool, warnings) for tool in tools]
    server = session.server
    return Offer(
        kind="mcp",
        source=find_url(client, path),
        title=_line(server.get("title") or server.get("name")),
        version=_line(server.get("version")),
        description=_text(server.get("instructions"))[:_DESCRIPTION_CHARACTERS],
        etag=None,
        digest=_digest([server, sorted(endpoint.digest for endpoint in endpoints)]),
        endpoints=_keep_usable(endpoints, warnings),
        warnings=tuple(warnings),
    )


def _read_tool(tool: Mapping[str, Any], warnings: list[str]) -> OfferedEndpoint:
    from scaffolder.agents.openapi.slices import MAX_DEFINITION_SIZE

    kept = {key: tool[key] for key in _TOOL_KEYS if key in tool}
    name = _text(tool.get("name"))
    if len(json.dumps(kept)) > MAX_DEFINITION_SIZE:
        warnings.append(
            f"tool {_line(name)!r} is shown without its schemas, as it has more than {MAX_DEFINITION_SIZE} bytes"
        )
        kept = {"name": name, "description": _line(tool.get("description"))}
    summary = tool.get("title") or _text(tool.get("description")).strip().partition("\n")[0]
    return _make_endpoint(name, "TOOL", summary, {"tool": kept})


def _make_endpoint(operation_id: str, method: str, summary: Any, definition: dict[str, Any]) -> OfferedEndpoint:
    return OfferedEndpoint(
        operation_id=operation_id,
        method=method,
        path="",
        summary=_line(summary),
        definition=definition,
        digest=_digest(definition),
    )


def _keep_usable(endpoints: Iterable[OfferedEndpoint], warnings: list[str]) -> tuple[OfferedEndpoint, ...]:
    """Return those with a name of their own; the others become warnings."""
    kept: dict[str, OfferedEndpoint] = {}
    for one in endpoints:
        name = one.operation_id
        if not name.strip() or not name.isprintable() or len(name) > _LINE_CHARACTERS or name in kept:
            warnings.append(f"{one.method.lower()} {_line(name)!r} is left out: it has no name of its own")
        else:
            kept[name] = one
    return tuple(kept.values())


def _is_known(digest: str, source: str, known: AgentDescription | None) -> bool:
    return known is not None and (known.digest, known.source) == (digest, source)


def find_url(client: AgentClient, path: str) -> str:
    """Return where `path` leads: below the connection's base URL, or itself where it is a URL."""
    return client.connection.base_url + path if path.startswith("/") else urlsplit(path).geturl()


def _read_etag(text: str | None) -> str | None:
    usable = text and text.isascii() and text.isprintable() and len(text) <= _ETAG_CHARACTERS
    return text if usable else None


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True).encode()).hexdigest()


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""


def _line(value: Any) -> str:
    return printable(_text(value)[: 2 * _LINE_CHARACTERS])[:_LINE_CHARACTERS]
