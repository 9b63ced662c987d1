"""The files of a generated project at any of its commits: lists, directories, contents, differences."""

from __future__ import annotations

import hashlib
from typing import IO, Annotated, Any, Final, Literal

from fastapi import APIRouter, Depends, Path, Query, Request, Response
from fastapi.responses import JSONResponse

from scaffolder.api.downloads import declare_headers, send_written
from scaffolder.api.paging import Page, PageRequest, as_filters, dump, page_of
from scaffolder.api.permissions import ProjectScope
from scaffolder.api.problems import describe_answers
from scaffolder.api.records import open_records
from scaffolder.api.routes.generated import GeneratedId, MemberOrReader
from scaffolder.api.schemas.files import DifferenceOut, EntryOut, FileOut
from scaffolder.api.schemas.generated import CommitOut
from scaffolder.api.schemas.values import PRINTABLE
from scaffolder.config import get_settings
from scaffolder.errors import RecordNotFoundError, StorageError
from scaffolder.generation.repository import ProjectRepository
from scaffolder.generation.step_commit import get_repository
from scaffolder.records import listing
from scaffolder.records.models import ProjectCommit, ProjectFile
from scaffolder.records.store import ProjectRecords

router = APIRouter(prefix="/projects/{project}/generated/{generated_id}", tags=["files"])

_COMMIT: Final = "A commit's id, the first digits of one, or the step that made it."
_COMMIT_PATTERN: Final = r"^[A-Za-z0-9_\[\].-]{1,250}$"
At = Annotated[
    str | None, Query(alias="commit", description=f"{_COMMIT} The last one by default.", pattern=_COMMIT_PATTERN)
]
Revision = Annotated[str, Query(description=_COMMIT, pattern=_COMMIT_PATTERN, examples=["files"])]
FilePath = Annotated[
    str, Path(min_length=1, max_length=4_096, pattern=PRINTABLE, description="A file's path.", examples=["README.md"])
]
_BYTES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "The bytes.",
        "content": {
            "text/plain": {"schema": {"type": "string"}, "example": "# invoices\n"},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    },
    206: {"description": "The part that the header Range asks for."},
    304: {"description": "Unchanged: the ETag is one of If-None-Match."},
}


@router.get("/commits", response_model=Page[CommitOut], responses=describe_answers(404))
def list_commits(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(CommitOut, sort=("position",)))],
) -> JSONResponse:
    """List the commits, one for each step that has written."""
    with open_records() as records:
        scope.find_generated(records, generated_id)
        commits = records.list_commits(generated_id)
    found = page.cut(commits, key=lambda one: f"{one.position:09d}")
    return page.answer(found, request=request, show=CommitOut.show)


def read_filters(
    prefix: Annotated[str | None, Query(min_length=1, max_length=4_096, pattern=PRINTABLE)] = None,
    suffix: Annotated[str | None, Query(min_length=1, max_length=255, pattern=PRINTABLE, examples=[".py"])] = None,
    step_id: Annotated[str | None, Query(min_length=1, max_length=250, pattern=PRINTABLE)] = None,
    origin: Annotated[
        str | None,
        Query(min_length=1, max_length=250, pattern=PRINTABLE, description="How the origin begins."),
    ] = None,
) -> dict[str, Any]:
    """Return the filters of a list of files."""
    return as_filters(prefix=prefix, suffix=suffix, step_id=step_id, origin=origin)


@router.get("/files", response_model=Page[FileOut], responses=describe_answers(404))
def list_files(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(FileOut, sort=("path", "size_bytes")))],
    filters: Annotated[dict[str, Any], Depends(read_filters)],
    commit: At = None,
) -> JSONResponse:
    """List the files at a commit."""
    with open_records() as records:
        position = _find_position(records, scope, generated_id, commit)
        found = page.read(
            records,
            listing.FILES,
            within={"generated_project_id": generated_id, "position": position},
            filters=filters,
        )
    return page.answer(found, request=request, show=FileOut.show)


@router.get("/files/{path:path}", response_model=FileOut, responses=describe_answers(404))
def read_file(scope: MemberOrReader, generated_id: GeneratedId, path: FilePath, commit: At = None) -> JSONResponse:
    """Show one file's record."""
    with open_records() as records:
        position = _find_position(records, scope, generated_id, commit)
        file = _find_file(records, generated_id, path, position=position)
    return JSONResponse(dump(FileOut.show(file)))


