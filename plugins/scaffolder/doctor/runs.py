"""`Runs`: what the doctor has to know of DAG runs."""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol


class Runs(Protocol):
    """DAG runs, wherever they are known."""

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return those of `runs`, each (dag id, run id), that are queued or running.

        Raises AirflowUnavailableError.
        """
