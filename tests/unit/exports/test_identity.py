from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pysequoia import Tsk

from scaffolder.errors import ExportTargetError
from scaffolder.exports.hook import CommitIdentityHook
from scaffolder.exports.identity import CommitIdentity
from scaffolder.generation.git_remote import restore_private_key
from tests.conftest import CHECKOUT
from tests.ssh_server import SshKey, make_ssh_key

DATA = b"tree 0\nauthor Ada\n\nmessage\xff\x00\n"
PASSPHRASE = "s3cret pass/phrase'\"$x"
ADA = CommitIdentity(name="Ada L.", email="ada@example.com")
needs_gpg = pytest.mark.skipif(shutil.which("gpg") is None, reason="there is no gpg here (Debian: gnupg)")


class Gpg:
    """gpg with a home of its own. Its path is short: sockets' names have a limit."""

    def __init__(self, home: str) -> None:
        self.environment = os.environ | {"GNUPGHOME": home}
        self._keys: dict[str, str] = {}

    def run(self, *arguments: str, given: bytes | None = None) -> subprocess.CompletedProcess[bytes]:
        command = ["gpg", "--batch", "--quiet", "--pinentry-mode", "loopback", *arguments]
        return subprocess.run(command, input=given, env=self.environment, capture_output=True, check=True)

    def make_key(self, *, passphrase: str, kind: str) -> str:
        if kind not in self._keys:
            user = f"{kind} <ada@example.com>"
            self.run("--passphrase", passphrase, "--quick-generate-key", user, kind, "default", "never")
            exported = self.run("--passphrase", passphrase, "--armor", "--export-secret-keys", user)
            self._keys[kind] = exported.stdout.decode()
        return self._keys[kind]


@pytest.fixture(scope="module")
def gpg() -> Iterator[Gpg]:
    with tempfile.TemporaryDirectory(prefix="gpg-", ignore_cleanup_errors=True) as home:
        gpg = Gpg(home)
        yield gpg
        subprocess.run(["gpgconf", "--kill", "all"], env=gpg.environment, check=False)


def verify_with_ssh(key: SshKey, data: bytes, signature: str, tmp_path: Path, *, namespace: str = "git") -> int:
    (tmp_path / "allowed").write_text(f"{ADA.email} {key.public}\n")
    (tmp_path / "signature").write_text(signature)
    command = ["ssh-keygen", "-Y", "verify", "-n", namespace, "-I", ADA.email]
    places = ["-f", str(tmp_path / "allowed"), "-s", str(tmp_path / "signature")]
    return subprocess.run([*command, *places], input=data, capture_output=True, check=False).returncode


def test_without_a_key_nothing_is_signed() -> None:
    assert ADA.sign(DATA) is None
    assert replace(ADA, private_key="").sign(DATA) is None


@pytest.mark.parametrize("kind", ["ed25519", "rsa", "ecdsa"])
@pytest.mark.parametrize("passphrase", [None, PASSPHRASE])
@pytest.mark.parametrize("pem", [False, True])
def test_ssh_keys_sign_as_git_wants_it(kind: str, passphrase: str | None, pem: bool, tmp_path: Path) -> None:
    key = make_ssh_key(tmp_path, kind=kind, passphrase=passphrase, pem=pem)
    signature = replace(ADA, private_key=key.private, passphrase=passphrase).sign(DATA)
    assert signature is not None
    assert signature.startswith("-----BEGIN SSH SIGNATURE-----\n")
    assert verify_with_ssh(key, DATA, signature, tmp_path) == 0
    assert verify_with_ssh(key, DATA + b"x", signature, tmp_path) != 0
    assert verify_with_ssh(key, DATA, signature, tmp_path, namespace="file") != 0


