"""The first half of a rendering: which files there will be, and under which paths."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.templates.native.compiled import CompiledSources, CompiledTemplates, make_key
from scaffolder.generation.templates.native.frames import MAX_MESSAGE_BYTES, SUFFIX, Ask, FrameError, Tell, pack, parse

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.templates.native.definition import NativeTemplate
    from scaffolder.generation.templates.native.source_files import SourceFiles
    from scaffolder.generation.templates.native.template_values import TemplateValues

_MAX_PATH_BYTES: Final = 65_536


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """What becomes of the source file `number`."""

    number: int
    path: str
    rendered: bool


class Plan:
    """The plan, from the question to the answer. `files` are the answer: all that stay, each path once."""

    def __init__(
        self,
        template: NativeTemplate,
        *,
        sources: SourceFiles,
        values: TemplateValues,
        run: Mapping[str, Any],
        cache: CompiledTemplates,
        settings: Settings,
    ) -> None:
        self.files: list[PlannedFile] | None = None
        self._template = template
        self._lineage = template.lineage
        self._sources = sources
        self._values = values
        self._run = run
        self._settings = settings
        self._taken: dict[int, PlannedFile] = {}
        self.parts = _list_parts(sources)
        key = make_key((("", part.encode("utf-8", "surrogatepass")) for part in self.parts), stand_in="")
        self._codes = CompiledSources(cache, key, count=len(self.parts))

    def ask(self) -> Iterator[bytes]:
        """Yield the question."""
        yield pack(Ask.PLAN, payload=json.dumps(self._make_question()).encode())
        yield from self._codes.read()

    def _make_question(self) -> dict[str, Any]:
        return {
            **describe_rules(self._template),
            "values": self._values.given,
            "defaults": self._values.templated,
            "run": self._run,
            "files": [
                (self._sources[number].layer, self._sources[number].path) for number in range(len(self._sources))
            ],
            "parts": self.parts,
            "parts_follow": self._codes.are_there,
            "keep_parts": self._codes.are_wanted,
            "max_file_size": self._settings.max_file_size,
        }

    def find_limit(self, kind: int, number: int) -> int:
        """Return the bytes that a frame may have. Raises FrameError where it may not come."""
        if kind == Tell.DEFAULTS and not self._values.completed:
            return MAX_MESSAGE_BYTES
        if kind == Tell.CODE and self._codes.are_wanted and number == self._codes.taken < len(self.parts):
            return MAX_MESSAGE_BYTES
        if kind in {Tell.COPIED, Tell.RENDERED} and number < len(self._sources) and number not in self._taken:
            return _MAX_PATH_BYTES
        if kind == Tell.PLANNED and self._values.completed:
            return 0
        raise FrameError(f"a frame {kind} with number {number} while it plans")

    def take(self, kind: int, number: int, payload: bytes) -> None:
        """Take one frame of the answer. Raises TemplateError, LimitExceededError and FrameError."""
        if kind == Tell.DEFAULTS:
            self._values.complete(parse(payload))
        elif kind == Tell.CODE:
            self._codes.add(pack(Ask.CODE, number, payload))
        elif kind == Tell.PLANNED:
            self.files = self._choose()
        else:
            self._take_path(number, payload, rendered=kind == Tell.RENDERED)

    def _take_path(self, number: int, payload: bytes, *, rendered: bool) -> None:
        if rendered and not self._sources[number].path.endswith(SUFFIX):
            raise FrameError(f"a file {number} that is no template")
        try:
            path = payload.decode("utf-8", "surrogatepass")
        except UnicodeDecodeError as error:
            raise FrameError(f"a path that is not UTF-8: {payload[:100]!r}") from error
        self._taken[number] = PlannedFile(number=number, path=path, rendered=rendered)

    def _choose(self) -> list[PlannedFile]:
        """Settle which file has a path: a template's own takes the place of that of a template it extends."""
        chosen: dict[str, PlannedFile] = {}
        collisions: list[str] = []
        for _, file in sorted(self._taken.items()):
            other = chosen.get(file.path)
            if other is not None and self._sources[other.number].layer == self._sources[file.number].layer:
                both = f"{self._sources[other.number].path!r} and {self._sources[file.number].path!r}"
                collisions.append(f"{both} both become {file.path!r}")
            chosen[file.path] = file
        name = self._template.name
        if collisions:
            raise TemplateError(f"template {name!r}: " + "; ".join(collisions))
        if len(chosen) > self._settings.max_project_files:
            raise LimitExceededError(
                f"template {name!r} has {len(chosen)} files, accepted are {self._settings.max_project_files} "
                "(SCAFFOLDER_MAX_PROJECT_FILES)"
            )
        files = sorted(chosen.values(), key=lambda file: file.number)
        self._sources.check([file.number for file in files])
        return files

    def close(self) -> None:
        """Let go of the cache."""
        self._codes.close()


def describe_rules(template: NativeTemplate) -> dict[str, Any]:
    """Return, by layer of the template's lineage, what decides on its files, as plain data.

    ``rules`` are patterns and conditions; ``applied`` are the layers whose rules a layer's files obey: its own and
    those that extend it; ``visible`` are the layers where an include looks for a file, in this order.
    """
    lineage = template.lineage
    indexes = {one.directory: index for index, one in enumerate(lineage)}
    # Of the templates that one extends, the last named comes first, as with the files that take each other's place.
    visible = [[indexes[base.directory] for base in reversed(one.lineage)] for one in lineage]
    layers = range(len(lineage))
    return {
        "rules": [
            {"exclude": one.exclude, "conditions": one.conditions, "copy_without_render": one.copy_without_render}
            for one in lineage
        ],
        "applied": [[other for other in layers if layer in visible[other]] for layer in layers],
        "visible": visible,
    }


def _list_parts(sources: SourceFiles) -> list[str]:
    """Return the parts of paths that may be templates, each once."""
    parts: dict[str, None] = {}
    for number in range(len(sources)):
        path = sources[number].path
        if "{" in path:
            parts |= dict.fromkeys(part for part in path.removesuffix(SUFFIX).split("/") if "{" in part)
    return list(parts)
