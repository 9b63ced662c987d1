from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import pytest
from pysequoia import Tsk

from scaffolder.errors import ExportTargetError, StorageError, UnsafePathError
from scaffolder.exports import history
from scaffolder.exports.history import CommitText, prepare_commit, write_commit
from scaffolder.exports.identity import CommitIdentity
from scaffolder.generation.merge import TreeChanges
from scaffolder.generation.repository import BRANCH, ProjectRepository
from scaffolder.records.models import GeneratedProject, GeneratedProjectStatus
from tests.conftest import CHECKOUT
from tests.factories import RUN_AT, describe_commit, make_file
from tests.ssh_server import make_ssh_key
from tests.unit.exports.test_identity import Gpg, needs_gpg

REF = "refs/scaffolder/exports/one"
ADA = CommitIdentity(name="Ada L.", email="ada@example.com")
OWNERS = make_file("CODEOWNERS", "* @ada\n")
STEPS = ["models", "files", "tests"]
FORMAT = "%an|%ae|%at|%cn|%ce|%ct|%T|%B"


@pytest.fixture
def repository(tmp_path: Path) -> ProjectRepository:
    repository = ProjectRepository.create(tmp_path / "project")
    parent = None
    for number, step in enumerate(STEPS):
        info = replace(describe_commit(step), at=RUN_AT + timedelta(hours=number))
        file = make_file(f"{step}/é.txt", step, executable=step == "tests")
        (parent,) = repository.commit(TreeChanges(written=[file]), info=info, parent=parent)
    return repository


@pytest.fixture
def commit(repository: ProjectRepository) -> str:
    return str(repository.head())


def git(repository: ProjectRepository, *arguments: str, given: bytes | None = None, **environment: str) -> str:
    return subprocess.run(
        ["git", "-C", str(repository.directory), *arguments],
        input=given,
        env=os.environ | environment,
        check=True,
        capture_output=True,
    ).stdout.decode("utf-8", "surrogateescape")


def describe(repository: ProjectRepository, commit: str) -> list[list[str]]:
    text = git(repository, "log", "-z", "--first-parent", f"--format={FORMAT}", commit)
    return [one.split("|") for one in text.split("\0") if one]


def refs(repository: ProjectRepository) -> list[str]:
    return git(repository, "for-each-ref", "--format=%(refname)").split()


def prepare(repository: ProjectRepository, commit: str, **values: object) -> str:
    given = {"ref": REF, "identity": None} | values
    return prepare_commit(repository, commit, **given)  # type: ignore[arg-type]  # as the test says


def test_without_identity_and_files_nothing_is_written(repository: ProjectRepository, commit: str) -> None:
    objects = git(repository, "count-objects", "-v")
    assert prepare(repository, commit) == commit
    assert refs(repository) == [BRANCH]
    assert git(repository, "count-objects", "-v") == objects


def test_an_identity_becomes_author_and_committer_and_all_else_stays(
    repository: ProjectRepository, commit: str
) -> None:
    before = describe(repository, commit)
    made = prepare(repository, commit, identity=ADA)
    after = describe(repository, made)
    assert [one[:2] + one[3:5] for one in after] == [["Ada L.", "ada@example.com"] * 2] * len(STEPS)
    assert [[one[2], *one[5:]] for one in after] == [[one[2], *one[5:]] for one in before]
    assert len({one[2] for one in after}) == len(STEPS)
    assert (repository.head(), git(repository, "rev-parse", REF).strip()) == (commit, made)
    git(repository, "fsck", "--strict")


def test_equal_input_gives_equal_commits(repository: ProjectRepository, commit: str) -> None:
    first = prepare(repository, commit, identity=ADA, files=[OWNERS])
    assert prepare(repository, commit, identity=ADA, files=[OWNERS], ref=f"{REF}2") == first


