"""The main job beside an empty DAG of the same shape: five tasks in a row, on one live Airflow in the same run.

The runs alternate, so that both see the same machine; the ratio is that of the medians.
"""

from __future__ import annotations

import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

import psutil

from benchmarks.result import print_result
from local_airflow.airflow_rest import AirflowRest, parse_time
from local_airflow.instance import LocalAirflow
from local_airflow.main_job import create_connections

CHECKOUT = Path(__file__).resolve().parent.parent
ROUNDS = 9
# EmptyOperators never reach a worker, so these are tasks that run and do nothing.
EMPTY_DAG = """
from airflow.sdk import DAG, task

@task
def nothing():
    pass

with DAG("empty", schedule=None):
    tasks = [nothing.override(task_id=f"task_{number}")() for number in range(5)]
    for first, second in zip(tasks, tasks[1:]):
        first >> second
"""


def main() -> None:
    """Boot, measure, print."""
    root = Path(tempfile.mkdtemp(prefix="scaffolder-bench-"))
    root.chmod(0o711)
    shutil.copytree(CHECKOUT / "dags", root / "dags", ignore=shutil.ignore_patterns("__pycache__"))
    (root / "dags" / "empty.py").write_text(EMPTY_DAG)
    airflow = LocalAirflow(
        root / "state",
        dags_folder=root / "dags",
        plugins_folder=CHECKOUT / "plugins",
        generated_projects_dir=root / "generated-projects",
        include_folder=CHECKOUT / "include",
    )
    figures: dict[str, float] = {}
    try:
        figures["cold_start_seconds"] = _timed_start(airflow)
        create_connections(airflow)
        figures |= _measure_runs(airflow.rest)
        figures |= {f"{name}_mb": size for name, size in _measure_memory(airflow).items()}
        airflow.stop()
        figures["warm_start_seconds"] = _timed_start(airflow)
    finally:
        airflow.stop()
        shutil.rmtree(root, ignore_errors=True)
    ratios = {"main_job_over_empty": figures["main_job_seconds"] / figures["empty_seconds"]}
    print_result("main_job", ratios=ratios, figures=figures)


def _timed_start(airflow: LocalAirflow) -> float:
    begin = time.monotonic()
    airflow.start()
    return time.monotonic() - begin


def _measure_runs(rest: AirflowRest) -> dict[str, float]:
    """Return the median seconds from trigger to success of both DAGs, the first round being the warm-up."""
    document = (CHECKOUT / "examples" / "openapi" / "media-library.yaml").read_text()
    jobs = {"main_job": ("openapi_service", {"name": "bench", "document": document}), "empty": ("empty", {})}
    seconds: dict[str, list[float]] = {name: [] for name in jobs}
    work: list[float] = []
    for dag_id, _ in jobs.values():
        rest.wait_for_dag(dag_id)
    for number in range(ROUNDS + 1):
        for name, (dag_id, conf) in jobs.items():
            run_id = rest.trigger(dag_id, conf=conf)
            if rest.wait_for_run(dag_id, run_id) != "success":
                raise SystemExit(f"run {run_id} of {dag_id} failed")
            if number:
                seconds[name].append(_run_seconds(rest, dag_id, run_id))
                if name == "main_job":
                    work.append(sum(task.duration_seconds or 0 for task in rest.task_instances(dag_id, run_id)))
        print(f"round {number} of {ROUNDS}", file=sys.stderr)
    medians = {f"{name}_seconds": statistics.median(values) for name, values in seconds.items()}
    return medians | {"main_job_in_tasks_seconds": statistics.median(work)}


def _run_seconds(rest: AirflowRest, dag_id: str, run_id: str) -> float:
    """Return the time from trigger to end, by Airflow's own clock: polling adds nothing."""
    run = rest.get(f"/dags/{dag_id}/dagRuns/{run_id}")
    begin, end = parse_time(run["queued_at"]), parse_time(run["end_date"])
    if begin is None or end is None:
        raise SystemExit(f"run {run_id} of {dag_id} has no times")
    return (end - begin).total_seconds()


def _measure_memory(airflow: LocalAirflow) -> dict[str, float]:
    """Return the memory of each process with its children that nobody shares (USS), in MB."""
    sizes = {}
    for name, pid in airflow.running().items():
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
        sizes[name.replace("-", "_")] = sum(one.memory_full_info().uss for one in family) / 1e6
    return sizes


if __name__ == "__main__":
    main()
