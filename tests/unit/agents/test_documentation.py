"""Pages of what agents offer: nothing of an agent's becomes markup, and the example steps can be used."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import airflow
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from scaffolder.agents.documentation import (
    MAX_OPERATIONS_ON_PAGE,
    html_pages,
    markdown_page,
    render_agents,
    render_html,
    render_markdown,
    render_operation,
)
from scaffolder.agents.documentation.example_step import ExampleStep, ExampleSteps
from scaffolder.agents.documentation.outline import MAX_ROWS, outline
from scaffolder.agents.documentation.remote_text import (
    escape_markdown,
    make_code,
    make_fence,
    render_prose,
    write_prose,
)
from scaffolder.agents.openapi import OperationDefinition
from scaffolder.agents.openapi.document import read_offer
from scaffolder.config import Settings
from scaffolder.operators.expressions import evaluate
from scaffolder.page_layout import get_security_policy
from scaffolder.records.models import AgentDescription, Endpoint
from scaffolder.workflows.definition import load_definition
from scaffolder.workflows.step_types import ApiCallStep
from tests.profile import examples

NOW = datetime(2026, 3, 4, 5, 6, tzinfo=UTC)
HOSTILE = (
    "<script>alert(1)</script>",
    "</style></script></code></pre><img src=x onerror=alert(1)>",
    '" onmouseover="alert(1)',
    "[click](javascript:alert(1)) ![image](https://evil.example/x.png) <https://evil.example>",
    "https://evil.example www.evil.example evil.example/x mailto:a@evil.example @everyone",
    "``` \n# heading\n\n---\n* a\n* b\n\n<b>bold</b> | cell | `code`\n===\n1. one\n> quote\n\n    code\n~~~",
    "[x]: https://evil.example\n\n[x] &lt;b&gt; \\<i> \\`",
    "right\u202eleft \u2066isolated\u200bzero\x1b[31mred\x00nul\u2028line",
    "{{ 7 * 7 }} {% raw %} {# note #}",
    "a" * 100_000,
    "`" * 300,
)
PAGE_TAGS = {
    *("html", "head", "meta", "title", "style", "script", "body", "header", "main", "footer", "nav", "article"),
    *("h1", "h2", "h3", "p", "a", "ol", "ul", "li", "dl", "div", "dt", "dd", "time", "span", "code", "pre", "small"),
    *("table", "caption", "thead", "tbody", "tr", "th", "td", "details", "summary", "button", "label", "input"),
    *("output", "em", "strong", "s", "br", "blockquote"),
}
PROSE_TAGS = {
    *("p", "strong", "em", "s", "code", "pre", "ul", "ol", "li", "blockquote", "br", "small"),
    *("table", "thead", "tbody", "tr", "th", "td"),
}


class Page(HTMLParser):
    """What a browser finds in a page."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.order: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in {"meta", "input", "br"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.order.append(data)
        self.texts.setdefault(self._open[-1] if self._open else "", []).append(data)

    @property
    def tags(self) -> set[str]:
        return {tag for tag, _ in self.elements}

    def values(self, name: str) -> list[str]:
        return [str(attributes[name]) for _, attributes in self.elements if name in attributes]

    @property
    def text(self) -> str:
        return " ".join("".join(self.order).split())


def make_description(**changes: Any) -> AgentDescription:
    given: dict[str, Any] = {
        "connection": "pets",
        "kind": "openapi",
        "source": "https://pets.example/openapi.json",
        "title": "Pets",
        "version": "1.2",
        "description": "All about pets.",
        "etag": None,
        "digest": "0" * 64,
        "warnings": [],
        "checked_at": NOW,
        "changed_at": NOW,
    }
    return AgentDescription(**(given | changes))


def make_endpoint(definition: dict[str, Any], *, operation_id: str = "addPet", **changes: Any) -> Endpoint:
    given: dict[str, Any] = {
        "connection": "pets",
        "operation_id": operation_id,
        "method": "POST",
        "path": "/pets/{owner}",
        "summary": "Add a pet",
        "definition": definition,
        "digest": "0" * 64,
        "first_seen_at": NOW,
        "changed_at": NOW,
        "gone_at": None,
    }
    return Endpoint(**(given | changes))


