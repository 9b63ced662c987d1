"""The clean-up among a million generated projects, beside bare `DELETE` and `rm -rf`.

The records are made in bulk, in 300 projects: most are young or deleted already, 150,000 are due by their age, with a
commit, ten changed files, an answered agent call and events each, every fifth with an export.

`rows`: the clean-up removes a third of those that are due, with an empty directory, a bare batched `DELETE FROM
generated_project` another third, and the bare statements that leave the same behind as the clean-up does the last, in
turns; cascades and triggers are as they are, and batches as large. The clean-up does more than the `DELETE`: it keeps
the record as a tombstone (what it was, and why it went) with its exports and calls, so it changes the record twice, in
all its indexes, where a `DELETE` touches none, and writes two events and not one; and it reads the rules, twice. The
sweep of leftovers after a clean-up is not part of it; it is in `daily`.

`directories`: of 20,000 directories (a git repository, a working tree and an archive each) the clean-up removes half,
with their records, and `rm -rf` the other half, in turns. They are all there before the first goes.

`meanwhile`: clean-ups of 10,000 and of 90,000 in processes of their own, whose memory is sampled. During the larger one
two threads read what the API reads, a few times a second, as they have before and do after; and every 20 ms it is
sampled for how long the clean-up's transaction has locked rows of generated projects.

`daily`: a clean-up with nothing due, with its sweep, and restating when everything expires.

`--scale 0.01` makes all of it smaller.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final
from unittest import mock
from uuid import UUID

import psutil
import psycopg

from benchmarks.result import print_result
from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.records import listing
from scaffolder.records.listing import Order
from scaffolder.records.retention import RetentionRecords
from scaffolder.records.store import ProjectRecords
from scaffolder.retention import cleanup
from scaffolder.retention.cleanup import CleanUp, check_request
from scaffolder.retention.directory import MARKER, TRASH
from scaffolder.retention.report import Report
from scaffolder.retention.rules import load_rules

PROJECTS: Final = 300
GENERATED: Final = 1_000_000
ROUNDS: Final = 5
ROWS_EACH: Final = 10_000  # of either side in each round
DIRECTORIES_EACH: Final = 2_000  # the same
MEMORY: Final = (10_000, 90_000)
READ_SECONDS: Final = 10.0
_READ_PAUSE_SECONDS: Final = 0.03
_SAMPLE_SECONDS: Final = 0.02
_READERS: Final = 2
_KINDS: Final = ("get", "newest", "oldest")  # one by its id, the first page of a project either way
_COPIES: Final = 100  # of the template directory that are copied at once
_NAME: Final = "clean-up"

# All else: young ones, of which some have failed, and tombstones.
_FILL: Final = """
SET session_replication_role = replica;
INSERT INTO project (slug, name, generated_count)
SELECT 'p-' || n, 'Project ' || n, {generated} / {projects} * 2 FROM generate_series(0, {projects} - 1) n;
INSERT INTO generated_project (
    id, project_id, name, workflow, dag_id, run_id, run_at, params, status, head_commit, file_count, size_bytes,
    ended_at, expires_at, created_by, created_at, updated_at
)
SELECT gen_random_uuid(), p.id, 'service-' || n, 'flow_0', 'flow_0', 'run-' || n, o.ended_at, '{{"name": "service"}}',
    o.status, repeat('a', 40), 10, n % 100000, o.ended_at,
    o.ended_at + make_interval(days => CASE o.status WHEN 'failed' THEN 7 ELSE 30 END), 'ada',
    o.ended_at - interval '1 minute', o.ended_at
