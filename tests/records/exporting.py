"""Exports in processes that tests may kill: reads what to export from standard input, forks, tells pid and end.

A program of its own: it forks for every try, which a test process with threads must not do.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import UUID

import git  # noqa: F401  # imported before forking, as everything else
import github
import nacl.public  # noqa: F401  # the same
import psycopg

from scaffolder.config import Settings
from scaffolder.exports.github.exporter import GitHubExporter  # noqa: F401  # the same
from scaffolder.exports.github.transport import GitHubConnection
from scaffolder.exports.service import export_generated_project
from scaffolder.generation.git_remote import GitRemote
from scaffolder.records.store import ProjectRecords


def export(order: dict[str, Any]) -> None:
    settings = replace(
        Settings(),
        generated_projects_dir=Path(order["root"]),
        github_write_interval_seconds=0,
        github_writes_per_minute=1_000_000,
        github_writes_per_hour=1_000_000,
        export_timeout_seconds=10,
        git_timeout_seconds=20,
    )
    with psycopg.connect(order["database"], autocommit=True) as connection:
        export_generated_project(
            ProjectRecords(connection),
            UUID(order["key"]),
            step_id="publish",
            target=order["target"],
            options=order["options"],
            connection=_connect(order, settings),
            connection_id="test_host",
            settings=settings,
        )


def _connect(order: dict[str, Any], settings: Settings) -> Any:
    if order["target"] == "git":
        return GitRemote(url=order["url"], username="ada", password=order["token"])
    client = github.Github(auth=github.Auth.Token(order["token"]), base_url=order["url"])
    return GitHubConnection(client, conn_id="test_host", settings=settings)


def main() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            signal.sigwait({signal.SIGUSR1})  # the test knows the pid by now
            try:
                export(order)
            except BaseException as error:
                print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(-os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status), flush=True)


if __name__ == "__main__":
    main()
