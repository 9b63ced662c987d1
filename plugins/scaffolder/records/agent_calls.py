"""The ledger: what agents were asked, what they answered and consumed, and which of them are left alone for a while."""

from __future__ import annotations

import builtins
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from scaffolder.records import statements
from scaffolder.records.access import RecordsAccess, as_json, as_text
from scaffolder.records.models import AgentCall, AgentCircuit, Charge, CircuitState, Spending

FREE: Final = Charge()


class AgentCallRecords(RecordsAccess):
    """Agent calls and circuit breakers, over one open connection."""

    # Calls

    def begin(
        self,
        call_id: UUID,
        *,
        generated_project_id: UUID,
        step_id: str,
        connection: str,
        operation: str,
        request_digest: str,
        part_of: UUID | None = None,
    ) -> str:
        """Record that a call is about to be sent, which puts it in doubt, and return its Idempotency-Key.

        The same id again is one more attempt: with the same key, or with another where the one before is settled.
        """
        row = self._fetch_one(
            statements.UPSERT_AGENT_CALL,
            {
                "id": call_id,
                "generated_project_id": generated_project_id,
                "step_id": step_id,
                "part_of": part_of,
                "connection": connection,
                "operation": operation,
                "request_digest": request_digest,
            },
        )
        return str(row["idempotency_key"] if row else call_id)

    def answer(
        self, call_id: UUID, *, http_status: int | None, response: Any, latency_ms: int, charge: Charge = FREE
    ) -> None:
        """Record an agent's answer; `response` is plain JSON data. `charge` is added to that of earlier attempts."""
        values = {"id": call_id, "http_status": http_status, "response": as_json(response), "latency_ms": latency_ms}
        self._execute(statements.UPDATE_AGENT_CALL_TO_ANSWERED, values | vars(charge))

    def wait(self, call_id: UUID, *, job: dict[str, Any], latency_ms: int) -> None:
        """Record that the agent has accepted a long job; `job` is where it is asked after."""
        self._execute(
            statements.UPDATE_AGENT_CALL_TO_WAITING, {"id": call_id, "job": as_json(job), "latency_ms": latency_ms}
        )

    def fail(
        self,
        call_id: UUID,
        *,
        error: str,
        latency_ms: int | None,
        in_doubt: bool = False,
        is_settled: bool = False,
        charge: Charge = FREE,
    ) -> None:
        """Record that a call brought no usable answer.

        It is `in_doubt` where it may have been acted upon, settled where the same would come of it again.
        """
        values = {
            "id": call_id,
            "error": as_text(error),
            "latency_ms": latency_ms,
            "in_doubt": in_doubt,
            "is_settled": is_settled,
        }
        self._execute(statements.UPDATE_AGENT_CALL_TO_FAILED, values | vars(charge))

    def replay(
        self,
        call_id: UUID,
        *,
        source: AgentCall,
        generated_project_id: UUID,
        step_id: str,
        part_of: UUID | None = None,
    ) -> None:
        """Record that the answer of `source` is used for this call; nothing was consumed."""
        values = {
            "id": call_id,
            "source": source.id,
            "generated_project_id": generated_project_id,
            "step_id": step_id,
            "part_of": part_of,
        }
        with self.transaction():
            self._execute(statements.INSERT_REPLAYED_CALL, values)
            self._execute(statements.UPDATE_REPLAYED_CALL, values)

    def get(self, call_id: UUID) -> AgentCall:
        """Return the record. Raises RecordNotFoundError."""
        return self._get(AgentCall, statements.SELECT_AGENT_CALL, "agent call", call_id)

    def find(self, call_id: UUID) -> AgentCall | None:
        """Return the record, None where there is none."""
        found = self._rows(AgentCall, statements.SELECT_AGENT_CALL, {"id": call_id})
        return found[0] if found else None

    def find_answer(self, generated_project_id: UUID, *, request_digest: str) -> AgentCall | None:
        """Return the newest answered call with this digest in the project that the generated project belongs to."""
        values = {"id": generated_project_id, "request_digest": request_digest}
        found = self._rows(AgentCall, statements.SELECT_ANSWERED_CALL, values)
        return found[0] if found else None

    def list(self, generated_project_id: UUID) -> list[AgentCall]:
        """Return the calls of one generated project, oldest first, a call before its parts."""
        return self._rows(AgentCall, statements.SELECT_AGENT_CALLS, {"id": generated_project_id})

    def list_waiting(self, generated_project_id: UUID, *, step_id: str) -> builtins.list[AgentCall]:
        """Return the calls of one step that wait for a long job."""
        values = {"id": generated_project_id, "step_id": step_id}
        return self._rows(AgentCall, statements.SELECT_WAITING_CALLS, values)

    def sum_spending(
        self, generated_project_id: UUID, *, step_id: str, days: int
    ) -> tuple[Spending, Spending, Spending]:
        """Return what the step, the run, and its project in the last `days` have consumed, all attempts together."""
        row = (
            self._fetch_one(statements.SELECT_SPENDING, {"id": generated_project_id, "step_id": step_id, "days": days})
            or {}
        )
        step, run, project = (
            Spending(tokens=int(row[f"{scope}_tokens"]), cost=Decimal(row[f"{scope}_cost"]))
            for scope in ("step", "run", "project")
        )
        return step, run, project

    # Circuit breakers

    def try_circuit(self, connection: str, *, seconds: int) -> AgentCircuit:
        """Return the connection's circuit; `wait_seconds` is 0 where a call may go through.

        An open circuit whose time is over lets one caller through, who has `seconds` to find out.
        """
        values = {"connection": connection, "seconds": seconds}
        found = self._rows(AgentCircuit, statements.HALF_OPEN_CIRCUIT, values) or self._rows(
            AgentCircuit, statements.SELECT_CIRCUIT, values
        )
        closed = AgentCircuit(
            connection=connection, state=CircuitState.CLOSED, failures=0, wait_seconds=0.0, reason=None
        )
        return found[0] if found else closed

    def close_circuit(self, connection: str) -> bool:
        """Record that the agent has answered. Return whether the circuit wasn't closed before."""
        found = self._rows(AgentCircuit, statements.CLOSE_CIRCUIT, {"connection": connection})
        return bool(found) and found[0].state is not CircuitState.CLOSED

    def strain_circuit(self, connection: str, *, failures: int, seconds: int, reason: str) -> AgentCircuit:
        """Record a failure; the circuit opens for `seconds` at `failures` in a row, or when it was half open."""
        return self._rows(
            AgentCircuit,
            statements.STRAIN_CIRCUIT,
            {"connection": connection, "limit": failures, "seconds": seconds, "reason": as_text(reason)},
        )[0]