FROM generate_series(1, {generated}) n
JOIN project p ON p.slug = 'p-' || n % {projects}
CROSS JOIN LATERAL (
    SELECT CASE WHEN n % 10 < 4 THEN 'deleted' WHEN n % 10 = 4 THEN 'failed' ELSE 'ready' END AS status,
        now() - interval '1 hour' - make_interval(
            secs => CASE WHEN n % 10 < 4 THEN 3e6 WHEN n % 10 = 4 THEN 5e5 ELSE 2.4e6 END * n / {generated}
        ) AS ended_at
) o;
INSERT INTO project_commit (generated_project_id, position, step_id, "commit")
SELECT id, 0, 'files', repeat('a', 40) FROM generated_project WHERE status <> 'deleted';
INSERT INTO file_change (generated_project_id, position, path, sha256, size_bytes, mode, origin)
SELECT g.id, 0, 'README.md', repeat('b', 64), 1000, 33188, 'template:service@1'
FROM generated_project g WHERE status <> 'deleted';
INSERT INTO event (generated_project_id, subject, subject_id, kind, detail, actor, "at")
SELECT id, 'generated_project', id::text, 'status', json_build_object('to', status), 'ada', ended_at
FROM generated_project;
SET session_replication_role = DEFAULT;
"""

# Some that are due, whose runs ended within the day before `days` days ago.
_FILL_OLD: Final = """
SET session_replication_role = replica;
CREATE TEMP TABLE fresh AS
SELECT gen_random_uuid() AS id, n, now() - make_interval(days => {days}, secs => 86400.0 * n / {count}) AS ended_at
FROM generate_series(1, {count}) n;
INSERT INTO generated_project (
    id, project_id, name, workflow, dag_id, run_id, run_at, params, status, head_commit, file_count, size_bytes,
    ended_at, expires_at, created_by, created_at, updated_at, export_count, export_status
)
SELECT f.id, p.id, 'old-' || n, 'flow_0', 'flow_0', 'old-{days}-' || n, f.ended_at, '{{"name": "service"}}', 'ready',
    repeat('a', 40), 10, 10000 + n, f.ended_at, f.ended_at + interval '30 days', 'ada',
    f.ended_at - interval '1 minute', f.ended_at, (n % 5 = 0)::int, CASE WHEN n % 5 = 0 THEN 'exported' END
FROM fresh f JOIN project p ON p.slug = 'p-' || n % {projects};
INSERT INTO project_commit (generated_project_id, position, step_id, "commit")
SELECT id, 0, 'files', repeat('a', 40) FROM fresh;
INSERT INTO file_change (generated_project_id, position, path, sha256, size_bytes, mode, origin)
SELECT id, 0, 'src/module_' || one || '.py', repeat('b', 64), 1000 + one, 33188, 'template:service@1'
FROM fresh, generate_series(1, 10) one;
INSERT INTO agent_call (
    id, generated_project_id, step_id, connection, operation, request_digest, idempotency_key, status, response
)
SELECT gen_random_uuid(), id, 'draft', 'model', 'complete', md5(n::text), id::text, 'answered',
    json_build_object('text', repeat(md5(n::text), 40))
FROM fresh;
INSERT INTO repository_export (
    id, generated_project_id, step_id, target, options, status, idempotency_key, "commit", archive_path
)
SELECT gen_random_uuid(), id, 'publish', 'archive', '{{}}', 'exported', id::text, repeat('a', 40), '/x/archives/a.zip'
FROM fresh WHERE n % 5 = 0;
INSERT INTO event (generated_project_id, subject, subject_id, kind, detail, actor, "at")
SELECT id, 'generated_project', id::text, 'status', json_build_object('to', one), 'ada', ended_at
FROM fresh, unnest(ARRAY['pending', 'generating', 'ready']) one;
SET session_replication_role = DEFAULT;
"""

_DELETE: Final = """
DELETE FROM generated_project WHERE id IN (
    SELECT id FROM generated_project
    WHERE status = 'ready' AND ended_at <= now() - make_interval(days => %(days)s) LIMIT %(limit)s
)
"""

_SELECT_BATCH: Final = """
SELECT array_agg(id) FROM (
    SELECT id FROM generated_project
    WHERE status = 'ready' AND ended_at <= now() - make_interval(days => %(days)s) LIMIT %(limit)s
) batch
"""

_EXPIRE_BATCH: Final = "UPDATE generated_project SET status = 'expired' WHERE id = ANY(%(ids)s)"

_DROP_BATCH: Final = (
    "DELETE FROM file_change WHERE generated_project_id = ANY(%(ids)s)",
    "DELETE FROM project_commit WHERE generated_project_id = ANY(%(ids)s)",
    "UPDATE agent_call SET response = NULL WHERE generated_project_id = ANY(%(ids)s)",
    "UPDATE generated_project SET status = 'deleted' WHERE id = ANY(%(ids)s)",
)

_SELECT_LOCKING: Final = """
SELECT extract(epoch FROM clock_timestamp() - a.xact_start)::float8, EXISTS (
    SELECT FROM pg_locks l
    WHERE l.pid = a.pid AND l.relation = 'generated_project'::regclass
        AND l.mode IN ('RowShareLock', 'RowExclusiveLock')
)
FROM pg_stat_activity a
WHERE a.application_name = %(name)s AND a.xact_start IS NOT NULL AND a.backend_xid IS NOT NULL
"""

_LIVING: Final = {"status": ["pending", "generating", "ready", "failed", "expired"]}


class _NoRuns:
    """An engine without live runs."""

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        return set()


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where everything lies, and how much of it there is."""

    root: Path
    database: str
    settings: Settings
    scale: float

    def connect(self, *, name: str = "bench") -> psycopg.Connection[Any]:
        """Open a connection to the records."""
        return psycopg.connect(self.database, autocommit=True, application_name=name)

    def size(self, full: int) -> int:
        """Return how many there are here of what there are `full` at full size."""
        return max(20, int(full * self.scale))

    def fill(self, statements: str, **values: int) -> None:
        """Make records in bulk."""
        with self.connect() as connection:
            connection.execute(statements.format(projects=PROJECTS, **values))

    def settle(self) -> None:
        """Let the database do now what it would do some time."""
        with self.connect() as connection:
            connection.execute("VACUUM (ANALYZE)")
            connection.execute("CHECKPOINT")


