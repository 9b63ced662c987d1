"""One generated project for people to read: its tree, commits, files, agent calls, exports and events."""

from __future__ import annotations

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
        """Print it to the terminal."""
        from rich.console import Console
        from rich.markup import escape

        console = Console(highlight=False, soft_wrap=True)
        project = self.generated_project
        console.print(f"[bold]{escape(project.name)}[/bold]  {project.status.value}  {project.id}")
        if project.error:
            console.print(f"[red]{escape(project.error)}[/red]")
        console.print(f"Workflow {project.workflow}, run {escape(project.run_id)}, project {escape(project.project)}")
        console.print(f"Directory {escape(self.directory)}\n")
        console.print(self._tree())
        for title, columns, rows in self._tables():
            if rows:
                console.print()
                console.print(_table(title, columns, rows))

    def _tree(self) -> Tree:
        from rich.markup import escape
        from rich.tree import Tree

        project = self.generated_project
        root = Tree(f"{escape(project.name)}/ ({project.file_count} files, {project.size_bytes:,} bytes)")
        branches: dict[str, Tree] = {"": root}
        for file in self.files:
            parent = ""
            *directories, name = file.path.split("/")
            for directory in directories:
                path = f"{parent}{directory}/"
                if path not in branches:
                    branches[path] = branches[parent].add(f"{escape(directory)}/")
                parent = path
            branches[parent].add(f"{escape(name)}  [dim]{file.size_bytes:,}  {escape(file.origin)}[/dim]")
        return root

    def _tables(self) -> list[tuple[str, list[str], list[list[object]]]]:
        return [
            (
                "Commits",
                ["commit", "step", "date", "subject"],
                [[c.id[:12], c.step_id or "", c.authored_at.isoformat(), c.subject] for c in self.commits],
            ),
            (
                "Agent calls",
                ["call", "step", "agent", "operation", "status", "attempts", "ms"],
                [
                    [c.id, c.step_id, c.connection, c.operation, c.status.value, c.attempts, c.latency_ms]
                    for c in self.agent_calls
                ],
            ),
            (
                "Exports",
                ["export", "target", "status", "commit", "where", "sha256"],
                [
                    [
                        e.id,
                        e.target,
                        e.status.value,
                        e.commit[:12],
                        e.archive_path or e.url or e.error,
                        e.archive_sha256,
                    ]
                    for e in self.exports
                ],
            ),
            (
                "Events",
                ["at", "what", "kind", "from", "to", "by"],
                [
                    [
                        e.at.isoformat(timespec="milliseconds"),
                        e.subject,
                        e.kind,
                        e.detail.get("from"),
                        e.detail.get("to"),
                        e.actor,
                    ]
                    for e in self.events
                ],
            ),
        ]


def _table(title: str, columns: list[str], rows: list[list[object]]) -> Any:
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*("" if cell is None else escape(str(cell)) for cell in row))
    return table


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
