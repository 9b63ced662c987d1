"""Flattens a schema: references followed, `allOf` merged into one set of keywords.

`oneOf` and `anyOf` are not decided here: they are collected under `CHOICES`, each with all its branches.
"""

from collections.abc import Callable
from typing import Any

from demo_agent.checking import SchemaChecker
from demo_agent.document import mapping, sequence

CHOICES = "\0choices"
_BOUNDS: dict[str, Callable[[float, float], float]] = {
    **dict.fromkeys(("minimum", "minLength", "minItems", "minProperties", "exclusiveMinimum"), max),
    **dict.fromkeys(("maximum", "maxLength", "maxItems", "maxProperties", "exclusiveMaximum"), min),
}
_DECIDED = frozenset(("$ref", "allOf", "oneOf", "anyOf", "if", "then", "else"))


class ContradictionError(ValueError):
    """A schema that nothing satisfies, or that never ends."""


def flatten(schema: Any, *, checker: SchemaChecker) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the merged keywords of `schema` and the references that were followed.

    Raises:
        ContradictionError: the schema is `false` or contains itself.
    """
    followed: set[str] = set()
    return _flatten(schema, checker=checker, within=(), followed=followed), frozenset(followed)


def _flatten(schema: Any, *, checker: SchemaChecker, within: tuple[str, ...], followed: set[str]) -> dict[str, Any]:
    if schema is False:
        raise ContradictionError("the schema is false")
    if not isinstance(schema, dict):
        return {}
    result = {key: value for key, value in schema.items() if key not in _DECIDED}
    for key in ("oneOf", "anyOf"):
        if branches := sequence(schema.get(key)):
            group = {"branches": branches, "discriminator": mapping(schema.get("discriminator"))}
            result[CHOICES] = [*result.get(CHOICES, ()), group]
    if "if" in schema:
        branches = [{"allOf": [schema["if"], schema.get("then", {})]}, schema.get("else", {})]
        result[CHOICES] = [*result.get(CHOICES, ()), {"branches": branches, "discriminator": {}}]
    reference = schema.get("$ref")
    if isinstance(reference, str):
        if reference in within:
            raise ContradictionError(f"{reference.rpartition('/')[2]!r} contains itself")
        followed.add(reference)
        target = checker.target_of(reference)
        part = _flatten(target, checker=checker, within=(*within, reference), followed=followed)
        result = merge(part, result)
    for branch in sequence(schema.get("allOf")):
        result = merge(result, _flatten(branch, checker=checker, within=within, followed=followed))
    return result


def merge(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    """Return keywords that mean both sets; what cannot be merged is taken from `other`, so the result is a guess."""
    result = dict(one)
    for key, value in other.items():
        result[key] = _merged(key, result[key], value) if key in result else value
    return result


def _merged(key: str, one: Any, other: Any) -> Any:
    if one == other:
        return one
    if key in ("properties", "patternProperties"):
        return _both_properties(mapping(one), mapping(other))
    if key == "required":
        return list(dict.fromkeys([*sequence(one), *sequence(other)]))
    if key == CHOICES:
        return [*one, *other]
    if key == "enum" and isinstance(one, list) and isinstance(other, list):
        return [value for value in one if value in other] or one
    if key == "type":
        return _both_types(one, other)
    if key in _BOUNDS and _numbers(one, other):
        return _BOUNDS[key](one, other)
    if key == "additionalProperties":
        return False if one is False or other is False else {"allOf": [one, other]}
    if key == "items":
        return {"allOf": [one, other]}
    return other


def _both_properties(one: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
    both = dict(one)
    for name, schema in other.items():
        both[name] = {"allOf": [both[name], schema]} if name in both else schema
    return both


def _both_types(one: Any, other: Any) -> Any:
    first, second = (value if isinstance(value, list) else [value] for value in (one, other))
    both = [value for value in first if value in second]
    if "integer" in first + second and not both and {"number", "integer"} <= set(map(str, first + second)):
        both = ["integer"]
    return both or other


def _numbers(*values: Any) -> bool:
    return all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in values)
