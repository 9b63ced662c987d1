"""One step's call of an agent: replayed, or sent within budget and circuit, tried again, and recorded all the way."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, NoReturn
from uuid import UUID, uuid5

from scaffolder.agents.budget import Budget, PriceTable, check_budget
from scaffolder.agents.contract import Agent, Answer, CallRequest, Job, Replay
from scaffolder.agents.observing import AgentObserver
from scaffolder.agents.retrying import Retrying
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentConfigurationError,
    AgentFateUnknownError,
    AgentJobError,
    AgentRateLimitedError,
    AgentRejectedError,
    BudgetExceededError,
    LimitExceededError,
    PermanentError,
    RecordsUnavailableError,
    ScaffolderError,
    TransientError,
)
from scaffolder.json_schema import SchemaError, find_violations
from scaffolder.observability import logs
from scaffolder.records.agent_calls import FREE
from scaffolder.records.models import AgentCall, AgentCallStatus, Charge
from scaffolder.records.store import ProjectRecords

log = logging.getLogger(__name__)

# How a request is sent doesn't change what is asked.
_MATTERS: Final = (
    "operation",
    "method",
    "path",
    "parameters",
    "body",
    "pages",
    "job",
    "prompt",
    "system_prompt",
    "model",
    "model_settings",
    "files",
    "message",
    "output_schema",
)


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """One row of the ledger: a call, or a part of one. `kind` is told to traces; `operation` may quote an agent."""

    id: UUID
    kind: str
    operation: str
    digest: str
    part_of: UUID | None = None


async def _find_nothing(_: str) -> None:
    return None


class AgentCalls:
    """The agent calls of one step's task. `tries` is how often it has asked before it was deferred."""

    def __init__(
        self,
        records: ProjectRecords,
        generated_project_id: UUID,
        *,
        step_id: str,
        agent: Agent,
        settings: Settings,
        replay: Replay = "on_retry",
        budget: Budget | None = None,
        tries: int = 0,
    ) -> None:
        self._calls = records.agent_calls
        self._generated_project_id = generated_project_id
        self._step_id = step_id
        self._agent = agent
        self._settings = settings
        self._replay = replay
        self._budget = budget or Budget()
        self._prices = PriceTable(settings.agent_prices)
        self._observer = AgentObserver(agent)
        self._retrying = Retrying(self._calls, agent.conn_id, settings=settings, tries=tries)

    async def call(self, request: CallRequest) -> AgentCall:
        """Return the recorded call: ``answered``, or ``waiting`` where the agent has accepted a long job.

        The Idempotency-Key is the same for every try of one request, another for each step and run, and another again
        where what it led to is known for good: an answer, a refusal, a job that failed.
        Raises a PermanentError, a TransientError that another try of the task may get over, or AgentWaitError where
        the agent asks for a wait that is longer than the setting ``agent_max_wait_seconds``. The record has the reason.
        """
        digest = _digest(self._agent.identity, {name: getattr(request, name) for name in _MATTERS})
        entry = _Entry(
            id=uuid5(self._generated_project_id, f"agent_call:{self._step_id}:{digest}"),
            kind=request.kind,
            operation=request.subject,
            digest=digest,
        )
        with logs.bound(agent_call_id=entry.id):
            return await self._call(entry, request)

    async def _call(self, entry: _Entry, request: CallRequest) -> AgentCall:
        found = self._calls.find(entry.id)
        if found and found.status is AgentCallStatus.WAITING and await self._is_under_way(found):
            log.info("The agent has accepted this job before; it is asked after, not sent again")
            return found
        if replayed := self._find_replay(entry, found):
            return replayed
        self._check_price(request)
        prepared = await self._retrying.do(lambda: self._agent.prepare(request))
        await self._cancel_superseded(entry)
        may_resend = prepared.resend == "always" or (prepared.resend == "auto" and self._agent.can_resend(prepared))
        parts = _Parts(self, entry, may_resend=may_resend)
        answer = await self._send(
            entry,
            found,
            lambda key: self._agent.call(prepared, idempotency_key=key, ledger=parts),
            recover=lambda key: self._agent.recover(prepared, idempotency_key=key),
            may_resend=may_resend,
            check=lambda answer: self._check_answer(answer, prepared),
            parts=parts,
        )
        if isinstance(answer, Job):
            log.info("The agent has accepted a long job")
        return self._calls.get(entry.id)

    async def finish(self, call_id: UUID, request: CallRequest) -> AgentCall:
        """Fetch and record the result of a job that is done. Raises AgentJobError where it isn't."""
        with logs.bound(agent_call_id=call_id):
            return await self._finish(self._calls.get(call_id), request)

    async def _finish(self, call: AgentCall, request: CallRequest) -> AgentCall:
        call_id = call.id
        if call.status is AgentCallStatus.ANSWERED:
            return call
        if call.status is not AgentCallStatus.WAITING or call.job is None:
            raise AgentJobError(f"agent call {call_id} is {call.status}; accepted is one that waits for its job")
        handle = call.job["handle"]
        started = time.monotonic()
        try:
            with self._observer.observing_job_result(call_id, request.kind):
                answer = await self._retrying.do(lambda: self._agent.fetch_result(handle))
        except PermanentError as error:
            self._calls.fail(call_id, error=str(error), latency_ms=None, is_settled=True)
            self._observer.tell_of_job(call, "failed")
            raise
        charge = self._charge(answer)
        try:
            self._check_answer(answer, request)
        except ScaffolderError as error:
            self._calls.fail(call_id, error=str(error), latency_ms=None, charge=charge, is_settled=True)
            self._observer.tell_of_charge(charge)
            self._observer.tell_of_job(call, "failed")
            raise
        _log_warnings(answer)
        self._calls.answer(
            call_id,
            http_status=answer.status,
            response=answer.data,
            latency_ms=(call.latency_ms or 0) + _milliseconds_since(started),
            charge=charge,
        )
        # Not before it is recorded: a retry would fetch the same result, and tell again.
        self._observer.tell_of_charge(charge)
        self._observer.tell_of_job(call, "done")
        return self._calls.get(call_id)

    async def fail_job(self, call_id: UUID, *, reason: str, is_over: bool) -> NoReturn:
        """Record that a job brought nothing, cancel it where it isn't over, and raise AgentJobError."""
        call = self._calls.get(call_id)
        error = AgentJobError(f"the job of agent {self._agent.conn_id!r} brought nothing: {reason}")
        self._calls.fail(call_id, error=str(error), latency_ms=None, is_settled=True)
        self._observer.tell_of_job(call, "failed" if is_over else "given_up")
        if not is_over:
            await self._cancel(call)
        raise error

    async def _is_under_way(self, call: AgentCall) -> bool:
        """Say whether the job of an earlier try can still bring something; it was cancelled where that was marked."""
        if call.job is None:
            return False
        handle = call.job["handle"]
        try:
            status = await self._retrying.do(lambda: self._agent.poll(handle))
        except PermanentError as error:
            self._calls.fail(call.id, error=str(error), latency_ms=None, is_settled=True)
            self._observer.tell_of_job(call, "failed")
            raise
        if status.state == "failed":
            log.info("The job of the try before brings nothing any more: %s", status.note)
            self._calls.fail(call.id, error=f"its job: {status.note}", latency_ms=None, is_settled=True)
            self._observer.tell_of_job(call, "failed")
        return status.state != "failed"

    async def _cancel_superseded(self, entry: _Entry) -> None:
        """Cancel what this step waits for and no longer asks: its task was cleared after a change."""
        for call in self._calls.list_waiting(self._generated_project_id, step_id=self._step_id):
            if call.id != entry.id and call.job is not None and call.connection == self._agent.conn_id:
                log.info("Cancelling the job of agent call %s: the step asks for something else now", call.id)
                await self._cancel(call)
                self._calls.fail(
                    call.id, error="the step asks for something else now", latency_ms=None, is_settled=True
                )
                self._observer.tell_of_job(call, "given_up")

    async def _cancel(self, call: AgentCall) -> None:
        if call.job is None:
            return
        try:
            await self._agent.cancel(call.job["handle"])
        except ScaffolderError as error:
            log.warning("The job of agent call %s could not be cancelled: %s", call.id, error)

    # Replay

    def _find_replay(self, entry: _Entry, found: AgentCall | None) -> AgentCall | None:
        if self._replay == "never":
            return None
        if found and found.status is AgentCallStatus.ANSWERED:
            log.info("Answered from the records: agent call %s", found.id)
            self._observer.tell_of_replay()
            return found
        if self._replay != "always":
            return None
        source = self._calls.find_answer(self._generated_project_id, request_digest=entry.digest)
        if source is None:
            return None
        log.info("Answered from the records: agent call %s", source.id)
        self._observer.tell_of_replay()
        self._calls.replay(
            entry.id,
            source=source,
            generated_project_id=self._generated_project_id,
            step_id=self._step_id,
            part_of=entry.part_of,
        )
        return self._calls.get(entry.id)

    # Sending

    async def _send(
        self,
        entry: _Entry,
        found: AgentCall | None,
        send: Callable[[str], Awaitable[Answer | Job]],
        *,
        may_resend: bool,
        recover: Callable[[str], Awaitable[Answer | Job | None]] = _find_nothing,
        check: Callable[[Answer], None] | None = None,
        parts: _Parts | None = None,
    ) -> Answer | Job:
        """Send until there is an answer, the tries are used up, or somebody else has to wait."""
        if found and found.in_doubt and not may_resend:
            reason = "an earlier try was interrupted after it was sent"
            return await self._settle_doubt(entry, recover, found.idempotency_key, check, reason)
        while True:
            await self._retrying.pass_circuit()
            check_budget(
                self._calls,
                self._generated_project_id,
                step_id=self._step_id,
                budget=self._budget,
                settings=self._settings,
            )
            key = self._begin(entry)
            started = time.monotonic()
            with (
                self._observer.observing_request(entry.id, entry.kind) as sent,
                self._recording_end(entry, started, parts),
            ):
                try:
                    answer = await send(key)
                except RecordsUnavailableError:
                    raise
                except TransientError as error:
                    sent.outcome = "rate_limited" if isinstance(error, AgentRateLimitedError) else "unavailable"
                    failure, in_parts = error, bool(parts and parts.last)
                    in_doubt = not in_parts and getattr(error, "in_doubt", False)
                    self._calls.fail(
                        entry.id, error=str(error), latency_ms=_milliseconds_since(started), in_doubt=in_doubt
                    )
                    if in_parts:
                        raise
                    self._retrying.strain_circuit(error)
                else:
                    self._finish_entry(entry, answer, started, check, parts)
                    sent.outcome = "accepted" if isinstance(answer, Job) else "answered"
                    return answer
                finally:
                    sent.in_parts = bool(parts and parts.last)
            if in_doubt and not may_resend:
                # No part of the request: what follows has waits of its own.
                with self._recording_end(entry, started, parts):
                    return await self._settle_doubt(entry, recover, key, check, str(failure), cause=failure)
            await self._retrying.back_off(failure)

    async def _settle_doubt(
        self,
        entry: _Entry,
        recover: Callable[[str], Awaitable[Answer | Job | None]],
        key: str,
        check: Callable[[Answer], None] | None,
        reason: str,
        *,
        cause: BaseException | None = None,
    ) -> Answer | Job:
        """Return what became of a request in doubt. Raises AgentFateUnknownError where the agent can't tell."""
        started = time.monotonic()
        try:
            recovered = await self._retrying.do(lambda: recover(key))
        except PermanentError as error:
            self._calls.fail(entry.id, error=str(error), latency_ms=None, is_settled=True)
            raise
        if recovered is not None:
            self._finish_entry(entry, recovered, started, check, None)
            return recovered
        unknown = AgentFateUnknownError(
            f"nobody knows whether agent {self._agent.conn_id!r} has acted upon {entry.operation!r}, which must not be "
            f"sent twice: {reason}. Look there (Idempotency-Key {key}); then clear the task to send it again, or let "
            "the step say resend: always"
        )
        # The next try is a person's decision, so it isn't in doubt any more.
        self._calls.fail(entry.id, error=str(unknown), latency_ms=None)
        raise unknown from cause

    def make_part(self, call: _Entry, name: str, request: Any) -> _Entry:
        """Return the row of one part of `call`."""
        digest = _digest(self._agent.identity, [name, request])
        return _Entry(
            id=uuid5(call.id, digest),
            kind="part",
            operation=f"{call.operation}: {name}",
            digest=digest,
            part_of=call.id,
        )

    async def send_part(self, entry: _Entry, send: Callable[[], Awaitable[Answer]], *, may_resend: bool) -> Answer:
        """Return the answer of a part, from the records or by sending. See `scaffolder.agents.contract.Ledger`."""
        found = self._calls.find(entry.id)
        if replayed := self._find_replay(entry, found):
            return Answer(data=replayed.response, status=replayed.http_status)
        answer = await self._send(entry, found, lambda _: send(), may_resend=may_resend)
        if isinstance(answer, Job):
            raise AgentAnswerError(f"agent {self._agent.conn_id!r} made a job of {entry.operation!r}, a part of a call")
        self._retrying.start_again()
        return answer

    def _begin(self, entry: _Entry) -> str:
        return self._calls.begin(
            entry.id,
            generated_project_id=self._generated_project_id,
            step_id=self._step_id,
            connection=self._agent.conn_id,
            operation=entry.operation,
            request_digest=entry.digest,
            part_of=entry.part_of,
        )

    def _finish_entry(
        self,
        entry: _Entry,
        answer: Answer | Job,
        started: float,
        check: Callable[[Answer], None] | None,
        parts: _Parts | None,
    ) -> None:
        self._retrying.close_circuit()
        latency_ms = _milliseconds_since(started)
        if isinstance(answer, Job):
            job = {
                "handle": dict(answer.handle),
                "poll_seconds": answer.poll_seconds,
                "until": time.time() + answer.timeout_seconds,
            }
            self._calls.wait(entry.id, job=job, latency_ms=latency_ms)
            return
        # The parts have been paid for by themselves.
        charge = FREE if parts and parts.last else self._charge(answer)
        if check is not None:
            try:
                check(answer)
            except ScaffolderError as error:
                self._calls.fail(entry.id, error=str(error), latency_ms=latency_ms, charge=charge, is_settled=True)
                self._observer.tell_of_charge(charge)
                raise
        _log_warnings(answer)
        self._calls.answer(
            entry.id, http_status=answer.status, response=answer.data, latency_ms=latency_ms, charge=charge
        )
        self._observer.tell_of_charge(charge)

    @contextmanager
    def _recording_end(self, entry: _Entry, started: float, parts: _Parts | None) -> Iterator[None]:
        """Record whatever ends an attempt and isn't recorded yet."""
        try:
            yield
        except (RecordsUnavailableError, TransientError):
            raise
        except ScaffolderError as error:
            self._record_failure(entry, str(error), started, in_doubt=False)
            if parts and parts.last and isinstance(error, AgentAnswerError):
                # It was the last part that could not be used: whoever clears the task wants another.
                self._calls.fail(parts.last, error=str(error), latency_ms=None, is_settled=True)
            self._retrying.end_probe()
            raise
        except BaseException as error:  # a mistake of ours, or a task that is told to stop: it may have been sent
            self._record_failure(entry, type(error).__name__, started, in_doubt=True)
            raise

    def _record_failure(self, entry: _Entry, reason: str, started: float, *, in_doubt: bool) -> None:
        recorded = self._calls.get(entry.id)
        if recorded.status is AgentCallStatus.PENDING:
            latency_ms = _milliseconds_since(started)
            self._calls.fail(entry.id, error=reason, latency_ms=latency_ms, in_doubt=in_doubt, is_settled=not in_doubt)

    # Answers and what they cost

    def _check_answer(self, answer: Answer, request: CallRequest) -> None:
        if answer.refusal:
            raise AgentAnswerError(answer.refusal)
        files = answer.data.get("files") if isinstance(answer.data, dict) else None
        if isinstance(files, list) and len(files) > self._settings.max_agent_files:
            raise LimitExceededError(
                f"agent {self._agent.conn_id!r} answered {len(files)} files; accepted are up to "
                f"{self._settings.max_agent_files} (SCAFFOLDER_MAX_AGENT_FILES)"
            )
        if request.output_schema is None:
            return
        try:
            flaws = [
                f"{'.'.join(map(str, path)) or 'answer'}: {message}"
                for path, message in find_violations(request.output_schema, answer.data, bounded=True)
            ]
        except SchemaError as error:
            raise AgentConfigurationError(f"the step's output_schema cannot be used: {error}") from error
        if flaws:
            raise AgentAnswerError(
                f"agent {self._agent.conn_id!r} answered what the step's output_schema refuses: {'; '.join(flaws[:5])}"
            )

    def _charge(self, answer: Answer) -> Charge:
        model = self._agent.identity.get("model")
        charge = self._prices.charge(answer.usage, model, self._agent.conn_id)
        if answer.usage and charge.cost is None:
            log.info("Model %r has no price in SCAFFOLDER_AGENT_PRICES: its cost is not counted", answer.usage.model)
        return charge

    def _check_price(self, request: CallRequest) -> None:
        names = (request.model, self._agent.identity.get("model"), self._agent.conn_id)
        if self._budget.cost is not None and self._prices.find(*names) is None:
            raise BudgetExceededError(
                f"step {self._step_id!r} has a budget of money, but none of {[name for name in names if name]} has a "
                "price in SCAFFOLDER_AGENT_PRICES"
            )


class _Parts:
    """The ledger of one call's parts. `last` is the one asked last."""

    def __init__(self, calls: AgentCalls, entry: _Entry, *, may_resend: bool) -> None:
        self._calls = calls
        self._entry = entry
        self._may_resend = may_resend
        self.last: UUID | None = None

    async def part(self, name: str, request: Any, send: Callable[[], Awaitable[Answer]]) -> Answer:
        part = self._calls.make_part(self._entry, name, request)
        self.last = part.id
        return await self._calls.send_part(part, send, may_resend=self._may_resend)


def _log_warnings(answer: Answer) -> None:
    for warning in answer.warnings:
        log.warning("%s", warning)


def _digest(identity: Any, request: Any) -> str:
    try:
        text = json.dumps([identity, request], sort_keys=True, allow_nan=False, default=vars)
    except (TypeError, ValueError) as error:
        raise AgentRejectedError(f"the request is not JSON: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _milliseconds_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