def test_messages_and_dates_of_any_kind_stay(repository: ProjectRepository, commit: str) -> None:
    tree = git(repository, "rev-parse", f"{commit}^{{tree}}").strip()
    raw = (
        f"tree {tree}\nparent {commit}\nparent {git(repository, 'rev-parse', f'{commit}~1').strip()}\n"
        "author Eve <> 12 +0530\ncommitter Bob <b@x> 34 -0100\nencoding ISO-8859-1\n"
        "gpgsig -----BEGIN PGP SIGNATURE-----\n \n committer x\n -----END PGP SIGNATURE-----\n\n"
    ).encode() + b"Subject \xe9\n\n\ngpgsig no header\n\n  no line end"
    odd = git(repository, "hash-object", "-t", "commit", "-w", "--stdin", given=raw).strip()
    made = git(repository, "cat-file", "commit", prepare(repository, odd, identity=ADA))
    parent = git(repository, "rev-parse", f"{REF}~1").strip()
    assert (
        made.encode("utf-8", "surrogateescape")
        == (
            f"tree {tree}\nparent {parent}\nauthor Ada L. <ada@example.com> 12 +0530\n"
            "committer Ada L. <ada@example.com> 34 -0100\nencoding ISO-8859-1\n\n"
        ).encode()
        + b"Subject \xe9\n\n\ngpgsig no header\n\n  no line end"
    )
    assert len(describe(repository, REF)) == len(STEPS) + 1


@pytest.mark.parametrize("passphrase", [None, "s3cret pass"])
def test_git_accepts_commits_signed_with_an_ssh_key(
    repository: ProjectRepository, commit: str, tmp_path: Path, passphrase: str | None
) -> None:
    key = make_ssh_key(tmp_path, passphrase=passphrase)
    (tmp_path / "allowed").write_text(f"{ADA.email} {key.public}\n")
    settings = ["-c", "gpg.format=ssh", "-c", f"gpg.ssh.allowedSignersFile={tmp_path}/allowed"]
    identity = replace(ADA, private_key=key.private, passphrase=passphrase)
    made = prepare(repository, commit, identity=identity, files=[OWNERS])
    commits = git(repository, "rev-list", made).split()
    assert len(commits) == len(STEPS) + 1
    git(repository, *settings, "verify-commit", *commits)
    # As git itself writes it (gitformat-signature): no line of the header is empty.
    assert "\n -----END SSH SIGNATURE-----\n\nfiles\n" in git(repository, "cat-file", "commit", f"{made}~2")
    git(repository, "fsck", "--strict")
    assert describe(repository, made)[1:] == describe(
        repository, prepare(repository, commit, identity=ADA, ref=f"{REF}2")
    )
    assert subprocess.run(["grep", "-rl", "s3cret", str(repository.directory)], check=False).returncode == 1


@pytest.fixture
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as home:
        gpg = Gpg(home)
        yield gpg
        subprocess.run(["gpgconf", "--kill", "all"], env=gpg.environment, check=False)


@needs_gpg
def test_git_accepts_commits_signed_with_an_openpgp_key(repository: ProjectRepository, commit: str, gpg: Gpg) -> None:
    key = Tsk.generate("Ada <ada@example.com>")
    gpg.run("--import", given=str(key.extract_certificate()).encode())
    made = prepare(repository, commit, identity=replace(ADA, private_key=str(key)), files=[OWNERS])
    commits = git(repository, "rev-list", made).split()
    git(repository, "verify-commit", *commits, GNUPGHOME=gpg.environment["GNUPGHOME"])
    git(repository, "fsck", "--strict")
    signed = git(repository, "cat-file", "commit", made)
    altered = git(
        repository, "hash-object", "-t", "commit", "-w", "--stdin", given=signed.replace("Ada", "Eve").encode()
    )
    with pytest.raises(subprocess.CalledProcessError):
        git(repository, "verify-commit", altered.strip(), GNUPGHOME=gpg.environment["GNUPGHOME"])


def test_a_key_that_cannot_sign_makes_no_ref(repository: ProjectRepository, commit: str) -> None:
    with pytest.raises(ExportTargetError, match="cannot be signed"):
        prepare(repository, commit, identity=replace(ADA, private_key="x"))
    assert refs(repository) == [BRANCH]


