"""Chooses, for every operation, the bodies it is tried and answered with."""

from dataclasses import dataclass
from typing import Any

from demo_agent.checking import SchemaChecker, UncheckableSchemaError
from demo_agent.document import mapping
from demo_agent.examples import Direction, example_candidates
from demo_agent.merging import ContradictionError, flatten
from demo_agent.operations import Content


@dataclass(frozen=True)
class Values:
    """Values for one body, the best first.

    `schema` points to the schema they satisfy, if there is one that can be evaluated; `problem` says why there are no
    values, or why they could not be checked.
    """

    values: tuple[Any, ...]
    schema: str | None = None
    problem: str = ""

    @property
    def satisfiable(self) -> bool:
        """Whether there is a value at all."""
        return bool(self.values)


def body_values(content: Content, *, checker: SchemaChecker, direction: Direction) -> Values:
    """Find values for a body."""
    if content.kind == "json":
        return _json_values(content, checker=checker, direction=direction)
    if content.kind in ("form", "multipart") and direction == "request":
        found = _json_values(content, checker=checker, direction=direction)
        return Values(tuple(value for value in found.values if isinstance(value, dict)) or ({},))
    return _text_values(content, checker=checker, direction=direction)


def _json_values(content: Content, *, checker: SchemaChecker, direction: Direction) -> Values:
    if content.schema is None:
        return Values(content.examples[:1] or ({},))
    try:
        found, problem = example_candidates(
            checker.schema_at(content.schema),
            checker=checker,
            direction=direction,
            documented=content.examples,
        )
    except UncheckableSchemaError as exc:
        return Values(content.examples[:1] or ({},), problem=str(exc))
    return Values(tuple(found), schema=content.schema, problem="" if found else problem)


def _text_values(content: Content, *, checker: SchemaChecker, direction: Direction) -> Values:
    texts = tuple(value for value in content.examples if isinstance(value, str))
    if content.kind == "text" and content.schema is not None and _is_text(content.schema, checker=checker):
        found = _json_values(content, checker=checker, direction=direction)
        if all(isinstance(value, str) for value in found.values):
            return found
    if "xml" in content.media_type:
        return Values(texts[:1] or ("<example/>",))
    return Values(texts[:1] or ("example",))


def _is_text(schema: str, *, checker: SchemaChecker) -> bool:
    try:
        keywords, _ = flatten(checker.schema_at(schema), checker=checker)
    except ContradictionError:
        return False
    return keywords.get("type") == "string" and keywords.get("format") != "binary"


def form_fields(content: Content, *, checker: SchemaChecker) -> tuple[dict[str, Any], frozenset[str]]:
    """Return the fields of a form body, each with its schema, and which of them are required."""
    if content.schema is None:
        return {}, frozenset()
    try:
        keywords, _ = flatten(checker.schema_at(content.schema), checker=checker)
    except ContradictionError:
        return {}, frozenset()
    fields = mapping(keywords.get("properties"))
    required = keywords.get("required")
    names = frozenset(name for name in required if isinstance(name, str)) if isinstance(required, list) else frozenset()
    return fields, names & fields.keys()
