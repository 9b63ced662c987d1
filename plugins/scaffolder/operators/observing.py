"""What is observed of every task of ours: where its metrics go, what its log lines carry, the span of a step."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException, AirflowTaskTimeout, TaskDeferred

from scaffolder.errors import PermanentError, ScaffolderError
from scaffolder.observability import logs, metrics, traces
from scaffolder.observability.hook import send_from_task
from scaffolder.records.models import GeneratedProject

if TYPE_CHECKING:
    from airflow.sdk import Context


log = logging.getLogger(__name__)


@contextmanager
def observing_task(**fields: object) -> Iterator[None]:
    """Send metrics from here on, and let the task's log lines carry `fields` until it ends or is deferred."""
    send_from_task()
    with logs.bound(**fields):
        yield


@contextmanager
def counting_refusals(*, where: str) -> Iterator[None]:
    """Count an error that says that something is used up."""
    try:
        yield
    except ScaffolderError as error:
        metrics.count_refusal(error, where=where)
        raise


def tell_of(generated_project: GeneratedProject) -> None:
    """Let the task's log lines carry which generated project it is about."""
    logs.bind(project=generated_project.project, generated_project_id=generated_project.id)


class StepObservation:
    """One stay of a step on a worker."""

    def __init__(self, span: traces.Span) -> None:
        self._span = span
        self.workflow = metrics.UNKNOWN

    def tell_of(self, generated_project: GeneratedProject) -> None:
        """Say which generated project it is about, as soon as that is known."""
        self.workflow = generated_project.workflow
        self._span.set(
            workflow=generated_project.workflow,
            project=generated_project.project,
            generated_project_id=str(generated_project.id),
        )
        tell_of(generated_project)


@contextmanager
def observing_step(context: Context, *, step_id: str, step_type: str) -> Iterator[StepObservation]:
    """Observe a step from here to its end, to its error, or until it is deferred."""
    started = time.monotonic()
    outcome = "interrupted"
    with (
        observing_task(step_id=step_id),
        traces.span("scaffolder.step", no_errors=(AirflowSkipException,), step_id=step_id, step_type=step_type) as span,
    ):
        observation = StepObservation(span)
        try:
            yield observation
            outcome = "success"
        except TaskDeferred:
            outcome = "deferred"
            raise
        except AirflowSkipException:
            outcome = "skipped"
            raise
        except (Exception, AirflowTaskTimeout) as error:  # the timeout is a BaseException, and a failure like others
            span.mark_failed(error)
            outcome = "failed" if _is_for_good(error, context["ti"]) else "retry"
            name = type(error).__name__ if isinstance(error, ScaffolderError) else "other"
            # Airflow's own line comes when the fields are gone.
            reason = f"{type(error).__name__}: {error}" if isinstance(error, ScaffolderError) else type(error).__name__
            log.warning("This try of step %s ends: %s", step_id, reason)
            metrics.count(metrics.STEP_ERRORS, step_type=step_type, error=name)
            metrics.count_refusal(error, where="step")
            raise
        finally:
            span.set(outcome=outcome)
            tags = {"workflow": observation.workflow, "step_type": step_type, "outcome": outcome}
            metrics.count(metrics.STEP_FINISHED, **tags)
            metrics.time(metrics.STEP_DURATION, time.monotonic() - started, **tags)


def _is_for_good(error: BaseException, task_instance: Any) -> bool:
    return (
        isinstance(error, PermanentError | AirflowFailException) or task_instance.try_number > task_instance.max_tries
    )
