"""`TaskRuns`: Airflow's DAG runs, as they are asked after from inside a task."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any, Final

_LIVE: Final = ["queued", "running"]
_RUNS: Final = 100  # of one question: they are in its URL


class TaskRuns:
    """Airflow's DAG runs, as a running task may ask for them; `task_instance` is the context's ``ti``."""

    def __init__(self, task_instance: Any) -> None:
        self._task_instance = task_instance

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        """See `Runs`."""
        by_dag: dict[str, list[str]] = defaultdict(list)
        for dag_id, run_id in sorted(set(runs)):
            by_dag[dag_id].append(run_id)
        return {
            (dag_id, run_id)
            for dag_id, run_ids in by_dag.items()
            for start in range(0, len(run_ids), _RUNS)
            for run_id in self._find(dag_id, run_ids[start : start + _RUNS])
        }

    def _find(self, dag_id: str, run_ids: Sequence[str]) -> list[str]:
        """Return those that are live. Airflow only counts: where some are and some are not, halves are asked after."""
        count = self._task_instance.get_dr_count(dag_id=dag_id, run_ids=list(run_ids), states=_LIVE)
        if count == 0:
            return []
        if count >= len(run_ids):
            return list(run_ids)
        middle = len(run_ids) // 2
        return self._find(dag_id, run_ids[:middle]) + self._find(dag_id, run_ids[middle:])
