"""Plain data held against the schemas of a description: in bounded time, and without ever fetching anything.

The dialect is that of OpenAPI 3.1 (JSON Schema 2020-12) with what 3.0 has differently: ``nullable``, and
``exclusiveMinimum`` and ``exclusiveMaximum`` as booleans. ``format`` is advisory; ``unevaluatedProperties``,
``unevaluatedItems`` and patterns that cannot be searched in linear time are left to the agent.
"""

from __future__ import annotations

import difflib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, Literal

from scaffolder.agents.http.failures import printable
from scaffolder.agents.openapi.references import resolve, show
from scaffolder.errors import AgentConfigurationError
from scaffolder.json_schema import SchemaError, compile_linear

log = logging.getLogger(__name__)

Purpose = Literal["request", "plan", "answer"]

MAX_STEPS: Final = 300_000
"""How many keywords are looked at for one value, which takes some seconds. What comes after is taken to fit.

A keyword that lists many things, as ``enum`` does, counts once more for every `_STEP_ITEMS` of them.
"""
_STEP_ITEMS: Final = 16

MAX_FLAWS: Final = 100
"""How many flaws of one value are looked for."""

_DOCUMENT: Final = "urn:scaffolder:description"
_CHECKED: Final = "x-checked"
_SHOWN_CHARACTERS: Final = 80
_SHOWN_NAMES: Final = 10
_JSON_TYPES: Final = {
    bool: "a boolean",
    int: "a number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "an object",
}
_LEFT_OUT: Final = ("format", "unevaluatedProperties", "unevaluatedItems")
# What values that are not known yet would decide.
_UNDECIDED: Final = ("not", "if", "uniqueItems", "contains")

Keyword = Callable[[Any, Any, Any, Any], Iterator[Any] | None]


class Anything:
    """A value that is known only when a step runs: it fits everything and equals everything."""

    def __eq__(self, other: object) -> bool:
        return True

    def __hash__(self) -> int:
        return 0


@dataclass(frozen=True, kw_only=True)
class Flaw:
    """Where and why a value does not fit; `message` goes on from the name of the place."""

    path: tuple[str | int, ...]
    message: str

    def describe(self, root: str) -> str:
        """Return a sentence, the place as ``root.name.0``."""
        place = printable(".".join([root, *map(str, self.path)]))[-_SHOWN_CHARACTERS:]
        return f"{place} {self.message}"


@dataclass
class _Check:
    """One value while it is looked at."""

    document: Mapping[str, Any]
    steps: int = 0


class _TooLongError(Exception):
    """More than `MAX_STEPS`."""


_current: ContextVar[_Check] = ContextVar("check")


def find_flaws(document: Mapping[str, Any], schema: Any, value: Any, *, purpose: Purpose) -> list[Flaw]:
    """Return what is wrong with `value`, by path; `schema` may refer to anything in `document`.

    A ``request`` needs none of the properties that are read-only, an ``answer`` none that are write-only. A ``plan``
    is a request in which some values are `Anything`. Of an answer's values nothing is repeated.
    Raises AgentConfigurationError where the schema cannot be used.
    """
    from jsonschema.exceptions import best_match

    flaws: list[Flaw] = []
    for error in _find_errors(document, schema, value, purpose):
        nearest: Any = best_match(iter([error])) or error
        flaws.append(Flaw(path=tuple(nearest.absolute_path), message=_describe(nearest, error, purpose)))
    return sorted(flaws, key=lambda flaw: list(map(str, flaw.path)))


def _find_errors(document: Mapping[str, Any], schema: Any, value: Any, purpose: Purpose) -> list[Any]:
    from referencing import Registry
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import DRAFT202012

    whole = {**document, _CHECKED: schema}
    registry: Any = Registry().with_resource(_DOCUMENT, DRAFT202012.create_resource(whole))
    validator = _make_validator(purpose)({"$ref": f"{_DOCUMENT}#/{_CHECKED}"}, registry=registry)
    found: list[Any] = []
    token = _current.set(_Check(document))
    try:
        for error in itertools.islice(validator.iter_errors(value), MAX_FLAWS):
            found.append(error)  # noqa: PERF402  # what was found before an end by _TooLongError counts
    except (_TooLongError, RecursionError):
        log.info("The check of a value ended before its end: more than %s keywords, or nested too deep", MAX_STEPS)
    except Unresolvable as error:
        raise AgentConfigurationError(f"the description's reference {show(error.ref)} cannot be followed") from error
    except AgentConfigurationError:
        raise
    except Exception as error:  # a schema may have anything anywhere: whatever comes of that is its error
        raise AgentConfigurationError(f"the description has a schema that is none ({type(error).__name__})") from error
    finally:
        _current.reset(token)
    return found


