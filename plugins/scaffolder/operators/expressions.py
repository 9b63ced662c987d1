"""Values of a workflow that are computed when a step runs: Jinja expressions over ``params``, ``steps`` and ``run``.

A string that is one expression gives the expression's value unchanged (a list stays a list); other strings give
text. What the expressions bring in is data: it is never rendered again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from scaffolder.errors import ExpressionError

if TYPE_CHECKING:
    from jinja2 import nodes

    from scaffolder.sandbox import DataEnvironment

VARIABLES: Final = ("params", "run", "steps")


class Expression:
    """A string of a workflow with Jinja in it. Raises ExpressionError where it cannot work in any run."""

    def __init__(self, source: str) -> None:
        self.source = source
        self._check()

    def __repr__(self) -> str:
        # Airflow shows and stores this as the rendered field: the expression, never what it brought in.
        return repr(self.source)

    def __str__(self) -> str:
        return self.source

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    @cached_property
    def references(self) -> dict[str, frozenset[str]]:
        """The names used below each variable, e.g. ``{"params": {"name"}, "steps": {"models"}}``."""
        found: dict[str, set[str]] = {}
        for variable, name in _references(self._ast()):
            found.setdefault(variable, set()).add(name)
        return {variable: frozenset(names) for variable, names in found.items()}

    def evaluate(self, variables: Mapping[str, Any]) -> Any:
        """Return the value for `variables`. Raises ExpressionError."""
        try:
            return _environment().evaluate(self.source, variables)
        except Exception as error:  # an expression is somebody's code: whatever it raises is its error
            raise ExpressionError(
                f"expression {self.source!r} cannot be computed: {type(error).__name__}: {str(error)[:300]}"
            ) from error

    def _check(self) -> None:
        from jinja2 import TemplateSyntaxError, meta

        try:
            ast = self._ast()
        except TemplateSyntaxError as error:
            raise ExpressionError(f"expression {self.source!r}: {error.message}") from error
        if unknown := sorted(meta.find_undeclared_variables(ast) - set(VARIABLES)):
            raise ExpressionError(f"expression {self.source!r} uses {unknown}; accepted are {list(VARIABLES)}")

    def _ast(self) -> nodes.Template:
        return _environment().parse(self.source)


def compile_value(value: Any) -> Any:
    """Return `value` with every string that has Jinja in it as an `Expression`, at any depth of lists and mappings."""
    from scaffolder.sandbox import MARKS

    if isinstance(value, str):
        return Expression(value) if any(mark in value for mark in MARKS) else value
    if isinstance(value, Mapping):
        return {key: compile_value(item) for key, item in value.items()}
    return [compile_value(item) for item in value] if isinstance(value, list) else value


def find_expressions(value: Any) -> Iterator[Expression]:
    """Yield the expressions of a compiled value."""
    if isinstance(value, Expression):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from find_expressions(item)
    elif isinstance(value, list):
        for item in value:
            yield from find_expressions(item)


def evaluate(value: Any, variables: Mapping[str, Any]) -> Any:
    """Return a compiled value with its expressions computed."""
    return _replace(value, lambda expression: expression.evaluate(variables))


def _replace(value: Any, compute: Callable[[Expression], Any]) -> Any:
    if isinstance(value, Expression):
        return compute(value)
    if isinstance(value, Mapping):
        return {key: _replace(item, compute) for key, item in value.items()}
    return [_replace(item, compute) for item in value] if isinstance(value, list) else value


def _references(ast: nodes.Template) -> Iterator[tuple[str, str]]:
    from jinja2 import nodes

    found: Iterator[Any] = ast.find_all((nodes.Getattr, nodes.Getitem))
    for node in found:
        if isinstance(node.node, nodes.Name) and node.node.name in VARIABLES:
            if isinstance(node, nodes.Getattr):
                yield node.node.name, node.attr
            elif isinstance(node.arg, nodes.Const) and isinstance(node.arg.value, str):
                yield node.node.name, node.arg.value


def _environment() -> DataEnvironment:
    from scaffolder.sandbox import DataEnvironment

    return DataEnvironment()
