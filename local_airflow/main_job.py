"""The job that `make run` shows: one workflow, from the trigger to the records it left."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.markup import escape

from local_airflow.airflow_rest import AirflowRest, TaskInstance
from local_airflow.errors import LocalAirflowError
from local_airflow.instance import LocalAirflow

WORKFLOW = "openapi_service"
DOCUMENT_SIZE_LIMIT_BYTES = 1024 * 1024
_NAME = re.compile(r"[a-z][a-z0-9-]{1,38}")
_LOG_TAIL_LINES = 20
_COLOURS = {"success": "green", "failed": "red", "upstream_failed": "red", "up_for_retry": "yellow"}
_SHOWN_STATES = frozenset(
    {"running", "success", "failed", "skipped", "upstream_failed", "up_for_retry", "deferred", "removed"}
)


@dataclass(frozen=True, kw_only=True)
class MainJob:
    """What to run: a workflow and its parameters."""

    dag_id: str
    conf: Mapping[str, Any]


def openapi_job(document: Path, *, name: str) -> MainJob:
    """Return the job that makes a service called `name` from the OpenAPI document in the file `document`.

    Raises LocalAirflowError naming the file or the name that cannot be used.
    """
    if not _NAME.fullmatch(name):
        raise LocalAirflowError(
            f"NAME={name!r}: accepted are 2 to 39 lower-case letters, digits and hyphens, a letter first"
        )
    conf = {
        "name": name,
        "description": f"Made from {document.name}",
        "document": _read_document(document),
        "target": "archive",
    }
    return MainJob(dag_id=WORKFLOW, conf=conf)


def _read_document(path: Path) -> str:
    if not path.exists():
        raise LocalAirflowError(f"OPENAPI={str(path)!r}: there is no such file")
    if not path.is_file():
        raise LocalAirflowError(f"OPENAPI={str(path)!r}: not a file; accepted is an OpenAPI document (YAML or JSON)")
    try:
        size = path.stat().st_size
        if size > DOCUMENT_SIZE_LIMIT_BYTES:
            raise LocalAirflowError(
                f"OPENAPI={str(path)!r}: {size} bytes; accepted are at most {DOCUMENT_SIZE_LIMIT_BYTES}"
            )
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise LocalAirflowError(f"OPENAPI={str(path)!r}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise LocalAirflowError(f"OPENAPI={str(path)!r}: not UTF-8 text") from error
    if not text.strip():
        raise LocalAirflowError(f"OPENAPI={str(path)!r}: the file is empty")
    return text


def create_connections(airflow: LocalAirflow) -> None:
    """Create the connections that the bundled workflows use, or bring them up to date."""
    airflow.rest.put_connection(
        "demo_agent",
        conn_type="agent_api",
        host=airflow.settings.agent_url,
        password=airflow.settings.agent_token,
        description="The bundled agent",
    )
    airflow.rest.put_connection(
        "demo_git",
        conn_type="git_remote",
        host=f"{airflow.directory.git_remotes.as_uri()}/{{name}}.git",
        description="A local directory of bare git repositories",
    )


def run_job(airflow: LocalAirflow, *, job: MainJob, console: Console) -> bool:
    """Trigger `job`, show each step as it happens, then show what came of it; say whether it succeeded."""
    rest = airflow.rest
    rest.wait_for_dag(job.dag_id)
    begin = time.monotonic()
    run_id = rest.trigger(job.dag_id, conf=job.conf)
    console.print(f"\n[bold]{job.dag_id}[/] run {escape(run_id)}")
    for task in rest.follow(job.dag_id, run_id):
        if task.state in _SHOWN_STATES:
            console.print(_progress_line(task, seconds=time.monotonic() - begin), highlight=False)
    succeeded = rest.run_state(job.dag_id, run_id) == "success"
    if succeeded:
        console.print(f"[green]Succeeded[/] after {time.monotonic() - begin:.1f} s\n", highlight=False)
    else:
        _show_failure(airflow, dag_id=job.dag_id, run_id=run_id, console=console)
    _show_records(airflow, dag_id=job.dag_id, run_id=run_id, console=console)
    return succeeded


def _progress_line(task: TaskInstance, *, seconds: float) -> str:
    colour = _COLOURS.get(task.state or "", "cyan")
    duration = task.duration_seconds if task.state != "running" else None
    took = f"  {duration:.2f} s" if duration is not None else ""
    tries = f"  (try {task.try_number})" if task.try_number > 1 else ""
    return f"  {seconds:6.1f} s  {escape(task.label):<32} [{colour}]{task.state:<16}[/]{took}{tries}"


def _show_failure(airflow: LocalAirflow, *, dag_id: str, run_id: str, console: Console) -> None:
    rest = airflow.rest
    console.print("\n[bold red]The run failed.[/]")
    error = _recorded_error(airflow, dag_id=dag_id, run_id=run_id)
    if error:
        console.print(f"Recorded error: {error}", markup=False, highlight=False)
    for task in rest.task_instances(dag_id, run_id):
        if task.state == "failed":
            console.print(f"\nThe end of the log of {task.label}:", markup=False, highlight=False)
            for line in _log_tail(rest, dag_id=dag_id, run_id=run_id, task=task):
                console.print(f"  {line}", markup=False, highlight=False)
    console.print(
        f"\nAll of it: {airflow.url}/dags/{dag_id}/runs/{quote(run_id, safe='')}", markup=False, highlight=False
    )


def _log_tail(rest: AirflowRest, *, dag_id: str, run_id: str, task: TaskInstance) -> list[str]:
    lines = rest.task_log(dag_id, run_id, task)
    # The first group says where the lines were read from.
    begin = next((number for number, line in enumerate(lines, 1) if "::endgroup::" in line), 0)
    return [line for line in lines[begin:] if not re.search("::(end)?group::", line)][-_LOG_TAIL_LINES:]


def _show_records(airflow: LocalAirflow, *, dag_id: str, run_id: str, console: Console) -> None:
    # The command line of the package prints them: the same that a person uses afterwards.
    console.file.flush()
    shown = subprocess.run(
        (str(_scaffolder()), "show", "--run", dag_id, run_id), env=airflow.environment(), check=False
    )
    if shown.returncode != 0:
        console.print("[yellow]The records of this run could not be shown.[/]")


def _recorded_error(airflow: LocalAirflow, *, dag_id: str, run_id: str) -> str | None:
    shown = subprocess.run(
        (str(_scaffolder()), "show", "--json", "--run", dag_id, run_id),
        env=airflow.environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
    )
    try:
        return json.loads(shown.stdout)["generated_project"]["error"] or None
    except (ValueError, KeyError, TypeError):
        return None


def _scaffolder() -> Path:
    return Path(sys.executable).parent / "scaffolder"
