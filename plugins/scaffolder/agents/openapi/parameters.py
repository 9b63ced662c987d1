"""Parameters of an operation: which there are, whether values fit them, and how they are written into a request.

They are written as OpenAPI 3.1, section 4.8.12.6 ("Style Values") says. Parameters travel as text, so ``5`` and ``"5"``
are the same to all that takes either.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote

from scaffolder.agents.http.messages import RESERVED_HEADERS
from scaffolder.agents.openapi.references import resolve
from scaffolder.agents.openapi.schemas import Flaw, Purpose, find_flaws

PLACES: Final = ("path", "query", "header")
IDEMPOTENCY_KEY: Final = "idempotency-key"
_DEFAULT_STYLES: Final = {"path": "simple", "query": "form", "header": "simple", "cookie": "form"}
_STYLES: Final = {
    "path": ("simple",),
    "query": ("form", "spaceDelimited", "pipeDelimited", "deepObject"),
    "header": ("simple",),
}
_DELIMITERS: Final = {"form": ",", "spaceDelimited": " ", "pipeDelimited": "|"}
_MAX_DEPTH: Final = 32

Pairs = list[tuple[str, str]]


class UnfitError(ValueError):
    """A value that cannot be written. The message goes on from the parameter's name."""


@dataclass(frozen=True, kw_only=True)
class Parameter:
    """One declared parameter. `schema` is that of its value, which is sent as JSON text where `as_json`."""

    name: str
    place: str
    required: bool
    schema: Any
    style: str
    explode: bool
    as_json: bool

    @property
    def key(self) -> tuple[str, str]:
        """Place and name; names of headers are the same in any case."""
        return self.place, self.name.lower() if self.place == "header" else self.name

    def find_flaws(self, document: Mapping[str, Any], value: Any, *, purpose: Purpose) -> list[Flaw]:
        """Return what is wrong with `value`. Raises AgentConfigurationError where the schema cannot be used."""
        first: list[Flaw] = []
        for candidate in [value] if self.as_json else _list_readings(value):
            flaws = list(find_flaws(document, self.schema, candidate, purpose=purpose))
            if not flaws:
                return []
            first = first or flaws
        return first

    def find_problem(self) -> str | None:
        """Return why nothing can be sent in this place or style, None where it can."""
        if self.place not in PLACES:
            return f"goes into a {self.place}; accepted are {', '.join(PLACES)}"
        if not self.as_json and self.style not in _STYLES[self.place]:
            return f"is written in style {self.style!r}; accepted are {', '.join(_STYLES[self.place])}"
        return None

    def write_path(self, value: Any) -> str:
        """Return `value` percent-encoded for a path. Raises UnfitError."""
        text = self._write_simple(value, lambda one: quote(one, safe=""))
        if text in {"", ".", ".."}:
            raise UnfitError(f"is {text!r}; accepted is what can be part of a path")
        return text

    def write_header(self, value: Any) -> str:
        """Return `value` for a header. Raises UnfitError."""
        text = self._write_simple(value, str)
        if not text.isascii() or not text.isprintable():
            raise UnfitError("is not printable ASCII, which is all that headers take")
        return text

    def write_query(self, value: Any) -> Pairs:
        """Return `value` as pairs that are not percent-encoded yet. Raises UnfitError."""
        if self.as_json:
            return [(self.name, write_json(value))]
        return write_pairs(self.name, value, style=self.style, explode=self.explode)

    def _write_simple(self, value: Any, encode: Callable[[str], str]) -> str:
        if self.as_json:
            return encode(write_json(value))
        if isinstance(value, Mapping):
            joint = "=" if self.explode else ","
            return ",".join(f"{encode(str(key))}{joint}{encode(write_text(one))}" for key, one in value.items())
        if isinstance(value, list):
            return ",".join(encode(write_text(one)) for one in value)
        return encode(write_text(value))


