from __future__ import annotations

import gzip
import hashlib
import json
import locale
import os
import resource
import stat
import subprocess
import tarfile
import time
import tracemalloc
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from backports import zstd

from scaffolder.config import Settings
from scaffolder.errors import ExportTargetError, StorageError
from scaffolder.exports.archive import ArchiveExporter
from scaffolder.exports.contract import ExportRequest, ExportResult
from scaffolder.exports.identity import CommitIdentity
from scaffolder.exports.manifest import Member, VerifiedTar
from scaffolder.generation.merge import TreeChanges
from scaffolder.generation.repository import ProjectRepository
from scaffolder.generation.tree import GeneratedFile
from scaffolder.records.models import (
    ExportStatus,
    GeneratedProject,
    GeneratedProjectStatus,
    ProjectFile,
    RepositoryExport,
)
from tests.factories import RUN_AT, describe_commit, make_file

FORMATS = ["zip", "tar.gz", "tar.zst"]
NOISE = bytes(hashlib.shake_256(b"noise").digest(300_000))
ATTRIBUTES = "* text eol=crlf ident export-subst\nsecret.txt export-ignore\n*.bin filter=lfs -text\nu.txt working-tree-encoding=UTF-16\n"
DEEP = "/".join(["a" * 90] * 6)
FILES = [
    make_file("README.md", "# Hi\n"),
    make_file("bin/run", "#!/bin/sh\n", executable=True),
    make_file("empty", b""),
    make_file('"odd" name\'s.txt', "quotes and spaces\n"),
    make_file("données/ünï ☃.txt", "unicode\n"),
    make_file(".gitattributes", ATTRIBUTES),
    make_file("sub/.gitattributes", "* export-ignore\n"),
    make_file("sub/ignored.txt", "still here\n"),
    make_file("secret.txt", "still here\n"),
    make_file("u.txt", "plain ASCII\n"),
    make_file("subst.txt", "$Id$ $Format:%H$\n"),
    make_file("windows.txt", "one\r\ntwo\r\n"),
    make_file("mixed.txt", "one\r\ntwo\nthree\r"),
    make_file("noise.bin", NOISE),
    make_file("block.bin", NOISE[:512]),
    make_file(f"{'n' * 120}.txt", "too long for a tar header\n"),
    make_file(f"{DEEP}/deep.txt", "too deep for a tar header\n"),
]
LATER = make_file("later.txt", "of a later commit\n")


@dataclass
class Records:
    exports: list[RepositoryExport] = field(default_factory=list)

    def list(self, generated_project_id: UUID) -> list[RepositoryExport]:
        return [one for one in self.exports if one.generated_project_id == generated_project_id]


@dataclass
class Ledger:
    export: RepositoryExport
    records: Records


@dataclass
class Project:
    """One generated project with a history of two commits, and its records."""

    repository: ProjectRepository
    directory: Path
    first: str
    commit: str
    files: list[ProjectFile]
    settings: Settings
    records: Records = field(default_factory=Records)
    id: UUID = field(default_factory=uuid4)

    def request(self, *, export: RepositoryExport | None = None, **options: Any) -> ExportRequest:
        values: dict[str, Any] = {
            "ledger": Ledger(export or self.make_export(), self.records),
            "generated_project": make_generated_project(self.id),
            "repository": self.repository,
            "directory": self.directory,
            "options": options,
            "connection": None,
            "identity": None,
            "settings": self.settings,
            "read_files": lambda: list(self.files),
            "read_secret": None,
        }
        return ExportRequest(**values)

    def export(self, **options: Any) -> ExportResult:
        return ArchiveExporter().export(self.request(**options))

    def make_export(self, exported: ExportResult | None = None, **values: Any) -> RepositoryExport:
        """Return the record of an export, after `exported` came of it."""
        given: dict[str, Any] = dict.fromkeys(RepositoryExport.__dataclass_fields__)
        given |= {"id": uuid4(), "generated_project_id": self.id, "commit": self.commit, "result": {}}
        if exported:
            given |= {"archive_path": str(exported.archive_path), "result": exported.result}
            given |= {"status": ExportStatus.EXPORTED}
        return RepositoryExport(**given | values)

    def read_written(self) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in self.directory.iterdir()} if self.directory.is_dir() else {}


