"""The fields that log lines carry."""

from __future__ import annotations

import asyncio
from uuid import UUID

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from scaffolder.observability import logs

ID = UUID(int=7)


def test_a_block_has_its_fields_and_leaves_those_before() -> None:
    with bound_contextvars(dag_id="of Airflow"):
        with logs.bound(step_id="outer"):
            with logs.bound(step_id="inner", agent_call_id=ID, project=None):
                logs.bind(project="one")
                inside = get_contextvars()
            after = get_contextvars()
        outside = get_contextvars()
    assert inside == {"dag_id": "of Airflow", "step_id": "inner", "agent_call_id": str(ID), "project": "one"}
    assert after == {"dag_id": "of Airflow", "step_id": "outer"}
    assert outside == {"dag_id": "of Airflow"}


def test_an_error_leaves_nothing_behind() -> None:
    with pytest.raises(ZeroDivisionError), logs.bound(step_id="one"):
        logs.bind(project="two")
        _ = 1 / 0
    assert get_contextvars() == {}


def test_tasks_of_one_event_loop_have_their_own() -> None:
    async def work(step_id: str) -> str:
        with logs.bound(step_id=step_id):
            await asyncio.sleep(0)
            return str(get_contextvars()["step_id"])

    async def both() -> list[str]:
        return await asyncio.gather(work("one"), work("two"))

    assert asyncio.run(both()) == ["one", "two"]


def test_refuses_fields_that_are_none() -> None:
    with pytest.raises(TypeError, match="unknown log fields \\['level'\\]"):
        logs.bind(level="critical")