@cache
def _make_validator(purpose: Purpose) -> Any:
    from jsonschema import Draft202012Validator
    from jsonschema.validators import extend

    keywords: dict[str, Keyword] = {
        **Draft202012Validator.VALIDATORS,
        "minimum": _check_minimum,
        "maximum": _check_maximum,
        "exclusiveMinimum": _unless_boolean(Draft202012Validator.VALIDATORS["exclusiveMinimum"]),
        "exclusiveMaximum": _unless_boolean(Draft202012Validator.VALIDATORS["exclusiveMaximum"]),
        "pattern": _check_pattern,
        "patternProperties": _check_pattern_properties,
        "additionalProperties": _check_additional_properties,
        "required": _make_required("writeOnly" if purpose == "answer" else "readOnly"),
        "uniqueItems": _check_unique_items,
    }
    if purpose == "plan":
        keywords["oneOf"] = keywords["anyOf"]
    without = {*_LEFT_OUT, *(_UNDECIDED if purpose == "plan" else ())}
    kept = {name: _pass if name in without else _guard(keyword) for name, keyword in keywords.items()}
    return extend(Draft202012Validator, kept)  # type: ignore[no-untyped-call]


def _pass(*_: Any) -> None:
    """Accept everything."""


def _guard(keyword: Keyword) -> Keyword:
    """Return `keyword` counted, and without effect on `Anything` and on null where that is allowed."""

    def check(validator: Any, expected: Any, instance: Any, schema: Any) -> Iterator[Any]:
        current = _current.get()
        current.steps += 1 + (len(expected) // _STEP_ITEMS if isinstance(expected, list | dict) else 0)
        if current.steps > MAX_STEPS:
            raise _TooLongError
        if isinstance(instance, Anything) or (instance is None and schema.get("nullable") is True):
            return
        yield from keyword(validator, expected, instance, schema) or ()

    return check


def _unless_boolean(keyword: Keyword) -> Keyword:
    def check(validator: Any, expected: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(expected, bool):
            yield from keyword(validator, expected, instance, schema) or ()

    return check


def _check_minimum(validator: Any, minimum: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "number"):
        return
    if instance < minimum or (instance == minimum and schema.get("exclusiveMinimum") is True):
        yield _error("")


def _check_maximum(validator: Any, maximum: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not validator.is_type(instance, "number"):
        return
    if instance > maximum or (instance == maximum and schema.get("exclusiveMaximum") is True):
        yield _error("")


def _check_pattern(_: Any, pattern: Any, instance: Any, __: Any) -> Iterator[Any]:
    if isinstance(instance, str) and not _matches(pattern, instance, otherwise=True):
        yield _error("")


def _check_pattern_properties(validator: Any, patterns: Any, instance: Any, _: Any) -> Iterator[Any]:
    if not isinstance(instance, dict):
        return
    for pattern, schema in patterns.items():
        for name, value in instance.items():
            if _matches(pattern, name, otherwise=False):
                yield from validator.descend(value, schema, path=name, schema_path=pattern)


def _check_additional_properties(validator: Any, allowed: Any, instance: Any, schema: Any) -> Iterator[Any]:
    if not isinstance(instance, dict) or allowed is True:
        return
    known, patterns = schema.get("properties", {}), schema.get("patternProperties", {})
    extra = [
        name
        for name in instance
        if name not in known and not any(_matches(pattern, name, otherwise=True) for pattern in patterns)
    ]
    if isinstance(allowed, dict):
        for name in extra:
            yield from validator.descend(instance[name], allowed, path=name)
    elif extra:
        yield _error(_list_names(f"has no {'property' if len(extra) == 1 else 'properties'}", extra, list(known)))


def _make_required(hidden: str) -> Keyword:
    def check(_: Any, required: Any, instance: Any, schema: Any) -> Iterator[Any]:
        if not isinstance(instance, dict) or not isinstance(required, list):
            return
        for name in required:
            if name not in instance and not _has_mark(schema.get("properties", {}).get(name), hidden):
                yield _error(f"lacks {_show_name(name)}, which is required")

    return check


def _check_unique_items(_: Any, unique: Any, instance: Any, __: Any) -> Iterator[Any]:
    # As text, in linear time; 1 and 1.0 count as different, which JSON Schema calls equal.
    if unique and isinstance(instance, list):
        texts = {json.dumps(item, sort_keys=True) for item in instance}
        if len(texts) < len(instance):
            yield _error("has an item twice")


def _has_mark(schema: Any, mark: str) -> bool:
    if not isinstance(schema, Mapping):
        return False
    try:
        return schema.get(mark) is True or resolve(_current.get().document, schema).get(mark) is True
    except AgentConfigurationError:
        return False


def _matches(pattern: Any, text: str, *, otherwise: bool) -> bool:
    """Say whether `pattern` is found in `text`; `otherwise` where that cannot be said in linear time."""
    try:
        return compile_linear(pattern)(text)
    except (SchemaError, TypeError):
        return otherwise


def _error(message: str) -> Any:
    from jsonschema import ValidationError

    return ValidationError(message)


def _describe(error: Any, outer: Any, purpose: Purpose) -> str:
    """Return what is wrong, in our words: those of jsonschema repeat the value, which may be a whole document."""
    instance, expected = error.instance, error.validator_value
    what = _show_value(instance, whole=purpose != "answer")
    alternatives = "" if error is outer else f" (the nearest of {len(outer.validator_value)} alternatives)"
    match error.validator:
        case "required" | "additionalProperties" | "uniqueItems" if error.message:
            message = str(error.message)
        case "type":
            message = f"is {what}; accepted is {_show_accepted(expected)}"
        case "enum":
            message = f"is {what}; accepted are {_show_accepted(expected)}"
        case "const":
            message = f"is {what}; accepted is {_show_accepted(expected)}"
        case "pattern":
            message = f"is {what}; accepted is what matches {_show_accepted(expected)}"
        case "oneOf" | "anyOf":
            # Of oneOf, without context, several fit.
            message = f"is {what}; accepted is what fits one of {len(expected)} alternatives"
        case None:
            # The schema `false`, of which jsonschema keeps no place.
            message = "has a value where none is accepted"
        case _:
            message = f"is {what}; accepted is what fits {error.validator} {_show_accepted(expected)}"
    return message + alternatives


def _show_value(value: Any, *, whole: bool) -> str:
    if value is None:
        return "null"
    kind = _JSON_TYPES.get(type(value), type(value).__name__)
    if not whole or isinstance(value, list | dict):
        return kind
    shown = repr(value)
    return shown if len(shown) <= _SHOWN_CHARACTERS else f"{kind} of {len(shown)} characters"


def _show_accepted(expected: Any) -> str:
    shown = printable(repr(expected))
    return shown if len(shown) <= 2 * _SHOWN_CHARACTERS else f"{shown[: 2 * _SHOWN_CHARACTERS]} ..."


def _show_name(name: Any) -> str:
    return repr(printable(str(name))[:_SHOWN_CHARACTERS])


def _list_names(what: str, names: list[str], accepted: list[str]) -> str:
    shown = ", ".join(_show_name(name) for name in names[:_SHOWN_NAMES])
    return f"{what} {shown}; {suggest(names[0], accepted)}"


def suggest(name: str, accepted: list[str]) -> str:
    """Return "the nearest is ..." or "accepted are ..." for a name that is none of those `accepted`."""
    # Names may be an agent's, and of any length.
    near = difflib.get_close_matches(name[:_SHOWN_CHARACTERS], accepted, n=1, cutoff=0.6)
    if near:
        return f"the nearest is {_show_name(near[0])}"
    if not accepted:
        return "accepted are none"
    more = " ..." if len(accepted) > _SHOWN_NAMES else ""
    return f"accepted are {', '.join(_show_name(one) for one in sorted(accepted)[:_SHOWN_NAMES])}{more}"
