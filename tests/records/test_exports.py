"""Exports with real records, to real archives and to a real git server over HTTP with a password."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import subprocess
import tarfile
import threading
import time
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest

from scaffolder.config import Settings
from scaffolder.errors import (
    ExportConflictError,
    ExportRejectedError,
    ExportTargetError,
    HostUnavailableError,
    InvalidParametersError,
    ScaffolderError,
    StorageError,
)
from scaffolder.generation.git_remote import GitRemote
from scaffolder.records.models import ExportStatus
from scaffolder.records.retention import keep_days
from scaffolder.records.store import ProjectRecords
from tests.cutting_proxy import serve_cutting_proxy
from tests.exports import FILES, Exports, refs
from tests.factories import make_file, open_project
from tests.servers import GitServer, serve_git


@pytest.fixture
def exports(records: ProjectRecords, settings: Settings) -> Exports:
    return Exports(records, settings)


@pytest.fixture
def git_server(tmp_path: Path) -> Iterator[GitServer]:
    (tmp_path / "git").mkdir()
    with serve_git(tmp_path / "git") as server:
        yield server


def remote_of(server: GitServer, **values: Any) -> GitRemote:
    given = {"url": f"{server.url}/{{name}}.git", "username": server.username, "password": server.password}
    return GitRemote(**(given | values))


def test_a_zip_holds_the_tree_with_its_modes(exports: Exports) -> None:
    export = exports.export("archive", format="zip")
    assert export.status is ExportStatus.EXPORTED
    assert export.archive_path is not None
    path = Path(export.archive_path)
    assert (export.commit, export.url) == (exports.commit, path.as_uri())
    assert hashlib.sha256(path.read_bytes()).hexdigest() == export.archive_sha256
    with zipfile.ZipFile(path) as archive:
        files = {info.filename: archive.read(info) for info in archive.infolist() if not info.is_dir()}
        modes = {info.filename: info.external_attr >> 16 & 0o111 for info in archive.infolist()}
    assert files == {f"bookings/{file.path}": file.content for file in FILES}
    assert modes["bookings/bin/run"]
    assert not modes["bookings/README.md"]


def test_a_tar_gz_holds_the_tree_with_its_modes(exports: Exports) -> None:
    export = exports.export("archive", format="tar.gz")
    assert export.archive_path is not None
    with tarfile.open(export.archive_path) as archive:
        modes = {member.name: member.mode for member in archive if member.isfile()}
    assert modes == {"bookings/README.md": 0o644, "bookings/bin/run": 0o755}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_an_archive_made_again_has_the_same_bytes_and_one_record(exports: Exports, kind: str) -> None:
    first = exports.export("archive", format=kind)
    assert first.archive_path is not None
    Path(first.archive_path).unlink()
    second = exports.export("archive", format=kind)
    assert (second.id, second.archive_sha256) == (first.id, first.archive_sha256)
    assert Path(first.archive_path).is_file()
    assert len(exports.recorded()) == 1


def test_what_a_killed_try_left_is_removed(exports: Exports) -> None:
    archives = exports.directory / "archives"
    archives.mkdir()
    leftover = archives / f".unfinished-bookings-{exports.commit[:12]}.zip-x1y2"
    leftover.write_bytes(b"half")
    os.utime(leftover, (1, 1))
    export = exports.export("archive")
    name = Path(str(export.archive_path)).name
    assert sorted(path.name for path in archives.iterdir()) == [name, f"{name}.manifest.json"]


def test_a_roll_back_finds_the_archive_where_the_directory_has_moved(
    exports: Exports, connection: psycopg.Connection[Any]
) -> None:
    """The record names the place before, and nothing is touched there."""
    export = exports.export("archive", rollback=True, bundle=True)
    before = exports.directory.with_name("before")
    shutil.copytree(exports.directory / "archives", before)
    connection.execute(
        "UPDATE repository_export SET archive_path = replace(archive_path, %(old)s, %(new)s), "
        "result = replace(result::text, %(old)s, %(new)s)::json",
        {"old": str(exports.directory / "archives"), "new": str(before)},
    )
    assert Path(str(exports.only.archive_path)).parent == before
    assert exports.roll_back(None) == []
    assert exports.only.status is ExportStatus.ROLLED_BACK
    assert list((exports.directory / "archives").iterdir()) == []
    assert Path(str(export.archive_path)).name in {path.name for path in before.iterdir()}


def test_an_archive_that_cannot_be_written_is_on_the_record(exports: Exports) -> None:
    (exports.directory / "archives").write_text("in the way")
    with pytest.raises(StorageError, match=r"the archive '.*' cannot be written: File exists"):
        exports.export("archive")
    assert [(one.status, one.archive_path) for one in exports.recorded()] == [(ExportStatus.FAILED, None)]
    (exports.directory / "archives").unlink()
    assert exports.export("archive").status is ExportStatus.EXPORTED
    assert len(exports.recorded()) == 1


def test_pushes_the_commit_over_http(exports: Exports, git_server: GitServer) -> None:
    directory = git_server.create("bookings")
    export = exports.export("git", connection=remote_of(git_server))
    assert refs(directory) == {"refs/heads/main": exports.commit}
    assert (export.status, export.url) == (ExportStatus.EXPORTED, f"{git_server.url}/bookings.git")


def test_a_second_export_finds_the_first_ones_work(exports: Exports, git_server: GitServer) -> None:
    directory = git_server.create("other-name")
    first = exports.export("git", connection=remote_of(git_server), repository="other-name")
    second = exports.export("git", connection=remote_of(git_server), repository="other-name")
    assert (second.id, refs(directory)) == (first.id, {"refs/heads/main": exports.commit})


def test_a_push_whose_record_was_lost_is_found_done(exports: Exports, git_server: GitServer, connection: Any) -> None:
    directory = git_server.create("bookings")
    exports.export("git", connection=remote_of(git_server))
    connection.execute("DELETE FROM repository_export")
    assert exports.export("git", connection=remote_of(git_server)).status is ExportStatus.EXPORTED
    assert refs(directory) == {"refs/heads/main": exports.commit}


@pytest.mark.parametrize("ref", ["refs/heads/main", "refs/heads/dev", "refs/tags/v1"])
def test_a_repository_that_is_not_ours_is_not_touched(exports: Exports, git_server: GitServer, ref: str) -> None:
    directory = git_server.create("bookings")
    theirs = make_foreign_commit(directory, ref)
    with pytest.raises(ExportConflictError, match="holds 1 refs that this export did not make, so nothing was pushed"):
        exports.export("git", connection=remote_of(git_server))
    assert refs(directory) == {ref: theirs}
    assert exports.recorded()[0].status is ExportStatus.FAILED


def make_foreign_commit(directory: Path, ref: str) -> str:
    stream = f"commit {ref}\ncommitter X <x@x> 1 +0000\ndata 1\nx\n".encode()
    subprocess.run(["git", "--git-dir", str(directory), "fast-import", "--quiet"], input=stream, check=True)
    return refs(directory)[ref]


REFUSALS: list[tuple[dict[str, Any], type[ScaffolderError], str]] = [
    ({"password": "wr0ng-secret"}, ExportRejectedError, "Authentication failed"),
    ({"password": None}, ExportRejectedError, "git ls-remote at"),
    (
        {"url": "http://127.0.0.1:9/{name}.git"},
        HostUnavailableError,
        "git ls-remote at http://127.0.0.1:9/bookings.git",
    ),
    ({"url": "ext::sh -c touch% /tmp/x"}, ExportTargetError, "accepted is a URL with a scheme of"),
    ({"url": "../relative"}, ExportTargetError, "accepted is a URL with a scheme of"),
    ({"url": "--upload-pack=touch"}, ExportTargetError, "accepted is a URL with a scheme of"),
    ({"url": "https://ada:s3cret-in-url@example.com/x.git"}, ExportTargetError, "belong in login and password"),
]


@pytest.mark.parametrize(("values", "error", "message"), REFUSALS)
def test_a_remote_that_cannot_be_used_is_named_without_secrets(
    exports: Exports, git_server: GitServer, values: dict[str, Any], error: type[ScaffolderError], message: str
) -> None:
    git_server.create("bookings")
    with pytest.raises(error, match=message) as caught:
        exports.export("git", connection=remote_of(git_server, **values))
    told = f"{caught.value}{caught.value.__cause__}{exports.recorded()[0].error}"
    assert not [secret for secret in ("wr0ng-secret", "s3cret-in-url", git_server.password) if secret in told]


def test_a_missing_repository_is_refused(exports: Exports, git_server: GitServer) -> None:
    with pytest.raises(ExportRejectedError, match="not found"):
        exports.export("git", connection=remote_of(git_server))


def test_a_push_that_the_host_refuses_tells_why_in_plain_text(exports: Exports, git_server: GitServer) -> None:
    directory = git_server.create("bookings", refuse_pushes="\x1b[31mprotected\x07")
    with pytest.raises(ExportRejectedError, match="git push at") as caught:
        exports.export("git", connection=remote_of(git_server))
    assert str(caught.value).isprintable()
    assert refs(directory) == {}


@pytest.mark.parametrize("bytes_left", [2_000, 50_000, 150_000, 250_000])
def test_a_push_that_the_network_cuts_is_finished_by_the_next_try(
    exports: Exports, git_server: GitServer, bytes_left: int
) -> None:
    directory = git_server.create("bookings")
    commit = exports.generate([make_file("noise.bin", random.Random(1).randbytes(300_000))], step_id="noise")
    with serve_cutting_proxy(int(git_server.url.rpartition(":")[2])) as proxy:
        remote = remote_of(git_server, url=f"{proxy.url}/{{name}}.git")
        proxy.bytes_left = bytes_left
        with pytest.raises(HostUnavailableError, match="git push at"):
            exports.export("git", connection=remote)
        assert proxy.cuts
        assert exports.only.status is ExportStatus.FAILED
        assert refs(directory) == {}
        proxy.bytes_left = None
        exports.export("git", connection=remote)
    assert refs(directory) == {"refs/heads/main": commit}
    assert exports.only.status is ExportStatus.EXPORTED


def test_no_password_stands_in_arguments_or_environments_while_git_works(
    exports: Exports, git_server: GitServer
) -> None:
    directory = git_server.create("bookings", refuse_pushes="too late")
    hook = directory / "hooks" / "pre-receive"
    hook.write_text(hook.read_text().replace("exit 1", "sleep 1; exit 0"))
    told: list[bytes] = []
    thread = threading.Thread(target=lambda: exports.export("git", connection=remote_of(git_server)))
    # The records' connection is for one thread at a time: this one only looks.
    thread.start()
    while thread.is_alive():
        for process in psutil.Process().children(recursive=True):
            with suppress(OSError):
                told += [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "environ")]
        time.sleep(0.02)
    thread.join()
    assert any(b"git" in text and b"push" in text for text in told)
    assert not [text for text in told if git_server.password.encode() in text]
    assert refs(directory) == {"refs/heads/main": exports.commit}


def test_no_password_stays_behind(exports: Exports, git_server: GitServer) -> None:
    git_server.create("bookings")
    exports.export("git", connection=remote_of(git_server))
    with pytest.raises(ExportRejectedError):
        exports.export("git", connection=remote_of(git_server, password="wr0ng-secret"), repository="bookings")
    for secret in (git_server.password, "wr0ng-secret"):
        found = subprocess.run(["grep", "-rl", secret, str(exports.settings.generated_projects_dir)], check=False)
        assert found.returncode == 1
    assert secret not in repr(remote_of(git_server))


def test_a_password_that_the_host_repeats_is_not_kept(exports: Exports, git_server: GitServer) -> None:
    git_server.create("bookings", refuse_pushes=f"who is {git_server.password}")
    with pytest.raises(ExportRejectedError) as caught:
        exports.export("git", connection=remote_of(git_server))
    assert git_server.password not in f"{caught.value}{exports.recorded()[0].error}"
    assert caught.value.__cause__ is None


@pytest.mark.parametrize("name", ["../../escaped", "/tmp/abs", "a/b", "", ".hidden", "a b", "a\n", "-x"])
def test_a_project_has_a_name_that_can_be_a_file(records: ProjectRecords, name: str) -> None:
    with pytest.raises(InvalidParametersError, match="accepted is"):
        open_project(records, name=name)


def test_an_archive_does_not_depend_on_the_time_zone(exports: Exports, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = set()
    for zone in ("UTC", "America/New_York"):
        monkeypatch.setenv("TZ", zone)
        digests.add(exports.export("archive").archive_sha256)
    assert len(digests) == 1


def test_a_local_repository_is_made_and_pushed_to(
    exports: Exports, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_DIR", str(tmp_path / "elsewhere"))
    remote = GitRemote(url=f"file://{tmp_path}/remotes/{{name}}.git")
    export = exports.export("git", connection=remote)
    assert refs(tmp_path / "remotes" / "bookings.git") == {"refs/heads/main": exports.commit}
    assert export.url == f"file://{tmp_path}/remotes/bookings.git"
    assert not (tmp_path / "elsewhere").exists()


@pytest.mark.parametrize(
    ("target", "options", "message"),
    [
        ("githab", {}, r"target 'githab'; accepted are \['archive', 'git', 'github', 'gitlab'\]"),
        ("archive", {"format": "rar"}, "option 'format' is 'rar': Input should be 'zip', 'tar.gz' or 'tar.zst'"),
        ("archive", {"fromat": "zip"}, r"there is no option 'fromat'; accepted are \['bundle', 'format'\]"),
        ("git", {}, "target 'git' needs a connection"),
        ("git", {"repository": "../x"}, r"option 'repository' is '\.\./x': String should match pattern"),
    ],
)
def test_a_target_that_cannot_work_is_refused_before_a_record_is_made(
    exports: Exports, target: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ExportTargetError, match=message):
        exports.export(target, **options)
    assert exports.recorded() == []


def test_a_project_without_a_commit_has_nothing_to_export(records: ProjectRecords, settings: Settings) -> None:
    exports = Exports(records, settings)
    exports.key = open_project(records).id
    with pytest.raises(ExportConflictError, match="has no commit yet"):
        exports.export("archive")


def test_a_failed_project_is_not_exported(exports: Exports) -> None:
    exports.records.mark_failed(exports.key, error="x", rules=keep_days(7))
    with pytest.raises(ExportConflictError, match="is 'failed'; accepted are"):
        exports.export("archive")


def test_git_gets_no_credentials_of_this_machine(
    exports: Exports, git_server: GitServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    git_server.create("bookings")
    host = git_server.url.removeprefix("http://").split(":")[0]
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / ".netrc").write_text(
        f"machine {host} login {git_server.username} password {git_server.password}\n"
    )
    (tmp_path / "home" / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert os.environ["HOME"] == str(tmp_path / "home")
    with pytest.raises(ExportRejectedError):
        exports.export("git", connection=remote_of(git_server, username=None, password=None))
