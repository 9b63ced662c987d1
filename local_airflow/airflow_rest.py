"""Airflow's public REST API, as far as running a workflow from outside needs it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from types import TracebackType
from typing import Any, Self, cast

import httpx2

_PAGE = 100
_POLL_SECONDS = 0.3
FINISHED_RUN_STATES = frozenset({"success", "failed"})


class AirflowRestError(Exception):
    """Airflow refused a request or did not come to the expected state."""


@dataclass(frozen=True, kw_only=True)
class TaskInstance:
    """One task, or one of its mapped instances, of a DAG run."""

    task_id: str
    map_index: int
    state: str | None
    try_number: int
    started_at: datetime | None
    ended_at: datetime | None

    @property
    def label(self) -> str:
        """The task's name as people read it."""
        return self.task_id if self.map_index < 0 else f"{self.task_id}[{self.map_index}]"

    @property
    def duration_seconds(self) -> float | None:
        """Time from start to end; None before it has ended."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()


class AirflowRest:
    """A client that logs in as one user; JSON in, JSON out."""

    def __init__(self, base_url: str, *, username: str = "admin", password: str, timeout_seconds: float = 30) -> None:
        self.base_url = base_url
        self._credentials = {"username": username, "password": password}
        # Not by a proxy of the environment: the server is on this machine.
        self._client = httpx2.Client(base_url=base_url, timeout=timeout_seconds, trust_env=False)
        self._token: str | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def token(self) -> str:
        """Return a bearer token of the user; logs in once."""
        if self._token is None:
            response = self._send("POST", "/auth/token", json=self._credentials)
            _raise_for_status(response)
            self._token = str(response.json()["access_token"])
        return self._token

    def request(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        """Send an authenticated request and return the response whatever its status.

        Raises AirflowRestError if there is no answer.
        """
        headers = {"Authorization": f"Bearer {self.token()}", **kwargs.pop("headers", {})}
        response = self._send(method, path, headers=headers, **kwargs)
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            self._token = None
            headers["Authorization"] = f"Bearer {self.token()}"
            response = self._send(method, path, headers=headers, **kwargs)
        return response

    def call(self, method: str, path: str, **kwargs: Any) -> Any:
        """Send an authenticated request and return the JSON answer (None if empty).

        Raises AirflowRestError, with what the server said, for any status of 400 and above.
        """
        response = self.request(method, path, **kwargs)
        _raise_for_status(response)
        return response.json() if response.content else None

    def get(self, path: str, **params: Any) -> Any:
        """GET `path` below the API's root, ``/api/v2``."""
        return self.call("GET", f"/api/v2{path}", params=params)

    def put_connection(self, connection_id: str, **fields: Any) -> None:
        """Create the connection `connection_id`, or replace its fields."""
        body = {"connection_id": connection_id, **fields}
        response = self.request("POST", "/api/v2/connections", json=body)
        if response.status_code == httpx2.codes.CONFLICT:
            response = self.request("PATCH", f"/api/v2/connections/{connection_id}", json=body)
        _raise_for_status(response)

    def wait_for_dag(self, dag_id: str, *, timeout_seconds: float = 60) -> None:
        """Wait until `dag_id` is known, can run and is not paused; unpauses it.

        Raises AirflowRestError with the import errors if it does not come.
        """

        def is_there() -> bool:
            response = self.request("GET", f"/api/v2/dags/{dag_id}")
            if response.status_code == httpx2.codes.NOT_FOUND:
                return False
            _raise_for_status(response)
            dag = response.json()
            if dag["is_paused"]:
                self.call("PATCH", f"/api/v2/dags/{dag_id}", json={"is_paused": False})
            return not dag["is_stale"]

        if not wait_until(is_there, timeout_seconds=timeout_seconds):
            raise AirflowRestError(
                f"DAG {dag_id!r} did not appear within {timeout_seconds:.0f} s. {self._import_errors()}"
            )

    def trigger(self, dag_id: str, *, conf: Mapping[str, Any] | None = None, **fields: Any) -> str:
        """Start a run of `dag_id` and return its run id."""
        body = {"logical_date": None, "conf": dict(conf or {}), **fields}
        return cast("str", self.call("POST", f"/api/v2/dags/{dag_id}/dagRuns", json=body)["dag_run_id"])

    def run_state(self, dag_id: str, run_id: str) -> str:
        """Return the state of a run: queued, running, success, failed."""
        return cast("str", self.get(f"/dags/{dag_id}/dagRuns/{run_id}")["state"])

    def task_instances(self, dag_id: str, run_id: str) -> list[TaskInstance]:
        """Return all task instances of a run."""
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances"
        rows: list[dict[str, Any]] = []
        while True:
            page = self.get(path, limit=_PAGE, offset=len(rows))
            rows += page["task_instances"]
            if not page["task_instances"] or len(rows) >= page["total_entries"]:
                return [_task_instance(row) for row in rows]

    def follow(self, dag_id: str, run_id: str, *, timeout_seconds: float = 3600) -> Iterator[TaskInstance]:
        """Yield each change of a task instance's state until the run has ended.

        Raises AirflowRestError if it has not ended in time.
        """
        seen: dict[tuple[str, int], tuple[str | None, int]] = {}
        deadline = time.monotonic() + timeout_seconds
        while True:
            # In this order: a run that has ended has no changes after the tasks are read.
            ended = self.run_state(dag_id, run_id) in FINISHED_RUN_STATES
            for task in sorted(self.task_instances(dag_id, run_id), key=_by_time):
                key, now = (task.task_id, task.map_index), (task.state, task.try_number)
                if seen.get(key) != now:
                    seen[key] = now
                    yield task
            if ended:
                return
            if time.monotonic() > deadline:
                raise AirflowRestError(f"run {run_id!r} of {dag_id!r} did not end in {timeout_seconds:.0f} s")
            time.sleep(_POLL_SECONDS)

    def wait_for_run(self, dag_id: str, run_id: str, *, timeout_seconds: float = 300) -> str:
        """Wait until a run has ended and return its state."""
        for _ in self.follow(dag_id, run_id, timeout_seconds=timeout_seconds):
            pass
        return self.run_state(dag_id, run_id)

    def task_log(self, dag_id: str, run_id: str, task: TaskInstance) -> list[str]:
        """Return the lines of the log of a task's latest try."""
        path = f"/api/v2/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task.task_id}"
        answer = self.call(
            "GET",
            f"{path}/logs/{max(1, task.try_number)}",
            params={"map_index": task.map_index, "full_content": True},
            headers={"Accept": "application/json"},
        )
        return [line for entry in answer["content"] for line in _log_lines(entry)]

    def _send(self, method: str, path: str, **kwargs: Any) -> httpx2.Response:
        try:
            return self._client.request(method, path, **kwargs)
        except httpx2.TransportError as error:
            raise AirflowRestError(f"{method} {path}: no answer from {self.base_url}: {error!r}") from error

    def _import_errors(self) -> str:
        errors = self.get("/importErrors")["import_errors"]
        if not errors:
            return "No DAG file has an import error."
        return "\n".join(f"{error['filename']}: {error['stack_trace']}" for error in errors)


