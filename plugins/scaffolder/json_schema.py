"""Checks of plain data against JSON Schema (2020-12). References stay inside the schema: nothing is ever fetched."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any, Final

MAX_REFERENCES: Final = 10_000
_MESSAGE_CHARACTERS: Final = 300
# Their values are data, whatever they look like.
_DATA_KEYWORDS: Final = frozenset({"const", "default", "enum", "examples"})


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


def check_bounded(schema: Any) -> None:
    """Raise SchemaError where `find_violations` could not check `schema` in bounded time.

    That needs patterns without look-around and back-references (JSON Schema, 6.4, recommends no others) and no
    ``patternProperties``.
    """
    if isinstance(schema, list):
        for item in schema:
            check_bounded(item)
    elif isinstance(schema, dict):
        if "patternProperties" in schema:
            raise SchemaError("patternProperties; accepted are properties and propertyNames")
        if isinstance(schema.get("pattern"), str):
            compile_linear(schema["pattern"])
        for item in schema.values():
            check_bounded(item)


def find_violations(
    schema: Mapping[str, Any], value: Any, *, bounded: bool = False
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Yield path and message of each place where `value` breaks `schema`. Raises SchemaError.

    With `bounded` the schema may be anybody's: its patterns take time in proportion to the text, and it may follow no
    more than `MAX_REFERENCES`.
    """
    import re

    import jsonschema
    from referencing import Registry
    from referencing.exceptions import Unresolvable

    if bounded:
        schema = _without_dialects(schema)
    validator_type = _make_bounded_validator() if bounded else jsonschema.Draft202012Validator
    validator = validator_type(schema, registry=Registry())
    try:
        for error in validator.iter_errors(value):
            yield tuple(error.absolute_path), _shorten(error.message)
    except Unresolvable as error:
        raise SchemaError(f"the reference {error.ref!r} leads nowhere inside the schema") from error
    except (re.error, RecursionError) as error:
        raise SchemaError(f"{type(error).__name__}: {error}") from error


def _without_dialects(schema: Any) -> Any:
    """Return `schema` without any ``$schema``: a part of another dialect would be checked by that one's own rules."""
    if isinstance(schema, list):
        return [_without_dialects(item) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    return {
        key: value if key in _DATA_KEYWORDS else _without_dialects(value)
        for key, value in schema.items()
        if not (key == "$schema" and isinstance(value, str))
    }


def _make_bounded_validator() -> Any:
    import jsonschema

    follow = jsonschema.Draft202012Validator.VALIDATORS["$ref"]
    count = itertools.count(1)

    def check_pattern(_: Any, pattern: str, instance: Any, __: Any) -> Iterator[Any]:
        if isinstance(instance, str) and not compile_linear(pattern)(instance):
            yield jsonschema.ValidationError(f"{instance!r} does not match {pattern!r}")

    def check_reference(validator: Any, reference: str, instance: Any, schema: Any) -> Iterator[Any]:
        if next(count) > MAX_REFERENCES:
            raise SchemaError(f"follows more than {MAX_REFERENCES} references")
        yield from follow(validator, reference, instance, schema) or ()

    rules = {"pattern": check_pattern, "$ref": check_reference}
    return jsonschema.validators.extend(jsonschema.Draft202012Validator, rules)  # type: ignore[no-untyped-call]


@lru_cache(maxsize=4096)
def compile_linear(pattern: str) -> Callable[[str], bool]:
    """Return the search for `pattern` by Rust's regular expressions, which pydantic brings.

    It takes time in proportion to the text. Raises SchemaError for look-around and back-references.
    """
    from pydantic import ConfigDict, StringConstraints, TypeAdapter
    from pydantic_core import SchemaError as PydanticSchemaError

    try:
        adapter = TypeAdapter(
            Annotated[str, StringConstraints(pattern=pattern)], config=ConfigDict(regex_engine="rust-regex")
        )
    except PydanticSchemaError as error:
        reason = " ".join(str(error).split()).removesuffix(".")
        raise SchemaError(
            f"pattern {pattern!r} cannot be used; accepted are those without look-around and back-references "
            f"({_shorten(reason)})"
        ) from error
    return adapter.validator.isinstance_python


def _shorten(message: str) -> str:
    # The message repeats the offending value, which may be a whole document; both ends say something.
    half = _MESSAGE_CHARACTERS // 2
    return message if len(message) <= _MESSAGE_CHARACTERS else f"{message[:half]} ... {message[-half:]}"
