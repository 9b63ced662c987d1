"""What goes to an A2A agent and comes back, as plain data: a step's message, an agent's reply, a step's answer."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from scaffolder.errors import AgentRejectedError

_RUNNING: Final = frozenset({"SUBMITTED", "WORKING"})
_MESSAGE_KEYS: Final = frozenset({"text", "data", "files"})
_FILE_KEYS: Final = frozenset({"path", "name", "content", "content_base64", "encoding", "executable", "media_type"})
_BINARY: Final = "application/octet-stream"
_TEXT: Final = "text/plain"


@dataclass(frozen=True, kw_only=True)
class Part:
    """A piece of a message or an artifact; one with a `filename` is a file.

    `value` is text, JSON data, bytes, or the URL of a file, as `kind` says; None where `kind` is ``unknown``.
    """

    kind: Literal["text", "data", "raw", "url", "unknown"]
    value: Any
    filename: str = ""
    media_type: str = ""


@dataclass(frozen=True, kw_only=True)
class Reply:
    """What an agent answers: a task as it stands, or a message, which has no `task_id` and is complete.

    `state` is A2A's without its prefix, such as ``WORKING``; `status_text` is what the agent says of it, as it came.
    """

    task_id: str | None
    state: str
    status_text: str = ""
    parts: tuple[Part, ...] = ()

    @property
    def is_running(self) -> bool:
        """Whether the agent is still at work."""
        return self.state in _RUNNING


def read_message(message: Any) -> list[Part]:
    """Read the message of a step. Raises AgentRejectedError with every problem.

    Accepted is text, or a mapping with any of ``text``, ``data`` (JSON) and ``files``: a list of ``{path, content,
    encoding?, media_type?}`` as in agents' answers; ``name`` may stand for path, and ``content_base64`` for content
    and encoding. A file's ``executable`` is accepted and not sent: A2A has no such thing.
    """
    if isinstance(message, str):
        message = {"text": message}
    if not isinstance(message, Mapping):
        raise AgentRejectedError(f"message is {type(message).__name__}; accepted is text or a mapping")
    parts: list[Part] = []
    problems: list[str] = []
    if unknown := sorted(str(key) for key in message.keys() - _MESSAGE_KEYS):
        problems.append(f"message has unknown keys {unknown}; accepted are {sorted(_MESSAGE_KEYS)}")
    text, data = message.get("text") or "", message.get("data")
    if not isinstance(text, str):
        problems.append(f"message.text is {type(text).__name__}; accepted is text")
    elif text:
        parts.append(Part(kind="text", value=text, media_type=_TEXT))
    if data is not None:
        parts.append(Part(kind="data", value=data, media_type="application/json"))
    parts += _read_files(message.get("files") or [], problems)
    if not parts and not problems:
        problems.append("message is empty; accepted is one with any of text, data and files")
    if problems:
        raise AgentRejectedError("; ".join(problems))
    return parts


def _read_files(files: Any, problems: list[str]) -> list[Part]:
    if not isinstance(files, list):
        problems.append(f"message.files is {type(files).__name__}; accepted is a list of {{path, content}}")
        return []
    parts: list[Part] = []
    for index, entry in enumerate(files):
        try:
            parts.append(_read_file(entry))
        except ValueError as error:
            problems.append(f"message.files[{index}] {error}")
    return parts


def _read_file(entry: Any) -> Part:
    if not isinstance(entry, Mapping):
        raise ValueError(f"is {type(entry).__name__}; accepted is a mapping with path and content")
    if unknown := sorted(str(key) for key in entry.keys() - _FILE_KEYS):
        raise ValueError(f"has unknown keys {unknown}; accepted are {sorted(_FILE_KEYS)}")
    path = entry.get("path", entry.get("name"))
    if not isinstance(path, str) or not path:
        raise ValueError("has no path; accepted is text")
    media_type = entry.get("media_type")
    if media_type is not None and not isinstance(media_type, str):
        raise ValueError(f"has media_type {media_type!r}; accepted is text such as 'text/plain'")
    content, is_text = _read_content(entry)
    return Part(kind="raw", value=content, filename=path, media_type=media_type or (_TEXT if is_text else _BINARY))


def _read_content(entry: Mapping[str, Any]) -> tuple[bytes, bool]:
    """Return a file's content, and whether it was given as text."""
    given = sorted(entry.keys() & {"content", "content_base64"})
    encoding = entry.get("encoding", "base64" if given == ["content_base64"] else "utf-8")
    content = entry.get(given[0]) if len(given) == 1 else None
    if not isinstance(content, str):
        raise ValueError(f"has {given or 'no content'}; accepted is text as one of content and content_base64")
    try:
        if encoding == "base64":
            return base64.b64decode(content, validate=True), False
        if encoding == "utf-8" and given == ["content"]:
            return content.encode(), True
    except (UnicodeEncodeError, binascii.Error) as error:
        raise ValueError(f"has content that is no {encoding}") from error
    raise ValueError(f"has encoding {encoding!r}; accepted are 'utf-8' and 'base64'")


def make_data(parts: Sequence[Part], *, task_id: str | None) -> dict[str, Any]:
    """Return a step's answer: ``{text, data, files, task_id}``.

    ``text`` is all text, in lines; ``data`` is a list; ``files`` is a list of ``{path, content, encoding?}``, in base64
    what is no text (UTF-8 without NUL). Every file has its content: no part is a URL. Left out are parts of unknown
    kinds, and bytes without a name.
    """
    return {
        "text": "\n".join(part.value for part in parts if part.kind == "text" and not part.filename),
        "data": [part.value for part in parts if part.kind == "data" and not part.filename],
        "files": [_make_file(part) for part in parts if part.filename and part.kind != "unknown"],
        "task_id": task_id,
    }


def _make_file(part: Part) -> dict[str, str]:
    if part.kind == "text":
        return {"path": part.filename, "content": part.value}
    if part.kind == "data":
        return {"path": part.filename, "content": json.dumps(part.value, indent=2, ensure_ascii=False) + "\n"}
    try:
        if b"\0" not in part.value:
            return {"path": part.filename, "content": part.value.decode()}
    except UnicodeDecodeError:
        pass
    return {"path": part.filename, "content": base64.b64encode(part.value).decode(), "encoding": "base64"}