def main() -> None:
    """Fill, measure, print."""
    parser = argparse.ArgumentParser(description="Measure the clean-up.")
    parser.add_argument("--scale", type=float, default=1.0, help="how much of the full size, from 0.001 to 1")
    scale = parser.parse_args().scale
    root = Path(tempfile.mkdtemp(prefix="scaffolder-bench-"))
    root.chmod(0o711)
    postgres = EmbeddedPostgres(root / "postgres")
    postgres.start()
    try:
        postgres.create_database("scaffolder")
        _migrate(postgres)
        settings = replace(Settings(), generated_projects_dir=root / "generated-projects", cache_dir=root / "cache")
        settings.generated_projects_dir.mkdir()
        bench = Bench(root=root, database=postgres.url("scaffolder"), settings=settings, scale=scale)
        with bench.connect() as connection:
            # That of these records, although most of what they know is not there.
            installation = ProjectRecords(connection).retention.read_installation()
            (settings.generated_projects_dir / MARKER).write_text(str(installation.id))
        _say("filling the records")
        bench.fill(_FILL, generated=bench.size(GENERATED - 3 * ROUNDS * ROWS_EACH))
        figures: dict[str, float] = {}
        for measure in (_measure_rows, _measure_daily, _measure_directories, _measure_meanwhile):
            _say(measure.__name__.strip("_").replace("_", " "))
            figures |= measure(bench)
    finally:
        postgres.stop()
        shutil.rmtree(root, ignore_errors=True)
    small, large = MEMORY
    ratios = {
        "rows_over_delete": figures["rows_clean_up_ms"] / figures["rows_delete_ms"],
        "rows_over_statements": figures["rows_clean_up_ms"] / figures["rows_statements_ms"],
        "directories_over_rm": figures["directories_clean_up_ms"] / figures["directories_rm_ms"],
        "memory_large_over_small": figures[f"memory_{large}_mb"] / figures[f"memory_{small}_mb"],
    }
    for kind, part in itertools.product(_KINDS, ("p50", "p95")):
        ratios[f"reads_{kind}_{part}_over_idle"] = (
            figures[f"reads_{kind}_meanwhile_{part}_ms"] / figures[f"reads_{kind}_idle_{part}_ms"]
        )
    print_result("retention", ratios=ratios, figures=figures)


def _say(what: str) -> None:
    print(f"{time.strftime('%H:%M:%S')} {what}", flush=True)


def _migrate(postgres: EmbeddedPostgres) -> None:
    from sqlalchemy import make_url

    from scaffolder.records import schema

    schema.migrate(make_url(postgres.url("scaffolder", driver="psycopg")))


# Rows


