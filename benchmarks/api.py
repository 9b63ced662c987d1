"""The API over a million project files and 100,000 generated projects, beside bare SQL and Airflow's own routes.

The records are made in bulk: 100 projects, one of which has half of all generated projects. Airflow has 60 DAGs, so
its list and ours answer with 50 items each. Each route is asked by 1 and by 16 clients over kept connections, ours and
Airflow's in turns within each round; figures are percentiles of all requests of one kind. Bare SQL is the statement of
the list alone, over a kept connection. The last part downloads an archive of 1 GiB while the API server's memory is
sampled.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import httpx2
import psutil
import psycopg

from benchmarks.result import print_result
from local_airflow.instance import API_SERVER, LocalAirflow
from scaffolder.records import listing
from scaffolder.records.listing import Order
from scaffolder.records.store import ProjectRecords

CHECKOUT: Final = Path(__file__).resolve().parent.parent
PREFIX: Final = "/scaffolder/api/v1"
GENERATED: Final = 100_000
FILES_EACH: Final = 10
PROJECTS: Final = 100
DAGS: Final = 60
ROUNDS: Final = 5
REQUESTS: Final = {1: 40, 16: 20}  # of each client in each round
ARCHIVE_BYTES: Final = 1024**3
_MIB: Final = 1024**2
_LARGE: Final = "p-0"

_WORKFLOW: Final = "id: {id}\nsteps:\n  - id: files\n    type: file_generation\n    files: [{{path: a, content: a}}]\n"

_FILL: Final = """
SET session_replication_role = replica;
INSERT INTO project (slug, name, visibility, generated_count)
SELECT 'p-' || n, 'Project ' || n, CASE WHEN n % 3 = 0 THEN 'public' ELSE 'private' END, 1000
FROM generate_series(0, {projects} - 1) n;
INSERT INTO project_member (project_id, username, role)
SELECT p.id, 'ada', 'member' FROM project p WHERE p.slug = 'p-0' OR p.id % 4 = 0;
INSERT INTO generated_project (
    id, project_id, name, workflow, dag_id, run_id, run_at, params, status, head_commit, file_count, size_bytes,
    ended_at, expires_at, created_by, created_at
)
SELECT gen_random_uuid(), p.id, 'service-' || n, 'flow_0', 'flow_0', 'run-' || n, now(), '{{"name": "service"}}',
    (ARRAY['ready', 'ready', 'ready', 'failed'])[1 + n % 4], repeat('a', 40), {files}, n % 100000,
    now(), now() + interval '30 days', 'ada', now() - make_interval(secs => n)