def define(operation: dict[str, Any] | None = None, **components: Any) -> dict[str, Any]:
    """Return a definition: one operation with a path parameter, and what it refers to."""
    base: dict[str, Any] = {
        "operationId": "addPet",
        "parameters": [{"name": "owner", "in": "path", "required": True, "schema": {"type": "string"}}],
        "responses": {"200": {"description": "It is there."}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "Pets", "version": "1"},
        "paths": {"/pets/{owner}": {"post": {"summary": "Add a pet"} | base | (operation or {})}},
        "components": components,
    }


def make_example_step(endpoint: Endpoint) -> ExampleStep:
    return ExampleSteps().make(endpoint)


def with_body(schema: Any, **media: Any) -> dict[str, Any]:
    body = {"required": True, "content": {"application/json": {"schema": schema} | media}}
    return define({"requestBody": body})


def define_hostile(text: str) -> dict[str, Any]:
    schema = {
        "type": "object",
        "title": text,
        "description": text,
        "properties": {text: {"type": text, "description": text, "enum": [text], "pattern": text, "format": text}},
        "required": [text],
        "default": {text: text},
    }
    operation = {
        "summary": text,
        "description": text,
        "tags": [text],
        "parameters": [
            {"name": text, "in": text, "description": text, "schema": schema},
            {"name": "owner", "in": "path", "required": True, "schema": {"$ref": f"#/components/schemas/{text}"}},
        ],
        "requestBody": {
            "description": text,
            "content": {text: {"schema": schema}, "application/json": {"example": text}},
        },
        "responses": {text: {"description": text, "content": {text: {"schema": schema}}}},
    }
    return define(operation, schemas={text: schema})


def make_hostile(text: str) -> tuple[AgentDescription, list[Endpoint]]:
    description = make_description(title=text, version=text, description=text, source=text, warnings=[text])
    endpoints = [
        make_endpoint(define_hostile(text), operation_id=text, method=text, path=text, summary=text),
        make_endpoint({"skill": {"name": text, "description": text, "tags": [text], "examples": [text]}}, summary=text),
        make_endpoint({"tool": {"title": text, "inputSchema": define_hostile(text)}}, operation_id="tool"),
    ]
    return description, endpoints


def check_page(text: str) -> Page:
    """Check what must be so of every page, whatever it shows."""
    page = Page(text)
    assert page.tags <= PAGE_TAGS
    assert len(page.texts["script"]) == len(page.texts["style"]) == 1
    for name in ("src", "srcset", "style", "action", "formaction", "background", "data", "srcdoc", "xlink:href"):
        assert page.values(name) == []
    assert [name for _, attributes in page.elements for name in attributes if name.startswith("on")] == []
    assert [href for href in page.values("href") if not re.match(r"#[a-z0-9-]+$|/scaffolder/agents", href)] == []
    assert text.replace("\n", "").isprintable()
    identifiers = page.values("id")
    assert len(identifiers) == len(set(identifiers))
    assert {href[1:] for href in page.values("href") if href.startswith("#")} <= set(identifiers)
    return page


def skeleton(markdown: str) -> list[str]:
    """Return the kinds of everything that a generous renderer (links in text, HTML) sees in `markdown`."""
    tokens = MarkdownIt("gfm-like", {"html": True, "linkify": True}).parse(markdown)
    return [kind for token in tokens for kind in (token.type, *(child.type for child in token.children or []))]


FORBIDDEN = {"link_open", "image", "html_block", "html_inline"}


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_an_agent_says_becomes_markup_of_a_page(text: str) -> None:
    description, endpoints = make_hostile(text)
    check_page(render_html(description, endpoints))
    check_page(render_html(description, endpoints, root="/scaffolder"))
    check_page(render_agents([(description, 3)], root="/scaffolder"))
    for endpoint in endpoints:
        page = check_page(render_operation(description, endpoint, root="/scaffolder"))
        assert page.tags & {"h1"} == {"h1"}