def _measure_rows(bench: Bench) -> dict[str, float]:
    """Let the clean-up, the `DELETE` and the bare statements take turns, in another order in each round."""
    count = bench.size(ROWS_EACH)
    turns = _take_turns(("clean_up", "delete", "statements"), oldest=1_000)
    for _, days in turns:
        bench.fill(_FILL_OLD, count=count, days=days)
    bench.settle()
    floors = {"delete": _delete, "statements": _leave_tombstones}
    seconds: dict[str, list[float]] = {who: [] for who, _ in turns}
    shares: dict[str, float] = {}
    with bench.connect() as connection:
        for who, days in turns:
            began = time.perf_counter()
            if who in floors:
                done = floors[who](connection, days=days, limit=bench.settings.cleanup_batch_size)
            else:
                with _timed(shares):
                    done = _clean_up(bench, connection, days=days).removal.projects
            seconds[who].append(time.perf_counter() - began)
            _check_count(done, count)
            _say(f"  {who}: {seconds[who][-1]:.2f} s")
    found = {f"rows_{who}_ms": 1000 * statistics.median(values) / count for who, values in seconds.items()}
    return found | {f"rows_share_{name}": value / sum(seconds["clean_up"]) for name, value in shares.items()}


def _take_turns(contenders: Sequence[str], *, oldest: int) -> list[tuple[str, int]]:
    """Return whose turn it is, with the age in days of what goes then: the oldest are always the next."""
    turns = []
    for number in range(ROUNDS):
        first = number % len(contenders)
        turns += [*contenders[first:], *contenders[:first]]
    return [(who, oldest - 10 * number) for number, who in enumerate(turns)]


def _delete(connection: psycopg.Connection[Any], *, days: int, limit: int) -> int:
    count = 0
    while done := connection.execute(_DELETE, {"days": days, "limit": limit}).rowcount:
        count += done
    return count


def _leave_tombstones(connection: psycopg.Connection[Any], *, days: int, limit: int) -> int:
    count = 0
    while (row := connection.execute(_SELECT_BATCH, {"days": days, "limit": limit}).fetchone()) and row[0]:
        connection.execute(_EXPIRE_BATCH, {"ids": row[0]})
        with connection.transaction():
            for statement in _DROP_BATCH:
                connection.execute(statement, {"ids": row[0]})
        count += len(row[0])
    return count


def _clean_up(bench: Bench, connection: psycopg.Connection[Any], *, days: int, sweep: bool = False) -> Report:
    request = check_request(
        retention_days=days,
        dry_run=False,
        project=None,
        batch_size=bench.settings.cleanup_batch_size,
        max_runtime_minutes=60,
        free_size=None,
    )
    work = CleanUp(
        ProjectRecords(connection),
        request,
        run=f"cleanup/{days}-{sweep}",
        runs=_NoRuns(),
        settings=bench.settings,
        progress=lambda _: None,
    )
    if sweep:
        return work.execute()
    with mock.patch.object(cleanup, "Sweep", mock.MagicMock()):
        return work.execute()


def _check_count(done: int, expected: int) -> None:
    if done != expected:
        raise SystemExit(f"{done} went, not {expected}")


@contextmanager
def _timed(seconds: dict[str, float]) -> Iterator[None]:
    """Add up in `seconds` how long the parts of a clean-up take."""

    def wrap(name: str, work: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*arguments: Any, **values: Any) -> Any:
            began = time.perf_counter()
            try:
                return work(*arguments, **values)
            finally:
                seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began

        return timed

    with ExitStack() as stack:
        for name in ("count_due", "list_old", "claim_due", "delete"):
            stack.enter_context(mock.patch.object(RetentionRecords, name, wrap(name, getattr(RetentionRecords, name))))
        yield


# What is so every day


def _measure_daily(bench: Bench) -> dict[str, float]:
    """Nothing is due; the directory is empty, so that every record is looked for in vain."""
    bench.settle()
    days = bench.settings.generated_projects_retention_days
    found: dict[str, float] = {}
    with bench.connect() as connection:
        retention = ProjectRecords(connection).retention
        for name, work in (
            ("count_due", lambda: retention.count_due(load_rules(bench.settings), as_of=retention.read_clock())),
            ("restate_nothing", lambda: sum(retention.restate_expiries(load_rules(bench.settings)))),
            ("clean_up", lambda: _clean_up(bench, connection, days=days)),
            ("clean_up_and_sweep", lambda: _clean_up(bench, connection, days=days, sweep=True)),
        ):
            found[f"daily_{name}_seconds"] = _time(work)
        rules = json.dumps([{"project": "p-1*", "status": "ready", "days": 40}])
        changed = replace(bench.settings, retention_rules=rules)
        began = time.perf_counter()
        count = sum(retention.restate_expiries(load_rules(changed)))
        found["restate_changed_ms_each"] = 1000 * (time.perf_counter() - began) / count
        found["restate_changed"] = count
        sum(retention.restate_expiries(load_rules(bench.settings)))
    return found


