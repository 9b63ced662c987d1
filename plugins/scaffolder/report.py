"""One generated project for people to read.

Its tree and where each file comes from, commits and their differences, agent calls, exports and events.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Self
from uuid import UUID

from scaffolder.generation.repository import Commit, ProjectRepository
from scaffolder.records.models import (
    AgentCall,
    Event,
    FileDifference,
    GeneratedProject,
    ProjectCommit,
    ProjectFile,
    RepositoryExport,
)
from scaffolder.records.store import ProjectRecords
from scaffolder.terminal import make_printable

_LONG_ID = re.compile(r"([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is known of one generated project. `files` are those of the head, or of the commit asked for.

    `commits` have no subjects where the repository isn't on this machine.
    """

    generated_project: GeneratedProject
    at: str | None
    files: list[ProjectFile]
    commits: list[Commit]
    agent_calls: list[AgentCall]
    exports: list[RepositoryExport]
    events: list[Event]
    directory: str

    @classmethod
    def read(cls, records: ProjectRecords, key: UUID, *, repository: ProjectRepository, at: str | None = None) -> Self:
        """Read everything. `at` names a commit: see `ProjectRecords.find_commit`. Raises RecordNotFoundError."""
        generated_project = records.get_generated_project(key)
        commit = records.find_commit(key, at) if at else None
        return cls(
            generated_project=generated_project,
            at=commit.commit if commit else generated_project.head_commit,
            files=records.list_files(key, at=commit),
            commits=_read_commits(records, generated_project, repository),
            agent_calls=records.agent_calls.list(key),
            exports=records.exports.list(key),
            events=records.list_events(key),
            directory=str(repository.directory),
        )

    def as_data(self) -> dict[str, Any]:
        """Return it as plain JSON data; agents' responses, which may be large, are left out."""
        data: dict[str, Any] = _plain(asdict(self))
        for call in data["agent_calls"]:
            del call["response"]
        return data

    def print(self) -> None:
        """Print it to the terminal, the tree first; lines are never folded, so that paths and digests can be copied."""
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False, soft_wrap=True)
        self._print_tree()
        for title, lines in self._sections():
            console.print(f"\n[bold]{escape(make_printable(title))}[/bold]")
            for line in lines or ["none"]:
                console.print(f"  {line}", markup=False)

    def _sections(self) -> list[tuple[str, list[str]]]:
        project = self.generated_project
        facts = [
            ("status", project.status.value),
            ("error", project.error),
            ("id", project.id),
            ("project", project.project),
            ("workflow", f"{project.workflow}, run {project.run_id}"),
            ("by", project.created_by),
            ("expires", project.expires_at and project.expires_at.isoformat(timespec="seconds")),
            ("removed", project.removal_reason),
            ("directory", self.directory),
        ]
        commits = [[c.id[:12], c.step_id, c.authored_at.isoformat(), c.subject] for c in self.commits]
        calls = [
            [
                c.id,
                c.step_id,
                c.connection,
                c.operation,
                c.status,
                c.http_status,
                "from the records" if c.replayed_from else _plural(c.attempts, "try", "tries"),
                f"{c.latency_ms} ms",
                c.model,
                None if c.input_tokens is None else f"{c.input_tokens} + {c.output_tokens} tokens",
                None if c.cost is None else f"cost {c.cost.normalize():f}",
                c.error,
            ]
            for c in self.agent_calls
        ]
        events = [
            [e.at.isoformat(timespec="milliseconds"), e.subject, *_describe_change(e), e.actor] for e in self.events
        ]
        return [
            (project.name, _align([[name, value] for name, value in facts if value is not None])),
            ("Commits", _align(commits)),
            ("Agent calls", _align(calls)),
            ("Exports", [line for export in self.exports for line in _describe_export(export)]),
            ("Events", _align(events)),
        ]

    def _print_tree(self) -> None:
        from scaffolder.terminal import TreeEntry, print_tree

        project = self.generated_project
        at = f" at commit {self.at[:12]}" if self.at and self.at != project.head_commit else ""
        entries = [
            TreeEntry(path=file.path, size_bytes=file.size_bytes, note=_shorten(file.origin)) for file in self.files
        ]
        print_tree(f"{project.name}/{at}", entries)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What two commits of a generated project have differently.

    `diff` is a unified diff, None where the repository isn't on this machine.
    """

    base: ProjectCommit
    head: ProjectCommit
    differences: list[FileDifference]
    diff: str | None

    @classmethod
    def read(cls, records: ProjectRecords, key: UUID, *, repository: ProjectRepository, base: str, head: str) -> Self:
        """Compare two commits, named as for `ProjectRecords.find_commit`. Raises RecordNotFoundError."""
        records.get_generated_project(key)
        old, new = records.find_commit(key, base), records.find_commit(key, head)
        there = repository.directory.is_dir() and old.commit is not None and new.commit is not None
        return cls(
            base=old,
            head=new,
            differences=records.compare_commits(key, base=old, head=new),
            diff=repository.diff(str(old.commit), str(new.commit)) if there else None,
        )

    def as_data(self) -> dict[str, Any]:
        """Return it as plain JSON data."""
        data: dict[str, Any] = _plain(asdict(self))
        return data

    def print(self) -> None:
        """Print what changed with the origins of both sides, then the diff."""
        from rich.console import Console
        from rich.markup import escape

        from scaffolder.terminal import print_diff

        console = Console(highlight=False, soft_wrap=True)
        names = [f"{(one.commit or '-')[:12]} ({one.step_id})" for one in (self.base, self.head)]
        console.print(
            f"[bold]{escape(make_printable(' -> '.join(names)))}[/bold]: {len(self.differences)} files differ"
        )
        for line in _align([_describe_difference(one) for one in self.differences]):
            console.print(f"  {line}", markup=False)
        if self.diff is None:
            console.print("\nThe repository is not on this machine: no diff.")
            return
        print_diff(make_printable(line) for line in self.diff.split("\n"))


def _read_commits(
    records: ProjectRecords, generated_project: GeneratedProject, repository: ProjectRepository
) -> list[Commit]:
    if repository.directory.is_dir() and generated_project.head_commit is not None:
        return repository.history(generated_project.head_commit)
    return [
        Commit(id=one.commit or "", parent=None, subject="", step_id=one.step_id, authored_at=generated_project.run_at)
        for one in records.list_commits(generated_project.id)
    ]


def _describe_difference(difference: FileDifference) -> list[str]:
    before, after = difference.before, difference.after
    kind = "added" if before is None else "deleted" if after is None else "changed"
    origins = [_shorten(file.origin) for file in (before, after) if file is not None]
    return [kind, difference.path, " -> ".join(dict.fromkeys(origins))]


def _shorten(origin: str) -> str:
    return _LONG_ID.sub(r"\1", origin)


def _describe_export(export: RepositoryExport) -> list[str]:
    facts = [
        ("commit", export.commit),
        ("exported as", export.exported_commit if export.exported_commit != export.commit else None),
        ("repository", export.remote_name if export.remote_name != export.url else None),
        ("path", export.archive_path),
        ("sha256", export.archive_sha256),
        ("url", export.url if export.archive_path is None else None),
        ("error", export.error),
    ]
    lines = _align([[name, value] for name, value in facts if value is not None])
    return [f"{export.target}  {export.status.value}  {export.id}", *(f"  {line}" for line in lines)]


def _describe_change(event: Event) -> tuple[str | None, str]:
    """Return the status before and after, or that something else of the record has changed, and what."""
    if event.kind == "changed":
        return event.kind, ", ".join(sorted(event.detail))
    return event.detail.get("from"), event.detail.get("to", event.kind)


def _align(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the rows as lines with aligned columns; control characters, which may come from outside, are gone."""
    cells = [[make_printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _plural(count: int, one: str, many: str) -> str:
    return f"{count} {one if count == 1 else many}"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value) if isinstance(value, UUID | Decimal) else value
