"""All kinds of agents in workflows on a live Airflow: a language model, A2A, long jobs; replayed, killed, cancelled."""

from __future__ import annotations

import json
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from typing import Any

import psutil
import pytest

from local_airflow.airflow_rest import wait_until
from scaffolder.records.models import AgentCallStatus, GeneratedProjectStatus
from tests import a2a_server, job_server, llm_server
from tests.acceptance.conftest import Live, Run, read_log
from tests.servers import json_answer

FILES = {"src/app.py": "print('{{7*7}}')\r\n", "README.md": "# Café\n"}


@dataclass
class Agents:
    """A model, an A2A agent and an API with long jobs; `away` turns all of them off."""

    models: llm_server.LlmServer
    a2a: a2a_server.A2aServer
    rest: job_server.RestServer
    jobs: job_server.JobService = field(default_factory=job_server.JobService)
    away: bool = False

    def think(self, asked: llm_server.Asked) -> Any:
        if asked.schema is None:
            return "ok"
        properties = asked.schema["properties"]
        if "title" in properties:
            return {"title": "Bookings"}
        if "summary" in properties:
            files = [{"path": path, "purpose": path, "size_bytes": len(text)} for path, text in FILES.items()]
            return {"summary": "A service", "files": files}
        return {
            key: FILES[value["description"].removeprefix("The complete content of ")]
            for key, value in properties.items()
        }

    @property
    def requests(self) -> int:
        return len(self.models.asked) + len(self.a2a.requests) + len(self.rest.requests)


@pytest.fixture(scope="module")
def agents(live: Live) -> Iterator[Agents]:
    with ExitStack() as stack:
        found = Agents(
            stack.enter_context(llm_server.serve_models()),
            stack.enter_context(a2a_server.serve_a2a()),
            stack.enter_context(job_server.serve_rest()),
        )
        put = live.rest.put_connection
        put(
            "test_model",
            conn_type="pydanticai",
            host=f"{found.models.url}/v1",
            password=llm_server.API_KEY,
            extra=json.dumps({"model": "openai:gpt-test"}),
        )
        put("test_a2a", conn_type="a2a", host=found.a2a.url, password=a2a_server.TOKEN)
        put("test_jobs", conn_type="agent_api", host=found.rest.url, password=job_server.TOKEN)
        yield found


@pytest.fixture(autouse=True)
def fresh(agents: Agents) -> None:
    agents.models.reset()
    agents.models.brain = agents.think
    agents.a2a.released.set()
    agents.jobs = job_server.JobService(seconds=0.5)
    agents.rest.answer = agents.jobs.answer
    agents.rest.requests.clear()
    agents.a2a.requests.clear()


def wait_for(condition: Callable[[], bool], *, timeout_seconds: float = 60) -> None:
    assert wait_until(condition, timeout_seconds=timeout_seconds)


def why(run: Run) -> str:
    return "\n".join(run.log(task) for task, state in run.tasks.items() if state == "failed")


def read_tree(run: Run) -> dict[str, bytes]:
    head = run.generated_project.head_commit or ""
    return {entry.path: run.repository.read(head, entry.path) for entry in run.repository.files(head)}


def test_every_kind_of_agent_works_for_one_project_and_a_replay_asks_none_of_them(live: Live, agents: Agents) -> None:
    run = live.run("kinds", name="first")
    assert run.state == "success", why(run)
    tree = read_tree(run)
    assert tree["src/app.py"] == FILES["src/app.py"].encode()
    assert tree["README.md"] == FILES["README.md"].encode()
    assert tree["review/main.py"].decode() == "print('ä')\r\n" if "review/main.py" in tree else True
    assert tree["build.txt"] == b"Bookings, job 1\n"
    calls = {call.operation: call for call in run.read("agent_calls") if call.part_of is None}
    assert all(call.status is AgentCallStatus.ANSWERED for call in calls.values())
    parts = [call for call in run.read("agent_calls") if call.part_of is not None]
    assert sum(call.input_tokens or 0 for call in parts) > 0
    assert agents.jobs.methods["POST"] == 1

    asked = agents.requests
    again = live.run("kinds_again", name="first")
    assert again.state == "success", why(again)
    assert read_tree(again) == tree
    assert agents.requests == asked, "no agent was asked"
    assert all(call.replayed_from for call in again.read("agent_calls"))


def is_deferred(run: Run, task: str) -> Callable[[], bool]:
    return lambda: run.tasks.get(task) == "deferred"


