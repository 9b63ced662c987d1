"""What can go wrong on this machine.

LocalAirflowError
├── PrerequisiteError       something the machine lacks; the message says the remedy
├── StateError              the state directory cannot be used
├── BusyError               somebody else starts, stops or runs the same instance
├── PostgresError           the embedded Postgres refuses
├── ProcessDiedError        a process ended while it was being started
└── NotHealthyError         a process lives but did not become healthy in time
"""

from __future__ import annotations

from pathlib import Path


class LocalAirflowError(Exception):
    """Anything a person at the terminal can act on; the message is complete in itself."""


class PrerequisiteError(LocalAirflowError):
    """Something the machine lacks."""


class StateError(LocalAirflowError):
    """The state directory cannot be used."""


class BusyError(LocalAirflowError):
    """Somebody else starts, stops or runs the same instance."""


class PostgresError(LocalAirflowError):
    """The embedded Postgres refuses."""


class ProcessDiedError(LocalAirflowError):
    """A process ended while it was being started."""

    def __init__(self, name: str, *, exit_code: int | None, log: Path) -> None:
        code = "" if exit_code is None else f" with exit code {exit_code}"
        super().__init__(f"{name} ended{code} while starting. {_log_excerpt(log)}")


class NotHealthyError(LocalAirflowError):
    """A process lives but did not become healthy in time."""

    def __init__(self, name: str, *, seconds: float, log: Path) -> None:
        super().__init__(f"{name} is not healthy after {seconds:.0f} s. {_log_excerpt(log)}")


def tail_of(log: Path, *, lines: int = 25) -> str:
    """Return the last `lines` lines of `log`; empty if there is none."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 64 * 1024))
            text = stream.read().decode(errors="replace")
    except OSError:
        return ""
    return "\n".join(text.splitlines()[-lines:])


def _log_excerpt(log: Path) -> str:
    return f"The end of its log ({log}):\n{tail_of(log) or '(empty)'}"
