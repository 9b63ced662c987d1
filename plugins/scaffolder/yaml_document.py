"""YAML documents whose authors need not be trusted: plain data with the line of every key, in bounded time."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import yaml

MAX_BYTES: Final = 1_048_576
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 64
MAX_PLAIN_NODES: Final = 5_000_000
"""How many values `parse_plain_yaml` accepts, those that aliases repeat counted each time."""
MAX_PLAIN_CHARACTERS: Final = 67_108_864
"""How many characters of scalars `parse_plain_yaml` accepts, those that aliases repeat counted each time."""

# The scalars of YAML 1.2's core schema (section 10.3.2) that are no text.
_CONSTANTS: Final[Mapping[str, Any]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER: Final = re.compile(r"[-+]?[0-9]+", re.ASCII)
_BASED_INTEGER: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+", re.ASCII)
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", re.ASCII)
_MAX_DIGITS: Final = 1_000
_TEXT_TAGS: Final = frozenset({None, "!", "tag:yaml.org,2002:str"})
_SHOWN_CHARACTERS: Final = 100

Location = tuple[str | int, ...]


class YamlDocumentError(ValueError):
    """A document that cannot be read. `line` is 1-based."""

    def __init__(self, message: str, *, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


@dataclass(frozen=True, kw_only=True)
class YamlDocument:
    """What a document holds, and where: `lines` has the line of each key and item by its keys and indexes from the top.

    `duplicates` are the places of keys that stand twice in one mapping; the last one counts.
    """

    data: Any
    lines: Mapping[Location, int]
    duplicates: tuple[Location, ...]

    def line(self, location: Location) -> int:
        """Return the line of `location`, or of the nearest place above it that is there."""
        while location and location not in self.lines:
            location = location[:-1]
        return self.lines.get(location, 1)


def read_yaml(path: Path) -> YamlDocument:
    """Read the document at `path`. Raises YamlDocumentError (not there, no YAML, too large, deep or long)."""
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise YamlDocumentError(f"cannot be read: {error.strerror}") from error
    if len(content) > MAX_BYTES:
        raise YamlDocumentError(f"has more than {MAX_BYTES} bytes, which is what is accepted")
    return parse_yaml(content)


def parse_yaml(content: bytes) -> YamlDocument:
    """Parse one document. Raises YamlDocumentError."""
    import yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        _check_size(loader(content))
        document = loader(content)
        node = document.get_single_node()
        if node is None:
            return YamlDocument(data=None, lines={}, duplicates=())
        index = _Index()
        index.add(node, ())
        data = document.construct_document(node)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlDocumentError(f"is no YAML: {error.problem}", line=line) from error
    except YamlDocumentError:
        raise
    except (yaml.YAMLError, ValueError) as error:
        raise YamlDocumentError(f"is no YAML: {error}") from error
    return YamlDocument(data=data, lines=index.lines, duplicates=tuple(index.duplicates))


def _check_size(loader: Any) -> None:
    """Refuse what is deep or long, event by event: building nodes of it would take all of the stack."""
    import yaml

    depth = nodes = 0
    while loader.check_event():
        event = loader.get_event()
        line = event.start_mark.line + 1
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
            if depth > MAX_DEPTH:
                raise YamlDocumentError(f"is nested deeper than {MAX_DEPTH} levels", line=line)
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if isinstance(event, yaml.NodeEvent):
            nodes += 1
            if nodes > MAX_NODES:
                raise YamlDocumentError(f"has more than {MAX_NODES} values", line=line)


class _Index:
    """Walks nodes as if aliases were copies, and stops where that would take too long."""

    def __init__(self) -> None:
        self.lines: dict[Location, int] = {}
        self.duplicates: list[Location] = []
        self._ancestors: list[yaml.Node] = []
        self._count = 0

    def add(self, node: yaml.Node, location: Location) -> None:
        line = node.start_mark.line + 1
        # Nodes are told apart by what they are, not by what they hold.
        if any(node is ancestor for ancestor in self._ancestors):
            raise YamlDocumentError("an alias leads back to where it stands", line=line)
        self._count += 1
        if self._count > MAX_NODES:
            raise YamlDocumentError(f"has more than {MAX_NODES} values, aliases counted", line=line)
        self.lines.setdefault(location, line)
        self._ancestors.append(node)
        self._add_children(node, location)
        self._ancestors.pop()

    def _add_children(self, node: yaml.Node, location: Location) -> None:
        import yaml

        if isinstance(node, yaml.MappingNode):
            seen: set[str] = set()
            for key, value in node.value:
                line = key.start_mark.line + 1
                if not isinstance(key, yaml.ScalarNode):
                    raise YamlDocumentError("a key is a list or mapping; accepted is text", line=line)
                here = (*location, str(key.value))
                self.lines[here] = line
                if key.value in seen:
                    self.duplicates.append(here)
                seen.add(key.value)
                self.add(value, here)
        elif isinstance(node, yaml.SequenceNode):
            for index, item in enumerate(node.value):
                self.add(item, (*location, index))


def parse_plain_yaml(content: bytes, *, max_depth: int = MAX_DEPTH) -> Any:
    """Parse one large document as JSON data: by YAML 1.2's core schema, keys as text, aliases and merge keys followed.

    Raises YamlDocumentError for what is no YAML, and for keys that are there twice, tags of its own, more than
    `max_depth` levels, `MAX_PLAIN_NODES` values or `MAX_PLAIN_CHARACTERS` characters; aliases count as copies.
    """
    import yaml

    try:
        events: Any = yaml.parse(content, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return _PlainReader(events, max_depth=max_depth).read()
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise YamlDocumentError(f"is no YAML: {error.problem}", line=line) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise YamlDocumentError(f"is no YAML: {type(error).__name__}") from error


@dataclass(slots=True)
class _Extent:
    """How much there is in a value: values, characters of scalars, and levels of lists and mappings."""

    values: int = 1
    characters: int = 0
    levels: int = 0

    def add(self, child: _Extent) -> None:
        """Take in the extent of a value of this list or mapping."""
        self.values += child.values
        self.characters += child.characters
        if child.levels >= self.levels:
            self.levels = child.levels + 1


@dataclass
class _Collection:
    """A list or mapping that is not complete yet; `key` waits for its value."""

    data: Any
    anchor: str | None
    extent: _Extent = field(default_factory=lambda: _Extent(levels=1))
    key: str | None = None
    merged: list[dict[str, Any]] = field(default_factory=list)


class _PlainReader:
    """Builds plain data from events, one after the other: no second tree, no recursion."""

    def __init__(self, events: Iterator[Any], *, max_depth: int) -> None:
        self._events = events
        self._max_depth = max_depth
        self._open: list[_Collection] = []
        self._anchors: dict[str, tuple[Any, _Extent]] = {}
        self._scalars: dict[str, Any] = dict(_CONSTANTS)
        self._values = self._characters = 0
        self._documents: list[Any] = []

    def read(self) -> Any:
        import yaml

        for event in self._events:
            kind = type(event)
            if kind is yaml.ScalarEvent:
                value = self._read_scalar(event)
                extent = _Extent(characters=len(event.value))
                self._count(extent, event)
                self._finish(value, extent, event, anchor=event.anchor)
            elif kind is yaml.MappingStartEvent:
                self._begin({}, event)
            elif kind is yaml.SequenceStartEvent:
                self._begin([], event)
            elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
                self._end(event)
            elif kind is yaml.AliasEvent:
                self._repeat(event)
        return self._documents[0] if self._documents else None

    def _begin(self, data: Any, event: Any) -> None:
        if event.tag is not None and not event.implicit:
            raise self._error(event, f"has a tag {event.tag!r}; accepted is plain data")
        if len(self._open) == self._max_depth:
            raise self._error(event, f"is nested deeper than {self._max_depth} levels")
        if self._open and isinstance(self._open[-1].data, dict) and self._open[-1].key is None:
            raise self._error(event, "a key is a list or mapping; accepted is text")
        self._count(_Extent(), event)
        self._open.append(_Collection(data=data, anchor=event.anchor))

    def _end(self, event: Any) -> None:
        done = self._open.pop()
        for merged in done.merged:
            done.data.update({key: value for key, value in merged.items() if key not in done.data})
        self._finish(done.data, done.extent, event, anchor=done.anchor)

    def _finish(self, value: Any, extent: _Extent, event: Any, *, anchor: str | None) -> None:
        if anchor:
            self._anchors[anchor] = (value, extent)
        # Keys are text as it is written: 200, not the number.
        self._add(value, extent, event, key=getattr(event, "value", None))

    def _repeat(self, event: Any) -> None:
        if event.anchor not in self._anchors:
            raise self._error(event, "an alias leads nowhere, or back to where it stands")
        value, extent = self._anchors[event.anchor]
        if len(self._open) + extent.levels > self._max_depth:
            raise self._error(event, f"is nested deeper than {self._max_depth} levels, aliases followed")
        self._count(extent, event)
        self._add(value, extent, event, key=value if isinstance(value, str) else None)

    def _add(self, value: Any, extent: _Extent, event: Any, *, key: str | None) -> None:
        """Put a value that is complete where it belongs; `key` is its text, where it may be a key."""
        if not self._open:
            if self._documents:
                raise self._error(event, "has more than one document")
            self._documents.append(value)
            return
        top = self._open[-1]
        top.extent.add(extent)
        if isinstance(top.data, list):
            top.data.append(value)
        elif top.key is None:
            if key is None:
                raise self._error(event, "a key is an alias of what is no text; accepted is text")
            if key in top.data:
                raise self._error(event, f"key {key[:_SHOWN_CHARACTERS]!r} is there twice")
            top.key = key
        else:
            self._set(top, top.key, value, event)
            top.key = None

    def _set(self, top: _Collection, key: str, value: Any, event: Any) -> None:
        if key != "<<":
            top.data[key] = value
            return
        for merged in value if isinstance(value, list) else [value]:
            if not isinstance(merged, dict):
                raise self._error(event, "a merge key has something else than mappings")
            top.merged.append(merged)

    def _count(self, extent: _Extent, event: Any) -> None:
        self._values += extent.values
        self._characters += extent.characters
        if self._values > MAX_PLAIN_NODES:
            raise self._error(event, f"has more than {MAX_PLAIN_NODES} values, aliases counted")
        if self._characters > MAX_PLAIN_CHARACTERS:
            raise self._error(event, f"has more than {MAX_PLAIN_CHARACTERS} characters, aliases counted")

    def _read_scalar(self, event: Any) -> Any:
        if event.tag not in _TEXT_TAGS and not event.implicit[0]:
            raise self._error(event, f"has a tag {event.tag!r}; accepted is plain data")
        text = event.value
        # A plain scalar without a tag is what it looks like, all others are text.
        if event.tag is not None or not event.implicit[0]:
            return text
        if text not in self._scalars:
            self._scalars[text] = self._resolve(text, event)
        return self._scalars[text]

    def _resolve(self, text: str, event: Any) -> Any:
        if text[0] not in "-+.0123456789" or len(text) > _MAX_DIGITS:
            return text
        if _INTEGER.fullmatch(text):
            return int(text)
        if _BASED_INTEGER.fullmatch(text):
            return int(text, 0)
        if not _FLOAT.fullmatch(text):
            return text
        number = float(text)
        if number in {float("inf"), float("-inf")}:
            raise self._error(event, "a number is out of range")
        return number

    def _error(self, event: Any, problem: str) -> YamlDocumentError:
        return YamlDocumentError(problem, line=event.start_mark.line + 1)
