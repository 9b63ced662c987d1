from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from scaffolder.agents import polling
from scaffolder.agents.contract import JobRule
from scaffolder.agents.polling import AgentPool, JobOutcome, JobWait, cancel_job
from scaffolder.agents.rest.agent import RestAgent
from scaffolder.agents.rest.jobs import JobHandle
from scaffolder.config import Settings
from scaffolder.errors import AgentConfigurationError, AgentUnavailableError
from tests.job_server import JobService, Reply, RestServer, serve_rest


@dataclass
class Opener:
    """Opens agents of a server, as the hook does, and knows how many are open."""

    server: RestServer
    opened: int = 0
    open: int = 0
    failures: list[Exception] = field(default_factory=list)

    async def __call__(self, conn_id: str) -> Any:
        await asyncio.sleep(0)
        if self.failures:
            raise self.failures.pop(0)
        opener = self

        class Counted(RestAgent):
            async def __aenter__(self) -> Any:
                opener.opened += 1
                opener.open += 1
                return await super().__aenter__()

            async def __aexit__(self, *exc_info: object) -> None:
                opener.open -= 1
                await super().__aexit__(*exc_info)

        connection = replace(self.server.connection, conn_id=conn_id)
        return Counted(connection, settings=Settings(), endpoints=None)


def handle(job: str = "1", **rule: Any) -> Mapping[str, Any]:
    return JobHandle(url=f"/jobs/{job}", job=job, rule=JobRule(**{"state": "/status"} | rule)).to_json()


def wait(opener: Opener, *, seconds: float = 60, poll_seconds: float = 0.02, job: str = "1") -> JobOutcome:
    wait = JobWait(conn_id="a", handle=handle(job), poll_seconds=poll_seconds, until=time.time() + seconds)
    return asyncio.run(wait.run(AgentPool(opener)))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_MIN_DELAY_SECONDS", 0.02)


def test_waits_until_the_job_is_done_and_changes_nothing() -> None:
    service = JobService(seconds=0.1)
    with serve_rest(service.answer) as server:
        job = service.start()
        opener = Opener(server)
        assert wait(opener, job=job) == JobOutcome(state="done", note="succeeded")
    assert set(service.methods) == {"GET"}
    assert service.methods["GET"] > 1
    assert (opener.opened, opener.open) == (1, 0)


def test_says_why_a_job_failed() -> None:
    with serve_rest() as server:
        server.script(Reply({"status": "failed", "detail": "out of memory"}))
        assert wait(Opener(server)) == JobOutcome(state="failed", note="failed: out of memory")


@pytest.mark.usefixtures("quick")
def test_an_agent_that_is_away_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with serve_rest() as server:
        server.script(Reply(status=503), Reply(status=429), Reply(status=500), Reply({"status": "done"}))
        assert wait(Opener(server)).state == "done"
    assert [record.message.partition(": ")[0][-3:] for record in caplog.records] == ["503", "429", "500"]


@pytest.mark.usefixtures("quick")
def test_an_agent_that_cannot_be_reached_at_all_is_waited_for_until_the_time_is_up() -> None:
    opener = Opener(RestServer(url="http://127.0.0.1:9"))
    outcome = wait(opener, seconds=0.2)
    assert outcome.state == "timeout"
    assert "cannot be reached" in outcome.note
    assert opener.open == 0


def test_does_as_retry_after_says() -> None:
    with serve_rest() as server:
        server.script(Reply(status=202, headers={"Retry-After": "1"}), Reply({"status": "done"}))
        started = time.monotonic()
        assert wait(Opener(server)).state == "done"
    assert 1 <= time.monotonic() - started < 3
    assert len(server.requests) == 2


@pytest.mark.usefixtures("quick")
def test_a_retry_after_of_zero_is_no_busy_loop() -> None:
    with serve_rest() as server:
        server.script(Reply(status=202, headers={"Retry-After": "0"}))
        assert wait(Opener(server), seconds=0.2).state == "timeout"
    assert len(server.requests) <= 11


@pytest.mark.usefixtures("quick")
def test_a_refusal_counts_only_when_it_is_repeated_with_a_connection_looked_up_anew() -> None:
    with serve_rest() as server:
        refused, running = (Reply(status=401), Reply(status=403)), Reply({"status": "running"})
        server.script(*refused, running, *refused, Reply({"status": "done"}))
        opener = Opener(server)
        assert wait(opener).state == "done"
        assert opener.opened == 5

        server.script(Reply({"detail": "not yours"}, status=400))
        outcome = wait(Opener(server))
        assert (outcome.state, outcome.note.rpartition(": ")[2]) == ("error", "not yours")
    assert len(server.requests) == 9


