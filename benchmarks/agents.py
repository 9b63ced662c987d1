"""Agents: GitHub's API description, a thousand long jobs, and what one call costs.

`github`: the OpenAPI document of GitHub (13 MB, from the npm package @octokit/openapi) is loaded, listed and used to
validate a request, each contender in a process of its own. The floor is `json.load`; the peer is openapi-core, in a
virtual environment of its own. Ours is timed twice: as discovery does it (the whole document into definitions of single
operations, once for each change of the document) and as a call does it (one definition, as it is in the registry).

`jobs`: 1,000 jobs of 10 seconds are waited for by triggers in one event loop, with the connection looked up in Airflow
and the agent in another process.

`call`: one request of a step with its records in Postgres, and our transport alone, beside the same request by bare
httpx2. `large`: the same with an answer of 10 MB in 500 files.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tarfile
import tempfile
import time
import tracemalloc
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import psutil

from benchmarks.result import print_result

CHECKOUT: Final = Path(__file__).resolve().parent.parent
DOCUMENT_PACKAGE: Final = "@octokit/openapi@23.0.2"
PEER: Final = "openapi-core==0.23.1"
OPERATION: Final = "issues/create"
PARAMETERS: Final = {"owner": "acme", "repo": "shop"}
BODY: Final = {"title": "It works", "labels": ["good"]}
JOBS: Final = 1_000
JOB_SECONDS: Final = 10.0
POLL_SECONDS: Final = (1.0, 5.0)
CALLS: Final = 300
LARGE_FILES: Final = 500
LARGE_ROUNDS: Final = 7

# Runs in the peer's environment: no line of it may import anything of ours.
PEER_SCRIPT: Final = """
import json, statistics, sys, time, tracemalloc
from openapi_core import OpenAPI
from openapi_core.testing import MockRequest

begin = time.perf_counter()
with open(sys.argv[1]) as file:
    document = json.load(file)
document["servers"] = [{"url": "https://api.github.com"}]
api = OpenAPI.from_dict(document)
loaded = time.perf_counter() - begin
request = MockRequest("https://api.github.com", "post", "/repos/acme/shop/issues",
    view_args={"owner": "acme", "repo": "shop"}, data=json.dumps(json.loads(sys.argv[2])).encode())
times = []
for _ in range(6):
    begin = time.perf_counter()
    api.validate_request(request)
    times.append(time.perf_counter() - begin)
