"""Fields that log lines carry, of structlog's loggers and of the standard library's: Airflow renders both.

Their values are ours or were checked: no value of a user's is one before it is known to be an id or a slug.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

#: All fields there are.
FIELDS: Final = ("project", "generated_project_id", "step_id", "agent_call_id", "export_id", "request_id")


def bind(**fields: object) -> None:
    """Let the lines that follow carry `fields`, until the `bound` around ends; None leaves one as it is."""
    from structlog.contextvars import bind_contextvars

    bind_contextvars(**_texts(fields))


@contextmanager
def bound(**fields: object) -> Iterator[None]:
    """Let the lines of a block carry `fields`; at its end all of `FIELDS` are as they were."""
    from structlog.contextvars import bind_contextvars, get_contextvars, unbind_contextvars

    before = {name: value for name, value in get_contextvars().items() if name in FIELDS}
    bind_contextvars(**_texts(fields))
    try:
        yield
    finally:
        unbind_contextvars(*FIELDS)
        bind_contextvars(**before)


def _texts(fields: dict[str, object]) -> dict[str, str]:
    if unknown := sorted(set(fields) - set(FIELDS)):
        raise TypeError(f"unknown log fields {unknown}; accepted are {FIELDS}")
    return {name: str(value) for name, value in fields.items() if value is not None}
