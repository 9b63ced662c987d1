"""Reading and writing the records of generated projects; those of agents and exports have modules of their own."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, LiteralString
from uuid import UUID

from psycopg.rows import dict_row

from scaffolder.errors import RecordNotFoundError, StatusTransitionError
from scaffolder.observability import metrics
from scaffolder.records import project_statements, statements
from scaffolder.records.access import RecordsAccess, as_json, as_text, translated_errors
from scaffolder.records.agent_calls import AgentCallRecords
from scaffolder.records.doctor import DoctorRecords
from scaffolder.records.endpoints import EndpointRecords
from scaffolder.records.exports import ExportRecords
from scaffolder.records.listing import RecordListing
from scaffolder.records.models import (
    Event,
    FileChange,
    FileDifference,
    GeneratedProject,
    GeneratedProjectStatus,
    ProjectCommit,
    ProjectFile,
    RunIdentity,
)
from scaffolder.records.notifications import NotificationRecords
from scaffolder.records.projects import ProjectRegister
from scaffolder.records.quotas import Quota, QuotaRecords
from scaffolder.records.requested_runs import RequestedRunRecords
from scaffolder.records.retention import RetentionRecords, RetentionRules

_SHORT_COMMIT = 4  # git's own shortest abbreviation


class ProjectRecords(RecordsAccess):
    """The records, over one open psycopg connection in autocommit mode.

    Single statements commit by themselves; `transaction` holds several together.
    """

    @cached_property
    def agent_calls(self) -> AgentCallRecords:
        """What agents were asked and answered, over the same connection."""
        return AgentCallRecords(self._connection)

    @cached_property
    def endpoints(self) -> EndpointRecords:
        """What agents say they offer, over the same connection."""
        return EndpointRecords(self._connection)

    @cached_property
    def exports(self) -> ExportRecords:
        """Where generated projects were put, over the same connection."""
        return ExportRecords(self._connection)

    @cached_property
    def projects(self) -> ProjectRegister:
        """Projects and their members, over the same connection."""
        return ProjectRegister(self._connection)

    @cached_property
    def quotas(self) -> QuotaRecords:
        """What projects have of their quotas, over the same connection."""
        return QuotaRecords(self._connection)

    @cached_property
    def requested_runs(self) -> RequestedRunRecords:
        """Runs that the API was asked for, over the same connection."""
        return RequestedRunRecords(self._connection)

    @cached_property
    def notifications(self) -> NotificationRecords:
        """Who was told of what happened, over the same connection."""
        return NotificationRecords(self._connection)

    @cached_property
    def listing(self) -> RecordListing:
        """Lists of records in pages, over the same connection."""
        return RecordListing(self._connection)

    @cached_property
    def retention(self) -> RetentionRecords:
        """What is old and how it goes, over the same connection."""
        return RetentionRecords(self._connection)

    @cached_property
    def doctor(self) -> DoctorRecords:
        """What is compared with disk and remotes, over the same connection."""
        return DoctorRecords(self._connection)

    def set_actor(self, username: str | None) -> None:
        """Name who causes the events that this connection writes from here on."""
        self._execute(statements.SET_ACTOR, {"actor": username or ""})

    # Generated projects

    def open_generated_project(
        self,
        generated_project_id: UUID,
        *,
        project: str,
        name: str,
        workflow: str,
        params: dict[str, Any],
        run: RunIdentity,
        quotas: Sequence[Quota] = (),
    ) -> GeneratedProject:
        """Return the generated project of `run`, recorded now or by an earlier try, in status ``generating``.

        Raises StatusTransitionError where the run's generated project is ready, expired or deleted already, and
        QuotaExceededError where it would be one too many, or has no commit yet and no byte is left for one.
        """
        values = {
            "id": generated_project_id,
            "slug": project,
            "name": name,
            "workflow": workflow,
            "dag_id": run.dag_id,
            "run_id": run.run_id,
            "run_at": run.run_at,
            "params": as_json(params),
            "created_by": run.triggered_by,
        }
        with self.transaction():
            self._execute(statements.INSERT_PROJECT, {"slug": project, "created_by": run.triggered_by})
            is_new = self._execute(statements.INSERT_GENERATED_PROJECT, values) > 0
            found = self.find_generated_project(run.dag_id, run.run_id)
            if found is None:
                raise RecordNotFoundError(f"the project {project!r} went away while {run.run_id!r} began")
            if is_new:
                self.quotas.check_count(project, quotas=quotas)
            if found.head_commit is None:
                self.quotas.check_size(project, quotas=quotas)
            self.requested_runs.set_run_date(found.id, run.run_at)
            self._execute(statements.UPDATE_TO_GENERATING, {"id": found.id})
            return self.get_generated_project(found.id)

    def get_generated_project(self, generated_project_id: UUID) -> GeneratedProject:
        """Return the record. Raises RecordNotFoundError."""
        return self._get(
            GeneratedProject, statements.SELECT_GENERATED_PROJECT, "generated project", generated_project_id
        )

    def lock_generated_project(self, generated_project_id: UUID) -> GeneratedProject:
        """Return it with its row locked until the transaction ends; parallel steps wait here."""
        return self._get(GeneratedProject, statements.LOCK_GENERATED_PROJECT, "generated project", generated_project_id)

    def find_generated_project(self, dag_id: str, run_id: str) -> GeneratedProject | None:
        """Return the generated project of one DAG run."""
        found = self._rows(
            GeneratedProject,
            statements.SELECT_GENERATED_PROJECT_OF_RUN,
            {"dag_id": dag_id, "run_id": run_id},
        )
        return found[0] if found else None

    def mark_ready(self, generated_project_id: UUID, *, rules: RetentionRules | None) -> bool:
        """Finish a generated project. Return whether it was not ready before.

        `rules` say when it expires; None leaves that to the next clean-up.
        """
        return self._end(generated_project_id, statements.UPDATE_TO_READY, {}, rules)

    def mark_failed(self, generated_project_id: UUID, *, error: str, rules: RetentionRules | None) -> bool:
        """Set ``failed`` where it is still under way. Return whether it was.

        The first recorded error stays. `rules` are as for `mark_ready`.
        """
        return self._end(generated_project_id, statements.UPDATE_TO_FAILED, {"error": as_text(error)}, rules)

    def _end(
        self, generated_project_id: UUID, statement: LiteralString, values: dict[str, Any], rules: RetentionRules | None
    ) -> bool:
        with self.transaction():
            self._settle(generated_project_id)
            ended = self._fetch_one(statement, {"id": generated_project_id} | values)
            if ended is not None and rules is not None:
                self.retention.set_expiry(generated_project_id, rules)
        if ended is not None:
            # It is committed: nothing here asks the database again, which may fail.
            _tell_of_end(**ended)
        return ended is not None

    def _settle(self, generated_project_id: UUID) -> None:
        """Fail the calls and exports that a killed task of a run that now ends left open: nobody completes them."""
        self._execute(statements.FAIL_OPEN_AGENT_CALLS, {"id": generated_project_id})
        self._execute(statements.FAIL_OPEN_EXPORTS, {"id": generated_project_id})

    def clear_error(self, generated_project_id: UUID, *, step_id: str) -> None:
        """Forget the error of an earlier try of `step_id`: the step has succeeded."""
        self._execute(statements.CLEAR_ERROR, {"id": generated_project_id, "prefix": step_error_prefix(step_id)})

    def record_error(self, generated_project_id: UUID, *, error: str) -> None:
        """Keep the last error of a generated project that is under way."""
        self._execute(statements.UPDATE_ERROR, {"id": generated_project_id, "error": as_text(error)})

    def explain_end(self, generated_project_id: UUID, *, error: str) -> None:
        """Say why a run was ended from outside, where the record knows only that it was."""
        self._execute(project_statements.EXPLAIN_END, {"id": generated_project_id, "error": as_text(error)})

    def hold(self, generated_project_id: UUID, *, reason: str, username: str, until: datetime | None) -> None:
        """Keep retention away, until `until` (aware) where that is given. Raises StatusTransitionError (gone)."""
        values = {"id": generated_project_id, "reason": as_text(reason), "username": username, "until": until}
        if not self._execute(project_statements.HOLD, values):
            raise StatusTransitionError(
                f"generated project {generated_project_id} has expired; accepted is one that has not"
            )

    def release(self, generated_project_id: UUID) -> None:
        """Let retention have it again."""
        self._execute(project_statements.RELEASE, {"id": generated_project_id})

    # Commits and files

    def write_commit(
        self,
        generated_project_id: UUID,
        *,
        position: int,
        commits: Sequence[tuple[str, str]],
        changes: Iterable[FileChange],
    ) -> None:
        """Record the commits from `position` on as (step, commit id), and what the first of them changed.

        The others are those of later steps, made again on top of it: their changes stay as they are recorded. The last
        one becomes the head. Call it inside `transaction`.
        """
        for index, (step_id, commit) in enumerate(commits, start=position):
            values = {"id": generated_project_id, "position": index, "step_id": step_id, "commit": commit}
            self._execute(statements.UPSERT_COMMIT, values)
        self._execute(statements.DELETE_CHANGES_OF_COMMIT, {"id": generated_project_id, "position": position})
        with translated_errors(), self._connection.cursor() as cursor, cursor.copy(statements.COPY_CHANGES) as copy:
            copy.set_types(["uuid", "int4", "text", "text", "text", "int8", "int4", "text"])
            for change in changes:
                copy.write_row((generated_project_id, position, change.path, change.moved_from, *_columns(change.file)))
        self._execute(statements.UPDATE_HEAD, {"id": generated_project_id, "head_commit": commits[-1][1]})

    def list_commits(self, generated_project_id: UUID) -> list[ProjectCommit]:
        """Return the commits, oldest first: one for each step that has written."""
        return self._rows(ProjectCommit, statements.SELECT_COMMITS, {"id": generated_project_id})

    def find_commit(self, generated_project_id: UUID, name: str) -> ProjectCommit:
        """Return the commit that `name` means: an id, the first four or more digits of one, or a step's id.

        Raises RecordNotFoundError with those there are.
        """
        commits = self.list_commits(generated_project_id)
        found = [one for one in commits if one.step_id == name]
        if not found and len(name) >= _SHORT_COMMIT:
            found = [one for one in commits if one.commit and one.commit.startswith(name)]
        if len(found) != 1:
            there = ", ".join(f"{(one.commit or '-')[:12]} ({one.step_id})" for one in commits) or "none"
            raise RecordNotFoundError(
                f"generated project {generated_project_id} has no commit {name!r}; accepted is the id or the step of "
                f"one of: {there}"
            )
        return found[0]

    def list_files(self, generated_project_id: UUID, *, at: ProjectCommit | None = None) -> list[ProjectFile]:
        """Return the files at the head, or at the commit `at`, by path in byte order."""
        if at is not None:
            return self.list_files_after(generated_project_id, position=at.position)
        return self._rows(ProjectFile, statements.SELECT_FILES, {"id": generated_project_id})

    def list_files_after(self, generated_project_id: UUID, *, position: int) -> list[ProjectFile]:
        """Return the files as the commit at `position` left them; none for -1."""
        values = {"id": generated_project_id, "position": position}
        return self._rows(ProjectFile, statements.SELECT_FILES_AT, values)

    def list_changes(self, generated_project_id: UUID, *, position: int) -> list[FileChange]:
        """Return what the commit at `position` did, by path."""
        values = {"id": generated_project_id, "position": position}
        with translated_errors(), self._connection.cursor(row_factory=dict_row) as cursor:
            rows = cursor.execute(statements.SELECT_CHANGES_OF_COMMIT, values).fetchall()
        return [_read_change(row) for row in rows]

    def compare_commits(
        self, generated_project_id: UUID, *, base: ProjectCommit, head: ProjectCommit
    ) -> list[FileDifference]:
        """Return the paths that `base` and `head` have differently (content or mode), by path in byte order."""
        before = {file.path: file for file in self.list_files(generated_project_id, at=base)}
        after = {file.path: file for file in self.list_files(generated_project_id, at=head)}
        return [
            FileDifference(path=path, before=before.get(path), after=after.get(path))
            for path in sorted(before.keys() | after.keys(), key=str.encode)
            if _content(before.get(path)) != _content(after.get(path))
        ]

    # Events

    def list_events(self, generated_project_id: UUID) -> list[Event]:
        """Return what happened to one generated project, oldest first."""
        return self._rows(Event, statements.SELECT_EVENTS, {"id": generated_project_id})

    def list_new_events(
        self, generated_project_id: UUID, *, last: int, settling_seconds: int, seen: Collection[int]
    ) -> list[Event]:
        """Return events with an id above `last` or of the last `settling_seconds`, but for those `seen`, oldest first.

        Transactions may end in another order than ids were given in.
        """
        values = {"id": generated_project_id, "last": last, "seconds": settling_seconds, "seen": list(seen)}
        return self._rows(Event, project_statements.SELECT_NEW_EVENTS, values)


def _columns(file: ProjectFile | None) -> tuple[Any, ...]:
    return (None,) * 4 if file is None else (file.sha256, file.size_bytes, file.mode, file.origin)


def _read_change(row: dict[str, Any]) -> FileChange:
    moved_from = row.pop("moved_from")
    file = None if row["sha256"] is None else ProjectFile(**row)
    return FileChange(path=row["path"], file=file, moved_from=moved_from)


def _content(file: ProjectFile | None) -> tuple[str, int] | None:
    return None if file is None else (file.sha256, file.mode)


def _tell_of_end(*, workflow: str, status: str, file_count: int, size_bytes: int, seconds: float) -> None:
    metrics.count(metrics.GENERATED_FINISHED, workflow=workflow, status=status)
    metrics.time(metrics.GENERATED_DURATION, seconds, workflow=workflow, status=status)
    if status == GeneratedProjectStatus.READY:
        metrics.count(metrics.GENERATED_FILES, file_count, workflow=workflow)
        metrics.count(metrics.GENERATED_BYTES, size_bytes, workflow=workflow)


def step_error_prefix(step_id: str) -> str:
    """Return how the recorded error of a step begins."""
    return f"step {step_id!r} failed: "
