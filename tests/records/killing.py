"""Kills a step at every line of the code that commits it, tries again, and reports what is there then.

Run as a program of its own: it forks for every kill, which a test process with threads must not do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Any

import git  # noqa: F401  # imported before forking, as everything else
import psycopg

from scaffolder.config import Settings
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_repository
from scaffolder.records.models import RunIdentity
from scaffolder.records.store import ProjectRecords
from tests.factories import make_file, make_run, open_project

WATCHED = ("generation/repository.py", "generation/step_commit.py", "records/store.py")
FILES = [make_file("a.txt"), make_file("d/b.bin", bytes(100_000)), make_file("run", "#!", executable=True)]


def run_step(url: str, root: str, run: RunIdentity, *, kill_at: int) -> None:
    """Do the step; die at the line event number `kill_at` (0: never) of the watched modules."""
    settings = replace(Settings(), generated_projects_dir=Path(root))
    with psycopg.connect(url, autocommit=True) as connection:
        records = ProjectRecords(connection)
        key = open_project(records, run=run).id
        if kill_at:
            sys.settrace(_killer(kill_at))
        commit_step(
            records, key, step_id="files", subject="files", edits=TreeEdits(files=FILES), trailers=(), settings=settings
        )
        sys.settrace(None)


def _killer(kill_at: int) -> Any:
    seen = 0

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal seen
        if not frame.f_code.co_filename.endswith(WATCHED):
            return None
        if event == "line":
            seen += 1
            if seen == kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
        return trace

    return trace


def fork(url: str, root: str, run: RunIdentity, *, kill_at: int) -> bool:
    """Do the step in a child; say whether it was killed."""
    return run_in_child(lambda: run_step(url, root, run, kill_at=kill_at), what=f"the step (kill_at={kill_at})")


def run_in_child(work: Callable[[], None], *, what: str) -> bool:
    """Do `work` in a child; say whether it was killed. Raises SystemExit where it failed."""
    child = os.fork()
    if child == 0:
        try:
            work()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        return True
    if os.WEXITSTATUS(status):
        raise SystemExit(f"{what} failed")
    return False


def read_state(url: str, root: str, run: RunIdentity) -> dict[str, Any]:
    settings = replace(Settings(), generated_projects_dir=Path(root))
    with psycopg.connect(url, autocommit=True) as connection:
        records = ProjectRecords(connection)
        found = records.find_generated_project(run.dag_id, run.run_id)
        assert found is not None
        repository = get_repository(found.id, settings=settings)
        head = repository.head()
        return {
            "head": head,
            "recorded_head": found.head_commit,
            "steps": [commit.step_id for commit in repository.history()],
            "tree": [(entry.path, entry.mode, entry.size_bytes) for entry in repository.files(head or "")],
            "rows": [(file.path, file.mode, file.size_bytes) for file in records.list_files(found.id)],
            "counts": [found.file_count, found.size_bytes],
        }


def main() -> None:
    url, root, step = sys.argv[1], sys.argv[2], int(sys.argv[3])
    states, kills, kill_at = [], 0, step
    while True:
        # One run again and again would find its first commit; each kill has a run of its own, with the same bytes.
        run = make_run(run_id="same")
        target = f"{root}/{kill_at}"
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("TRUNCATE generated_project CASCADE")
        killed = fork(url, target, run, kill_at=kill_at)
        kills += killed
        if killed:
            fork(url, target, run, kill_at=0)
        states.append(read_state(url, target, run))
        if not killed:
            break
        kill_at += step
    print(json.dumps({"kills": kills, "states": states}))


if __name__ == "__main__":
    main()