@pytest.mark.parametrize("text", HOSTILE)
def test_nothing_that_an_agent_says_becomes_markdown(text: str) -> None:
    markdown = render_markdown(*make_hostile(text))
    kinds = skeleton(markdown)
    assert FORBIDDEN & set(kinds) == set()
    harmless = skeleton(render_markdown(*make_hostile("harmless")))
    for kind in ("heading_open", "table_open", "bullet_list_open", "ordered_list_open", "blockquote_open", "hr"):
        assert kinds.count(kind) == harmless.count(kind), kind
    assert markdown.replace("\n", "").isprintable()


@settings(max_examples=examples(100), deadline=None)
@given(st.text())
@example("*a **b\n\n> c `d\n- e\n1) f\n|a|\n|-|\n|b|")
@example("[a](<javascript:x> 'y') ![b][c]\n\n[c]: /d")
def test_a_description_becomes_prose_and_nothing_else(text: str) -> None:
    page = Page(str(render_prose(text)))
    assert page.tags <= PROSE_TAGS
    assert [attributes for _, attributes in page.elements if attributes] == []


MARKS = st.text(alphabet=st.one_of(st.characters(), st.sampled_from(list("`*_[]()<>#+-.!|~&$:@=\\\n 1w/"))))


@pytest.mark.parametrize("write", [escape_markdown, write_prose])
@settings(max_examples=examples(100), deadline=None)
@given(text=MARKS)
@example(text="http\\://x.example")
@example(text="a|b\n:-|-:\nc|d")
@example(text="a.example ev*il.exa*mple a`.example`")
@example(text="1.\n2)\n\n1. a\n2. - b")
@example(text="+\n-\n*")
@example(text="|a|b|\n|-|-|\n|c|<d>|")
@example(text="```\n<a>\n\n# b `c`\n```")
@example(text="[a](<https://b.example/`c`> 'd')")
def test_escaped_text_stays_text(write: Callable[[str], str], text: str) -> None:
    assert set(skeleton(write(text))) <= {
        *("paragraph_open", "paragraph_close", "inline", "text", "softbreak", "code_inline", "text_special"),
    }


def test_prose_in_markdown_keeps_what_it_says() -> None:
    text = "# Title\n\n**Bold** and `co|de`, see [the guide](https://docs.example/a).\n\n- one\n- two\n\n```\n<x>\n```"
    assert write_prose(text) == (
        "Title\n\nBold and `co|de`, see the guide (`https://docs.example/a`).\n\n• one\n\n• two\n\n`<x>`"
    )
    assert write_prose("|a|b|\n|-|-|\n|1. x|2|") == "a; b\n\n1\\. x; 2"


@settings(max_examples=examples(100), deadline=None)
@given(st.text(alphabet="a`| \n"))
@example("```\n# a")
def test_code_of_any_text_is_one_piece_of_code(text: str) -> None:
    code = make_code(text)
    if code:
        assert skeleton(f"x {code} y").count("code_inline") == 1
    assert skeleton(make_fence(text)) == ["fence"]


def test_prose_keeps_what_structures_it() -> None:
    html = str(render_prose("# Title\n\n**Bold** and `code`, see [the guide](https://docs.example/a).\n\n- one\n- two"))
    assert html == (
        "<p><strong>Title</strong></p><p><strong>Bold</strong> and <code>code</code>, see the guide "
        "<small>(https://docs.example/a)</small>.</p><ul><li>one</li><li>two</li></ul>"
    )


def test_prose_shows_html_and_addresses_as_the_characters_they_are() -> None:
    html = str(render_prose("<b>one</b> <https://a.example> [two]\n\n<p>three</p>\n\n[two]: https://b.example"))
    for shown in (
        "&lt;b&gt;one&lt;/b&gt;",
        "&lt;https://a.example&gt; [two]",
        "&lt;p&gt;three",
        "[two]: https://b.example",
    ):
        assert shown in html


