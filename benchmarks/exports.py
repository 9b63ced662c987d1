"""Exports beside what git and zip do alone: pushes, archives, and 50 repositories at once under GitHub's limits.

The same generated project, with files of about 1 KB, is pushed by the target ``git`` and by a bare ``git push`` to the
same server (git's http-backend, with a password), and archived by the target ``archive`` and by ``git archive`` and
``zip -r``. Ours is the whole export: its record in Postgres, what is looked up before and verified after, for archives
the digest, the manifest and the comparison of every file with its record. Each measurement runs in a child forked
after all imports are done, as Airflow's workers fork tasks; contenders alternate, figures are medians. Memory is the
peak of the child and its descendants (USS), sampled every 20 ms in a round of its own.
"""

from __future__ import annotations

import functools
import itertools
import multiprocessing
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import psutil
import psycopg
from rich.console import Console
from rich.table import Table

from benchmarks.result import print_result
from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.exports.archive import ArchiveExporter  # noqa: F401  # imported before forking, as everything else
from scaffolder.exports.git import GitExporter  # noqa: F401  # the same
from scaffolder.exports.github.exporter import GitHubExporter  # noqa: F401  # the same
from scaffolder.exports.github.transport import GitHubConnection
from scaffolder.exports.service import export_generated_project
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_repository
from scaffolder.generation.tree import GeneratedFile
from scaffolder.operators.run import open_generated_project
from scaffolder.records.models import RunIdentity
from scaffolder.records.store import ProjectRecords

ROUNDS: Final = {10: 9, 1_000: 7, 10_000: 5}
REPOSITORIES: Final = 50
_FORMATS: Final = ("zip", "tar.gz", "tar.zst")
_SAMPLE_SECONDS: Final = 0.02
_PASSWORD: Final = "bench-passw0rd"
_WORDS: Final = ["".join(letters) for letters in itertools.product("bdfgklmnprstvz", "aeiou", "bdgklmnprst", "aeo")]


@dataclass(frozen=True, kw_only=True)
class Bench:
    """Where everything lies."""

    root: Path
    database: str
    settings: Settings

    def connect(self) -> psycopg.Connection[Any]:
        """Open a connection to the records."""
        return psycopg.connect(self.database, autocommit=True)


def main() -> None:
    """Measure, print."""
    import git  # noqa: F401  # before forking, too
    import github  # noqa: F401  # the same

    root = Path(tempfile.mkdtemp(prefix="scaffolder-bench-"))
    root.chmod(0o711)
    postgres = EmbeddedPostgres(root / "postgres")
    postgres.start()
    figures: dict[str, float] = {}
    try:
        postgres.create_database("scaffolder")
        _migrate(postgres)
        settings = replace(Settings(), generated_projects_dir=root / "generated-projects", max_project_files=20_000)
        bench = Bench(root=root, database=postgres.url("scaffolder"), settings=settings)
        for count, rounds in ROUNDS.items():
            key = _generate(bench, count)
            figures |= _measure_pushes(bench, key, count, rounds=rounds)
            figures |= _measure_archives(bench, key, count, rounds=rounds)
        figures |= _measure_many(bench)
    finally:
        postgres.stop()
        shutil.rmtree(root, ignore_errors=True)
    _print_table(figures)
    ratios = {
        "git_push_10000": figures["push_10000_ours_seconds"] / figures["push_10000_git_seconds"],
        "git_archive_10000": figures["zip_10000_ours_seconds"] / figures["zip_10000_git_seconds"],
        "git_archive_tar_gz_10000": figures["tar.gz_10000_ours_seconds"] / figures["tar.gz_10000_git_seconds"],
        "zip_r_10000": figures["zip_10000_ours_seconds"] / figures["zip_10000_zip_seconds"],
    }
    print_result("exports", ratios=ratios, figures=figures)


def _migrate(postgres: EmbeddedPostgres) -> None:
    from sqlalchemy import make_url

    from scaffolder.records import schema

    schema.migrate(make_url(postgres.url("scaffolder", driver="psycopg")))


def _generate(bench: Bench, count: int) -> UUID:
    """Make a generated project with `count` files and return its id."""
    files = [
        GeneratedFile(
            path=f"src/package_{number // 100:03}/module_{number:05}.py",
            content=_write_module(number),
            origin="template:bench@1",
        )
        for number in range(count)
    ]
    run = RunIdentity(
        dag_id="bench", run_id=f"run-{count}", run_at=datetime(2026, 3, 4, tzinfo=UTC), triggered_by="ada"
    )
    with bench.connect() as connection:
        records = ProjectRecords(connection)
        project = open_generated_project(
            records, run, project="bench", name=f"bench-{count}", workflow="bench", params={}
        )
        commit_step(
            records,
            project.id,
            step_id="files",
            subject="files",
            edits=TreeEdits(files=files),
            trailers=(),
            settings=bench.settings,
        )
    return project.id


