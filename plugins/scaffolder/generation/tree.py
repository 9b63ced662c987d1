"""Files in memory: what one step wants to write, checked against paths and limits before git sees it."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from scaffolder.config import Settings
from scaffolder.errors import AgentAnswerError, FileConflictError, LimitExceededError
from scaffolder.generation import paths

FILE_MODE: Final = 0o100644
EXECUTABLE_MODE: Final = 0o100755

_ENTRY_KEYS: Final = frozenset({"path", "content", "encoding", "executable"})


@dataclass(frozen=True, kw_only=True)
class GeneratedFile:
    """One file that a step wants to write. `origin` says who made it, e.g. ``template:fastapi_service@1.0.0``."""

    path: str
    content: bytes
    origin: str
    executable: bool = False

    @property
    def mode(self) -> int:
        """Git's file mode."""
        return EXECUTABLE_MODE if self.executable else FILE_MODE

    @cached_property
    def sha256(self) -> str:
        """The content's SHA-256 in hex."""
        return hashlib.sha256(self.content).hexdigest()


def parse_files(entries: Any, *, origin: str) -> list[GeneratedFile]:
    """Read files from plain data: a list of ``{path, content, encoding?, executable?}``.

    `encoding` is ``utf-8`` (default) or ``base64``. Raises AgentAnswerError naming every entry that isn't one.
    """
    if not isinstance(entries, Sequence) or isinstance(entries, str | bytes):
        raise AgentAnswerError(
            f"files of {origin} are {type(entries).__name__}; accepted is a list of {{path, content}}"
        )
    files: list[GeneratedFile] = []
    problems: list[str] = []
    for index, entry in enumerate(entries):
        try:
            files.append(_parse_entry(entry, origin=origin))
        except ValueError as error:
            problems.append(f"files[{index}]: {error}")
    if problems:
        raise AgentAnswerError(f"{len(problems)} file(s) of {origin} cannot be read: " + "; ".join(problems))
    return files


def _parse_entry(entry: Any, *, origin: str) -> GeneratedFile:
    if not isinstance(entry, Mapping):
        raise ValueError(f"is {type(entry).__name__}, accepted is an object with path and content")
    if unknown := sorted(str(key) for key in entry.keys() - _ENTRY_KEYS):
        raise ValueError(f"has unknown keys {unknown}, accepted are {sorted(_ENTRY_KEYS)}")
    path, content, executable = entry.get("path"), entry.get("content"), entry.get("executable", False)
    if not isinstance(path, str) or not isinstance(content, str) or not isinstance(executable, bool):
        raise ValueError("needs path and content as strings, and executable, where given, as a boolean")
    return GeneratedFile(
        path=path,
        content=_decode(content, entry.get("encoding", "utf-8")),
        origin=origin,
        executable=executable,
    )


def _decode(content: str, encoding: Any) -> bytes:
    try:
        if encoding == "utf-8":
            return content.encode("utf-8")
        if encoding == "base64":
            return base64.b64decode(content, validate=True)
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError(f"content is no {encoding}: {error}") from error
    raise ValueError(f"encoding {encoding!r}; accepted are 'utf-8' and 'base64'")


def check_files(
    files: Sequence[GeneratedFile], *, existing: Iterable[tuple[str, int, str]], settings: Settings
) -> None:
    """Check a step's whole batch, beside what other steps wrote: `existing` holds (path, size in bytes, origin).

    Raises UnsafePathError, FileConflictError or LimitExceededError, each naming every offender.
    """
    others = list(existing)
    _check_conflicts(files, others)
    paths.check_paths(
        [file.path for file in files] + [path for path, _, _ in others], max_depth=settings.max_path_depth
    )
    _check_limits(files, others, settings)


def _check_conflicts(files: Sequence[GeneratedFile], others: Sequence[tuple[str, int, str]]) -> None:
    origins = {path: origin for path, _, origin in others}
    conflicts: list[tuple[str, str, str]] = []
    for file in files:
        if file.path in origins:
            conflicts.append((file.path, origins[file.path], file.origin))
        origins.setdefault(file.path, file.origin)
    if conflicts:
        raise FileConflictError(conflicts)


def _check_limits(files: Sequence[GeneratedFile], others: Sequence[tuple[str, int, str]], settings: Settings) -> None:
    large = [file for file in files if len(file.content) > settings.max_file_size]
    if large:
        listing = "; ".join(f"{file.path!r} has {len(file.content)} bytes" for file in large)
        raise LimitExceededError(
            f"files over the limit of {settings.max_file_size} bytes (SCAFFOLDER_MAX_FILE_SIZE): {listing}"
        )
    count = len(files) + len(others)
    if count > settings.max_project_files:
        raise LimitExceededError(
            f"the project would have {count} files, accepted are {settings.max_project_files} "
            "(SCAFFOLDER_MAX_PROJECT_FILES)"
        )
    size_bytes = sum(len(file.content) for file in files) + sum(size for _, size, _ in others)
    if size_bytes > settings.max_project_size:
        raise LimitExceededError(
            f"the project would have {size_bytes} bytes, accepted are {settings.max_project_size} "
            "(SCAFFOLDER_MAX_PROJECT_SIZE)"
        )
