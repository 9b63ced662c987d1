"""One step's call of an agent, with its record: written before it is sent, completed whatever comes back."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import UUID, uuid5

from scaffolder.agents.caller import AgentCaller
from scaffolder.agents.connection import AgentConnection
from scaffolder.agents.description import AgentRequest, build_request, find_operation
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentConfigurationError,
    AgentRejectedError,
    RecordsUnavailableError,
    ScaffolderError,
)
from scaffolder.records.models import AgentCall
from scaffolder.records.store import ProjectRecords


def call_agent(
    records: ProjectRecords,
    generated_project_id: UUID,
    *,
    step_id: str,
    connection: AgentConnection,
    operation: str,
    parameters: Mapping[str, Any],
    body: Any,
    settings: Settings,
) -> AgentCall:
    """Call `operation` of the agent and return the recorded call with its response.

    The call's id is the Idempotency-Key: the same for every try of one request, another for each step and run.
    Raises the errors of `AgentCaller.send`, `find_operation` and `build_request`; the record holds the reason then.
    """
    digest = _digest(connection, operation, parameters, body)
    call_id = uuid5(generated_project_id, f"agent_call:{step_id}:{digest}")
    records.begin_agent_call(
        call_id,
        generated_project_id=generated_project_id,
        step_id=step_id,
        connection=connection.conn_id,
        operation=operation,
        request_digest=digest,
    )
    started = time.monotonic()
    try:
        with AgentCaller(connection, settings=settings) as caller:
            request = _prepare(caller, connection, operation, parameters, body)
            answer = caller.send(request, idempotency_key=str(call_id))
        latency_ms = _milliseconds_since(started)
        records.answer_agent_call(call_id, http_status=answer.status, response=answer.data, latency_ms=latency_ms)
    except RecordsUnavailableError:
        raise
    except BaseException as error:  # also a task that is told to stop: its call is over
        reason = str(error) if isinstance(error, ScaffolderError) else type(error).__name__
        records.fail_agent_call(call_id, error=reason, latency_ms=_milliseconds_since(started))
        raise
    return records.get_agent_call(call_id)


def _prepare(
    caller: AgentCaller, connection: AgentConnection, operation: str, parameters: Mapping[str, Any], body: Any
) -> AgentRequest:
    description = caller.fetch_description()
    try:
        found = find_operation(description, operation, connection=connection)
        return build_request(found, parameters=parameters, body=body)
    except ScaffolderError:
        raise
    except Exception as error:  # the description is somebody's data: whatever it breaks is its error
        raise AgentConfigurationError(
            f"connection {connection.conn_id!r}: its description cannot be used for operation {operation!r}: "
            f"{type(error).__name__}"
        ) from error


def _digest(connection: AgentConnection, operation: str, parameters: Mapping[str, Any], body: Any) -> str:
    content = [connection.base_url, operation, dict(parameters), body]
    try:
        text = json.dumps(content, sort_keys=True, allow_nan=False)
    except (TypeError, ValueError) as error:
        raise AgentRejectedError(f"the request of operation {operation!r} is not JSON: {error}") from error
    return hashlib.sha256(text.encode()).hexdigest()


def _milliseconds_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)
