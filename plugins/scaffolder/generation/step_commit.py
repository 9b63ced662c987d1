"""One step's files into the generated project: the commit and its rows, together or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from scaffolder.config import Settings
from scaffolder.errors import StatusTransitionError
from scaffolder.generation.repository import CommitInfo, ProjectRepository
from scaffolder.generation.tree import GeneratedFile, check_files
from scaffolder.records.models import GeneratedProject, GeneratedProjectStatus, ProjectFile
from scaffolder.records.store import ProjectRecords

_EMAIL = "scaffolder@localhost"


@dataclass(frozen=True, kw_only=True)
class StepCommit:
    """What a step has written: the head it left, and its own files and bytes."""

    commit: str
    file_count: int
    size_bytes: int


def get_project_directory(generated_project_id: UUID, *, settings: Settings) -> Path:
    """Return the directory that holds all that belongs to one generated project."""
    return settings.generated_projects_dir / str(generated_project_id)


def get_repository(generated_project_id: UUID, *, settings: Settings) -> ProjectRepository:
    """Return the repository of a generated project; it may not be there yet."""
    directory = get_project_directory(generated_project_id, settings=settings) / "repository"
    return ProjectRepository(directory, timeout_seconds=settings.git_timeout_seconds)


def commit_step(
    records: ProjectRecords,
    generated_project_id: UUID,
    *,
    step_id: str,
    subject: str,
    files: Sequence[GeneratedFile],
    trailers: Sequence[tuple[str, str]],
    settings: Settings,
) -> StepCommit:
    """Check `files`, make them the commit of `step_id` and record them.

    Safe to repeat: git's ref moves first and the rows follow in one transaction, so a try that was killed between the
    two is completed by the next, which makes the same commit again. Parallel steps wait for each other at the row.
    Raises the errors of `check_files`, StorageError and StatusTransitionError (the run is over).
    """
    ordered = sorted(files, key=lambda file: file.path.encode("utf-8", "surrogatepass"))
    with records.transaction():
        generated_project = records.lock_generated_project(generated_project_id)
        if generated_project.status is not GeneratedProjectStatus.GENERATING:
            raise StatusTransitionError(
                f"step {step_id!r} came to write into generated project {generated_project_id}, which is "
                f"{generated_project.status.value!r}; accepted is 'generating'"
            )
        others = [file for file in records.list_files(generated_project_id) if file.step_id != step_id]
        check_files(
            ordered,
            existing=[(file.path, file.size_bytes, file.origin) for file in others],
            settings=settings,
        )
        repository = get_repository(generated_project_id, settings=settings)
        ProjectRepository.create(repository.directory, timeout_seconds=settings.git_timeout_seconds)
        info = _describe(generated_project, step_id=step_id, subject=subject, trailers=trailers)
        head = repository.commit(ordered, info=info)
        rows = [_as_row(file, step_id) for file in ordered]
        records.replace_files(generated_project_id, step_id=step_id, head_commit=head, files=rows)
    return StepCommit(commit=head, file_count=len(rows), size_bytes=sum(row.size_bytes for row in rows))


def _describe(
    generated_project: GeneratedProject, *, step_id: str, subject: str, trailers: Sequence[tuple[str, str]]
) -> CommitInfo:
    return CommitInfo(
        step_id=step_id,
        subject=subject,
        trailers=(
            ("Scaffolder-Workflow", generated_project.workflow),
            ("Scaffolder-Run", generated_project.run_id),
            *trailers,
        ),
        author=generated_project.created_by or "scaffolder",
        email=_EMAIL,
        at=generated_project.run_at,
    )


def _as_row(file: GeneratedFile, step_id: str) -> ProjectFile:
    return ProjectFile(
        path=file.path,
        sha256=file.sha256,
        size_bytes=len(file.content),
        mode=file.mode,
        origin=file.origin,
        step_id=step_id,
    )