def make_generated_project(key: UUID) -> GeneratedProject:
    given: dict[str, Any] = dict.fromkeys(GeneratedProject.__dataclass_fields__)
    given |= {"id": key, "name": "bookings", "status": GeneratedProjectStatus.READY, "run_at": RUN_AT}
    return GeneratedProject(**given)


def make_record(file: GeneratedFile) -> ProjectFile:
    return ProjectFile(
        path=file.path,
        sha256=hashlib.sha256(file.content).hexdigest(),
        size_bytes=len(file.content),
        mode=file.mode,
        origin=file.origin,
        step_id="files",
    )


def make_project(directory: Path, *, settings: Settings, files: list[GeneratedFile]) -> Project:
    """Commit a file that goes again, then `files`, then one that is not to be exported."""
    repository = ProjectRepository.create(directory / "repository")
    commits: list[str] = []
    steps = [
        ("start", TreeChanges(written=[make_file("gone.bin", NOISE[::-1])])),
        ("files", TreeChanges(written=files, deleted=["gone.bin"])),
        ("later", TreeChanges(written=[LATER])),
    ]
    for number, (step, changes) in enumerate(steps):
        info = replace(describe_commit(step), at=RUN_AT + timedelta(hours=number))
        commits += repository.commit(changes, info=info, parent=commits[-1] if commits else None)
    return Project(
        repository=repository,
        directory=directory / "archives",
        first=commits[0],
        commit=commits[1],
        files=[make_record(file) for file in files],
        settings=settings,
    )


@pytest.fixture
def project(tmp_path: Path, settings: Settings) -> Project:
    return make_project(tmp_path, settings=settings, files=FILES)


@dataclass(frozen=True)
class Entry:
    name: str
    mode: int
    content: bytes
    modified_at: float


