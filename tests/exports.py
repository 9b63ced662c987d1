"""One generated project with a commit, and short ways to export it; what tests of all targets share."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from scaffolder.config import Settings
from scaffolder.exports.contract import SecretReference
from scaffolder.exports.service import export_generated_project, roll_back_exports
from scaffolder.generation.merge import TreeEdits
from scaffolder.generation.step_commit import commit_step, get_project_directory, get_repository
from scaffolder.records.models import RepositoryExport
from scaffolder.records.store import ProjectRecords
from tests.factories import make_file, open_project

FILES = [make_file("README.md", "# Hi\n"), make_file("bin/run", "#!/bin/sh\n", executable=True)]
SECRETS = {"prod_db": "s3cret-value-4c5d6e", "hook": "h00k-secret-7f8a9b"}


class Exports:
    """A generated project named "bookings", and its exports."""

    def __init__(self, records: ProjectRecords, settings: Settings, *, project: str = "default") -> None:
        self.records = records
        self.settings = settings
        self.key = open_project(records, project=project).id
        self.directory = get_project_directory(self.key, settings=settings)
        self.repository = get_repository(self.key, settings=settings)
        self.commit = self.generate(FILES)

    def generate(self, files: list[Any], *, step_id: str = "files") -> str:
        return commit_step(
            self.records,
            self.key,
            step_id=step_id,
            subject=step_id,
            edits=TreeEdits(files=files),
            trailers=(),
            settings=self.settings,
        ).commit

    def export(
        self, target: str, *, connection: Any = None, rollback: bool = False, identity: Any = None, **options: Any
    ) -> RepositoryExport:
        return export_generated_project(
            self.records,
            self.key,
            step_id="publish",
            target=target,
            options=options,
            connection=connection,
            connection_id="test_host" if connection is not None else None,
            identity=identity,
            rollback=rollback,
            read_secret=read_secret,
            settings=self.settings,
        )

    def roll_back(self, connection: Any) -> list[str]:
        return roll_back_exports(self.records, self.key, settings=self.settings, connect=lambda *_: connection)

    def recorded(self) -> list[RepositoryExport]:
        return self.records.exports.list(self.key)

    @property
    def only(self) -> RepositoryExport:
        (found,) = self.recorded()
        return found


def read_secret(reference: SecretReference) -> str:
    return SECRETS[reference.connection]


def refs(directory: Path) -> dict[str, str]:
    text = run_git(directory, "for-each-ref", "--format=%(refname) %(objectname)")
    return dict(line.split() for line in text.splitlines())


def list_files(directory: Path, ref: str) -> dict[str, str]:
    """Return the files of a commit with their contents."""
    paths = run_git(directory, "ls-tree", "-r", "--name-only", ref).splitlines()
    return {path: run_git(directory, "show", f"{ref}:{path}") for path in paths}


def run_git(directory: Path, *arguments: str) -> str:
    command = ["git", "--git-dir", str(directory), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