@router.get("/tree", response_model=Page[EntryOut], responses=describe_answers(404))
def list_directory(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    request: Request,
    page: Annotated[PageRequest, Depends(page_of(EntryOut, sort=("name",)))],
    path: Annotated[
        str, Query(max_length=4_096, pattern=PRINTABLE, description="A directory; the top by default.")
    ] = "",
    commit: At = None,
) -> JSONResponse:
    """List what is in one directory."""
    directory = path.strip("/")
    with open_records() as records:
        position = _find_position(records, scope, generated_id, commit)
        entries = records.listing.count_entries(generated_id, position=position, directory=directory)
    if directory and not entries:
        raise RecordNotFoundError(f"there is no directory {directory!r}")
    found = page.cut(entries, key=lambda entry: str(entry["name"]))
    return page.answer(found, request=request, show=_show_entry)


@router.get(
    "/content/{path:path}",
    response_class=Response,
    dependencies=[Depends(declare_headers)],
    responses=_BYTES | describe_answers(404, 416),
)
def read_content(
    scope: MemberOrReader, generated_id: GeneratedId, path: FilePath, request: Request, commit: At = None
) -> Response:
    """Send one file's bytes: text as plain text, all else as bytes, whatever its name."""
    with open_records() as records:
        position = _find_position(records, scope, generated_id, commit)
        file = _find_file(records, generated_id, path, position=position)
        commits = records.list_commits(generated_id)
    at = next(one.commit for one in commits if one.position == position)
    repository = get_repository(generated_id, settings=get_settings())

    def write(output: IO[bytes]) -> None:
        checked = _Checked(output)
        _require(repository).write_file(str(at), path, output=checked)
        if checked.digest.hexdigest() != file.sha256:
            raise StorageError(
                f"the file {path!r} of generated project {generated_id} is not the one that was recorded"
            )

    return send_written(request, write, digest=file.sha256, filename=None)


@router.get(
    "/diff", operation_id="compare_commits", response_model=Page[DifferenceOut], responses=describe_answers(404)
)
def compare(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    request: Request,
    base: Revision,
    head: Revision,
    page: Annotated[PageRequest, Depends(page_of(DifferenceOut, sort=("path",)))],
) -> JSONResponse:
    """List the paths that two commits have differently."""
    with open_records() as records:
        scope.find_generated(records, generated_id)
        differences = records.compare_commits(
            generated_id,
            base=records.find_commit(generated_id, base),
            head=records.find_commit(generated_id, head),
        )
    found = page.cut(differences, key=lambda one: one.path)
    return page.answer(found, request=request, show=DifferenceOut.show)


@router.get(
    "/patch",
    response_class=Response,
    dependencies=[Depends(declare_headers)],
    responses=_BYTES | describe_answers(404, 416),
)
def read_patch(
    scope: MemberOrReader,
    generated_id: GeneratedId,
    request: Request,
    base: Revision,
    head: Revision,
) -> Response:
    """Send the changes between two commits as a unified diff."""
    with open_records() as records:
        scope.find_generated(records, generated_id)
        first, second = (records.find_commit(generated_id, name).commit for name in (base, head))
    if first is None or second is None:
        raise RecordNotFoundError("the commits of this generated project were made before they were recorded")
    repository = get_repository(generated_id, settings=get_settings())
    digest = hashlib.sha256(f"{first}..{second}".encode()).hexdigest()
    return send_written(
        request,
        lambda output: _require(repository).write_diff(first, second, output=output),
        digest=digest,
        media_type="text/plain; charset=utf-8",
    )


class _Checked:
    """Writes through and computes the digest of what passes."""

    def __init__(self, output: IO[bytes]) -> None:
        self._output = output
        self.digest = hashlib.sha256()

    def write(self, data: bytes, /) -> None:
        self.digest.update(data)
        self._output.write(data)


def _require(repository: ProjectRepository) -> ProjectRepository:
    if not (repository.directory / ".git").is_dir():
        raise RecordNotFoundError("the repository of this generated project is not on this machine")
    return repository


def _find_position(records: ProjectRecords, scope: ProjectScope, generated_id: Any, commit: str | None) -> int:
    """Return the position of a commit, -1 where there is none yet."""
    scope.find_generated(records, generated_id)
    if commit is not None:
        return records.find_commit(generated_id, commit).position
    commits: list[ProjectCommit] = records.list_commits(generated_id)
    return commits[-1].position if commits else -1


def _find_file(records: ProjectRecords, generated_id: Any, path: str, *, position: int) -> ProjectFile:
    found = records.listing.list(
        listing.FILES,
        order=listing.Order(key="path"),
        limit=1,
        within={"generated_project_id": generated_id, "position": position},
        filters={"path": path},
    )
    if not found.items:
        raise RecordNotFoundError(f"there is no file {path!r}")
    file: ProjectFile = found.items[0]
    return file


def _show_entry(entry: Any) -> EntryOut:
    kind: Literal["directory", "file"] = "file" if entry["file"] else "directory"
    return EntryOut(name=entry["name"], kind=kind, size_bytes=entry["size_bytes"], files=entry["files"])
