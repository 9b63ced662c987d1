"""The program that looks for mistakes in a template without rendering it, in a process with limits.

It reads one JSON text and writes one: a list of [layer, path or null, place in the definition or null, line or null,
sentence].
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from jinja2 import TemplateSyntaxError
from pathspec import GitIgnoreSpec

from scaffolder.generation.templates.native.analysis import Reference, Source, analyse, find_unknown_names
from scaffolder.generation.templates.native.environment import REFUSED_NAMES, IncludableFiles, TemplateEnvironment
from scaffolder.generation.templates.native.frames import SUFFIX
from scaffolder.generation.templates.native.template_values import has_marks

_CONTEXT: Final = "context"
_NO_CONTEXT: Final = "no context"


class _Check:
    """One template. `findings` is the answer."""

    def __init__(self, request: Mapping[str, Any]) -> None:
        self.findings: list[tuple[int, str | None, list[str] | None, int | None, str]] = []
        self._files: list[tuple[int, str]] = [(layer, path) for layer, path, _ in request["files"]]
        self._texts = {f"{layer}:{path}": text for layer, path, text in request["files"]}
        self._rules: list[dict[str, Any]] = request["rules"]
        self._applied: list[list[int]] = request["applied"]
        self._visible: list[list[int]] = request["visible"]
        self._values: list[str] = request["values"]
        self._defaults: list[tuple[str, Any]] = request["defaults"]
        self._includable = IncludableFiles(self._files, visible=self._visible)
        self._environment = TemplateEnvironment(find_file=self._includable.find, find_source=self._texts.__getitem__)
        self._globals = {"run", *self._environment.globals} - REFUSED_NAMES
        self._used: set[str] = set()
        self._sources: dict[str, Source | None] = {}

    def run(self) -> None:
        """Look for everything."""
        self._check_defaults()
        for layer, rule in enumerate(self._rules):
            self._check_rule(layer, rule)
        kept, left_out = self._sort_files()
        for layer, path in kept:
            self._check_path(layer, path)
        self._check_collisions(kept)
        self._check_sources(kept, left_out)
        self._check_unused()

    def _add(
        self,
        layer: int,
        message: str,
        *,
        path: str | None = None,
        location: list[str] | None = None,
        line: int | None = None,
    ) -> None:
        self.findings.append((layer, path, location, line, message))

    # The definition

    def _check_defaults(self) -> None:
        own, templated = len(self._rules) - 1, [name for name, default in self._defaults if has_marks(default)]
        for name, default in self._defaults:
            location = ["values", "properties", name, "default"]
            later = set(templated[templated.index(name) :]) if name in templated else set()
            known = [value for value in self._values if value not in later]
            for text in _list_texts(default):
                self._check_text(text, f"the default of {name!r} ", layer=own, location=location, known=known)

    def _check_rule(self, layer: int, rule: Mapping[str, Any]) -> None:
        paths = [path for other, path in self._files if layer in self._applied[other]]
        own = [path for other, path in self._files if other == layer]
        self._compile(layer, rule["exclude"], ["exclude"])
        for pattern in rule["copy_without_render"]:
            spec = self._compile(layer, [pattern], ["copy_without_render"])
            if spec is not None and not any(spec.match_file(path) for path in own):
                self._add(layer, f"{pattern!r} matches no file", location=["copy_without_render"])
        for pattern, expression in rule["conditions"]:
            location = ["conditions", pattern]
            spec = self._compile(layer, [pattern], location)
            if spec is not None and not any(spec.match_file(path) for path in paths):
                self._add(layer, f"{pattern!r} matches no file", location=location)
            subject = f"the condition of {pattern!r} "
            source = self._check_text(
                f"{{{{ {expression} }}}}", subject, layer=layer, location=location, known=self._values
            )
            if source is not None and not source.names and not self._is_true(expression):
                self._add(layer, f"{subject}is never true: its files are always left out", location=location)

    def _is_true(self, expression: str) -> bool:
        try:
            return bool(self._environment.compute(expression, {}))
        except Exception:  # noqa: BLE001 - what cannot be computed is not false; rendering says what is wrong
            return True

    def _compile(self, layer: int, patterns: Sequence[str], location: list[str]) -> GitIgnoreSpec | None:
        try:
            return GitIgnoreSpec.from_lines(patterns)
        except Exception as error:  # noqa: BLE001 - the library has no error of its own for it
            self._add(layer, f"{location[0]} has a pattern that is none: {error}", location=location)
            return None

    def _check_text(
        self,
        text: str,
        subject: str,
        *,
        layer: int,
        known: Sequence[str],
        path: str | None = None,
        location: list[str] | None = None,
    ) -> Source | None:
        """Check a short template that is not a file."""
        try:
            source = analyse(self._environment, text, None)
        except TemplateSyntaxError as error:
            self._add(layer, subject + str(error.message), path=path, location=location)
            return None
        for _, message in source.problems:
            self._add(layer, subject + message, path=path, location=location)
        self._used |= source.names.keys()
        for name in find_unknown_names(source, {*known, *self._globals}):
            self._add(layer, f"{subject}{_describe_unknown(name, known)}", path=path, location=location)
        return source

    # The files

    def _sort_files(self) -> tuple[list[tuple[int, str]], list[tuple[int, str]]]:
        """Return the files that may stay, and those that are excluded."""
        excluded = [self._silently_compile(rule["exclude"]) for rule in self._rules]
        kept: list[tuple[int, str]] = []
        left_out: list[tuple[int, str]] = []
        for layer, path in self._files:
            out = any(excluded[other].match_file(path) for other in self._applied[layer])
            (left_out if out else kept).append((layer, path))
        return kept, left_out

    def _silently_compile(self, patterns: Sequence[str]) -> GitIgnoreSpec:
        try:
            return GitIgnoreSpec.from_lines(patterns)
        except Exception:  # noqa: BLE001 - the rule's own check has told of it
            return GitIgnoreSpec.from_lines([])

    def _is_rendered(self, layer: int, path: str) -> bool:
        copied = self._silently_compile(self._rules[layer]["copy_without_render"])
        return path.endswith(SUFFIX) and not copied.match_file(path)

    def _check_path(self, layer: int, path: str) -> None:
        stem = path.removesuffix(SUFFIX) if self._is_rendered(layer, path) else path
        for part in stem.split("/"):
            if "{" in part:
                self._check_text(part, "its path ", layer=layer, path=path, known=self._values)

    def _check_collisions(self, kept: Sequence[tuple[int, str]]) -> None:
        """Find files of one path, where no condition can tell which of them there will be."""
        conditions = [[self._silently_compile([pattern]) for pattern, _ in rule["conditions"]] for rule in self._rules]
        first: dict[str, tuple[int, str]] = {}
        for layer, path in kept:
            if any(spec.match_file(path) for other in self._applied[layer] for spec in conditions[other]):
                continue
            target = path.removesuffix(SUFFIX) if self._is_rendered(layer, path) else path
            other_layer, other_path = first.setdefault(target, (layer, path))
            if other_path != path and other_layer == layer:
                self._add(layer, f"becomes {target!r}, as does {other_path!r}", path=path)
            elif other_layer != layer and other_layer not in self._visible[layer]:
                self._add(
                    other_layer, "is never used: another template that is extended has the path too", path=other_path
                )
            first[target] = (layer, path)

    def _check_sources(self, kept: Sequence[tuple[int, str]], left_out: Sequence[tuple[int, str]]) -> None:
        roots = [f"{layer}:{path}" for layer, path in kept if self._is_rendered(layer, path)]
        reached, extra = self._follow(roots)
        for name, roles in reached.items():
            source = self._sources[name]
            if source is not None:
                known = {*self._values, *self._globals, *(() if name in roots else extra[name])}
                self._check_names(name, source, known=known, has_context=_CONTEXT in roles)
        if any(source is not None and source.is_dynamic for source in self._sources.values()):
            return  # any file may be one that is included
        for layer, path in left_out:
            if path.endswith(SUFFIX) and f"{layer}:{path}" not in reached:
                self._add(layer, "is excluded, and no file includes it", path=path)

    def _check_names(self, name: str, source: Source, *, known: set[str], has_context: bool) -> None:
        layer, path = self._split(name)
        self._used |= source.names.keys()
        for line, message in source.problems:
            self._add(layer, message, path=path, line=line)
        for unknown in find_unknown_names(source, known):
            self._add(layer, _describe_unknown(unknown, self._values), path=path, line=source.names[unknown])
        if has_context:
            return
        for hidden in find_unknown_names(source, self._globals):
            if hidden in known:
                message = (
                    f"uses {hidden!r}, which a file that is imported without context does not know; import it 'with "
                    "context', or take it as an argument"
                )
                self._add(layer, message, path=path, line=source.names[hidden])

    def _follow(self, roots: Sequence[str]) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        """Return how each file is reached, and the names that its includers may set for it."""
        reached: dict[str, set[str]] = {name: {_CONTEXT} for name in roots}
        extra: dict[str, set[str]] = {name: set() for name in roots}
        waiting = list(roots)
        while waiting:
            name = waiting.pop()
            source = self._read(name)
            if source is None:
                continue
            given = source.stored | extra[name]
            for reference, target in self._resolve(name, source):
                roles, names = reached.setdefault(target, set()), extra.setdefault(target, set())
                role = _CONTEXT if reference.with_context else _NO_CONTEXT
                added = given if reference.with_context else set()
                if role not in roles or not added <= names or target not in self._sources:
                    roles.add(role)
                    names |= added
                    waiting.append(target)
        return reached, extra

    def _read(self, name: str) -> Source | None:
        if name not in self._sources:
            layer, path = self._split(name)
            self._sources[name] = None
            text = self._texts[name]
            if text is None:
                self._add(layer, "is not UTF-8, or too large to be a template", path=path)
                return None
            try:
                self._sources[name] = analyse(self._environment, text, name)
            except TemplateSyntaxError as error:
                self._add(layer, str(error.message), path=path, line=error.lineno)
            else:
                self._check_references(name)
        return self._sources[name]

    def _resolve(self, name: str, source: Source) -> Iterator[tuple[Reference, str]]:
        for reference in source.references:
            for path in reference.paths:
                target = self._includable.find(path, name)
                if target is not None:
                    yield reference, target

    def _check_references(self, name: str) -> None:
        source, (layer, path) = self._sources[name], self._split(name)
        for reference in source.references if source is not None else ():
            found = [one for one in reference.paths if self._includable.find(one, name) is not None]
            if reference.paths and not found and not reference.is_optional:
                listing = " or ".join(repr(one) for one in reference.paths)
                self._add(layer, f"includes {listing}, which is not there", path=path, line=reference.line)

    def _check_unused(self) -> None:
        for name in self._values:
            if name not in self._used:
                self._add(
                    len(self._rules) - 1, f"the value {name!r} is never used", location=["values", "properties", name]
                )

    def _split(self, name: str) -> tuple[int, str]:
        layer, _, path = name.partition(":")
        return int(layer), path


def _describe_unknown(name: str, known: Sequence[str]) -> str:
    if name in REFUSED_NAMES:
        return f"uses {name!r}, which is not accepted: it gives something else each time"
    return f"uses {name!r}, which is no value that is known there; there are {sorted(known)}"


def _list_texts(default: Any) -> Iterator[str]:
    if isinstance(default, str):
        if has_marks(default):
            yield default
    elif isinstance(default, dict):
        for item in default.values():
            yield from _list_texts(item)
    elif isinstance(default, list):
        for item in default:
            yield from _list_texts(item)


def main() -> None:
    """Answer one request."""
    check = _Check(json.load(sys.stdin.buffer))
    check.run()
    json.dump(check.findings, sys.stdout)
