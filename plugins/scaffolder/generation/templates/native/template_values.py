"""The values of one rendering: those that were given, the defaults, and what the schema says of them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from scaffolder.errors import TemplateError
from scaffolder.generation.templates.native.definition import RESERVED_VALUE
from scaffolder.json_schema import SchemaError, find_violations

if TYPE_CHECKING:
    from scaffolder.generation.templates.native.definition import NativeTemplate

_MARKS = ("{{", "{%", "{#")


class TemplateValues:
    """Values on their way to being complete: `given` has plain defaults too, `templated` those still to be rendered.

    `templated` are pairs of name and default, in the order of the schema. Raises TemplateError where the values are no
    plain data.
    """

    def __init__(self, template: NativeTemplate, values: Mapping[str, Any]) -> None:
        self._template = template
        try:
            # Plain data only: an object's methods would be callable from inside the sandbox.
            data: dict[str, Any] = json.loads(json.dumps(dict(values)))
        except (TypeError, ValueError, RecursionError) as error:
            raise TemplateError(f"template {template.name!r} takes plain data as values: {error}") from error
        if RESERVED_VALUE in data:
            raise TemplateError(
                f"template {template.name!r} refuses its values: {RESERVED_VALUE!r} is what the run says of itself; "
                "accepted is another name"
            )
        properties = template.values_schema.get("properties", {})
        defaults = {
            name: schema["default"]
            for name, schema in properties.items()
            if isinstance(schema, Mapping) and "default" in schema and name not in data
        }
        self.templated = [(name, default) for name, default in defaults.items() if has_marks(default)]
        waiting = {name for name, _ in self.templated}
        self.given = {name: default for name, default in defaults.items() if name not in waiting} | data
        self.completed = False

    def check_given(self) -> None:
        """Refuse values that no templated default can make good. Raises TemplateError."""
        schema = self._template.values_schema
        if self.templated:
            waiting = {name for name, _ in self.templated}
            kept = ("$defs", "definitions", "properties", "additionalProperties")
            required = [name for name in schema.get("required", ()) if name not in waiting]
            schema = {key: schema[key] for key in kept if key in schema} | {"required": required}
        self._check(schema, self.given)

    def complete(self, rendered: Any) -> None:
        """Take the rendered defaults and check all values. Raises TemplateError."""
        waiting = {name for name, _ in self.templated}
        if not isinstance(rendered, dict) or rendered.keys() != waiting:
            raise TemplateError(f"template {self._template.name!r} has defaults that were not rendered")
        self.completed = True
        if waiting:
            self.given |= rendered
            self._check(self._template.values_schema, self.given)

    def _check(self, schema: Mapping[str, Any], values: Mapping[str, Any]) -> None:
        try:
            problems = _describe(find_violations(schema, values, bounded=True))
        except SchemaError as error:
            raise TemplateError(
                f"template {self._template.name!r} has values whose schema cannot be used: {error}"
            ) from error
        if problems:
            raise TemplateError(f"template {self._template.name!r} refuses its values: " + "; ".join(problems))


def has_marks(default: Any) -> bool:
    """Tell whether there is Jinja in a default, at any depth of lists and mappings."""
    if isinstance(default, str):
        return any(mark in default for mark in _MARKS)
    if isinstance(default, Mapping):
        return any(has_marks(item) for item in default.values())
    return isinstance(default, list) and any(has_marks(item) for item in default)


def _describe(violations: Iterable[tuple[tuple[str | int, ...], str]]) -> list[str]:
    return sorted(f"{'.'.join(str(part) for part in path) or 'values'}: {message}" for path, message in violations)