def _write_module(number: int) -> bytes:
    """Return about 1 KB that compresses to half, as source code does; the same for the same number."""
    words = random.Random(number)  # no secret
    lines = [f'"""Module {number}."""', ""]
    for _ in range(36):
        left, right = (words.choice(_WORDS) + "_" + words.choice(_WORDS) for _ in range(2))
        lines.append(f"{left} = {right}({words.randrange(10**6)})")
    return ("\n".join(lines) + "\n").encode()


# Pushes


def _measure_pushes(bench: Bench, key: UUID, count: int, *, rounds: int) -> dict[str, float]:
    from tests.servers import serve_git

    directory = get_repository(key, settings=bench.settings).directory
    (bench.root / f"git-{count}").mkdir()
    with serve_git(bench.root / f"git-{count}") as server:
        server.password = _PASSWORD

        def push_ours(name: str) -> None:
            remote = GitRemote(url=f"{server.url}/{{name}}.git", username=server.username, password=_PASSWORD)
            _export(bench, key, target="git", options={"repository": name}, connection=remote)

        def push_bare(name: str) -> None:
            host = server.url.removeprefix("http://")
            url = f"http://{server.username}:{_PASSWORD}@{host}/{name}.git"
            subprocess.run(["git", "-C", str(directory), "push", "--quiet", url, "HEAD:refs/heads/main"], check=True)

        contenders: dict[str, Callable[[str], None]] = {"ours": push_ours, "git": push_bare}
        return _race(f"push_{count}", contenders, rounds=rounds, prepare=server.create)


def _export(bench: Bench, key: UUID, *, target: str, options: Mapping[str, Any], connection: Any = None) -> None:
    with bench.connect() as database:
        export_generated_project(
            ProjectRecords(database),
            key,
            step_id="publish",
            target=target,
            options=options,
            connection=connection,
            connection_id="bench" if connection is not None else None,
            settings=bench.settings,
        )


# Archives


def _measure_archives(bench: Bench, key: UUID, count: int, *, rounds: int) -> dict[str, float]:
    directory = get_repository(key, settings=bench.settings).directory
    found: dict[str, float] = {}
    for kind in _FORMATS:
        archives = directory.parent / "archives"

        def ours(_: str, kind: str = kind) -> None:
            _export(bench, key, target="archive", options={"format": kind})

        def by_git(name: str, kind: str = kind) -> None:
            with (bench.root / f"{name}.{kind}").open("wb") as output:
                command = ["git", "-C", str(directory), "archive", f"--format={kind}", "--prefix=bench/", "HEAD"]
                subprocess.run(command, stdout=output, check=True)

        def by_zip(name: str) -> None:
            command = ["zip", "-q", "-r", str(bench.root / f"{name}.zip"), ".", "-x", ".git/*"]
            subprocess.run(command, cwd=directory, check=True)

        contenders: dict[str, Callable[[str], None]] = {"ours": ours}
        if kind != "tar.zst":
            contenders["git"] = by_git
        if kind == "zip" and shutil.which("zip"):
            contenders["zip"] = by_zip

        def prepare(_: str, archives: Path = archives) -> None:
            shutil.rmtree(archives, ignore_errors=True)
            for path in bench.root.glob("round*"):
                path.unlink()

        found |= _race(f"{kind}_{count}", contenders, rounds=rounds, prepare=prepare)
    return found


# Many at once


def _measure_many(bench: Bench) -> dict[str, float]:
    """Export 50 repositories at once to a GitHub that enforces its secondary limits, and count what it was asked."""
    from tests.github_peer import SecondaryLimits, serve_github

    keys = _generate_many(bench)
    (bench.root / "github").mkdir()
    with serve_github(bench.root / "github") as peer:
        # A little more than GitHub allows: the peer measures arrivals, whose distance varies.
        peer.limits = SecondaryLimits(min_interval_seconds=0.9, per_minute=80, per_hour=500)
        begin = time.monotonic()
        threads = [threading.Thread(target=_export_one, args=(bench, peer, key)) for key in keys]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        seconds = time.monotonic() - begin
        if len(peer.repositories) != REPOSITORIES or peer.flaws:
            raise SystemExit(f"{len(peer.repositories)} repositories, flaws: {peer.flaws}")
        return {
            "fifty_repositories_seconds": seconds,
            "fifty_repositories_api_requests_each": len(peer.requests) / REPOSITORIES,
            "fifty_repositories_git_requests_each": len(peer.git_requests) / REPOSITORIES,
            "fifty_repositories_limit_violations": peer.limit_violations,
            "fifty_repositories_floor_seconds": float(sum(one.writes for one in peer.requests)),
        }