def test_the_policy_allows_the_pages_own_style_and_script_alone() -> None:
    page = check_page(render_html(make_description(), [make_endpoint(define())]))
    policy = get_security_policy()
    assert page.values("content")[0] == policy
    for directive, tag in (("style-src", "style"), ("script-src", "script")):
        digest = base64.b64encode(hashlib.sha256(page.texts[tag][0].encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}';" in policy
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy


def test_a_page_says_what_an_operation_takes_and_answers() -> None:
    definition = define(
        {
            "description": "Adds *one* pet.",
            "deprecated": True,
            "parameters": [
                {
                    "name": "owner",
                    "in": "path",
                    "required": True,
                    "schema": {"type": "string"},
                    "description": "Whose.",
                },
                {"name": "dry", "in": "query", "schema": {"type": "boolean", "default": False}},
            ],
            "requestBody": {"content": {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}},
            "responses": {
                "201": {"description": "Added.", "content": {"application/json": {"schema": {"type": "string"}}}}
            },
        },
        schemas={
            "Pet": {
                "type": "object",
                "required": ["name"],
                "properties": {
                    "name": {"type": "string", "pattern": "^[a-z]+$", "maxLength": 9},
                    "kind": {"enum": ["cat", "dog"]},
                    "born": {"type": ["string", "null"], "format": "date"},
                    "parents": {"type": "array", "items": {"$ref": "#/components/schemas/Pet"}, "maxItems": 2},
                },
            }
        },
    )
    endpoint = make_endpoint(definition)
    page = check_page(render_operation(make_description(), endpoint, root="/scaffolder"))
    for expected in (
        *("Add a pet", "/pets/{owner}", "deprecated", "Whose.", "default false", "object Pet", "list of object Pet"),
        *("pattern ^[a-z]+$", "at most 9 characters", 'one of "cat", "dog"', "string or null", "format date"),
        *("at most 2 items", "as the whole", "201", "Added."),
    ):
        assert expected in page.text, expected
    markdown = render_markdown(make_description(), [endpoint])
    assert "| `name` | string, pattern `^[a-z]+$`, at most 9 characters | yes |" in markdown
    assert "| `owner` | path | string | yes | Whose. |" in markdown


def test_a_small_agent_has_one_page_and_a_large_one_a_page_for_each_operation() -> None:
    definition = define()
    endpoints = [
        make_endpoint(definition, operation_id=f"pets/op-{number}", path=f"/p/{number}")
        for number in range(MAX_OPERATIONS_ON_PAGE + 1)
    ]
    small = check_page(render_html(make_description(), endpoints[1:], root="/scaffolder"))
    assert "article" in small.tags
    bare = [replace(endpoint, definition={}) for endpoint in endpoints]
    large = check_page(render_html(make_description(), bare, root="/scaffolder"))
    assert "article" not in large.tags
    assert "/scaffolder/agents/pets/operations/pets/op-7" in large.values("href")
    alone = check_page(render_html(make_description(), endpoints))
    assert "article" in alone.tags


@pytest.mark.parametrize(
    ("operation_id", "link"),
    [
        ("GET /pets/{id}", "GET%20/pets/%7Bid%7D"),
        ("a?b#c%d", "a%3Fb%23c%25d"),
        ("../../auth", "..%2F..%2Fauth"),
        ("//evil.example", "%2F%2Fevil.example"),
        ("\ud800", "%3F"),
    ],
)
def test_links_lead_to_the_operation_whatever_its_id_is(operation_id: str, link: str) -> None:
    endpoints = [make_endpoint({}, operation_id=f"o{number}") for number in range(MAX_OPERATIONS_ON_PAGE)]
    endpoints.append(make_endpoint({}, operation_id=operation_id))
    page = Page(render_html(make_description(), endpoints, root="/scaffolder"))
    assert f"/scaffolder/agents/pets/operations/{link}" in page.values("href")


def test_credentials_in_the_place_a_description_was_read_from_are_not_shown() -> None:
    description = make_description(source="https://ada:s3cret@pets.example/openapi.json?key=s3cret#s3cret")
    for text in (render_html(description, []), render_markdown(description, [])):
        assert "s3cret" not in text
        assert "https://pets.example/openapi.json" in text


def test_what_is_gone_is_marked_and_has_no_example() -> None:
    gone = make_endpoint(define(), gone_at=NOW)
    page = check_page(render_html(make_description(), [gone, make_endpoint(define(), operation_id="other")]))
    assert "gone since" in page.text
    assert "1 operation" in page.text
    assert make_example_step(gone).yaml == ""
    assert "**gone** since 2026-03-04 05:06 UTC" in render_markdown(make_description(), [gone])


def test_a_skill_has_an_example_with_a_message_and_a_tool_has_none() -> None:
    skill = {
        "skill": {
            "id": "plan",
            "name": "Plan",
            "examples": ["Plan a {{ trip }}.\nTo Rome."],
            "inputModes": ["text/plain"],
        }
    }
    endpoint = make_endpoint(skill, operation_id="plan", method="SKILL", path="")
    step = yaml.safe_load(make_example_step(endpoint).yaml)[0]
    assert step == {
        "id": "plan",
        "type": "api_call",
        "agent": "pets",
        "message": 'Plan a {{ "{{" }} trip }}.\nTo Rome.',
    }
    page = check_page(render_html(make_description(kind="a2a"), [endpoint]))
    assert "1 skill" in page.text
    assert "text/plain" in page.text

    tool = {"tool": {"name": "search", "inputSchema": {"type": "object", "properties": {"query": {"type": "string"}}}}}
    endpoint = make_endpoint(tool, operation_id="search", method="TOOL", path="")
    page = check_page(render_html(make_description(kind="mcp"), [endpoint]))
    assert "listed for information" in page.text
    assert "query" in page.text
    assert make_example_step(endpoint).yaml == ""


def test_the_idempotency_key_is_left_to_the_call() -> None:
    key = {"name": "idempotency-key", "in": "header", "required": True, "schema": {"type": "string"}}
    endpoint = make_endpoint(define({"parameters": [{"name": "owner", "in": "path", "schema": {}}, key]}))
    step = make_example_step(endpoint)
    assert (yaml.safe_load(step.yaml)[0]["parameters"], step.problem) == ({"owner": "example"}, "")
    page = check_page(render_operation(make_description(), endpoint, root="/scaffolder"))
    assert "sent by the call itself" in page.text


CASES: list[tuple[Any, Any]] = [
    ({"type": "string"}, "example"),
    ({"type": "string", "minLength": 10}, "exampleexa"),
    ({"type": "string", "maxLength": 3}, "exa"),
    ({"type": "string", "format": "date"}, "2026-01-31"),
    ({"type": "string", "pattern": "^[0-9a-f]{40}$"}, "a" * 40),
    ({"type": "string", "pattern": "^sha256:[a-f0-9]{64}$", "minLength": 71}, f"sha256:{'a' * 64}"),
    ({"type": "string", "pattern": "^refs/"}, "refs/"),
    ({"type": "string", "pattern": r"^\d+\.\d+\.\d+$"}, "1.0.0"),
    ({"type": "integer", "minimum": 5, "multipleOf": 4}, 8),
    ({"type": "integer", "exclusiveMinimum": 5}, 6),
    ({"type": "number", "maximum": -2}, -2),
    ({"type": ["null", "boolean"]}, True),
    ({"enum": ["b", "a"]}, "b"),
    ({"const": 3}, 3),
    ({"default": "d", "type": "string"}, "d"),
    ({"examples": ["e"], "type": "string"}, "e"),
    ({"type": "array", "items": {"type": "integer"}, "minItems": 2, "uniqueItems": True}, [1, 2]),
    ({"type": "object", "required": ["a"], "properties": {"a": {"type": "integer"}, "b": {}}}, {"a": 1}),
    ({"type": "object", "properties": {"a": {"readOnly": True}, "b": {"type": "boolean"}}}, {"b": True}),
    ({"allOf": [{"required": ["a"]}, {"properties": {"a": {"type": "integer"}}}], "type": "object"}, {"a": 1}),
    ({"oneOf": [{"type": "null"}, {"type": "integer"}]}, 1),
    (
        {"type": "object", "minProperties": 2, "additionalProperties": {"type": "integer"}},
        {"example1": 1, "example2": 1},
    ),
]


@pytest.mark.parametrize(("schema", "body"), CASES)
def test_an_example_fits_its_schema(schema: Any, body: Any) -> None:
    step = make_example_step(make_endpoint(with_body(schema)))
    assert step.problem == ""
    assert yaml.safe_load(step.yaml)[0]["body"] == body


def test_an_example_of_the_description_is_taken_only_where_it_fits() -> None:
    schema = {"type": "object", "required": ["a"], "properties": {"a": {"type": "integer", "example": "no"}}}
    good = make_example_step(make_endpoint(with_body(schema, example={"a": 7})))
    assert yaml.safe_load(good.yaml)[0]["body"] == {"a": 7}
    bad = make_example_step(make_endpoint(with_body(schema, example={"b": 7})))
    assert yaml.safe_load(bad.yaml)[0]["body"] == {"a": 1}


def test_where_no_example_fits_the_page_says_what_to_adapt() -> None:
    step = make_example_step(make_endpoint(with_body({"type": "string", "pattern": "^[xyz]{7}-[pq]{3}$"})))
    assert yaml.safe_load(step.yaml)[0]["body"] == "example"
    assert "accepted is what matches" in step.problem
    page = check_page(render_html(make_description(), [make_endpoint(with_body(False))]))
    assert "Adapt the values" in page.text


def test_text_of_an_agent_is_no_expression_in_the_example(tmp_path: Path) -> None:
    texts = ["{{ params.project }}", "{{", "{%", "{#", "{{{{", "{{{%", "a {{ run.id }} {# x #} {% if %}", "}} {"]
    endpoint = make_endpoint(with_body({"type": "array"}, example=texts))
    step = read_step(endpoint, tmp_path)
    assert step.expressions() != []
    assert evaluate(step.operator_arguments()["body"], {"params": {}, "steps": {}, "run": {}}) == texts


@settings(max_examples=examples(100), deadline=None)
@given(st.recursive(st.booleans() | st.text(), lambda inner: st.lists(inner, max_size=3), max_leaves=5))
@example("yes")
@example("2026-01-01")
@example("a\n  b\n")
@example("\u202e\x85\ud7ff")
def test_an_example_is_read_back_as_it_was(body: Any) -> None:
    endpoint = make_endpoint(with_body({}, example=body))
    step = make_example_step(endpoint)
    read = yaml.safe_load(f"steps:\n{step.yaml}")["steps"][0].get("body")
    arguments = ApiCallStep.model_validate(
        {"id": "x", "type": "api_call", "agent": "a", "operation": "b", "body": read}
    )
    assert evaluate(arguments.operator_arguments()["body"], {}) == body
    assert step.yaml.replace("\n", "").isprintable()


def read_step(endpoint: Endpoint, directory: Path) -> ApiCallStep:
    """Return the example as our own reader of workflows reads it."""
    path = directory / "workflow.yaml"
    path.write_text(f"id: example\nsteps:\n{make_example_step(endpoint).yaml}")
    step = load_definition(path, settings=Settings()).steps[0]
    assert isinstance(step, ApiCallStep)
    return step


def list_airflow_operations() -> list[Endpoint]:
    """Return the operations of Airflow's own API: real, and on this machine anyway."""
    path = Path(airflow.__file__).parent / "api_fastapi" / "core_api" / "openapi" / "v2-rest-api-generated.yaml"
    document = yaml.load(path.read_bytes(), Loader=yaml.CSafeLoader)
    offer = read_offer(document, content=b"", source="airflow", base_url=None)
    return [make_endpoint(**vars(one)) for one in offer.endpoints]


def test_the_examples_for_a_real_api_are_steps_that_fit_it(tmp_path: Path) -> None:
    endpoints = list_airflow_operations()
    assert len(endpoints) > 100
    for endpoint in endpoints:
        step = read_step(endpoint, tmp_path)
        operation = OperationDefinition.of(endpoint)
        assert operation.build(step.parameters, step.body).method == endpoint.method
    texts = render_html(make_description(), endpoints), render_markdown(make_description(), endpoints)
    assert [text.count("Adapt the values") for text in texts] == [0, 0]
    check_page(texts[0])
    assert FORBIDDEN & set(skeleton(texts[1])) == set()


def test_schemas_that_would_take_for_ever_to_write_out_are_cut_in_time() -> None:
    document = {
        "c": {
            "A": {"oneOf": [{"$ref": "#/c/A"}] * 50},
            "B": {"allOf": [{"$ref": "#/c/C"}] * 50},
            "C": {"allOf": [{"$ref": "#/c/D"}] * 50},
            "D": {"properties": {f"p{number}": {"$ref": "#/c/B"} for number in range(3_000)}},
            "E": {"properties": {f"p{number}": {"$ref": "#/c/F"} for number in range(100)}},
            "F": {"items": {"$ref": "#/c/E"}, "anyOf": [{"$ref": "#/c/F"}] * 50},
            "G": {"$ref": "#/c/H"},
            "H": {"$ref": "#/c/G"},
        }
    }
    begin = time.monotonic()
    for name in "ABCDEFGH":
        rows = outline({"$ref": f"#/c/{name}"}, document)
        assert 1 <= len(rows) <= MAX_ROWS + 1
        endpoint = make_endpoint(with_body({"$ref": f"#/c/{name}"}) | document)
        step = ExampleSteps(check_seconds=0).make(endpoint)
        assert step.yaml
        assert "not checked" in step.problem
    assert time.monotonic() - begin < 5


def test_a_nested_schema_is_written_out_once_and_named_elsewhere() -> None:
    user = {"type": "object", "properties": {"login": {"type": "string"}}}
    document = {"components": {"schemas": {"User": user}}}
    reference = {"$ref": "#/components/schemas/User"}
    rows = outline({"type": "object", "properties": {"author": reference, "editor": reference}}, document)
    assert [(row.path, row.type, [str(fact) for fact in row.facts]) for row in rows] == [
        ("", "object", []),
        ("author", "object User", []),
        ("author.login", "string", []),
        ("editor", "object User", ["as author"]),
    ]


MALFORMED: list[Any] = [
    {},
    {"paths": []},
    {"paths": {"/x": []}},
    {"paths": {"/x": {"get": {"parameters": {}, "requestBody": [], "responses": []}}}},
    {"paths": {"/x": {"get": {"parameters": [1, {}, {"name": 1}], "responses": {"200": 1, "x": {"content": []}}}}}},
    {"paths": {"/x": {"get": {"requestBody": {"content": {"application/json": 1, "x": {"schema": []}}}}}}},
    {"paths": {"/x": {"get": {"responses": {"200": {"$ref": "https://evil.example/x.json"}}}}}},
    {"skill": []},
    {"tool": {"inputSchema": 1, "outputSchema": [1]}},
]


@pytest.mark.parametrize("definition", MALFORMED)
def test_a_malformed_definition_still_has_a_page(definition: Any) -> None:
    check_page(render_operation(make_description(), make_endpoint(definition), root="/scaffolder"))
    assert render_markdown(make_description(), [make_endpoint(definition)])


WRONG = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 10**20) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)
KEYWORDS = st.sampled_from(
    [
        "type",
        "format",
        "pattern",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
        "multipleOf",
        "minLength",
        "maxLength",
        "minItems",
        "maxItems",
        "minProperties",
        "const",
        "default",
        "enum",
        "examples",
        "example",
        "properties",
        "patternProperties",
        "additionalProperties",
        "required",
        "items",
        "prefixItems",
        "oneOf",
        "anyOf",
        "allOf",
        "nullable",
        "readOnly",
        "deprecated",
        "title",
        "description",
        "uniqueItems",
        "$ref",
    ]
)


