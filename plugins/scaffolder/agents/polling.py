"""Waits for long jobs of agents, thousands in one event loop: all jobs of one connection share one agent.

Nothing here knows Airflow. How an agent is opened is told by who waits.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final, Literal

from scaffolder.agents.contract import Agent, JobStatus
from scaffolder.errors import PermanentError, ScaffolderError, TransientError

# For so long an agent is used before its connection is looked up again: a password may have been changed.
_LEASE_SECONDS: Final = 300.0
# Enough for hundreds of polls a second. More connections cost more than they bring; and who waits here has not begun to
# use up the deadline of his poll.
_CONCURRENT_POLLS: Final = 20
_MAX_BACKOFF_SECONDS: Final = 300.0
_MIN_DELAY_SECONDS: Final = 1.0
_MAX_DOUBLINGS: Final = 20
_CANCEL_TRIES: Final = 3
_REFUSALS: Final = 3

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class JobOutcome:
    """How waiting for a job ended. `note` is fit for the log and holds nothing of the job's result.

    ``timeout``: the time is up; the job may still be running. ``error``: the agent cannot be asked.
    """

    state: Literal["done", "failed", "timeout", "error"]
    note: str = ""


@dataclass(kw_only=True)
class SharedAgent:
    """An agent that several jobs wait for."""

    agent: Agent | None = None
    users: int = 0
    fresh_until: float = field(default_factory=lambda: time.monotonic() + _LEASE_SECONDS)
    opening: asyncio.Lock = field(default_factory=asyncio.Lock)
    polls: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(_CONCURRENT_POLLS))

    @property
    def is_fresh(self) -> bool:
        """Whether its connection was looked up recently, and has not been refused since."""
        return time.monotonic() < self.fresh_until

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        """Ask after a job when it is its turn."""
        async with self.polls:
            return await self.get().poll(handle)

    def get(self) -> Agent:
        """Return the agent, which must be open."""
        if self.agent is None:
            raise RuntimeError("the agent is not open")
        return self.agent


class AgentPool:
    """The agents of one event loop, by connection. `open_agent` returns a connection's agent, not entered yet."""

    def __init__(self, open_agent: Callable[[str], Awaitable[Agent]]) -> None:
        self._open_agent = open_agent
        self._current: dict[str, SharedAgent] = {}

    @asynccontextmanager
    async def lease(self, conn_id: str) -> AsyncIterator[SharedAgent]:
        """Lend the agent of a connection. It should be given back, and borrowed again, when it is no longer fresh.

        The last one to give it back closes it. A PermanentError inside makes it stale for all.
        """
        shared = self._current.get(conn_id)
        if shared is None or not shared.is_fresh:
            shared = self._current[conn_id] = SharedAgent()
        shared.users += 1
        try:
            async with shared.opening:
                if shared.agent is None:
                    agent = await self._open_agent(conn_id)
                    shared.agent = await agent.__aenter__()
            yield shared
        except PermanentError:
            shared.fresh_until = 0
            raise
        finally:
            shared.users -= 1
            if not shared.users:
                if self._current.get(conn_id) is shared:
                    del self._current[conn_id]
                if shared.agent is not None:
                    await shared.agent.__aexit__(None, None, None)


class JobWait:
    """Waits for one job until the time `until` (seconds since the epoch); poll by poll, `poll_seconds` apart."""

    def __init__(self, *, conn_id: str, handle: Mapping[str, Any], poll_seconds: float, until: float) -> None:
        self._conn_id = conn_id
        self._handle = handle
        self._poll_seconds = poll_seconds
        self._until = until
        # After a restart all jobs begin to wait at once: they are spread over half an interval, and stay apart.
        self._delay = poll_seconds * _random(0.5, 1.0)
        self._failures = 0
        self._note = ""

    async def run(self, pool: AgentPool) -> JobOutcome:
        """Return how it ended. The job is asked after once more when the time is up, however late that is noticed.

        An agent that is away, or asks for patience, is asked again later. So is one that refuses, a few times, with its
        connection looked up anew: its password may have changed, and Airflow itself may have been away.
        """
        refusals = 0
        while True:
            try:
                async with pool.lease(self._conn_id) as shared:
                    while shared.is_fresh:
                        if outcome := await self._poll(shared):
                            return outcome
                        refusals = 0
            except ScaffolderError as error:
                if isinstance(error, PermanentError):
                    refusals += 1
                    if refusals == _REFUSALS:
                        return JobOutcome(state="error", note=str(error))
                if self._is_late:
                    return JobOutcome(state="timeout", note=str(error))
                self._back_off(error)

    async def _poll(self, shared: SharedAgent) -> JobOutcome | None:
        await asyncio.sleep(max(0.0, min(self._delay, self._until - time.time())))
        status = await shared.poll(self._handle)
        self._failures = 0
        if status.state != "running":
            return JobOutcome(state=status.state, note=status.note)
        if self._is_late:
            return JobOutcome(state="timeout", note=status.note)
        if status.note != self._note:
            log.info("The job is still running: %s", status.note)
            self._note = status.note
        asked = status.retry_after_seconds
        lowest = min(_MIN_DELAY_SECONDS, self._poll_seconds)
        self._delay = self._poll_seconds * _random(0.9, 1.1) if asked is None else max(asked, lowest)
        return None

    @property
    def _is_late(self) -> bool:
        return time.time() >= self._until

    def _back_off(self, error: ScaffolderError) -> None:
        asked = error.retry_after_seconds if isinstance(error, TransientError) else None
        delay = min(max(self._poll_seconds, _MIN_DELAY_SECONDS) * 2**self._failures, _MAX_BACKOFF_SECONDS)
        self._delay = max(delay * _random(0.5, 1.0), asked or 0.0)
        self._failures = min(self._failures + 1, _MAX_DOUBLINGS)
        log.warning("%s. The job is asked after again in %.0f s", error, self._delay)


async def cancel_job(pool: AgentPool, *, conn_id: str, handle: Mapping[str, Any]) -> None:
    """Cancel a job, in a few quick tries. Raises the error of the last one."""
    for number in range(1, _CANCEL_TRIES + 1):
        try:
            async with pool.lease(conn_id) as shared:
                await shared.get().cancel(handle)
            return
        except TransientError as error:
            if number == _CANCEL_TRIES:
                raise
            log.warning("%s. The job is cancelled again in %s s", error, number)
            await asyncio.sleep(number)


def _random(low: float, high: float) -> float:
    return random.uniform(low, high)  # noqa: S311  # no secret