def read_archive(path: Path) -> list[Entry]:
    """Return what is in an archive, in its order; nothing but regular files and directories may be in it."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.testzip() is None
            return [
                Entry(
                    name=info.filename,
                    mode=info.external_attr >> 16,
                    content=archive.read(info),
                    modified_at=datetime(*info.date_time, tzinfo=UTC).timestamp(),
                )
                for info in archive.infolist()
            ]
    opened = zstd.open(path) if path.suffix == ".zst" else path.open("rb")
    with opened as file, tarfile.open(fileobj=file, mode="r:*" if path.suffix == ".gz" else "r:") as archive:
        entries = []
        for member in archive:
            assert member.isreg() or member.isdir()
            assert (member.uid, member.gid) == (0, 0)
            content = archive.extractfile(member) if member.isreg() else None
            entries.append(
                Entry(
                    name=member.name + ("/" if member.isdir() else ""),
                    mode=member.mode | (stat.S_IFREG if member.isreg() else stat.S_IFDIR),
                    content=content.read() if content else b"",
                    modified_at=member.mtime,
                )
            )
        return entries


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_holds_the_tree_unchanged_with_its_modes(project: Project, kind: str) -> None:
    result = project.export(format=kind)
    path = project.directory / f"bookings-{project.commit[:12]}.{kind}"
    assert (result.archive_path, result.url) == (path, path.as_uri())
    entries = read_archive(path)
    files = {entry.name: entry for entry in entries if not entry.name.endswith("/")}
    assert {name: entry.content for name, entry in files.items()} == {f"bookings/{f.path}": f.content for f in FILES}
    assert {name: entry.mode for name, entry in files.items()} == {f"bookings/{f.path}": f.mode for f in FILES}


@pytest.mark.parametrize("kind", FORMATS)
def test_entries_are_sorted_and_have_the_commits_date(project: Project, kind: str) -> None:
    project.export(format=kind)
    entries = read_archive(project.directory / f"bookings-{project.commit[:12]}.{kind}")
    names = [entry.name.encode() for entry in entries]
    assert names == sorted(names)
    at = (RUN_AT + timedelta(hours=1)).timestamp()
    precision = 2 if kind == "zip" else 1
    assert {entry.modified_at // precision for entry in entries} == {at // precision}


@pytest.mark.parametrize("kind", FORMATS)
def test_an_archive_names_its_commit_where_git_does(project: Project, kind: str) -> None:
    path = project.export(format=kind).archive_path
    assert path is not None
    if kind == "zip":
        with zipfile.ZipFile(path) as archive:
            assert archive.comment.decode() == project.commit
        return
    tar = gzip.decompress(path.read_bytes()) if kind == "tar.gz" else zstd.decompress(path.read_bytes())
    named = subprocess.run(["git", "get-tar-commit-id"], input=tar, check=True, capture_output=True)
    assert named.stdout.decode().strip() == project.commit


@pytest.mark.parametrize("kind", FORMATS)
def test_a_project_without_files_has_an_empty_archive(tmp_path: Path, settings: Settings, kind: str) -> None:
    project = make_project(tmp_path, settings=settings, files=[])
    path = project.export(format=kind, bundle=True).archive_path
    assert path is not None
    assert [entry.name for entry in read_archive(path)] == ["bookings/"]
    assert json.loads(path.with_name(f"{path.name}.manifest.json").read_bytes())["files"] == []


@pytest.mark.parametrize("year", [1970, 2040, 2150])
def test_dates_that_a_zip_cannot_hold_become_the_nearest_that_it_can(
    tmp_path: Path, settings: Settings, year: int
) -> None:
    repository = ProjectRepository.create(tmp_path / "repository")
    info = replace(describe_commit("files"), at=datetime(year, 6, 7, tzinfo=UTC))
    [commit] = repository.commit(TreeChanges(written=[LATER]), info=info, parent=None)
    project = Project(repository, tmp_path / "archives", commit, commit, [make_record(LATER)], settings)
    path = project.export().archive_path
    assert path is not None
    with zipfile.ZipFile(path) as archive:
        assert archive.read(f"bookings/{LATER.path}") == LATER.content
        assert archive.getinfo(f"bookings/{LATER.path}").date_time[0] == min(max(year, 1980), 2107)


@contextmanager
def another_time_zone() -> Iterator[None]:
    before = os.environ.get("TZ")
    os.environ["TZ"] = "America/St_Johns"
    time.tzset()
    assert time.localtime(0).tm_year == 1969
    try:
        yield
    finally:
        os.environ.pop("TZ")
        os.environ |= {"TZ": before} if before else {}
        time.tzset()


@contextmanager
def another_umask() -> Iterator[None]:
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def another_locale() -> Iterator[None]:
    names = ("LC_ALL", "LANG", "LANGUAGE")
    before = {name: os.environ[name] for name in names if name in os.environ}
    chosen = locale.setlocale(locale.LC_ALL)
    os.environ |= dict.fromkeys(names, "tr_TR.ISO-8859-9")
    with suppress(locale.Error):  # where the machine has it
        locale.setlocale(locale.LC_ALL, "")
    try:
        yield
    finally:
        for name in names:
            del os.environ[name]
        os.environ |= before
        locale.setlocale(locale.LC_ALL, chosen)


@contextmanager
def another_user() -> Iterator[None]:
    names = ("USER", "LOGNAME", "HOME", "GIT_AUTHOR_NAME", "GIT_COMMITTER_DATE")
    before = {name: os.environ[name] for name in names if name in os.environ}
    os.environ |= dict.fromkeys(names, "mallory")
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ |= before


@contextmanager
def one_processor() -> Iterator[None]:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def nothing_else() -> Iterator[None]:
    yield


SURROUNDINGS = [nothing_else, another_time_zone, another_umask, another_locale, another_user, one_processor]


@pytest.mark.parametrize("surroundings", SURROUNDINGS)
@pytest.mark.parametrize("kind", FORMATS)
def test_another_making_gives_the_same_bytes(project: Project, kind: str, surroundings: Callable[[], Any]) -> None:
    first = project.export(format=kind, bundle=True)
    written = project.read_written()
    assert len(written) == 3
    for name in written:
        (project.directory / name).unlink()
    with surroundings():
        second = project.export(format=kind, bundle=True)
    assert project.read_written() == written
    assert second == first
    assert {stat.S_IMODE(path.stat().st_mode) for path in project.directory.iterdir()} == {0o644}


@pytest.mark.parametrize("kind", FORMATS)
def test_neither_packing_nor_place_of_the_repository_changes_a_byte(
    project: Project, tmp_path: Path, settings: Settings, kind: str
) -> None:
    project.export(format=kind, bundle=True)
    twin = make_project(tmp_path / "twin", settings=settings, files=FILES[::-1])
    run_git(twin.repository.directory, "-c", "core.compression=9", "repack", "-adfq", "--window=50")
    run_git(twin.repository.directory, "config", "pack.compression", "9")
    run_git(twin.repository.directory, "config", "pack.threads", "4")
    twin.export(format=kind, bundle=True)
    assert twin.read_written() == project.read_written()


def run_git(directory: Path, *arguments: str, given: str = "") -> str:
    command = ["git", "-C", str(directory), *arguments]
    return subprocess.run(command, input=given, check=True, capture_output=True, text=True).stdout


def test_a_gzip_says_neither_when_nor_where_it_was_made(project: Project) -> None:
    path = project.export(format="tar.gz").archive_path
    assert path is not None
    assert path.read_bytes()[:10] == b"\x1f\x8b\x08" + bytes(6) + b"\xff"


@pytest.mark.parametrize("kind", FORMATS)
def test_an_identity_changes_neither_archive_nor_bundle(project: Project, kind: str) -> None:
    project.export(format=kind, bundle=True)
    written = project.read_written()
    identity = CommitIdentity(name="Ada", email="ada@example.com")
    ArchiveExporter().export(replace(project.request(format=kind, bundle=True), identity=identity))
    assert project.read_written() == written


def test_the_result_tells_what_there_is(project: Project) -> None:
    result = project.export(format="tar.gz")
    path = project.directory / f"bookings-{project.commit[:12]}.tar.gz"
    assert result.archive_sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert result.result == {
        "format": "tar.gz",
        "size_bytes": path.stat().st_size,
        "manifest_path": f"{path}.manifest.json",
        "bundle_path": None,
        "bundle_sha256": None,
    }
    assert sorted(project.read_written()) == [path.name, f"{path.name}.manifest.json"]
    with_bundle = project.export(format="tar.gz", bundle=True).result
    bundle = project.directory / f"bookings-{project.commit[:12]}.bundle"
    assert with_bundle["bundle_path"] == str(bundle)
    assert with_bundle["bundle_sha256"] == hashlib.sha256(bundle.read_bytes()).hexdigest()


def test_a_bundle_clones_to_the_same_commit_with_its_history(project: Project, tmp_path: Path) -> None:
    bundle = str(project.export(bundle=True).result["bundle_path"])
    assert project.repository.head() != project.commit
    run_git(tmp_path, "clone", "--quiet", bundle, "clone")
    clone = tmp_path / "clone"
    assert run_git(clone, "rev-parse", "HEAD", "main").split() == [project.commit] * 2
    assert run_git(clone, "symbolic-ref", "HEAD").strip() == "refs/heads/main"
    assert run_git(clone, "rev-list", "HEAD").split() == [project.commit, project.first]
    assert run_git(clone, "fsck", "--strict", "--full") == ""
    assert (clone / "noise.bin").read_bytes() == NOISE
    assert run_git(clone, "bundle", "list-heads", bundle).splitlines() == [
        f"{project.commit} refs/heads/main",
        f"{project.commit} HEAD",
    ]


@pytest.mark.parametrize("bundle", [False, True])
@pytest.mark.parametrize("kind", FORMATS)
def test_the_manifest_agrees_with_what_is_there(project: Project, kind: str, bundle: bool) -> None:
    result = project.export(format=kind, bundle=bundle)
    assert result.archive_path is not None
    text = Path(result.result["manifest_path"]).read_text("utf-8")
    assert '"données/ünï ☃.txt"' in text
    assert len(text.splitlines()) == len(FILES) + 2
    manifest = json.loads(text)
    entries = [entry for entry in read_archive(result.archive_path) if not entry.name.endswith("/")]
    assert manifest == {
        "name": "bookings",
        "commit": project.commit,
        "archive": describe_file(result.archive_path),
        "bundle": describe_file(Path(result.result["bundle_path"])) if bundle else None,
        "files": [
            {
                "path": entry.name.removeprefix("bookings/"),
                "size": len(entry.content),
                "sha256": hashlib.sha256(entry.content).hexdigest(),
                "origin": "step:files",
            }
            for entry in entries
        ],
    }
    paths = [file["path"].encode() for file in manifest["files"]]
    assert paths == sorted(paths)
    assert len(paths) == len(FILES)


def describe_file(path: Path) -> dict[str, Any]:
    content = path.read_bytes()
    return {"file": path.name, "size": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def change(path: str, /, **values: Any) -> Callable[[list[ProjectFile]], list[ProjectFile]]:
    return lambda files: [replace(file, **values) if file.path == path else file for file in files]


TAMPERED: list[tuple[Callable[[list[ProjectFile]], list[ProjectFile]], str]] = [
    (change("noise.bin", sha256="0" * 64), "'noise.bin' has the SHA-256 0{64} in the records, [0-9a-f]{64} in"),
    (change("empty", sha256="0" * 64), "'empty' has the SHA-256 0{64} in the records, e3b0c442[0-9a-f]{56} in"),
    (change("README.md", size_bytes=6), "'README.md' has 6 bytes in the records, 5 in the repository"),
    (change("README.md", mode=0o100755), "'README.md' has the mode 100755 in the records, 644 in the repository"),
    (change("bin/run", mode=0o104755), "'bin/run' has the mode 104755 in the records, 755 in the repository"),
    (change("README.md", path="README"), "'README.md' is in the repository only"),
    (lambda files: files[:-1], f"the directory '{'a' * 90}/' is in the repository only"),
    (lambda files: [file for file in files if file.path != "u.txt"], "'u.txt' is in the repository only"),
    (lambda files: files[:0], """'"odd" name\\\\'s.txt' is in the repository only"""),
    (
        lambda files: [*files, replace(files[0], path="zzz"), replace(files[0], path="mmm")],
        r"2 file\(s\) are in the records only: 'mmm', 'zzz'",
    ),
]


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
@pytest.mark.parametrize(("tamper", "message"), TAMPERED)
def test_records_that_differ_from_the_repository_are_refused_and_leave_nothing(
    project: Project, kind: str, tamper: Callable[[list[ProjectFile]], list[ProjectFile]], message: str
) -> None:
    project.files = tamper(project.files)
    told = f"the records and the repository differ, so there is no archive of commit {project.commit}: ({message})"
    with pytest.raises(StorageError, match=told):
        project.export(format=kind, bundle=True)
    assert project.read_written() == {}


