"""Reading a description that may be malformed: what is missing, leads nowhere or is of another type reads as empty."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import unquote

from scaffolder.agents.rest.json_pointer import look_up

_MAX_HOPS: Final = 32


@dataclass(frozen=True, kw_only=True)
class Referred:
    """What is at the end of references: `value` is empty where they lead nowhere; `via` are those followed."""

    value: Mapping[str, Any]
    via: tuple[str, ...]

    @property
    def name(self) -> str:
        """The last part of the first reference, which is what the description calls it; empty without one."""
        last = self.via[0].rpartition("/")[2] if self.via else ""
        return unquote(last).replace("~1", "/").replace("~0", "~")


def follow(document: Mapping[str, Any], value: Any) -> Referred:
    """Return what `value` refers to in `document`, or itself. Nothing outside the document is ever looked at."""
    via: list[str] = []
    while isinstance(value, Mapping) and isinstance(value.get("$ref"), str):
        reference = value["$ref"]
        if len(via) == _MAX_HOPS or reference in via:
            return Referred(value={}, via=tuple(via))
        via.append(reference)
        beside = {key: item for key, item in value.items() if key in {"description", "summary"}}
        value = _find(document, reference)
        if beside and isinstance(value, Mapping):
            value = {**value, **beside}
    return Referred(value=value if isinstance(value, Mapping) else {}, via=tuple(via))


def as_list(value: Any) -> list[Any]:
    """Return `value` if it is a list, otherwise an empty one."""
    return value if isinstance(value, list) else []


def as_text(value: Any) -> str:
    """Return `value` if it is text, otherwise an empty one."""
    return value if isinstance(value, str) else ""


def _find(document: Mapping[str, Any], reference: str) -> Any:
    if not reference.startswith("#"):
        return None
    try:
        return look_up(document, unquote(reference[1:]))
    except LookupError:
        return None
