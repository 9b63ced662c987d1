"""What agents cost, and how much of tokens and money a step, a run and a project may use."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, Final
from uuid import UUID

from scaffolder.agents.contract import Usage
from scaffolder.config import Settings, environment_variable
from scaffolder.errors import AgentConfigurationError, BudgetExceededError, SettingsError
from scaffolder.records.agent_calls import AgentCallRecords
from scaffolder.records.models import Charge, Spending

_PRICES: Final = ("input", "output", "call")
_MILLION: Final = Decimal(1_000_000)
_ACCEPTED: Final = (
    f'accepted is JSON such as {{"openai:gpt-5": {{"input": 1.25, "output": 10}}}} with any of {list(_PRICES)}, '
    "each a number from 0"
)


@dataclass(frozen=True, kw_only=True)
class Budget:
    """What one step may use, all tries together, where it says so itself: tokens and money of the price table."""

    tokens: int | None = None
    cost: Decimal | None = None


def read_budget(data: Mapping[str, Any]) -> Budget:
    """Read ``{"tokens", "cost"}``, any of them. Raises AgentConfigurationError."""
    accepted = f"the step's budget is {data!r}; accepted are numbers above 0 as tokens and cost"
    try:
        values = {name: Decimal(str(value)) for name, value in data.items()}
    except InvalidOperation as error:
        raise AgentConfigurationError(accepted) from error
    if not values.keys() <= {"tokens", "cost"} or any(not one.is_finite() or one <= 0 for one in values.values()):
        raise AgentConfigurationError(accepted)
    tokens = values.get("tokens")
    return Budget(tokens=None if tokens is None else int(tokens), cost=values.get("cost"))


@dataclass(frozen=True, kw_only=True)
class Price:
    """What a model or agent costs: tokens by the million, and each call. None is unknown."""

    input: Decimal | None = None
    output: Decimal | None = None
    call: Decimal | None = None

    def of(self, usage: Usage | None) -> Decimal:
        """Return the cost of one answered call."""
        tokens = usage or Usage()
        return (
            (self.call or Decimal(0))
            + (self.input or Decimal(0)) * tokens.input_tokens / _MILLION
            + (self.output or Decimal(0)) * tokens.output_tokens / _MILLION
        )


class PriceTable:
    """The setting ``agent_prices``. Raises SettingsError where it cannot be read."""

    def __init__(self, text: str) -> None:
        try:
            data = json.loads(text, parse_float=Decimal)
        except ValueError as error:
            raise _unreadable(text[:100]) from error
        if not isinstance(data, Mapping):
            raise _unreadable(text[:100])
        self._prices = {name: _read_price(name, entry) for name, entry in data.items()}

    def find(self, *names: str | None) -> Price | None:
        """Return the price of the first of `names` (models, connections) that has one.

        A model's is found with its provider (``openai:gpt-5``) and without.
        """
        candidates = [one for name in names if name for one in (name, name.rpartition(":")[2])]
        return next((self._prices[name] for name in candidates if name in self._prices), None)

    def charge(self, usage: Usage | None, *names: str | None) -> Charge:
        """Return what one answer has consumed; its model comes before `names`."""
        price = self.find(usage.model if usage else None, *names)
        return Charge(
            model=usage.model if usage else None,
            input_tokens=usage.input_tokens if usage else None,
            output_tokens=usage.output_tokens if usage else None,
            cost=price.of(usage) if price else None,
        )


def check_budget(
    calls: AgentCallRecords, generated_project_id: UUID, *, step_id: str, budget: Budget, settings: Settings
) -> None:
    """Raise BudgetExceededError where step, run or project have used up what they may use."""
    spent = calls.sum_spending(generated_project_id, step_id=step_id, days=settings.budget_days)
    for scope, spending in zip(("step", "run", "project"), spent, strict=True):
        tokens, cost = getattr(settings, f"max_{scope}_tokens"), Decimal(getattr(settings, f"max_{scope}_cost"))
        if scope == "step":
            tokens = tokens if budget.tokens is None else min(tokens, budget.tokens)
            cost = cost if budget.cost is None else min(cost, budget.cost)
        _check(scope, spending, tokens=tokens, cost=cost, step_id=step_id)


def _check(scope: str, spending: Spending, *, tokens: int, cost: Decimal, step_id: str) -> None:
    for unit, used, accepted in (("tokens", spending.tokens, tokens), ("cost", spending.cost, cost)):
        if used >= accepted:
            by = environment_variable(f"max_{scope}_{unit}") + (" or the step's own budget" if scope == "step" else "")
            raise BudgetExceededError(
                f"step {step_id!r} may not call its agent: the {unit} of its {scope} are {used}; accepted are less "
                f"than {accepted} ({by})"
            )


def _read_price(name: str, entry: Any) -> Price:
    if not isinstance(entry, Mapping) or not entry or not set(entry) <= set(_PRICES):
        raise _unreadable({name: entry})
    try:
        values = {key: Decimal(str(value)) for key, value in entry.items()}
    except InvalidOperation as error:
        raise _unreadable({name: entry}) from error
    if any(not value.is_finite() or value < 0 for value in values.values()):
        raise _unreadable({name: entry})
    return Price(**values)


def _unreadable(value: Any) -> SettingsError:
    return SettingsError(f"{environment_variable('agent_prices')} has {value!r}; {_ACCEPTED}")
