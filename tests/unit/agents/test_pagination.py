from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scaffolder.agents.contract import Answer, CallRequest, Pages
from scaffolder.agents.rest.agent import RestAgent
from scaffolder.agents.rest.pagination import find_next_link, find_problems
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentRejectedError,
    AgentUnavailableError,
    LimitExceededError,
    ScaffolderError,
)
from tests.job_server import Received, Reply, RestServer, serve_rest

THINGS = [{"number": number} for number in range(25)]


def read(server: RestServer, pages: Pages, *, settings: Settings | None = None, **parameters: Any) -> Answer:
    request = CallRequest(method="GET", path="/things", parameters=parameters, pages=pages)

    async def call() -> Any:
        agent = RestAgent(server.connection, settings=settings or Settings(), endpoints=None)
        async with agent:
            return await agent.call(await agent.prepare(request), idempotency_key="key", ledger=None)

    return asyncio.run(call())


def serve_things(request: Received) -> Reply:
    """The things as every kind of pagination has them; pages of at most 10, whatever is asked for."""
    query = request.query
    size = min(int(query.get("size", "10")), 10)
    start = int(query.get("offset") or query.get("after") or (int(query.get("page", "1")) - 1) * size)
    found, end = THINGS[start : start + size], start + size
    headers = {"Link": f'<?size={size}&offset={end}>; rel="next"'} if end < len(THINGS) else {}
    after = end if end < len(THINGS) else None
    url = f"/things?size={size}&after={end}" if after else None
    return Reply({"data": {"things": found}, "meta": {"after": after, "next": url}}, headers=headers)


ITEMS = "/data/things"


@pytest.mark.parametrize(
    "pages",
    [
        Pages(kind="link", items=ITEMS),
        Pages(kind="cursor", items=ITEMS, cursor="/meta/after", parameter="after"),
        Pages(kind="cursor", items=ITEMS, cursor="/meta/next"),
        Pages(kind="offset", items=ITEMS, parameter="offset"),
        Pages(kind="offset", items=ITEMS, parameter="offset", size_parameter="size", size=100),
        Pages(kind="page", items=ITEMS, parameter="page", size_parameter="size", size=7),
    ],
    ids=lambda pages: f"{pages.kind} {pages.cursor or pages.size or ''}",
)
def test_reads_all_items_of_every_kind_of_pages(pages: Pages) -> None:
    with serve_rest(serve_things) as server:
        answer = read(server, pages)
    assert answer.data == THINGS
    assert answer.status == 200
    assert all(request.headers["authorization"].startswith("Bearer ") for request in server.requests)


def test_keeps_the_parameters_of_the_step_on_every_page() -> None:
    with serve_rest(serve_things) as server:
        answer = read(server, Pages(kind="offset", items=ITEMS, parameter="offset"), colour="red", offset=10)
    assert answer.data == THINGS[10:]
    assert [request.query for request in server.requests] == [
        {"colour": "red", "offset": str(offset)} for offset in (10, 20, 25)
    ]


def test_starts_at_the_first_page_that_the_agent_has() -> None:
    with serve_rest() as server:
        server.script(Reply([1]), Reply([2]), Reply([]))
        assert read(server, Pages(kind="page", parameter="p", first=0)).data == [1, 2]
    assert server.targets == ["GET /things?p=0", "GET /things?p=1", "GET /things?p=2"]


def test_an_empty_answer_and_null_are_empty_pages() -> None:
    with serve_rest() as server:
        server.script(Reply(status=204))
        assert read(server, Pages(kind="link")).data == []
        server.script(Reply({"things": None}))
        assert read(server, Pages(kind="link", items="/things")).data == []


def test_an_empty_page_in_the_middle_is_not_the_end_where_there_is_a_next_one() -> None:
    with serve_rest() as server:
        server.script(
            Reply({"i": [1], "c": "a"}), Reply({"i": [], "c": "b"}), Reply({"i": [2], "c": ""}), Reply({"i": [9]})
        )
        assert read(server, Pages(kind="cursor", items="/i", cursor="/c", parameter="c")).data == [1, 2]


@pytest.mark.parametrize(
    "pages, replies, error, message",
    [
        (Pages(kind="link"), [Reply({"a": 1})], AgentAnswerError, "page 1 has no list at ''"),
        (Pages(kind="link", items="/x/y"), [Reply({"x": 1})], AgentAnswerError, "page 1 has no list at '/x/y'"),
        (Pages(kind="link"), [Reply([1], headers={"Link": "next"})], AgentAnswerError, "page 1 has a Link header"),
        (
            Pages(kind="link"),
            [Reply([1], headers={"Link": '</things?c=2>; rel="next"'})],
            AgentAnswerError,
            "page 3 would be one that was read before",
        ),
        (
            Pages(kind="link"),
            [Reply([1], headers={"Link": '<https://elsewhere.example/x?t=1>; rel="next"'})],
            AgentRejectedError,
            "a link leads to https://elsewhere.example; accepted",
        ),
        (
            Pages(kind="cursor", cursor="/c", items="/i"),
            [Reply({"i": [1], "c": "//169.254.169.254/x"})],
            AgentRejectedError,
            "a link leads to http://169.254.169.254; accepted",
        ),
        (
            Pages(kind="cursor", cursor="/c", items="/i", parameter="c"),
            [Reply({"i": [1], "c": "same"})],
            AgentAnswerError,
            "page 3 would be one that was read before",
        ),
        (
            Pages(kind="cursor", cursor="/c", items="/i", parameter="c"),
            [Reply({"i": [1], "c": {"a": 1}})],
            AgentAnswerError,
            "page 1 has a dict as cursor at '/c'",
        ),
        (
            Pages(kind="page", parameter="pgae"),
            [Reply([1])],
            AgentAnswerError,
            "page 2 has the same bytes as the page before it; accepted .* heeds the query parameter 'pgae'",
        ),
        (
            Pages(kind="page", parameter="p", max_pages=2),
            [Reply([1]), Reply([2]), Reply([3])],
            LimitExceededError,
            r"more than 2 pages \(max_pages",
        ),
        (
            Pages(kind="page", parameter="p", max_items=3),
            [Reply([1, 2]), Reply([3, 4])],
            LimitExceededError,
            r"more than 3 items \(max_items",
        ),
        (
            Pages(kind="page", parameter="p"),
            [Reply([1]), Reply({"detail": "gone fishing"}, status=503)],
            AgentUnavailableError,
            "503: gone fishing",
        ),
    ],
)
def test_refuses_what_is_no_complete_list(
    pages: Pages, replies: list[Reply], error: type[ScaffolderError], message: str
) -> None:
    with serve_rest() as server:
        server.script(*replies)
        with pytest.raises(error, match=message):
            read(server, pages)
    assert len(server.requests) <= 4


