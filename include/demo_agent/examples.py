"""Makes example values from schemas, deterministically, and keeps only what the schema accepts.

Values the document itself gives come first. Every candidate is checked: a guess that was wrong is never handed out.
"""

import json
import math
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

from demo_agent.checking import SchemaChecker, UncheckableSchemaError
from demo_agent.document import mapping, sequence
from demo_agent.merging import CHOICES, ContradictionError, flatten
from demo_agent.texts import bound, example_text, text_matching

Direction = Literal["request", "response"]

_DEEPEST = 24
_RICH_NODES = 400
_MOST_NODES = 20_000
_MOST_ITEMS = 200


def example_candidates(
    schema: Any, *, checker: SchemaChecker, direction: Direction, documented: Iterable[Any] = ()
) -> tuple[list[Any], str]:
    """Return distinct values that satisfy `schema`, the best first, and what was wrong with the last that did not.

    Raises:
        UncheckableSchemaError: the schema cannot be evaluated.
    """
    found: dict[str, Any] = {}
    problem = ""
    values = list(documented)
    for detail in (3, 1, 0):
        try:
            values.append(_Builder(checker, direction, detail).build(schema, 0))
        except ContradictionError as exc:
            problem = str(exc)
    for value in values:
        pruned = _pruned(value, schema=schema, checker=checker, direction=direction)
        for candidate in (pruned, value):
            wrong = checker.problem_of(candidate, schema=schema, is_request=direction == "request")
            if wrong is None:
                found.setdefault(json.dumps(candidate, sort_keys=True), candidate)
                break
            problem = wrong
    return list(found.values()), problem


def _pruned(value: Any, *, schema: Any, checker: SchemaChecker, direction: Direction, depth: int = 0) -> Any:
    """Leave out what may not be sent in this direction: `readOnly` in requests, `writeOnly` in responses."""
    if not isinstance(value, (dict, list)) or depth > _DEEPEST:
        return value
    try:
        keywords, _ = flatten(schema, checker=checker)
    except ContradictionError:
        return value
    if isinstance(value, list):
        items = keywords.get("items")
        return [_pruned(v, schema=items, checker=checker, direction=direction, depth=depth + 1) for v in value]
    properties = mapping(keywords.get("properties"))
    result = {}
    for name, item in value.items():
        below = properties.get(name)
        if not _hidden(below, checker=checker, direction=direction):
            result[name] = _pruned(item, schema=below, checker=checker, direction=direction, depth=depth + 1)
    return result


def _hidden(schema: Any, *, checker: SchemaChecker, direction: Direction) -> bool:
    try:
        keywords, _ = flatten(schema, checker=checker)
    except ContradictionError:
        return False
    return keywords.get("readOnly" if direction == "request" else "writeOnly") is True


