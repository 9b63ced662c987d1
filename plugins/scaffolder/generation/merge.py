"""One step's effect on the tree: what it moves, deletes and writes, and what happens where something is there already.

Nothing here touches a disk: from the files that are there and what the step brings, `merge` computes the changes and
refuses the whole step, with every offender, where one of them may not be.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any, Final

from scaffolder.config import Settings
from scaffolder.errors import (
    FileConflictError,
    InvalidParametersError,
    LimitExceededError,
    UnsafePathError,
)
from scaffolder.generation import paths
from scaffolder.generation.tree import GeneratedFile
from scaffolder.records.models import FileChange, ProjectFile

AGENT_ORIGIN: Final = "agent_call:"


class OnConflict(StrEnum):
    """What a step does where a path that it writes is taken, or one that it moves or deletes isn't there.

    ``fail`` refuses the step and lists all conflicts; ``theirs`` lets the step win, ``ours`` the tree; ``skip`` leaves
    the single operation undone. ``ours`` and ``skip`` differ for a move onto a path that is taken: with ``ours`` the
    moved file gives way and is gone, with ``skip`` it stays where it was.
    """

    FAIL = "fail"
    OURS = "ours"
    THEIRS = "theirs"
    SKIP = "skip"


@dataclass(frozen=True, kw_only=True)
class Move:
    """Move the file or directory `source` to `target`; both are paths as in the tree."""

    source: str
    target: str


@dataclass(frozen=True, kw_only=True)
class TreeEdits:
    """What a step wants to do. First files are moved out, then deleted, then moved in, then written, in order.

    `delete` holds patterns as in .gitignore. All paths and patterns are below `into`, a directory.
    """

    files: Sequence[GeneratedFile] = ()
    move: Sequence[Move] = ()
    delete: Sequence[str] = ()
    into: str = ""
    on_conflict: OnConflict = OnConflict.FAIL
    allow_ci_files: bool = False


@dataclass(frozen=True, kw_only=True)
class MovedFile:
    """A file that got another path; its content stays."""

    path: str
    source: ProjectFile


@dataclass(frozen=True, kw_only=True)
class TreeChanges:
    """What a step does to the tree, each by path in byte order. `conflicts` are those that `on_conflict` settled.

    `size_bytes` is that of the whole tree once this step and all later ones are done.
    """

    written: list[GeneratedFile] = field(default_factory=list)
    moved: list[MovedFile] = field(default_factory=list)
    deleted: list[str] = field(default_factory=list)
    conflicts: list[tuple[str, str, str]] = field(default_factory=list)
    size_bytes: int = 0


def merge(
    edits: TreeEdits,
    *,
    tree: Iterable[ProjectFile],
    later: Sequence[FileChange] = (),
    earlier_try: Collection[str] = (),
    settings: Settings,
) -> TreeChanges:
    """Return what `edits` do to `tree`.

    For a step that is run again, `later` is what the steps after it did to the tree, and `earlier_try` are the paths
    it wrote before: what a later step wrote it may take only where it had it already. Raises FileConflictError,
    UnsafePathError or LimitExceededError, each naming every offender.
    """
    edits = _move_into(edits)
    merging = _Merging(tree, edits)
    merging.apply()
    changes = merging.changes()
    conflicts = merging.conflicts if edits.on_conflict is OnConflict.FAIL else []
    conflicts = conflicts + _find_later_conflicts(changes, later, earlier_try)
    if conflicts:
        raise FileConflictError(conflicts)
    final: dict[str, _Entry] = merging.tree
    for change in later:
        if change.file is None:
            final.pop(change.path, None)
        else:
            final[change.path] = change.file
    paths.check_paths(final, max_depth=settings.max_path_depth)
    if not edits.allow_ci_files:
        _check_ci_files(changes)
    size_bytes = sum(_size(entry) for entry in final.values())
    _check_limits(changes, file_count=len(final), size_bytes=size_bytes, settings=settings)
    return replace(changes, size_bytes=size_bytes)


_Entry = ProjectFile | GeneratedFile | MovedFile


class _Merging:
    """The tree while a step's edits are applied to it."""

    def __init__(self, before: Iterable[ProjectFile], edits: TreeEdits) -> None:
        self._before = {file.path: file for file in before}
        self._edits = edits
        self._wins = edits.on_conflict is OnConflict.THEIRS
        self.tree: dict[str, _Entry] = dict(self._before)
        self.conflicts: list[tuple[str, str, str]] = []

    def apply(self) -> None:
        moved = self._move_out()
        self._delete()
        for file, move in moved:
            self._put(file, origin=f"move of {move!r}")
        for new in self._edits.files:
            self._put(new, origin=new.origin)

    def changes(self) -> TreeChanges:
        written, moved = [], []
        for path in sorted(self.tree, key=_byte_order):
            entry = self.tree[path]
            if isinstance(entry, GeneratedFile):
                written.append(entry)
            elif isinstance(entry, MovedFile):
                moved.append(entry)
        gone = self._before.keys() - self.tree.keys()
        return TreeChanges(
            written=written, moved=moved, deleted=sorted(gone, key=_byte_order), conflicts=list(self.conflicts)
        )

    def _move_out(self) -> list[tuple[MovedFile, str]]:
        moved: list[tuple[MovedFile, str]] = []
        for move in self._edits.move:
            below = move.source + "/"
            sources = [path for path in self.tree if path == move.source or path.startswith(below)]
            if not sources:
                self.conflicts.append((move.source, "nothing there", f"move to {move.target!r}"))
            for path in sources:
                file = self._before[path]
                moved.append((MovedFile(path=move.target + path[len(move.source) :], source=file), path))
                del self.tree[path]
        return moved

    def _delete(self) -> None:
        if not self._edits.delete:
            return
        for pattern in self._edits.delete:
            found = list(_compile_pattern(pattern).match_files(self.tree))
            if not found:
                self.conflicts.append((pattern, "nothing there", "delete"))
            for path in found:
                del self.tree[path]

    def _put(self, file: GeneratedFile | MovedFile, *, origin: str) -> None:
        there = self.tree.get(file.path)
        if isinstance(file, MovedFile) and file.path == file.source.path:
            self.tree[file.path] = file.source
            return
        if there is None:
            self.tree[file.path] = file
            return
        if _content(there) == _content(file):
            return
        self.conflicts.append((file.path, _origin(there), origin))
        if self._wins:
            self.tree[file.path] = file
        elif isinstance(file, MovedFile) and self._edits.on_conflict is OnConflict.SKIP:
            self.tree[file.source.path] = file.source