@pytest.mark.parametrize("kind, parameter", [("page", "p"), ("cursor", None)])
def test_as_many_pages_and_items_as_allowed_are_no_error(kind: Any, parameter: str | None) -> None:
    with serve_rest() as server:
        server.script(Reply({"i": [1], "c": "?c=2"}), Reply({"i": [2]}), Reply({"i": []}))
        pages = Pages(kind=kind, items="/i", cursor="/c", parameter=parameter, max_pages=2, max_items=2)
        assert read(server, pages).data == [1, 2]


def test_the_bytes_of_all_pages_together_are_bounded() -> None:
    with serve_rest() as server:
        pages = iter(range(1000))
        server.answer = lambda _request: Reply([f"{next(pages)}" + "x" * 700])
        with pytest.raises(LimitExceededError, match="more than 2000 bytes in 3 pages"):
            read(server, Pages(kind="page", parameter="p"), settings=replace(Settings(), max_agent_response_size=2000))


def test_pages_go_with_get_only() -> None:
    with serve_rest() as server:
        agent = RestAgent(server.connection, settings=Settings(), endpoints=None)
        request = CallRequest(method="POST", path="/things", pages=Pages(kind="link"))
        with pytest.raises(AgentRejectedError, match="it has pages, but its method is POST; accepted is GET"):
            asyncio.run(agent.prepare(request))
    assert server.requests == []


def test_names_everything_that_is_wrong_with_the_pages_of_a_step() -> None:
    wrong = Pages(kind="cursor", items="things", cursor="/~2", size=0, max_pages=0)
    assert find_problems(wrong) == [
        "pages.items is 'things'; accepted is a JSON pointer such as '/data/items', or '' for the whole answer",
        "pages.cursor is '/~2'; accepted is a JSON pointer such as '/data/items', or '' for the whole answer",
        "pages have one of size_parameter and size; accepted are both or none",
        "pages.size is 0; accepted is 1 or more",
        "pages.max_pages is 0; accepted is 1 or more",
    ]
    assert find_problems(Pages(kind="cursor")) == [
        "pages of kind 'cursor' lack cursor: the JSON pointer of the next page's cursor"
    ]
    assert find_problems(Pages(kind="offset")) == [
        "pages of kind 'offset' lack parameter: the query parameter that counts"
    ]


@pytest.mark.parametrize(
    "header, target",
    [
        ("", None),
        (" , ", None),
        ("<a>; rel=next", "a"),
        ('<a>;rel="next"', "a"),
        ('<a>; rel="prev", <b>; rel="next"', "b"),
        ('<a>; title="x, <y>; rel=next, z"; rel="last", <b>; rel="next"', "b"),
        (r'<a>; title="quoted \" , <y>"; rel="first next"', "a"),
        ("<a?x=1,2;3>; REL=NEXT", "a?x=1,2;3"),
        ('<a>; rel="last"; rel="next"', None),
        ('<a>; rel="nextish"', None),
        ('<a>; rel="next"; anchor="#elsewhere", <b>; rel=next', "b"),
        (",,<a>; rel=next,,", "a"),
        ("<>; rel=next", ""),
    ],
)
def test_finds_the_next_link_as_rfc_8288_has_it(header: str, target: str | None) -> None:
    assert find_next_link(header) == target


@pytest.mark.parametrize("header", ["next", "<a", '<a>; rel="next', "b, <a>; rel=next", "<a>; rel=prev, b"])
def test_a_malformed_link_header_is_no_end(header: str) -> None:
    with pytest.raises(ValueError, match="."):
        find_next_link(header)


@given(st.text(alphabet=st.sampled_from('<>;,="\\ arelnext'), max_size=200))
def test_any_link_header_is_read_or_refused(header: str) -> None:
    try:
        found = find_next_link(header)
    except ValueError:
        return
    assert found is None or found in header


def test_a_long_hostile_link_header_takes_no_time() -> None:
    for header in ('<a>;"' * 20_000, "<a>;" + "\\" * 60_000, "<a>;" * 20_000, "<a>, " * 20_000):
        with suppress(ValueError):
            find_next_link(header)


def test_items_may_be_anything() -> None:
    data = [None, 1, "x", [1], {"a": None}]
    with serve_rest() as server:
        server.script(Reply(data))
        assert json.dumps(read(server, Pages(kind="link")).data) == json.dumps(data)
