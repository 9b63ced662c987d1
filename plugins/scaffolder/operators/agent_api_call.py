"""`AgentApiCallOperator`: have an agent do work for the generated project."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Final

from scaffolder.operators.names import SHARED_FIELDS
from scaffolder.operators.step import Step, StepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

_SMALL_CHARACTERS: Final = 200
_SMALL_COUNT: Final = 50


class AgentApiCallOperator(StepOperator):
    """Call one operation of an agent's API and record the call.

    The request is checked against the agent's own OpenAPI description before it is sent. The response is kept in the
    records; XCom gets ``{"agent_call_id", "operation", "http_status", "values"}``, which `FileGenerationOperator`
    accepts as `files`. ``values`` are the response's own small values: numbers, booleans, strings of up to 200
    characters; 50 at the most.

    :param agent_conn_id: a connection of type ``agent_api``.
    :param operation: the operation's id in the agent's description. (templated)
    :param body: the JSON body, plain data. (templated)
    :param parameters: path, query and header parameters by name. (templated)
    """

    template_fields: Sequence[str] = (
        *SHARED_FIELDS,
        "agent_conn_id",
        "operation",
        "body",
        "parameters",
    )
    template_fields_renderers: ClassVar[dict[str, str]] = {"body": "json", "parameters": "json"}

    def __init__(
        self,
        *,
        agent_conn_id: str,
        operation: str,
        body: Any = None,
        parameters: Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_conn_id = agent_conn_id
        self.operation = operation
        self.body = body
        self.parameters = parameters or {}

    def execute_step(self, step: Step, context: Context) -> dict[str, Any]:
        """Call the agent. See `scaffolder.agents.service.call_agent` for errors and idempotency."""
        from scaffolder.agents.hook import AgentApiHook
        from scaffolder.agents.service import call_agent

        operation = str(self.evaluate(self.operation, step, context))
        agent_conn_id = str(self.evaluate(self.agent_conn_id, step, context))
        self.log.info("Calling operation %r of agent %r", operation, agent_conn_id)
        call = call_agent(
            step.records,
            step.generated_project.id,
            step_id=step.id,
            connection=AgentApiHook(agent_conn_id).get_conn(),
            operation=operation,
            parameters=self.evaluate(self.parameters, step, context),
            body=self.evaluate(self.body, step, context),
            settings=step.settings,
        )
        self.log.info("The agent answered %s in %s ms", call.http_status, call.latency_ms)
        return {
            "agent_call_id": str(call.id),
            "operation": operation,
            "http_status": call.http_status,
            "values": _small_values(call.response),
        }


def _small_values(response: Any) -> dict[str, Any]:
    if not isinstance(response, Mapping):
        return {}
    small = [
        (name, value)
        for name, value in response.items()
        if len(name) <= _SMALL_CHARACTERS
        and (isinstance(value, bool | int | float) or (isinstance(value, str) and len(value) <= _SMALL_CHARACTERS))
    ]
    return dict(small[:_SMALL_COUNT])