def test_an_earlier_archive_outlives_one_that_is_refused(project: Project) -> None:
    project.export()
    written = project.read_written()
    project.files = project.files[1:]
    with pytest.raises(StorageError, match="differ"):
        project.export()
    assert project.read_written() == written


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("120000 blob {blob}\tlink", "'link' is no regular file in the repository"),
        ("160000 commit {commit}\tmodule", "the directory 'module/' is in the repository only"),
        ("100644 blob {blob}\textra", "'extra' is in the repository only"),
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_what_is_no_recorded_file_does_not_get_out(project: Project, kind: str, entry: str, message: str) -> None:
    directory = project.repository.directory
    blob = run_git(directory, "hash-object", "-w", "--stdin", given="/etc/passwd").strip()
    listing = run_git(directory, "ls-tree", project.commit) + entry.format(blob=blob, commit=project.first) + "\n"
    tree = run_git(directory, "mktree", "--missing", given=listing).strip()
    author = ["-c", "user.name=x", "-c", "user.email=x@x"]
    project.commit = run_git(directory, *author, "commit-tree", "-m", "x", tree).strip()
    with pytest.raises(StorageError, match=message):
        project.export(format=kind)
    if "link" in entry:
        project.files.append(make_record(make_file("link", "/etc/passwd")))
        with pytest.raises(StorageError, match=message):
            project.export(format=kind)
    assert project.read_written() == {}


