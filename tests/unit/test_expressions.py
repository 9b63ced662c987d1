from __future__ import annotations

from typing import Any

import pytest

from scaffolder.errors import ExpressionError
from scaffolder.operators.expressions import Expression, compile_value, evaluate, find_expressions

VARIABLES: dict[str, Any] = {
    "params": {"name": "bookings", "count": "123", "tricky": "{{ 7*7 }}", "document": {"a": [1]}},
    "steps": {"models": {"output": {"files": [{"path": "a"}], "none": None}}},
    "run": {"id": "manual__1"},
}


@pytest.mark.parametrize(
    ("source", "value"),
    [
        ("{{ params.count }}", "123"),
        (" {{ params.document }} ", {"a": [1]}),
        ("{{ steps.models.output.files }}", [{"path": "a"}]),
        ("{{ steps['models'].output.none }}", None),
        ("{{ params.tricky }}", "{{ 7*7 }}"),
        ("{{ params.name }}-{{ run.id }}", "bookings-manual__1"),
        ("{{ params.name | upper }}", "BOOKINGS"),
        ("a {{ params.tricky }}", "a {{ 7*7 }}"),
        ("{% if params.name %}yes{% endif %}", "yes"),
        ("{{ params.name == 'x' }}", False),
    ],
)
def test_computes(source: str, value: object) -> None:
    assert Expression(source).evaluate(VARIABLES) == value


def test_a_whole_expression_gives_the_object_unchanged() -> None:
    files = VARIABLES["steps"]["models"]["output"]["files"]
    assert Expression("{{ steps.models.output.files }}").evaluate(VARIABLES) is files


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ params.name", "unexpected end of template"),
        ("{{ ds }}", r"uses \['ds'\]; accepted are \['params', 'run', 'steps'\]"),
        ("{{ conn.x.password }}", r"uses \['conn'\]"),
    ],
)
def test_refuses_what_cannot_work_in_any_run(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message):
        Expression(source)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ params.nope }}", "has no attribute 'nope'"),
        ("{{ params.nope }} x", "has no attribute 'nope'"),
        ("{{ params.name.__class__ }}", "unsafe"),
        ("{{ steps.models.output.none.x }}", "None"),
    ],
)
def test_names_the_expression_that_cannot_be_computed(source: str, message: str) -> None:
    with pytest.raises(ExpressionError, match=message) as caught:
        Expression(source).evaluate(VARIABLES)
    assert repr(source) in str(caught.value)


def test_values_are_compiled_at_any_depth_and_data_stays_data() -> None:
    compiled = compile_value({"a": ["{{ params.name }}", "plain", 1, None], "b": {"c": "x {{ run.id }}"}})
    assert evaluate(compiled, VARIABLES) == {"a": ["bookings", "plain", 1, None], "b": {"c": "x manual__1"}}
    assert [found.source for found in find_expressions(compiled)] == ["{{ params.name }}", "x {{ run.id }}"]


def test_an_expression_shows_its_source_and_never_what_it_brought_in() -> None:
    assert str({"body": Expression("{{ params.document }}")}) == "{'body': '{{ params.document }}'}"


def test_knows_what_it_refers_to() -> None:
    expression = Expression("{{ params.a }}{{ steps.models.output.x }}{{ steps['files'].output }}")
    assert expression.references == {"params": {"a"}, "steps": {"models", "files"}}
