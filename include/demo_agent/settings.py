"""Settings of the bundled agent, read from `DEMO_AGENT_*` environment variables; the token may be in a file."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

MAX_DOCUMENT_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """What the service is started with.

    `max_concurrent` generations run at once, and `max_waiting` more may wait for their turn.
    """

    token: str
    timeout_seconds: int = 180
    memory_mib: int = 2048
    max_concurrent: int = 2
    max_waiting: int = 16


LIMITS = {
    "timeout_seconds": (1, 3600),
    "memory_mib": (512, 65536),
    "max_concurrent": (1, 64),
    "max_waiting": (0, 10000),
}


def read_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings.

    Raises:
        ValueError: a variable is missing or outside its range; the message names it and what is accepted.
    """
    variables = os.environ if environment is None else environment
    token = variables.get("DEMO_AGENT_TOKEN", "") or _token_of_file(variables.get("DEMO_AGENT_TOKEN_FILE", ""))
    if not token:
        raise ValueError(
            "DEMO_AGENT_TOKEN is not set: set it to the bearer token that callers must send, "
            "or DEMO_AGENT_TOKEN_FILE to a file with it"
        )
    if not token.isascii() or not token.isprintable() or " " in token:
        raise ValueError("DEMO_AGENT_TOKEN must be printable ASCII without spaces")
    numbers = {field: _number(variables, field=field) for field in LIMITS}
    return Settings(token=token, **numbers)


def _token_of_file(path: str) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"DEMO_AGENT_TOKEN_FILE is {path!r}, which cannot be read: {error}") from error


def _number(variables: Mapping[str, str], *, field: str) -> int:
    name = f"DEMO_AGENT_{field.upper()}"
    low, high = LIMITS[field]
    text = variables.get(name)
    if text is None:
        default: int = getattr(Settings, field)
        return default
    if not text.isascii() or not text.isdigit() or not low <= int(text) <= high:
        raise ValueError(f"{name} is {text!r}: it must be a whole number from {low} to {high}")
    return int(text)
