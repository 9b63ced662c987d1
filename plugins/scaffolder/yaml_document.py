"""YAML documents whose authors need not be trusted: plain data with the line of every key, in bounded time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    import yaml

MAX_BYTES: Final = 1_048_576
MAX_NODES: Final = 20_000
MAX_DEPTH: Final = 64

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