def _generate_many(bench: Bench) -> list[UUID]:
    keys = []
    for number in range(REPOSITORIES):
        run = RunIdentity(
            dag_id="many", run_id=str(number), run_at=datetime(2026, 3, 4, tzinfo=UTC), triggered_by="ada"
        )
        with bench.connect() as connection:
            records = ProjectRecords(connection)
            project = open_generated_project(
                records, run, project="bench", name=f"many-{number}", workflow="bench", params={}
            )
            file = GeneratedFile(path="README.md", content=f"# {number}\n".encode(), origin="template:bench@1")
            commit_step(
                records,
                project.id,
                step_id="files",
                subject="files",
                edits=TreeEdits(files=[file]),
                trailers=(),
                settings=bench.settings,
            )
        keys.append(project.id)
    return keys


def _export_one(bench: Bench, peer: Any, key: UUID) -> None:
    from github import Auth, Github

    from scaffolder.errors import TransientError

    client = Github(auth=Auth.Token(peer.token), base_url=peer.api_url)
    connection = GitHubConnection(client, conn_id="bench", settings=bench.settings)
    while True:
        try:
            _export(bench, key, target="github", options={"owner": "acme"}, connection=connection)
        except TransientError as error:  # as Airflow does: it waits without a worker
            time.sleep(error.retry_after_seconds or 1)
        else:
            return


# Measuring


def _race(
    name: str, contenders: dict[str, Callable[[str], None]], *, rounds: int, prepare: Callable[[str], object]
) -> dict[str, float]:
    """Return the median seconds of each contender, who alternate, and its memory in MB."""
    seconds: dict[str, list[float]] = {who: [] for who in contenders}
    memory: dict[str, float] = {}
    for number in range(rounds + 2):
        order = list(contenders) if number % 2 else list(reversed(contenders))
        for who in order:
            target = f"round-{number}-{who}"
            prepare(target)
            is_sampled = number == rounds + 1
            took, peak = _run_in_child(functools.partial(contenders[who], target), sampled=is_sampled)
            if is_sampled:
                memory[who] = peak
            elif number:  # the first is the warm-up
                seconds[who].append(took)
    print(f"{name} done", file=sys.stderr)
    return {f"{name}_{who}_seconds": statistics.median(found) for who, found in seconds.items()} | {
        f"{name}_{who}_mb": size for who, size in memory.items()
    }


def _run_in_child(work: Callable[[], None], *, sampled: bool) -> tuple[float, float]:
    """Return the seconds that `work` takes in a forked child, and its peak memory in MB where it is sampled."""
    receiver, sender = multiprocessing.Pipe(duplex=False)
    child = multiprocessing.get_context("fork").Process(target=_work, args=(work, sender))
    child.start()
    sender.close()
    peak = 0.0
    while sampled and child.is_alive():
        peak = max(peak, _get_memory(child.pid or 0))
        time.sleep(_SAMPLE_SECONDS)
    try:
        took = float(receiver.recv())
    except EOFError:
        raise SystemExit("a contender failed") from None
    child.join()
    return took, peak / 1e6


def _work(work: Callable[[], None], sender: Connection) -> None:
    begin = time.monotonic()
    work()
    sender.send(time.monotonic() - begin)
    os._exit(0)


def _get_memory(pid: int) -> int:
    total = 0
    with suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with suppress(psutil.Error):
                total += one.memory_full_info().uss
    return total


def _print_table(figures: Mapping[str, float]) -> None:
    table = Table(title="exports, seconds (MB)", title_justify="left")
    for column in ("what", "files", "ours", "git", "zip -r"):
        table.add_column(column, justify="left" if column == "what" else "right")
    for kind in ("push", *_FORMATS):
        for count in ROUNDS:
            cells = [
                f"{figures[f'{kind}_{count}_{who}_seconds']:.3g} ({figures[f'{kind}_{count}_{who}_mb']:.0f})"
                if f"{kind}_{count}_{who}_seconds" in figures
                else ""
                for who in ("ours", "git", "zip")
            ]
            table.add_row(kind, f"{count:,}", *cells)
    Console().print(table)


if __name__ == "__main__":
    main()
