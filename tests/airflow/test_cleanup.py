"""The DAG of the clean-up and what its task asks Airflow."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag

from scaffolder.retention.hook import TaskRuns
from tests.conftest import CHECKOUT


@pytest.fixture(scope="module")
def dag() -> Any:
    bag = DagBag(str(CHECKOUT / "dags" / "cleanup_generated_projects.py"))
    assert bag.import_errors == {}
    return bag.dags["cleanup_generated_projects"]


@pytest.mark.parametrize("slug", ["payments", "123", "1e5", "0x10", "none", "true", None])
def test_a_project_stays_the_text_that_it_is(dag: Any, slug: str | None) -> None:
    task = dag.get_task("clean_up").prepare_for_execution()
    params = {name: param.value for name, param in dag.params.items()} | {"project": slug, "free_size": 5}
    task.render_template_fields({"params": params, "dag": dag, "task": task})
    assert (task.project, task.retention_days, task.is_dry_run, task.free_size) == (slug, 30, False, 5)
    assert (task.batch_size, task.max_runtime) == (500, 120)


class CountingRuns:
    """A task instance that counts runs, as Airflow's does."""

    def __init__(self, live: set[tuple[str, str]]) -> None:
        self.live = live
        self.questions: list[int] = []

    def get_dr_count(self, *, dag_id: str, run_ids: Sequence[str], states: Sequence[str]) -> int:
        assert set(states) == {"queued", "running"}
        self.questions.append(len(run_ids))
        return len(self.live & {(dag_id, run_id) for run_id in run_ids})


@pytest.mark.parametrize("live", [[], [0], [249], [5, 120, 121], list(range(250))])
def test_live_runs_are_found_by_counting(live: list[int]) -> None:
    runs = [("a", f"run-{number}") for number in range(250)] + [("b", "run-0")]
    counting = CountingRuns({runs[number] for number in live} | {("c", "run-0")})
    assert TaskRuns(counting).find_live(runs) == {runs[number] for number in live}
    assert max(counting.questions) <= 100
    if live in ([], list(range(250))):
        assert len(counting.questions) == 4
    assert TaskRuns(counting).find_live([]) == set()
