"""Files written by a model: a manifest first, then the contents in groups small enough not to be cut off.

Of an answer that is cut off all the same, those files count that are there in full; the others are asked for again in
smaller groups.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic_core import from_json

from scaffolder.agents.llm.conversation import Conversation, Reply
from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError

#: What an answer is taken to hold where max_tokens isn't set. Hosted models hold more.
_DEFAULT_MAX_TOKENS: Final = 16_384
#: Code has about three bytes a token; groups are planned for half of what an answer holds.
_GROUP_BYTES_PER_TOKEN: Final = 1.5
_MAX_GROUP_FILES: Final = 20
_MAX_PATH_CHARACTERS: Final = 1_024
_UNSAFE_PART: Final = re.compile(r"\.{0,2}|.*[\\:\x00-\x1f\x7f].*", re.DOTALL)

_MANIFEST_SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "summary": {"type": "string", "description": "What the files are, in one or two sentences."},
        "files": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "path": {"type": "string", "description": "Relative path with forward slashes."},
                    "purpose": {"type": "string", "description": "What the file is for and what it has to hold."},
                    "size_bytes": {"type": "integer", "description": "Estimated size of the complete file in bytes."},
                },
                "required": ["path", "purpose", "size_bytes"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["summary", "files"],
    "additionalProperties": False,
}
_MANIFEST_REQUEST: Final = (
    "Answer with files. First plan them: list every file that is wanted, with its path, its purpose and its estimated "
    "size. Do not write any contents yet; you will be asked for them next, a few files at a time."
)
_GROUP_REQUEST: Final = (
    "Now write these files of your list, each of them complete from its first line to its last, exactly as it is to be "
    "saved, without Markdown around it. Nothing may be left out or abbreviated."
)


@dataclass(frozen=True, kw_only=True)
class _PlannedFile:
    """One file of the manifest. `key` is what it is called in answers: providers limit the names of properties."""

    key: str
    path: str
    purpose: str
    size_bytes: int


async def write_files(conversation: Conversation, prompt: str, *, settings: Settings) -> dict[str, Any]:
    """Return ``files``, each with ``path`` and ``content``, in the manifest's order, and its ``summary``.

    Raises AgentAnswerError for a manifest that cannot be used and for a file that is cut off even when it is asked for
    alone, and LimitExceededError for more than `Settings.max_agent_response_size` bytes.
    """
    request = f"{prompt}\n\n{_MANIFEST_REQUEST}"
    manifest = await conversation.ask_for_object(
        "manifest",
        [request],
        schema=_MANIFEST_SCHEMA,
        find_problems=lambda manifest: _find_problems(manifest, max_files=settings.max_agent_files),
    )
    planned = [_PlannedFile(key=f"file_{number}", **entry) for number, entry in enumerate(manifest["files"], start=1)]
    turns = [request, json.dumps(manifest, ensure_ascii=False)]
    contents = await _ask_for_contents(conversation, turns, planned, max_size=settings.max_agent_response_size)
    return {
        "summary": manifest["summary"],
        "files": [{"path": file.path, "content": contents[file.path]} for file in planned],
    }


async def _ask_for_contents(
    conversation: Conversation, turns: Sequence[str], planned: Sequence[_PlannedFile], *, max_size: int
) -> dict[str, str]:
    max_bytes = int(conversation.settings.get("max_tokens", _DEFAULT_MAX_TOKENS) * _GROUP_BYTES_PER_TOKEN)
    waiting = list(_make_groups(planned, max_bytes=max_bytes, max_files=_MAX_GROUP_FILES))
    contents: dict[str, str] = {}
    size = number = 0
    while waiting:
        group = waiting.pop(0)
        number += 1
        written = await _ask_for_group(conversation, f"files {number}", turns, group)
        contents |= written
        size += sum(len(content.encode()) for content in written.values())
        if size > max_size:
            raise LimitExceededError(
                f"{conversation.connection.name} answered files of more than {max_size} bytes "
                "(SCAFFOLDER_MAX_AGENT_RESPONSE_SIZE)"
            )
        missing = [file for file in group if file.path not in written]
        smaller = max(1, len(group) // 2)
        waiting[:0] = [missing[start : start + smaller] for start in range(0, len(missing), smaller)]
    return contents


async def _ask_for_group(
    conversation: Conversation, name: str, turns: Sequence[str], group: Sequence[_PlannedFile]
) -> dict[str, str]:
    """Return the files of `group` that the model has written in full; a single one is there, or AgentAnswerError."""
    listing = "\n".join(f"- {file.key}: {file.path} ({file.purpose})" for file in group)
    asked = [*turns, f"{_GROUP_REQUEST}\n{listing}"]
    schema = _make_group_schema(group)
    if len(group) == 1:
        [file] = group
        written = await conversation.ask_for_object(f"{name}: {file.path!r}", asked, schema=schema)
        return {file.path: written[file.key]}
    reply = await conversation.ask(name, asked, schema=schema)
    found = _read_complete_strings(reply)
    return {file.path: found[file.key] for file in group if file.key in found}


def _make_groups(files: Sequence[_PlannedFile], *, max_bytes: int, max_files: int) -> Iterator[list[_PlannedFile]]:
    group: list[_PlannedFile] = []
    size = 0
    for file in files:
        if group and (size + file.size_bytes > max_bytes or len(group) == max_files):
            yield group
            group, size = [], 0
        group.append(file)
        size += max(0, file.size_bytes)
    if group:
        yield group


def _make_group_schema(group: Sequence[_PlannedFile]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {
            file.key: {"type": "string", "description": f"The complete content of {file.path}"} for file in group
        },
        "required": [file.key for file in group],
        "additionalProperties": False,
    }


def _read_complete_strings(reply: Reply) -> dict[str, str]:
    """Return those properties of a JSON object, perhaps broken off, that are text up to its closing quote."""
    try:
        data, is_whole = json.loads(reply.text), True
    except (ValueError, RecursionError):
        try:
            data, is_whole = from_json(reply.text, allow_partial=True), False
        except ValueError:
            return {}
    if not isinstance(data, dict):
        return {}
    names = list(data)
    if is_whole and not reply.is_complete:
        # Some providers close what the model left open, so the last one may be half a file.
        names = names[:-1]
    return {name: data[name] for name in names if isinstance(data[name], str) and _is_unicode(data[name])}


def _is_unicode(text: str) -> bool:
    # An escape in JSON may stand for half a character (RFC 8259, section 8.2).
    return not any("\ud800" <= character <= "\udfff" for character in text)


def _find_problems(manifest: Mapping[str, Any], *, max_files: int) -> list[str]:
    paths = [entry["path"] for entry in manifest["files"]]
    if not 1 <= len(paths) <= max_files:
        return [f"files: it lists {len(paths)}; accepted are 1 to {max_files}"]
    twice = [path for path, count in Counter(paths).items() if count > 1]
    unsafe = [path for path in paths if _is_unsafe(path)]
    return [f"files: the path {path[:100]!r} is there more than once" for path in twice] + [
        f"files: the path {path[:100]!r} is not a relative path with forward slashes" for path in unsafe
    ]


def _is_unsafe(path: str) -> bool:
    # Whoever writes the files checks them by stricter rules; by then all contents would have been paid for.
    return len(path) > _MAX_PATH_CHARACTERS or any(_UNSAFE_PART.fullmatch(part) for part in path.split("/"))
