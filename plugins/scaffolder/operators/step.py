"""`StepOperator`: what the operators of all step types share, from the generated project they write to, to errors."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Container, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from airflow.sdk import BaseOperator
from airflow.sdk.exceptions import AirflowFailException

from scaffolder.config import Settings, get_settings
from scaffolder.errors import PermanentError, ScaffolderError
from scaffolder.operators import expressions
from scaffolder.operators.names import SHARED_FIELDS
from scaffolder.operators.observing import observing_step
from scaffolder.operators.retries import RetryWhenAsked
from scaffolder.operators.run import DEFAULT_PROJECT, find_or_open, read_identity
from scaffolder.records.hook import DEFAULT_CONN_ID, ProjectRecordsHook
from scaffolder.records.models import GeneratedProject, RunIdentity
from scaffolder.records.store import ProjectRecords, step_error_prefix

if TYPE_CHECKING:
    from airflow.sdk import Context


@dataclass(frozen=True, kw_only=True)
class Step:
    """One step while it runs. `id` is the task's id, with the map index of a mapped task.

    `outputs` keeps those of earlier steps once they were read: an agent's answer may be large.
    """

    id: str
    generated_project: GeneratedProject
    records: ProjectRecords
    settings: Settings
    outputs: dict[str, Any] = field(default_factory=dict)


class StepOperator(BaseOperator):
    """One step of a generated project; a base class, not used by itself.

    The generated project is that of the DAG run. In a DAG of a workflow an opening task has made its record; in any
    other DAG the first step makes it, and the listener finishes it when the run ends.

    :param project: the project it belongs to (slug), where this step is the one that makes the record. (templated)
    :param project_name: the generated project's name in that case; the DAG's id by default. (templated)
    :param scaffolder_conn_id: the connection of the records' database.
    """

    template_fields: Sequence[str] = SHARED_FIELDS
    ui_color = "#e8f4ec"
    writes_files = True
    #: What metrics and traces call it; those of a subclass of yours are its parent's.
    step_type = "other"

    def __init__(
        self,
        *,
        project: str = DEFAULT_PROJECT,
        project_name: str | None = None,
        scaffolder_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**({"retry_policy": RetryWhenAsked()} | kwargs))
        self.project = project
        self.project_name = project_name
        self.scaffolder_conn_id = scaffolder_conn_id

    @abstractmethod
    def execute_step(self, step: Step, context: Context) -> dict[str, Any]:
        """Do the step's work and return its output: ids and small values only."""

    def execute(self, context: Context) -> dict[str, Any]:
        """Run the step. A permanent error fails the task at once, a transient one leaves the retry to Airflow."""
        return self.run_step(context, lambda step: self.execute_step(step, context))

    def run_step(self, context: Context, work: Callable[[Step], dict[str, Any]]) -> dict[str, Any]:
        """Do `work` for the run's generated project, as `execute` does; a deferred task comes back through here."""
        step_id = _step_id(context)
        with failing_at_once(), observing_step(context, step_id=step_id, step_type=self.step_type) as observation:
            settings = get_settings()
            identity = read_identity(context)
            with ProjectRecordsHook(self.scaffolder_conn_id).open(actor=identity.triggered_by) as records:
                generated_project = self.find_generated_project(records, identity)
                observation.tell_of(generated_project)
                step = Step(
                    id=step_id,
                    generated_project=generated_project,
                    records=records,
                    settings=settings,
                )
                with self._recording_errors(step):
                    output = work(step)
                    records.clear_error(generated_project.id, step_id=step.id)
                    return output

    def find_generated_project(self, records: ProjectRecords, identity: RunIdentity) -> GeneratedProject:
        """Return what the step works on: the run's generated project, made where this is its first step."""
        return find_or_open(
            records,
            identity,
            project=self.project,
            name=self.project_name or identity.dag_id,
            writes_files=self.writes_files,
        )

    def evaluate(self, value: Any, step: Step, context: Context) -> Any:
        """Return `value` with the expressions of a workflow computed; values of other DAGs come back unchanged."""
        found = list(expressions.find_expressions(value))
        if not found:
            return value
        from scaffolder.generation.file_generation import describe_run

        step_ids = sorted({name for expression in found for name in expression.references.get("steps", ())})
        variables = {
            "params": dict(context["params"]),
            "run": describe_run(step.generated_project),
            "steps": {step_id: {"output": read_output(step, context, step_id)} for step_id in step_ids},
        }
        return expressions.evaluate(value, variables)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Leave out what a mapped task got from other tasks: Airflow (3.3) renders mappings and lists among that.

        Agents' text and users' options are data, in mapped tasks, too.
        """
        given = _find_given(context, self.task_id)
        fields = [name for name in template_fields if name not in given]
        super()._do_render_template_fields(parent, fields, context, jinja_env, seen_oids)

    @contextmanager
    def _recording_errors(self, step: Step) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            reason = f"{type(error).__name__}: {error}" if isinstance(error, ScaffolderError) else type(error).__name__
            try:
                step.records.record_error(step.generated_project.id, error=step_error_prefix(step.id) + reason)
            except ScaffolderError as second:
                self.log.warning("The error could not be recorded: %s", second)
            raise


@contextmanager
def failing_at_once() -> Iterator[None]:
    """Tell Airflow of permanent errors in its own words, so that it doesn't retry."""
    try:
        yield
    except PermanentError as error:
        raise AirflowFailException(f"{type(error).__name__}: {error}") from error


def _find_given(context: Context, task_id: str) -> Container[str]:
    """Return the names of the arguments that other tasks give to a mapped task, as against its author."""
    task: Any = context["dag"].get_task(task_id)
    if not getattr(task, "is_mapped", False):
        return ()
    expanded = task.expand_input.value
    if isinstance(expanded, list | tuple):
        expanded = expanded[context["ti"].map_index or 0]
    if isinstance(expanded, Mapping):
        return [name for name, value in expanded.items() if not isinstance(value, list | tuple | Mapping | str)]
    return list(task.expand_input.resolve(context)[0])


def read_output(step: Step, context: Context, task_id: str) -> Any:
    """Return what an earlier step gave: an agent's response from the records, otherwise its XCom."""
    if task_id not in step.outputs:
        step.outputs[task_id] = resolve_output(step, context["ti"].xcom_pull(task_ids=task_id))
    return step.outputs[task_id]


def resolve_output(step: Step, output: Any) -> Any:
    """Return the agent's response where `output` is a reference to an agent call, otherwise `output`.

    Only calls of this generated project are read. Raises PermanentError for others.
    """
    if not isinstance(output, Mapping) or "agent_call_id" not in output:
        return output
    call = step.records.agent_calls.get(UUID(str(output["agent_call_id"])))
    if call.generated_project_id != step.generated_project.id:
        raise PermanentError(f"agent call {call.id} belongs to another generated project than this run's")
    return call.response


def _step_id(context: Context) -> str:
    ti = context["ti"]
    map_index = getattr(ti, "map_index", -1)
    return ti.task_id if map_index is None or map_index < 0 else f"{ti.task_id}[{map_index}]"