@pytest.mark.parametrize("identity", [None, ADA])
def test_files_come_in_one_commit_on_top(
    repository: ProjectRepository, commit: str, identity: CommitIdentity | None
) -> None:
    run = make_file("bin/run", "#!/bin/sh\n", executable=True)
    replaced = make_file("files/é.txt", "other")
    made = prepare(
        repository, commit, identity=identity, files=[OWNERS, run, replaced], message="Say who\n\nowns it\n\n"
    )
    top, *rest = describe(repository, made)
    newest = describe(repository, commit)[0]
    who = ["Ada L.", "ada@example.com"] if identity else newest[:2]
    assert top[:6] == [*who, newest[2], *who, newest[5]]
    assert top[7] == "Say who\n\nowns it\n"
    assert [one[6:] for one in rest] == [one[6:] for one in describe(repository, commit)]
    added = {file.path: (file.mode, repository.read(made, file.path)) for file in repository.files(made)}
    kept = {file.path: (file.mode, repository.read(commit, file.path)) for file in repository.files(commit)}
    assert added == kept | {file.path: (file.mode, file.content) for file in (OWNERS, run, replaced)}
    assert (git(repository, "rev-parse", f"{made}~1").strip() == commit) is (identity is None)
    assert repository.head() == commit


def test_files_that_are_there_already_add_no_commit(repository: ProjectRepository, commit: str) -> None:
    assert prepare(repository, commit, files=[make_file("models/é.txt", "models")]) == commit


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../x", "has a part '..'"),
        (".git/config", "git keeps for itself"),
        ("MODELS/x", "differs from"),
        ("models", "is both a file and a directory"),
        ("models/é.txt/x", "is both a file and a directory"),
        ("a\nb", "control character"),
    ],
)
def test_files_with_unsafe_paths_are_refused(
    repository: ProjectRepository, commit: str, path: str, reason: str
) -> None:
    with pytest.raises(UnsafePathError, match=reason):
        prepare(repository, commit, identity=ADA, files=[OWNERS, make_file(path)])
    assert refs(repository) == [BRANCH]


def test_a_second_try_finds_the_first_ones_commit(repository: ProjectRepository, commit: str, tmp_path: Path) -> None:
    identity = replace(ADA, private_key=str(Tsk.generate("Ada")))
    first = prepare(repository, commit, identity=identity)
    assert prepare(repository, commit, identity=identity) == first
    assert prepare(repository, commit, identity=replace(ADA, private_key="x")) == first
    assert prepare(repository, commit, identity=identity, ref=f"{REF}2") != first


def test_a_ref_is_not_taken_for_one_above_it(repository: ProjectRepository, commit: str) -> None:
    prepare(repository, commit, identity=ADA)
    above = REF.rpartition("/")[0]
    with pytest.raises(StorageError, match="git update-ref failed in "):
        prepare(repository, commit, identity=ADA, files=[OWNERS], ref=above)
    assert refs(repository) == [BRANCH, REF]


@pytest.mark.parametrize("ref", [BRANCH, "HEAD", "main"])
def test_a_branch_is_never_moved(repository: ProjectRepository, commit: str, ref: str) -> None:
    with pytest.raises(ValueError, match="accepted is one below 'refs/' that is no branch"):
        prepare(repository, commit, identity=ADA, ref=ref)


def test_a_commit_that_is_not_there_is_named(repository: ProjectRepository) -> None:
    with pytest.raises(StorageError, match="git rev-list failed in .*: fatal: bad object 0{40}"):
        prepare(repository, "0" * 40, identity=ADA)


def intercept_git(directory: Path, *, script: str) -> dict[str, str]:
    """Return the environment in which `script` runs before each git command."""
    real = subprocess.run(["sh", "-c", "command -v git"], check=True, capture_output=True, text=True).stdout.strip()
    directory.mkdir()
    (directory / "git").write_text(f'#!/bin/sh\nreal={real}\n{script}\nexec {real} "$@"\n')
    (directory / "git").chmod(0o755)
    return {"PATH": f"{directory}:{os.environ['PATH']}"}


