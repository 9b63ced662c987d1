"""What becomes of each file of a template: its path, whether it is rendered, or that it is left out.

Runs in isolation, as patterns, conditions and paths are their author's and may take any time.
"""

from __future__ import annotations

import json
import marshal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Template, TemplateRuntimeError, TemplateSyntaxError

from scaffolder.generation.templates.native.environment import TemplateEnvironment
from scaffolder.generation.templates.native.frames import SUFFIX, Stage
from scaffolder.sandbox import MARKS

if TYPE_CHECKING:
    from pathspec import GitIgnoreSpec

_MAX_PATH_CHARACTERS: Final = 8_192

Progress = Callable[[Stage, int], None]


class PlanError(Exception):
    """What makes a plan impossible: `location` is in the definition of template `layer`, `path` one of its files."""

    def __init__(
        self, message: str, *, layer: int, location: Sequence[str | int] | None = None, path: str | None = None
    ) -> None:
        super().__init__(message)
        self.layer = layer
        self.location = location
        self.path = path


@dataclass(frozen=True, kw_only=True)
class PlannedFile:
    """What becomes of the file `number`."""

    number: int
    path: str
    rendered: bool


def explain(error: Exception) -> str:
    """Return what went wrong in a piece of a template, as part of a sentence. A lack of memory is raised again."""
    if isinstance(error, MemoryError):
        raise error
    if isinstance(error, TemplateSyntaxError):
        return error.message or "is no Jinja"
    if type(error) is TemplateRuntimeError:  # our own sentence
        return str(error)
    return f"cannot be rendered: {type(error).__name__}: {error}"


def complete_values(
    environment: TemplateEnvironment, plan: Mapping[str, Any], progress: Progress
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return all values, and those of them that were templated defaults. Raises PlanError."""
    values: dict[str, Any] = dict(plan["values"])
    rendered: dict[str, Any] = {}
    for number, (name, default) in enumerate(plan["defaults"]):
        progress(Stage.DEFAULT, number)
        variables = {"run": plan["run"], **values}
        try:
            computed = _compute(environment, default, variables)
            values[name] = rendered[name] = json.loads(json.dumps(computed))
        except Exception as error:
            raise PlanError(
                f"the default of {name!r} {explain(error)}",
                layer=len(plan["rules"]) - 1,
                location=["values", "properties", name, "default"],
            ) from error
    return values, rendered


def _compute(environment: TemplateEnvironment, default: Any, variables: Mapping[str, Any]) -> Any:
    if isinstance(default, str):
        return environment.evaluate(default, variables) if any(mark in default for mark in MARKS) else default
    if isinstance(default, list):
        return [_compute(environment, item, variables) for item in default]
    if isinstance(default, dict):
        return {key: _compute(environment, item, variables) for key, item in default.items()}
    return default


def compile_part(environment: TemplateEnvironment, part: str) -> bytes:
    """Return a part of a path compiled, or nothing where it is no Jinja: it may be of a path that is left out."""
    try:
        return marshal.dumps(environment.compile(part))
    except TemplateSyntaxError:
        return b""


def plan_files(
    environment: TemplateEnvironment,
    plan: Mapping[str, Any],
    *,
    codes: Mapping[str, bytes],
    variables: dict[str, Any],
    progress: Progress,
) -> Iterator[PlannedFile]:
    """Yield the files that are not left out. `codes` are compiled parts of paths. Raises PlanError."""
    rules = [_Rules(environment, number, rule, variables, progress) for number, rule in enumerate(plan["rules"])]
    applied = plan["applied"]

    @cache
    def render_part(part: str) -> str:
        code = codes.get(part)
        if not code:
            return environment.from_string(part).render(variables)
        template = Template.from_code(environment, marshal.loads(code), environment.globals)  # noqa: S302 - our own
        return "".join(template.root_render_func(template.new_context(variables)))

    for number, (layer, source) in enumerate(plan["files"]):
        progress(Stage.PATTERN, number)
        if not all(rules[other].let_stay(source) for other in applied[layer]):
            continue
        rendered = source.endswith(SUFFIX) and not rules[layer].is_copied(source)
        progress(Stage.PATH, number)
        path = source.removesuffix(SUFFIX) if rendered else source
        if "{" in path:
            path = _render_path(render_part, path, layer=layer, source=source)
        if path:
            yield PlannedFile(number=number, path=path, rendered=rendered)


def _render_path(render_part: Callable[[str], str], path: str, *, layer: int, source: str) -> str:
    """Return the path, or nothing where one of its parts is nothing."""
    rendered = []
    for part in path.split("/"):
        try:
            text = render_part(part) if "{" in part else part
        except Exception as error:
            raise PlanError(f"its path {explain(error)}", layer=layer, path=source) from error
        if not text:
            return ""
        if "/" in text:
            raise PlanError(
                f"the part {part!r} became {text[:200]!r}; accepted is one part without a slash",
                layer=layer,
                path=source,
            )
        rendered.append(text)
    result = "/".join(rendered)
    if len(result) > _MAX_PATH_CHARACTERS:
        raise PlanError(f"its path became {len(result)} characters long", layer=layer, path=source)
    return result


class _Rules:
    """The patterns and conditions of one template."""

    def __init__(
        self,
        environment: TemplateEnvironment,
        layer: int,
        rule: Mapping[str, Any],
        variables: Mapping[str, Any],
        progress: Progress,
    ) -> None:
        self._layer = layer
        self._progress = progress
        self._exclude = self._compile("exclude", rule["exclude"])
        self._copied = self._compile("copy_without_render", rule["copy_without_render"])
        # A file stays where all conditions that match are true, so only those that are not have to be looked at.
        false = [
            pattern
            for number, (pattern, expression) in enumerate(rule["conditions"])
            if not self._is_true(environment, number, pattern, expression, variables)
        ]
        self._false = [self._compile_condition(pattern) for pattern in false]

    def let_stay(self, source: str) -> bool:
        """Tell whether a file stays."""
        if self._exclude is not None and self._exclude.match_file(source):
            return False
        return not any(spec.match_file(source) for spec in self._false)

    def is_copied(self, source: str) -> bool:
        """Tell whether a file is copied although its name says that it is a template."""
        return self._copied is not None and bool(self._copied.match_file(source))

    def _compile(self, key: str, patterns: Sequence[str]) -> GitIgnoreSpec | None:
        if not patterns:
            return None
        return self._compile_patterns(patterns, [key])

    def _compile_condition(self, pattern: str) -> GitIgnoreSpec:
        return self._compile_patterns([pattern], ["conditions", pattern])

    def _compile_patterns(self, patterns: Sequence[str], location: Sequence[str]) -> GitIgnoreSpec:
        from pathspec import GitIgnoreSpec

        try:
            return GitIgnoreSpec.from_lines(patterns)
        except Exception as error:
            raise PlanError(
                f"{location[0]} has a pattern that is none: {error}", layer=self._layer, location=location
            ) from error

    def _is_true(
        self,
        environment: TemplateEnvironment,
        number: int,
        pattern: str,
        expression: str,
        variables: Mapping[str, Any],
    ) -> bool:
        self._progress(Stage.CONDITION, number)
        try:
            return bool(environment.compute(expression, variables))
        except Exception as error:
            raise PlanError(
                f"the condition of {pattern!r} {explain(error)}", layer=self._layer, location=["conditions", pattern]
            ) from error
