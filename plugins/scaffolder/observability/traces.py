"""Spans of our work below those of Airflow's tasks, where its OpenTelemetry is on.

A span has ids, counts and names of ours, and of a template its version. It has no message of an error and nothing of
what agents or users say.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from types import ModuleType

    from opentelemetry.trace import Span as OpenTelemetrySpan

_PREFIX = "scaffolder."


class Span:
    """A span while it lasts, or nothing where traces are off."""

    def __init__(self, span: OpenTelemetrySpan | None) -> None:
        self._span = span

    def set(self, **attributes: str | float | None) -> None:
        """Add attributes, each below ``scaffolder.``; None is none."""
        if self._span is not None:
            self._span.set_attributes(_name(attributes))

    def mark_failed(self, error: BaseException) -> None:
        """Mark it with the class of an error."""
        trace = _find_api()
        if self._span is not None and trace is not None:
            self._span.set_attribute("error.type", type(error).__name__)
            self._span.set_status(trace.StatusCode.ERROR)


@contextmanager
def span(
    name: str,
    *,
    kind: Literal["internal", "client"] = "internal",
    no_errors: tuple[type[Exception], ...] = (),
    **attributes: str | float | None,
) -> Iterator[Span]:
    """Make a block a span with `attributes`, a child of the one around it.

    An Exception marks it as `Span.mark_failed` does, unless it is one of `no_errors`, by which a block ends well.
    """
    trace = _find_api()
    if trace is None:
        yield Span(None)
        return
    with trace.get_tracer("scaffolder").start_as_current_span(
        name,
        kind=trace.SpanKind[kind.upper()],
        attributes=_name(attributes),
        record_exception=False,
        set_status_on_exception=False,
    ) as begun:
        lasting = Span(begun)
        try:
            yield lasting
        except no_errors:
            raise
        except Exception as error:
            lasting.mark_failed(error)
            raise


def get_traceparent() -> str | None:
    """Return the header of that name (W3C Trace Context) for a request of the current span; None where none is kept."""
    trace = _find_api()
    if trace is None:
        return None
    current = trace.get_current_span()
    if not current.is_recording():
        return None
    context = current.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def _find_api() -> ModuleType | None:
    # Whoever turns traces on has loaded it: where nobody has, it would take time for nothing. Airflow's tasks have
    # always loaded it; where traces are off, its spans keep nothing and go nowhere.
    return sys.modules.get("opentelemetry.trace")


def _name(attributes: dict[str, str | float | None]) -> dict[str, str | float]:
    return {_PREFIX + name: value for name, value in attributes.items() if value is not None}