def wait_until(condition: Callable[[], bool], *, timeout_seconds: float, poll_seconds: float = _POLL_SECONDS) -> bool:
    """Poll until `condition` holds; say whether it did in time."""
    deadline = time.monotonic() + timeout_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(poll_seconds)
    return True


def _raise_for_status(response: httpx2.Response) -> None:
    if response.is_error:
        request = response.request
        raise AirflowRestError(
            f"{request.method} {request.url.path}: HTTP {response.status_code}: {response.text[:2000]}"
        )


def _task_instance(row: Mapping[str, Any]) -> TaskInstance:
    return TaskInstance(
        task_id=row["task_id"],
        map_index=row["map_index"],
        state=row["state"],
        try_number=row["try_number"],
        started_at=parse_time(row["start_date"]),
        ended_at=parse_time(row["end_date"]),
    )


def parse_time(text: str | None) -> datetime | None:
    """Return the moment that the API writes as `text`."""
    return datetime.fromisoformat(text) if text else None


def _by_time(task: TaskInstance) -> tuple[bool, float, str, int]:
    moment = task.ended_at or task.started_at
    return (moment is None, moment.timestamp() if moment else 0.0, task.task_id, task.map_index)


def _log_lines(entry: Any) -> list[str]:
    if not isinstance(entry, dict):
        return str(entry).splitlines()
    lines = [" ".join(filter(None, (str(entry.get("level") or "").upper(), str(entry.get("event", "")))))]
    details = entry.get("error_detail") or ()
    return lines + [f"{detail.get('exc_type')}: {detail.get('exc_value')}" for detail in details]