@settings(max_examples=examples(100), deadline=None)
@given(st.dictionaries(KEYWORDS, WRONG, max_size=6))
def test_a_malformed_schema_still_has_rows_and_an_example(schema: dict[str, Any]) -> None:
    json.dumps(schema)
    assert outline(schema, {})[0].path == ""
    assert make_example_step(make_endpoint(with_body(schema))).yaml


def make_sprawling(count: int, *, text: str) -> list[Endpoint]:
    """Operations with many answers, each with media types of their own schema: little to write down, much to show."""
    rows = {f"p{index}": {"type": "string", "description": text} for index in range(150)}
    schemas = {f"S{index}": {"type": "object", "properties": rows, "title": str(index)} for index in range(60)}
    responses = {
        str(200 + status): {
            "description": "x",
            "content": {f"a/{kind}+json": {"schema": {"$ref": f"#/c/S{status * 3 + kind}"}} for kind in range(3)},
        }
        for status in range(20)
    }
    path = {"post": {"responses": responses}}
    return [
        make_endpoint({"paths": {f"/{index}": path}, "c": schemas}, operation_id=f"o{index}") for index in range(count)
    ]


@pytest.mark.parametrize(
    "text", ["*a **b _c `d [x](y) " * 75, "- " * 700, "|a" * 400 + "\n" + "|-" * 400 + "\na" * 400]
)
def test_a_page_is_bounded_whatever_a_description_makes_of_it(text: str) -> None:
    endpoints = make_sprawling(60, text=text)
    began = time.monotonic()
    pages = [render_html(make_description(), endpoints, root="/x"), render_markdown(make_description(), endpoints)]
    assert time.monotonic() - began < 15
    assert all(len(page.encode()) < 20_000_000 for page in pages)
    one = render_operation(make_description(), endpoints[0], root="/x")
    assert len(one) < 3_000_000
    assert "of 20 responses are shown" in one
    assert "shortened" in one


