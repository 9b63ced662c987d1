"""The program that renders a template, in a process with limits: it reads and writes frames, and no file.

First comes a plan, answered with the path of each file that is not left out; then a job, answered with the content of
each file that is rendered. See `frames` for the language.
"""

from __future__ import annotations

import gc
import json
import marshal
import mmap
import os
import sys
from collections import deque
from collections.abc import Mapping
from types import CodeType, TracebackType
from typing import IO, Any, Final, NoReturn

from jinja2 import Template, TemplateNotFound, TemplateRuntimeError, TemplateSyntaxError

from scaffolder.generation.templates.native.environment import IncludableFiles, TemplateEnvironment, describe_missing
from scaffolder.generation.templates.native.frames import HEADER, PROGRESS, Ask, Stage, Tell
from scaffolder.generation.templates.native.planning import (
    PlanError,
    compile_part,
    complete_values,
    explain,
    plan_files,
)

_BUFFER_BYTES: Final = 262_144


class _Stop(Exception):  # noqa: N818 - no error, the answer was given
    """There is nothing more to do."""


class _Link:
    """Frames from and to the process that asks, and the progress that it can see at any time."""

    def __init__(self, progress: int) -> None:
        self._source: IO[bytes] = os.fdopen(0, "rb", _BUFFER_BYTES)
        self._target: IO[bytes] = os.fdopen(1, "wb", _BUFFER_BYTES)
        self._progress = mmap.mmap(progress, PROGRESS.size)
        self._early: deque[tuple[int, int, bytes]] = deque()

    def note(self, stage: Stage, number: int) -> None:
        PROGRESS.pack_into(self._progress, 0, stage, number)

    def receive(self) -> tuple[int, int, bytes]:
        return self._early.popleft() if self._early else self._read()

    def receive_included(self) -> bytes:
        """Return the source that was asked for; what comes before it waits."""
        self.flush()
        while True:
            frame = self._read()
            if frame[0] == Ask.INCLUDED:
                return frame[2]
            self._early.append(frame)

    def _read(self) -> tuple[int, int, bytes]:
        header = self._source.read(HEADER.size)
        if len(header) < HEADER.size:
            raise EOFError("the parent said no more")
        kind, number, size = HEADER.unpack(header)
        return kind, number, self._source.read(size)

    def send(self, kind: Tell, number: int = 0, payload: bytes = b"") -> None:
        self._target.write(HEADER.pack(kind, number, len(payload)))
        self._target.write(payload)

    def flush(self) -> None:
        self._target.flush()

    def fail(self, message: str, **where: Any) -> NoReturn:
        """Say what is wrong, and stop."""
        where["message"] = message[:_BUFFER_BYTES]
        self.send(Tell.FAILED, payload=json.dumps(where).encode())
        raise _Stop


class _Files(IncludableFiles):
    """The template's files, whose sources are asked for when they are included."""

    def __init__(self, plan: Mapping[str, Any], link: _Link) -> None:
        super().__init__(plan["files"], visible=plan["visible"])
        self._link = link

    def read(self, name: str) -> bytes:
        """Return the source of a file."""
        self._link.send(Tell.NEEDED, self.number(name))
        return self._link.receive_included()


