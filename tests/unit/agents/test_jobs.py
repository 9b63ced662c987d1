from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any

import pytest

from scaffolder.agents.contract import Answer, CallRequest, Job, JobRule, JobStatus
from scaffolder.agents.rest.agent import RestAgent
from scaffolder.agents.rest.jobs import JobHandle, find_problems
from scaffolder.config import Settings
from scaffolder.errors import (
    AgentAnswerError,
    AgentJobError,
    AgentRateLimitedError,
    AgentRejectedError,
    AgentUnavailableError,
    ScaffolderError,
)
from tests.job_server import TOKEN, JobService, Reply, RestServer, serve_rest


def start(server: RestServer, rule: JobRule | None) -> Any:
    async def call() -> Any:
        async with RestAgent(server.connection, settings=Settings(), endpoints=None) as agent:
            request = await agent.prepare(CallRequest(method="POST", path="/jobs", body={"a": 1}, job=rule))
            return await agent.call(request, idempotency_key="key-1", ledger=None)

    return asyncio.run(call())


def use(server: RestServer, method: str, handle: Mapping[str, Any]) -> Any:
    async def run() -> Any:
        async with RestAgent(server.connection, settings=Settings(), endpoints=None) as agent:
            return await getattr(agent, method)(handle)

    return asyncio.run(run())


def handle(**rule: Any) -> dict[str, Any]:
    return JobHandle(url="/jobs/1", job="1", rule=JobRule(**rule)).to_json()


def test_a_job_is_started_once_polled_with_get_and_its_result_fetched() -> None:
    service = JobService(seconds=0.05)
    with serve_rest(service.answer) as server:
        job = start(server, JobRule(state="/status", result="/result"))
        assert isinstance(job, Job)
        assert json.loads(json.dumps(job.handle)) == job.handle
        states = []
        while not states or states[-1].state == "running":
            states.append(use(server, "poll", job.handle))
        assert states[-1] == JobStatus(state="done", note="succeeded")
        assert use(server, "fetch_result", job.handle) == Answer(data={"job": "1"}, status=200)
    assert service.methods["POST"] == 1
    assert set(service.methods) == {"GET", "POST"}
    assert server.requests[0].headers["idempotency-key"] == "key-1"


def test_a_202_without_a_rule_says_what_the_step_lacks() -> None:
    with (
        serve_rest(JobService().answer) as server,
        pytest.raises(AgentAnswerError, match="with 202: it goes on working. Accepted is a step that declares job"),
    ):
        start(server, None)


def test_an_answer_at_once_is_the_answer_whatever_the_rule_says() -> None:
    with serve_rest() as server:
        server.script(Reply({"now": True}, status=201))
        assert start(server, JobRule()) == Answer(data={"now": True}, status=201)


@pytest.mark.parametrize(
    "rule, reply, url",
    [
        (JobRule(), Reply(status=202, headers={"Location": "/jobs/7?part=2#x"}), "{url}/jobs/7?part=2"),
        (JobRule(), Reply(status=202, headers={"Location": "jobs/7"}), "{url}/jobs/7"),
        (JobRule(), Reply(status=202, headers={"Location": "7"}), "{url}/7"),
        (
            JobRule(),
            Reply(status=202, headers={"Location": "/results/7", "Operation-Location": "/operations/7"}),
            "{url}/operations/7",
        ),
        (
            JobRule(id="/job/id", status_path="/v1/jobs/{job}/status"),
            Reply({"job": {"id": "a/b c"}}, status=202, headers={"Location": "/elsewhere"}),
            "/v1/jobs/a%2Fb%20c/status",
        ),
        (JobRule(id="/0", status_path="/jobs/{job}"), Reply([17], status=202), "/jobs/17"),
    ],
)
def test_finds_where_the_job_is(rule: JobRule, reply: Reply, url: str) -> None:
    with serve_rest() as server:
        server.script(reply)
        assert start(server, rule).handle["url"] == url.format(url=server.url)


@pytest.mark.parametrize(
    "rule, reply, error, message",
    [
        (
            JobRule(),
            Reply(status=202),
            AgentAnswerError,
            "202 without a Location; accepted is that, or job.status_path",
        ),
        (
            JobRule(),
            Reply(status=202, headers={"Location": "https://evil.example/jobs/1?token=x"}),
            AgentRejectedError,
            "a link leads to https://evil.example; accepted",
        ),
        (
            JobRule(),
            Reply(status=202, headers={"Location": f"/jobs/1?access={TOKEN}"}),
            AgentAnswerError,
            "a Location that repeats our credentials",
        ),
        (
            JobRule(id="/id", status_path="/jobs/{job}"),
            Reply({"name": "x"}, status=202),
            AgentAnswerError,
            "202 without the id of a job at '/id'",
        ),
        (
            JobRule(id="/id", status_path="/jobs/{job}"),
            Reply({"id": ".."}, status=202),
            AgentAnswerError,
            "without the id",
        ),
        (
            JobRule(id="/id", status_path="/jobs/{job}"),
            Reply({"id": True}, status=202),
            AgentAnswerError,
            "without the id",
        ),
    ],
)
def test_refuses_a_job_that_is_nowhere(rule: JobRule, reply: Reply, error: type[ScaffolderError], message: str) -> None:
    with serve_rest() as server:
        server.script(reply)
        with pytest.raises(error, match=message) as raised:
            start(server, rule)
    assert TOKEN not in str(raised.value)