def test_a_page_that_is_full_says_so_and_leads_to_the_pages_of_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (html_pages, markdown_page):
        monkeypatch.setattr(module, "MAX_OPERATIONS_SIZE", 10_000)
        monkeypatch.setattr(module, "MAX_PAGE_SIZE", 12_000)
    paths = {"/{owner}": {"post": {"description": "Word. " * 300}}}
    endpoints = [make_endpoint({"paths": paths}, operation_id=f"o{index}") for index in range(50)]
    html = render_html(make_description(), endpoints, root="/x")
    shown = html.count("<article")
    assert 1 <= shown < 10
    assert f"{shown} of 50 are shown in full" in html
    listed = html.count('<a class="id"')
    assert shown < listed < 50
    assert f"{listed} of 50 are listed" in html
    assert html.count('href="/x/agents/pets/operations/') == listed - shown
    markdown = render_markdown(make_description(), endpoints * 10)
    assert re.search(
        r"^Shortened: \d+ of 500 are listed\.\n\nShortened: \d of 500 are shown in full\.$", markdown, re.MULTILINE
    )
    assert len(markdown) < 14_000


def test_a_schema_is_shown_once_in_an_operation_and_named_afterwards() -> None:
    content = {"application/json": {"schema": {"$ref": "#/components/schemas/Pet"}}}
    operation = {
        "requestBody": {"content": content},
        "responses": {"200": {"description": "", "content": content}, "201": {"description": "", "content": content}},
    }
    pet = {"type": "object", "properties": {"nickname": {"type": "string"}}}
    endpoint = make_endpoint({"paths": {"/pets": {"post": operation}}, "components": {"schemas": {"Pet": pet}}})
    for page in (
        render_operation(make_description(), endpoint, root="/x").partition("<h3>Request body</h3>")[2],
        render_markdown(make_description(), [endpoint]).partition("### Request body")[2],
    ):
        assert page.count("object Pet") == 3
        assert page.count("What is inside is shown at request body.") == 2
        assert len(re.findall(r"[`>]nickname[`<]", page)) == 1


@pytest.mark.parametrize("text", ["|a" * 900 + "\n" + "|-" * 900 + "\na" * 2_000, (">" * 20 + "\n\n") * 300])
def test_prose_does_not_become_many_times_longer_than_it_is(text: str) -> None:
    assert len(render_prose(text)) < 12 * len(text)
    assert len(write_prose(text)) < 12 * len(text)
