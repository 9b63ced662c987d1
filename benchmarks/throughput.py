"""Many small projects through the services of docker-compose.yaml: two Celery workers, then LocalExecutor.

The workflow asks an agent, generates files from a template and archives them: five tasks in a row with those of
Scaffolder's own. Beside it runs, on the same services in turns (four blocks: theirs, ours, ours, theirs), a DAG of five
tasks that do nothing. Of the time from a run's start to its end, what is in none of its tasks is Airflow's: scheduling,
waiting for a slot, forking; what the empty tasks last is the start of a task; what ours last beyond that is our own
work. Both executors have eight slots. Connections and memory are sampled in both. Needs what
tests/acceptance/test_compose.py needs: root, and Debian's packages of Postgres, Redis and Docker Compose.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from benchmarks.result import print_result
from local_airflow.airflow_rest import AirflowRest, parse_time
from tests.compose_stack import ComposeStack, find_obstacle
from tests.containers import read_proportional_memory
from tests.installation import install

CHECKOUT = Path(__file__).resolve().parent.parent
LEVELS = (1, 4, 16)
SLOTS = 8
TASKS = 5
WORKFLOW = """\
id: small
title: A small project
params:
  name: {type: string, default: small}
steps:
  - id: ask
    type: api_call
    agent: demo_agent
    operation: getHealth
    replay: never
  - id: files
    type: file_generation
    template: small
    values: {name: "{{ params.name }}"}
  - id: publish
    type: repo_creation
    target: archive
    options: {format: zip}
"""
TEMPLATE = {
    "template.yaml": 'name: small\nversion: "1"\nvalues: {properties: {name: {type: string}}}\n',
    "README.md.jinja": "# {{ name }}\n",
    "src/{{ name }}.py.jinja": 'NAME = "{{ name }}"\n',
    **{f"docs/{number}.md.jinja": "{{ name }} {{ run.id }}\n" * 20 for number in range(8)},
}
# EmptyOperators never reach a worker, so these are tasks that run and do nothing.
EMPTY_DAG = f"""
from airflow.sdk import DAG, task

@task
def nothing():
    pass

with DAG("empty", schedule=None):
    tasks = [nothing.override(task_id=f"task_{{number}}")() for number in range({TASKS})]
    for first, second in zip(tasks, tasks[1:]):
        first >> second
"""


@dataclass(frozen=True, kw_only=True)
class Figures:
    """How the runs of one DAG went at one level of concurrency. Seconds; medians of runs."""

    runs_per_minute: float
    run_seconds: float
    task_seconds: float

    @property
    def between_seconds(self) -> float:
        """What of a run is in none of its tasks."""
        return self.run_seconds - self.task_seconds


@dataclass
class Usage:
    """The most that was seen of connections by database user, and of memory by service."""

    connections: dict[str, int] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)


def main() -> None:
    """Measure both executors, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--projects", type=int, default=200, help="of each DAG at each level (default: %(default)s)")
    parser.add_argument("--levels", type=int, nargs="+", default=LEVELS, help="runs at a time (default: 1 4 16)")
    parser.add_argument("--executors", nargs="+", default=["CeleryExecutor", "LocalExecutor"])
    parser.add_argument("--no-preload", action="store_true", help="let each task of Celery import what it needs")
    arguments = parser.parse_args()
    if obstacle := find_obstacle():
        sys.exit(f"Error: {obstacle}")
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="scaffolder-bench-") as name:
        root = Path(name)
        root.chmod(0o755)
        programs = install(root / "environment", CHECKOUT / "requirements.txt")
        _write_inputs(root / "inputs")
        for executor in arguments.executors:
            with _start(
                executor, root / executor, programs, inputs=root / "inputs", preloads=not arguments.no_preload
            ) as (stack, rest):
                figures |= _measure(stack, rest, label=executor, levels=arguments.levels, projects=arguments.projects)
    ratios = {name: value for name, value in figures.items() if name.endswith("_over_empty")}
    print_result(
        "throughput", ratios=ratios, figures={name: value for name, value in figures.items() if name not in ratios}
    )


