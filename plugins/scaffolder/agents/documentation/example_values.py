"""A value that fits a JSON Schema, to show what a request looks like: small, and the same each time."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from scaffolder.agents.documentation.references import as_list, follow
from scaffolder.agents.openapi.bodies import as_mapping
from scaffolder.json_schema import SchemaError, find_violations

_MAX_DEPTH: Final = 8
_MAX_GIVEN: Final = 400
_MAX_ITEMS: Final = 10
_MAX_TEXT: Final = 200
_MAX_EFFORT: Final = 500
_MAX_NUMBER: Final = 10**15
_OPTIONAL: Final = 3

_FORMATS: Final = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T09:30:00Z",
    "time": "09:30:00Z",
    "duration": "P1D",
    "email": "user@example.com",
    "idn-email": "user@example.com",
    "hostname": "example.com",
    "idn-hostname": "example.com",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "uri": "https://example.com/",
    "uri-reference": "/example",
    "iri": "https://example.com/",
    "iri-reference": "/example",
    "url": "https://example.com/",
    "uuid": "123e4567-e89b-42d3-a456-426614174000",
    "byte": "ZXhhbXBsZQ==",
    "json-pointer": "/example",
    "regex": "^example$",
}
# Texts that fit most patterns people write; after them come repetitions of one character.
_TEXTS: Final = ("example", "Example", "EXAMPLE", "example-1", "a1", "1.0.0", "#336699", "en-US", *_FORMATS.values())
_REPEATED: Final = ("a", "1", "A", "0a")
_MAX_REPETITION: Final = 64
_LITERAL: Final = re.compile(r"\^?((?:[^\\.\[\](){}|?*+^$]|\\[^\w\s])*)(?![?*{])")


class ExampleValues:
    """Makes values for the schemas of one document.

    With `given` the description's own examples, defaults and optional properties are used; without it, only what the
    rules of the schema ask for. Nothing is promised: rules may contradict one another, or be beyond this.
    """

    def __init__(self, document: Mapping[str, Any], *, given: bool) -> None:
        self._document = document
        self._given = given
        self._effort = 0

    def make(self, schema: Any, *, name: str = "", depth: int = 0) -> Any:
        """Return a value for `schema`; `name` is the property's or parameter's."""
        self._effort += 1
        resolved = self._combine(follow(self._document, schema).value, depth)
        for value in self._fixed(resolved):
            return value
        kind = _type_of(resolved)
        if kind == "object":
            return self._make_object(resolved, depth) if self._may_go_on(depth) else {}
        if kind == "array":
            return self._make_list(resolved, depth) if self._may_go_on(depth) else []
        makers: Mapping[str, Callable[[Mapping[str, Any]], Any]] = {
            "integer": _make_integer,
            "number": _make_number,
            "boolean": lambda _: True,
            "null": lambda _: None,
        }
        return makers[kind](resolved) if kind in makers else _make_text(resolved)

    def _may_go_on(self, depth: int) -> bool:
        return depth < _MAX_DEPTH and self._effort < _MAX_EFFORT

    def _combine(self, schema: Mapping[str, Any], depth: int) -> Mapping[str, Any]:
        """Return `schema` with all of its ``allOf`` and the first choice of its ``oneOf`` and ``anyOf`` in it."""
        parts = [*as_list(schema.get("allOf"))]
        for key in ("oneOf", "anyOf"):
            options = [follow(self._document, one).value for one in as_list(schema.get(key))]
            parts += [one for one in options if one.get("type") != "null"][:1]
        if not parts or not self._may_go_on(depth):
            return schema
        merged = dict(schema)
        for key in ("allOf", "oneOf", "anyOf"):
            merged.pop(key, None)
        for part in parts[:_MAX_ITEMS]:
            self._effort += 1
            inner = self._combine(follow(self._document, part).value, depth + 1)
            for key, value in inner.items():
                if key == "properties" and isinstance(value, Mapping):
                    merged[key] = {**value, **(merged.get(key) or {})}
                elif key == "required" and isinstance(value, list):
                    merged[key] = [*(merged.get(key) or []), *value]
                else:
                    merged.setdefault(key, value)
        return merged

    def _fixed(self, schema: Mapping[str, Any]) -> Iterator[Any]:
        """Yield what the schema itself says a value is."""
        if "const" in schema:
            yield schema["const"]
        if self._given:
            own = [schema[key] for key in ("example", "default") if schema.get(key) is not None]
            for value in [*own[:1], *as_list(schema.get("examples"))[:1], *own[1:]]:
                if len(json.dumps(value, default=str)) <= _MAX_GIVEN and _has_type(value, schema):
                    yield value
        yield from (value for value in as_list(schema.get("enum")) if value is not None)

    def _make_object(self, schema: Mapping[str, Any], depth: int) -> dict[str, Any]:
        declared = as_mapping(schema.get("properties"))
        names = [name for name in as_list(schema.get("required")) if isinstance(name, str)]
        least = _whole(schema.get("minProperties"), 0)
        for name in declared:
            wanted = max(least, _OPTIONAL if self._given and depth == 0 and not names else 0)
            if len(names) < wanted and name not in names and not _is_read_only(declared[name]):
                names.append(name)
        made = {
            name: self.make(declared.get(name, {}), name=name, depth=depth + 1)
            for name in dict.fromkeys(names)
            if not _is_read_only(declared.get(name))
        }
        others = schema.get("additionalProperties")
        while len(made) < min(least, _MAX_ITEMS):
            made[f"example{len(made) + 1}"] = self.make(others if others is not True else {}, depth=depth + 1)
        return made

    def _make_list(self, schema: Mapping[str, Any], depth: int) -> list[Any]:
        items = [self.make(one, depth=depth + 1) for one in as_list(schema.get("prefixItems"))[:_MAX_ITEMS]]
        wanted = min(max(1, _whole(schema.get("minItems"), 0)), _MAX_ITEMS)
        if schema.get("maxItems") == 0:
            return []
        inner = schema.get("items")
        while len(items) < wanted:
            items.append(self.make(inner, depth=depth + 1))
        return _make_distinct(items) if schema.get("uniqueItems") is True else items


def _make_distinct(items: list[Any]) -> list[Any]:
    """Return `items` with a number behind texts and added to numbers that are there twice."""
    made: list[Any] = []
    for number, item in enumerate(items):
        if item in made and isinstance(item, str):
            made.append(f"{item}{number}")
        elif item in made and isinstance(item, int | float) and not isinstance(item, bool):
            made.append(item + number)
        else:
            made.append(item)
    return made


def _make_integer(schema: Mapping[str, Any]) -> int:
    value = _make_number(schema)
    return int(value) if value == int(value) else int(value) + 1


def _make_number(schema: Mapping[str, Any]) -> float:
    """Return a number within the bounds, in JSON Schema's and in OpenAPI 3.0's way of writing them."""
    low, high = _number(schema.get("minimum")), _number(schema.get("maximum"))
    step = _number(schema.get("multipleOf")) or 1
    above, below = schema.get("exclusiveMinimum"), schema.get("exclusiveMaximum")
    if isinstance(above, int | float) and not isinstance(above, bool):
        low, above = above, True
    if isinstance(below, int | float) and not isinstance(below, bool):
        high, below = below, True
    value = 1 if low is None else low
    if low is None and high is not None and high < 1:
        value = high
    remainder = value % step if step > 0 else 0
    if remainder:
        value += step - remainder
    if above is True and value == low:
        value += step
    if high is not None and (value > high or (below is True and value == high)):
        value = high if below is not True else high - step
        if low is not None and value <= low:
            value = (low + high) / 2
    return value


def _make_text(schema: Mapping[str, Any]) -> str:
    least = min(_whole(schema.get("minLength"), 0), _MAX_TEXT)
    most = _whole(schema.get("maxLength"), _MAX_TEXT)
    pattern, form = schema.get("pattern"), schema.get("format")
    usual = _FORMATS.get(form, "example") if isinstance(form, str) else "example"
    if not isinstance(pattern, str):
        return usual if least <= len(usual) <= most else ("example" * (least // 7 + 1))[: max(least, min(most, 7))]
    candidates = (text for text in _guess_texts(usual, pattern) if least <= len(text) <= most)
    return next((text for text in candidates if _matches(text, pattern)), usual)


def _guess_texts(usual: str, pattern: str) -> Iterator[str]:
    yield usual
    literal = _LITERAL.match(pattern)
    begin = literal.group(1).replace("\\", "") if literal else ""
    yield from _TEXTS
    if begin:
        yield begin
        yield from (begin + text for text in _TEXTS)
    for length in range(1, _MAX_REPETITION + 1):
        for text in _REPEATED:
            yield begin + (text * length)[:length]


def _matches(text: str, pattern: str) -> bool:
    try:
        return not any(True for _ in find_violations({"pattern": pattern}, text, bounded=True))
    except SchemaError:
        return False


def _type_of(schema: Mapping[str, Any]) -> str:
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = next((one for one in kind if one != "null"), "null")
    if isinstance(kind, str):
        return kind
    if "properties" in schema or "additionalProperties" in schema or "required" in schema:
        return "object"
    return "array" if "items" in schema or "prefixItems" in schema else "string"


def _has_type(value: Any, schema: Mapping[str, Any]) -> bool:
    kinds: Mapping[str, Any] = {
        "object": Mapping,
        "array": list,
        "string": str,
        "integer": int,
        "number": (int, float),
        "boolean": bool,
    }
    kind = _type_of(schema)
    if "type" not in schema or kind not in kinds:
        return True
    return isinstance(value, kinds[kind]) and (kind == "boolean" or not isinstance(value, bool))


def _is_read_only(schema: Any) -> bool:
    return as_mapping(schema).get("readOnly") is True


def _whole(value: Any, default: int) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else default


def _number(value: Any) -> float | None:
    usable = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= _MAX_NUMBER
    return value if usable else None
