"""`AgentApiCallOperator`: have an agent do work for the generated project."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, NoReturn, TypeVar, cast
from uuid import UUID

from scaffolder.errors import AgentConfigurationError, AgentWaitError
from scaffolder.observability import logs, metrics
from scaffolder.operators.names import SHARED_FIELDS
from scaffolder.operators.step import Step, StepOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.agents.contract import CallRequest, JobRule, OnInvalidResponse, Pages, Replay, Resend
    from scaffolder.agents.service import AgentCalls
    from scaffolder.records.models import AgentCall

Rule = TypeVar("Rule")

_SMALL_CHARACTERS: Final = 200
_SMALL_COUNT: Final = 50
# Those of a request that are templates.
_TEMPLATED: Final = (
    "operation",
    "method",
    "path",
    "parameters",
    "body",
    "prompt",
    "system_prompt",
    "model",
    "model_settings",
    "message",
    "output_schema",
)


class AgentApiCallOperator(StepOperator):
    """Have an agent do work, and record the call: by REST, a language model, or A2A, as the connection's type says.

    The response is kept in the records; XCom gets ``{"agent_call_id", "operation", "http_status", "values"}``, which
    `FileGenerationOperator` accepts as `files`. ``values`` are the response's own small values: numbers, booleans,
    strings of up to 200 characters; 50 at the most. Long jobs, and agents that ask to be left alone for long, are
    waited for without a worker.

    One of `operation`, `method` with `path`, `prompt` and `message` is needed:

    :param agent_conn_id: a connection of type ``agent_api``, ``a2a`` or ``pydanticai``. (templated)
    :param operation: REST: the operation's id in the agent's description. (templated)
    :param method: REST that nothing describes: the method. (templated)
    :param path: REST that nothing describes: the path below the connection's URL. (templated)
    :param parameters: REST: path, query and header parameters by name. (templated)
    :param body: REST: the JSON body, plain data. (templated)
    :param pages: REST: how the answer goes on, see `scaffolder.agents.contract.Pages`.
    :param job: REST: how an answer 202 is asked after, see `scaffolder.agents.contract.JobRule`.
    :param on_invalid_response: REST: whether an answer that the description doesn't allow is a warning or an error.
    :param prompt: a language model: what is asked. (templated)
    :param system_prompt: a language model: how it should behave. (templated)
    :param model: a language model other than the connection's. (templated)
    :param model_settings: a language model: ``temperature``, ``max_tokens`` and so on. (templated)
    :param files: a language model: whether files are wanted, which are asked for one group after the other.
    :param message: A2A: text, or a mapping with ``text``, ``data`` and ``files``. (templated)
    :param output_schema: JSON Schema that the answer must fit. (templated)
    :param replay: ``never``, ``on_retry`` or ``always`` take an answer from the records; by default the setting
        ``agent_replay``.
    :param resend: whether a request may be sent again when nobody knows what became of it: ``auto`` asks the method
        and the description (idempotent methods, Idempotency-Key), ``always`` or ``never``.
    :param budget: ``{"tokens", "cost"}`` that this step may use, all tries together; any of them.
    :param timeout_seconds: for one request and its whole answer; by default the setting ``agent_timeout_seconds``.
    """

    template_fields: Sequence[str] = (*SHARED_FIELDS, "agent_conn_id", *_TEMPLATED)
    step_type = "api_call"
    template_fields_renderers: ClassVar[dict[str, str]] = {
        "body": "json",
        "parameters": "json",
        "model_settings": "json",
        "output_schema": "json",
    }

    def __init__(
        self,
        *,
        agent_conn_id: str,
        operation: str | None = None,
        method: str | None = None,
        path: str | None = None,
        parameters: Mapping[str, Any] | None = None,
        body: Any = None,
        pages: Pages | Mapping[str, Any] | None = None,
        job: JobRule | Mapping[str, Any] | None = None,
        on_invalid_response: OnInvalidResponse = "warn",
        prompt: str | None = None,
        system_prompt: str | None = None,
        model: str | None = None,
        model_settings: Mapping[str, Any] | None = None,
        files: bool = False,
        message: str | Mapping[str, Any] | None = None,
        output_schema: Mapping[str, Any] | None = None,
        replay: Replay | None = None,
        resend: Resend = "auto",
        budget: Mapping[str, Any] | None = None,
        timeout_seconds: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.agent_conn_id = agent_conn_id
        self.operation = operation
        self.method = method
        self.path = path
        self.parameters = parameters or {}
        self.body = body
        self.pages = pages
        self.job = job
        self.on_invalid_response = on_invalid_response
        self.prompt = prompt
        self.system_prompt = system_prompt
        self.model = model
        self.model_settings = model_settings or {}
        self.files = files
        self.message = message
        self.output_schema = output_schema
        self.replay = replay
        self.resend = resend
        self.budget = budget
        self.timeout_seconds = timeout_seconds

    def execute_step(self, step: Step, context: Context) -> dict[str, Any]:
        """Call the agent. See `scaffolder.agents.service.AgentCalls` for errors and idempotency."""
        return self._call(step, context, tries=0)

    def call_again(self, context: Context, event: Any = None, *, tries: int) -> dict[str, Any]:
        """Go on after a wait that the agent has asked for."""
        return self.run_step(context, lambda step: self._call(step, context, tries=tries))

    def finish_job(self, context: Context, event: Mapping[str, Any], *, call_id: str) -> dict[str, Any]:
        """Take the result of a long job; `event` is that of `AgentJobTrigger`."""
        return self.run_step(context, lambda step: self._finish_job(step, context, event, UUID(call_id)))

    def fetch_again(self, context: Context, event: Any = None, *, tries: int, call_id: str) -> dict[str, Any]:
        """Take the result of a long job that is done, after a wait that the agent has asked for."""
        done = {"state": "done"}
        return self.run_step(context, lambda step: self._finish_job(step, context, done, UUID(call_id), tries=tries))

    def _call(self, step: Step, context: Context, *, tries: int) -> dict[str, Any]:
        request = self._read_request(step, context)
        conn_id = str(self.evaluate(self.agent_conn_id, step, context))
        self.log.info("Asking agent %r: %s", conn_id, request.subject)
        try:
            call = asyncio.run(self._ask(step, conn_id, lambda calls: calls.call(request), tries=tries))
        except AgentWaitError as error:
            self._wait(error, "call_again", {})
        if call.status == "waiting":
            self._await_job(call, conn_id, step)
        return self._report(call)

    def _finish_job(
        self, step: Step, context: Context, event: Mapping[str, Any], call_id: UUID, *, tries: int = 0
    ) -> dict[str, Any]:
        request = self._read_request(step, context)
        conn_id = str(self.evaluate(self.agent_conn_id, step, context))

        async def finish(calls: AgentCalls) -> AgentCall:
            if event["state"] != "done":
                await calls.fail_job(call_id, reason=_explain(event), is_over=event["state"] == "failed")
            return await calls.finish(call_id, request)

        try:
            return self._report(asyncio.run(self._ask(step, conn_id, finish, tries=tries)))
        except AgentWaitError as error:
            self._wait(error, "fetch_again", {"call_id": str(call_id)})

    async def _ask(
        self, step: Step, conn_id: str, work: Callable[[AgentCalls], Awaitable[AgentCall]], *, tries: int = 0
    ) -> AgentCall:
        from scaffolder.agents.budget import read_budget
        from scaffolder.agents.hook import open_agent
        from scaffolder.agents.service import AgentCalls

        async with open_agent(conn_id, settings=step.settings, records=step.records) as agent:
            calls = AgentCalls(
                step.records,
                step.generated_project.id,
                step_id=step.id,
                agent=agent,
                settings=step.settings,
                replay=self.replay or cast("Replay", step.settings.agent_replay),
                budget=read_budget(self.budget or {}),
                tries=tries,
            )
            return await work(calls)

    def _wait(self, error: AgentWaitError, method_name: str, kwargs: dict[str, Any]) -> NoReturn:
        from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger

        seconds = error.retry_after_seconds or 0.0
        self.log.warning("%s. Waiting for %.0f s without a worker", error, seconds)
        metrics.count(metrics.STEP_WAITS, step_type=self.step_type, reason="agent_asked")
        self.defer(
            trigger=TimeDeltaTrigger(timedelta(seconds=seconds)),
            method_name=method_name,
            kwargs={"tries": error.tries, **kwargs},
        )

    def _await_job(self, call: AgentCall, conn_id: str, step: Step) -> NoReturn:
        from scaffolder.operators.triggers import AgentJobTrigger

        logs.bind(agent_call_id=call.id)
        job = call.job or {}
        self.log.info("Waiting for the job of agent call %s without a worker", call.id)
        metrics.count(metrics.STEP_WAITS, step_type=self.step_type, reason="agent_job")
        self.defer(
            trigger=AgentJobTrigger(
                agent_conn_id=conn_id,
                handle=job["handle"],
                poll_seconds=job["poll_seconds"],
                until=job["until"],
                agent_call_id=str(call.id),
                generated_project_id=str(step.generated_project.id),
                project=step.generated_project.project,
                step_id=step.id,
            ),
            method_name="finish_job",
            kwargs={"call_id": str(call.id)},
        )

    def _read_request(self, step: Step, context: Context) -> CallRequest:
        from scaffolder.agents.contract import CallRequest, JobRule, Pages, find_flaw

        request = CallRequest(
            **{name: self.evaluate(getattr(self, name), step, context) for name in _TEMPLATED},
            pages=_read_rule(Pages, "pages", self.pages),
            job=_read_rule(JobRule, "job", self.job),
            files=self.files,
            on_invalid_response=self.on_invalid_response,
            resend=self.resend,
            timeout_seconds=self.timeout_seconds,
        )
        if flaw := find_flaw(vars(request)):
            raise AgentConfigurationError(f"task {self.task_id!r}: {flaw}")
        return request

    def _report(self, call: AgentCall) -> dict[str, Any]:
        logs.bind(agent_call_id=call.id)
        if call.replayed_from is None:
            self.log.info("The agent answered %s in %s ms", call.http_status or "", call.latency_ms)
        return {
            "agent_call_id": str(call.id),
            "operation": call.operation,
            "http_status": call.http_status,
            "values": _small_values(call.response),
        }


def _read_rule(kind: type[Rule], name: str, value: Any) -> Rule | None:
    from pydantic import TypeAdapter, ValidationError

    if value is None or isinstance(value, kind):
        return value
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise AgentConfigurationError(f"{name} is {value!r}: {'; '.join(problems)}") from error


def _explain(event: Mapping[str, Any]) -> str:
    note = str(event.get("note") or "")
    if event["state"] == "timeout":
        return f"it was not over within its timeout_seconds{f' ({note})' if note else ''}"
    return note or str(event["state"])


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
