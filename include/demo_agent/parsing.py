"""Reads JSON and YAML text into plain data within bounds on depth, size and aliases.

YAML is read from its event stream, so that neither nesting nor aliases cost more than their text. Scalars follow YAML
1.2's core schema, as OpenAPI asks for: dates stay text, and `on` is no boolean.
"""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from demo_agent.errors import DocumentRefusedError

MAX_DEPTH = 120
MAX_NODES = 400_000
MAX_ALIASES = 2_000

ACCEPTED = "accepted is one OpenAPI 3.0 or 3.1 document as YAML or JSON text"

_INTEGER = re.compile(r"[-+]?[0-9]{1,300}")
_OCTAL = re.compile(r"0o[0-7]{1,100}")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]{1,100}")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SPECIAL = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_WORDS: dict[str, Any] = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True,
    "false": False, "False": False, "FALSE": False,
}  # fmt: skip
_TAG = "tag:yaml.org,2002:"


def parse(text: str) -> Any:
    """Parse `text` as JSON where it looks like JSON, else as YAML.

    Raises:
        DocumentRefusedError: the text is neither, or exceeds a bound; says where and what is accepted.
    """
    text = text.removeprefix("\ufeff")
    if not text.strip():
        raise DocumentRefusedError(f"the document is empty; {ACCEPTED}")
    _refuse_lone_surrogates(text)
    if text.lstrip()[0] in "{[":
        return _parse_json(text)
    return _parse_yaml(text)


def _refuse_lone_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as exc:
        raise DocumentRefusedError(f"the document has a lone surrogate at character {exc.start}") from exc


def _parse_json(text: str) -> Any:
    try:
        data = json.loads(text, object_pairs_hook=_object, parse_constant=_refuse_constant, parse_float=_finite_float)
    except RecursionError as exc:
        raise _too_deep() from exc
    except json.JSONDecodeError as exc:
        if text.lstrip()[0] == "{" and _is_flow_yaml(text):
            return _parse_yaml(text)
        ended = exc.pos >= len(text.rstrip()) or exc.msg.startswith("Unterminated")
        cause = "ends before it is complete (truncated?)" if ended else f"is not JSON: {exc.msg}"
        raise DocumentRefusedError(f"the document {cause}, line {exc.lineno} column {exc.colno}; {ACCEPTED}") from exc
    except DocumentRefusedError:
        raise
    except ValueError as exc:
        raise DocumentRefusedError("the document has a number with too many digits") from exc
    _measure(data)
    return data


def _is_flow_yaml(text: str) -> bool:
    try:
        for event in yaml.parse(text, Loader=yaml.CSafeLoader):
            if isinstance(event, yaml.MappingStartEvent):
                break
        return re.match(r"\s*\{\s*[A-Za-z]", text) is not None
    except yaml.YAMLError:
        return False


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise DocumentRefusedError(f"the document has the key {_short(key)} twice in one object")
            seen.add(key)
    return result


def _refuse_constant(name: str) -> Any:
    raise DocumentRefusedError(f"the document has the number {name}, which JSON does not")


def _finite_float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise DocumentRefusedError(f"the document has the number {_short(text)}, which is out of range")
    return number


def _measure(data: Any) -> None:
    nodes = 0
    waiting = [(data, 1)]
    while waiting:
        value, depth = waiting.pop()
        nodes += 1
        if depth > MAX_DEPTH:
            raise _too_deep()
        if nodes > MAX_NODES:
            raise _too_many()
        if isinstance(value, str):
            _refuse_lone_surrogates(value)
        elif isinstance(value, dict):
            waiting.extend((item, depth + 1) for item in value.values())
        elif isinstance(value, list):
            waiting.extend((item, depth + 1) for item in value)


@dataclass
class _Node:
    """A finished value with its expanded size and height."""

    value: Any
    size: int = 1
    height: int = 1


@dataclass
class _Frame:
    """A mapping or sequence whose end has not been read."""

    value: Any
    anchor: str | None
    size: int = 1
    height: int = 1
    key: str | None = None
    merges: list[dict[str, Any]] = field(default_factory=list)


def _parse_yaml(text: str) -> Any:
    try:
        return _YamlReader().read(yaml.parse(text, Loader=yaml.CSafeLoader))
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        where = f", line {mark.line + 1} column {mark.column + 1}" if mark else ""
        problem = exc.problem or "no YAML"
        raise DocumentRefusedError(f"the document is not YAML: {problem}{where}; {ACCEPTED}") from exc
    except yaml.YAMLError as exc:
        raise DocumentRefusedError(f"the document is not YAML: it has a character YAML forbids; {ACCEPTED}") from exc