def test_a_job_is_submitted_once_and_outlives_a_killed_triggerer(live: Live, agents: Agents) -> None:
    agents.jobs.seconds = 1_000
    run = live.start("job", name="killed")
    wait_for(is_deferred(run, "build"))
    wait_for(lambda: agents.jobs.methods["GET"] > 0)
    triggerer = psutil.Process(live.airflow.running()["triggerer"])
    for process in [*triggerer.children(recursive=True), triggerer]:
        process.send_signal(signal.SIGKILL)
    triggerer.wait(30)
    live.airflow.start()
    agents.jobs.seconds = 0
    run.wait()
    assert run.state == "success", why(run)
    assert agents.jobs.methods["POST"] == 1
    assert [call.attempts for call in run.read("agent_calls")] == [1]


def test_marking_a_waiting_task_failed_cancels_its_job(live: Live, agents: Agents) -> None:
    agents.jobs.seconds = 1_000
    run = live.start("job", name="cancelled")
    wait_for(is_deferred(run, "build"))
    wait_for(lambda: agents.jobs.methods["GET"] > 0)
    path = f"/api/v2/dags/job/dagRuns/{run.run_id}/taskInstances/build"
    live.rest.call("PATCH", path, json={"new_state": "failed"})
    wait_for(lambda: agents.jobs.cancelled == {"1"})
    run.wait()
    assert run.generated_project.status is GeneratedProjectStatus.FAILED
    assert [call.status for call in run.read("agent_calls")] == [AgentCallStatus.FAILED]


def test_a_job_that_fails_fails_the_task_and_says_why(live: Live, agents: Agents) -> None:
    agents.jobs.seconds = 1_000
    run = live.start("job", name="failing")
    wait_for(is_deferred(run, "build"))
    agents.jobs.cancelled.add("1")
    run.wait()
    assert run.state == "failed"
    assert run.tries("build") == 1
    assert "as was asked" in str(run.generated_project.error)
    [call] = run.read("agent_calls")
    about = {
        "project": "default",
        "generated_project_id": str(run.generated_project.id),
        "step_id": "build",
        "agent_call_id": str(call.id),
    }
    lines = read_log(live, run, "build")
    for event in (
        f"Waiting for the job of agent call {call.id} without a worker",
        f"Waiting for the job of agent call {call.id} at ",
        "This try of step build ends: AgentJobError: ",
    ):
        [line] = [line for line in lines if str(line["event"]).startswith(event)]
        fields = about if line["event"].startswith("Waiting") else about.keys() - {"agent_call_id"}
        assert {name: line.get(name) for name in fields} == {name: about[name] for name in fields}, line


def test_a_long_retry_after_is_waited_for_without_a_worker(live: Live) -> None:
    live.agent.answer(
        json_answer({"detail": "slowly"}, status=429, **{"Retry-After": "4"}),
        json_answer({"files": [{"path": "a", "content": "b"}]}),
    )
    run = live.start("patient", name="patient")
    wait_for(is_deferred(run, "models"))
    begin = time.monotonic()
    run.wait()
    assert run.state == "success", why(run)
    assert time.monotonic() - begin > 1
    assert run.tries("models") == 1, "no retry of the task was used"
    assert [call.attempts for call in run.read("agent_calls")] == [2]


def test_a_request_that_must_not_be_sent_twice_is_not(live: Live, agents: Agents) -> None:
    agents.rest.answer = lambda _: job_server.Reply({"detail": "bad gateway"}, status=502)
    run = live.run("job", name="doubtful")
    assert run.state == "failed"
    assert (run.tries("build"), len(agents.rest.requests)) == (1, 1)
    assert "nobody knows whether agent 'test_jobs' has acted upon 'POST /jobs'" in str(run.generated_project.error)
    agents.rest.answer = agents.jobs.answer
    body = {
        "dry_run": False,
        "dag_run_id": run.run_id,
        "only_failed": False,
        "task_ids": ["build"],
        "include_downstream": True,
    }
    live.rest.call("POST", "/api/v2/dags/job/clearTaskInstances", json=body)
    run.wait()
    assert run.state == "success", why(run)


def test_the_registry_learns_what_agents_offer_and_has_pages_for_it(live: Live, agents: Agents) -> None:
    run = live.rest.trigger("discover_agent_apis", conf={"connections": ["demo_agent", "test_a2a"]})
    assert live.rest.wait_for_run("discover_agent_apis", run) == "success"
    [task] = live.rest.task_instances("discover_agent_apis", run)
    log = "\n".join(live.rest.task_log("discover_agent_apis", run, task))
    assert "demo_agent" in log
    page = live.rest.request("GET", "/scaffolder/agents/demo_agent")
    assert page.status_code == 200
    assert "generateModels" in page.text
    text = live.rest.request("GET", "/scaffolder/agents/test_a2a.md")
    assert (text.status_code, "message:" in text.text) == (200, True)
