"""The system tasks of a workflow's DAG: the one that opens the generated project, and the one that finishes it."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NoReturn
from uuid import UUID

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from scaffolder.config import get_settings
from scaffolder.errors import InvalidParametersError
from scaffolder.json_schema import SchemaError, find_violations
from scaffolder.operators.assets import GENERATED_PROJECT_READY, add_outlet, link_page, tell
from scaffolder.operators.observing import counting_refusals, observing_task, tell_of
from scaffolder.operators.retries import RetryWhenAsked
from scaffolder.operators.run import (
    DEFAULT_PROJECT,
    find_name_flaw,
    find_or_open,
    find_slug_flaw,
    open_generated_project,
    read_identity,
)
from scaffolder.operators.step import failing_at_once
from scaffolder.records.hook import DEFAULT_CONN_ID, ProjectRecordsHook
from scaffolder.records.models import ExportStatus, GeneratedProjectStatus, RepositoryExport
from scaffolder.retention.rules import find_rules

if TYPE_CHECKING:
    from airflow.sdk import Context

    from scaffolder.records.store import ProjectRecords

_FINE = frozenset({"success", "skipped"})


class OpenGeneratedProjectOperator(BaseOperator):
    """Check a run's parameters and its user's membership, and open the record of its generated project.

    :param workflow: the workflow's id.
    :param params_schema: JSON Schema of each parameter by name; other parameters are refused.
    :param scaffolder_conn_id: the connection of the records' database.
    """

    ui_color = "#dfe7f5"

    def __init__(
        self,
        *,
        workflow: str,
        params_schema: Mapping[str, Any],
        scaffolder_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.workflow = workflow
        self.params_schema = params_schema
        self.scaffolder_conn_id = scaffolder_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the generated project's id. Parameters that are refused make a failed record with the reason."""
        params = dict(context["params"])
        identity = read_identity(context)
        problems = find_param_problems(params, self.params_schema)
        with (
            observing_task(),
            failing_at_once(),
            counting_refusals(where="open"),
            ProjectRecordsHook(self.scaffolder_conn_id).open(actor=identity.triggered_by) as records,
        ):
            generated_project = open_generated_project(
                records,
                identity,
                project=params.get("project", "") if "project" not in problems else DEFAULT_PROJECT,
                name=params["name"] if "name" in params and "name" not in problems else self.workflow,
                workflow=self.workflow,
                params=params,
            )
            tell_of(generated_project)
            if problems:
                error = InvalidParametersError(
                    f"workflow {self.workflow!r} refuses its parameters: " + "; ".join(problems.values())
                )
                records.mark_failed(
                    generated_project.id, error=f"{type(error).__name__}: {error}", rules=find_rules(get_settings())
                )
                raise error
            self.log.info(
                "Generated project %s %r in project %r",
                generated_project.id,
                generated_project.name,
                generated_project.project,
            )
        return {"generated_project_id": str(generated_project.id)}


