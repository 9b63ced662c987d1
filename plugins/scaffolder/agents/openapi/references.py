"""References inside a description (``$ref``, RFC 6901). What is outside of it is never fetched."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final
from urllib.parse import quote, unquote

from scaffolder.agents.http.failures import printable
from scaffolder.agents.rest.json_pointer import look_up
from scaffolder.errors import AgentConfigurationError

_MAX_HOPS: Final = 32
_SHOWN_CHARACTERS: Final = 200
_COMPONENT: Final = re.compile(r"#/components/[^/]+/[^/]+")
_ELSEWHERE: Final = "#/components/x-referred/"
#: Keywords that give a schema another dialect, and its references another base.
_IDENTITY: Final = frozenset({"$schema", "$id"})
# Plain data, in which keywords mean nothing.
_PLAIN: Final = frozenset({"example", "default", "enum", "const", "value"})
# Mappings from names of the author's own to objects of OpenAPI.
_NAMED: Final = frozenset(
    {
        *("properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "responses", "content"),
        *("headers", "examples", "encoding", "links"),
    }
)


def resolve(document: Mapping[str, Any], value: Any) -> Mapping[str, Any]:
    """Return what `value` refers to in `document`, or itself.

    Raises AgentConfigurationError for what leads nowhere, in a circle or out of the document.
    """
    for _ in range(_MAX_HOPS):
        if not isinstance(value, Mapping):
            raise AgentConfigurationError("the description has something else where an object should be")
        if not isinstance(value.get("$ref"), str):
            return value
        value = find(document, value["$ref"])
    raise AgentConfigurationError(f"the description's reference {show(value.get('$ref'))} leads in a circle")


def find(document: Mapping[str, Any], reference: str) -> Any:
    """Return what is at `reference`. Raises AgentConfigurationError."""
    pointer = read_pointer(reference)
    if pointer is None:
        raise AgentConfigurationError(
            f"the description's reference {show(reference)} leads out of it; accepted are those that begin with '#/'"
        )
    try:
        return look_up(document, pointer)
    except LookupError as error:
        raise AgentConfigurationError(f"the description's reference {show(reference)} leads nowhere") from error


def read_pointer(reference: str) -> str | None:
    """Return the JSON pointer of a reference into the same document, None for another."""
    return unquote(reference[1:]) if reference.startswith("#/") or reference == "#" else None


def list_references(node: Any) -> list[str]:
    """Return the references in an object of OpenAPI, each once, in their order."""
    return list(dict.fromkeys(value for name, value in find_keywords(node) if name == "$ref"))


def find_keywords(node: Any) -> Iterator[tuple[str, str]]:
    """Yield the keywords ``$ref``, ``$schema`` and ``$id`` in an object of OpenAPI with their values."""
    level = [(node, False)]
    while level:
        below: list[tuple[Any, bool]] = []
        for value, named in level:
            if isinstance(value, list):
                below += [(item, False) for item in value if isinstance(item, dict | list)]
                continue
            if not named and "$ref" in value and isinstance(value["$ref"], str):
                yield "$ref", value["$ref"]
            if not named and not _IDENTITY.isdisjoint(value):
                yield from ((key, value[key]) for key in _IDENTITY & value.keys() if isinstance(value[key], str))
            below += [(child, _is_named(key, child, inside=named)) for key, child in _children(value, named=named)]
        level = below


def rewrite(node: Any, change: Callable[[str], str], *, named: bool = False) -> Any:
    """Return a copy of an object of OpenAPI with its references changed, and without ``$schema`` and ``$id``."""
    if isinstance(node, list):
        return [rewrite(item, change) for item in node]
    if not isinstance(node, Mapping):
        return node
    followed = dict(_children(node, named=named))
    copy: dict[str, Any] = {}
    for key, value in node.items():
        if key in followed:
            copy[key] = rewrite(value, change, named=_is_named(key, value, inside=named))
        elif not named and key == "$ref" and isinstance(value, str):
            copy[key] = change(value)
        elif named or key not in _IDENTITY:
            copy[key] = value
    return copy


def is_canonical(reference: str) -> bool:
    """Say whether a reference leads to a component, not somewhere into one."""
    return _COMPONENT.fullmatch(unquote(reference)) is not None


def make_canonical(reference: str) -> str:
    """Return a reference to the component that stands for what `reference` leads to, itself where it leads outside."""
    pointer = read_pointer(reference)
    if pointer is None or is_canonical(reference):
        return reference
    return _ELSEWHERE + quote(pointer.replace("~", "~0").replace("/", "~1"), safe="~")


def read_component(reference: str) -> tuple[str, str, str]:
    """Return kind and name of a canonical reference's component, and the reference that it stands for."""
    kind, name = (part.replace("~1", "/").replace("~0", "~") for part in unquote(reference).split("/")[2:])
    return kind, name, f"#{quote(name)}" if reference.startswith(_ELSEWHERE) else reference


def show(reference: object) -> str:
    """Return a reference fit for a message."""
    return repr(printable(str(reference))[:_SHOWN_CHARACTERS])


def _children(value: Mapping[str, Any], *, named: bool) -> Iterator[tuple[str, Any]]:
    for key, child in value.items():
        # In a schema, examples are a list of plain data; elsewhere they are Example objects by name.
        plain = not named and (key in _PLAIN or (key == "examples" and isinstance(child, list)))
        if isinstance(child, dict | list) and not plain:
            yield key, child


def _is_named(key: str, child: Any, *, inside: bool) -> bool:
    return not inside and key in _NAMED and isinstance(child, dict)