def _time(work: Callable[[], object]) -> float:
    seconds = []
    for _ in range(3):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return statistics.median(seconds)


# Directories


def _measure_directories(bench: Bench) -> dict[str, float]:
    """Let the clean-up and `rm -rf` take turns."""
    count = bench.size(DIRECTORIES_EACH)
    template, entries = _make_template(bench.root)
    ours = bench.settings.generated_projects_dir
    turns = _take_turns(("clean_up", "rm"), oldest=800)
    with bench.connect() as connection:
        for who, days in turns:
            target, names = bench.root / f"rm-{days}", [str(number) for number in range(count)]
            if who == "clean_up":
                bench.fill(_FILL_OLD, count=count, days=days)
                rows = connection.execute("SELECT id FROM generated_project WHERE run_id LIKE %s", (f"old-{days}-%",))
                target, names = ours, [str(row[0]) for row in rows]
            _copy(template, names, target=target)
    bench.settle()
    os.sync()
    seconds: dict[str, list[float]] = {"clean_up": [], "rm": []}
    parts: dict[str, float] = {}
    with bench.connect() as connection:
        for who, days in turns:
            began = time.perf_counter()
            if who == "rm":
                subprocess.run(["rm", "-rf", str(bench.root / f"rm-{days}")], check=True)
            else:
                with _timed(parts):
                    _check_count(_clean_up(bench, connection, days=days).removal.projects, count)
            seconds[who].append(time.perf_counter() - began)
            _say(f"  {who}: {seconds[who][-1]:.2f} s")
    # The trash and the marker.
    _check_count(len([*ours.iterdir(), *(ours / TRASH).iterdir()]), 2)
    return {
        "directories_clean_up_ms": 1000 * statistics.median(seconds["clean_up"]) / count,
        "directories_rm_ms": 1000 * statistics.median(seconds["rm"]) / count,
        "directories_entries_each": entries,
        "directories_share_disk": 1 - sum(parts.values()) / sum(seconds["clean_up"]),
    }


def _make_template(root: Path) -> tuple[Path, int]:
    """Return a directory with copies of what a generated project's directory holds, and how many entries one has."""
    template = root / "template"
    one = template / "0"
    repository, archives = one / "repository", one / "archives"
    archives.mkdir(parents=True)
    for number in range(16):
        file = repository / ("src" if number % 2 else "tests") / f"module_{number}.py"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f'"""Module {number}."""\n' + f"VALUE_{number} = {number}\n" * 60)
    author = ("-c", "user.name=bench", "-c", "user.email=bench@example.com")
    for arguments in (("init", "--quiet", "--template="), ("add", "."), (*author, "commit", "--quiet", "-m", "x")):
        subprocess.run(["git", "-C", str(repository), *arguments], check=True)
    subprocess.run(
        ["git", "-C", str(repository), "archive", "--format=tar.gz", "-o", str(archives / "a.tar.gz"), "HEAD"],
        check=True,
    )
    entries = sum(1 for _ in one.rglob("*")) + 1
    for number in range(1, _COPIES):
        subprocess.run(["cp", "-a", str(one), str(template / str(number))], check=True)
    return template, entries


def _copy(template: Path, names: Sequence[str], *, target: Path) -> None:
    """Copy the template so often that there is a directory for each of `names`; two copy at once."""
    target.mkdir(exist_ok=True)

    def copy(start: int) -> None:
        copies = target.parent / f"copies-{start}"
        subprocess.run(["cp", "-a", str(template), str(copies)], check=True)
        for number, name in enumerate(names[start : start + _COPIES]):
            (copies / str(number)).rename(target / name)
        shutil.rmtree(copies)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(copy, range(0, len(names), _COPIES)))


# Meanwhile


