"""Reads a list that an agent gives page by page: all of it, or an error. Nothing is ever left out silently."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Final

from scaffolder.agents.contract import Pages
from scaffolder.agents.rest.json_pointer import ACCEPTED, is_pointer, look_up
from scaffolder.errors import AgentAnswerError, AgentRejectedError, LimitExceededError

if TYPE_CHECKING:
    from scaffolder.agents.http.messages import HttpAnswer, HttpRequest

# A link-value of RFC 8288, section 3: its target in angle brackets, then parameters, in which commas may be quoted.
_LINK: Final = re.compile(r'[\s,]*<([^<>]*)>((?:[^,"]|"(?:[^"\\]|\\.)*")*)(?:,|$)', re.DOTALL)
_END: Final = re.compile(r"[\s,]*\Z")
_PARAMETER: Final = re.compile(r';\s*([^\s=;,"]+)\s*(?:=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;,"]*)))?', re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class Page:
    """One page: the answer, and the data in it."""

    answer: HttpAnswer
    data: Any


def find_problems(pages: Pages) -> list[str]:
    """Return a sentence for each thing that is wrong with what a step says of pages."""
    problems = []
    for name, pointer in (("items", pages.items), ("cursor", pages.cursor or "")):
        if not is_pointer(pointer):
            problems.append(f"pages.{name} is {pointer!r}; {ACCEPTED}")
    if pages.kind == "cursor" and not pages.cursor:
        problems.append("pages of kind 'cursor' lack cursor: the JSON pointer of the next page's cursor")
    if pages.kind in {"offset", "page"} and not pages.parameter:
        problems.append(f"pages of kind {pages.kind!r} lack parameter: the query parameter that counts")
    if (pages.size_parameter is None) != (pages.size is None):
        problems.append("pages have one of size_parameter and size; accepted are both or none")
    problems += [
        f"pages.{name} is {value}; accepted is 1 or more"
        for name, value in (("size", pages.size), ("max_pages", pages.max_pages), ("max_items", pages.max_items))
        if value is not None and value < 1
    ]
    return problems


async def read_pages(
    request: HttpRequest,
    pages: Pages,
    *,
    name: str,
    fetch: Callable[[HttpRequest], Awaitable[Page]],
    resolve: Callable[[str, str], str],
    max_size: int,
) -> list[Any]:
    """Return the items of all pages, the first of which answers `request`.

    `fetch` sends a request; `resolve` makes an absolute URL of the agent's own origin from a reference and the URL it
    was found at, or raises. `name` is what messages call the agent; all pages together have at most `max_size` bytes.
    Raises LimitExceededError rather than leave something out, and AgentAnswerError where a page is none or the pages
    go round in a circle.
    """
    items: list[Any] = []
    size = 0
    sent: set[tuple[Any, ...]] = set()
    previous: Page | None = None
    following: HttpRequest | None = _first(request, pages)
    for number in count(1):
        if following is None:
            break
        if (key := (following.path, following.query)) in sent:
            raise AgentAnswerError(f"{name}: page {number} would be one that was read before: its pages have no end")
        sent.add(key)
        page = await fetch(following)
        found = _items(page, pages, f"{name}: page {number}")
        if found and pages.kind in {"offset", "page"} and previous and page.answer.content == previous.answer.content:
            raise AgentAnswerError(
                f"{name}: page {number} has the same bytes as the page before it; accepted is an operation that heeds "
                f"the query parameter {pages.parameter!r}"
            )
        following = _next(following, pages, page, found, name=f"{name}: page {number}", resolve=resolve)
        items += found
        size += len(page.answer.content)
        _refuse_excess(pages, number, len(items), size, max_size, name=name, has_more=bool(found or following))
        previous = page
    return items


def find_next_link(header: str) -> str | None:
    """Return the target of the first link with ``rel="next"`` in a Link header (RFC 8288), None where there is none.

    Links from another context (``anchor``) don't count. Raises ValueError where the header is malformed.
    """
    position = 0
    while not _END.match(header, position):
        link = _LINK.match(header, position)
        if link is None:
            raise ValueError(header)
        position = link.end()
        parameters: dict[str, str] = {}
        for parameter in _PARAMETER.finditer(link[2]):
            value = re.sub(r"\\(.)", r"\1", parameter[2]) if parameter[2] is not None else parameter[3] or ""
            parameters.setdefault(parameter[1].lower(), value)  # only the first rel counts, section 3.3
        if "next" in parameters.get("rel", "").lower().split() and "anchor" not in parameters:
            return link[1].strip()
    return None


def _first(request: HttpRequest, pages: Pages) -> HttpRequest:
    if pages.size_parameter and pages.size:
        request = _with_query(request, pages.size_parameter, str(pages.size))
    if pages.kind == "page" and pages.parameter and _query_value(request, pages.parameter) is None:
        request = _with_query(request, pages.parameter, str(pages.first))
    return request


def _next(
    sent: HttpRequest,
    pages: Pages,
    page: Page,
    found: list[Any],
    *,
    name: str,
    resolve: Callable[[str, str], str],
) -> HttpRequest | None:
    if pages.kind == "link":
        return _linked(sent, _link_of(page, name), page, resolve)
    if pages.kind == "cursor":
        cursor = _cursor_of(page, pages, name)
        if cursor and pages.parameter:
            return _with_query(sent, pages.parameter, cursor)
        return _linked(sent, cursor, page, resolve)
    if not found:
        return None
    # A short page is no last page: agents cap sizes, and some filter a page after it was cut.
    parameter = pages.parameter or ""
    step = len(found) if pages.kind == "offset" else 1
    return _with_query(sent, parameter, str(_position(sent, parameter) + step))


def _items(page: Page, pages: Pages, name: str) -> list[Any]:
    try:
        # 204 and null are how some agents write an empty list.
        found = [] if page.data is None else look_up(page.data, pages.items)
    except LookupError:
        found = page
    if found is None:
        return []
    if not isinstance(found, list):
        raise AgentAnswerError(f"{name} has no list at {pages.items!r}; accepted in pages.items is where the list is")
    return found


def _link_of(page: Page, name: str) -> str | None:
    try:
        return find_next_link(page.answer.headers.get("link", ""))
    except ValueError as error:
        raise AgentAnswerError(f"{name} has a Link header that RFC 8288 does not allow") from error


def _cursor_of(page: Page, pages: Pages, name: str) -> str | None:
    try:
        cursor = look_up(page.data, pages.cursor or "")
    except LookupError:
        return None
    if cursor is None or cursor is False or cursor == "":
        return None
    if isinstance(cursor, bool) or not isinstance(cursor, str | int):
        raise AgentAnswerError(
            f"{name} has a {type(cursor).__name__} as cursor at {pages.cursor!r}; accepted are strings and integers"
        )
    return str(cursor)


def _linked(
    sent: HttpRequest, reference: str | None, page: Page, resolve: Callable[[str, str], str]
) -> HttpRequest | None:
    return replace(sent, path=resolve(reference, page.answer.url), query=()) if reference else None


def _refuse_excess(
    pages: Pages, number: int, items: int, size: int, max_size: int, *, name: str, has_more: bool
) -> None:
    if items > pages.max_items:
        raise LimitExceededError(f"{name} has more than {pages.max_items} items (max_items of the step's pages)")
    if size > max_size:
        raise LimitExceededError(
            f"{name} answered more than {max_size} bytes in {number} pages (SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE)"
        )
    if number > pages.max_pages and has_more:
        raise LimitExceededError(f"{name} has more than {pages.max_pages} pages (max_pages of the step's pages)")


def _position(request: HttpRequest, parameter: str) -> int:
    text = _query_value(request, parameter) or "0"
    if not (text.isascii() and text.isdigit()):
        raise AgentRejectedError(f"the query parameter {parameter!r} is {text!r}; accepted is a number to count from")
    return int(text)


def _query_value(request: HttpRequest, name: str) -> str | None:
    return next((value for key, value in request.query if key == name), None)


def _with_query(request: HttpRequest, name: str, value: str) -> HttpRequest:
    return replace(request, query=(*((key, old) for key, old in request.query if key != name), (name, value)))
