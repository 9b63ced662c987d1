"""The trigger inside Airflow's own trigger runner; only what the runner's supervisor would answer is faked, at the wire."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from airflow.executors.workloads.task import TaskInstanceDTO
from airflow.jobs.triggerer_job_runner import _USER_ACTION_CANCEL_MSG, TriggerRunner
from airflow.models.trigger import Trigger
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import GetTaskStates, TaskStatesResult
from airflow.triggers.base import TriggerEvent

from local_airflow.airflow_rest import wait_until
from scaffolder.agents.contract import JobRule
from scaffolder.agents.rest.jobs import JobHandle
from scaffolder.operators.triggers import AgentJobTrigger
from tests.job_server import TOKEN, JobService, Reply, RestServer, serve_rest


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[RestServer]:
    with serve_rest() as server:
        connection = {"conn_type": "agent_api", "host": server.url, "password": TOKEN}
        monkeypatch.setenv("AIRFLOW_CONN_REST_AGENT", json.dumps(connection))
        yield server


class Supervisor:
    """Answers what a triggerer asks of Airflow."""

    def __init__(self, states: dict[str, Any]) -> None:
        self.states = states

    def send(self, message: Any) -> Any:
        if not isinstance(message, GetTaskStates):
            return None
        assert (message.dag_id, message.task_ids, message.run_ids) == ("dag", ["ask"], ["run"])
        return TaskStatesResult(task_states=self.states)

    async def asend(self, message: Any) -> Any:
        return self.send(message)


def make_trigger(server: RestServer, *, job: str = "1", until: float | None = None, **rule: Any) -> AgentJobTrigger:
    handle = JobHandle(url=f"{server.url}/jobs/{job}", job=job, rule=JobRule(**{"state": "/status"} | rule)).to_json()
    return AgentJobTrigger(
        agent_conn_id="rest_agent",
        handle=handle,
        poll_seconds=0.05,
        until=time.time() + 60 if until is None else until,
        agent_call_id="call-1",
    )


def read_events(trigger: AgentJobTrigger) -> list[TriggerEvent]:
    async def run() -> list[TriggerEvent]:
        return [event async for event in trigger.run()]

    return asyncio.run(run())


def test_fires_one_event_without_the_result(server: RestServer) -> None:
    service = JobService(seconds=0.1)
    server.answer = service.answer
    job = service.start()
    assert [event.payload for event in read_events(make_trigger(server, job=job))] == [
        {"state": "done", "note": "succeeded"}
    ]
    assert set(service.methods) == {"GET"}


@pytest.mark.parametrize(
    "reply, until, event",
    [
        (Reply({"status": "failed", "detail": "no memory"}), None, {"state": "failed", "note": "failed: no memory"}),
        (Reply({"status": "running"}), 0.0, {"state": "timeout", "note": "running"}),
        (
            Reply(status=503),
            0.0,
            {"state": "timeout", "note": "agent 'rest_agent' ({url}) answered 503: no reason given"},
        ),
    ],
)
def test_says_how_it_ended(server: RestServer, reply: Reply, until: float | None, event: dict[str, str]) -> None:
    server.script(reply)
    [fired] = read_events(make_trigger(server, until=until))
    assert fired.payload == {name: text.format(url=server.url) for name, text in event.items()}


def test_comes_out_of_airflows_database_as_it_went_in(server: RestServer) -> None:
    trigger = make_trigger(server)
    row = Trigger.from_object(trigger)
    made = TriggerRunner().get_trigger_by_classpath(row.classpath)(**row.kwargs)
    assert type(made) is AgentJobTrigger
    assert made.serialize() == trigger.serialize()
    assert TOKEN not in json.dumps(row.kwargs)


def cancel_while_waiting(
    server: RestServer, trigger: AgentJobTrigger, message: str | None, *, map_index: int = -1
) -> None:
    """Run the trigger as the triggerer does, and cancel it after its first poll."""
    trigger.task_instance = TaskInstanceDTO(
        id=uuid4(),
        dag_version_id=uuid4(),
        task_id="ask",
        dag_id="dag",
        run_id="run",
        try_number=1,
        map_index=map_index,
        pool_slots=1,
        queue="default",
        priority_weight=1,
    )

    async def run() -> None:
        runner = TriggerRunner()
        runner.triggers[1] = {"task": None, "is_watcher": False, "name": "trigger", "events": 0}
        task = asyncio.create_task(runner.run_trigger(1, trigger))
        assert await asyncio.to_thread(wait_until, lambda: bool(server.requests), timeout_seconds=10, poll_seconds=0.01)
        task.cancel(message)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())


OVER = ("failed", "success", "skipped", "upstream_failed", "removed")


@pytest.mark.parametrize("states", [*({"run": {"ask": state}} for state in OVER), {"run": {}}, {}])
def test_a_job_whose_task_is_over_is_cancelled(
    server: RestServer, monkeypatch: pytest.MonkeyPatch, states: dict[str, Any]
) -> None:
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor(states), raising=False)
    service = JobService(seconds=60)
    server.answer = service.answer
    job = service.start()
    cancel_while_waiting(server, make_trigger(server, job=job), _USER_ACTION_CANCEL_MSG)
    assert service.cancelled == {job}


@pytest.mark.parametrize("map_index, name", [(-1, "ask"), (3, "ask_3")])
@pytest.mark.parametrize("state", ["deferred", None, "scheduled", "queued", "running"])
def test_a_job_that_another_triggerer_or_try_waits_for_lives_on(
    server: RestServer, monkeypatch: pytest.MonkeyPatch, state: str | None, map_index: int, name: str
) -> None:
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", Supervisor({"run": {name: state}}), raising=False)
    service = JobService(seconds=60)
    server.answer = service.answer
    cancel_while_waiting(
        server, make_trigger(server, job=service.start()), _USER_ACTION_CANCEL_MSG, map_index=map_index
    )
    assert set(service.methods) == {"GET"}


def test_a_job_lives_on_when_the_triggerer_is_stopped(server: RestServer) -> None:
    service = JobService(seconds=60)
    server.answer = service.answer
    cancel_while_waiting(server, make_trigger(server, job=service.start()), None)
    assert set(service.methods) == {"GET"}


def test_a_job_that_is_over_is_not_cancelled(server: RestServer) -> None:
    server.script(Reply({"status": "done"}))
    trigger = make_trigger(server)
    read_events(trigger)
    asyncio.run(trigger.on_kill())
    assert {request.method for request in server.requests} == {"GET"}
