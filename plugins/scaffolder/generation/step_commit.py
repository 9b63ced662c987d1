"""One step's files into the generated project: the commit and its rows, together or not at all."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import UUID

from scaffolder.config import Settings
from scaffolder.errors import StatusTransitionError
from scaffolder.generation.disk import check_free_space
from scaffolder.generation.merge import TreeChanges, TreeEdits, merge
from scaffolder.generation.repository import CommitInfo, ProjectRepository
from scaffolder.observability import traces
from scaffolder.records.models import FileChange, GeneratedProject, GeneratedProjectStatus, ProjectFile
from scaffolder.records.quotas import load_quotas
from scaffolder.records.store import ProjectRecords

_EMAIL = "scaffolder@localhost"


@dataclass(frozen=True, kw_only=True)
class StepCommit:
    """What a step did: its commit, the files and bytes it wrote, how many it moved and deleted, conflicts settled."""

    commit: str
    file_count: int
    size_bytes: int
    moved_count: int
    deleted_count: int
    conflicts: tuple[tuple[str, str, str], ...]


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
    edits: TreeEdits,
    trailers: Sequence[tuple[str, str]],
    settings: Settings,
) -> StepCommit:
    """Make `edits` the commit of `step_id` and record what they changed.

    Safe to repeat: git's branch moves first and the rows follow in one transaction. What the rows say is what counts:
    a try that was killed between the two left a commit that the next one makes again. A step that is run again gets a
    commit in the place of its first, and the commits of later steps are made again on top. Parallel steps wait for
    each other at the row. Raises the errors of `merge`, StorageError, StatusTransitionError (the run is over), and
    before anything is written QuotaExceededError and DiskSpaceError.
    """
    with records.transaction():
        generated_project = records.lock_generated_project(generated_project_id)
        if generated_project.status is not GeneratedProjectStatus.GENERATING:
            raise StatusTransitionError(
                f"step {step_id!r} came to write into generated project {generated_project_id}, which is "
                f"{generated_project.status.value!r}; accepted is 'generating'"
            )
        place = _find_place(records, generated_project_id, step_id=step_id)
        changes = merge(
            edits, tree=place.tree, later=place.later_changes, earlier_try=place.earlier_try, settings=settings
        )
        _check_room(records, generated_project, changes, settings=settings)
        repository = get_repository(generated_project_id, settings=settings)
        ProjectRepository.create(repository.directory, timeout_seconds=settings.git_timeout_seconds)
        info = _describe(generated_project, step_id=step_id, subject=subject, trailers=trailers)
        size_bytes = sum(len(file.content) for file in changes.written)
        with traces.span("scaffolder.git_commit", files=len(changes.written), bytes=size_bytes) as span:
            commits = repository.commit(
                changes, info=info, parent=place.parent, later=[commit for _, commit in place.later_commits]
            )
            span.set(commit=commits[-1])
        steps = [step_id, *(step for step, _ in place.later_commits)]
        with repository.checking_out(commits[-1]):
            records.write_commit(
                generated_project_id,
                position=place.position,
                commits=list(zip(steps, commits, strict=True)),
                changes=_list_changes(changes, step_id),
            )
    return StepCommit(
        commit=commits[-1],
        file_count=len(changes.written),
        size_bytes=size_bytes,
        moved_count=len(changes.moved),
        deleted_count=len(set(changes.deleted) - {moved.source.path for moved in changes.moved}),
        conflicts=tuple(changes.conflicts),
    )


@dataclass(frozen=True, kw_only=True)
class _Place:
    """Where a step's commit belongs: after all others, or where an earlier try of it was recorded."""

    position: int
    parent: str | None
    tree: list[ProjectFile]
    later_commits: list[tuple[str, str]]
    later_changes: list[FileChange]
    earlier_try: frozenset[str]


def _find_place(records: ProjectRecords, generated_project_id: UUID, *, step_id: str) -> _Place:
    commits = [(one.step_id, one.commit) for one in records.list_commits(generated_project_id)]
    known = [(step, commit) for step, commit in commits if commit is not None]
    if len(known) < len(commits):
        raise StatusTransitionError(
            f"generated project {generated_project_id} was begun by an older version, which did not record its "
            "commits; accepted is a new run"
        )
    steps = [step for step, _ in known]
    position = steps.index(step_id) if step_id in steps else len(steps)
    is_new = position == len(steps)
    later = range(position + 1, len(steps))
    earlier_try = [] if is_new else records.list_changes(generated_project_id, position=position)
    return _Place(
        position=position,
        parent=known[position - 1][1] if position else None,
        tree=records.list_files_after(generated_project_id, position=position - 1) if position else [],
        later_commits=[known[index] for index in later],
        later_changes=[
            change for index in later for change in records.list_changes(generated_project_id, position=index)
        ],
        earlier_try=frozenset(change.path for change in earlier_try if change.file is not None),
    )


def _check_room(
    records: ProjectRecords, generated_project: GeneratedProject, changes: TreeChanges, *, settings: Settings
) -> None:
    records.quotas.check_growth(
        generated_project.project,
        quotas=load_quotas(settings.quotas),
        added_bytes=changes.size_bytes - generated_project.size_bytes,
    )
    # Each file is there twice: as git's object and in the working tree.
    check_free_space(settings, needed_bytes=2 * sum(len(file.content) for file in changes.written))


def _list_changes(changes: TreeChanges, step_id: str) -> Iterator[FileChange]:
    for file in changes.written:
        row = ProjectFile(
            path=file.path,
            sha256=file.sha256,
            size_bytes=len(file.content),
            mode=file.mode,
            origin=file.origin,
            step_id=step_id,
        )
        yield FileChange(path=file.path, file=row)
    for moved in changes.moved:
        row = replace(moved.source, path=moved.path, step_id=step_id)
        yield FileChange(path=moved.path, file=row, moved_from=moved.source.path)
    for path in changes.deleted:
        yield FileChange(path=path, file=None)


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
