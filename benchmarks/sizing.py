"""What generated projects take: bytes and names on the disk, bytes in Postgres, while they are there and afterwards.

Each has one step with files of about 1 KB, written by the code that writes them, an answered agent call of the same
bytes, and an exported zip archive. Bytes on the disk are allocated blocks. Those of Postgres are tables with their
indexes, once ``VACUUM FULL`` has taken out what is free, and less what they have when empty; what stays is what the
audit period keeps after a removal. The back-up is the commands of docs/operations.md.
"""

from __future__ import annotations

import os
import random
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import psycopg
from sqlalchemy import make_url

from benchmarks.result import print_result
from local_airflow.postgres import EmbeddedPostgres, find_programs
from scaffolder.config import Settings
from scaffolder.exports.service import export_generated_project
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory
from scaffolder.generation.tree import GeneratedFile
from scaffolder.operators.run import open_generated_project
from scaffolder.records import schema
from scaffolder.records.models import RunIdentity
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.removal import remove_generated_project

COUNTS: Final = {10: 200, 100: 100, 1_000: 20}
"""How many generated projects are made, by how many files each has."""
_BLOCK_BYTES: Final = 512
_RUN_AT: Final = datetime(2026, 3, 4, 5, 6, 7, tzinfo=UTC)
_WORDS: Final = ("def", "return", "self", "class", "name", "value", "for", "in", "if", "None", "import", "list")


def make_files(count: int, seed: int) -> list[GeneratedFile]:
    """Return files of about 1 KB that no other generated project has, and that compress as code does."""
    chosen = random.Random(seed)  # no secret
    return [
        GeneratedFile(
            path=f"src/part{number // 20}/module{number}.py",
            content=" ".join([*chosen.choices(_WORDS, k=170), f"{chosen.getrandbits(128):x}\n"]).encode(),
            origin="step:files",
        )
        for number in range(count)
    ]


def generate(records: ProjectRecords, settings: Settings, *, files: list[GeneratedFile]) -> UUID:
    """Make one generated project with an agent call and an archive; return its id."""
    run = RunIdentity(dag_id="sizing", run_id=str(uuid4()), run_at=_RUN_AT, triggered_by="ada")
    key = open_generated_project(records, run, project="default", name="sizing", workflow="sizing", params={}).id
    call = uuid4()
    records.agent_calls.begin(
        call, generated_project_id=key, step_id="models", connection="a", operation="b", request_digest="0" * 64
    )
    answer: Any = {"files": [{"path": one.path, "content": one.content.decode()} for one in files]}
    records.agent_calls.answer(call, http_status=200, response=answer, latency_ms=1)
    commit_step(
        records, key, step_id="files", subject="files", edits=TreeEdits(files=files), trailers=(), settings=settings
    )
    export_generated_project(records, key, step_id="publish", target="archive", options={}, settings=settings)
    records.mark_ready(key, rules=keep_days(30))
    return key


def measure_disk(directory: Path) -> tuple[int, int]:
    """Return the allocated bytes below a directory, and how many names there are."""
    statuses = [os.lstat(Path(top, name)) for top, below, files in os.walk(directory) for name in (*below, *files)]
    return sum(one.st_blocks * _BLOCK_BYTES for one in statuses), len(statuses)


def measure_tables(connection: psycopg.Connection[Any]) -> int:
    """Return the bytes of all tables and indexes of the records."""
    connection.execute("VACUUM FULL")
    statement = (
        "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
        "WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    )
    return int(connection.execute(statement).fetchall()[0][0])


def back_up(url: str, settings: Settings, place: Path) -> Iterator[tuple[str, float]]:
    """Back both up; yield seconds and megabytes."""
    root = settings.generated_projects_dir
    commands = {
        "records": [str(find_programs() / "pg_dump"), "--format=custom", f"--file={place}/records", url],
        "projects": ["tar", "--create", "--format=posix", f"--file={place}/projects", f"--directory={root}", "."],
    }
    for what, command in commands.items():
        began = time.monotonic()
        subprocess.run(command, check=True)
        yield f"back-up of {what}, s", time.monotonic() - began
        yield f"back-up of {what}, MB", (place / what).stat().st_size / 1e6


def measure(url: str, settings: Settings, *, file_count: int, count: int) -> dict[str, float]:
    """Make `count` generated projects, back them up and remove them; return what each of them takes."""
    with psycopg.connect(url, autocommit=True) as connection:
        records = ProjectRecords(connection)
        empty = measure_tables(connection)
        keys = [generate(records, settings, files=make_files(file_count, seed)) for seed in range(count)]
        tables = measure_tables(connection) - empty
        directory = get_project_directory(keys[0], settings=settings)
        figures = {"bytes of its files": float(sum(len(one.content) for one in make_files(file_count, 0)))}
        for part in ("repository/.git", "repository", "archives", ""):
            size, names = measure_disk(directory / part)
            figures |= {f"disk of {part or 'all'}": float(size), f"names of {part or 'all'}": float(names)}
        figures["Postgres"] = tables / count
        with tempfile.TemporaryDirectory() as place:
            figures |= {f"{what}, of {count}": value for what, value in back_up(url, settings, Path(place))}
        for key in keys:
            remove_generated_project(records, key, settings=settings)
        figures["Postgres after its removal"] = (measure_tables(connection) - empty) / count
    return figures


def main() -> None:
    """Measure, and print the result."""
    figures: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as place:
        Path(place).chmod(0o711)  # the Postgres server may run as another user and has to get through
        server = EmbeddedPostgres(Path(place, "postgres"))
        server.start()
        try:
            for file_count, count in COUNTS.items():
                server.create_database(f"files_{file_count}")
                schema.migrate(make_url(server.url(f"files_{file_count}", driver="psycopg")))
                root = Path(place, str(file_count))
                root.mkdir()
                settings = replace(Settings(), generated_projects_dir=root, cache_dir=Path(place, "cache"))
                found = measure(server.url(f"files_{file_count}"), settings, file_count=file_count, count=count)
                figures |= {f"{file_count} files: {what}": value for what, value in found.items()}
        finally:
            server.stop()
    print_result("sizing", ratios={}, figures=figures)


if __name__ == "__main__":
    main()
