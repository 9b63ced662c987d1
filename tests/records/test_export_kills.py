"""kill -9 at the remote steps of an export, and at random moments, each followed by a retry."""

from __future__ import annotations

import itertools
import json
import os
import random
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.config import Settings
from scaffolder.records.models import ExportStatus
from scaffolder.records.store import ProjectRecords
from tests.conftest import CHECKOUT
from tests.exports import Exports, list_files, refs
from tests.github_peer import GithubPeer, serve_github
from tests.profile import NIGHTLY

RANDOM_KILLS = 100 if NIGHTLY else 10
OPTIONS: dict[str, dict[str, Any]] = {
    "repository": {
        "owner": "acme",
        "description": "Bookings",
        "topics": ["a"],
        "labels": [{"name": "debt"}],
        "variables": {"REGION": "eu"},
        "webhooks": [{"url": "https://ci.example.com/hook"}],
        "rulesets": [{"name": "main", "rules": [{"type": "deletion"}]}],
        "codeowners": {"*": ["@acme/platform"]},
    },
    "pull_request": {
        "owner": "acme",
        "repository": "mono",
        "pull_request": {"target_path": "services/x", "labels": ["bug"], "assignees": ["robot"]},
    },
}


@dataclass
class Exporter:
    """A program that exports in processes which can be killed."""

    process: subprocess.Popen[str]

    def run(self, order: dict[str, Any], *, on_start: Callable[[int], object] = str) -> int:
        """Export, and return the exit status, negative for a signal."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(json.dumps(order) + "\n")
        self.process.stdin.flush()
        pid = int(self.process.stdout.readline())
        on_start(pid)
        os.kill(pid, signal.SIGUSR1)
        return int(self.process.stdout.readline())


@pytest.fixture(scope="module")
def exporter() -> Iterator[Exporter]:
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(CHECKOUT / "plugins"), str(CHECKOUT)])}
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.records.exporting"],
        cwd=CHECKOUT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    yield Exporter(process)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.close()
    process.wait(30)
    process.stdout.close()


@pytest.fixture
def github(tmp_path: Path) -> Iterator[GithubPeer]:
    (tmp_path / "github").mkdir()
    with serve_github(tmp_path / "github") as peer:
        yield peer


class Scene:
    """A GitHub, and a new generated project for each kill."""

    def __init__(
        self, records: ProjectRecords, settings: Settings, github: GithubPeer, database: str, *, mode: str
    ) -> None:
        self.github = github
        self.mode = mode
        self.steps = 0
        github.repositories.clear()
        github.redirects.clear()
        self.mono = github.create_repository("acme/mono")
        self.exports = Exports(records, settings)
        self.order = {
            "database": database,
            "root": str(settings.generated_projects_dir),
            "key": str(self.exports.key),
            "target": "github",
            "options": OPTIONS[mode],
            "url": github.api_url,
            "token": github.token,
        }

    def kill_at(self, step: int) -> Callable[[int], None]:
        """Return what makes the peer kill a process at remote step `step`, from 1; each request is two."""
        self.steps = 0

        def arm(pid: int) -> None:
            def count(when: str, method: str, path: str) -> bool | None:
                self.steps += 1
                if self.steps != step:
                    return None
                os.kill(pid, signal.SIGKILL)
                # Killed while it was sending: nothing has arrived.
                return False if when == "before" else None

            self.github.on_request = count

        return arm

    def check(self) -> None:
        """Whatever was killed: one repository or request, the right commit, the right record."""
        self.github.on_request = None
        export = self.exports.only
        assert (export.status, export.error, export.commit) == (ExportStatus.EXPORTED, None, self.exports.commit)
        others = [one for one in self.github.repositories if one is not self.mono]
        if self.mode == "repository":
            (made,) = others
            tip = str(export.exported_commit)
            assert refs(made.directory) == {"refs/heads/main": tip}
            assert list_files(made.directory, tip)["README.md"] == "# Hi\n"
            assert (export.remote_id, export.created_remote, export.url) == (
                str(made.id), True, f"{self.github.url}/acme/bookings")  # fmt: skip
            assert (made.description, made.topics, made.variables) == ("Bookings", ["a"], {"REGION": "eu"})
            assert (len(made.hooks), len(made.rulesets), "debt" in made.labels) == (1, 1, True)
        else:
            assert others == []
            (pull,) = self.mono.pulls.values()
            branch = self.mono.branches["scaffolder/bookings"]
            assert (pull.labels, pull.assignees, branch) == (["bug"], ["robot"], export.exported_commit)
            assert list_files(self.mono.directory, branch)["services/x/README.md"] == "# Hi\n"
            assert export.url == f"{self.github.url}/acme/mono/pull/{pull.number}"
        assert self.github.flaws == []


@pytest.fixture
def new_scene(
    records: ProjectRecords,
    settings: Settings,
    github: GithubPeer,
    postgres: EmbeddedPostgres,
    records_database: str,
) -> Callable[[str], Scene]:
    return lambda mode: Scene(records, settings, github, postgres.url(records_database), mode=mode)


def retry(exporter: Exporter, scene: Scene) -> None:
    """Try again as Airflow does; a git that outlived its task may still be in the way the first time."""
    for _ in range(3):
        if exporter.run(scene.order) == 0:
            return
    raise AssertionError("three tries have failed")


def pick_steps() -> Iterator[int]:
    """Each request is two steps, before and after: both at night, one of them in turns by day."""
    for request in itertools.count():
        steps = (2 * request + 1, 2 * request + 2)
        yield from steps if NIGHTLY else steps[request % 2 :][:1]


@pytest.mark.parametrize("mode", list(OPTIONS))
@pytest.mark.timeout(900)
def test_a_kill_at_any_remote_step_leaves_one_result(
    exporter: Exporter, new_scene: Callable[[str], Scene], mode: str
) -> None:
    for step in pick_steps():
        scene = new_scene(mode)
        status = exporter.run(scene.order, on_start=scene.kill_at(step))
        if status == 0:
            break
        assert status == -signal.SIGKILL
        scene.github.on_request = None
        retry(exporter, scene)
        scene.check()
    assert step > 12
    scene.check()


@pytest.mark.parametrize("mode", list(OPTIONS))
@pytest.mark.timeout(1800)
def test_kills_at_random_moments_leave_one_result(
    exporter: Exporter, new_scene: Callable[[str], Scene], mode: str
) -> None:
    moments = random.Random(7)
    killed = 0
    longest = 1.0
    for _ in range(RANDOM_KILLS // len(OPTIONS)):
        scene = new_scene(mode)
        timers: list[threading.Timer] = []

        def kill_later(pid: int, timers: list[threading.Timer] = timers) -> None:
            timers.append(threading.Timer(moments.uniform(0, longest), kill, [pid]))
            timers[0].start()

        killed += exporter.run(scene.order, on_start=kill_later) < 0
        timers[0].cancel()
        timers[0].join()
        retry(exporter, scene)
        scene.check()
    assert killed


def kill(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
