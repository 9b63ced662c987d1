"""How long a task waits before it is tried again."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk.definitions.retry_policy import RetryDecision, RetryPolicy

from scaffolder.config import get_settings
from scaffolder.errors import TransientError

if TYPE_CHECKING:
    from airflow.sdk import Context


class RetryWhenAsked(RetryPolicy):
    """Wait for as long as the other side has asked (``Retry-After``); otherwise as the task says.

    Never for longer than the setting ``agent_max_deferral_seconds``.
    """

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """See the base class."""
        if not isinstance(exception, TransientError) or not exception.retry_after_seconds:
            return RetryDecision.default()
        asked = timedelta(seconds=min(exception.retry_after_seconds, get_settings().agent_max_deferral_seconds))
        return RetryDecision.retry(delay=asked, reason=f"the other side asked to wait for {asked}")

    def serialize(self) -> dict[str, Any]:
        """See the base class; there is nothing to configure."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> RetryWhenAsked:
        """See the base class."""
        return cls()