@needs_gpg
@pytest.mark.parametrize(("kind", "passphrase"), [("ed25519", PASSPHRASE), ("rsa2048", "")])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", " ", "\\n", ""])
def test_openpgp_keys_sign(gpg: Gpg, kind: str, passphrase: str, line_end: str, tmp_path: Path) -> None:
    whole = gpg.make_key(passphrase=passphrase, kind=kind)
    key = whole.replace("\n", line_end)
    assert restore_private_key(key) == whole
    signature = replace(ADA, private_key=key, passphrase=passphrase or "needless").sign(DATA)
    assert signature is not None
    assert signature.startswith("-----BEGIN PGP SIGNATURE-----\n")
    (tmp_path / "signature").write_text(signature)
    gpg.run("--verify", str(tmp_path / "signature"), "-", given=DATA)
    with pytest.raises(subprocess.CalledProcessError):
        gpg.run("--verify", str(tmp_path / "signature"), "-", given=DATA + b"x")


def public_openpgp_key() -> str:
    return str(Tsk.generate("Ada <ada@example.com>").extract_certificate())


def as_private(text: str) -> str:
    return text.replace("PUBLIC KEY BLOCK", "PRIVATE KEY BLOCK")


FLAWS: list[tuple[Callable[[Path], str], str | None, str]] = [
    (lambda _: "s3cret", None, "cannot be signed: the private_key is none; accepted is"),
    (lambda _: public_openpgp_key(), None, "the private_key is none; accepted is"),
    (
        lambda _: "-----BEGIN OPENSSH PRIVATE KEY-----\ns3cret==\n-----END OPENSSH PRIVATE KEY-----",
        None,
        "the private_key cannot be read: ",
    ),
    (
        lambda _: "-----BEGIN OPENSSH PRIVATE KEY-----s3cret: x -----END OPENSSH PRIVATE KEY-----",
        None,
        "the private_key has lost its line ends; accepted is its file's text",
    ),
    (
        lambda _: "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\ns3cret==\n-----END PGP PRIVATE KEY BLOCK-----",
        None,
        "the private_key is no OpenPGP key: ",
    ),
    (lambda _: as_private(public_openpgp_key()), None, "the private_key cannot sign: No suitable signing subkey"),
    (lambda place: make_ssh_key(place, passphrase="x1234").private, None, "the private_key needs its passphrase"),
    (
        lambda place: make_ssh_key(place, passphrase="x1234").private,
        PASSPHRASE,
        "the private_key does not open with its passphrase",
    ),
]


@pytest.mark.parametrize(("make_key", "passphrase", "message"), FLAWS)
def test_a_key_that_cannot_sign_is_refused_without_being_shown(
    make_key: Callable[[Path], str], passphrase: str | None, message: str, tmp_path: Path
) -> None:
    key = make_key(tmp_path)
    identity = replace(ADA, private_key=key, passphrase=passphrase)
    with pytest.raises(ExportTargetError, match=message) as caught:
        identity.sign(DATA)
    told = f"{caught.value}{caught.value.__cause__}"
    assert told.startswith("commits of Ada L. <ada@example.com> cannot be signed: ")
    assert not [line for line in [*key.splitlines()[1:-1], "s3cret", PASSPHRASE] if line and line in told]


@needs_gpg
@pytest.mark.parametrize(("passphrase", "message"), [(None, "needs its"), ("wr0ng-phrase", "does not open with its")])
def test_an_openpgp_key_wants_its_passphrase(gpg: Gpg, passphrase: str | None, message: str) -> None:
    key = gpg.make_key(passphrase=PASSPHRASE, kind="ed25519")
    with pytest.raises(ExportTargetError, match=f"the private_key {message} passphrase") as caught:
        replace(ADA, private_key=key, passphrase=passphrase).sign(DATA)
    assert "wr0ng-phrase" not in str(caught.value)


def test_signing_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    key = make_ssh_key(tmp_path, kind="ecdsa", passphrase=PASSPHRASE, pem=True)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = sorted(tmp_path.iterdir())
    replace(ADA, private_key=key.private, passphrase=PASSPHRASE).sign(DATA)
    with pytest.raises(ExportTargetError):
        replace(ADA, private_key=key.private, passphrase="wrong").sign(DATA)
    assert sorted(tmp_path.iterdir()) == before


