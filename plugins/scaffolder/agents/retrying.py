"""How long an agent is pursued: tries with back-off, what it asks for, and the circuit breaker of all workers."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from scaffolder.config import Settings
from scaffolder.errors import (
    AgentCircuitOpenError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    AgentWaitError,
    RecordsUnavailableError,
    TransientError,
)
from scaffolder.observability import metrics
from scaffolder.records.agent_calls import AgentCallRecords
from scaffolder.records.models import CircuitState

log = logging.getLogger(__name__)

Found = TypeVar("Found")


class Retrying:
    """The tries of one task at one agent. `tries` is how many there were before the task was deferred."""

    def __init__(self, calls: AgentCallRecords, conn_id: str, *, settings: Settings, tries: int) -> None:
        self._calls = calls
        self._conn_id = conn_id
        self._settings = settings
        self._tries = tries
        # Whether this is the one call that a half-open circuit lets through: all its requests are.
        self._is_probe = False

    async def do(self, work: Callable[[], Awaitable[Found]]) -> Found:
        """Return what `work` does, which may be done again; raise as `back_off` and `pass_circuit` do."""
        while True:
            await self.pass_circuit()
            try:
                return await work()
            except RecordsUnavailableError:
                raise
            except TransientError as error:
                self.strain_circuit(error)
                await self.back_off(error)

    def start_again(self) -> None:
        """Count from the beginning: something has been achieved."""
        self._tries = 0

    async def back_off(self, error: TransientError) -> None:
        """Wait before the next try.

        Raises `error` where there is none, AgentWaitError where the wait is too long for a worker, AgentRejectedError
        where it is too long altogether.
        """
        self._tries += 1
        asked = error.retry_after_seconds or 0.0
        if asked > self._settings.agent_max_deferral_seconds and not isinstance(error, AgentCircuitOpenError):
            raise AgentRejectedError(
                f"{error}. It wants to be left alone for {asked:.0f} s; accepted are up to "
                f"{self._settings.agent_max_deferral_seconds} (SCAFFOLDER_AGENT_MAX_DEFERRAL_SECONDS)"
            ) from error
        if self._tries >= self._settings.agent_tries:
            raise error
        # Exponential, with jitter: those that failed together don't come back together.
        jitter = random.uniform(0.5, 1.5)  # noqa: S311  # no secret
        delay = max(self._settings.agent_backoff_seconds * 2 ** (self._tries - 1) * jitter, asked)
        if delay > self._settings.agent_max_wait_seconds:
            raise AgentWaitError(str(error), retry_after_seconds=delay, tries=self._tries) from error
        metrics.count(metrics.AGENT_RETRIES, connection=self._conn_id, reason=_name_reason(error))
        log.warning("%s. Try %s of %s comes in %.1f s", error, self._tries + 1, self._settings.agent_tries, delay)
        await asyncio.sleep(delay)

    async def pass_circuit(self) -> None:
        """Return when the agent may be called; wait as `back_off` does while its circuit is open."""
        while not self._is_probe:
            circuit = self._calls.try_circuit(self._conn_id, seconds=self._settings.agent_circuit_seconds)
            if circuit.wait_seconds <= 0:
                self._is_probe = circuit.state is CircuitState.HALF_OPEN
                return
            await self.back_off(
                AgentCircuitOpenError(
                    f"agent {self._conn_id!r} has failed {circuit.failures} times in a row, last: "
                    f"{circuit.reason}; no call is let through for {circuit.wait_seconds:.0f} s",
                    retry_after_seconds=circuit.wait_seconds,
                )
            )

    def strain_circuit(self, error: TransientError) -> None:
        """Count a failure of the agent; to be asked to wait is none."""
        if not isinstance(error, AgentUnavailableError):
            return
        was_probe, self._is_probe = self._is_probe, False
        circuit = self._calls.strain_circuit(
            self._conn_id,
            failures=self._settings.agent_circuit_failures,
            seconds=self._settings.agent_circuit_seconds,
            reason=str(error),
        )
        if circuit.wait_seconds > 0:
            log.warning(
                "The circuit breaker of agent %r is open after %s failures in a row", self._conn_id, circuit.failures
            )
            # Requests that were under way when it opened may fail, too.
            if was_probe or circuit.failures == self._settings.agent_circuit_failures:
                metrics.count(metrics.AGENT_CIRCUIT_OPENINGS, connection=self._conn_id)

    def close_circuit(self) -> None:
        """Note that the agent has answered."""
        self._is_probe = False
        if self._calls.close_circuit(self._conn_id):
            log.info("The circuit breaker of agent %r is closed again", self._conn_id)

    def end_probe(self) -> None:
        """Note that a probe has ended with a refusal: the agent is there."""
        if self._is_probe:
            self.close_circuit()


def _name_reason(error: TransientError) -> str:
    if isinstance(error, AgentCircuitOpenError):
        return "circuit_open"
    return "rate_limited" if isinstance(error, AgentRateLimitedError) else "unavailable"
