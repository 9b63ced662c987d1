"""What the command line prints of files: trees and differences. Nothing in them reaches the terminal but as text."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.tree import Tree

_UNLIMITED: Final = 100_000
_STYLES: Final = {"+": "green", "-": "red", "@": "cyan"}


@dataclass(frozen=True, kw_only=True)
class TreeEntry:
    """One file of a tree. `note` stands behind its size."""

    path: str
    size_bytes: int
    note: str = ""


def make_printable(text: str) -> str:
    """Return `text` with what isn't printable (controls, bidirectional marks) as Python's escapes; tabs stay."""
    return "".join(one if one.isprintable() or one == "\t" else _escape(one) for one in text)


def print_tree(title: str, entries: Iterable[TreeEntry]) -> None:
    """Print the files as a tree, in their order; `title` comes first, with their count and bytes. No line is cut."""
    from rich.console import Console

    # A tree cuts its lines at the console's width, whatever the console does with other text.
    Console(highlight=False, soft_wrap=True, width=_UNLIMITED).print(_make_tree(title, entries))


def _make_tree(title: str, entries: Iterable[TreeEntry]) -> Tree:
    from rich.markup import escape
    from rich.tree import Tree

    files = list(entries)
    size_bytes = sum(entry.size_bytes for entry in files)
    root = Tree(f"[bold]{escape(make_printable(title))}[/bold] ({len(files)} files, {size_bytes:,} bytes)")
    directories = {"": root}
    for entry in files:
        parent, _, name = entry.path.rpartition("/")
        facts = escape(make_printable("  ".join(filter(None, (f"{entry.size_bytes:,}", entry.note)))))
        _find_directory(parent, directories).add(f"{escape(make_printable(name))}  [dim]{facts}[/dim]")
    return root


def _find_directory(path: str, directories: dict[str, Tree]) -> Tree:
    from rich.markup import escape

    if path not in directories:
        parent, _, name = path.rpartition("/")
        directories[path] = _find_directory(parent, directories).add(f"{escape(make_printable(name))}/")
    return directories[path]


def compare(old: Mapping[str, bytes], new: Mapping[str, bytes]) -> Iterator[str]:
    """Yield the lines of a unified diff between two trees (path -> content), printable and without line ends."""
    for path in sorted(old.keys() | new.keys()):
        before, after = old.get(path), new.get(path)
        if before == after:
            continue
        names = ("/dev/null" if before is None else f"a/{path}", "/dev/null" if after is None else f"b/{path}")
        old_lines, new_lines = _split(before), _split(after)
        if old_lines is None or new_lines is None:
            yield make_printable(f"Binary files {names[0]} and {names[1]} differ")
            continue
        for line in difflib.unified_diff(old_lines, new_lines, *names, lineterm=""):
            yield make_printable(line)


def print_diff(lines: Iterable[str]) -> None:
    """Print the lines of `compare`, coloured where the terminal can do that."""
    from rich.console import Console

    console = Console(highlight=False, soft_wrap=True)
    for line in lines:
        console.print(line, style=_STYLES.get(line[:1]), markup=False)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode()


def _split(content: bytes | None) -> list[str] | None:
    """Return the lines of a text, None for what is no text. Only a line feed ends a line; all else is shown."""
    if b"\0" in (content or b""):
        return None
    try:
        *lines, last = (content or b"").decode("utf-8").split("\n")
    except UnicodeDecodeError:
        return None
    return [*lines, f"{last} (no line end)"] if last else lines
