"""The command ``scaffolder discover``: what an agent offers, without a connection, a database or Airflow."""

from __future__ import annotations

import asyncio
import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final
from urllib.parse import urlsplit, urlunsplit

import typer

from scaffolder.errors import InvalidParametersError

if TYPE_CHECKING:
    from scaffolder.records.endpoints import Offer
    from scaffolder.records.models import AgentDescription, Endpoint

_LOCATION_HELP = (
    "An OpenAPI document or an A2A card (a file or a URL), the URL of an MCP server, or a URL below which one of them "
    "is; '-' is the standard input."
)
#: What the pages call the connection, which is somebody's to make.
_CONNECTION: Final = "my_agent"
_COLUMN: Final = 48


def discover(
    location: Annotated[str, typer.Argument(help=_LOCATION_HELP, metavar="FILE_OR_URL")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", help="Print its documentation as Markdown.")] = False,
    html: Annotated[bool, typer.Option("--html", help="Print its documentation as one HTML page.")] = False,
) -> None:
    """Show what an agent offers: its operations, skills or tools. Nothing of it is called, nothing recorded."""
    if as_json + markdown + html > 1:
        raise InvalidParametersError("accepted is one of --json, --markdown and --html")
    offer = asyncio.run(_explore(location)) if _is_url(location) else _read_file(location)
    if as_json:
        typer.echo(json.dumps(_as_data(offer), indent=2))
    elif markdown or html:
        typer.echo(_document(offer, as_html=html))
    else:
        _print(offer)


def _is_url(location: str) -> bool:
    return location.startswith(("http://", "https://"))


async def _explore(url: str) -> Offer:
    """Ask what is at `url`, without credentials. Raises a ScaffolderError."""
    from scaffolder.agents.connection import AgentConnection, find_origin, is_plain
    from scaffolder.agents.discovery.offers import explore
    from scaffolder.agents.http.transport import AgentClient
    from scaffolder.config import get_settings

    origin = find_origin(url)
    if origin is None or not is_plain(url) or "#" in url:
        raise InvalidParametersError(
            "the URL cannot be used; accepted is one such as 'https://agent.example.com/openapi.json' without user or "
            "fragment"
        )
    parts = urlsplit(url)
    path = urlunsplit(("", "", parts.path or "/", parts.query, ""))
    async with AgentClient(AgentConnection(conn_id=_CONNECTION, base_url=origin), settings=get_settings()) as client:
        return await explore(client, path)


def _read_file(location: str) -> Offer:
    from scaffolder.agents.discovery.offers import parse_document, read_document
    from scaffolder.config import get_settings

    try:
        content = sys.stdin.buffer.read() if location == "-" else Path(location).read_bytes()
    except OSError as error:
        raise InvalidParametersError(f"{location!r} cannot be read: {error.strerror}") from error
    document = parse_document(content, name=repr(location), max_depth=get_settings().max_agent_json_depth)
    return read_document(document, content=content, source=location)


def _as_data(offer: Offer) -> dict[str, Any]:
    names = ("kind", "source", "title", "version", "description", "servers", "digest", "warnings")
    endpoints = [
        {"operation": one.operation_id, "method": one.method, "path": one.path, "summary": one.summary}
        for one in offer.endpoints
    ]
    return {**{name: getattr(offer, name) for name in names}, "endpoints": endpoints}


def _document(offer: Offer, *, as_html: bool) -> str:
    from scaffolder.agents.documentation import render_html, render_markdown, sort_endpoints

    description, endpoints = _make_rows(offer)
    if as_html:
        return render_html(description, endpoints)
    return render_markdown(description, sort_endpoints(endpoints))


def _make_rows(offer: Offer) -> tuple[AgentDescription, list[Endpoint]]:
    """Return `offer` as the records would have it now."""
    from scaffolder.records.models import AgentDescription, Endpoint

    now = datetime.now(UTC)
    description = AgentDescription(
        connection=_CONNECTION,
        kind=offer.kind,
        source=offer.source,
        title=offer.title,
        version=offer.version,
        description=offer.description,
        etag=offer.etag,
        digest=offer.digest,
        warnings=list(offer.warnings),
        checked_at=now,
        changed_at=now,
    )
    endpoints = [
        Endpoint(**vars(one), connection=_CONNECTION, first_seen_at=now, changed_at=now, gone_at=None)
        for one in offer.endpoints
    ]
    return description, endpoints


def _print(offer: Offer) -> None:
    """Print a table; nothing reaches the terminal but as text, and no line is cut."""
    from rich.console import Console

    from scaffolder.terminal import make_printable

    console = Console(highlight=False, soft_wrap=True)
    console.print(make_printable(f"{offer.title or offer.source} {offer.version}"), style="bold", markup=False)
    facts = [("kind", offer.kind), ("source", offer.source), *(("server", server) for server in offer.servers)]
    for name, value in [*facts, *(("warning", warning) for warning in offer.warnings)]:
        console.print(f"  {name:9}{make_printable(value)}", style="yellow" if name == "warning" else "", markup=False)
    console.print(f"\nEndpoints ({len(offer.endpoints)})", style="bold", markup=False)
    rows = [(one.operation_id, one.method, one.path, one.summary) for one in offer.endpoints]
    widths = [min(_COLUMN, max((len(row[index]) for row in rows), default=0)) for index in range(3)]
    for row in rows:
        columns = [text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True)]
        console.print(f"  {make_printable('  '.join(columns)).rstrip()}", markup=False)
