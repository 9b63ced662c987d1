"""A JSON Schema as rows for people: names, types, rules and descriptions, to a bounded depth."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, Final

from scaffolder.agents.documentation.budget import Budget
from scaffolder.agents.documentation.references import as_list, as_text, follow
from scaffolder.agents.documentation.remote_text import clean, clean_line
from scaffolder.agents.openapi.bodies import as_mapping

MAX_DEPTH: Final = 6
MAX_ROWS: Final = 200
_MAX_NAME: Final = 120
_MAX_FACT: Final = 200
_MAX_DESCRIPTION: Final = 2_000
_MAX_PARTS: Final = 50
# Schemas can refer to one another so that a small one takes forever to write out.
_MAX_EFFORT: Final = 5_000
_MAX_TYPE_DEPTH: Final = 3
_MAX_OPTIONS: Final = 8

# Keyword and how it reads with its value; those without a place for it are followed by it as code.
_FACTS: Final = (
    ("format", "format"),
    ("pattern", "pattern"),
    ("minimum", "at least {}"),
    ("exclusiveMinimum", "more than {}"),
    ("maximum", "at most {}"),
    ("exclusiveMaximum", "less than {}"),
    ("multipleOf", "a multiple of {}"),
    ("minLength", "at least {} characters"),
    ("maxLength", "at most {} characters"),
    ("minItems", "at least {} items"),
    ("maxItems", "at most {} items"),
    ("minProperties", "at least {} properties"),
    ("maxProperties", "at most {} properties"),
    ("const", "always"),
    ("default", "default"),
)
_FLAGS: Final = (
    ("uniqueItems", "no item twice"),
    ("readOnly", "only in answers"),
    ("writeOnly", "only in requests"),
    ("deprecated", "deprecated"),
    ("exclusiveMinimum", "without the minimum itself"),
    ("exclusiveMaximum", "without the maximum itself"),
)


@dataclass(frozen=True)
class Fact:
    """A rule in words; `value` comes after them and is code."""

    words: str
    value: str = ""

    def __str__(self) -> str:
        return f"{self.words} {self.value}".rstrip()


@dataclass(frozen=True, kw_only=True)
class SchemaRow:
    """One line. `path` is the whole name (``files[].path``), `name` its last part, `depth` counts from 0."""

    path: str
    name: str
    depth: int
    type: str
    required: bool
    facts: tuple[Fact, ...]
    description: str


def outline(
    schema: Any, document: Mapping[str, Any], *, max_rows: int = MAX_ROWS, budget: Budget | None = None
) -> list[SchemaRow]:
    """Return the rows of `schema`, the schema itself first.

    What the description gives a name is written out once, at its shallowest place; the others name that place. Where
    a level would make more than `max_rows` rows, it is named, not shown. What is shown is taken from `budget`, by
    default one of its own; where that is spent, the rest is left out, and what it is in says ``shortened``.
    """
    return [node.row for node in _Walk(document, budget or Budget()).expand(schema, max_rows=max_rows).flatten()]


def outline_top(schema: Any, document: Mapping[str, Any], *, budget: Budget) -> SchemaRow:
    """Return the first row of `outline`: a schema's type in a few words, its rules and its description."""
    return _Walk(document, budget).make_node(schema, path="", name="").row


@dataclass(kw_only=True)
class _Node:
    """One schema on its way to become a row."""

    row: SchemaRow
    schema: Mapping[str, Any]
    reference: str
    children: list[_Node] = field(default_factory=list)

    def flatten(self) -> Iterator[_Node]:
        yield self
        for child in self.children:
            yield from child.flatten()

    def add_fact(self, words: str, value: str = "") -> None:
        self.row = replace(self.row, facts=(*self.row.facts, Fact(words, value)))


@dataclass(frozen=True, kw_only=True)
class _Child:
    """A schema inside another, before anything is read of it; `joint` is between its name and what it is in."""

    schema: Any
    name: str
    joint: str = "."
    required: bool = False


