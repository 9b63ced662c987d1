"""One generated project for people to read: its tree, commits, files, agent calls, exports and events."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Self
from uuid import UUID

from scaffolder.generation.repository import Commit, ProjectRepository
from scaffolder.records.models import AgentCall, Event, GeneratedProject, ProjectFile, RepositoryExport
from scaffolder.records.store import ProjectRecords

if TYPE_CHECKING:
    from rich.tree import Tree

_LONG_ID = re.compile(r"([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Report:
    """All that is known of one generated project. `commits` is empty where its repository isn't on this machine."""

    generated_project: GeneratedProject
    files: list[ProjectFile]
    commits: list[Commit]
    agent_calls: list[AgentCall]
    exports: list[RepositoryExport]
    events: list[Event]
    directory: str

    @classmethod
    def read(cls, records: ProjectRecords, key: UUID, *, repository: ProjectRepository) -> Self:
        """Read everything. Raises RecordNotFoundError."""
        generated_project = records.get_generated_project(key)
        there = repository.directory.is_dir() and generated_project.head_commit is not None
        return cls(
            generated_project=generated_project,
            files=records.list_files(key),
            commits=repository.history(generated_project.head_commit) if there else [],
            agent_calls=records.list_agent_calls(key),
            exports=records.list_exports(key),
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
        console.print(self._tree())
        for title, lines in self._sections():
            console.print(f"\n[bold]{escape(_printable(title))}[/bold]")
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
                _plural(c.attempts, "try", "tries"),
                f"{c.latency_ms} ms",
                c.error,
            ]
            for c in self.agent_calls
        ]
        events = [
            [e.at.isoformat(timespec="milliseconds"), e.subject, e.detail.get("from"), e.detail.get("to"), e.actor]
            for e in self.events
        ]
        return [
            (project.name, _align([[name, value] for name, value in facts if value is not None])),
            ("Commits", _align(commits)),
            ("Agent calls", _align(calls)),
            ("Exports", [line for export in self.exports for line in _describe_export(export)]),
            ("Events", _align(events)),
        ]

    def _tree(self) -> Tree:
        from rich.markup import escape
        from rich.tree import Tree

        project = self.generated_project
        name = escape(_printable(project.name))
        root = Tree(f"[bold]{name}/[/bold] ({project.file_count} files, {project.size_bytes:,} bytes)")
        branches: dict[str, Tree] = {"": root}
        for file in self.files:
            parent = ""
            *directories, name = file.path.split("/")
            for directory in directories:
                path = f"{parent}{directory}/"
                if path not in branches:
                    branches[path] = branches[parent].add(f"{escape(_printable(directory))}/")
                parent = path
            origin = _LONG_ID.sub(r"\1", file.origin)
            branches[parent].add(f"{escape(_printable(name))}  [dim]{file.size_bytes:,}  {escape(origin)}[/dim]")
        return root


def _describe_export(export: RepositoryExport) -> list[str]:
    facts = [
        ("commit", export.commit),
        ("path", export.archive_path),
        ("sha256", export.archive_sha256),
        ("url", export.url if export.archive_path is None else None),
        ("error", export.error),
    ]
    lines = _align([[name, value] for name, value in facts if value is not None])
    return [f"{export.target}  {export.status.value}  {export.id}", *(f"  {line}" for line in lines)]


def _align(rows: Sequence[Sequence[object]]) -> list[str]:
    """Return the rows as lines with aligned columns; control characters, which may come from outside, are gone."""
    cells = [[_printable("" if cell is None else str(cell)) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(*cells, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in cells]


def _printable(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


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
    return str(value) if isinstance(value, UUID) else value
