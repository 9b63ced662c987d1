"""Runs that the API was asked for: recorded before they are started, so that asking twice starts one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from scaffolder.errors import IdempotencyKeyError, RecordConflictError, RecordNotFoundError
from scaffolder.records import project_statements as statements
from scaffolder.records.access import RecordsAccess, as_json
from scaffolder.records.models import RequestedRun
from scaffolder.records.quotas import Quota, QuotaRecords


class RequestedRunRecords(RecordsAccess):
    """Requested runs, over one open connection."""

    def request(self, run: Mapping[str, Any]) -> RequestedRun:
        """Record a run: ``key, dag_id, run_id, generated_project_id, username, request_digest, as_administrator``.

        The same key again returns the first. Raises IdempotencyKeyError where that was another request.
        """
        self._execute(statements.INSERT_REQUESTED_RUN, dict(run))
        return self._find(run)

    def request_generation(
        self,
        run: Mapping[str, Any],
        *,
        project: str,
        name: str,
        workflow: str,
        params: dict[str, Any],
        regenerated_from: UUID | None = None,
        quotas: Sequence[Quota] = (),
    ) -> RequestedRun:
        """Record a run, as `request` does, together with the generated project that it will make, ``pending``.

        Also raises RecordNotFoundError (no such project) and QuotaExceededError; neither for a key that is known.
        """
        with self.transaction():
            self._execute(statements.LOCK_KEY, {"key": run["key"]})
            known = self._rows(RequestedRun, statements.SELECT_REQUESTED_RUN, {"key": run["key"]})
            if not known:
                values = {
                    "id": run["generated_project_id"],
                    "slug": project,
                    "name": name,
                    "workflow": workflow,
                    "dag_id": run["dag_id"],
                    "run_id": run["run_id"],
                    "params": as_json(params),
                    "created_by": run["username"],
                    "regenerated_from": regenerated_from,
                }
                if not self._execute(statements.INSERT_REQUESTED_PROJECT, values):
                    raise RecordNotFoundError(f"there is no project {project!r}")
                quota_records = QuotaRecords(self._connection)
                quota_records.check_count(project, quotas=quotas)
                quota_records.check_size(project, quotas=quotas)
                self._execute(statements.INSERT_REQUESTED_RUN, dict(run))
            return self._find(run)

    def find(self, key: str) -> RequestedRun | None:
        """Return the run that was asked for under a key."""
        found = self._rows(RequestedRun, statements.SELECT_REQUESTED_RUN, {"key": key})
        return found[0] if found else None

    def mark_started(self, run: RequestedRun) -> None:
        """Note that Airflow has the run: from now on the same request starts nothing."""
        self._execute(statements.MARK_RUN_STARTED, {"key": run.key})

    def withdraw(self, run: RequestedRun) -> None:
        """Forget a run that could not be started, and a generated project that was to come of it."""
        with self.transaction():
            self._execute(statements.DELETE_REQUESTED_RUN, {"key": run.key})
            self._execute(statements.DELETE_REQUESTED_PROJECT, {"id": run.generated_project_id})

    def is_granted(self, *, dag_id: str, run_id: str, username: str | None, generated_project_id: UUID) -> bool:
        """Say whether the API has let `username` in for this run and generated project, as an administrator.

        Members are asked for again by every task: they may be none any more.
        """
        values = {
            "dag_id": dag_id,
            "run_id": run_id,
            "username": username,
            "generated_project_id": generated_project_id,
        }
        row = self._fetch_one(statements.SELECT_GRANT, values)
        return bool(row and row["granted"])

    def set_run_date(self, generated_project_id: UUID, run_at: datetime) -> None:
        """Keep the date of the run that has begun; it dates the commits."""
        self._execute(statements.UPDATE_RUN_DATE, {"id": generated_project_id, "run_at": run_at})

    def _find(self, run: Mapping[str, Any]) -> RequestedRun:
        found = self.find(str(run["key"]))
        if found is None:
            raise RecordConflictError("the same request was refused just now; accepted is to send it again")
        if found.request_digest != run["request_digest"]:
            raise IdempotencyKeyError("the Idempotency-Key was used for another request; accepted is a new one")
        return found
