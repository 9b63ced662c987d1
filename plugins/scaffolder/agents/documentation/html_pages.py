"""The pages as HTML. Each is complete in itself: its style and script are inline, and nothing else is ever loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote

from scaffolder.agents.documentation.budget import MAX_OPERATIONS_SIZE, MAX_PAGE_SIZE, describe_rest, fit, measure
from scaffolder.agents.documentation.content import (
    describe_agent,
    describe_entry,
    describe_operation,
    sort_endpoints,
)
from scaffolder.agents.documentation.example_step import ExampleSteps
from scaffolder.agents.documentation.remote_text import render_prose
from scaffolder.page_layout import make_environment

if TYPE_CHECKING:
    from jinja2 import Environment

    from scaffolder.records.models import AgentDescription, Endpoint

MAX_OPERATIONS_ON_PAGE: Final = 100
"""In the web app, an agent with more endpoints than this has a page for each of them."""

_PAGES: Final = Path(__file__).parent / "pages"


def render_agents(agents: Iterable[tuple[AgentDescription, int]], *, root: str) -> str:
    """Return the list of agents, each with the number of its endpoints. `root` is the path of our web app."""
    pages = [
        {**asdict(describe_agent(description, count=count)), "href": _agent_link(root, description.connection)}
        for description, count in agents
    ]
    return _render("agents.html.jinja", agents=pages)


def render_html(description: AgentDescription, endpoints: Iterable[Endpoint], *, root: str | None = None) -> str:
    """Return the page of one agent.

    `root` is the path of our web app (``/scaffolder``). With it, and more than `MAX_OPERATIONS_ON_PAGE` endpoints, the
    page lists them with links to pages of their own (`render_operation`), and reads no definition; without it, all is
    on this page. It says how many are left out where they would make it larger than `MAX_PAGE_SIZE`.
    """
    found = sort_endpoints(endpoints)
    apart = root is not None and len(found) > MAX_OPERATIONS_ON_PAGE
    articles = [] if apart else list(_write_articles(found))
    shown = 0 if apart else len(articles)
    rows = list(fit(_write_rows(found, root=root, shown=shown), MAX_PAGE_SIZE - sum(map(measure, articles))))
    return _render(
        "agent.html.jinja",
        agent=describe_agent(description, count=sum(one.gone_at is None for one in found)),
        trail=_make_trail(root),
        markdown_href=f"{_agent_link(root, description.connection)}.md" if root is not None else None,
        rows=rows,
        articles=articles,
        shortened=describe_rest(len(found), listed=len(rows), shown=len(found) if apart else shown),
    )


def render_operation(description: AgentDescription, endpoint: Endpoint, *, root: str) -> str:
    """Return the page of one endpoint."""
    trail = [*_make_trail(root), (description.connection, _agent_link(root, description.connection))]
    return _render(
        "operation.html.jinja",
        agent=describe_agent(description, count=1),
        trail=trail,
        operation=describe_operation(endpoint, steps=ExampleSteps()),
    )


def _make_trail(root: str | None) -> list[tuple[str, str]]:
    return [] if root is None else [("Agents", f"{root}/agents")]


def _agent_link(root: str, connection: str) -> str:
    return f"{root}/agents/{quote(connection, safe='')}"


def _write_articles(endpoints: Iterable[Endpoint]) -> Iterator[str]:
    article, steps, left = _get_macro("article"), ExampleSteps(), MAX_OPERATIONS_SIZE
    for endpoint in endpoints:
        operation = describe_operation(endpoint, steps=steps)
        written = article(operation)
        # Prose can take long to read and leave nothing behind.
        left -= max(measure(written), operation.characters)
        if left < 0:
            return
        yield written


def _write_rows(endpoints: Iterable[Endpoint], *, root: str | None, shown: int) -> Iterator[str]:
    """Yield the rows of an index, with links to what is on the page (the first `shown`) or has one of its own."""
    row = _get_macro("index_row")
    for number, endpoint in enumerate(endpoints):
        entry = describe_entry(endpoint)
        if number < shown:
            yield row(entry, f"#{entry.anchor}")
        elif root is None:
            yield row(entry, None)
        else:
            yield row(entry, f"{_agent_link(root, endpoint.connection)}/operations/{_quote(endpoint)}")


def _quote(endpoint: Endpoint) -> str:
    """Return the operation's id for a URL's path, in which it may be several segments."""
    # Browsers take out empty segments and dots; Airflow's address bar turns an escaped slash into one.
    safe = "" if {"", ".", ".."} & set(endpoint.operation_id.split("/")) else "/"
    return quote(endpoint.operation_id.encode("utf-8", "replace"), safe=safe)


def _get_macro(name: str) -> Callable[..., str]:
    macro: Callable[..., str] = getattr(_environment().get_template("parts.html.jinja").module, name)
    return macro


def _render(name: str, **values: Any) -> str:
    return _environment().get_template(name).render(values)


@cache
def _environment() -> Environment:
    environment = make_environment(_PAGES)
    environment.filters["prose"] = render_prose
    return environment