import resource
print(json.dumps({"load_seconds": loaded, "first_validation_seconds": times[0],
    "later_validation_seconds": statistics.median(times[1:]),
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))
"""


def main() -> None:
    """Measure, print."""
    os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="scaffolder-bench-")
    os.environ["AIRFLOW__LOGGING__LOGGING_LEVEL"] = "WARNING"
    os.environ["AIRFLOW__CORE__UNIT_TEST_MODE"] = "True"
    ratios: dict[str, float] = {}
    figures: dict[str, float] = {}
    root = Path(tempfile.mkdtemp(prefix="scaffolder-bench-"))
    root.chmod(0o711)
    try:
        for measure in (measure_github, measure_jobs, measure_calls):
            measure(root, ratios, figures)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        shutil.rmtree(os.environ["AIRFLOW_HOME"], ignore_errors=True)
    print_result("agents", ratios=ratios, figures=figures)


# GitHub's document


def measure_github(root: Path, ratios: dict[str, float], figures: dict[str, float]) -> None:
    """Load, list and validate, each contender in a process of its own."""
    document = fetch_document(root)
    floor = run_in_child(load_json, str(document))
    ours = run_in_child(discover_github, str(document))
    call = run_in_child(call_github, str(document))
    peer = run_peer(root, document)
    for name, found in (("json_load", floor), ("discovery", ours), ("call", call), ("openapi_core", peer)):
        figures |= {f"github_{name}_{what}": value for what, value in found.items()}
    ratios["github_discovery_over_json_load"] = ours["load_seconds"] / floor["load_seconds"]
    ratios["github_first_validation_over_openapi_core"] = (call["load_seconds"] + call["first_validation_seconds"]) / (
        peer["load_seconds"] + peer["first_validation_seconds"]
    )
    ratios["github_later_validation_over_openapi_core"] = (
        call["later_validation_seconds"] / peer["later_validation_seconds"]
    )
    ratios["github_discovery_memory_over_json_load"] = ours["peak_mb"] / floor["peak_mb"]


def fetch_document(root: Path) -> Path:
    """Return the document, from the package registry."""
    if shutil.which("npm") is None:
        raise SystemExit("Error: npm is missing; it fetches GitHub's description")
    packed = subprocess.run(
        ["npm", "pack", "--silent", DOCUMENT_PACKAGE], cwd=root, check=True, capture_output=True, text=True
    )
    with tarfile.open(root / packed.stdout.strip().splitlines()[-1]) as archive:
        archive.extractall(root, filter="data")
    return next((root / "package").rglob("api.github.com.json"))


def load_json(path: str) -> dict[str, float]:
    """Parse it, and nothing else: the floor."""
    begin = time.perf_counter()
    with Path(path).open("rb") as file:
        json.load(file)
    return {"load_seconds": time.perf_counter() - begin}


def discover_github(path: str) -> dict[str, float]:
    """Cut the document into definitions, as discovery does."""
    from scaffolder.agents.discovery.offers import parse_document, read_document

    begin = time.perf_counter()
    content = Path(path).read_bytes()
    document = parse_document(content, name=path, max_depth=200)
    offer = read_document(document, content=content, source=path)
    loaded = time.perf_counter() - begin
    begin = time.perf_counter()
    listed = [(one.method, one.path, one.summary) for one in offer.endpoints]
    return {
        "load_seconds": loaded,
        "list_seconds": time.perf_counter() - begin,
        "operations": len(listed),
        "definitions_mb": sum(len(json.dumps(one.definition)) for one in offer.endpoints) / 1e6,
    }


def call_github(path: str) -> dict[str, float]:
    """Use one definition, which the registry has as JSON, as a call does."""
    stored = _store_definition(path)
    from scaffolder.agents.openapi import OperationDefinition

    begin = time.perf_counter()
    operation = OperationDefinition(OPERATION, json.loads(stored))
    loaded = time.perf_counter() - begin
    times = []
    for _ in range(101):
        begin = time.perf_counter()
        operation.build(PARAMETERS, BODY)
        times.append(time.perf_counter() - begin)
    return {
        "load_seconds": loaded,
        "first_validation_seconds": times[0],
        "later_validation_seconds": statistics.median(times[1:]),
        "definition_mb": len(stored) / 1e6,
    }


def _store_definition(path: str) -> str:
    """Return one definition; made in a child, so that the document isn't in this process."""
    receiving, sending = multiprocessing.Pipe(duplex=False)

    def cut() -> None:
        from scaffolder.agents.discovery.offers import parse_document, read_document

        content = Path(path).read_bytes()
        offer = read_document(parse_document(content, name=path, max_depth=200), content=content, source=path)
        sending.send(next(json.dumps(one.definition) for one in offer.endpoints if one.operation_id == OPERATION))

    process = multiprocessing.get_context("fork").Process(target=cut)
    process.start()
    stored: str = receiving.recv()
    process.join()
    return stored


def run_in_child(work: Callable[[str], dict[str, float]], argument: str) -> dict[str, float]:
    """Run `work` in a fresh interpreter, add its peak of memory, and return the medians of three rounds."""
    command = [sys.executable, "-c", f"from benchmarks.agents import *; print_child({work.__name__}, sys.argv[1])"]
    environment = os.environ | {"PYTHONPATH": f"{CHECKOUT / 'plugins'}:{CHECKOUT}"}
    rounds = [
        json.loads(
            subprocess.run(
                [*command, argument], cwd=CHECKOUT, env=environment, check=True, capture_output=True, text=True
            ).stdout.splitlines()[-1]
        )
        for _ in range(3)
    ]
    return {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}


def print_child(work: Callable[[str], dict[str, float]], argument: str) -> None:
    """Print what `work` found, as JSON."""
    found = work(argument)
    print(json.dumps(found | {"peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def run_peer(root: Path, document: Path) -> dict[str, float]:
    """Install and run openapi-core in an environment of its own."""
    print("openapi-core is installed and run: minutes", file=sys.stderr)
    environment = root / "peer"
    subprocess.run([sys.executable, "-m", "venv", str(environment)], check=True)
    python = str(environment / "bin" / "python")
    subprocess.run([python, "-m", "pip", "install", "--quiet", PEER], check=True)
    finished = subprocess.run(
        [python, "-c", PEER_SCRIPT, str(document), json.dumps(BODY)], check=True, capture_output=True, text=True
    )
    found: dict[str, float] = json.loads(finished.stdout.splitlines()[-1])
    return found


# Long jobs


def measure_jobs(_: Path, ratios: dict[str, float], figures: dict[str, float]) -> None:
    """Wait for a thousand jobs at once."""
    for poll_seconds in POLL_SECONDS:
        here, there = multiprocessing.Pipe()
        process = multiprocessing.get_context("fork").Process(target=serve_jobs, args=(there,), daemon=True)
        process.start()
        _put_connection("jobs_agent", here.recv())
        found = asyncio.run(wait_for_jobs(poll_seconds, here))
        process.join()
        name = f"jobs_polled_every_{poll_seconds:.0f}_s"
        kb = found.pop("kb_for_each")
        figures.setdefault("jobs_kb_for_each", kb)  # the first only: later ones find memory that was freed
        figures |= {f"{name}_{what}": value for what, value in found.items()}
        ratios[f"{name}_over_10_s"] = found["seconds"] / JOB_SECONDS


def serve_jobs(pipe: Connection) -> None:
    """Be the agent: start all jobs when told to."""
    from tests.job_server import JobService, serve_rest

    service = JobService(seconds=JOB_SECONDS)
    with serve_rest(service.answer) as server:
        pipe.send(server.url)
        while pipe.recv() == "start":
            for _ in range(JOBS):
                service.start()
            pipe.send("started")
        pipe.send(dict(service.methods))


async def wait_for_jobs(poll_seconds: float, pipe: Connection) -> dict[str, float]:
    """Return seconds until the last job was seen done, memory for each, requests and processor time."""
    await _warm_up(poll_seconds)
    process = psutil.Process()
    before, processor = process.memory_info().rss, time.process_time()
    begin = time.monotonic()
    pipe.send("start")
    pipe.recv()
    waiting = [asyncio.create_task(_wait(str(number), poll_seconds, begin)) for number in range(1, JOBS + 1)]
    await asyncio.sleep(JOB_SECONDS / 2)
    during = process.memory_info().rss
    ends = sorted(await asyncio.gather(*waiting))
    pipe.send("stop")
    methods = pipe.recv()
    return {
        "seconds": ends[-1],
        "median_seconds": statistics.median(ends),
        "kb_for_each": (during - before) / JOBS / 1e3,
        "requests": methods["GET"],
        "processor_seconds": time.process_time() - processor,
    }


async def _warm_up(poll_seconds: float) -> None:
    """Import and look up what the first job needs; it ends before it is asked after."""
    waiting = asyncio.create_task(_wait("1", poll_seconds, time.monotonic()))
    await asyncio.sleep(0.5)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)


async def _wait(job: str, poll_seconds: float, begin: float) -> float:
    from scaffolder.agents.contract import JobRule
    from scaffolder.agents.rest.jobs import JobHandle
    from scaffolder.operators.triggers import AgentJobTrigger

    rule = JobRule(state="/status", poll_seconds=poll_seconds)
    url = json.loads(os.environ["AIRFLOW_CONN_JOBS_AGENT"])["host"]
    trigger = AgentJobTrigger(
        agent_conn_id="jobs_agent",
        handle=JobHandle(url=f"{url}/jobs/{job}", job=None, rule=rule).to_json(),
        poll_seconds=poll_seconds,
        until=time.time() + 600,
        agent_call_id=job,
    )
    async for event in trigger.run():
        if event.payload["state"] != "done":
            raise SystemExit(f"job {job}: {event.payload}")
        return time.monotonic() - begin
    raise SystemExit(f"job {job} ended without an event")


# Calls


def measure_calls(root: Path, ratios: dict[str, float], figures: dict[str, float]) -> None:
    """One small call, and one with a large answer, beside bare httpx2."""
    from local_airflow.postgres import EmbeddedPostgres

    postgres = EmbeddedPostgres(root / "postgres")
    postgres.start()
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("fork").Process(target=serve_answers, args=(there,), daemon=True)
    process.start()
    try:
        asyncio.run(compare_calls(postgres, here.recv(), ratios, figures))
    finally:
        here.send("stop")
        process.join()
        postgres.stop()


def serve_answers(pipe: Connection) -> None:
    """Be the agent: a small answer, and one of 10 MB."""
    from tests.job_server import Received, Reply, serve_rest

    text = "x = 1  # ünïcode\n" * (10_000_000 // LARGE_FILES // 17)
    files = [{"path": f"src/module_{number}.py", "content": text} for number in range(LARGE_FILES)]
    large = Reply({"files": files})
    large = replace(large, content=json.dumps({"files": files}).encode())

    def answer(request: Received) -> Reply:
        return large if request.path == "/large" else Reply({"ok": True})

    with serve_rest(answer) as server:
        pipe.send(server.url)
        pipe.recv()


async def compare_calls(postgres: Any, url: str, ratios: dict[str, float], figures: dict[str, float]) -> None:
    """Time bare httpx2, our transport and a whole recorded call, in turns."""
    import httpx2
    import psycopg
    from sqlalchemy import make_url

    from scaffolder.agents.connection import parse_connection
    from scaffolder.agents.contract import CallRequest
    from scaffolder.agents.http.transport import AgentClient, HttpRequest
    from scaffolder.agents.rest.agent import RestAgent
    from scaffolder.agents.service import AgentCalls
    from scaffolder.config import Settings
    from scaffolder.records import schema
    from scaffolder.records.store import ProjectRecords
    from tests.factories import open_project
    from tests.job_server import TOKEN

    postgres.create_database("bench")
    schema.migrate(make_url(postgres.url("bench", driver="psycopg")))
    settings = Settings()
    connection = parse_connection("bench_agent", conn_type="agent_api", host=url, password=TOKEN)
    headers = {"Authorization": f"Bearer {TOKEN}"}
    with psycopg.connect(postgres.url("bench"), autocommit=True) as database:
        records = ProjectRecords(database)
        project = open_project(records)
        agent = RestAgent(connection, settings=settings, endpoints=None)
        calls = AgentCalls(records, project.id, step_id="models", agent=agent, settings=settings, replay="never")
        async with (
            httpx2.AsyncClient(base_url=url, headers=headers) as bare,
            AgentClient(connection, settings=settings) as client,
            agent,
        ):
            numbers = iter(range(10**6))

            async def by_httpx2(path: str) -> None:
                (await bare.post(path, json={"n": next(numbers)})).raise_for_status().json()

            async def by_transport(path: str) -> None:
                body = json.dumps({"n": next(numbers)}).encode()
                request = HttpRequest(method="POST", path=path, content=body, content_type="application/json")
                (await client.send(request)).json()

            async def by_call(path: str) -> None:
                await calls.call(CallRequest(method="POST", path=path, body={"n": next(numbers)}))

            contenders = {"httpx2": by_httpx2, "transport": by_transport, "call": by_call}
            small = await _time_in_turns(contenders, "/small", rounds=CALLS)
            large = await _time_in_turns(contenders, "/large", rounds=LARGE_ROUNDS)
            tracemalloc.start()
            await by_call("/large")
            figures["large_call_peak_mb"] = tracemalloc.get_traced_memory()[1] / 1e6
            tracemalloc.stop()
    for name in contenders:
        figures[f"small_{name}_ms"] = small[name] * 1e3
        figures[f"large_{name}_seconds"] = large[name]
    for name in ("transport", "call"):
        ratios[f"small_{name}_over_httpx2"] = small[name] / small["httpx2"]
        ratios[f"large_{name}_over_httpx2"] = large[name] / large["httpx2"]


async def _time_in_turns(
    contenders: Mapping[str, Callable[[str], Awaitable[None]]], path: str, *, rounds: int
) -> dict[str, float]:
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for number in range(rounds + 1):
        for name, ask in contenders.items():
            begin = time.perf_counter()
            await ask(path)
            if number:
                seconds[name].append(time.perf_counter() - begin)
    return {name: statistics.median(values) for name, values in seconds.items()}


def _put_connection(conn_id: str, url: str) -> None:
    from tests.job_server import TOKEN

    connection = {"conn_type": "agent_api", "host": url, "password": TOKEN}
    os.environ[f"AIRFLOW_CONN_{conn_id.upper()}"] = json.dumps(connection)


if __name__ == "__main__":
    main()
