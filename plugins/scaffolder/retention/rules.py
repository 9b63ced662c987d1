"""The rules of retention, from the settings: the list ``retention_rules``, and what holds where it says nothing."""

from __future__ import annotations

import json
import logging
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError, model_validator

from scaffolder.config import Settings, environment_variable
from scaffolder.errors import SettingsError
from scaffolder.records.retention import FOREVER, RetentionRule, RetentionRules

log = logging.getLogger(__name__)

MAX_DAYS: Final = 36_500

_VARIABLE: Final = environment_variable("retention_rules")
_EXAMPLE: Final = '[{"project": "payments", "days": 90}, {"status": "failed", "days": 3}]'
_PATTERN: Final = r"^[A-Za-z0-9_.*-]+$"
_SHOWN_CHARACTERS: Final = 80

Pattern = Annotated[str, StringConstraints(pattern=_PATTERN, max_length=250)]
Days = Annotated[int, Field(ge=1, le=MAX_DAYS)]


class _Rule(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    project: Pattern = "*"
    workflow: Pattern = "*"
    status: Literal["ready", "failed"] | None = None
    days: Days | Literal["forever"] | None = None
    keep_newest: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    keep_unexported: bool | None = None

    @model_validator(mode="after")
    def _check_says_something(self) -> _Rule:
        if self.keep_newest is not None and (self.workflow != "*" or self.status is not None):
            raise ValueError("has keep_newest for some workflows or statuses; accepted is for all of a project")
        if self.days is None and self.keep_newest is None and self.keep_unexported is None:
            raise ValueError("says nothing; accepted is any of days, keep_newest and keep_unexported")
        return self


def load_rules(settings: Settings, *, retention_days: int | None = None) -> RetentionRules:
    """Return the rules; `retention_days` (1 to 36,500) takes the place of the setting of that name.

    Raises SettingsError naming every rule that cannot be used and what is accepted.
    """
    days = settings.generated_projects_retention_days if retention_days is None else retention_days
    return RetentionRules(
        rules=(
            *_parse(settings.retention_rules),
            RetentionRule(status="failed", days=min(settings.failed_retention_days, days)),
            RetentionRule(
                days=days,
                keep_newest=settings.retention_keep_newest,
                keep_unexported=settings.retention_keep_unexported,
            ),
        )
    )


def find_rules(settings: Settings) -> RetentionRules | None:
    """Return the rules, None where they cannot be used: what is done is done, and a clean-up says when it expires."""
    try:
        return load_rules(settings)
    except SettingsError as error:
        log.warning("It is not known yet when it expires: %s", error)
        return None


def _parse(text: str) -> list[RetentionRule]:
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError(
            f"{_VARIABLE}={text[:_SHOWN_CHARACTERS]!r} is no JSON; accepted is a list such as {_EXAMPLE}"
        ) from None
    if not isinstance(data, list):
        raise SettingsError(f"{_VARIABLE}={text[:_SHOWN_CHARACTERS]!r}; accepted is a list such as {_EXAMPLE}")
    rules: list[RetentionRule] = []
    problems: list[str] = []
    for number, entry in enumerate(data, start=1):
        try:
            rules.append(_make(_Rule.model_validate(entry)))
        except ValidationError as error:
            problems += [f"{_VARIABLE}: rule {number}: {_describe(one)}" for one in error.errors()]
    if problems:
        raise SettingsError("; ".join(problems))
    return rules


def _make(rule: _Rule) -> RetentionRule:
    days = FOREVER if rule.days == "forever" else rule.days
    return RetentionRule(**(rule.model_dump() | {"days": days}))


def _describe(problem: Any) -> str:
    place = str(problem["loc"][0]) if problem["loc"] else ""
    shown = repr(problem["input"])[:_SHOWN_CHARACTERS]
    match problem["type"]:
        case "extra_forbidden":
            return f"unknown key {place!r}; accepted are {list(_Rule.model_fields)}"
        case "value_error":
            return f"{shown} {problem['ctx']['error']}"
    accepted = {
        "project": f"a pattern such as 'team-*' ({_PATTERN})",
        "workflow": f"a pattern such as 'openapi_*' ({_PATTERN})",
        "status": "'ready' or 'failed'",
        "days": f"a whole number from 1 to {MAX_DAYS}, or 'forever'",
        "keep_newest": "a whole number from 0 to 1000000",
        "keep_unexported": "true or false",
    }
    return f"{place} is {shown}; accepted is {accepted.get(place, f'an object such as {_EXAMPLE[1:40]}')}".strip()
