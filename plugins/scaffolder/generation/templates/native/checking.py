"""Checking a template of our own kind: all that is wrong with it at once, and what it gives for some values."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from scaffolder.errors import PermanentError, TemplateError
from scaffolder.generation.isolation import IsolatedProcess, Limits, run_isolated
from scaffolder.generation.templates.native.definition import find_line
from scaffolder.generation.templates.native.frames import FrameError, clean, parse
from scaffolder.generation.templates.native.plan import describe_rules
from scaffolder.generation.templates.native.source_files import SourceFiles
from scaffolder.generation.templates.native.template_values import has_marks
from scaffolder.json_schema import SchemaError, find_violations

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.templates.native.definition import NativeTemplate
    from scaffolder.generation.tree import GeneratedFile

_PROGRAM: Final = "scaffolder.generation.templates.native.checking_child"
_ANSWER_BYTES: Final = 8_388_608
_SOURCE_BYTES: Final = 1_048_576
_ALL_SOURCES_BYTES: Final = 67_108_864


@dataclass(frozen=True, kw_only=True, order=True)
class TemplateProblem:
    """One thing that is wrong. `line` is 1-based, and 0 where a file has no line for it."""

    file: Path
    line: int
    message: str

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else str(self.file)
        return f"{where}: {self.message}"


@dataclass(frozen=True, kw_only=True)
class TemplateReport:
    """What a check found, by file and line. `files` is what the template gives; None without values, or in vain."""

    problems: tuple[TemplateProblem, ...]
    files: tuple[GeneratedFile, ...] | None


def check_template(
    template: NativeTemplate, *, values: Mapping[str, Any] | None, run: Mapping[str, Any], settings: Settings
) -> TemplateReport:
    """Look for mistakes in `template` and the templates it extends, and render it for `values` where there are any.

    Found are: values that are used but not in the schema, or in the schema but not used; filters and tests that do not
    exist; syntax errors; includes of what is not there; patterns without a file; conditions that are never true;
    files that can never be reached; two files of one path; defaults that the schema refuses. Reads files, writes none.
    """
    problems = {*_check_defaults(template)}
    try:
        problems |= set(_check_sources(template, settings=settings))
    except PermanentError as error:
        problems.add(TemplateProblem(file=template.directory, line=0, message=str(error)))
    files = None
    if values is not None:
        try:
            files = tuple(template.render(values, run=run, trust=False, settings=settings))
        except PermanentError as error:
            problems.add(TemplateProblem(file=template.directory, line=0, message=str(error)))
    return TemplateReport(problems=tuple(sorted(problems)), files=files)


def _check_defaults(template: NativeTemplate) -> Iterator[TemplateProblem]:
    schema = template.values_schema
    for name, one in schema.get("properties", {}).items():
        if not isinstance(one, Mapping) or "default" not in one or has_marks(one["default"]):
            continue
        alone = {key: schema[key] for key in ("$defs", "definitions") if key in schema} | {"properties": {name: one}}
        file, line = find_line(template, ("values", "properties", name, "default"))
        try:
            for _, message in find_violations(alone, {name: one["default"]}, bounded=True):
                sentence = f"the value {name!r} refuses its own default: {message}"
                yield TemplateProblem(file=file, line=line, message=sentence)
        except SchemaError as error:
            yield TemplateProblem(file=file, line=line, message=f"the value {name!r} has no usable schema: {error}")


def _check_sources(template: NativeTemplate, *, settings: Settings) -> Iterator[TemplateProblem]:
    sources = SourceFiles(template, settings=settings)
    properties = template.values_schema.get("properties", {})
    request = describe_rules(template) | {
        "files": list(_list_sources(sources)),
        "values": list(properties),
        "defaults": [
            (name, one["default"]) for name, one in properties.items() if isinstance(one, Mapping) and "default" in one
        ],
    }
    process = IsolatedProcess(
        _PROGRAM,
        limits=Limits.from_settings(settings),
        describe=lambda: f"checking template {template.name!r}",
    )
    answer = run_isolated(process, request=json.dumps(request).encode(), answer_size=_ANSWER_BYTES)
    try:
        findings = parse(answer)
        for finding in findings if isinstance(findings, list) else [None]:
            yield _read_finding(template, finding)
    except FrameError as error:
        raise TemplateError(f"checking template {template.name!r} gave what cannot be used: {error}") from error


def _list_sources(sources: SourceFiles) -> Iterator[tuple[int, str, str | None]]:
    """Yield layer, path and text of each file; None stands for what is no text, or too much of it."""
    size_bytes = 0
    for number in range(len(sources)):
        file, text = sources[number], None
        size_bytes += file.size_bytes
        if file.is_regular and file.size_bytes <= _SOURCE_BYTES and size_bytes <= _ALL_SOURCES_BYTES:
            try:
                text = sources.read(number).decode("utf-8")
            except UnicodeDecodeError:
                text = None
        yield file.layer, file.path, text


def _read_finding(template: NativeTemplate, finding: Any) -> TemplateProblem:
    """Return the problem that a process tells of. Raises FrameError where it tells of none."""
    lineage = template.lineage
    match finding:
        case [int(layer), str() | None as path, list() | None as location, int() | None as line, str(message)] if (
            0 <= layer < len(lineage)
        ):
            if path is not None:
                return TemplateProblem(
                    file=lineage[layer].directory / clean(path), line=line or 0, message=clean(message)
                )
            place = tuple(str(part) for part in location or ())
            file, known_line = find_line(lineage[layer], place)
            return TemplateProblem(file=file, line=known_line, message=clean(message))
    raise FrameError("a finding that is none")
