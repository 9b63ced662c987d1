"""Which steps of workflows no longer fit what their agents offer, and why."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from scaffolder.agents.openapi import OperationDefinition
from scaffolder.errors import AgentConfigurationError
from scaffolder.records.models import Endpoint

MAX_REASONS: Final = 10


@dataclass(frozen=True, kw_only=True)
class Use:
    """One step that calls an operation. Values that are known only when it runs are `Anything`."""

    workflow: str
    step_id: str
    connection: str
    operation: str
    parameters: Mapping[str, Any]
    body: Any


@dataclass(frozen=True, kw_only=True)
class Break:
    """A step that would fail, and up to ten sentences why."""

    use: Use
    reasons: tuple[str, ...]

    def describe(self) -> str:
        """Return one sentence."""
        return f"step {self.use.step_id!r} of workflow {self.use.workflow!r} would fail: {'; '.join(self.reasons)}"


def find_breaks(
    uses: Iterable[Use],
    find_endpoint: Callable[[str], Endpoint | None],
    *,
    supplied: frozenset[tuple[str, str]] = frozenset(),
) -> Iterator[Break]:
    """Yield the uses of one agent that no longer fit: `find_endpoint` knows its operations.

    `supplied` are the parameters that the connection itself gives, see `OperationDefinition`.
    """
    for use in uses:
        reasons = _find_reasons(use, find_endpoint(use.operation), supplied)
        if reasons:
            yield Break(use=use, reasons=tuple(reasons[:MAX_REASONS]))


def _find_reasons(use: Use, endpoint: Endpoint | None, supplied: frozenset[tuple[str, str]]) -> list[str]:
    if endpoint is None:
        return [f"there is no operation {use.operation!r}"]
    if endpoint.gone_at is not None:
        return [f"operation {use.operation!r} is gone since {endpoint.gone_at:%Y-%m-%d}"]
    try:
        operation = OperationDefinition.of(endpoint, supplied=supplied)
        return operation.find_problems(use.parameters, use.body, purpose="plan")
    except AgentConfigurationError as error:
        return [str(error)]