class Collected:
    """What a tar held, by path."""

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.last = ""
        self.ended: list[str] = []

    def begin(self, member: Member) -> None:
        self.last = member.path
        self.contents[self.last] = b""

    def write(self, data: bytes) -> None:
        self.contents[self.last] += data

    def end(self) -> None:
        self.ended.append(self.last)


@pytest.mark.parametrize("size_bytes", [1, 7, 511, 512, 513, 1_000, 65_536, 10_000_000])
def test_a_tar_may_come_in_pieces_of_any_size(tmp_path: Path, settings: Settings, size_bytes: int) -> None:
    files = [file for file in FILES if size_bytes > 7 or file.path != "noise.bin"]
    project = make_project(tmp_path, settings=settings, files=files)
    with (tmp_path / "x.tar").open("wb") as output:
        project.repository.write_tar(project.commit, prefix="p", output=output)
    data = (tmp_path / "x.tar").read_bytes()
    collected = Collected()
    tar = VerifiedTar(project.files, commit=project.commit, prefix="p", members=collected)
    for start in range(0, len(data), size_bytes):
        tar.write(data[start : start + size_bytes])
    tar.finish()
    found = {path: content for path, content in collected.contents.items() if not path.endswith("/")}
    assert found == {f"p/{file.path}": file.content for file in files}
    assert collected.ended == list(collected.contents)


