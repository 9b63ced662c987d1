from __future__ import annotations

import hashlib
import io
import os
import stat
import subprocess
import tarfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from scaffolder.errors import RecordNotFoundError, StorageError
from scaffolder.generation.merge import MovedFile, TreeChanges
from scaffolder.generation.repository import CommitInfo, ProjectRepository, git_environment
from scaffolder.generation.tree import GeneratedFile
from scaffolder.records.models import ProjectFile
from tests.factories import RUN_AT, make_file

FILES = [
    make_file("README.md", "# Hi\r\n"),
    make_file('"odd" name.txt', b""),
    make_file("bin/run.sh", "#!/bin/sh\n", executable=True),
    make_file("data/ünï.bin", bytes(range(256))),
]


def describe(step_id: str = "files", subject: str = "files: 4 files") -> CommitInfo:
    trailers = (("Scaffolder-Workflow", "openapi_service"), ("Scaffolder-Template", "service@1.0.0"))
    return CommitInfo(step_id=step_id, subject=subject, trailers=trailers, author="Ada", email="ada@x", at=RUN_AT)


@pytest.fixture
def repository(tmp_path: Path) -> ProjectRepository:
    return ProjectRepository.create(tmp_path / "repository")


def write(repository: ProjectRepository, files: list[GeneratedFile], info: CommitInfo, **place: Any) -> str:
    commits = repository.commit(TreeChanges(written=files), info=info, parent=place.pop("parent", None), **place)
    with repository.checking_out(commits[-1]):
        pass
    return commits[-1]


def read_tree(repository: ProjectRepository) -> dict[str, bytes]:
    return {
        path.relative_to(repository.directory).as_posix(): path.read_bytes()
        for path in repository.directory.rglob("*")
        if path.is_file() and ".git" not in path.relative_to(repository.directory).parts
    }


def git(repository: ProjectRepository, *arguments: str) -> str:
    environment = os.environ | git_environment()
    return subprocess.run(
        ["git", "-C", str(repository.directory), *arguments],
        check=True,
        capture_output=True,
        text=True,
        env=environment,
    ).stdout


def test_a_step_becomes_one_commit_with_its_provenance(repository: ProjectRepository) -> None:
    head = write(repository, FILES, describe())
    assert git(repository, "log", "--format=%H|%an|%ae|%at|%cn|%ct|%s", "main").splitlines() == [
        f"{head}|Ada|ada@x|{int(RUN_AT.timestamp())}|Ada|{int(RUN_AT.timestamp())}|files: 4 files"
    ]
    assert git(repository, "log", "-1", "--format=%(trailers:only)").split("\n")[:3] == [
        "Scaffolder-Step: files",
        "Scaffolder-Workflow: openapi_service",
        "Scaffolder-Template: service@1.0.0",
    ]
    assert git(repository, "fsck", "--strict") == ""
    assert git(repository, "status", "--porcelain") == ""
    assert read_tree(repository) == {file.path: file.content for file in FILES}
    assert {entry.path: entry.mode for entry in repository.files(head)} == {file.path: file.mode for file in FILES}
    assert repository.read(head, "data/ünï.bin") == bytes(range(256))
    with pytest.raises(RecordNotFoundError, match="there is no file 'nope'"):
        repository.read(head, "nope")


def test_equal_input_gives_an_equal_commit_id(tmp_path: Path) -> None:
    heads = {
        write(ProjectRepository.create(tmp_path / name), files, describe())
        for name, files in (("one", FILES), ("two", FILES), ("three", FILES[::-1]))
    }
    assert len(heads) == 1


def test_a_repeated_step_changes_nothing(repository: ProjectRepository) -> None:
    first = write(repository, FILES, describe())
    assert write(repository, FILES, describe()) == first
    second = write(repository, [make_file("more")], describe("more"), parent=first)
    assert write(repository, FILES, describe(), later=[second]) == second
    assert [commit.step_id for commit in repository.history()] == ["files", "more"]


def test_a_step_with_other_files_takes_its_commits_place(repository: ProjectRepository) -> None:
    first = write(repository, FILES, describe())
    changes = TreeChanges(written=[make_file("more", "kept")], deleted=["bin/run.sh"])
    [second] = repository.commit(changes, info=describe("more", "more: 1 file"), parent=first)
    head = write(repository, [make_file("README.md", "new"), make_file("extra")], describe(), later=[second])
    assert [(commit.step_id, commit.subject) for commit in repository.history()] == [
        ("files", "files: 4 files"),
        ("more", "more: 1 file"),
    ]
    assert read_tree(repository) == {"README.md": b"new", "extra": b"content\n", "more": b"kept"}
    assert repository.head() == head
    assert git(repository, "fsck", "--strict", "--no-dangling") == ""


def test_files_are_moved_and_deleted(repository: ProjectRepository) -> None:
    first = write(repository, FILES, describe())
    script, odd = (
        ProjectFile(path=path, sha256="", size_bytes=0, mode=mode, origin="", step_id="")
        for path, mode in (("bin/run.sh", 0o100755), ('"odd" name.txt', 0o100644))
    )
    changes = TreeChanges(
        written=[make_file("bin", "a file now")],
        moved=[MovedFile(path="run", source=script), MovedFile(path='"other odd".txt', source=odd)],
        deleted=['"odd" name.txt', "bin/run.sh", "data/ünï.bin"],
    )
    [second] = repository.commit(changes, info=describe("more"), parent=first)
    with repository.checking_out(second):
        pass
    assert read_tree(repository) == {
        '"other odd".txt': b"",
        "README.md": b"# Hi\r\n",
        "bin": b"a file now",
        "run": b"#!/bin/sh\n",
    }
    assert {entry.path: entry.mode for entry in repository.files(second)}["run"] == 0o100755
    assert "rename from bin/run.sh\nrename to run" in repository.diff(first, second)
    assert "Binary files a/data/ünï.bin and /dev/null differ" in repository.diff(first, second)