class _Builder:
    """Builds one value; optional parts are included down to `detail` levels."""

    def __init__(self, checker: SchemaChecker, direction: Direction, detail: int) -> None:
        self.checker = checker
        self.direction = direction
        self.detail = detail
        self.open_references: Counter[str] = Counter()
        self.nodes = 0
        self.variant = 0
        self.fractional = False

    def build(self, schema: Any, depth: int) -> Any:
        """Return a value for `schema`.

        Raises:
            ContradictionError: none was found.
        """
        self.nodes += 1
        keywords, references = flatten(schema, checker=self.checker)
        if depth > _DEEPEST or self.nodes > _MOST_NODES or any(self.open_references[r] > 2 for r in references):
            raise ContradictionError("the schema requires itself without end")
        self.open_references.update(references)
        try:
            return self._value(schema, keywords, depth)
        finally:
            self.open_references.subtract(references)

    def _value(self, schema: Any, keywords: dict[str, Any], depth: int) -> Any:
        if "const" in keywords:
            return keywords["const"]
        for value in self._documented(keywords):
            if self._accepts(schema, value):
                return value
        if isinstance(keywords.get("enum"), list):
            return self._member(schema, keywords["enum"])
        if keywords.get(CHOICES):
            return self._choice(schema, keywords, depth)
        return self._any_of_its_types(schema, keywords, depth)

    def _any_of_its_types(self, schema: Any, keywords: dict[str, Any], depth: int) -> Any:
        problem = ContradictionError("no value was found")
        for kind in _types_of(keywords):
            try:
                value = self._typed(kind, keywords, depth)
                if "not" not in keywords or self._accepts(schema, value):
                    return value
            except ContradictionError as exc:
                problem = exc
            except OverflowError as exc:
                problem = ContradictionError(str(exc))
        if keywords.get("nullable") is True:
            return None
        raise problem

    def _documented(self, keywords: dict[str, Any]) -> list[Any]:
        if self.variant:
            return []
        values = [keywords["example"]] if "example" in keywords else []
        values += sequence(keywords.get("examples"))
        values += [keywords["default"]] if "default" in keywords else []
        return [v for v in values if v is not None and (self.detail or not isinstance(v, (dict, list)))]

    def _accepts(self, schema: Any, value: Any) -> bool:
        try:
            return self.checker.problem_of(value, schema=schema) is None
        except UncheckableSchemaError:
            return False

    def _member(self, schema: Any, members: list[Any]) -> Any:
        usable = [value for value in members if value is not None and self._accepts(schema, value)]
        usable = usable or [value for value in members if self._accepts(schema, value)]
        if not usable:
            raise ContradictionError("no member of the enum satisfies the schema")
        return usable[self.variant % len(usable)]

    def _choice(self, schema: Any, keywords: dict[str, Any], depth: int) -> Any:
        group, *others = keywords[CHOICES]
        rest = {key: value for key, value in keywords.items() if key != CHOICES} | ({CHOICES: others} if others else {})
        if not others:
            rest.pop("discriminator", None)
        problem = "no branch has a value"
        detail = self.detail
        for wanted, fractional in dict.fromkeys(((detail, False), (0, False), (0, True))):
            for branch in sorted(group["branches"], key=_is_null):
                self.detail, self.fractional = wanted, fractional
                try:
                    value = self.build({"allOf": [rest, branch]}, depth + 1)
                except ContradictionError as exc:
                    problem = str(exc)
                    continue
                finally:
                    self.detail, self.fractional = detail, False
                for candidate in _discriminated(value, branch=branch, group=group):
                    if self._accepts(schema, candidate):
                        return candidate
        raise ContradictionError(problem)

    def _typed(self, kind: str, keywords: dict[str, Any], depth: int) -> Any:
        if kind == "object":
            return self._object(keywords, depth)
        if kind == "array":
            return self._array(keywords, depth)
        if kind in ("integer", "number"):
            number = _number(kind, keywords, variant=self.variant)
            halved = kind == "number" and self.fractional and "multipleOf" not in keywords
            return number + 0.5 if halved and abs(number) < 2**50 else number
        if kind == "boolean":
            return self.variant % 2 == 0
        if kind == "null":
            return None
        return example_text(keywords, variant=self.variant)

    def _object(self, keywords: dict[str, Any], depth: int) -> dict[str, Any]:
        properties = mapping(keywords.get("properties"))
        required = [name for name in sequence(keywords.get("required")) if isinstance(name, str)]
        rest = keywords.get("additionalProperties")
        result: dict[str, Any] = {}
        rich = depth < self.detail and self.nodes < _RICH_NODES
        least = bound(keywords.get("minProperties"), default=0)
        most = bound(keywords.get("maxProperties"), default=10**6)
        for name in dict.fromkeys([*properties, *required]):
            schema = properties.get(name, rest if isinstance(rest, dict) else {})
            if name in required:
                if self.direction == "request" and _hidden(schema, checker=self.checker, direction="request"):
                    continue
                result[name] = self.build(schema, depth + 1)
            elif (rich or len(result) < least) and len(result) < most and not self._unwanted(schema):
                self._add_optional(result, name, schema, depth)
        self._fill(result, keywords, max(least, int(rich and not properties and isinstance(rest, dict))), depth)
        return result

    def _unwanted(self, schema: Any) -> bool:
        try:
            keywords, references = flatten(schema, checker=self.checker)
        except ContradictionError:
            return True
        if any(self.open_references[reference] for reference in references):
            return True
        return keywords.get("readOnly" if self.direction == "request" else "writeOnly") is True

    def _add_optional(self, result: dict[str, Any], name: str, schema: Any, depth: int) -> None:
        try:
            result[name] = self.build(schema, depth + 1)
        except ContradictionError:
            return  # optional, so leaving it out is a value too

    def _fill(self, result: dict[str, Any], keywords: dict[str, Any], least: int, depth: int) -> None:
        rest = keywords.get("additionalProperties")
        patterns = mapping(keywords.get("patternProperties"))
        named = mapping(keywords.get("propertyNames")).get("pattern")
        for number in range(min(least, _MOST_ITEMS) * 2):
            if len(result) >= least:
                return
            name, schema = (f"key{number or ''}", rest if isinstance(rest, dict) else {})
            if patterns:
                pattern, schema = next(iter(patterns.items()))
                name = text_matching(pattern, variant=number)
            elif isinstance(named, str):
                name = text_matching(named, variant=number)
            self._add_optional(result, name, schema, depth)

    def _array(self, keywords: dict[str, Any], depth: int) -> list[Any]:
        least = bound(keywords.get("minItems"), default=0)
        most = bound(keywords.get("maxItems"), default=_MOST_ITEMS)
        items = keywords.get("items", {})
        result = [self.build(schema, depth + 1) for schema in sequence(keywords.get("prefixItems"))]
        wanted = least
        if depth < self.detail and self.nodes < _RICH_NODES and least == 0 and not self._unwanted(items):
            wanted = 1
        if items is False or (isinstance(items, dict) and "contains" in keywords and not items):
            items = keywords.get("contains", False)
        outer = self.variant
        try:
            while len(result) < min(wanted, most):
                if keywords.get("uniqueItems") is True:
                    self.variant = len(result)
                result.append(self.build(items, depth + 1))
        except ContradictionError:
            if len(result) < least:
                raise
        finally:
            self.variant = outer
        return result


