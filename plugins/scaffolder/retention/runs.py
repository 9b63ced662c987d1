"""Which runs are live: what retention has to know of the engine that runs them."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Runs(Protocol):
    """The engine's DAG runs."""

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of `runs` (DAG id, run id) that are queued or running.

        Raises TransientError where the engine does not say: nothing may be concluded then.
        """