def test_a_step_may_change_nothing(repository: ProjectRepository) -> None:
    first = write(repository, [], describe())
    second = write(repository, [], describe("more"), parent=first)
    assert [commit.id for commit in repository.history()] == [first, second]
    assert repository.files(second) == []


def test_attributes_in_the_tree_change_no_bytes(repository: ProjectRepository) -> None:
    attributes = "* text=auto eol=crlf ident export-ignore export-subst working-tree-encoding=UTF-16 filter=x\n"
    files = [make_file(".gitattributes", attributes), make_file("a.txt", "one\n$Id$ $Format:%H$\ntwo\r\n")]
    head = write(repository, files, describe())
    assert read_tree(repository) == {file.path: file.content for file in files}
    output = io.BytesIO()
    repository.write_tar(head, prefix="p", output=output)
    output.seek(0)
    with tarfile.open(fileobj=output) as archive:
        names = {one.name: (archive.extractfile(one) or output).read() for one in archive if one.isfile()}
    assert names == {f"p/{file.path}": file.content for file in files}


def test_hooks_and_configuration_from_outside_do_not_run(
    repository: ProjectRepository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("reference-transaction", "post-checkout", "pre-commit", "post-index-change"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch '{tmp_path}/ran-{name}'\n")
        (hooks / name).chmod(0o755)
        (repository.directory / ".git" / "hooks").mkdir(exist_ok=True)
        (repository.directory / ".git" / "hooks" / name).symlink_to(hooks / name)
    (tmp_path / "gitconfig").write_text(f"[core]\n\thooksPath = {hooks}\n[user]\n\tname = Mallory\n")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    monkeypatch.setenv("GIT_DIR", "/nowhere")
    monkeypatch.setenv("GIT_OBJECT_DIRECTORY", "/nowhere")
    monkeypatch.setenv("GIT_COMMON_DIR", "/nowhere")
    monkeypatch.setenv("GIT_AUTHOR_NAME", "Mallory")
    head = write(repository, FILES, describe())
    assert repository.history()[-1].id == head
    assert list(tmp_path.glob("ran-*")) == []


def test_text_from_outside_cannot_forge_trailers_or_authors(repository: ProjectRepository) -> None:
    info = CommitInfo(
        step_id="files",
        subject="one\n\nScaffolder-Step: forged",
        trailers=(("Scaffolder-Run", "x\nScaffolder-Step: forged"),),
        author="Eve <root@x> 1 +0000\ncommitter",
        email="a>\nb",
        at=datetime(2026, 1, 1, tzinfo=UTC),
    )
    write(repository, FILES, info)
    assert [commit.step_id for commit in repository.history()] == ["files"]
    assert git(repository, "log", "-1", "--format=%an|%ae|%at") == "Eve root@x 1 +0000 committer|a b|1767225600\n"


def test_two_tars_of_one_commit_are_equal_byte_for_byte(repository: ProjectRepository, tmp_path: Path) -> None:
    head = write(repository, FILES, describe())
    digests = set()
    for name in ("one", "two"):
        os.utime(repository.directory / "README.md", (1, 1))
        with (tmp_path / name).open("wb") as output:
            repository.write_tar(head, prefix="bookings", output=output)
        digests.add(hashlib.sha256((tmp_path / name).read_bytes()).hexdigest())
    assert len(digests) == 1
    with tarfile.open(tmp_path / "one") as archive:
        modes = {member.name: stat.S_IMODE(member.mode) for member in archive if member.isfile()}
    assert modes["bookings/bin/run.sh"] == 0o755
    assert modes["bookings/README.md"] == 0o644


def test_a_large_step_is_committed_whole(repository: ProjectRepository) -> None:
    files = [make_file(f"d{index % 50}/f{index}", f"{index}\n") for index in range(3_000)]
    head = write(repository, files, describe())
    assert len(repository.files(head)) == 3_000
    assert len(read_tree(repository)) == 3_000


def test_a_directory_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"/file/repository' cannot be written: .*SCAFFOLDER_GENERATED_PROJECTS_DIR"):
        ProjectRepository.create(tmp_path / "file" / "repository")


@pytest.mark.parametrize("lock", ["index.lock", "HEAD.lock", "config.lock", "refs/heads/main.lock"])
def test_a_stale_lock_does_not_stop_the_next_try(repository: ProjectRepository, lock: str) -> None:
    first = write(repository, FILES, describe())
    (repository.directory / ".git" / lock).write_text("")
    (repository.directory / "litter.txt").write_text("not ours")
    write(repository, [make_file("more")], describe("more"), parent=first)
    assert "litter.txt" not in read_tree(repository)


def test_content_that_looks_like_commands_is_content(repository: ProjectRepository) -> None:
    evil = b"done\ncommit refs/heads/main\ndata 3\nabc\nM 100644 inline x\ndata <<EOF\nEOF\n"
    head = write(repository, [GeneratedFile(path="a", content=evil, origin="x")], describe())
    assert repository.read(head, "a") == evil
    assert len(repository.history()) == 1
