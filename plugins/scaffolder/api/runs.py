"""Runs that the API starts: checked and recorded first, then started through Airflow's own API as the caller."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any
from uuid import UUID, uuid4

from fastapi import Request
from fastapi.concurrency import run_in_threadpool

from scaffolder.api.airflow_api import AirflowApi
from scaffolder.api.permissions import EXPORT_DAG, ProjectScope
from scaffolder.api.problems import make_pointer
from scaffolder.api.records import open_records
from scaffolder.config import Settings, get_settings
from scaffolder.errors import ExportConflictError, InvalidParametersError, PermanentError
from scaffolder.generation.disk import check_free_space
from scaffolder.operators.generated_project import find_param_problems
from scaffolder.operators.plan_exports import plan_exports
from scaffolder.operators.run import get_generated_project_id
from scaffolder.records.models import GeneratedProject, GeneratedProjectStatus, RequestedRun
from scaffolder.records.quotas import load_quotas
from scaffolder.records.store import ProjectRecords
from scaffolder.workflows.definition import WorkflowDefinition, load_definitions


@dataclass(frozen=True, kw_only=True)
class GenerationPlan:
    """A workflow and all its parameters, checked."""

    definition: WorkflowDefinition
    name: str
    params: dict[str, Any]


def find_workflows(settings: Settings) -> dict[str, WorkflowDefinition]:
    """Return the sound workflows by id, as their files say now."""
    stamps = []
    for path in (path for directory in settings.workflow_directories for path in directory.glob("*.yaml")):
        with suppress(FileNotFoundError):  # it may be replaced just now
            status = path.stat()
            stamps.append((str(path), status.st_mtime_ns, status.st_size))
    return _load_workflows(settings, tuple(sorted(stamps)))


@lru_cache(maxsize=4)
def _load_workflows(settings: Settings, _: tuple[tuple[str, int, int], ...]) -> dict[str, WorkflowDefinition]:
    return {one.id: one for one in load_definitions(settings)[0]}


def plan_generation(workflow: str, params: Mapping[str, Any], *, scope: ProjectScope) -> GenerationPlan:
    """Check what somebody wants generated.

    Raises InvalidParametersError that points at every wrong parameter, and PermissionDeniedError where the caller may
    not run the workflow. Workflows that the caller does not see are not there.
    """
    project = scope.project
    workflows = {name: one for name, one in find_workflows(get_settings()).items() if scope.caller.may_read_dag(name)}
    if workflow not in workflows:
        sentence = f"there is no workflow {workflow!r}; accepted are {sorted(workflows)}"
        raise InvalidParametersError(sentence, pointers={"/workflow": sentence})
    scope.caller.check_may_trigger(workflow)
    definition = workflows[workflow]
    if params.get("project", project) != project:
        sentence = f"it is {params['project']!r}; accepted is that of the path, {project!r}"
        raise InvalidParametersError(sentence, pointers={"/params/project": sentence})
    defaults = {name: schema["default"] for name, schema in definition.params.items() if "default" in schema}
    complete = {**defaults, **params, "project": project}
    problems = find_param_problems(complete, definition.params)
    if problems:
        pointers = {make_pointer("params", name): sentence for name, sentence in problems.items()}
        raise InvalidParametersError("; ".join(problems.values()), pointers=pointers)
    return GenerationPlan(definition=definition, name=str(complete.get("name", workflow)), params=complete)


async def start_generation(
    request: Request,
    scope: ProjectScope,
    plan: GenerationPlan,
    *,
    idempotency_key: str | None,
    regenerated_from: UUID | None = None,
) -> GeneratedProject:
    """Record a generated project and start its run; the same Idempotency-Key again returns the first one.

    The record is there, ``pending``, before the run is, and gone again where Airflow refuses to start it.
    Raises QuotaExceededError and DiskSpaceError, after which nothing is there.
    """
    dag_id = plan.definition.id
    run_id = _make_run_id()
    run = await run_in_threadpool(
        _describe_run,
        request,
        scope,
        dag_id=dag_id,
        run_id=run_id,
        generated_project_id=get_generated_project_id(dag_id, run_id),
        content={"project": scope.project, "workflow": dag_id, "params": plan.params},
        idempotency_key=idempotency_key,
    )

    def record(records: ProjectRecords) -> RequestedRun:
        return records.requested_runs.request_generation(
            run,
            project=scope.project,
            name=plan.name,
            workflow=dag_id,
            params=plan.params,
            regenerated_from=regenerated_from,
            quotas=load_quotas(get_settings().quotas),
        )

    requested = await _start(
        AirflowApi(request),
        scope,
        run,
        check=lambda: check_free_space(get_settings()),
        record=record,
        conf=plan.params,
    )

    def read() -> GeneratedProject:
        with open_records() as records:
            return records.get_generated_project(requested.generated_project_id)

    return await run_in_threadpool(read)


async def start_exports(
    request: Request,
    scope: ProjectScope,
    generated_project: GeneratedProject,
    entries: list[dict[str, Any]],
    *,
    idempotency_key: str | None,
) -> RequestedRun:
    """Start the run of ``export_repository``; the same Idempotency-Key again returns the first one.

    Raises ExportConflictError where the generated project is not ready, and InvalidParametersError.
    """
    conf = {"generated_project": str(generated_project.id), "exports": entries}
    run = await run_in_threadpool(
        _describe_run,
        request,
        scope,
        dag_id=EXPORT_DAG,
        run_id=_make_run_id(),
        generated_project_id=generated_project.id,
        content=conf,
        idempotency_key=idempotency_key,
    )

    def check() -> None:
        if generated_project.status is not GeneratedProjectStatus.READY:
            raise ExportConflictError(
                f"generated project {generated_project.id} is {generated_project.status.value!r}; accepted is 'ready'"
            )
        plan_exports(entries, settings=get_settings())

    return await _start(
        AirflowApi(request),
        scope,
        run,
        check=check,
        record=lambda records: records.requested_runs.request(run),
        conf=conf,
    )


async def _start(
    airflow: AirflowApi,
    scope: ProjectScope,
    run: Mapping[str, Any],
    *,
    record: Callable[[ProjectRecords], RequestedRun],
    conf: dict[str, Any],
    check: Callable[[], None] = lambda: None,
) -> RequestedRun:
    """Check, record and start a run; where the same was started before, return that."""

    def with_records(work: Callable[[ProjectRecords], Any]) -> Any:
        with open_records(actor=scope.caller.name) as records:
            return work(records)

    def find(records: ProjectRecords) -> RequestedRun | None:
        known = records.requested_runs.find(str(run["key"]))
        return record(records) if known is not None and known.started else None

    started: RequestedRun | None = await run_in_threadpool(with_records, find)
    if started is not None:
        return started
    await run_in_threadpool(check)
    await airflow.check_can_run(str(run["dag_id"]))
    requested: RequestedRun = await run_in_threadpool(with_records, record)
    try:
        await airflow.trigger(requested.dag_id, run_id=requested.run_id, conf=conf)
    except PermanentError:
        # Airflow has refused it. After any other error it may be there.
        if requested.run_id == run["run_id"]:
            await run_in_threadpool(with_records, lambda records: records.requested_runs.withdraw(requested))
        raise
    await run_in_threadpool(with_records, lambda records: records.requested_runs.mark_started(requested))
    return requested


def _describe_run(
    request: Request,
    scope: ProjectScope,
    *,
    dag_id: str,
    run_id: str,
    generated_project_id: UUID,
    content: Mapping[str, Any],
    idempotency_key: str | None,
) -> dict[str, Any]:
    """Return the columns of a requested run. Keys belong to who sends them."""
    key = f"{scope.caller.name}\n{idempotency_key}" if idempotency_key else f"\n{uuid4()}"
    text = json.dumps([request.method, request.url.path, content], sort_keys=True)
    return {
        "key": hashlib.sha256(key.encode()).hexdigest(),
        "dag_id": dag_id,
        "run_id": run_id,
        "generated_project_id": generated_project_id,
        "username": scope.caller.name,
        "as_administrator": scope.caller.is_administrator(),
        "request_digest": hashlib.sha256(text.encode()).hexdigest(),
    }


def _make_run_id() -> str:
    return f"api__{datetime.now(UTC).isoformat(timespec='milliseconds')}__{uuid4().hex[:12]}"
