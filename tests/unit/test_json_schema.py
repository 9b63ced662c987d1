from __future__ import annotations

from typing import Any

import pytest

from scaffolder.json_schema import SchemaError, check_bounded, find_violations


def test_a_bounded_check_says_what_the_other_says() -> None:
    schema = {
        "type": "object",
        "properties": {"name": {"$ref": "#/$defs/name"}, "tags": {"type": "array", "items": {"pattern": "^[a-z]+$"}}},
        "required": ["name"],
        "$defs": {"name": {"type": "string", "pattern": "^[a-z][a-z0-9-]{1,38}$", "minLength": 3}},
    }
    check_bounded(schema)
    values: list[Any] = [{"name": "ok-1"}, {"name": "No"}, {}, {"name": "abc", "tags": ["a", "B", 1]}, {"name": 1}, []]
    for value in values:
        found = list(find_violations(schema, value, bounded=True))
        assert found == list(find_violations(schema, value))
        assert bool(found) == (value != values[0])


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|a)*$", "(.*a){20}", "^(([a-z])+.)+[A-Z]([a-z])+$"])
def test_a_pattern_that_goes_back_and_forth_takes_no_time(pattern: str) -> None:
    # Python's own regular expressions would not be done before the tests' time-out.
    list(find_violations({"pattern": pattern}, "a" * 50_000 + "!", bounded=True))


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (
            {"properties": {"a": {"pattern": "(?=x)y"}}},
            r"pattern '\(\?=x\)y' cannot be used; accepted are those without",
        ),
        ({"properties": {"a": {"pattern": r"(x)\1"}}}, "cannot be used"),
        ({"anyOf": [{"pattern": "(" * 3}]}, "cannot be used"),
        ({"$defs": {"a": {"patternProperties": {"x": {}}}}}, "patternProperties; accepted are properties"),
    ],
)
def test_a_schema_that_cannot_be_bounded_is_named(schema: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError, match=message):
        check_bounded(schema)


def test_references_that_multiply_come_to_an_end() -> None:
    definitions = {f"d{n}": {"allOf": [{"$ref": f"#/$defs/d{n + 1}"}] * 10} for n in range(20)} | {"d20": {}}
    schema = {"$ref": "#/$defs/d0", "$defs": definitions}
    with pytest.raises(SchemaError, match="follows more than 10000 references"):
        list(find_violations(schema, {}, bounded=True))


@pytest.mark.parametrize(
    "dialect", ["http://json-schema.org/draft-07/schema#", "https://json-schema.org/draft/2020-12/schema"]
)
def test_a_part_of_another_dialect_is_checked_in_bounded_time_too(dialect: str) -> None:
    schema = {"properties": {"a": {"$schema": dialect, "pattern": "^(a+)+$"}, "$schema": {"const": "x"}}}
    flaws = list(find_violations(schema, {"a": "a" * 40 + "!", "$schema": "y"}, bounded=True))
    assert [path for path, _ in flaws] == [("a",), ("$schema",)]