class _Walk:
    """Goes through one schema, level by level, with an effort that no schema can push beyond its bound."""

    def __init__(self, document: Mapping[str, Any], budget: Budget) -> None:
        self._document = document
        self._budget = budget
        self._effort = 0

    def expand(self, schema: Any, *, max_rows: int) -> _Node:
        """Return the tree of `schema`."""
        root = self.make_node(schema, path="", name="")
        shown_at: dict[str, str] = {}
        count, waiting = 1, deque([root])
        while waiting:
            node = waiting.popleft()
            children = list(islice(self._children(node.schema), max_rows + 1))
            if not children:
                continue
            if node.reference in shown_at:
                at = shown_at[node.reference]
                node.add_fact("as" if at else "as the whole", at)
            elif (count + len(children) > max_rows and count > 1) or node.row.depth == MAX_DEPTH or self._is_tired():
                node.add_fact("more inside")
            else:
                if node.reference:
                    shown_at[node.reference] = node.row.path
                for child in children[:max_rows]:
                    if self._budget.is_spent:
                        break
                    node.children.append(self._make_child(node, child))
                if self._budget.is_spent and len(node.children) < len(children):
                    node.add_fact("shortened")
                elif len(children) > max_rows:
                    node.add_fact("and more")
                count += len(node.children)
                waiting.extend(node.children)
        return root

    def _make_child(self, node: _Node, child: _Child) -> _Node:
        path = node.row.path
        whole = f"{path}{child.joint}{child.name}" if path or child.joint != "." else child.name
        return self.make_node(
            child.schema, path=whole, name=child.name, depth=node.row.depth + 1, required=child.required
        )

    def make_node(self, schema: Any, *, path: str, name: str, depth: int = 0, required: bool = False) -> _Node:
        """Return `schema` as a row without what is inside."""
        referred = follow(self._document, schema)
        merged = self._merge(referred.value)
        description = as_text(merged.get("description") or merged.get("title"))[: _MAX_DESCRIPTION + 1]
        row = SchemaRow(
            path=clean_line(path, _MAX_NAME * MAX_DEPTH),
            name=clean_line(name, _MAX_NAME),
            depth=depth,
            type="nothing" if schema is False else self._name_type(merged, referred.name),
            required=required,
            facts=tuple(_facts(merged)),
            description=clean(description, _MAX_DESCRIPTION),
        )
        self._budget.rows -= 1
        self._budget.charge(row.path, row.type, description, *map(str, row.facts))
        return _Node(row=row, schema=merged, reference=referred.via[-1] if referred.via else "")

    def _children(self, schema: Mapping[str, Any]) -> Iterator[_Child]:
        required = {name for name in as_list(schema.get("required")) if isinstance(name, str)}
        for name, child in as_mapping(schema.get("properties")).items():
            yield _Child(schema=child, name=str(name), required=name in required)
        for name, child in as_mapping(schema.get("patternProperties")).items():
            yield _Child(schema=child, name=f"/{name}/")
        if others := as_mapping(schema.get("additionalProperties")):
            yield _Child(schema=others, name="*")
        for index, child in enumerate(as_list(schema.get("prefixItems"))):
            yield _Child(schema=child, name=f"[{index}]", joint="")
        if (items := as_mapping(schema.get("items"))) and self._says_more(items):
            yield _Child(schema=items, name="[]", joint="")
        for key in ("oneOf", "anyOf"):
            for index, child in enumerate(_list_options(schema, key), start=1):
                yield _Child(schema=child, name=f"option {index}", joint=" ")

    def _says_more(self, schema: Mapping[str, Any]) -> bool:
        """Say whether the items of a list are more than their type."""
        inner = self._merge(follow(self._document, schema).value)
        return (
            any(True for _ in _facts(inner))
            or any(
                inner.get(key)
                for key in ("properties", "patternProperties", "additionalProperties", "items", "prefixItems")
            )
            or any(_list_options(inner, key) for key in ("oneOf", "anyOf"))
        )

    def _is_tired(self) -> bool:
        self._spend(1)
        return self._effort > _MAX_EFFORT or self._budget.effort < 0

    def _spend(self, effort: int) -> None:
        self._effort += effort
        self._budget.effort -= effort

    def _merge(self, schema: Mapping[str, Any], *, depth: int = 0) -> Mapping[str, Any]:
        """Return `schema` with the parts of its ``allOf`` in it; what stands in it itself goes before them."""
        parts = as_list(schema.get("allOf"))[:_MAX_PARTS]
        if not parts:
            return schema
        merged = {key: value for key, value in schema.items() if key != "allOf"}
        for part in parts:
            if depth == MAX_DEPTH or self._is_tired():
                break
            inner = self._merge(follow(self._document, part).value, depth=depth + 1)
            self._spend(len(as_mapping(inner.get("properties"))))
            for key, value in inner.items():
                if key == "properties":
                    merged[key] = {**as_mapping(value), **as_mapping(merged.get(key))}
                elif key == "required":
                    merged[key] = [*as_list(merged.get(key)), *as_list(value)]
                else:
                    merged.setdefault(key, value)
        return merged

    def _name_type(self, schema: Mapping[str, Any], name: str, *, depth: int = 0) -> str:
        """Return the type in words: ``string``, ``list of integer``, ``object Pet``, ``string or null``."""
        if depth == _MAX_TYPE_DEPTH or self._is_tired():
            return "any"
        options = [one for key in ("oneOf", "anyOf") for one in as_list(schema.get(key))]
        types = [one for one in as_list(schema.get("type")) if isinstance(one, str)] or [as_text(schema.get("type"))]
        if types == [""]:
            types = [] if options else [_guess_type(schema)]
        words = [self._name_one(one, schema, depth) for one in types]
        words += [self._name_option(option, depth) for option in options[:_MAX_OPTIONS]]
        if len(options) > _MAX_OPTIONS:
            words.append("others")
        if schema.get("nullable") is True:
            words.append("null")
        words = [f"object {name}" if name and word == "object" else word for word in words if word]
        return clean_line(" or ".join(dict.fromkeys(words)), _MAX_FACT) or "any"

    def _name_one(self, kind: str, schema: Mapping[str, Any], depth: int) -> str:
        if kind != "array" or not schema.get("items"):
            return "list" if kind == "array" else kind
        return f"list of {self._name_option(schema['items'], depth)}"

    def _name_option(self, schema: Any, depth: int) -> str:
        referred = follow(self._document, schema)
        return self._name_type(self._merge(referred.value), referred.name, depth=depth + 1)