@pytest.mark.parametrize(
    ("missing_blocks", "message"), [(0, "has no end"), (1, "has no end"), (2, "in the records only: 'windows.txt'")]
)
def test_a_tar_that_ends_early_is_refused(project: Project, tmp_path: Path, missing_blocks: int, message: str) -> None:
    with (tmp_path / "x.tar").open("wb") as output:
        project.repository.write_tar(project.commit, prefix="p", output=output)
    data = (tmp_path / "x.tar").read_bytes()
    blocks = -(-len(data.rstrip(b"\0")) // 512) - missing_blocks
    tar = VerifiedTar(project.files, commit=project.commit, prefix="p")
    tar.write(data[: blocks * 512])
    with pytest.raises(StorageError, match=message):
        tar.finish()


def test_memory_does_not_grow_with_the_project(tmp_path: Path, settings: Settings) -> None:
    files = [make_file(f"{number}.bin", NOISE * 20) for number in range(5)]
    project = make_project(tmp_path, settings=settings, files=files)
    for kind in FORMATS:
        project.export(format=kind)  # what is imported stays
        tracemalloc.start()
        project.export(format=kind, bundle=True)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 2_000_000, kind


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("bundle", [False, True])
def test_a_disk_that_is_full_is_named_and_nothing_half_made_stays(project: Project, kind: str, bundle: bool) -> None:
    """Files may become only so large: to the one who writes, that is a full disk."""
    if bundle:
        project.commit = project.repository.commit(
            TreeChanges(deleted=[file.path for file in FILES if file.path != "README.md"]),
            info=describe_commit("less"),
            parent=project.commit,
        )[0]
        project.files = project.files[:1]
    what = f"the {'bundle' if bundle else 'archive'} '.*/bookings-{project.commit[:12]}.*' cannot be written"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(StorageError, match=f"{what}: File too large"):
            project.export(format=kind, bundle=bundle)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert project.read_written() == {}
    assert project.export(format=kind, bundle=bundle).archive_path is not None


def test_a_directory_that_cannot_be_made_is_named(project: Project) -> None:
    project.directory.write_text("in the way")
    with pytest.raises(
        StorageError, match=r"the archive '.*/archives/bookings-.*\.zip' cannot be written: File exists"
    ):
        project.export()


def test_a_name_that_is_taken_by_a_directory_is_named(project: Project) -> None:
    taken = project.directory / f"bookings-{project.commit[:12]}.zip"
    taken.mkdir(parents=True)
    with pytest.raises(StorageError, match=rf"'{taken}' cannot be written: Is a directory"):
        project.export()
    assert list(project.directory.iterdir()) == [taken]


def test_a_commit_that_is_not_there_is_named(project: Project) -> None:
    project.commit = "0" * 40
    with pytest.raises(StorageError, match="git archive failed in '.*/repository'"):
        project.export()
    assert project.read_written() == {}


@pytest.mark.parametrize("failing", ["archive", "pack-objects"])
@pytest.mark.parametrize(
    ("script", "message"),
    [
        ("exec sleep 100", "git {} took longer than 1 s in '.*/repository'"),
        ("echo 'fatal: no luck' >&2; exit 3", "git {} failed in '.*/repository': fatal: no luck"),
    ],
)
def test_a_git_that_hangs_or_fails_is_named(
    project: Project, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, script: str, message: str
) -> None:
    real = subprocess.run(["sh", "-c", "command -v git"], check=True, capture_output=True, text=True).stdout.strip()
    (tmp_path / "bin").mkdir()
    stand_in = tmp_path / "bin" / "git"
    stand_in.write_text(f'#!/bin/sh\nif [ "$1" = {failing} ]; then {script}; fi\nexec {real} "$@"\n')
    stand_in.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    project.repository = ProjectRepository(project.repository.directory, timeout_seconds=1)
    with pytest.raises(StorageError, match=message.format(failing)):
        project.export(bundle=True)
    assert project.read_written() == {}


def test_what_killed_tries_left_is_removed_and_what_may_still_run_is_not(project: Project) -> None:
    project.directory.mkdir()
    names = [
        f".unfinished-bookings-{commit[:12]}.{end}-x1"
        for commit, end in [
            (project.commit, "zip"),
            (project.commit, "bundle"),
            (project.commit, "tar.gz.manifest.json"),
            (project.commit, "zip.manifest.json"),
            (project.first, "zip"),
        ]
    ]
    for name in names:
        (project.directory / name).write_bytes(b"half")
    for name in [*names[:3], names[4]]:
        os.utime(project.directory / name, (1, 1))
    project.export()
    assert sorted(name for name in project.read_written() if name.startswith(".")) == sorted(names[3:])


def test_roll_back_removes_its_own_files_only(project: Project) -> None:
    kept = ArchiveExporter().export(project.request(format="zip"))
    made = ArchiveExporter().export(project.request(format="tar.gz", bundle=True))
    export = project.make_export(made)
    project.records.exports = [project.make_export(kept), export]
    assert len(project.read_written()) == 5
    for _ in range(2):
        assert ArchiveExporter().roll_back(project.request(export=export)) is None
        path = Path(str(kept.archive_path))
        assert sorted(project.read_written()) == [path.name, f"{path.name}.manifest.json"]


def test_a_file_of_two_exports_stays_until_both_are_rolled_back(project: Project) -> None:
    plain = project.make_export(project.export())
    bundled = project.make_export(project.export(bundle=True))
    project.records.exports = [plain, bundled]
    ArchiveExporter().roll_back(project.request(export=bundled))
    path = Path(str(plain.archive_path))
    assert sorted(project.read_written()) == [path.name, f"{path.name}.manifest.json"]
    project.records.exports = [plain, replace(bundled, status=ExportStatus.ROLLED_BACK)]
    ArchiveExporter().roll_back(project.request(export=plain))
    assert project.read_written() == {}


def test_roll_back_touches_nothing_outside_the_directory(project: Project, tmp_path: Path) -> None:
    project.export()
    outside = tmp_path / "outside.zip"
    outside.write_text("theirs")
    (project.directory / "inner").mkdir()
    (project.directory / "inner" / "x").write_text("theirs")
    export = project.make_export(
        archive_path=str(outside),
        result={"manifest_path": f"{project.directory}/../outside.zip", "bundle_path": f"{project.directory}/inner/x"},
    )
    ArchiveExporter().roll_back(project.request(export=export))
    directories = project.make_export(
        archive_path=f"{project.directory}/..", result={"manifest_path": f"{project.directory}/inner", "bundle_path": 7}
    )
    ArchiveExporter().roll_back(project.request(export=directories))
    assert outside.read_text() == "theirs"
    assert (project.directory / "inner" / "x").read_text() == "theirs"


def test_an_export_that_made_nothing_has_nothing_to_roll_back(project: Project) -> None:
    assert ArchiveExporter().roll_back(project.request()) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"format": "rar"}, "target 'archive': option 'format' is 'rar': .*'zip', 'tar.gz' or 'tar.zst'"),
        ({"format": None}, "option 'format' is None: .*'zip', 'tar.gz' or 'tar.zst'"),
        ({"fromat": "zip"}, r"there is no option 'fromat'; accepted are \['bundle', 'format'\]"),
        ({"bundle": "perhaps"}, "option 'bundle' is 'perhaps': .*boolean"),
        ({"format": 1, "x": 2}, "option 'format' is 1: .*; there is no option 'x'"),
    ],
)
def test_options_that_cannot_work_are_refused_with_what_is_accepted(
    project: Project, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportTargetError, match=message):
        ArchiveExporter().check_options(options)
    with pytest.raises(ExportTargetError, match=message):
        project.export(**options)
    assert project.read_written() == {}


def test_it_takes_no_connection() -> None:
    exporter = ArchiveExporter()
    exporter.check_options({})
    with pytest.raises(ExportTargetError, match="target 'archive' takes no connection, and it was given 'github'"):
        exporter.connect("github")
    assert exporter.locate(None) is None
    assert (exporter.needs_connection, exporter.author_options) == (False, frozenset())
