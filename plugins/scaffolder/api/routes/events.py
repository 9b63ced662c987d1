"""What happened to a generated project, in pages and live; and what its agents were asked for."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator
from contextlib import contextmanager
from typing import Annotated, Any, Final
from uuid import UUID

import anyio
from fastapi import APIRouter, Depends, Header, Query, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse, StreamingResponse

from scaffolder.api.paging import MOST_VALUES, Page, PageRequest, as_filters, dump, page_of
from scaffolder.api.permissions import ProjectScope, find_readable_project
from scaffolder.api.problems import describe_answers
from scaffolder.api.records import open_records
from scaffolder.api.routes.generated import GeneratedId, MemberOrReader
from scaffolder.api.schemas.events import AgentCallOut, EventOut
from scaffolder.api.schemas.values import PRINTABLE, Value
from scaffolder.config import get_settings
from scaffolder.errors import ScaffolderError, TooManyStreamsError
from scaffolder.observability import metrics
from scaffolder.records import listing
from scaffolder.records.models import AgentCallStatus, Event

router = APIRouter(prefix="/projects/{project}/generated/{generated_id}", tags=["events"])

# Transactions end in another order than they begin in, so an event may appear behind one with a higher id.
_SETTLING_SECONDS: Final = 60
_KEEPALIVE_SECONDS: Final = 15
_open_streams = 0


@router.get("/events", response_model=Page[EventOut], responses=describe_answers(404))
def list_events(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(EventOut, sort=("id",)))],
    subject: Annotated[
        list[Value] | None, Query(max_length=MOST_VALUES, description="Any of these kinds of record.")
    ] = None,
    kind: Annotated[
        list[Value] | None, Query(max_length=MOST_VALUES, description="Any of created, status, changed, deleted.")
    ] = None,
) -> JSONResponse:
    """List what happened to a generated project, its agent calls and exports."""
    with open_records() as records:
        scope.find_generated(records, generated_id)
        found = page.read(
            records,
            listing.EVENTS_OF_GENERATED,
            within={"generated_project_id": generated_id},
            filters=as_filters(subject=subject, kind=kind),
        )
    return page.answer(found, request=request, show=EventOut.show)


_STREAM: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "Server-sent events, one for each event, with its id. After a break (header Last-Event-ID) "
        "those of the last minute may come again.",
        "content": {
            "text/event-stream": {
                "schema": {"type": "string"},
                "example": 'id: 4711\nevent: status\ndata: {"subject": "generated_project"}\n\n',
            }
        },
    }
}


@router.get("/events/stream", response_class=StreamingResponse, responses=_STREAM | describe_answers(404))
async def stream_events(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    last_event_id: Annotated[
        str | None, Header(alias="Last-Event-ID", pattern="^[0-9]{1,18}$", description="The last one that was seen.")
    ] = None,
) -> StreamingResponse:
    """Send what happens to a generated project as it happens, from its beginning."""

    def check() -> None:
        with open_records() as records:
            scope.find_generated(records, generated_id)

    await run_in_threadpool(check)
    settings = get_settings()
    if _open_streams >= settings.event_streams:
        raise TooManyStreamsError(f"{settings.event_streams} streams are open", retry_after_seconds=10)
    return StreamingResponse(
        _stream(scope, generated_id, after=int(last_event_id or 0)),
        media_type="text/event-stream",
        headers={"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
    )


@router.get("/agent-calls", response_model=Page[AgentCallOut], responses=describe_answers(404))
def list_agent_calls(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(AgentCallOut, sort=("created_at",)))],
    status: Annotated[list[AgentCallStatus] | None, Query(max_length=MOST_VALUES, description="Any of these.")] = None,
    step_id: Annotated[str | None, Query(min_length=1, max_length=250, pattern=PRINTABLE)] = None,
    connection: Annotated[str | None, Query(min_length=1, max_length=250, pattern=PRINTABLE)] = None,
) -> JSONResponse:
    """List what agents were asked for: tokens, money, time and outcome, but not what was said."""
    with open_records() as records:
        scope.find_generated(records, generated_id)
        found = page.read(
            records,
            listing.AGENT_CALLS,
            within={"generated_project_id": generated_id},
            filters=as_filters(status=status, step_id=step_id, connection=connection),
        )
    return page.answer(found, request=request, show=AgentCallOut.show)


async def _stream(scope: ProjectScope, generated_id: UUID, *, after: int) -> AsyncIterator[str]:
    settings = get_settings()
    until = time.monotonic() + settings.event_stream_seconds
    last, quiet_since = after, time.monotonic()
    seen: dict[int, float] = {}
    with _counted():
        yield ": events\n\n"
        while time.monotonic() < until:
            try:
                found = await run_in_threadpool(_read_events, scope, generated_id, last, list(seen))
            except ScaffolderError as error:
                # The client comes back by itself, and is told then what is wrong.
                yield f": {type(error).__name__}\n\n"
                return
            now = time.monotonic()
            for event in found:
                yield _format(event)
            seen = {key: at for key, at in seen.items() if at > now - 2 * _SETTLING_SECONDS}
            seen |= {event.id: now for event in found}
            last = max([last, *(event.id for event in found)])
            if found:
                quiet_since = now
            elif now - quiet_since > _KEEPALIVE_SECONDS:
                yield ": still here\n\n"
                quiet_since = now
            await anyio.sleep(settings.event_interval_seconds)


def _read_events(scope: ProjectScope, generated_id: UUID, last: int, seen: list[int]) -> list[Event]:
    # Membership may have been taken away since.
    find_readable_project(scope.project, caller=scope.caller)
    with open_records() as records:
        return records.list_new_events(generated_id, last=last, settling_seconds=_SETTLING_SECONDS, seen=seen)


@contextmanager
def _counted() -> Any:
    global _open_streams  # noqa: PLW0603  # one event loop, so no two threads change it
    _open_streams += 1
    metrics.gauge(metrics.API_STREAMS_OPEN, _open_streams)
    try:
        yield
    finally:
        _open_streams -= 1
        metrics.gauge(metrics.API_STREAMS_OPEN, _open_streams)


def _format(event: Event) -> str:
    # JSON has no line breaks of its own, so nothing in it can end the message.
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(dump(EventOut.show(event)))}\n\n"