def _types_of(keywords: dict[str, Any]) -> list[str]:
    kinds = keywords.get("type")
    if isinstance(kinds, str):
        return [kinds]
    if isinstance(kinds, list) and kinds:
        return sorted((str(kind) for kind in kinds), key=lambda kind: kind == "null")
    hints = {
        "object": ("properties", "additionalProperties", "required", "minProperties", "patternProperties"),
        "array": ("items", "prefixItems", "minItems", "contains"),
        "string": ("pattern", "minLength", "maxLength", "format"),
        "number": ("minimum", "maximum", "multipleOf", "exclusiveMinimum", "exclusiveMaximum"),
    }
    hinted = [kind for kind, keys in hints.items() if any(key in keywords for key in keys)]
    return hinted or ["object", "string", "integer", "array", "boolean", "null"]


def _is_null(branch: Any) -> bool:
    return mapping(branch).get("type") == "null"


def _discriminated(value: Any, *, branch: Any, group: dict[str, Any]) -> list[Any]:
    """Return `value` with the discriminator's property naming the branch, and as it was."""
    name = group["discriminator"].get("propertyName")
    reference = mapping(branch).get("$ref")
    if not isinstance(value, dict) or not isinstance(name, str) or not reference:
        return [value]
    named = [key for key, target in mapping(group["discriminator"].get("mapping")).items() if target == reference]
    return [value, *(value | {name: key} for key in named)] if value.get(name) in named else [
        *(value | {name: key} for key in named), value
    ]  # fmt: skip


def _number(kind: str, keywords: dict[str, Any], *, variant: int) -> int | float:
    low, high = _range(keywords)
    step = keywords.get("multipleOf")
    if not isinstance(step, (int, float)) or isinstance(step, bool) or step <= 0:
        step = 1
    whole = kind == "integer"
    number: float = max(low, min(high, 1)) if -math.inf < low or high < math.inf else 1
    number = math.ceil(round(number / step, 9)) * step
    number += variant * step
    if number > high:
        number = math.floor(round(high / step, 9)) * step
    if not whole and not low <= number <= high:
        number = (low + high) / 2
    if isinstance(number, float) and number.is_integer() and abs(number) < 2**53:
        number = int(number)
    if isinstance(number, float) and not whole:
        return round(number, 12)
    return int(number) if whole else number


def _range(keywords: dict[str, Any]) -> tuple[float, float]:
    """Return the closed range, exclusive bounds (a flag in OpenAPI 3.0, a number in 3.1) moved inwards."""
    low, high = keywords.get("minimum", -math.inf), keywords.get("maximum", math.inf)
    low = low if isinstance(low, (int, float)) else -math.inf
    high = high if isinstance(high, (int, float)) else math.inf
    inwards = 1 if high - low > 2 or keywords.get("type") == "integer" else max((high - low) / 1000, 1e-9)
    above, below = keywords.get("exclusiveMinimum"), keywords.get("exclusiveMaximum")
    if above is True:
        low += inwards
    elif isinstance(above, (int, float)) and not isinstance(above, bool):
        low = max(low, above + (1 if keywords.get("type") == "integer" or below is None else 1e-9))
    if below is True:
        high -= inwards
    elif isinstance(below, (int, float)) and not isinstance(below, bool):
        high = min(high, below - (1 if keywords.get("type") == "integer" or above is None else 1e-9))
    return low, high