def _list_options(schema: Mapping[str, Any], key: str) -> list[Any]:
    """Return the schemas to choose from where they say more than types."""
    options = [one for one in as_list(schema.get(key)) if as_mapping(one).get("type") != "null"]
    plain = all(set(as_mapping(one)) <= {"type", "description", "title"} for one in options)
    return [] if plain else options[:_MAX_PARTS]


def _facts(schema: Mapping[str, Any]) -> Iterator[Fact]:
    for key, words in _FACTS:
        value = schema.get(key)
        # OpenAPI 3.0 has exclusiveMinimum: true beside a minimum.
        if value is None or (isinstance(value, bool) and key.startswith("exclusive")):
            continue
        text = _show(value, as_text=key in {"format", "pattern"})
        yield Fact(words.format(text)) if "{}" in words else Fact(words, text)
    if values := as_list(schema.get("enum")):
        shown = ", ".join(_show(value) for value in values[:_MAX_PARTS])
        yield Fact("one of", clean_line(shown, _MAX_FACT * 5))
        if len(values) > _MAX_PARTS:
            yield Fact(f"and {len(values) - _MAX_PARTS} more")
    for key, words in _FLAGS:
        if schema.get(key) is True:
            yield Fact(words)


def _show(value: Any, *, as_text: bool = False) -> str:
    text = value if as_text and isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return clean_line(text, _MAX_FACT)


def _guess_type(schema: Mapping[str, Any]) -> str:
    if "properties" in schema or "additionalProperties" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else ""
