"""What is observed of agent calls: the metrics ``scaffolder.agent.*`` and the spans of requests."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from uuid import UUID

from scaffolder.agents.contract import Agent
from scaffolder.errors import AgentRejectedError, RecordsUnavailableError, ScaffolderError
from scaffolder.observability import metrics, traces
from scaffolder.records.models import AgentCall, Charge


@dataclass
class RequestObservation:
    """One request that was sent. `outcome` is that of the metric; None where nobody can tell what is the agent's.

    `in_parts` says that it went out as several, which are requests themselves: only those are counted.
    """

    outcome: str | None = "interrupted"
    in_parts: bool = False


class AgentObserver:
    """Tells metrics and traces of what one agent is asked."""

    def __init__(self, agent: Agent) -> None:
        self._connection = agent.conn_id
        self._protocol = agent.protocol

    @contextmanager
    def observing_request(self, call_id: UUID, kind: str) -> Iterator[RequestObservation]:
        """Make one request a span and count it by its outcome."""
        request = RequestObservation()
        started = time.monotonic()
        with self._span("scaffolder.agent_call", call_id, kind) as span:
            try:
                yield request
            except RecordsUnavailableError:
                request.outcome = None
                raise
            except ScaffolderError as error:
                if request.outcome == "interrupted":
                    request.outcome = "refused" if isinstance(error, AgentRejectedError) else "unusable"
                raise
            finally:
                span.set(outcome=request.outcome)
                if request.outcome is not None and not request.in_parts:
                    tags = {**self._tags, "outcome": request.outcome}
                    metrics.count(metrics.AGENT_REQUESTS, **tags)
                    metrics.time(metrics.AGENT_LATENCY, time.monotonic() - started, **tags)

    def observing_job_result(self, call_id: UUID, kind: str) -> AbstractContextManager[traces.Span]:
        """Make the fetching of a job's result a span."""
        return self._span("scaffolder.agent_job_result", call_id, kind)

    def tell_of_replay(self) -> None:
        """Count an answer that came from the records."""
        metrics.count(metrics.AGENT_REPLAYS, **self._tags)

    def tell_of_job(self, call: AgentCall, outcome: str) -> None:
        """Say how a job has ended; `call` is its record as it was while it waited."""
        tags = {**self._tags, "outcome": outcome}
        metrics.count(metrics.AGENT_JOBS, **tags)
        # Its record has not changed since the job was accepted.
        metrics.time(metrics.AGENT_JOB_DURATION, time.time() - call.updated_at.timestamp(), **tags)

    def tell_of_charge(self, charge: Charge) -> None:
        """Count the tokens and the money, in millionths, that a recorded answer has cost."""
        for direction, tokens in (("input", charge.input_tokens), ("output", charge.output_tokens)):
            if tokens:
                metrics.count(metrics.AGENT_TOKENS, tokens, **self._tags, direction=direction)
        if charge.cost:
            metrics.count(metrics.AGENT_COST, round(charge.cost * 1_000_000), **self._tags)

    @property
    def _tags(self) -> dict[str, str]:
        return {"connection": self._connection, "protocol": self._protocol}

    def _span(self, name: str, call_id: UUID, kind: str) -> AbstractContextManager[traces.Span]:
        return traces.span(
            name,
            kind="client",
            connection=self._connection,
            protocol=self._protocol,
            agent_call_id=str(call_id),
            operation=kind,
        )