def _move_into(edits: TreeEdits) -> TreeEdits:
    into = edits.into.strip("/")
    for move in edits.move:
        flawed = [(path, flaw) for path in (move.source, move.target) if (flaw := paths.find_flaw(path))]
        if flawed:
            raise UnsafePathError(flawed)
    if into in {"", "."}:
        return edits
    if flaw := paths.find_flaw(into):
        raise UnsafePathError([(edits.into, f"(into) {flaw}")])
    prefix = into + "/"
    return replace(
        edits,
        files=[replace(file, path=prefix + file.path) for file in edits.files],
        move=[Move(source=prefix + move.source, target=prefix + move.target) for move in edits.move],
        delete=[_below(prefix, pattern) for pattern in edits.delete],
    )


def _below(prefix: str, pattern: str) -> str:
    # As git reads a .gitignore in that directory: a slash before the end ties the pattern to it.
    escaped = "/" + "".join(f"\\{character}" if character in "*?[\\" else character for character in prefix)
    tied = "/" in pattern.rstrip("/")
    return escaped + (pattern.lstrip("/") if tied else f"**/{pattern}")


def _compile_pattern(pattern: str) -> Any:
    import pathspec

    if pattern.startswith("!"):
        raise InvalidParametersError(f"delete {pattern!r}: accepted is a pattern as in .gitignore, without '!'")
    try:
        return pathspec.GitIgnoreSpec.from_lines([pattern])
    except ValueError as error:
        raise InvalidParametersError(f"delete {pattern!r}: {error}") from error


def _find_later_conflicts(
    changes: TreeChanges, later: Sequence[FileChange], earlier_try: Collection[str]
) -> list[tuple[str, str, str]]:
    new = {file.path: file.origin for file in changes.written}
    new |= {file.path: f"move of {file.source.path!r}" for file in changes.moved}
    return [
        (change.path, f"{change.file.origin} of the later step {change.file.step_id!r}", new[change.path])
        for change in later
        if change.file is not None and change.path in new and change.path not in earlier_try
    ]


def _check_ci_files(changes: TreeChanges) -> None:
    origins = [(file.path, file.origin) for file in changes.written]
    origins += [(file.path, file.source.origin) for file in changes.moved]
    offenders = [
        (path, f"runs on a CI system and comes from an agent ({origin})")
        for path, origin in origins
        if origin.startswith(AGENT_ORIGIN) and paths.is_ci_file(path)
    ]
    if offenders:
        raise UnsafePathError(offenders, accepted="such files where the step says allow_ci_files: true")


def _check_limits(changes: TreeChanges, *, file_count: int, size_bytes: int, settings: Settings) -> None:
    large = [file for file in changes.written if len(file.content) > settings.max_file_size]
    if large:
        listing = "; ".join(f"{file.path!r} has {len(file.content)} bytes" for file in large)
        raise LimitExceededError(
            f"files over the limit of {settings.max_file_size} bytes (SCAFFOLDER_MAX_FILE_SIZE): {listing}"
        )
    if file_count > settings.max_project_files:
        raise LimitExceededError(
            f"the project would have {file_count} files, accepted are {settings.max_project_files} "
            "(SCAFFOLDER_MAX_PROJECT_FILES)"
        )
    if size_bytes > settings.max_project_size:
        raise LimitExceededError(
            f"the project would have {size_bytes} bytes, accepted are {settings.max_project_size} "
            "(SCAFFOLDER_MAX_PROJECT_SIZE)"
        )


def _content(entry: _Entry) -> tuple[str, int]:
    file = entry.source if isinstance(entry, MovedFile) else entry
    return file.sha256, file.mode


def _origin(entry: _Entry) -> str:
    return entry.source.origin if isinstance(entry, MovedFile) else entry.origin


def _size(entry: _Entry) -> int:
    if isinstance(entry, GeneratedFile):
        return len(entry.content)
    return entry.source.size_bytes if isinstance(entry, MovedFile) else entry.size_bytes


def _byte_order(path: str) -> bytes:
    return path.encode("utf-8", "surrogatepass")
