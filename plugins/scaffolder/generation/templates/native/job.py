"""The second half of a rendering: the contents of the files that the plan has."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.templates.native.compiled import CompiledSources, CompiledTemplates, make_key
from scaffolder.generation.templates.native.frames import MAX_MESSAGE_BYTES, STAND_INS, Ask, FrameError, Tell, pack
from scaffolder.generation.tree import GeneratedFile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scaffolder.config import Settings
    from scaffolder.generation.templates.native.plan import PlannedFile
    from scaffolder.generation.templates.native.source_files import SourceFiles

_CHUNK_BYTES: Final = 131_072
_MARKS: Final = (b"{{", b"{%", b"{#")


class Job:
    """The job, from the question to the answer. `files` are the answer; those that stay as they are need no question.

    `data` is the JSON text of all that templates know.
    """

    def __init__(
        self,
        planned: Sequence[PlannedFile],
        *,
        sources: SourceFiles,
        data: str,
        cache: CompiledTemplates,
        settings: Settings,
    ) -> None:
        self.files: list[GeneratedFile] = []
        self.numbers: list[int] = []
        self.is_done = False
        self._sources = sources
        self._settings = settings
        self._size_bytes = 0
        self._received = 0
        self._waiting: list[PlannedFile] = []
        self._contents: list[bytes] = []
        for file in planned:
            self._begin(file)
        sources.forget()
        self.numbers = [file.number for file in self._waiting]
        self._stand_in = _choose_stand_in(self._contents, data)
        names = (f"{sources[number].layer}:{sources[number].path}" for number in self.numbers)
        key = make_key(zip(names, self._contents, strict=True), stand_in=self._stand_in)
        self._codes = CompiledSources(cache, key, count=len(self.numbers))

    def _begin(self, file: PlannedFile) -> None:
        """Keep a file that stays as it is, let one with Jinja in it wait."""
        content = self._sources.read(file.number)
        if file.rendered and any(mark in content for mark in _MARKS):
            self._waiting.append(file)
            self._contents.append(content)
            return
        if file.rendered:
            try:
                content.decode("utf-8")
            except UnicodeDecodeError as error:
                raise TemplateError(f"{self._sources.describe(file.number)} is not UTF-8: {error}") from error
        self._keep(file, content)

    def ask(self) -> Iterator[bytes]:
        """Yield the question."""
        question = {"files": self.numbers, "stand_in": self._stand_in, "keep_code": self._codes.are_wanted}
        yield pack(Ask.JOB, payload=json.dumps(question).encode())
        if self._codes.are_there:
            self._contents.clear()
            yield from self._codes.read()
            return
        chunk = bytearray()
        for position, content in enumerate(self._contents):
            chunk += pack(Ask.SOURCE, position, content)
            self._contents[position] = b""
            if len(chunk) >= _CHUNK_BYTES:
                yield bytes(chunk)
                chunk.clear()
        yield bytes(chunk)

    def find_limit(self, kind: int, number: int) -> int:
        """Return the bytes that a frame may have. Raises FrameError where it may not come."""
        if number == self._received < len(self.numbers):
            if kind == Tell.TEXT:
                return self._settings.max_file_size
            if kind == Tell.CODE and self._codes.are_wanted and number == self._codes.taken:
                # Code is larger than its source, but not without end.
                return 8 * self._settings.max_file_size + MAX_MESSAGE_BYTES
        if kind == Tell.DONE and self._received == len(self.numbers) and not self.is_done:
            return 0
        raise FrameError(f"a frame {kind} with number {number} while it renders")

    def take(self, kind: int, number: int, payload: bytes) -> None:
        """Take one frame of the answer. Raises LimitExceededError."""
        if kind == Tell.CODE:
            self._codes.add(pack(Ask.CODE, number, payload))
        elif kind == Tell.TEXT:
            self._keep(self._waiting[number], payload)
            self._received += 1
        else:
            self.is_done = True

    def _keep(self, file: PlannedFile, content: bytes) -> None:
        self._size_bytes += len(content)
        if self._size_bytes > self._settings.max_project_size:
            raise LimitExceededError(
                f"{self._sources.describe(file.number)} makes the template's files more than "
                f"{self._settings.max_project_size} bytes, which are accepted (SCAFFOLDER_MAX_PROJECT_SIZE)"
            )
        self.files.append(
            GeneratedFile(
                path=file.path,
                content=content,
                origin=self._sources.origin(file.number),
                executable=self._sources[file.number].executable,
            )
        )

    def close(self) -> None:
        """Let go of the cache."""
        self._codes.close()


def _choose_stand_in(contents: Sequence[bytes], data: str) -> str:
    """Return the first stand-in that is neither in a source nor in the data. Raises TemplateError."""
    for one in STAND_INS:
        encoded, escaped = one.encode(), f"\\u{ord(one):04x}"
        if one not in data and escaped not in data and not any(encoded in content for content in contents):
            return one
    raise TemplateError(
        f"a template and its values use all of {[f'U+{ord(one):04X}' for one in STAND_INS]}; accepted is that one of "
        "them is free to mark carriage returns"
    )
