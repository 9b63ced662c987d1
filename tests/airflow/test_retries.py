"""How long a task waits before it is tried again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from airflow.sdk.definitions.retry_policy import RetryAction

from scaffolder.errors import AgentRateLimitedError, AgentRejectedError
from scaffolder.operators import AgentApiCallOperator
from scaffolder.operators.retries import RetryWhenAsked


@pytest.mark.parametrize(
    ("error", "delay"),
    [
        (AgentRateLimitedError("slowly", retry_after_seconds=90), timedelta(seconds=90)),
        (AgentRateLimitedError("slowly", retry_after_seconds=10**9), timedelta(days=1)),
        (AgentRateLimitedError("slowly"), None),
        (AgentRejectedError("no"), None),
        (ValueError("x"), None),
    ],
)
def test_a_task_waits_for_as_long_as_was_asked_up_to_the_setting(error: Exception, delay: timedelta | None) -> None:
    decision = RetryWhenAsked().evaluate(error, 1, 3)
    assert decision.retry_delay == delay
    assert decision.action is (RetryAction.RETRY if delay else RetryAction.DEFAULT)


def test_a_dag_author_may_have_another_policy() -> None:
    assert isinstance(AgentApiCallOperator(task_id="a", agent_conn_id="b").retry_policy, RetryWhenAsked)
    assert AgentApiCallOperator(task_id="a", agent_conn_id="b", retry_policy=None).retry_policy is None
