"""Files in memory: what a template or an agent brings, before `merge` puts it into the tree."""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from scaffolder.errors import AgentAnswerError

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
    path: Any = entry.get("path")
    content: Any = entry.get("content")
    executable: Any = entry.get("executable", False)
    for key, value, kind, accepted in (
        ("path", path, str, "text"),
        ("content", content, str, "text"),
        ("executable", executable, bool, "true and false"),
    ):
        if not isinstance(value, kind):
            found = "missing" if key not in entry else f"{type(value).__name__}"
            raise ValueError(f"{key} is {found}, accepted is {accepted}")
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