class FinishGeneratedProjectOperator(BaseOperator):
    """Set the generated project ``ready`` or ``failed``, whatever happened. Fails where a step did.

    Where the run has failed, exports that are to be rolled back are. Success updates the asset
    ``scaffolder_generated_project_ready``.

    :param step_ids: the tasks that must have succeeded or been skipped; all that come right before by default.
    :param scaffolder_conn_id: the connection of the records' database.
    """

    ui_color = "#dfe7f5"

    def __init__(
        self, *, step_ids: Sequence[str] = (), scaffolder_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any
    ) -> None:
        defaults: dict[str, Any] = {"trigger_rule": "all_done", "retry_policy": RetryWhenAsked()}
        super().__init__(**(defaults | kwargs))
        add_outlet(self, GENERATED_PROJECT_READY)
        self.step_ids = tuple(step_ids)
        self.scaffolder_conn_id = scaffolder_conn_id

    def execute(self, context: Context) -> dict[str, Any]:
        """Return the final status."""
        with observing_task():
            return self._finish(context)

    def _finish(self, context: Context) -> dict[str, Any]:
        identity = read_identity(context)
        states: Any = context["ti"].get_task_states(dag_id=identity.dag_id, run_ids=[identity.run_id])
        unfinished = self._find_unfinished(states.get(identity.run_id, {}))
        with (
            failing_at_once(),
            ProjectRecordsHook(self.scaffolder_conn_id).open(actor=identity.triggered_by) as records,
        ):
            generated_project = records.find_generated_project(identity.dag_id, identity.run_id)
            if generated_project is None:
                raise AirflowFailException("This run has no generated project: it failed before its record was made")
            tell_of(generated_project)
            if unfinished:
                listing = ", ".join(f"{step_id} ({state or 'not run'})" for step_id, state in unfinished.items())
                self._fail(records, generated_project.id, reason=f"steps that did not succeed: {listing}")
            if gone := find_rolled_back_steps(records.exports.list(generated_project.id)):
                steps = ", ".join(gone)
                raise AirflowFailException(
                    f"What {steps} had made was rolled back when the run failed: clear {steps} as well"
                )
            # A failed run whose steps were mended by hand and whose finaliser was cleared goes on.
            find_or_open(records, identity, project="", name="", writes_files=False)
            records.mark_ready(generated_project.id, rules=find_rules(get_settings()))
            ready = records.get_generated_project(generated_project.id)
        tell(
            context,
            GENERATED_PROJECT_READY,
            generated_project_id=str(ready.id),
            project=ready.project,
            name=ready.name,
            workflow=ready.workflow,
            head_commit=ready.head_commit,
            url=link_page(ready.project, ready.id),
        )
        self.log.info("Generated project %s is ready", generated_project.id)
        return {"generated_project_id": str(generated_project.id), "status": "ready"}

    def _find_unfinished(self, states: Mapping[str, str | None]) -> dict[str, str | None]:
        """Return the state of each step that did not succeed; a mapped one is there as ``id_0``, ``id_1`` ..."""
        found: dict[str, str | None] = {}
        for step_id in self.step_ids or sorted(self.upstream_task_ids):
            mapped = {name: state for name, state in states.items() if re.fullmatch(rf"{re.escape(step_id)}_\d+", name)}
            own = {step_id: states.get(step_id)} if step_id in states or not mapped else mapped
            found |= {name: state for name, state in own.items() if state not in _FINE}
        return found

    def _fail(self, records: ProjectRecords, generated_project_id: UUID, *, reason: str) -> NoReturn:
        from scaffolder.exports.service import roll_back_exports

        records.mark_failed(generated_project_id, error=reason, rules=find_rules(get_settings()))
        if records.get_generated_project(generated_project_id).status is not GeneratedProjectStatus.FAILED:
            # It was ready before, and a task of it was cleared: what it made is in use.
            raise AirflowFailException(f"{reason}; the generated project stays as it is")
        left = roll_back_exports(records, generated_project_id, settings=get_settings())
        for sentence in left:
            self.log.warning("Not rolled back: %s", sentence)
        error = records.get_generated_project(generated_project_id).error or reason
        raise AirflowFailException("; ".join([error, *left]))


def find_rolled_back_steps(exports: Sequence[RepositoryExport]) -> list[str]:
    """Return the steps whose exports were rolled back and that have exported nothing else, such as a newer commit."""
    steps = {status: {one.step_id for one in exports if one.status is status} for status in ExportStatus}
    return sorted(steps[ExportStatus.ROLLED_BACK] - steps[ExportStatus.EXPORTED])


def find_param_problems(params: Mapping[str, Any], schemas: Mapping[str, Any]) -> dict[str, str]:
    """Return a sentence for every parameter that is unknown, missing or refused by its JSON Schema, by its name."""
    problems = {
        name: f"unknown parameter {name!r}; accepted are {sorted(schemas)}"
        for name in sorted(set(params) - set(schemas))
    }
    for name, schema in schemas.items():
        if name not in params:
            problems[name] = f"parameter {name!r} is missing"
            continue
        try:
            sentences = [message for _, message in find_violations(schema, params[name])]
        except SchemaError as error:
            sentences = [f"its schema cannot be used: {error}"]
        if sentences:
            problems[name] = f"parameter {name!r}: " + ", ".join(sentences)
    for name, check in (("name", find_name_flaw), ("project", find_slug_flaw)):
        if name in schemas and name not in problems and (flaw := check(params[name])):
            problems[name] = f"parameter {name!r}: {flaw}"
    return problems
