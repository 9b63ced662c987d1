"""Rendering a template of our own kind: files are read here, and all that their author wrote is computed elsewhere.

A process with limits (`child`) computes defaults, patterns, conditions, paths and contents. It is believed nothing:
what it says is checked as if the template's author had said it.
"""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import TYPE_CHECKING, Any, Final

from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.isolation import IsolatedProcess, Limits
from scaffolder.generation.templates.native.compiled import CompiledTemplates
from scaffolder.generation.templates.native.definition import find_line
from scaffolder.generation.templates.native.frames import (
    MAX_MESSAGE_BYTES,
    PROGRESS,
    Ask,
    FrameError,
    Stage,
    Tell,
    clean,
    pack,
    parse,
    read_frames,
)
from scaffolder.generation.templates.native.job import Job
from scaffolder.generation.templates.native.plan import Plan, PlannedFile
from scaffolder.generation.templates.native.source_files import SourceFiles
from scaffolder.generation.templates.native.template_values import TemplateValues
from scaffolder.generation.tree import GeneratedFile

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.templates.native.definition import NativeTemplate

_PROGRAM: Final = "scaffolder.generation.templates.native.child"


def render_template(
    template: NativeTemplate, values: Mapping[str, Any], *, run: Mapping[str, Any], settings: Settings
) -> list[GeneratedFile]:
    """Return the template's files for `values`, by path. See `NativeTemplate.render`."""
    complete = TemplateValues(template, values)
    progress = os.memfd_create("scaffolder-progress")
    try:
        os.ftruncate(progress, PROGRESS.size)
        rendering = _Rendering(template, values=complete, run=dict(run), settings=settings, progress=progress)
        files = rendering.render()
    finally:
        os.close(progress)
    return sorted(files, key=lambda file: file.path)


class _Rendering:
    """One template on its way to files: a plan, then a job. `progress` is where the process notes its stage."""

    def __init__(
        self,
        template: NativeTemplate,
        *,
        values: TemplateValues,
        run: Mapping[str, Any],
        settings: Settings,
        progress: int,
    ) -> None:
        self._template = template
        self._lineage = template.lineage
        self._values = values
        self._run = run
        self._settings = settings
        self._progress = progress
        self._cache = CompiledTemplates(settings.cache_dir / "compiled")
        self._included: deque[bytes] = deque()
        self._job: Job | None = None

    def render(self) -> list[GeneratedFile]:
        """Do it."""
        process = IsolatedProcess(
            _PROGRAM,
            limits=Limits.from_settings(self._settings),
            describe=lambda: f"template {self._template.name!r}",
            arguments=[str(self._progress)],
            inherited=[self._progress],
        )
        # It starts while the files are looked for.
        with process:
            sources = SourceFiles(self._template, settings=self._settings)
            self._values.check_given()
            process.describe = lambda: self._describe(sources)
            plan = Plan(
                self._template,
                sources=sources,
                values=self._values,
                run=self._run,
                cache=self._cache,
                settings=self._settings,
            )
            try:
                with closing(plan):
                    return self._exchange(process, plan, sources)
            except FrameError as error:
                raise TemplateError(
                    f"template {self._template.name!r}: its process says what cannot be used: {error}"
                ) from error
            finally:
                if self._job is not None:
                    self._job.close()

    def _exchange(self, process: IsolatedProcess, plan: Plan, sources: SourceFiles) -> list[GeneratedFile]:
        def find_limit(kind: int, number: int) -> int:
            if kind == Tell.FAILED:
                return MAX_MESSAGE_BYTES
            if kind == Tell.NEEDED and number < len(sources):
                return 0
            return (self._job or plan).find_limit(kind, number)

        chunks = process.exchange(self._ask(plan, sources))
        for kind, number, payload in read_frames(chunks, find_limit=find_limit):
            if kind == Tell.FAILED:
                raise self._explain(parse(payload), sources)
            if kind == Tell.NEEDED:
                self._answer_need(sources, number)
                continue
            (self._job or plan).take(kind, number, payload)
            if kind == Tell.PLANNED:
                self._job = self._start_job(plan.files or [], sources)
                if not self._job.numbers:
                    return self._job.files
        if self._job is None or not self._job.is_done:
            raise FrameError("no end")
        return self._job.files

    def _start_job(self, planned: list[PlannedFile], sources: SourceFiles) -> Job:
        data = json.dumps([self._values.given, self._run], ensure_ascii=False)
        return Job(planned, sources=sources, data=data, cache=self._cache, settings=self._settings)

    def _ask(self, plan: Plan, sources: SourceFiles) -> Iterator[bytes]:
        """Yield what the process is to get; nothing where it has to answer first."""
        yield from plan.ask()
        sources.read_early()
        while self._job is None:
            yield self._included.popleft() if self._included else b""
        for chunk in self._job.ask():
            yield from self._answer_needs()
            yield chunk
        while not self._job.is_done:
            yield from self._answer_needs()
            yield b""

    def _answer_need(self, sources: SourceFiles, number: int) -> None:
        if self._included:
            raise FrameError("a need before the last one was met")
        self._included.append(pack(Ask.INCLUDED, number, sources.read(number)))

    def _answer_needs(self) -> Iterator[bytes]:
        while self._included:
            yield self._included.popleft()

    def _describe(self, sources: SourceFiles) -> str:
        """Say what the process is at. What it notes may be anything."""
        stage, number = PROGRESS.unpack(os.pread(self._progress, PROGRESS.size, 0))
        name = f"template {self._template.name!r}"
        if stage == Stage.DEFAULT and number < len(self._values.templated):
            return f"{name}: the default of {self._values.templated[number][0]!r}"
        if stage == Stage.CONDITION:
            return f"{name}: a condition"
        if stage == Stage.PART:
            return f"{name}: a part of a path"
        if stage in {Stage.PATTERN, Stage.PATH} and number < len(sources):
            return f"{sources.describe(number)}: its {'path' if stage == Stage.PATH else 'patterns'}"
        if stage == Stage.FILE and self._job is not None and number < len(self._job.numbers):
            return sources.describe(self._job.numbers[number])
        return name

    def _explain(self, failure: Any, sources: SourceFiles) -> TemplateError | LimitExceededError:
        """Return the error that the process tells of. Raises FrameError where that is none."""
        if not isinstance(failure, dict):
            raise FrameError("a failure that is none")
        if failure.get("size") is True:
            return LimitExceededError(
                f"{self._describe(sources)} grew past {self._settings.max_file_size} bytes, which are accepted "
                "(SCAFFOLDER_MAX_FILE_SIZE)"
            )
        layer, message = failure.get("layer"), clean(failure.get("message"))
        if not isinstance(layer, int) or not 0 <= layer < len(self._lineage):
            raise FrameError("a failure without a place")
        path, line, rendering = failure.get("path"), failure.get("line"), failure.get("rendering")
        if not isinstance(path, str):
            location = failure.get("location")
            place = tuple(str(part) for part in location) if isinstance(location, list) else ()
            file, line = find_line(self._lineage[layer], place)
            return TemplateError(f"{file}:{line}: {message}")
        where = f"template {self._lineage[layer].name!r}: {clean(path)!r}"
        if isinstance(line, int):
            where += f", line {line}:"
        cause = f" (in {clean(rendering)!r})" if isinstance(rendering, str) and rendering != path else ""
        return TemplateError(f"{where} {message}{cause}")
