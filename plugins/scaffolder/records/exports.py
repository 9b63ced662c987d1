"""Where generated projects were put: the intent before anything is made, what became of it, and the pace of hosts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

from scaffolder.records import statements
from scaffolder.records.access import RecordsAccess, as_json, as_text
from scaffolder.records.models import RepositoryExport


@dataclass(frozen=True, kw_only=True)
class WriteLimits:
    """How fast one account may write at a host; a limit of 0 seconds between two writes is none."""

    interval_seconds: float
    per_minute: int
    per_hour: int


class ExportRecords(RecordsAccess):
    """Repository exports, over one open connection."""

    def intend(
        self,
        export_id: UUID,
        *,
        generated_project_id: UUID,
        step_id: str,
        target: str,
        options: dict[str, Any],
        idempotency_key: str,
        commit: str,
        connection: str | None = None,
        location: str | None = None,
        rollback: bool = False,
        dag_id: str | None = None,
        run_id: str | None = None,
    ) -> RepositoryExport:
        """Record that an export is about to be made, before anything is. The same key again returns the first.

        `rollback` and the run, with its `step_id`, are what the newest call says.
        """
        with self.transaction():
            # One that is there is locked before its generated project, as by all that changes it.
            self._fetch_one(statements.LOCK_EXPORT_BY_KEY, {"idempotency_key": idempotency_key})
            self._execute(
                statements.INSERT_EXPORT,
                {
                    "id": export_id,
                    "generated_project_id": generated_project_id,
                    "step_id": step_id,
                    "target": target,
                    "connection": connection,
                    "location": location,
                    "options": as_json(options),
                    "rollback": rollback,
                    "dag_id": dag_id,
                    "run_id": run_id,
                    "idempotency_key": idempotency_key,
                    "commit": commit,
                },
            )
        found = self._rows(RepositoryExport, statements.SELECT_EXPORT_BY_KEY, {"idempotency_key": idempotency_key})
        return found[0]

    def mark_exporting(self, export_id: UUID) -> None:
        """Set ``exporting``."""
        self._execute(statements.UPDATE_EXPORT_TO_EXPORTING, {"id": export_id})

    def note(
        self,
        export_id: UUID,
        *,
        remote_name: str | None = None,
        remote_id: str | None = None,
        created_remote: bool | None = None,
        exported_commit: str | None = None,
        branch: str | None = None,
        url: str | None = None,
        step_done: str | None = None,
    ) -> None:
        """Keep what is known of the export so far, whatever becomes of the task; what is None stays as it is.

        The first repository that is noted stays: of two tries at once, one is too late.
        """
        self._execute(
            statements.UPDATE_EXPORT_NOTES,
            {
                "id": export_id,
                "remote_name": remote_name,
                "remote_id": remote_id,
                "created_remote": created_remote,
                "exported_commit": exported_commit,
                "branch": branch,
                "url": url,
                "step_done": step_done,
            },
        )

    def mark_exported(
        self,
        export_id: UUID,
        *,
        url: str,
        archive_path: str | None = None,
        archive_sha256: str | None = None,
        exported_commit: str | None = None,
        result: dict[str, Any] | None = None,
    ) -> None:
        """Set ``exported`` with what was made."""
        self._execute(
            statements.UPDATE_EXPORT_TO_EXPORTED,
            {
                "id": export_id,
                "url": url,
                "archive_path": archive_path,
                "archive_sha256": archive_sha256,
                "exported_commit": exported_commit,
                "result": as_json(result or {}),
            },
        )

    def mark_failed(self, export_id: UUID, *, error: str) -> None:
        """Set ``failed`` with the reason, where nobody has finished it meanwhile."""
        self._execute(statements.UPDATE_EXPORT_TO_FAILED, {"id": export_id, "error": as_text(error)})

    def fail_open_of_run(self, dag_id: str, run_id: str) -> None:
        """Fail what a run has left open: it is over, nobody completes them. Another run may."""
        self._execute(statements.FAIL_OPEN_EXPORTS_OF_RUN, {"dag_id": dag_id, "run_id": run_id})

    def mark_rolled_back(self, export_id: UUID, *, reason: str) -> None:
        """Set ``rolled_back``: what the export had made is gone. Tried again, it makes everything anew."""
        self._execute(statements.UPDATE_EXPORT_TO_ROLLED_BACK, {"id": export_id, "error": as_text(reason)})

    def record_error(self, export_id: UUID, *, error: str) -> None:
        """Keep what there is to say of an export whose status stays."""
        self._execute(statements.UPDATE_EXPORT_ERROR, {"id": export_id, "error": as_text(error)})

    def mark_left_behind(self, generated_project_id: UUID) -> None:
        """Say of exports that were to be rolled back that nobody did: their run was ended from outside."""
        self._execute(statements.MARK_EXPORTS_LEFT_BEHIND, {"id": generated_project_id})

    def get(self, export_id: UUID) -> RepositoryExport:
        """Return the record. Raises RecordNotFoundError."""
        return self._get(RepositoryExport, statements.SELECT_EXPORT, "repository export", export_id)

    def list(self, generated_project_id: UUID) -> list[RepositoryExport]:
        """Return the exports of one generated project, oldest first."""
        return self._rows(RepositoryExport, statements.SELECT_EXPORTS, {"id": generated_project_id})

    def list_others(self, export: RepositoryExport, *, remote_id: str) -> tuple[RepositoryExport, ...]:
        """Return what else of the same project was put into the repository `remote_id` of the same host."""
        values = {
            "id": export.id,
            "generated_project_id": export.generated_project_id,
            "location": export.location,
            "remote_id": remote_id,
        }
        return tuple(self._rows(RepositoryExport, statements.SELECT_EXPORTS_TO_REMOTE, values))

    # The pace of hosts

    def reserve_write(self, account: str, *, limits: WriteLimits, max_wait_seconds: float) -> float:
        """Return the seconds until `account` may write, and take that moment where it is within `max_wait_seconds`.

        All workers share the moments, by the database's clock.
        """
        self._execute(statements.INSERT_PACE, {"account": account})
        row = self._fetch_one(
            statements.RESERVE_WRITE,
            {
                "account": account,
                "interval_seconds": limits.interval_seconds,
                "per_minute": limits.per_minute,
                "per_hour": limits.per_hour,
                "max_wait_seconds": max_wait_seconds,
            },
        )
        return float(row["wait_seconds"]) if row else 0.0

    def get_block(self, account: str) -> float:
        """Return the seconds for which the host wants to hear nothing of `account`."""
        row = self._fetch_one(statements.SELECT_BLOCK, {"account": account})
        return float(row["wait_seconds"]) if row else 0.0

    def block(self, account: str, *, seconds: float) -> None:
        """Note that the host wants to hear nothing of `account` for `seconds`; a longer block stays."""
        self._execute(statements.BLOCK_HOST, {"account": account, "seconds": seconds})
