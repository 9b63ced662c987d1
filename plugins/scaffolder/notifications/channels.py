"""The setting ``notifications``: which channel is told of which events of which projects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import Annotated, Any, Final

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, model_validator

from scaffolder.config import environment_variable
from scaffolder.errors import SettingsError

EVENT_TYPES: Final = (
    "generated_project.ready",
    "generated_project.failed",
    "generated_project.expired",
    "generated_project.deleted",
    "repository_export.exported",
    "repository_export.failed",
    "repository_export.rolled_back",
)
_VARIABLE: Final = environment_variable("notifications")
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
_NOTIFIER: Final = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+", re.ASCII)
_EXAMPLE: Final = '[{"name": "ci", "events": ["generated_project.ready"], "webhook_conn_id": "ci_webhook"}]'


def _check_name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(f"is {value!r}; accepted is {_NAME.pattern}")
    return value


def _check_event(value: str) -> str:
    if not any(fnmatchcase(one, value) for one in EVENT_TYPES):
        raise ValueError(f"is {value!r}; accepted are {list(EVENT_TYPES)} and patterns of them such as '*'")
    return value


def _check_pattern(value: str) -> str:
    if not value.strip():
        raise ValueError(f"is {value!r}; accepted is a pattern of projects' names such as 'team-*'")
    return value


def _check_connection(value: str) -> str:
    if not value.strip():
        raise ValueError(f"is {value!r}; accepted is the id of a connection")
    return value


def _check_notifier(value: str) -> str:
    if not _NOTIFIER.fullmatch(value):
        raise ValueError(
            f"is {value!r}; accepted is the path of a class such as "
            "'airflow.providers.smtp.notifications.smtp.SmtpNotifier'"
        )
    return value


class Channel(BaseModel):
    """One receiver: a webhook, or a notifier of Airflow with its arguments. `projects` are patterns (fnmatch)."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    name: Annotated[str, AfterValidator(_check_name)]
    events: list[Annotated[str, AfterValidator(_check_event)]] = Field(min_length=1)
    projects: list[Annotated[str, AfterValidator(_check_pattern)]] | None = Field(default=None, min_length=1)
    webhook_conn_id: Annotated[str, AfterValidator(_check_connection)] | None = None
    notifier: Annotated[str, AfterValidator(_check_notifier)] | None = None
    arguments: dict[str, Any] = Field(default_factory=dict, repr=False)

    @model_validator(mode="after")
    def _check_receiver(self) -> Channel:
        if (self.webhook_conn_id is None) == (self.notifier is None):
            given = "neither" if self.notifier is None else "both"
            raise ValueError(f"has {given} of webhook_conn_id and notifier; accepted is exactly one of them")
        if self.arguments and self.notifier is None:
            raise ValueError("has arguments, but no notifier; accepted is to leave them out")
        return self

    @property
    def event_types(self) -> tuple[str, ...]:
        """The names that its patterns mean."""
        return tuple(one for one in EVENT_TYPES if any(fnmatchcase(one, pattern) for pattern in self.events))

    def choose_projects(self, slugs: Iterable[str]) -> list[str] | None:
        """Return those of `slugs` that it is told of, or None where that is all there ever are."""
        if self.projects is None or "*" in self.projects:
            return None
        return [slug for slug in slugs if any(fnmatchcase(slug, pattern) for pattern in self.projects)]


def load_channels(text: str) -> tuple[Channel, ...]:
    """Read the setting. Raises SettingsError naming every problem and what is accepted."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        # The text is not shown: arguments of notifiers may hold what nobody should see.
        raise SettingsError(f"{_VARIABLE} is no JSON; accepted is a list such as {_EXAMPLE}") from None
    if not isinstance(data, list):
        raise SettingsError(f"{_VARIABLE} holds {_describe_type(data)}; accepted is a list such as {_EXAMPLE}")
    channels: list[Channel] = []
    problems: list[str] = []
    for index, entry in enumerate(data):
        try:
            channels.append(Channel.model_validate(entry))
        except ValidationError as error:
            problems += _describe(error, f"channel {_show_name(entry, index)}")
    names = [channel.name for channel in channels]
    problems += [
        f"channel {name!r}: the name is there {names.count(name)} times; accepted is once"
        for name in dict.fromkeys(names)
        if names.count(name) > 1
    ]
    if problems:
        raise SettingsError("; ".join(f"{_VARIABLE}: {problem}" for problem in problems))
    return tuple(channels)


def _show_name(entry: Any, index: int) -> str:
    name = entry.get("name") if isinstance(entry, dict) else None
    return repr(name) if isinstance(name, str) and _NAME.fullmatch(name) else f"number {index + 1}"


def _describe(error: ValidationError, subject: str) -> list[str]:
    """Return a sentence for each problem. Only what our own checks name is shown of a value: others may be secrets."""
    sentences = []
    for problem in error.errors():
        place = ".".join(str(part) for part in problem["loc"])
        prefix = f"{subject}: {place} " if place else f"{subject} "
        match problem["type"]:
            case "value_error":
                sentences.append(f"{prefix}{problem['ctx']['error']}")
            case "extra_forbidden":
                sentences.append(f"{subject}: unknown key {place!r}; accepted are {list(Channel.model_fields)}")
            case "missing":
                sentences.append(f"{prefix}is missing; accepted is {_ACCEPTED[str(problem['loc'][0])]}")
            case "too_short":
                sentences.append(f"{prefix}is []; accepted is {_ACCEPTED[str(problem['loc'][0])]}")
            case _:
                accepted = _ACCEPTED[str(problem["loc"][0])] if problem["loc"] else "an object with name and events"
                sentences.append(f"{prefix}is {_describe_type(problem['input'])}; accepted is {accepted}")
    return sentences


_ACCEPTED: Final = {
    "name": f"text: {_NAME.pattern}",
    "events": f"a list of at least one of {list(EVENT_TYPES)} or patterns of them such as '*'",
    "projects": "a list of at least one pattern of projects' names such as 'team-*'",
    "webhook_conn_id": "the id of a connection",
    "notifier": "the path of a class such as 'airflow.providers.smtp.notifications.smtp.SmtpNotifier'",
    "arguments": "an object with what the notifier's constructor takes",
}


def _describe_type(value: Any) -> str:
    """Return JSON's word for the type of `value`; of numbers and the like the value itself."""
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    if isinstance(value, str):
        return "text"
    return "a list" if isinstance(value, list) else "an object"