PREPARE = f"""
import sys
from pathlib import Path
from scaffolder.exports.history import prepare_commit
from scaffolder.exports.identity import CommitIdentity
from scaffolder.generation.repository import ProjectRepository
identity = CommitIdentity(name="Ada L.", email="ada@example.com")
prepare_commit(ProjectRepository(Path(sys.argv[1])), sys.argv[2], ref="{REF}", identity=identity)
"""


@pytest.mark.parametrize("command", ["rev-list", "hash-object", "update-ref"])
def test_a_kill_before_the_ref_is_harmless(
    repository: ProjectRepository, commit: str, tmp_path: Path, command: str
) -> None:
    script = f'case "$1" in {command}) kill -9 $PPID; sleep 0.2; exit 1;; esac'
    environment = os.environ | intercept_git(tmp_path / "bin", script=script)
    environment |= {"PYTHONPATH": str(CHECKOUT / "plugins")}
    killed = subprocess.run(
        [sys.executable, "-c", PREPARE, str(repository.directory), commit], env=environment, check=False
    )
    assert killed.returncode == -9
    assert refs(repository) == [BRANCH]
    assert [one[0] for one in describe(repository, prepare(repository, commit, identity=ADA))] == ["Ada L."] * 3
    git(repository, "fsck", "--strict")


def test_locks_of_killed_processes_are_broken(
    repository: ProjectRepository, commit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history, "_STALE_LOCK_SECONDS", 0.1)
    lock = repository.directory / ".git" / f"{REF}.lock"
    lock.parent.mkdir(parents=True)
    lock.touch()
    prepare(repository, commit, identity=ADA)
    assert refs(repository) == [BRANCH, REF]


def test_of_two_tries_at_once_one_wins(
    repository: ProjectRepository, commit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = f'if [ "$1" = update-ref ]; then $real update-ref "$2" {commit}; fi'
    for name, value in intercept_git(tmp_path / "bin", script=script).items():
        monkeypatch.setenv(name, value)
    assert prepare(repository, commit, identity=ADA) == commit


def test_a_commit_is_written_into_any_repository(repository: ProjectRepository, commit: str, tmp_path: Path) -> None:
    bare = tmp_path / "bare.git"
    subprocess.run(["git", "clone", "-q", "--bare", str(repository.directory), str(bare)], check=True)
    text = CommitText.parse(git(repository, "cat-file", "commit", commit).encode())
    made = write_commit(bare, replace(text, message=b"again\n").made_by(ADA, parents=(commit,)), identity=ADA)
    command = ["git", "-C", str(bare), "log", "-1", "--format=%an|%s|%P", made]
    assert subprocess.check_output(command, text=True) == f"Ada L.|again|{commit}\n"


@pytest.mark.parametrize(
    ("identity", "user", "who"),
    [
        (None, "bob\n<x>", "bob x <scaffolder@localhost>"),
        (None, None, "scaffolder <scaffolder@localhost>"),
        (ADA, "bob", "Ada L. <ada@example.com>"),
    ],
)
def test_a_run_has_a_commit_of_its_own(identity: CommitIdentity | None, user: str | None, who: str) -> None:
    project = GeneratedProject(
        id=UUID(int=1),
        project="default",
        name="bookings",
        workflow="openapi_service",
        dag_id="openapi_service",
        run_id="manual",
        run_at=RUN_AT,
        params={},
        status=GeneratedProjectStatus.READY,
        head_commit=None,
        file_count=0,
        size_bytes=0,
        expires_at=None,
        held=False,
        hold_reason=None,
        held_by=None,
        held_until=None,
        export_count=0,
        export_status=None,
        ended_at=RUN_AT,
        removal_reason=None,
        regenerated_from=None,
        error=None,
        created_by=user,
        created_at=RUN_AT,
        updated_at=RUN_AT,
    )
    text = CommitText.of_run(project, identity=identity, tree="0" * 40, parents=("1" * 40, "2" * 40), message="Hi\n\n")
    signature = f"{who} {int(RUN_AT.timestamp())} +0000"
    parents = f"parent {'1' * 40}\nparent {'2' * 40}\n"
    expected = f"tree {'0' * 40}\n{parents}author {signature}\ncommitter {signature}\n\nHi\n"
    assert text.serialize() == expected.encode()
