"""Kinds of values in requests, and those that examples share."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime
from typing import Annotated, Any, Final

from pydantic import AfterValidator, AwareDatetime, BaseModel, BeforeValidator, ConfigDict, StringConstraints

from scaffolder.api.paging import UNSTORABLE
from scaffolder.config import get_settings

PRINTABLE = r"^[^\x00-\x1f\x7f]*$"
Username = Annotated[str, StringConstraints(min_length=1, max_length=256, pattern=PRINTABLE)]
Line = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=PRINTABLE)]
Value = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=PRINTABLE)]
Text = Annotated[str, StringConstraints(max_length=10_000, pattern=r"^[^\x00]*$")]

MAX_DEPTH: Final = 100
_DATE_TIME: Final = re.compile(r"\d{4}-\d\d-\d\dT", re.IGNORECASE)
GENERATED_ID = "6a1f3c52-9d54-5c7e-8a5e-0d8c6f2b7e11"
EXPORT_ID = "c5b0e9a5-31f2-5b3c-8a10-7d6d8a3e52c1"
AT = "2026-03-02T09:30:00Z"
COMMIT = "3f786850e387550fdab836ed7e6dc881de23001b"


def _check_text(value: Any) -> Any:
    if not isinstance(value, str) or not _DATE_TIME.match(value):
        raise ValueError("accepted is a date and time with an offset (RFC 3339), such as 2026-03-02T09:30:00Z")
    return value


def _to_utc(value: datetime) -> datetime:
    try:
        return value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("it is not within the years 1 to 9999 of UTC") from error


# Pydantic itself also takes numbers, and Postgres years that Python does not have.
Moment = Annotated[AwareDatetime, BeforeValidator(_check_text), AfterValidator(_to_utc)]


def _check_storable(data: dict[str, Any]) -> dict[str, Any]:
    parts: list[tuple[Any, int]] = [(data, 1)]
    while parts:
        part, depth = parts.pop()
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} deep; accepted are up to that")
        if isinstance(part, str) and UNSTORABLE.search(part):
            raise ValueError(
                "there is a NUL or half of a character (a lone surrogate) in it; accepted is any other text"
            )
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{part} is in it; accepted are the numbers of JSON (RFC 8259)")
        if isinstance(part, dict):
            parts += [(one, depth + 1) for one in (*part, *part.values())]
        if isinstance(part, list):
            parts += [(one, depth + 1) for one in part]
    return data


def hide_directories(text: str | None) -> str | None:
    """Return a recorded text without where things are on the machine that made it."""
    settings = get_settings()
    for directory, name in (
        (settings.generated_projects_dir, "generated-projects"),
        *((one, "templates") for one in settings.template_directories),
        *((one, "workflows") for one in settings.workflow_directories),
        (settings.cache_dir, "cache"),
    ):
        text = text and text.replace(str(directory), name)
    return text


# Anything that Postgres takes as JSON.
JsonObject = Annotated[dict[str, Any], AfterValidator(_check_storable)]


class Body(BaseModel):
    """What a request brings. Unknown keys are refused."""

    model_config = ConfigDict(extra="forbid")
