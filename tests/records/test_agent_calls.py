"""Calls of agents as the records keep them: replayed, tried again, counted, in doubt, waiting. The agent is a script."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from decimal import Decimal
from typing import Any, Self

import psycopg
import pytest

from scaffolder.agents.budget import Budget, PriceTable, read_budget
from scaffolder.agents.contract import Answer, CallRequest, Job, JobStatus, Ledger, Usage
from scaffolder.agents.service import AgentCalls
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentCircuitOpenError,
    AgentConfigurationError,
    AgentFateUnknownError,
    AgentJobError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    AgentWaitError,
    BudgetExceededError,
    LimitExceededError,
    ScaffolderError,
    SettingsError,
)
from scaffolder.records.models import AgentCall, AgentCallStatus, CircuitState, GeneratedProject
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.factories import open_project

DOWN = AgentUnavailableError("it is down")
IN_DOUBT = AgentUnavailableError("reset after it was sent", in_doubt=True)
JOB = Job(handle={"url": "/jobs/1"}, poll_seconds=5, timeout_seconds=60)
ASK = CallRequest(operation="generateModels", body={"document": "x"})
PRICES = '{"gpt": {"input": 2, "output": 10}, "scripted": {"call": 0.5}}'


@dataclass
class ScriptedAgent:
    """Answers as told, one after the other, the last for ever; what is an error is raised."""

    script: list[Any] = field(default_factory=lambda: [Answer(data={"n": 1}, status=200)])
    conn_id: str = "scripted"
    protocol: str = "rest"
    identity: Mapping[str, Any] = field(default_factory=lambda: {"url": "http://agent"})
    keys: list[str] = field(default_factory=list)
    resendable: bool = False
    job_status: JobStatus | BaseException = JobStatus(state="running")
    parts: tuple[str, ...] = ()
    recovered: Answer | Job | BaseException | None = None
    preparing: list[BaseException] = field(default_factory=list)
    cancelling: BaseException | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        pass

    async def prepare(self, request: CallRequest) -> CallRequest:
        if self.preparing:
            raise self.preparing.pop(0)
        return request

    def can_resend(self, request: CallRequest) -> bool:
        return self.resendable

    async def call(self, request: CallRequest, *, idempotency_key: str, ledger: Ledger) -> Answer | Job:
        if not self.parts:
            return self._next(idempotency_key)
        answers = [await ledger.part(name, {"part": name}, self._ask(name)) for name in self.parts]
        return Answer(data={"parts": [answer.data for answer in answers]})

    async def recover(self, request: CallRequest, *, idempotency_key: str) -> Answer | Job | None:
        if isinstance(self.recovered, BaseException):
            raise self.recovered
        return self.recovered

    async def poll(self, handle: Mapping[str, Any]) -> JobStatus:
        if isinstance(self.job_status, BaseException):
            raise self.job_status
        return self.job_status

    async def fetch_result(self, handle: Mapping[str, Any]) -> Answer:
        return self._next("result")

    async def cancel(self, handle: Mapping[str, Any]) -> None:
        self.keys.append(f"cancel {handle['url']}")
        if self.cancelling:
            raise self.cancelling

    def _ask(self, name: str) -> Callable[[], Awaitable[Answer]]:
        async def ask() -> Answer:
            return self._next(name)

        return ask

    def _next(self, key: str) -> Any:
        self.keys.append(key)
        step = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(step, BaseException):
            raise step
        return step


class Step:
    """One step of a generated project, whose task can be run again and again."""

    def __init__(self, records: ProjectRecords, settings: Settings, *, step_id: str = "models") -> None:
        self.records = records
        self.settings = replace(settings, agent_backoff_seconds=0, agent_prices=PRICES)
        self.step_id = step_id
        self.generated_project: GeneratedProject = open_project(records)

    def call(self, agent: ScriptedAgent, request: CallRequest = ASK, **values: Any) -> AgentCall:
        return asyncio.run(self._calls(agent, **values).call(request))

    def finish(self, agent: ScriptedAgent, call: AgentCall, request: CallRequest = ASK) -> AgentCall:
        return asyncio.run(self._calls(agent).finish(call.id, request))

    def fail_job(self, agent: ScriptedAgent, call: AgentCall, *, is_over: bool) -> None:
        asyncio.run(self._calls(agent).fail_job(call.id, reason="out of memory", is_over=is_over))

    def recorded(self) -> list[AgentCall]:
        return self.records.agent_calls.list(self.generated_project.id)

    def _calls(self, agent: ScriptedAgent, **values: Any) -> AgentCalls:
        given = {"settings": self.settings, "step_id": self.step_id} | values
        return AgentCalls(self.records, self.generated_project.id, agent=agent, **given)


@pytest.fixture
def step(records: ProjectRecords, connection: psycopg.Connection[Any], settings: Settings) -> Step:
    connection.execute("TRUNCATE agent_circuit")
    return Step(records, settings)


# Tries


def test_an_agent_that_is_away_for_a_moment_is_asked_again_with_the_same_key(step: Step) -> None:
    agent = ScriptedAgent([DOWN, AgentRateLimitedError("slowly", retry_after_seconds=0), Answer(data=[1], status=201)])
    call = step.call(agent)
    assert (call.status, call.response, call.http_status, call.attempts) == (AgentCallStatus.ANSWERED, [1], 201, 3)
    assert len(agent.keys) == 3
    assert set(agent.keys) == {str(call.id)}


def test_another_step_has_another_key(step: Step) -> None:
    agent = ScriptedAgent()
    assert step.call(agent).id != step.call(agent, step_id="other").id


def test_tries_come_to_an_end_and_leave_the_retry_to_the_task(step: Step) -> None:
    agent = ScriptedAgent([DOWN])
    with pytest.raises(AgentUnavailableError, match="it is down"):
        step.call(agent)
    assert len(agent.keys) == step.settings.agent_tries
    assert (step.recorded()[0].status, step.recorded()[0].error) == (AgentCallStatus.FAILED, "it is down")


def test_a_refusal_is_final(step: Step) -> None:
    agent = ScriptedAgent([AgentRejectedError("no such document")])
    with pytest.raises(AgentRejectedError):
        step.call(agent)
    assert len(agent.keys) == 1
    assert step.recorded()[0].error == "no such document"


def test_a_long_wait_is_left_to_the_operator(step: Step) -> None:
    agent = ScriptedAgent([AgentRateLimitedError("slowly", retry_after_seconds=3_600)])
    with pytest.raises(AgentWaitError) as caught:
        step.call(agent)
    assert (caught.value.retry_after_seconds, caught.value.tries, len(agent.keys)) == (3_600, 1, 1)


def test_waits_count_as_tries(step: Step) -> None:
    agent = ScriptedAgent([AgentRateLimitedError("slowly", retry_after_seconds=3_600)])
    with pytest.raises(AgentRateLimitedError):
        step.call(agent, tries=step.settings.agent_tries - 1)


def test_back_off_that_is_longer_than_a_worker_waits_is_left_to_the_operator_too(step: Step) -> None:
    step.settings = replace(step.settings, agent_backoff_seconds=100, agent_max_wait_seconds=0)
    with pytest.raises(AgentWaitError) as caught:
        step.call(ScriptedAgent([DOWN]))
    assert 50 <= (caught.value.retry_after_seconds or 0) <= 150


def test_a_wait_of_weeks_fails_and_says_so(step: Step) -> None:
    agent = ScriptedAgent([AgentRateLimitedError("slowly", retry_after_seconds=10**7)])
    with pytest.raises(AgentRejectedError, match="left alone for 10000000 s; accepted are up to 86400"):
        step.call(agent)


# Requests in doubt


def test_a_request_in_doubt_is_sent_again_where_that_is_safe(step: Step) -> None:
    call = step.call(ScriptedAgent([IN_DOUBT, Answer(data=1)], resendable=True))
    assert (call.response, call.attempts, call.in_doubt) == (1, 2, False)


@pytest.mark.parametrize(
    ("resend", "resendable", "sent"), [("auto", False, 1), ("never", True, 1), ("always", False, 2)]
)
def test_a_request_in_doubt_is_not_sent_again_blindly(step: Step, resend: Any, resendable: bool, sent: int) -> None:
    agent = ScriptedAgent([IN_DOUBT, Answer(data=1)], resendable=resendable)
    request = replace(ASK, resend=resend)
    if sent == 1:
        with pytest.raises(AgentFateUnknownError, match="must not be sent twice: reset after it was sent. Look there"):
            step.call(agent, request)
        assert (step.recorded()[0].status, step.recorded()[0].in_doubt) == (AgentCallStatus.FAILED, False)
    else:
        step.call(agent, request)
    assert len(agent.keys) == sent


def test_a_request_that_was_not_sent_is_never_in_doubt(step: Step) -> None:
    assert step.call(ScriptedAgent([DOWN, Answer(data=1)])).response == 1


@pytest.mark.parametrize("resendable", [True, False])
def test_a_killed_worker_leaves_its_request_in_doubt(step: Step, resendable: bool) -> None:
    with pytest.raises(KeyboardInterrupt):
        step.call(ScriptedAgent([KeyboardInterrupt()]))
    assert step.recorded()[0].in_doubt
    agent = ScriptedAgent(resendable=resendable)
    if resendable:
        assert step.call(agent).attempts == 2
        return
    with pytest.raises(AgentFateUnknownError, match="interrupted after it was sent"):
        step.call(agent)
    assert agent.keys == []
    assert step.call(agent).attempts == 2, "a person has cleared the task: that is sent"


@pytest.mark.parametrize("stopped", [IN_DOUBT, KeyboardInterrupt()])
@pytest.mark.parametrize("recovered", [Answer(data="found"), JOB])
def test_an_agent_that_knows_the_request_is_believed(
    step: Step, stopped: BaseException, recovered: Answer | Job
) -> None:
    agent = ScriptedAgent([stopped, Answer(data="sent twice")], recovered=recovered)
    if isinstance(stopped, KeyboardInterrupt):
        with pytest.raises(KeyboardInterrupt):
            step.call(agent)
    call = step.call(agent)
    assert len(agent.keys) == 1
    assert (call.status, call.response) == (
        (AgentCallStatus.WAITING, None) if recovered is JOB else (AgentCallStatus.ANSWERED, "found")
    )
    assert not call.in_doubt


def test_an_agent_that_cannot_tell_now_is_asked_by_the_next_try(step: Step) -> None:
    step.settings = replace(step.settings, agent_circuit_failures=100)
    agent = ScriptedAgent([IN_DOUBT, Answer(data="sent twice")], recovered=DOWN)
    with pytest.raises(AgentUnavailableError, match="it is down"):
        step.call(agent)
    assert step.recorded()[0].in_doubt
    agent.recovered = Answer(data="found")
    assert step.call(agent).response == "found"
    assert len(agent.keys) == 1


def test_what_became_of_it_may_be_bad_news_and_is_settled_then(step: Step) -> None:
    agent = ScriptedAgent([IN_DOUBT, Answer(data="new")], recovered=AgentJobError("it failed there"))
    with pytest.raises(AgentJobError):
        step.call(agent)
    call = step.recorded()[0]
    assert (call.error, call.in_doubt, call.is_settled) == ("it failed there", False, True)
    agent.recovered = None
    assert step.call(agent).response == "new"
    assert agent.keys[0] != agent.keys[1]


def test_a_mistake_after_sending_leaves_the_request_in_doubt(step: Step) -> None:
    with pytest.raises(ZeroDivisionError):
        step.call(ScriptedAgent([ZeroDivisionError()]))
    with pytest.raises(AgentFateUnknownError):
        step.call(ScriptedAgent())


def test_a_person_who_sends_a_request_in_doubt_again_sends_the_same_key(step: Step) -> None:
    agent = ScriptedAgent([IN_DOUBT, Answer(data=1)])
    with pytest.raises(AgentFateUnknownError, match="Idempotency-Key"):
        step.call(agent)
    step.call(agent)
    assert agent.keys[0] == agent.keys[1]


@pytest.mark.parametrize("end", [Answer(data={"n": "x"}), AgentRejectedError("no")])
def test_what_is_known_for_good_is_asked_again_with_another_key(step: Step, end: Any) -> None:
    agent = ScriptedAgent([end, Answer(data={"n": 1})])
    request = replace(ASK, output_schema={"properties": {"n": {"type": "integer"}}})
    with pytest.raises(ScaffolderError):
        step.call(agent, request)
    step.call(agent, request)
    step.call(agent, request, replay="never")
    assert len(set(agent.keys)) == 3
    assert step.recorded()[0].idempotency_key == agent.keys[-1]


def test_an_agent_that_is_away_when_a_call_is_prepared_is_tried_again_and_counted(step: Step) -> None:
    step.settings = replace(step.settings, agent_circuit_failures=2)
    assert step.call(ScriptedAgent(preparing=[DOWN])).attempts == 1
    with pytest.raises(AgentWaitError, match="has failed 2 times in a row"):
        step.call(ScriptedAgent(preparing=[DOWN, DOWN, DOWN]), replay="never")


def test_an_answer_that_is_refused_is_paid_for(step: Step) -> None:
    answer = Answer(data=1, usage=Usage(input_tokens=7, model="gpt"), refusal="it doesn't fit")
    with pytest.raises(AgentAnswerError, match="doesn't fit"):
        step.call(ScriptedAgent([answer]))
    assert step.recorded()[0].input_tokens == 7


# Replay


def test_a_task_that_is_tried_again_takes_the_answer_it_had(step: Step) -> None:
    first, agent = step.call(ScriptedAgent()), ScriptedAgent([Answer(data="another")])
    assert step.call(agent) == first
    assert agent.keys == []
    assert step.call(agent, replay="never").response == "another"


def test_always_takes_the_answer_of_another_run_of_the_project(step: Step, records: ProjectRecords) -> None:
    first = step.call(ScriptedAgent([Answer(data={"n": 1}, status=200, usage=Usage(input_tokens=9, model="gpt"))]))
    agent, second = ScriptedAgent([Answer(data="another")]), Step(records, step.settings)
    assert second.call(agent).response == "another", "on_retry asks: it is another run"
    third = Step(records, step.settings)
    call = third.call(ScriptedAgent([DOWN]), replace(ASK, body={"document": "x"}), replay="always")
    assert (call.response, call.replayed_from is not None, call.input_tokens, call.cost) == (
        "another",
        True,
        None,
        None,
    )
    assert call.id != first.id


def test_always_takes_nothing_from_another_project_or_for_another_request(step: Step, records: ProjectRecords) -> None:
    step.call(ScriptedAgent())
    other = Step(records, step.settings)
    other.generated_project = open_project(records, project="payments")
    assert other.call(ScriptedAgent([Answer(data="asked")]), replay="always").response == "asked"
    for changed in ({"body": {"document": "y"}}, {"output_schema": {"type": "string"}}, {"parameters": {"a": 1}}):
        third = Step(records, step.settings)
        call = third.call(ScriptedAgent([Answer(data="asked")]), replace(ASK, **changed), replay="always")
        assert call.response == "asked"
    elsewhere = ScriptedAgent([Answer(data="asked")], identity={"url": "http://other"})
    assert Step(records, step.settings).call(elsewhere, replay="always").response == "asked"


def test_how_a_request_is_sent_does_not_make_it_another(step: Step) -> None:
    first = step.call(ScriptedAgent())
    assert step.call(ScriptedAgent(), replace(ASK, timeout_seconds=3, resend="never")).id == first.id


# Jobs


def test_a_long_job_waits_and_is_finished(step: Step) -> None:
    agent = ScriptedAgent([JOB, Answer(data={"files": []}, status=200)])
    call = step.call(agent)
    assert (call.status, call.job is not None and call.job["handle"]) == (AgentCallStatus.WAITING, {"url": "/jobs/1"})
    finished = step.finish(agent, call)
    assert (finished.status, finished.response, finished.attempts) == (AgentCallStatus.ANSWERED, {"files": []}, 1)
    assert step.finish(agent, call) == finished


def test_a_job_that_was_accepted_is_not_submitted_again(step: Step) -> None:
    agent = ScriptedAgent([JOB])
    assert step.call(agent) == step.call(agent) == step.call(agent, replay="never")
    assert len(agent.keys) == 1


def test_a_job_that_was_cancelled_meanwhile_is_submitted_again_with_another_key(step: Step) -> None:
    agent = ScriptedAgent([JOB])
    step.call(agent)
    agent.job_status = JobStatus(state="failed", note="cancelled")
    assert step.call(agent).attempts == 2
    assert agent.keys[0] != agent.keys[1]


@pytest.mark.parametrize("is_over", [True, False])
def test_a_job_that_fails_says_why_and_is_cancelled_where_it_goes_on(step: Step, is_over: bool) -> None:
    agent = ScriptedAgent([JOB])
    call = step.call(agent)
    with pytest.raises(AgentJobError, match="brought nothing: out of memory"):
        step.fail_job(agent, call, is_over=is_over)
    assert step.recorded()[0].status is AgentCallStatus.FAILED
    assert ("cancel /jobs/1" in agent.keys) is not is_over


def test_a_job_that_the_step_no_longer_asks_for_is_cancelled(step: Step) -> None:
    agent = ScriptedAgent([JOB, Answer(data=1)])
    first = step.call(agent)
    second = step.call(agent, replace(ASK, body={"document": "y"}))
    assert agent.keys == [str(first.id), "cancel /jobs/1", str(second.id)]
    assert [call.status for call in step.recorded()] == [AgentCallStatus.FAILED, AgentCallStatus.ANSWERED]


def test_a_job_that_cannot_be_cancelled_does_not_keep_the_step_from_asking(step: Step) -> None:
    agent = ScriptedAgent([JOB, Answer(data=1)], cancelling=AgentRejectedError("405"))
    step.call(agent)
    assert step.call(agent, replace(ASK, body={"document": "y"})).response == 1


def test_a_job_that_cannot_be_asked_after_fails_once(step: Step) -> None:
    agent = ScriptedAgent([JOB, Answer(data=1)])
    step.call(agent)
    agent.job_status = AgentAnswerError("no state there")
    with pytest.raises(AgentAnswerError):
        step.call(agent)
    assert step.call(agent).response == 1


def test_an_agent_that_is_away_when_the_result_is_fetched_loses_nothing(step: Step) -> None:
    agent = ScriptedAgent([JOB, DOWN])
    call = step.call(agent)
    with pytest.raises(AgentUnavailableError):
        step.finish(agent, call)
    assert step.recorded()[0].status is AgentCallStatus.WAITING
    agent.script = [Answer(data=1)]
    assert step.finish(agent, call).response == 1


def test_a_run_that_ends_leaves_no_call_waiting(step: Step) -> None:
    step.call(ScriptedAgent([JOB]))
    step.records.mark_failed(step.generated_project.id, error="cancelled", rules=keep_days(7))
    assert step.recorded()[0].status is AgentCallStatus.FAILED


# What an answer must be


def test_an_answer_that_the_output_schema_refuses_fails_and_is_paid_for(step: Step) -> None:
    agent = ScriptedAgent([Answer(data={"n": "x"}, usage=Usage(input_tokens=500_000, output_tokens=0, model="gpt"))])
    request = replace(ASK, output_schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    with pytest.raises(AgentAnswerError, match="output_schema refuses: n: 'x' is not of type 'integer'"):
        step.call(agent, request)
    call = step.recorded()[0]
    assert (call.status, call.response, call.cost, call.model) == (AgentCallStatus.FAILED, None, Decimal(1), "gpt")


def test_more_files_than_accepted_are_refused(step: Step) -> None:
    step.settings = replace(step.settings, max_agent_files=2)
    files = [{"path": str(number), "content": ""} for number in range(3)]
    with pytest.raises(
        LimitExceededError, match=r"answered 3 files; accepted are up to 2 \(SCAFFOLDER_MAX_AGENT_FILES"
    ):
        step.call(ScriptedAgent([Answer(data={"files": files})]))


def test_a_request_that_is_not_json_is_refused(step: Step) -> None:
    with pytest.raises(AgentRejectedError, match="not JSON"):
        step.call(ScriptedAgent(), replace(ASK, body=float("nan")))


# Parts


def test_parts_are_recorded_and_not_asked_again(step: Step) -> None:
    agent = ScriptedAgent(
        [Answer(data="m", usage=Usage(input_tokens=10, output_tokens=5, model="gpt")), AgentRejectedError("cut")]
    )
    agent.parts = ("manifest", "files 1")
    with pytest.raises(AgentRejectedError, match="cut"):
        step.call(agent)
    agent.script = [Answer(data="f", usage=Usage(input_tokens=1, output_tokens=1, model="gpt"))]
    agent.keys.clear()
    call = step.call(agent)
    assert (call.response, agent.keys) == ({"parts": ["m", "f"]}, ["files 1"])
    rows = {row.operation: row for row in step.recorded()}
    assert set(rows) == {"generateModels", "generateModels: manifest", "generateModels: files 1"}
    assert {row.part_of for row in rows.values()} == {None, call.id}
    assert (rows["generateModels: manifest"].input_tokens, call.input_tokens) == (10, None)


def test_a_part_that_cannot_be_used_is_asked_again_when_the_task_is_cleared(step: Step) -> None:
    agent = PickyAgent([Answer(data="m"), Answer(data="cut off"), Answer(data="f")], parts=("manifest", "files"))
    with pytest.raises(AgentAnswerError, match="cut off"):
        step.call(agent)
    assert step.call(agent).response == {"parts": ["m", "f"]}
    assert agent.keys == ["manifest", "files", "files"]


class PickyAgent(ScriptedAgent):
    async def call(self, request: CallRequest, *, idempotency_key: str, ledger: Ledger) -> Answer | Job:
        answer = await super().call(request, idempotency_key=idempotency_key, ledger=ledger)
        if "cut off" in str(answer):
            raise AgentAnswerError("cut off")
        return answer


def test_parts_are_tried_again_by_themselves(step: Step) -> None:
    agent = ScriptedAgent([Answer(data="m"), DOWN, DOWN, Answer(data="f")], parts=("manifest", "files"))
    assert step.call(agent).attempts == 1
    assert agent.keys == ["manifest", "files", "files", "files"]


def test_a_whole_run_with_parts_is_replayed(step: Step, records: ProjectRecords) -> None:
    first = step.call(ScriptedAgent([Answer(data="m")], parts=("manifest", "files")))
    again = Step(records, step.settings).call(ScriptedAgent([DOWN], parts=("manifest", "files")), replay="always")
    assert again.response == first.response


def test_tries_are_those_of_each_part(step: Step) -> None:
    script = [answer for name in "abcde" for answer in (AgentRateLimitedError("slowly"), Answer(data=name))]
    assert step.call(ScriptedAgent(script, parts=tuple("abcde"))).response == {"parts": list("abcde")}


def test_a_part_in_doubt_is_not_sent_again_where_the_step_says_so(step: Step) -> None:
    agent = ScriptedAgent([IN_DOUBT, Answer(data="m")], parts=("manifest",), resendable=True)
    with pytest.raises(AgentFateUnknownError):
        step.call(agent, replace(ASK, resend="never"))


def test_a_call_with_parts_costs_what_its_parts_cost(step: Step) -> None:
    step.call(ScriptedAgent(parts=("manifest", "files")))
    assert sum(call.cost or 0 for call in step.recorded()) == 1


# Budget


def test_tokens_and_cost_are_counted_across_tries(step: Step) -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=100_000, model="gpt")
    agent = ScriptedAgent([Answer(data=1, usage=usage)])
    step.call(agent)
    call = step.call(agent, replay="never")
    assert (call.input_tokens, call.output_tokens, call.cost) == (2_000_000, 200_000, Decimal(6))


@pytest.mark.parametrize("scope", ["step", "run", "project"])
@pytest.mark.parametrize("unit", ["tokens", "cost"])
def test_over_the_budget_nothing_is_sent(step: Step, scope: str, unit: str) -> None:
    usage = Usage(input_tokens=1_000_000, output_tokens=0, model="gpt")
    step.call(ScriptedAgent([Answer(data=1, usage=usage)]))
    limit = {"tokens": 1_000_000, "cost": 2}[unit]
    step.settings = replace(step.settings, **{f"max_{scope}_{unit}": limit})
    agent = ScriptedAgent()
    with pytest.raises(
        BudgetExceededError, match=rf"the {unit} of its {scope} are .*SCAFFOLDER_MAX_{scope.upper()}_{unit.upper()}"
    ):
        step.call(agent, replay="never")
    assert agent.keys == []
    step.settings = replace(step.settings, **{f"max_{scope}_{unit}": limit + 1})
    step.call(agent, replay="never")


def test_a_step_may_use_less_than_the_settings_allow(step: Step) -> None:
    step.call(ScriptedAgent([Answer(data=1, usage=Usage(input_tokens=100, model="gpt"))]))
    with pytest.raises(BudgetExceededError, match="the tokens of its step are 100; accepted are less than 100"):
        step.call(ScriptedAgent(), replay="never", budget=Budget(tokens=100))
    step.call(ScriptedAgent(), replay="never", budget=Budget(tokens=101, cost=Decimal(1)))


def test_money_cannot_be_limited_without_a_price(step: Step) -> None:
    agent = ScriptedAgent(conn_id="other")
    with pytest.raises(BudgetExceededError, match=r"none of \['other'\] has a price in SCAFFOLDER_AGENT_PRICES"):
        step.call(agent, budget=Budget(cost=Decimal(1)))
    assert agent.keys == []


def test_the_price_of_a_model_is_found_without_its_provider(step: Step) -> None:
    usage = Usage(input_tokens=1_000_000, model="openai:gpt")
    assert step.call(ScriptedAgent([Answer(data=1, usage=usage)])).cost == 2


def test_a_call_may_have_a_price_of_its_own(step: Step) -> None:
    assert step.call(ScriptedAgent()).cost == Decimal("0.5")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"a": 1}',
        '{"a": {}}',
        '{"a": {"in": 1}}',
        '{"a": {"call": -1}}',
        '{"a": {"call": "x"}}',
        '{"a": {"call": NaN}}',
    ],
)
def test_prices_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="SCAFFOLDER_AGENT_PRICES"):
        PriceTable(text)


@pytest.mark.parametrize("data", [{"tokens": 0}, {"tokens": "x"}, {"dollars": 1}, {"cost": float("inf")}])
def test_a_budget_that_is_none_is_refused(data: dict[str, Any]) -> None:
    with pytest.raises(AgentConfigurationError, match="budget is"):
        read_budget(data)


# Circuit breaker


@pytest.fixture
def broken(step: Step) -> Step:
    step.settings = replace(step.settings, agent_circuit_failures=3, agent_circuit_seconds=3_600, agent_tries=3)
    with pytest.raises(ScaffolderError):
        step.call(ScriptedAgent([DOWN]))
    return step


def test_an_open_circuit_lets_nothing_through_for_any_worker(broken: Step, records: ProjectRecords) -> None:
    agent = ScriptedAgent()
    with pytest.raises(AgentWaitError, match="has failed 3 times in a row, last: it is down") as caught:
        _with(broken, records).call(agent)
    assert 3_500 < (caught.value.retry_after_seconds or 0) <= 3_600
    assert isinstance(caught.value.__cause__, AgentCircuitOpenError)
    assert agent.keys == []


def _with(step: Step, records: ProjectRecords) -> Step:
    other = Step(records, step.settings)
    other.settings = step.settings
    return other


def test_other_agents_are_not_touched(broken: Step) -> None:
    broken.call(ScriptedAgent(conn_id="other"))


def test_half_open_lets_one_through_whose_answer_closes_it(broken: Step, connection: psycopg.Connection[Any]) -> None:
    connection.execute("UPDATE agent_circuit SET retry_at = now()")
    calls = broken.records.agent_calls
    assert calls.try_circuit("scripted", seconds=60).wait_seconds == 0
    second = calls.try_circuit("scripted", seconds=60)
    assert (second.state, second.wait_seconds > 50) == (CircuitState.HALF_OPEN, True)
    connection.execute("UPDATE agent_circuit SET retry_at = now()")
    broken.call(ScriptedAgent())
    assert calls.try_circuit("scripted", seconds=60).state is CircuitState.CLOSED
    moves = connection.execute(
        "SELECT detail ->> 'from', detail ->> 'to' FROM event WHERE subject = 'agent_circuit' ORDER BY id"
    ).fetchall()
    assert moves[0] == ("closed", "open")
    assert moves[-1] == ("half_open", "closed")


def test_half_open_lets_all_parts_of_one_call_through(broken: Step, connection: psycopg.Connection[Any]) -> None:
    connection.execute("UPDATE agent_circuit SET retry_at = now()")
    agent = ScriptedAgent([AgentRateLimitedError("slowly"), Answer(data=1)], parts=("manifest", "files"))
    broken.call(agent)
    assert broken.records.agent_calls.try_circuit("scripted", seconds=60).state is CircuitState.CLOSED


def test_half_open_is_open_again_after_one_failure(broken: Step, connection: psycopg.Connection[Any]) -> None:
    connection.execute("UPDATE agent_circuit SET retry_at = now()")
    agent = ScriptedAgent([DOWN])
    with pytest.raises(AgentWaitError):
        broken.call(agent)
    assert len(agent.keys) == 1


def test_an_answer_between_failures_starts_the_count_again(step: Step) -> None:
    step.settings = replace(step.settings, agent_circuit_failures=3)
    for _ in range(3):
        step.call(ScriptedAgent([DOWN, DOWN, Answer(data=1)]), replay="never")


@pytest.mark.parametrize("error", [AgentRejectedError("no"), AgentRateLimitedError("slowly")])
def test_refusals_and_rate_limits_are_no_failures_of_the_agent(step: Step, error: ScaffolderError) -> None:
    step.settings = replace(step.settings, agent_circuit_failures=1)
    with pytest.raises(type(error)):
        step.call(ScriptedAgent([error]))
    assert step.call(ScriptedAgent()).status is AgentCallStatus.ANSWERED