class _Renderer:
    """Renders the files of a job, one after the other."""

    def __init__(self, link: _Link, plan: Mapping[str, Any]) -> None:
        self._link = link
        self._plan = plan
        self._files = _Files(plan, link)
        self._stand_in = ""
        self.environment = TemplateEnvironment(find_file=self._files.find, find_source=self._find_source)

    def run(self, job: Mapping[str, Any], variables: dict[str, Any]) -> None:
        self._stand_in = job["stand_in"]
        files, keep_code = job["files"], job["keep_code"]
        # Jinja makes garbage that refers to itself only now and then.
        gc.set_threshold(20_000)
        for position, number in enumerate(files):
            self._link.note(Stage.FILE, position)
            kind, _, payload = self._link.receive()
            layer, path = self._plan["files"][number]
            name = f"{layer}:{path}"
            try:
                # What a process with the same sources compiled, as the parent kept it.
                code = marshal.loads(payload) if kind == Ask.CODE else self._compile(payload, name)  # noqa: S302
                content = self._render(code, variables, position)
            except _Stop:
                raise
            except Exception as error:  # noqa: BLE001 - a template is somebody's code: whatever it raises is the template's error
                self._fail(error, layer, path)
            if keep_code and kind != Ask.CODE:
                self._link.send(Tell.CODE, position, marshal.dumps(code))
            self._link.send(Tell.TEXT, position, content)

    def _find_source(self, name: str) -> str:
        try:
            return self._decode(self._files.read(name))
        except UnicodeDecodeError as error:
            path = name.partition(":")[2]
            raise TemplateRuntimeError(f"includes {path!r}, which is not UTF-8: {error}") from error

    def _decode(self, payload: bytes) -> str:
        source = payload.decode("utf-8")
        return source.replace("\r", self._stand_in) if "\r" in source else source

    def _compile(self, payload: bytes, name: str) -> CodeType:
        return self.environment.compile(self._decode(payload), name)

    def _render(self, code: CodeType, variables: dict[str, Any], position: int) -> bytes:
        template = Template.from_code(self.environment, code, self.environment.globals)
        limit = self._plan["max_file_size"]
        pieces, characters = [], 0
        for piece in template.root_render_func(template.new_context(variables)):
            characters += len(piece)
            if characters > limit:
                self._link.fail("", size=True, position=position)
            pieces.append(piece)
        text = "".join(pieces)
        if self._stand_in in text:
            text = text.replace(self._stand_in, "\r")
        content = text.encode("utf-8")
        if len(content) > limit:
            self._link.fail("", size=True, position=position)
        return content

    def _fail(self, error: Exception, layer: int, path: str) -> NoReturn:
        """Say what is wrong with the file at `path`, or with one that it includes."""
        name, line = f"{layer}:{path}", None
        if isinstance(error, TemplateSyntaxError):
            name, line = error.name or name, error.lineno
        elif found := _find_place(error.__traceback__):
            name, line = found
        at, _, culprit = name.partition(":")
        message = explain(error)
        if isinstance(error, UnicodeDecodeError):
            message = f"is not UTF-8: {error}"
        elif isinstance(error, TemplateNotFound):
            message = describe_missing(error)
        self._link.fail(message, layer=int(at), path=culprit, line=line, rendering=path)


def _find_place(traceback: TracebackType | None) -> tuple[str, int] | None:
    """Return the template's name and the line where an error came up, from the innermost frame that is a template's."""
    found = None
    while traceback is not None:
        template = traceback.tb_frame.f_globals.get("__jinja_template__")
        if isinstance(template, Template) and template.name is not None:
            found = template.name, template.get_corresponding_lineno(traceback.tb_lineno)
        traceback = traceback.tb_next
    return found


def _receive_parts(link: _Link, plan: Mapping[str, Any]) -> dict[str, bytes]:
    return {part: link.receive()[2] for part in plan["parts"]}


def _compile_parts(renderer: _Renderer, link: _Link, plan: Mapping[str, Any]) -> dict[str, bytes]:
    codes: dict[str, bytes] = {}
    if plan["keep_parts"]:
        for position, part in enumerate(plan["parts"]):
            link.note(Stage.PART, position)
            codes[part] = compile_part(renderer.environment, part)
            link.send(Tell.CODE, position, codes[part])
    return codes


def main() -> None:
    """Answer one plan and one job, or only the plan where no job follows."""
    link = _Link(int(sys.argv[1]))
    gc.freeze()
    plan = json.loads(link.receive()[2])
    renderer = _Renderer(link, plan)
    renderer.environment.globals["run"] = plan["run"]
    try:
        try:
            values, rendered = complete_values(renderer.environment, plan, link.note)
            link.send(Tell.DEFAULTS, payload=json.dumps(rendered).encode())
            codes = _receive_parts(link, plan) if plan["parts_follow"] else _compile_parts(renderer, link, plan)
            for file in plan_files(renderer.environment, plan, codes=codes, variables=values, progress=link.note):
                kind = Tell.RENDERED if file.rendered else Tell.COPIED
                link.send(kind, file.number, file.path.encode("utf-8", "surrogatepass"))
        except PlanError as error:
            link.fail(str(error), layer=error.layer, location=error.location, path=error.path)
        link.send(Tell.PLANNED)
        link.flush()
        renderer.run(json.loads(link.receive()[2]), values)
        link.send(Tell.DONE)
    except _Stop:
        pass
    link.flush()