def _measure_meanwhile(bench: Bench) -> dict[str, float]:
    """Clean up in another process, while its memory and locks are sampled and others read."""
    found: dict[str, float] = {}
    sizes = [(bench.size(full), full, 600 - 10 * number) for number, full in enumerate(MEMORY)]
    for count, _, days in sizes:
        bench.fill(_FILL_OLD, count=count, days=days)
    bench.settle()
    key = _find_one(bench)
    idle = _read(bench, key, lambda: _wait(bench.scale * READ_SECONDS))
    for count, full, days in sizes:
        peaks: dict[str, float] = {}

        def work(count: int = count, days: int = days, peaks: dict[str, float] = peaks) -> None:
            peaks.update(_run_in_child(bench, days=days, expected=count))

        if full == max(MEMORY):
            meanwhile = _read(bench, key, work)
            found |= {name: value for name, value in peaks.items() if name.startswith(("longest", "clean_up"))}
        else:
            work()
        found |= {f"memory_{full}_mb": peaks["peak_mb"], f"memory_{full}_more_than_at_start_mb": peaks["more_mb"]}
        _say(f"  {count}: {peaks}")
    for kind, values in _read(bench, key, lambda: _wait(bench.scale * READ_SECONDS)).items():
        idle[kind] += values
    for name, reads in (("idle", idle), ("meanwhile", meanwhile)):
        for kind, values in reads.items():
            found[f"reads_{kind}_{name}_p50_ms"] = 1000 * statistics.median(values)
            found[f"reads_{kind}_{name}_p95_ms"] = 1000 * statistics.quantiles(values, n=20)[-1]
    return found


def _wait(seconds: float) -> None:
    time.sleep(max(1.0, seconds))


def _find_one(bench: Bench) -> UUID:
    with bench.connect() as connection:
        row = connection.execute("SELECT id FROM generated_project WHERE status = 'ready' LIMIT 1").fetchone()
    if row is None:
        raise SystemExit("there is nothing to read")
    found: UUID = row[0]
    return found


def _read(bench: Bench, key: UUID, work: Callable[[], None]) -> dict[str, list[float]]:
    """Return the seconds of each kind of read that some threads do now and then while `work` goes on."""
    seconds: dict[str, list[float]] = {kind: [] for kind in _KINDS}
    over = threading.Event()

    def read(first: int) -> None:
        with bench.connect() as connection:
            records = ProjectRecords(connection)
            for number in itertools.count(first):
                if over.wait(_READ_PAUSE_SECONDS):
                    return
                kind = _KINDS[number % len(_KINDS)]
                began = time.perf_counter()
                if kind == "get":
                    records.get_generated_project(key)
                else:
                    records.listing.list(
                        listing.GENERATED_OF_PROJECT,
                        order=Order(key="created_at", descending=kind == "newest"),
                        limit=50,
                        within={"project": f"p-{number % PROJECTS}"},
                        filters=_LIVING,
                    )
                seconds[kind].append(time.perf_counter() - began)

    threads = [threading.Thread(target=read, args=(number,)) for number in range(_READERS)]
    for thread in threads:
        thread.start()
    try:
        work()
    finally:
        over.set()
        for thread in threads:
            thread.join()
    return seconds


def _run_in_child(bench: Bench, *, days: int, expected: int) -> dict[str, float]:
    """Return the memory of a clean-up, and how long its longest transactions were."""
    context = multiprocessing.get_context("spawn")  # nothing of this process's memory is in it
    receiver, sender = context.Pipe(duplex=False)
    child = context.Process(target=_clean_up_in_child, args=(bench, days, sender))
    child.start()
    sender.close()
    process = psutil.Process(child.pid)
    _check_count(receiver.recv(), 0)  # all is imported
    began = time.perf_counter()
    start = peak = process.memory_info().rss
    longest = locking = 0.0
    with bench.connect() as connection:
        while not receiver.poll(_SAMPLE_SECONDS):
            peak = max(peak, process.memory_info().rss)
            for seconds, is_locking in connection.execute(_SELECT_LOCKING, {"name": _NAME}).fetchall():
                longest = max(longest, seconds)
                locking = max(locking, seconds if is_locking else 0.0)
    took = time.perf_counter() - began
    _check_count(receiver.recv(), expected)
    child.join()
    return {
        "peak_mb": peak / 1e6,
        "more_mb": (peak - start) / 1e6,
        "longest_lock_seconds": locking,
        "longest_transaction_seconds": longest,
        "clean_up_meanwhile_ms": 1000 * took / expected,
    }


def _clean_up_in_child(bench: Bench, days: int, sender: Any) -> None:
    with bench.connect(name=_NAME) as connection:
        sender.send(0)
        sender.send(_clean_up(bench, connection, days=days).removal.projects)


if __name__ == "__main__":
    main()