FROM generate_series(1, {generated}) n
JOIN project p ON p.slug = 'p-' || CASE WHEN n % 2 = 0 THEN 0 ELSE n % {projects} END;
INSERT INTO project_commit (generated_project_id, position, step_id, "commit")
SELECT id, 0, 'files', repeat('a', 40) FROM generated_project;
INSERT INTO file_change (generated_project_id, position, path, sha256, size_bytes, mode, origin)
SELECT g.id, 0, 'src/module_' || f || '.py', repeat('b', 64), 1000 + f, 33188, 'template:service@1'
FROM generated_project g, generate_series(1, {files}) f;
INSERT INTO event (generated_project_id, subject, subject_id, kind, detail, actor)
SELECT g.id, 'generated_project', g.id::text, 'status', json_build_object('to', s), 'ada'
FROM generated_project g, unnest(ARRAY['pending', 'generating', 'ready']) s;
SET session_replication_role = DEFAULT;
ANALYZE;
"""


def main() -> None:
    """Fill, measure, print."""
    root = Path(tempfile.mkdtemp(prefix="scaffolder-bench-"))
    root.chmod(0o711)
    workflows = root / "workflows"
    workflows.mkdir()
    for number in range(DAGS):
        (workflows / f"flow_{number}.yaml").write_text(_WORKFLOW.format(id=f"flow_{number}"))
    airflow = LocalAirflow(
        root / "state",
        dags_folder=CHECKOUT / "dags",
        plugins_folder=CHECKOUT / "plugins",
        generated_projects_dir=root / "generated-projects",
        users={"admin": "admin", "ada": "user"},
        environment={
            "SCAFFOLDER_WORKFLOWS_DIR": str(workflows),
            "SCAFFOLDER_INCLUDE_SHIPPED": "false",
            # With Airflow's default of 15, 16 clients of its own routes wait for each other until some fail.
            "AIRFLOW__DATABASE__SQL_ALCHEMY_POOL_SIZE": "40",
        },
    )
    try:
        airflow.start()
        with psycopg.connect(airflow.records_url, autocommit=True) as connection:
            print("Filling the records")
            connection.execute(_FILL.format(projects=PROJECTS, generated=GENERATED, files=FILES_EACH))
            key = _find_one(connection)
            airflow.rest.wait_for_dag(f"flow_{DAGS - 1}")
            figures = _measure_routes(airflow, key)
            figures |= _measure_sql(connection, key)
            figures |= _measure_download(airflow, connection, root / "generated-projects", key)
    finally:
        airflow.stop()
        shutil.rmtree(root, ignore_errors=True)
    print_result("api", ratios=_compare(figures), figures=figures)


def _find_one(connection: psycopg.Connection[Any]) -> UUID:
    row = connection.execute(
        "SELECT g.id FROM generated_project g JOIN project p ON p.id = g.project_id WHERE p.slug = %s"
        " AND g.status = 'ready' ORDER BY g.created_at LIMIT 1 OFFSET 1000",
        (_LARGE,),
    ).fetchone()
    if row is None:
        raise RuntimeError("the records are empty")
    found: UUID = row[0]
    return found


def _list_routes(key: UUID) -> Mapping[str, str]:
    generated = f"{PREFIX}/projects/{_LARGE}/generated"
    return {
        "airflow_list": "/api/v2/dags?limit=50",
        "airflow_read": "/api/v2/dags/flow_0",
        "list_generated": f"{generated}?limit=50",
        "list_generated_by_size": f"{generated}?limit=50&sort=-size_bytes",
        "list_generated_failed": f"{generated}?limit=50&status=failed",
        "list_all_generated": f"{PREFIX}/generated?limit=50",
        "list_projects": f"{PREFIX}/projects?limit=50",
        "list_files": f"{generated}/{key}/files?limit=50",
        "list_events": f"{generated}/{key}/events?limit=50",
        "list_exports": f"{generated}/{key}/exports?limit=50",
        "read_project": f"{PREFIX}/projects/{_LARGE}",
        "read_generated": f"{generated}/{key}",
        "read_file": f"{generated}/{key}/files/src/module_3.py",
    }


def _measure_routes(airflow: LocalAirflow, key: UUID) -> dict[str, float]:
    routes = _list_routes(key)
    token = httpx2.post(
        f"{airflow.url}/auth/token", json={"username": "ada", "password": airflow.settings.passwords["ada"]}
    ).json()["access_token"]
    headers = {"Authorization": f"Bearer {token}"}
    figures: dict[str, float] = {}
    for clients, requests in REQUESTS.items():
        seconds: dict[str, list[float]] = {name: [] for name in routes}
        with ThreadPoolExecutor(clients) as pool:
            opened = [httpx2.Client(base_url=airflow.url, headers=headers, timeout=120) for _ in range(clients)]
            for number in range(ROUNDS + 1):
                for name, path in routes.items():
                    found = pool.map(_ask, opened, [path] * clients, [requests if number else 5] * clients)
                    if number:  # the first round warms up
                        seconds[name] += [one for part in found for one in part]
                    else:
                        list(found)
            for client in opened:
                client.close()
        for name, values in seconds.items():
            figures |= _describe(f"{name}_{clients}", values)
        # Deep in the list is as near as its beginning.
        if clients == 1:
            figures |= _measure_depth(airflow, headers)
    return figures


def _ask(client: httpx2.Client, path: str, requests: int) -> list[float]:
    seconds = []
    for _ in range(requests):
        began = time.perf_counter()
        answer = client.get(path)
        seconds.append(time.perf_counter() - began)
        answer.raise_for_status()
    return seconds


def _measure_depth(airflow: LocalAirflow, headers: Mapping[str, str]) -> dict[str, float]:
    """Follow the pages of the largest project for a while and time those far down."""
    seconds: list[float] = []
    path: str | None = f"{PREFIX}/projects/{_LARGE}/generated?limit=200"
    with httpx2.Client(base_url=airflow.url, headers=dict(headers), timeout=120) as client:
        while path is not None:
            began = time.perf_counter()
            answer = client.get(path)
            seconds.append(time.perf_counter() - began)
            link = answer.headers.get("link")
            path = link.partition(">")[0].removeprefix("<") if link else None
    tenth = len(seconds) // 10
    return {
        "pages_of_200": float(len(seconds)),
        "first_pages_p50_ms": 1000 * statistics.median(seconds[:tenth]),
        "last_pages_p50_ms": 1000 * statistics.median(seconds[-tenth:]),
    }


def _measure_sql(connection: psycopg.Connection[Any], key: UUID) -> dict[str, float]:
    records = ProjectRecords(connection)
    newest = Order(key="created_at", descending=True)
    living = {"status": ["pending", "generating", "ready", "failed", "expired"]}
    kinds: dict[str, Callable[[], object]] = {
        "list_generated": lambda: records.listing.list(
            listing.GENERATED_OF_PROJECT, order=newest, limit=50, within={"project": _LARGE}, filters=living
        ),
        "list_all_generated": lambda: records.listing.list(
            listing.GENERATED,
            order=newest,
            limit=50,
            within={"sees_all": False, "username": "ada"},
            filters=living,
        ),
        "list_files": lambda: records.listing.list(
            listing.FILES,
            order=Order(key="path"),
            limit=50,
            within={"generated_project_id": key, "position": 0},
        ),
    }
    figures: dict[str, float] = {}
    for name, ask in kinds.items():
        seconds = []
        for _ in range(200):
            began = time.perf_counter()
            ask()
            seconds.append(time.perf_counter() - began)
        figures |= _describe(f"sql_{name}", seconds)
    return figures


def _measure_download(
    airflow: LocalAirflow, connection: psycopg.Connection[Any], projects: Path, key: UUID
) -> dict[str, float]:
    archives = projects / str(key) / "archives"
    archives.mkdir(parents=True)
    path = archives / "large.zip"
    with path.open("wb") as file:
        piece = os.urandom(_MIB)
        for _ in range(ARCHIVE_BYTES // _MIB):
            file.write(piece)
    connection.execute(
        "INSERT INTO repository_export (id, generated_project_id, step_id, target, options, idempotency_key, commit)"
        " VALUES (gen_random_uuid(), %s, 'publish', 'archive', '{}', 'bench', repeat('a', 40))",
        (key,),
    )
    connection.execute("UPDATE repository_export SET status = 'exporting'")
    row = connection.execute(
        "UPDATE repository_export SET status = 'exported', archive_path = %s, archive_sha256 = %s RETURNING id",
        (str(path), hashlib.sha256(b"bench").hexdigest()),
    ).fetchone()
    process = psutil.Process(airflow.running()[API_SERVER])
    before, peak, stop = _measure_memory(process), 0.0, threading.Event()

    def sample() -> None:
        nonlocal peak
        while not stop.is_set():
            peak = max(peak, _measure_memory(process))
            time.sleep(0.05)

    sampler = threading.Thread(target=sample)
    sampler.start()
    token = httpx2.post(
        f"{airflow.url}/auth/token", json={"username": "ada", "password": airflow.settings.passwords["ada"]}
    ).json()["access_token"]
    began, received = time.perf_counter(), 0
    url = f"{airflow.url}{PREFIX}/projects/{_LARGE}/generated/{key}/exports/{row[0] if row else ''}/archive"
    with httpx2.stream("GET", url, headers={"Authorization": f"Bearer {token}"}, timeout=300) as answer:
        answer.raise_for_status()
        for piece in answer.iter_raw():
            received += len(piece)
    seconds = time.perf_counter() - began
    stop.set()
    sampler.join()
    if received != ARCHIVE_BYTES:
        raise RuntimeError(f"{received} of {ARCHIVE_BYTES} bytes came")
    return {
        "download_mib_per_second": ARCHIVE_BYTES / _MIB / seconds,
        "server_before_download_mb": before,
        "server_peak_in_download_mb": peak,
        "download_growth_mb": peak - before,
    }


def _measure_memory(process: psutil.Process) -> float:
    return sum(one.memory_full_info().uss for one in (process, *process.children(recursive=True))) / _MIB


def _describe(name: str, seconds: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(seconds, n=100, method="inclusive")
    return {f"{name}_p50_ms": 1000 * cuts[49], f"{name}_p95_ms": 1000 * cuts[94]}


def _compare(figures: Mapping[str, float]) -> dict[str, float]:
    """Return ours over the peer's: of all lists, or reads, the one that does worst, at 1 and at 16 clients."""

    def worst(kind: str, peer: str, clients: int) -> float:
        ours = [
            value
            for name, value in figures.items()
            if name.startswith(f"{kind}_") and name.endswith(f"_{clients}_p95_ms")
        ]
        return max(ours) / figures[f"{peer}_{clients}_p95_ms"]

    return {
        "list_over_airflow_p95": max(worst("list", "airflow_list", clients) for clients in REQUESTS),
        "list_over_airflow_p95_1": worst("list", "airflow_list", 1),
        "list_over_airflow_p95_16": worst("list", "airflow_list", 16),
        "read_over_airflow_p95": max(worst("read", "airflow_list", clients) for clients in REQUESTS),
        "read_over_airflow_read_p95": max(worst("read", "airflow_read", clients) for clients in REQUESTS),
        "list_over_sql": max(
            figures[f"{name}_1_p50_ms"] / figures[f"sql_{name}_p50_ms"]
            for name in ("list_generated", "list_all_generated", "list_files")
        ),
        "last_over_first_pages": figures["last_pages_p50_ms"] / figures["first_pages_p50_ms"],
    }


if __name__ == "__main__":
    main()
