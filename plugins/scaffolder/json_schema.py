"""Checks of plain data against JSON Schema (2020-12). References stay inside the schema: nothing is ever fetched."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

_MESSAGE_CHARACTERS = 300


class SchemaError(ValueError):
    """The schema itself cannot be used. `path` leads to the place."""

    def __init__(self, message: str, *, path: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.path = path


def check_schema(schema: Any) -> None:
    """Raise SchemaError where `schema` is none."""
    import jsonschema

    try:
        jsonschema.Draft202012Validator.check_schema(schema)
    except jsonschema.SchemaError as error:
        raise SchemaError(_shorten(error.message), path=tuple(error.absolute_path)) from error


def find_violations(schema: Mapping[str, Any], value: Any) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and message of each place where `value` breaks `schema`. Raises SchemaError."""
    import re

    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    validator = jsonschema.Draft202012Validator(schema, registry=Registry())
    try:
        for error in validator.iter_errors(value):
            yield tuple(error.absolute_path), _shorten(error.message)
    except Unresolvable as error:
        raise SchemaError(f"the reference {error.ref!r} leads nowhere inside the schema") from error
    except (re.error, RecursionError) as error:
        raise SchemaError(f"{type(error).__name__}: {error}") from error


def _shorten(message: str) -> str:
    # The message repeats the offending value, which may be a whole document; both ends say something.
    half = _MESSAGE_CHARACTERS // 2
    return message if len(message) <= _MESSAGE_CHARACTERS else f"{message[:half]} ... {message[-half:]}"