@pytest.mark.usefixtures("quick")
def test_a_connection_that_is_gone_for_a_moment_ends_nothing() -> None:
    gone = AgentConfigurationError("there is no connection 'a'")
    with serve_rest() as server:
        server.script(Reply({"status": "done"}))
        assert wait(Opener(server, failures=[gone, gone])).state == "done"
        assert wait(Opener(server, failures=[gone] * 3)) == JobOutcome(state="error", note=str(gone))


def test_asks_once_more_when_the_time_is_up() -> None:
    with serve_rest() as server:
        server.script(Reply({"status": "done"}))
        assert wait(Opener(server), seconds=-100, poll_seconds=30).state == "done"
        server.script(Reply({"status": "running"}))
        assert wait(Opener(server), seconds=-100, poll_seconds=30) == JobOutcome(state="timeout", note="running")
    assert len(server.requests) == 2


def test_the_first_requests_of_many_jobs_are_spread() -> None:
    with serve_rest() as server:
        times: list[float] = []
        server.answer = lambda _request: times.append(time.monotonic()) or Reply({"status": "done"})
        opener = Opener(server)

        async def run() -> float:
            pool = AgentPool(opener)
            waits = [
                JobWait(conn_id="a", handle=handle(), poll_seconds=0.4, until=time.time() + 60) for _ in range(200)
            ]
            started = time.monotonic()
            await asyncio.gather(*(wait.run(pool) for wait in waits))
            return started

        started = asyncio.run(run())
    assert started + 0.19 <= min(times) < started + 0.3
    assert max(times) > started + 0.35
    assert opener.opened == 1


def test_jobs_of_one_connection_share_an_agent_and_the_last_one_closes_it() -> None:
    service = JobService(seconds=0.1)
    with serve_rest(service.answer) as server:
        opener = Opener(server)

        async def run() -> list[JobOutcome]:
            pool = AgentPool(opener)
            waits = [
                JobWait(conn_id=conn_id, handle=handle(service.start()), poll_seconds=0.02, until=time.time() + 60)
                for conn_id in ("a", "b") * 20
            ]
            return await asyncio.gather(*(wait.run(pool) for wait in waits))

        assert {outcome.state for outcome in asyncio.run(run())} == {"done"}
    assert (opener.opened, opener.open) == (2, 0)


def test_a_connection_is_looked_up_again_from_time_to_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_LEASE_SECONDS", 0.1)
    service = JobService(seconds=0.35)
    with serve_rest(service.answer) as server:
        job = service.start()
        opener = Opener(server)
        assert wait(opener, job=job).state == "done"
    assert 3 <= opener.opened <= 5
    assert opener.open == 0


def test_no_more_polls_at_a_time_than_one_agent_should_get(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_CONCURRENT_POLLS", 3)
    asked: list[float] = []
    with serve_rest() as server:
        server.answer = lambda _request: asked.append(time.monotonic()) or Reply({"status": "done"}, delay=0.05)

        async def run() -> None:
            pool = AgentPool(Opener(server))
            await asyncio.gather(
                *(
                    JobWait(conn_id="a", handle=handle(), poll_seconds=0.001, until=time.time() + 60).run(pool)
                    for _ in range(12)
                )
            )

        asyncio.run(run())
    asked.sort()
    assert all(later - earlier > 0.04 for earlier, later in zip(asked, asked[3:], strict=False))


@pytest.mark.parametrize("moment", ["asleep", "polling"])
def test_a_wait_that_is_cancelled_says_so_and_gives_the_agent_back(moment: str) -> None:
    # Airflow tells by the message of the cancellation whether a user killed the task.
    with serve_rest() as server:
        server.script(Reply({"status": "running"}, delay=30))
        opener = Opener(server)

        async def run() -> None:
            poll_seconds = 0.01 if moment == "polling" else 30
            wait = JobWait(conn_id="a", handle=handle(), poll_seconds=poll_seconds, until=time.time() + 60)
            task = asyncio.create_task(wait.run(AgentPool(opener)))
            await asyncio.sleep(0.2)
            task.cancel("told to stop")
            with pytest.raises(asyncio.CancelledError, match="told to stop"):
                await task

        asyncio.run(run())
        assert len(server.requests) == (1 if moment == "polling" else 0)
    assert (opener.opened, opener.open) == (1, 0)


def cancel(opener: Callable[[str], Any]) -> None:
    asyncio.run(cancel_job(AgentPool(opener), conn_id="a", handle=handle()))


def test_cancels_a_job_and_tries_again_where_the_agent_is_away() -> None:
    with serve_rest() as server:
        server.script(Reply(status=503), Reply(status=204))
        cancel(Opener(server))
    assert server.targets == ["DELETE /jobs/1"] * 2


def test_gives_up_cancelling_after_a_few_tries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(polling, "_CANCEL_TRIES", 2)
    with serve_rest() as server:
        server.script(Reply(status=503))
        with pytest.raises(AgentUnavailableError):
            cancel(Opener(server))
    assert len(server.requests) == 2