@pytest.mark.parametrize(
    "rule, reply, status",
    [
        ({}, Reply(status=202), JobStatus(state="running")),
        ({}, Reply({"a": 1}), JobStatus(state="done")),
        ({}, Reply(status=204), JobStatus(state="done")),
        ({}, Reply(status=303, headers={"Location": "/results/1"}), JobStatus(state="done")),
        ({}, Reply(status=202, headers={"Retry-After": "17"}), JobStatus(state="running", retry_after_seconds=17.0)),
        (
            {"state": "/s"},
            Reply({"detail": "no such job"}, status=404),
            JobStatus(state="failed", note="the agent does not know it any more (404: no such job)"),
        ),
        ({"state": "/s"}, Reply({"s": "queued"}), JobStatus(state="running", note="queued")),
        ({"state": "/s"}, Reply({"s": "failed"}, status=202), JobStatus(state="running")),
        ({"state": "/s"}, Reply({"s": "Succeeded"}), JobStatus(state="done", note="Succeeded")),
        ({"state": "/s", "done": ("true",)}, Reply({"s": True}), JobStatus(state="done", note="true")),
        ({"state": "/s", "done": ("true",)}, Reply({"s": False}), JobStatus(state="running", note="false")),
        ({"state": "/s"}, Reply({"s": "failed"}), JobStatus(state="failed", note="failed: no reason given")),
        (
            {"state": "/s"},
            Reply({"s": "FAILED", "error": {"code": 7, "message": f"no\x1b[31m memory {TOKEN}\n"}}),
            JobStatus(state="failed", note="FAILED: no [31m memory ***"),
        ),
        (
            {"state": "/s"},
            Reply({"s": "wait\x00ing " + "x" * 200}),
            JobStatus(state="running", note="wait ing " + "x" * 91),
        ),
    ],
)
def test_says_how_a_job_is_getting_on(rule: dict[str, Any], reply: Reply, status: JobStatus) -> None:
    with serve_rest() as server:
        server.script(reply)
        assert use(server, "poll", handle(**rule)) == status
    assert server.targets == ["GET /jobs/1"]


@pytest.mark.parametrize(
    "reply, error, message",
    [
        (Reply({"detail": "not yours"}, status=403), AgentRejectedError, "403: not yours"),
        (Reply(status=429, headers={"Retry-After": "9"}), AgentRateLimitedError, "429"),
        (Reply(status=503), AgentUnavailableError, "503"),
        (Reply(status=302, headers={"Location": "/x"}), AgentRejectedError, "redirect"),
        (Reply({"x": 1}), AgentAnswerError, "the job has nothing at '/s'; accepted in job.state"),
        (Reply(content=b"<p>hello", headers={"Content-Type": "text/html"}), AgentAnswerError, "text/html"),
    ],
)
def test_a_poll_that_says_nothing_is_an_error(reply: Reply, error: type[ScaffolderError], message: str) -> None:
    with serve_rest() as server:
        server.script(reply)
        with pytest.raises(error, match=message):
            use(server, "poll", handle(state="/s"))


@pytest.mark.parametrize(
    "rule, replies, answer, targets",
    [
        ({}, [Reply({"a": 1})], Answer(data={"a": 1}, status=200), ["GET /jobs/1"]),
        ({"result": "/a/0"}, [Reply({"a": [5]})], Answer(data=5, status=200), ["GET /jobs/1"]),
        (
            {},
            [Reply(status=303, headers={"Location": "../results/1"}), Reply({"b": 2})],
            Answer(data={"b": 2}, status=200),
            ["GET /jobs/1", "GET /results/1"],
        ),
        (
            {"result_path": "/jobs/{job}/result", "result": "/b"},
            [Reply({"a": 1}), Reply({"b": 2})],
            Answer(data=2, status=200),
            ["GET /jobs/1", "GET /jobs/1/result"],
        ),
    ],
)
def test_fetches_the_result_from_where_the_rule_says(
    rule: dict[str, Any], replies: list[Reply], answer: Answer, targets: list[str]
) -> None:
    with serve_rest() as server:
        server.script(*replies)
        assert use(server, "fetch_result", handle(**rule)) == answer
    assert server.targets == targets