def read_parameters(
    document: Mapping[str, Any], item: Mapping[str, Any], operation: Mapping[str, Any]
) -> list[Parameter]:
    """Return the parameters of an operation; its own replace those of its path (by place and name).

    Headers that no request sets do not count; of Accept, Content-Type and Authorization OpenAPI 3.1 says the same
    (section 4.8.12.2).
    Raises AgentConfigurationError for a reference that cannot be followed.
    """
    found: dict[tuple[str, str], Parameter] = {}
    for declared in [*_list(item.get("parameters")), *_list(operation.get("parameters"))]:
        parameter = _read(document, resolve(document, declared))
        if not (parameter.place == "header" and parameter.key[1] in RESERVED_HEADERS):
            found[parameter.key] = parameter
    return list(found.values())


def make_path_parameter(name: str) -> Parameter:
    """Return a parameter of the path that nothing is said of."""
    return Parameter(name=name, place="path", required=True, schema={}, style="simple", explode=False, as_json=False)


def write_pairs(name: str, value: Any, *, style: str, explode: bool) -> Pairs:
    """Return a value of a query or form as pairs.

    What OpenAPI leaves open is written as most servers read it: lists and mappings inside of a ``deepObject`` as
    ``name[a][0]``. Raises UnfitError.
    """
    if style == "deepObject":
        return list(_write_deep(name, value))
    if isinstance(value, Mapping):
        if explode:
            return [(str(key), write_text(one)) for key, one in value.items()]
        return [(name, _join([text for key, one in value.items() for text in (str(key), write_text(one))], style))]
    if isinstance(value, list):
        if explode:
            return [(name, write_text(one)) for one in value]
        return [(name, _join([write_text(one) for one in value], style))]
    return [(name, write_text(value))]


def write_text(value: Any) -> str:
    """Return a scalar as text. Raises UnfitError."""
    if isinstance(value, str):
        return value
    if value is None or isinstance(value, bool | int | float):
        return write_json(value) if value is not None else ""
    kind = "a list" if isinstance(value, list) else "an object" if isinstance(value, Mapping) else type(value).__name__
    raise UnfitError(f"has {kind} where its style takes only text, numbers, true and false")


def write_json(value: Any) -> str:
    """Return `value` as JSON text. Raises UnfitError."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise UnfitError(f"is not JSON: {error}") from error


def _read(document: Mapping[str, Any], declared: Mapping[str, Any]) -> Parameter:
    place = str(declared.get("in"))
    style = str(declared.get("style") or _DEFAULT_STYLES.get(place, ""))
    explode = declared.get("explode")
    content = declared.get("content")
    schema = declared.get("schema", {})
    if isinstance(content, Mapping) and content:
        schema = resolve(document, next(iter(content.values()))).get("schema", {})
    return Parameter(
        name=str(declared.get("name")),
        place=place,
        required=declared.get("required") is True,
        schema=schema,
        style=style,
        explode=explode if isinstance(explode, bool) else style == "form",
        as_json=bool(content),
    )


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _list_readings(value: Any) -> Iterator[Any]:
    """Yield what the text that is sent for `value` may mean to its reader."""
    yield value
    if isinstance(value, bool | int | float):
        yield json.dumps(value)
    elif isinstance(value, str):
        try:
            read = json.loads(value)
        except (ValueError, RecursionError):
            return
        if isinstance(read, bool | int | float):
            yield read


def _join(texts: list[str], style: str) -> str:
    delimiter = _DELIMITERS[style]
    if any(delimiter in text for text in texts):
        raise UnfitError(f"has an item with {delimiter!r} in it, which separates items")
    return delimiter.join(texts)


def _write_deep(name: str, value: Any, depth: int = 0) -> Iterator[tuple[str, str]]:
    if depth > _MAX_DEPTH:
        raise UnfitError(f"is nested deeper than {_MAX_DEPTH} levels")
    if isinstance(value, Mapping):
        for key, one in value.items():
            yield from _write_deep(f"{name}[{key}]", one, depth + 1)
    elif isinstance(value, list):
        for index, one in enumerate(value):
            yield from _write_deep(f"{name}[{index}]", one, depth + 1)
    else:
        yield name, write_text(value)
