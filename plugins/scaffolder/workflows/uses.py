"""Which agents, and which of their operations, the steps of workflows name."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from scaffolder.operators.expressions import Expression, compile_value
from scaffolder.workflows.definition import WorkflowDefinition
from scaffolder.workflows.step_types import ApiCallStep

if TYPE_CHECKING:
    from scaffolder.agents.discovery.compatibility import Use


def list_uses(definitions: Iterable[WorkflowDefinition]) -> Iterator[Use]:
    """Yield the steps that call an operation which the workflow names; values that are expressions are `Anything`."""
    from scaffolder.agents.discovery.compatibility import Use

    for definition, step in list_calls(definitions):
        if step.operation is not None and not isinstance(compile_value(step.operation), Expression):
            yield Use(
                workflow=definition.id,
                step_id=step.id,
                connection=step.agent,
                operation=step.operation,
                parameters=_leave_open(compile_value(step.parameters)),
                body=_leave_open(compile_value(step.body)),
            )


def list_calls(definitions: Iterable[WorkflowDefinition]) -> Iterator[tuple[WorkflowDefinition, ApiCallStep]]:
    """Yield the steps that call an agent which the workflow names."""
    for definition in definitions:
        for step in definition.steps:
            if isinstance(step, ApiCallStep) and not isinstance(compile_value(step.agent), Expression):
                yield definition, step


def list_described(definitions: Iterable[WorkflowDefinition]) -> Iterator[str]:
    """Yield the agents of which a step names an operation, or computes which: their descriptions are needed."""
    return (step.agent for _, step in list_calls(definitions) if step.operation is not None)


def _leave_open(value: Any) -> Any:
    from scaffolder.agents.openapi.schemas import Anything

    if isinstance(value, Expression):
        return Anything()
    if isinstance(value, Mapping):
        return {key: _leave_open(item) for key, item in value.items()}
    return [_leave_open(item) for item in value] if isinstance(value, list) else value