def _measure(
    stack: ComposeStack, rest: AirflowRest, *, label: str, levels: list[int], projects: int
) -> dict[str, float]:
    figures: dict[str, float] = {}
    short = label.removesuffix("Executor").lower()
    for dag_id in ("empty", "small"):
        rest.wait_for_dag(dag_id, timeout_seconds=120)
        _run(rest, dag_id, projects=SLOTS, at_a_time=SLOTS)  # every slot has begun once
    for level in levels:
        usage = Usage()
        blocks: dict[str, list[Figures]] = {"empty": [], "small": []}
        for dag_id in ("empty", "small", "small", "empty"):
            with _watching(stack, usage):
                blocks[dag_id].append(_run(rest, dag_id, projects=-(-projects // 2), at_a_time=level))
        figures |= _report(f"{short}_{level}", _join(blocks["small"]), _join(blocks["empty"]), usage)
    return figures


def _join(blocks: list[Figures]) -> Figures:
    """Return the means of blocks of as many runs each."""
    return Figures(
        runs_per_minute=statistics.harmonic_mean(one.runs_per_minute for one in blocks),
        run_seconds=statistics.mean(one.run_seconds for one in blocks),
        task_seconds=statistics.mean(one.task_seconds for one in blocks),
    )


def _report(label: str, ours: Figures, empty: Figures, usage: Usage) -> dict[str, float]:
    own = ours.task_seconds - empty.task_seconds
    figures = {
        f"{label}_projects_per_minute": ours.runs_per_minute,
        f"{label}_empty_runs_per_minute": empty.runs_per_minute,
        f"{label}_run_seconds": ours.run_seconds,
        f"{label}_empty_run_seconds": empty.run_seconds,
        f"{label}_over_empty": ours.run_seconds / empty.run_seconds,
        f"{label}_share_outside_of_tasks": ours.between_seconds / ours.run_seconds,
        f"{label}_share_empty_tasks": empty.task_seconds / ours.run_seconds,
        f"{label}_share_own_work": own / ours.run_seconds,
        **{f"{label}_connections_{user}": float(count) for user, count in sorted(usage.connections.items())},
        **{f"{label}_memory_mb_{name}": size / 1e6 for name, size in sorted(usage.memory.items())},
    }
    for name, value in figures.items():
        print(f"{name:50} {value:10.2f}", flush=True)
    return figures


@contextmanager
def _start(
    executor: str, directory: Path, programs: Path, *, inputs: Path, preloads: bool
) -> Iterator[tuple[ComposeStack, AirflowRest]]:
    environment = {
        "AIRFLOW__CORE__EXECUTOR": executor,
        "AIRFLOW__CORE__PARALLELISM": str(SLOTS),
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "AIRFLOW__CELERY__WORKER_CONCURRENCY": str(SLOTS // 2),
        **({} if preloads else {"AIRFLOW__CELERY__EXTRA_CELERY_CONFIG": "{}"}),
    }
    directory.mkdir()
    names = ("api-server", "scheduler", "dag-processor", "triggerer", "worker")
    mounts = [f"{inputs}/workflows:/opt/airflow/workflows:ro", f"{inputs}/templates:/opt/airflow/templates:ro"]
    override = {"services": {name: {"environment": environment, "volumes": mounts} for name in names}}
    with ComposeStack(
        directory,
        programs=programs,
        override=override,
        environment={"DAGS_DIR": str(inputs / "dags")},
        scale={"worker": 2 if executor == "CeleryExecutor" else 0},
    ) as stack:
        stack.up()
        password = stack.volume("secrets-administrator").joinpath("admin_password").read_text()
        url = f"http://127.0.0.1:{stack.publish('api-server')}"
        with AirflowRest(url, username="admin", password=password, timeout_seconds=120) as rest:
            yield stack, rest


def _write_inputs(inputs: Path) -> None:
    texts = {"workflows/small.yaml": WORKFLOW, "dags/empty.py": EMPTY_DAG}
    texts |= {f"templates/small/{name}": text for name, text in TEMPLATE.items()}
    for name, text in texts.items():
        path = inputs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _run(rest: AirflowRest, dag_id: str, *, projects: int, at_a_time: int) -> Figures:
    """Keep `at_a_time` runs going until there were `projects`."""
    started: list[str] = []
    path = f"/dags/{dag_id}/dagRuns"
    while True:
        active = rest.get(path, state=["queued", "running"], limit=1)["total_entries"]
        room = min(at_a_time - active, projects - len(started))
        started += [rest.trigger(dag_id) for _ in range(room)]
        if not active and not room:
            break
        print(f"\r{dag_id} at {at_a_time}: {len(started)} of {projects} started", end="", file=sys.stderr, flush=True)
        time.sleep(0.3)
    print(file=sys.stderr)
    wanted = set(started)
    runs = {
        one["dag_run_id"]: one for one in _pages(rest, path, "dag_runs", order_by="-id") if one["dag_run_id"] in wanted
    }
    bad = [name for name, one in runs.items() if one["state"] != "success"]
    if bad:
        tasks = [(task.label, task.state) for task in rest.task_instances(dag_id, bad[0])]
        raise RuntimeError(f"{len(bad)} of {projects} runs of {dag_id} did not succeed, such as {bad[0]}: {tasks}")
    busy: dict[str, float] = dict.fromkeys(wanted, 0.0)
    for one in _pages(rest, f"{path}/~/taskInstances", "task_instances"):
        if one["dag_run_id"] in wanted:
            busy[one["dag_run_id"]] += _seconds(one["start_date"], one["end_date"])
    begin = min(_time(one["queued_at"]) for one in runs.values())
    end = max(_time(one["end_date"]) for one in runs.values())
    return Figures(
        runs_per_minute=60 * projects / (end - begin).total_seconds(),
        run_seconds=statistics.median(_seconds(one["queued_at"], one["end_date"]) for one in runs.values()),
        task_seconds=statistics.median(busy.values()),
    )


def _pages(rest: AirflowRest, path: str, key: str, **params: Any) -> Iterator[dict[str, Any]]:
    offset = 0
    while True:
        page = rest.get(path, limit=100, offset=offset, **params)
        yield from page[key]
        offset += len(page[key])
        if not page[key] or offset >= page["total_entries"]:
            return


@contextmanager
def _watching(stack: ComposeStack, usage: Usage) -> Iterator[None]:
    """Sample connections and memory until the block of runs ends."""
    over = threading.Event()

    def watch() -> None:
        while not over.wait(5):
            for user, count in _count_connections(stack).items():
                usage.connections[user] = max(count, usage.connections.get(user, 0))
            for service in stack.services:
                size = sum(
                    read_proportional_memory(one.pids())
                    for one in stack.find(service)
                    if one.process and one.process.poll() is None
                )
                if size:
                    usage.memory[service] = max(size, usage.memory.get(service, 0))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def _count_connections(stack: ComposeStack) -> dict[str, int]:
    printed = stack.find("postgres")[0].run(
        ["psql", "--no-psqlrc", "--tuples-only", "--no-align", "--username", "postgres", "--host", "/run/postgresql",
         "--command", "SELECT usename, count(*) FROM pg_stat_activity WHERE usename <> 'postgres' GROUP BY 1"]
    ).stdout  # fmt: skip
    return {user: int(count) for user, _, count in (line.partition("|") for line in printed.split())}


def _time(text: str | None) -> datetime:
    moment = parse_time(text)
    if moment is None:
        raise RuntimeError("a run that has ended has no time of its start or end")
    return moment


def _seconds(start: str | None, end: str | None) -> float:
    return (_time(end) - _time(start)).total_seconds()


if __name__ == "__main__":
    main()