def test_counts_the_tokens_of_the_whole_answer() -> None:
    with serve_rest() as server:
        server.script(Reply({"out": "x", "model": "m-1", "usage": {"input_tokens": 3, "output_tokens": 4}}))
        answer = use(server, "fetch_result", handle(result="/out"))
    assert answer.data == "x"
    assert (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.model) == (3, 4, "m-1")


@pytest.mark.parametrize(
    "rule, replies, error, message",
    [
        ({}, [Reply(status=202)], AgentJobError, "the job is running"),
        ({"state": "/s"}, [Reply({"s": "failed", "detail": "why"})], AgentJobError, "the job is failed: failed: why"),
        ({"result": "/r"}, [Reply({"a": 1})], AgentAnswerError, "the answer of the job has nothing at '/r'"),
        (
            {},
            [Reply(status=303, headers={"Location": "http://169.254.169.254/x"})],
            AgentRejectedError,
            "a link leads to http://169.254.169.254; accepted",
        ),
        ({}, [Reply(status=303, headers={"Location": "/jobs/1"})], AgentRejectedError, "303, a redirect"),
        ({}, [Reply(status=303)], AgentAnswerError, "303 without a Location"),
        ({}, [Reply(status=410)], AgentJobError, "the job is failed: the agent does not know it any more"),
    ],
)
def test_a_result_that_is_not_there_is_an_error(
    rule: dict[str, Any], replies: list[Reply], error: type[ScaffolderError], message: str
) -> None:
    with serve_rest() as server:
        server.script(*replies)
        with pytest.raises(error, match=message):
            use(server, "fetch_result", handle(**rule))


@pytest.mark.parametrize(
    "rule, target",
    [
        ({}, "DELETE /jobs/1"),
        ({"cancel_method": "POST", "cancel_path": "/jobs/{job}:cancel"}, "POST /jobs/1:cancel"),
    ],
)
@pytest.mark.parametrize("status", [200, 202, 204, 404, 409, 410])
def test_cancels_a_job_also_one_that_is_over_or_gone(rule: dict[str, Any], target: str, status: int) -> None:
    with serve_rest() as server:
        server.script(Reply(status=status))
        use(server, "cancel", handle(**rule))
    assert server.targets == [target]


def test_a_job_that_cannot_be_cancelled_is_left_alone() -> None:
    with serve_rest() as server:
        use(server, "cancel", handle(cancel_method=None))
    assert server.requests == []


def test_a_cancellation_that_is_refused_is_an_error() -> None:
    with serve_rest() as server:
        server.script(Reply(status=500))
        with pytest.raises(AgentUnavailableError, match="500"):
            use(server, "cancel", handle())


def test_a_handle_holds_no_secret_and_outlives_a_change_of_the_rule() -> None:
    kept = handle(state="/s", done=("ok",))
    assert TOKEN not in json.dumps(kept)
    read = JobHandle.from_json(kept | {"rule": {**kept["rule"], "of_a_later_version": 1}})
    assert read == JobHandle(url="/jobs/1", job="1", rule=JobRule(state="/s", done=("ok",)))
    del kept["rule"]["done"], kept["rule"]["poll_seconds"]
    assert JobHandle.from_json(kept).rule == JobRule(state="/s")


def test_the_first_answers_retry_after_is_the_first_interval() -> None:
    with serve_rest() as server:
        server.script(Reply(status=202, headers={"Location": "/jobs/1", "Retry-After": "40"}))
        job = start(server, JobRule(poll_seconds=3, timeout_seconds=100))
        assert (job.poll_seconds, job.timeout_seconds) == (40, 100)
        assert start(server, JobRule(poll_seconds=3, timeout_seconds=10)).poll_seconds == 10
        assert start(server, JobRule(poll_seconds=50)).poll_seconds == 50


def test_names_everything_that_is_wrong_with_the_job_of_a_step() -> None:
    wrong = JobRule(
        id="id", status_path="jobs/{job}", done=("ok", "Failed"), poll_seconds=0, timeout_seconds=-1, result="x"
    )
    assert find_problems(wrong) == [
        "job.id is 'id'; accepted is a JSON pointer such as '/data/items', or '' for the whole answer",
        "job.result is 'x'; accepted is a JSON pointer such as '/data/items', or '' for the whole answer",
        "job.status_path is 'jobs/{job}'; accepted is a path below the base URL, such as '/jobs/{job}'",
        "job.done and job.failed both have ['failed']",
        "job.poll_seconds is 0; accepted is more than 0",
        "job.timeout_seconds is -1; accepted is more than 0",
    ]
    assert find_problems(JobRule(result_path="/r/{job}")) == [
        "job.result_path is '/r/{job}', but job.id does not say where the answer has the job's id"
    ]
    assert find_problems(JobRule()) == []
