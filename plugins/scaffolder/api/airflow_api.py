"""Airflow's own REST API, asked inside this process as the caller.

Runs are started, ended and cleared there and nowhere else: Airflow authenticates the caller's token again, asks its
auth manager, checks parameters and writes its audit log, as for any other client.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any, Final
from urllib.parse import quote

import httpx2
from fastapi import Request

from scaffolder.errors import (
    AirflowUnavailableError,
    InvalidParametersError,
    PermissionDeniedError,
    RecordConflictError,
    RecordNotFoundError,
    ScaffolderError,
)

_ERRORS: Final[dict[int, type[ScaffolderError]]] = {
    400: InvalidParametersError,
    401: PermissionDeniedError,
    403: PermissionDeniedError,
    404: RecordNotFoundError,
    409: RecordConflictError,
    422: InvalidParametersError,
}


class AirflowApi:
    """Requests with the ``Authorization`` header of `request`. Raises ScaffolderErrors that say what Airflow said."""

    def __init__(self, request: Request) -> None:
        self._authorization = request.headers.get("authorization", "")

    async def trigger(self, dag_id: str, *, run_id: str, conf: dict[str, Any]) -> None:
        """Start a run that is not there yet."""
        body = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        with suppress(RecordConflictError):
            await self._send("POST", f"dags/{_part(dag_id)}/dagRuns", body)

    async def check_can_run(self, dag_id: str) -> None:
        """Raise RecordNotFoundError where Airflow has no such DAG, RecordConflictError where it is paused."""
        dag = await self._send("GET", f"dags/{_part(dag_id)}")
        if dag.get("is_paused"):
            raise RecordConflictError(f"DAG {dag_id!r} is paused in Airflow; accepted is one that is not")

    async def is_over(self, dag_id: str, run_id: str) -> bool:
        """Say whether a run has ended. Raises RecordNotFoundError where there is none."""
        run = await self._send("GET", f"dags/{_part(dag_id)}/dagRuns/{_part(run_id)}")
        return run.get("state") in {"success", "failed"}

    async def end_run(self, dag_id: str, run_id: str) -> None:
        """Set a run failed, which ends its tasks."""
        await self._send("PATCH", f"dags/{_part(dag_id)}/dagRuns/{_part(run_id)}", {"state": "failed"})

    async def clear_task(self, dag_id: str, run_id: str, task_id: str, *, map_index: int | None) -> None:
        """Run a task of a run again, and what comes after it."""
        body = {
            "dry_run": False,
            "dag_run_id": run_id,
            "task_ids": [task_id if map_index is None else [task_id, map_index]],
            "include_downstream": True,
            "only_failed": False,
            "reset_dag_runs": True,
        }
        await self._send("POST", f"dags/{_part(dag_id)}/clearTaskInstances", body)

    async def _send(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        # The app that this process serves; made when Airflow's server starts.
        from airflow.api_fastapi.main import app

        transport = httpx2.ASGITransport(app=app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://airflow") as client:
            answer = await client.request(
                method, f"/api/v2/{path}", json=body, headers={"Authorization": self._authorization}
            )
        if answer.is_success:
            found: dict[str, Any] = answer.json()
            return found
        kind = _ERRORS.get(answer.status_code, AirflowUnavailableError)
        raise kind(f"Airflow answered {answer.status_code} to {method} {path}: {_read_detail(answer)}")


def _read_detail(answer: httpx2.Response) -> str:
    try:
        detail = answer.json()["detail"]
    except (ValueError, KeyError, TypeError):
        return "no reason given"
    return str(detail)[:2_000]


def _part(text: str) -> str:
    return quote(text, safe="")
