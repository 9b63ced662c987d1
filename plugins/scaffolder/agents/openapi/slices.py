"""Cuts a description into definitions: one for each operation, with all that it refers to, and of bounded size."""

from __future__ import annotations

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scaffolder.agents.openapi.references import (
    find,
    find_keywords,
    is_canonical,
    list_references,
    make_canonical,
    read_component,
    read_pointer,
    rewrite,
    show,
)
from scaffolder.config import KIB, MIB
from scaffolder.errors import AgentConfigurationError

MAX_DEFINITION_SIZE: Final = 256 * KIB
"""Bytes of one definition. Schemas that don't fit, those farthest from the operation, become ``{}``, which fits all."""
MAX_DEFINITIONS_SIZE: Final = 64 * MIB
"""Bytes of all definitions of one description; where they are more, each gets less, down to 16 KiB."""
_MIN_DEFINITION_SIZE: Final = 16 * KIB

# What no call needs: callbacks are requests of the agent's own, and where servers are is settled already.
_LEFT_OUT: Final = ("callbacks", "servers")
# Without these nobody could say what an operation takes.
_NEEDED: Final = frozenset({"parameters", "requestBodies"})
_SHOWN_OPERATIONS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Operation:
    """One operation as the description has it. `prefix` is the path, or elsewhere the URL, of its server."""

    id: str
    method: str
    path: str
    prefix: str
    item: Mapping[str, Any]
    data: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """The definition of one operation: an OpenAPI document that has it alone. `digest` is SHA-256."""

    data: dict[str, Any]
    digest: str
    size: int


@dataclass(frozen=True, kw_only=True)
class _Part:
    """An object that operations refer to. `place` is its kind and name in the definitions' components."""

    place: tuple[str, str]
    data: Any
    size: int
    references: tuple[str, ...]


class Slicer:
    """Cuts `document`. The definitions share its objects, so nobody may change them."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._parts: dict[str, _Part | None] = {}
        self._broken: dict[str, list[str]] = {}
        self._reduced: list[str] = []
        self._too_large: list[str] = []
        self._limit = MAX_DEFINITION_SIZE

    def cut(self, operations: Iterable[Operation]) -> dict[str, Definition]:
        """Return the definitions by operation id."""
        wanted = list(operations)
        while True:
            self._broken, self._reduced, self._too_large = {}, [], []
            found = {operation.id: self._cut(operation) for operation in wanted}
            cut = {key: one for key, one in found.items() if one is not None}
            if self._limit <= _MIN_DEFINITION_SIZE or sum(one.size for one in cut.values()) <= MAX_DEFINITIONS_SIZE:
                return cut
            self._limit //= 2

    @property
    def warnings(self) -> list[str]:
        """Sentences on what the definitions lack."""
        warnings = [
            f"reference {show(reference)} {_explain(reference)}; these operations cannot be checked where they "
            f"need it: {_list(operations)}"
            for reference, operations in self._broken.items()
        ]
        if self._reduced:
            warnings.append(
                f"these operations have schemas of more than {self._limit} bytes, whose farthest parts are not "
                f"checked: {_list(self._reduced)}"
            )
        if self._too_large:
            warnings.append(
                f"these operations are left out, as they have more than {self._limit} bytes: {_list(self._too_large)}"
            )
        return warnings

    def _cut(self, operation: Operation) -> Definition | None:
        item, own = self._make_own(operation)
        size = _measure([item, own])
        if size > self._limit:
            self._too_large.append(operation.id)
            return None
        definition: dict[str, Any] = {"openapi": self._document["openapi"]}
        if operation.prefix:
            definition["servers"] = [{"url": operation.prefix}]
        definition["paths"] = {operation.path: item | {operation.method: own}}
        if components := self._collect(operation.id, item, own, size):
            definition["components"] = components
        text = json.dumps(definition, sort_keys=True).encode()
        return Definition(data=definition, digest=hashlib.sha256(text).hexdigest(), size=len(text))

    def _make_own(self, operation: Operation) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the path item's and the operation's own object, as small as needed."""
        item = {"parameters": operation.item["parameters"]} if operation.item.get("parameters") else {}
        own = {
            key: value
            for key, value in operation.data.items()
            if key not in _LEFT_OUT and not str(key).startswith("x-")
        }
        item, own = _prepare(item), _prepare(own)
        for reduce in (_without_answers, _without_bodies):
            if _measure([item, own]) <= self._limit:
                break
            own = reduce(own)
            self._note_reduced(operation.id)
        return item, own

    def _collect(self, operation_id: str, item: Any, own: Mapping[str, Any], size: int) -> dict[str, dict[str, Any]]:
        """Return all that an operation refers to: its request's parts first, and of each the nearest first."""
        request = {key: value for key, value in own.items() if key != "responses"}
        components: dict[str, dict[str, Any]] = {}
        seen: set[str] = set()
        for start in ([item, request], [own.get("responses")]):
            waiting = deque(list_references(start))
            while waiting:
                reference = waiting.popleft()
                if reference in seen:
                    continue
                seen.add(reference)
                part = self._get_part(reference)
                if part is None:
                    self._broken.setdefault(reference, []).append(operation_id)
                    continue
                kind, name = part.place
                if size + part.size > self._limit and kind not in _NEEDED:
                    components.setdefault(kind, {})[name] = {}
                    self._note_reduced(operation_id)
                    continue
                size += part.size
                components.setdefault(kind, {})[name] = part.data
                waiting.extend(part.references)
        return components

    def _get_part(self, reference: str) -> _Part | None:
        """Return what is at a canonical reference, None where nothing can be."""
        if reference not in self._parts:
            self._parts[reference] = self._read_part(reference)
        return self._parts[reference]

    def _read_part(self, reference: str) -> _Part | None:
        if read_pointer(reference) is None:
            return None
        kind, name, original = read_component(reference)
        try:
            data = _prepare(find(self._document, original))
        except AgentConfigurationError:
            return None
        return _Part(place=(kind, name), data=data, size=_measure(data), references=tuple(list_references(data)))

    def _note_reduced(self, operation_id: str) -> None:
        if not self._reduced or self._reduced[-1] != operation_id:
            self._reduced.append(operation_id)


def _prepare(data: Any) -> Any:
    """Return `data` with canonical references only, itself where it has no others."""
    if all(name == "$ref" and is_canonical(value) for name, value in find_keywords(data)):
        return data
    return rewrite(data, make_canonical)


def _without_answers(own: Mapping[str, Any]) -> dict[str, Any]:
    responses = own.get("responses")
    statuses = list(responses) if isinstance(responses, Mapping) else []
    return {**own, "responses": {status: {"description": ""} for status in statuses}}


def _without_bodies(own: Mapping[str, Any]) -> dict[str, Any]:
    body = own.get("requestBody")
    content = body.get("content") if isinstance(body, Mapping) else None
    if not isinstance(body, Mapping) or not isinstance(content, Mapping):
        return dict(own)
    return {**own, "requestBody": {"required": body.get("required", False), "content": {name: {} for name in content}}}


def _measure(data: Any) -> int:
    return len(json.dumps(data))


def _explain(reference: str) -> str:
    return "leads nowhere" if read_pointer(reference) is not None else "leads out of the description"


def _list(operations: list[str]) -> str:
    more = f" and {len(operations) - _SHOWN_OPERATIONS} more" if len(operations) > _SHOWN_OPERATIONS else ""
    return f"{', '.join(operations[:_SHOWN_OPERATIONS])}{more}"