class _YamlReader:
    def __init__(self) -> None:
        self.frames: list[_Frame] = []
        self.anchors: dict[str, _Node] = {}
        self.aliases = 0
        self.total = 0
        self.root: _Node | None = None

    def read(self, events: Iterator[Any]) -> Any:
        for event in events:
            if isinstance(event, yaml.DocumentStartEvent) and self.root is not None:
                raise DocumentRefusedError(f"the text has several YAML documents; {ACCEPTED}")
            if isinstance(event, yaml.ScalarEvent):
                self._scalar(event)
            elif isinstance(event, yaml.AliasEvent):
                self._alias(event)
            elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
                self._open(event)
            elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
                self._close()
        if self.root is None:
            raise DocumentRefusedError(f"the document is empty; {ACCEPTED}")
        return self.root.value

    def _open(self, event: Any) -> None:
        mapping = isinstance(event, yaml.MappingStartEvent)
        if self.frames and self._expects_key(self.frames[-1]):
            raise DocumentRefusedError(f"a mapping has a key that is no text{_line(event)}")
        if event.tag not in (None, "!", _TAG + "map", _TAG + "seq"):
            raise DocumentRefusedError(f"the YAML tag {_short(event.tag)} is not accepted{_line(event)}")
        if len(self.frames) >= MAX_DEPTH:
            raise _too_deep()
        self.frames.append(_Frame({} if mapping else [], event.anchor))

    def _close(self) -> None:
        frame = self.frames.pop()
        for merged in frame.merges:
            for key, value in merged.items():
                frame.value.setdefault(key, value)
        self._finish(_Node(frame.value, frame.size, frame.height), anchor=frame.anchor, counted=True)

    def _scalar(self, event: Any) -> None:
        if self.frames and self._expects_key(self.frames[-1]):
            self._key(event)
            return
        self._finish(_Node(_scalar_value(event)), anchor=event.anchor)

    def _key(self, event: Any) -> None:
        frame = self.frames[-1]
        if event.anchor:
            self.anchors[event.anchor] = _Node(event.value)
        if event.value in frame.value and event.value != "<<":
            raise DocumentRefusedError(f"the document has the key {_short(event.value)} twice{_line(event)}")
        frame.key = event.value

    def _alias(self, event: Any) -> None:
        self.aliases += 1
        if self.aliases > MAX_ALIASES:
            raise DocumentRefusedError(f"the document has more than {MAX_ALIASES} YAML aliases")
        node = self.anchors.get(event.anchor)
        if node is None:
            raise DocumentRefusedError(
                f"the YAML alias {_short(event.anchor)} names no anchor that ended before it{_line(event)}"
            )
        if self.frames and self._expects_key(self.frames[-1]):
            raise DocumentRefusedError(f"a mapping has an alias as its key{_line(event)}")
        if len(self.frames) + node.height > MAX_DEPTH:
            raise _too_deep()
        self._finish(node, anchor=None)

    def _finish(self, node: _Node, *, anchor: str | None, counted: bool = False) -> None:
        self.total += 1 if counted else node.size
        if self.total > MAX_NODES:
            raise _too_many()
        if anchor:
            self.anchors[anchor] = node
        if not self.frames:
            self.root = node
            return
        frame = self.frames[-1]
        frame.size += node.size
        frame.height = max(frame.height, node.height + 1)
        if isinstance(frame.value, list):
            frame.value.append(node.value)
            return
        key, frame.key = frame.key, None
        if key == "<<" and (merges := _merge_sources(node.value)) is not None:
            frame.merges.extend(merges)
        elif key is not None:
            frame.value[key] = node.value

    @staticmethod
    def _expects_key(frame: _Frame) -> bool:
        return isinstance(frame.value, dict) and frame.key is None


def _merge_sources(value: Any) -> list[dict[str, Any]] | None:
    if isinstance(value, dict):
        return [value]
    if isinstance(value, list) and all(isinstance(item, dict) for item in value):
        return value
    return None


def _scalar_value(event: Any) -> Any:
    tag, text = event.tag, event.value
    if tag == _TAG + "str" or tag == "!" or (tag is None and not event.implicit[0]):
        return text
    if tag is not None and tag not in {_TAG + name for name in ("int", "float", "bool", "null", "timestamp")}:
        raise DocumentRefusedError(f"the YAML tag {_short(tag)} is not accepted{_line(event)}")
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.fullmatch(text):
        return int(text)
    if _OCTAL.fullmatch(text) or _HEXADECIMAL.fullmatch(text):
        return int(text, 0)
    if _SPECIAL.fullmatch(text):
        raise DocumentRefusedError(f"the document has the number {text}, which JSON does not{_line(event)}")
    if _FLOAT.fullmatch(text):
        return _finite_float(text)
    return text


def _line(event: Any) -> str:
    return f", line {event.start_mark.line + 1}"


def _short(text: str) -> str:
    return repr(text if len(text) <= 80 else text[:77] + "...")


def _too_deep() -> DocumentRefusedError:
    return DocumentRefusedError(f"the document is nested too deep; accepted are up to {MAX_DEPTH} levels")


def _too_many() -> DocumentRefusedError:
    return DocumentRefusedError(
        f"the document has too many values once its aliases are expanded; accepted are up to {MAX_NODES}"
    )