def test_a_repr_has_no_secrets() -> None:
    assert "s3cret" not in repr(replace(ADA, private_key="s3cret", passphrase="s3cret"))


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"email": ""}, "the email of a commit identity is missing"),
        ({"name": " "}, "the name of a commit identity is missing"),
        ({"name": "Ada <x"}, "the name of a commit identity is 'Ada <x'; accepted is one line without '<', '>'"),
        ({"email": "a>b"}, "the email of a commit identity is 'a>b'"),
        ({"name": "Ada\ncommitter Eve"}, r"the name of a commit identity is 'Ada\\ncommitter Eve'"),
        ({"name": "Ada\x00"}, r"is 'Ada\\x00'"),
        ({"name": "Ada\u202e"}, r"is 'Ada\\u202e'"),
        ({"email": "a b"}, "is 'a b'; accepted is one without spaces"),
        ({"email": " a"}, "is ' a'"),
    ],
)
def test_a_name_or_address_that_git_cannot_hold_is_refused(values: dict[str, str], message: str) -> None:
    with pytest.raises(ExportTargetError, match=message):
        replace(ADA, **values)  # type: ignore[arg-type]  # wrong on purpose


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(conn_id: str, **fields: Any) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return put


def test_an_identity_is_read_from_its_connection(connections: Any) -> None:
    extra = {"email": ADA.email, "private_key": "k3y"}
    connections("bot", conn_type="commit_identity", login=ADA.name, password="phrase", extra=extra)
    assert CommitIdentityHook("bot").get_conn() == replace(ADA, private_key="k3y", passphrase="phrase")


def test_an_identity_needs_no_key(connections: Any) -> None:
    extra = {"email": ADA.email, "private_key": ""}
    connections("bot", conn_type="commit_identity", login=ADA.name, extra=extra)
    assert CommitIdentityHook("bot").get_conn() == ADA


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"extra": {}}, "connection 'bot': the email of a commit identity is missing"),
        ({"login": None}, "connection 'bot': the name of a commit identity is missing"),
        ({"conn_type": "git_remote"}, "connection 'bot' is of type 'git_remote'; accepted is 'commit_identity'"),
        ({"extra": {"email": "a", "key": "s3cret"}}, r"the extras \['key'\]; accepted are \['email', 'private_key'\]"),
    ],
)
def test_an_identity_that_cannot_be_used_is_named(connections: Any, fields: dict[str, Any], message: str) -> None:
    given = {"conn_type": "commit_identity", "login": ADA.name, "extra": {"email": ADA.email}}
    connections("bot", **(given | fields))
    with pytest.raises(ExportTargetError, match=message) as caught:
        CommitIdentityHook("bot").get_conn()
    assert "s3cret" not in str(caught.value)


# What Airflow makes of its tasks: /proc of the process is closed to all others, and it is not root.
AS_A_TASK = """
import ctypes, os, sys
from scaffolder.exports.identity import CommitIdentity
key = sys.stdin.read()
if os.geteuid() == 0:
    os.setgroups([])
    os.setgid(65534)
    os.setuid(65534)
assert ctypes.CDLL(None).prctl(4, 0, 0, 0, 0) == 0  # PR_SET_DUMPABLE
print(CommitIdentity(name="a", email="a@x", private_key=key, passphrase=sys.argv[1] or None).sign(b"x"))
"""


@pytest.mark.parametrize("passphrase", ["", PASSPHRASE])
@pytest.mark.parametrize("pem", [False, True])
def test_signs_in_a_task_whose_memory_is_closed_to_others(tmp_path: Path, passphrase: str, pem: bool) -> None:
    key = make_ssh_key(tmp_path, kind="rsa" if pem else "ed25519", passphrase=passphrase or None, pem=pem)
    finished = subprocess.run(
        [sys.executable, "-c", AS_A_TASK, passphrase],
        input=key.private,
        env=os.environ | {"PYTHONPATH": str(CHECKOUT / "plugins"), "TMPDIR": "/tmp"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.stdout.startswith("-----BEGIN SSH SIGNATURE-----"), finished.stderr
