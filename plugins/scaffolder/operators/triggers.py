"""`AgentJobTrigger`: waits in the triggerer for a long job of an agent, and cancels it when its task is killed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from airflow.triggers.base import BaseTrigger, TriggerEvent

from scaffolder.observability import logs

if TYPE_CHECKING:
    from scaffolder.agents.contract import Agent
    from scaffolder.agents.polling import AgentPool

_pools: WeakKeyDictionary[asyncio.AbstractEventLoop, AgentPool] = WeakKeyDictionary()


class AgentJobTrigger(BaseTrigger):
    """Ask after a job of an agent until it is over, changing nothing there.

    Its one event is ``{"state": ..., "note": ...}``; for the states see `scaffolder.agents.polling.JobOutcome`. Events
    are kept in Airflow's database, so the job's result is never in one: whoever resumes fetches it.

    :param agent_conn_id: the agent's connection.
    :param handle: what the agent's `call` returned in its `Job`; holds no secret.
    :param poll_seconds: how long to wait between two requests, where the agent does not say.
    :param until: when waiting ends, in seconds since the epoch.
    :param agent_call_id: the recorded call, for the log, as are `generated_project_id`, `project` and `step_id`, which
        triggers of an older version do not have.
    """

    def __init__(
        self,
        *,
        agent_conn_id: str,
        handle: Mapping[str, Any],
        poll_seconds: float,
        until: float,
        agent_call_id: str,
        generated_project_id: str | None = None,
        project: str | None = None,
        step_id: str | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.agent_conn_id = agent_conn_id
        self.handle = handle
        self.poll_seconds = poll_seconds
        self.until = until
        self.agent_call_id = agent_call_id
        self.generated_project_id = generated_project_id
        self.project = project
        self.step_id = step_id
        self._is_over = False

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return what the triggerer makes an equal trigger from."""
        arguments = {
            "agent_conn_id": self.agent_conn_id,
            "handle": dict(self.handle),
            "poll_seconds": self.poll_seconds,
            "until": self.until,
            "agent_call_id": self.agent_call_id,
            "generated_project_id": self.generated_project_id,
            "project": self.project,
            "step_id": self.step_id,
        }
        return f"{type(self).__module__}.{type(self).__qualname__}", arguments

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait, and fire one event."""
        from scaffolder.agents.polling import JobWait

        # Not with a yield inside: what consumes an event need not be of this context.
        with self._bound_fields():
            self.log.info("Waiting for the job of agent call %s at %r", self.agent_call_id, self.agent_conn_id)
            wait = JobWait(
                conn_id=self.agent_conn_id, handle=self.handle, poll_seconds=self.poll_seconds, until=self.until
            )
            outcome = await wait.run(_get_pool())
        self._is_over = True
        yield TriggerEvent({"state": outcome.state, "note": outcome.note})  # type: ignore[no-untyped-call]

    async def on_kill(self) -> None:
        """Cancel the job if its task is over: failed, successful or skipped by hand, or deleted.

        The job lives on where its task is to run again (cleared): the next try takes it over, or cancels it if it has
        other plans; to cancel it here too would be a race between the two. It also lives on where its task is deferred
        still: Airflow (3.3) takes a trigger that has moved to another triggerer, as happens when the first one was too
        busy for its heartbeat, for one that a user has killed.
        """
        if self._is_over:
            return
        with self._bound_fields():
            await self._cancel_job()

    async def _cancel_job(self) -> None:
        from scaffolder.agents.polling import cancel_job

        if not await self._is_task_over():
            self.log.info("The job of agent call %s lives on: its task is not over", self.agent_call_id)
            return
        await cancel_job(_get_pool(), conn_id=self.agent_conn_id, handle=self.handle)
        self.log.info("Cancelled the job of agent call %s at %r", self.agent_call_id, self.agent_conn_id)

    def _bound_fields(self) -> AbstractContextManager[None]:
        return logs.bound(
            project=self.project,
            generated_project_id=self.generated_project_id,
            step_id=self.step_id,
            agent_call_id=self.agent_call_id,
        )

    async def _is_task_over(self) -> bool:
        from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance
        from airflow.utils.state import State

        task = self.task_instance
        if task is None:
            return True
        states = await asyncio.to_thread(
            RuntimeTaskInstance.get_task_states,
            dag_id=task.dag_id,
            task_ids=[task.task_id],
            run_ids=[task.run_id],
            map_index=task.map_index,
        )
        name = task.task_id if task.map_index < 0 else f"{task.task_id}_{task.map_index}"
        found = states.get(task.run_id, {})
        return name not in found or found[name] in State.finished


def _get_pool() -> AgentPool:
    """Return the pool of the running event loop: all triggers of a triggerer share one."""
    from scaffolder.agents.polling import AgentPool

    return _pools.setdefault(asyncio.get_running_loop(), AgentPool(_open_agent))


async def _open_agent(conn_id: str) -> Agent:
    from scaffolder.agents.hook import aopen_agent
    from scaffolder.config import get_settings

    return await aopen_agent(conn_id, settings=get_settings())
