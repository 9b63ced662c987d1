"""Kills a clean-up at each of its steps, cleans up again, and reports what is there then.

A step is a function, killed as it is first entered (``steps``) or at every call (``calls``); of the steps, each
`stride`-th. Run as a program of its own: it forks for every kill, which a test process with threads must not do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any
from uuid import UUID

import psycopg

from scaffolder.config import Settings
from scaffolder.generation.step_commit import get_project_directory
from scaffolder.records.store import ProjectRecords
from scaffolder.retention.cleanup import CleanUp, check_request
from scaffolder.retention.rules import load_rules
from tests.factories import begin_call, make_run, open_project
from tests.records.killing import run_in_child

WATCHED = (
    "retention/cleanup.py",
    "retention/removal.py",
    "retention/directory.py",
    "retention/sweep.py",
    "records/retention.py",
)
TABLES = "generated_project, event, project"


class NoRuns:
    """No run is live."""

    def find_live(self, runs: Collection[tuple[str, str]]) -> set[tuple[str, str]]:
        return set()


def make_scene(url: str, settings: Settings) -> dict[str, UUID]:
    """Make one generated project of each kind, and what is left over."""
    settings.generated_projects_dir.mkdir(parents=True)
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute(f"TRUNCATE {TABLES} CASCADE")
        connection.execute("UPDATE installation SET has_directory = false")
        records = ProjectRecords(connection)
        rules = load_rules(settings)
        keys: dict[str, UUID] = {}
        for name in ("due", "due too", "held", "young", "begun", "old tombstone", "abandoned", "exported"):
            project = open_project(records, run=make_run(run_id=name))
            keys[name] = project.id
            call = UUID(int=project.id.int ^ 1)
            begin_call(records, call, project)
            records.agent_calls.answer(call, http_status=200, response={"say": name}, latency_ms=1)
            directory = get_project_directory(project.id, settings=settings)
            (directory / "repository" / "src").mkdir(parents=True)
            (directory / "repository" / "src" / "a.py").write_text("x")
            (directory / "archives").mkdir()
            (directory / "archives" / "left.zip").write_text("x")
            connection.execute(
                """INSERT INTO project_commit VALUES (%(id)s, 0, 'files', repeat('a', 40))""", {"id": project.id}
            )
            connection.execute(
                "INSERT INTO file_change VALUES (%(id)s, 0, 'src/a.py', NULL, repeat('b', 64), 1, 33188, 'x')",
                {"id": project.id},
            )
            if name != "abandoned":
                records.mark_ready(project.id, rules=rules)
        export = UUID(int=keys["exported"].int ^ 2)
        records.exports.intend(
            export,
            generated_project_id=keys["exported"],
            step_id="publish",
            target="archive",
            options={},
            idempotency_key="x",
            commit="a" * 40,
            run_id="gone",
        )
        records.exports.mark_exporting(export)
        records.hold(keys["held"], reason="x", username="olga", until=None)
        for name in ("begun", "old tombstone"):
            records.retention.expire(keys[name], reason="x")
        begun = get_project_directory(keys["begun"], settings=settings)
        trash = settings.generated_projects_dir / ".trash"
        trash.mkdir()
        begun.rename(trash / f"{begun.name}-0")
        (trash / f"{UUID(int=3)}-0" / "old").mkdir(parents=True)
        (settings.generated_projects_dir / str(UUID(int=4)) / "repository").mkdir(parents=True)
        get_project_directory(keys["old tombstone"], settings=settings).rename(
            settings.generated_projects_dir / str(UUID(int=5))
        )
        records.retention.delete([keys["old tombstone"]])
        connection.execute("ALTER TABLE generated_project DISABLE TRIGGER USER")
        connection.execute(
            "UPDATE generated_project SET ended_at = ended_at - interval '40 days' WHERE run_id NOT IN ('young', 'exported') AND ended_at IS NOT NULL"
        )
        connection.execute(
            "UPDATE generated_project SET updated_at = now() - interval '400 days' WHERE run_id = 'old tombstone'"
        )
        connection.execute("ALTER TABLE generated_project ENABLE TRIGGER USER")
        connection.execute("UPDATE event SET at = now() - interval '400 days'")
    return keys


def clean_up(url: str, settings: Settings, *, run: str, kill_at: int, every_call: bool) -> None:
    """Clean up; die at the step number `kill_at` (0: never) of the watched modules."""
    request = check_request(
        retention_days=30, dry_run=False, project=None, batch_size=2, max_runtime_minutes=1, free_size=None
    )
    with psycopg.connect(url, autocommit=True) as connection:
        worker = CleanUp(
            ProjectRecords(connection), request, run=run, runs=NoRuns(), settings=settings, progress=lambda _: None
        )
        if kill_at:
            trace = _killer(kill_at, every_call=every_call)
            threading.settrace(trace)
            sys.settrace(trace)
        worker.execute()
        sys.settrace(None)
        threading.settrace(None)  # type: ignore[arg-type]  # None is taken


def _killer(kill_at: int, *, every_call: bool) -> Any:
    entered: list[str] = []

    def trace(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.endswith(WATCHED):
            return
        if every_call or code.co_qualname not in entered:
            entered.append(code.co_qualname)
            if len(entered) == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)

    return trace


def fork(url: str, settings: Settings, *, run: str, kill_at: int, every_call: bool) -> bool:
    """Clean up in a child; say whether it was killed."""
    return run_in_child(
        lambda: clean_up(url, settings, run=run, kill_at=kill_at, every_call=every_call),
        what=f"the clean-up (kill_at={kill_at})",
    )


def read_state(url: str, settings: Settings, keys: dict[str, UUID]) -> dict[str, Any]:
    names = {str(key): name for name, key in keys.items()}
    with psycopg.connect(url, autocommit=True) as connection:

        def rows(statement: str) -> list[Any]:
            return sorted(
                [names.get(str(row[0]), str(row[0])), *map(str, row[1:])] for row in connection.execute(statement)
            )  # type: ignore[call-overload]  # no literal

        return {
            "projects": rows("SELECT id, status, removal_reason, removal_claim, error FROM generated_project"),
            "moves": rows(
                "SELECT generated_project_id, detail ->> 'to', count(*) FROM event WHERE kind = 'status'"
                " AND subject = 'generated_project' GROUP BY 1, 2"
            ),
            "files": rows("SELECT generated_project_id, count(*) FROM file_change GROUP BY 1"),
            "answers": rows("SELECT generated_project_id, response IS NULL FROM agent_call"),
            "exports": rows("SELECT generated_project_id, status FROM repository_export"),
            "counts": rows("SELECT slug, generated_count FROM project"),
            "disk": sorted(
                "/".join(names.get(part, part) for part in path.relative_to(settings.generated_projects_dir).parts)
                for path in settings.generated_projects_dir.rglob("*")
            ),
        }


def main() -> None:
    url, root, every_call, stride = sys.argv[1], sys.argv[2], sys.argv[3] == "calls", int(sys.argv[4])
    states, kills, kill_at = [], 0, 1
    while True:
        settings = replace(
            Settings(),
            generated_projects_dir=Path(root, str(kill_at)),
            cache_dir=Path(root, "cache"),
            sweep_grace_hours=0,
            cleanup_threads=1,
        )
        keys = make_scene(url, settings)
        killed = fork(url, settings, run="one", kill_at=kill_at, every_call=every_call)
        kills += killed
        if killed:
            fork(url, settings, run="two", kill_at=0, every_call=every_call)
        states.append(read_state(url, settings, keys))
        if not killed:
            break
        kill_at += stride
    print(json.dumps({"kills": kills, "states": states}))


if __name__ == "__main__":
    main()
