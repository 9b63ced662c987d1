from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest

from scaffolder.errors import (
    ExportRejectedError,
    ExportTargetError,
    HostUnavailableError,
    PermanentError,
    ScaffolderError,
    TemplateError,
)
from scaffolder.exports.hook import CommitIdentityHook, GitRemoteHook
from scaffolder.generation.git_remote import GitRemote, RemoteGit, RemoteGitError, restore_private_key
from scaffolder.generation.merge import TreeChanges
from scaffolder.generation.repository import ProjectRepository
from scaffolder.provider import get_provider_info
from tests.certificates import Authority
from tests.conftest import CHECKOUT
from tests.factories import describe_commit, make_file
from tests.ssh_server import SshKey, SshServer, find_free_port, make_ssh_key, needs_sshd, serve_ssh

PASSPHRASE = "s3cret pass/phrase'\"$x"
MAIN = "refs/heads/main"


class Project:
    """A repository with one commit that is pushed."""

    def __init__(self, directory: Path) -> None:
        self.repository = ProjectRepository.create(directory)
        (self.commit,) = self.repository.commit(
            TreeChanges(written=[make_file("README.md")]), info=describe_commit("files"), parent=None
        )

    def push(self, remote: GitRemote, *, name: str, rejected: type[PermanentError] = ExportRejectedError) -> None:
        url = remote.url.replace("{name}", name)
        try:
            RemoteGit(url, remote=remote, timeout_seconds=60).run(
                "push", "--quiet", "--", url, f"{self.commit}:{MAIN}", git_directory=self.repository.directory / ".git"
            )
        except RemoteGitError as error:
            raise error.translated(rejected) from None


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshServer]:
    with serve_ssh(tmp_path_factory.mktemp("ssh")) as server:
        yield server


@pytest.fixture(scope="module")
def locked_key(server: SshServer) -> SshKey:
    """A key with a passphrase that the server knows."""
    return make_ssh_key(server.root, passphrase=PASSPHRASE)


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path / "project")


@pytest.fixture
def name(request: pytest.FixtureRequest) -> str:
    """The name of a repository of this test's own."""
    return f"r{abs(hash(request.node.nodeid))}"


def remote_of(server: SshServer, **values: Any) -> GitRemote:
    given = {"url": server.url, "private_key": server.client_key.private, "host_keys": server.host_keys}
    return GitRemote(**(given | values))


def refs(directory: Path) -> dict[str, str]:
    command = ["git", "--git-dir", str(directory), "for-each-ref", "--format=%(refname) %(objectname)"]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return dict(line.split() for line in text.splitlines())


def pieces(*keys: SshKey) -> list[str]:
    """What must be seen nowhere: passphrases and the lines of private keys."""
    lines = [line for key in keys for line in key.private.splitlines() if not line.startswith("-----")]
    return [line for line in lines if len(line) > 20] + [key.passphrase for key in keys if key.passphrase]


def find_in_files(directory: Path, secrets: list[str]) -> list[str]:
    """Return the files that hold a secret; some come and go meanwhile."""
    found: list[str] = []
    for parent, _, names in os.walk(directory):
        for path in (Path(parent, name) for name in names):
            with suppress(OSError):
                text = path.read_bytes() if path.is_file() else b""
                found += [str(path) for secret in secrets if secret.encode() in text]
    return found


OPENSSH: dict[str, Any] = {"passphrase": PASSPHRASE}
PEM: dict[str, Any] = {"kind": "rsa", "pem": True}


@needs_sshd
@pytest.mark.parametrize(
    ("kind", "line_end"),
    [
        ({}, "\n"),
        (OPENSSH, "\n"),
        (OPENSSH, "\r\n"),
        (OPENSSH, "\\n"),
        (OPENSSH, " "),
        (OPENSSH, ""),
        (PEM, "\n"),
        (PEM, " "),
        (PEM | {"passphrase": PASSPHRASE}, "\r\n"),
    ],
)
def test_pushes_to_the_host_whose_key_is_pinned(
    server: SshServer, project: Project, name: str, kind: dict[str, Any], line_end: str
) -> None:
    key = make_ssh_key(server.root, **kind)
    server.authorize(server.client_key, key)
    directory = server.create(name)
    text = key.private.replace("\n", line_end)
    project.push(remote_of(server, private_key=text, private_key_passphrase=key.passphrase), name=name)
    assert refs(directory) == {MAIN: project.commit}


@pytest.mark.parametrize("kind", [{}, {"kind": "rsa", "pem": True}, {"kind": "ecdsa", "pem": True}])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\\n", " ", "", " \n "])
def test_a_key_that_lost_its_line_ends_gets_them_back(kind: dict[str, Any], line_end: str, tmp_path: Path) -> None:
    key = make_ssh_key(tmp_path, **kind).private
    assert restore_private_key(f" \n{key.replace(chr(10), line_end)}\n") == key


def test_a_repr_has_no_secrets() -> None:
    secrets = {"password": "s3cret-1", "private_key": "s3cret-2", "private_key_passphrase": "s3cret-3"}
    assert "s3cret" not in repr(GitRemote(url="https://git.example.com", **secrets))


OTHER = SshKey("", "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIF4bRkDljC/874sPHnrqUlbnV6UT0EtejlCaP4x3IPhL")
BROKEN = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"


def with_url(server: SshServer, **parts: str) -> dict[str, str]:
    user, _, rest = server.url.removeprefix("ssh://").partition("@")
    port, _, path = rest.removeprefix("127.0.0.1:").partition("/")
    given = {"user": f"{user}@", "port": port, "path": path} | parts
    return {"url": "ssh://{user}127.0.0.1:{port}/{path}".format_map(given)}


@dataclass(frozen=True)
class Parts:
    """What a case may need: the server, a key with a passphrase, and one that the server does not know."""

    server: SshServer
    locked: SshKey
    unknown: SshKey


# What differs from a remote that works.
REFUSALS: list[tuple[Callable[[Parts], dict[str, Any]], type[ScaffolderError], str]] = [
    (
        lambda parts: {"host_keys": parts.server.pin(OTHER)},
        ExportTargetError,
        "the host's key is not the one that the connection pins, so nothing was sent",
    ),
    (
        lambda _: {"host_keys": f"git.example.com {OTHER.public}"},
        ExportTargetError,
        "host_keys have no key of this host, so nothing was sent",
    ),
    (
        lambda _: {"host_keys": None},
        ExportTargetError,
        r"no key of the host is pinned.*'ssh-keyscan -p \d+ 127\.0\.0\.1'",
    ),
    (lambda _: {"host_keys": "# no key\n\n"}, ExportTargetError, "no key of the host is pinned"),
    (lambda _: {"host_keys": OTHER.public}, ExportTargetError, "host_keys have the line 'ssh-ed25519 AAAA"),
    (lambda _: {"private_key": None}, ExportTargetError, "its connection has no private_key; accepted is"),
    (lambda _: {"private_key": "abc"}, ExportTargetError, "the private_key is none; accepted is"),
    (lambda _: {"private_key": BROKEN}, ExportTargetError, "the private_key cannot be read: "),
    (
        lambda parts: {"private_key": parts.locked.private},
        ExportTargetError,
        "the private_key needs its passphrase",
    ),
    (
        lambda parts: {"private_key": parts.locked.private, "private_key_passphrase": "wr0ng-phrase"},
        ExportTargetError,
        "the private_key does not open with its passphrase",
    ),
    (
        lambda parts: {"private_key": parts.unknown.private},
        ExportRejectedError,
        r"Permission denied \(publickey\)",
    ),
    (
        lambda parts: with_url(parts.server, user="") | {"username": "-oProxyCommand=x"},
        ExportTargetError,
        "login is '-oProxyCommand=x'",
    ),
    (
        lambda parts: with_url(parts.server, path="nowhere/{name}.git"),
        ExportRejectedError,
        "does not appear to be a git repository",
    ),
    (
        lambda parts: with_url(parts.server, port=str(find_free_port())),
        HostUnavailableError,
        "failed: ssh: connect to host 127.0.0.1",
    ),
]


@needs_sshd
@pytest.mark.parametrize(("change", "error", "message"), REFUSALS)
def test_what_cannot_be_trusted_or_used_is_refused_and_nothing_is_pushed(
    server: SshServer,
    locked_key: SshKey,
    project: Project,
    name: str,
    change: Callable[[Parts], dict[str, Any]],
    error: type[ScaffolderError],
    message: str,
) -> None:
    directory = server.create(name)
    unknown = make_ssh_key(server.root)
    server.authorize(server.client_key, locked_key)
    with pytest.raises(error, match=message) as caught:
        project.push(remote_of(server, **change(Parts(server, locked_key, unknown))), name=name)
    assert refs(directory) == {}
    told = f"{caught.value}{caught.value.__cause__}"
    assert not [
        secret for secret in [*pieces(server.client_key, locked_key, unknown), "wr0ng-phrase"] if secret in told
    ]
    assert told.isprintable()


def test_templates_over_ssh_are_refused_with_their_own_error(project: Project) -> None:
    with pytest.raises(TemplateError, match="no key of the host is pinned, so that anybody could answer"):
        project.push(GitRemote(url="ssh://git@127.0.0.1/x.git"), name="x", rejected=TemplateError)


@needs_sshd
def test_the_login_is_the_user_where_the_url_names_none(server: SshServer, project: Project, name: str) -> None:
    directory = server.create(name)
    user, _, host = server.url.removeprefix("ssh://").partition("@")
    project.push(remote_of(server, url=f"ssh://{host}", username=user), name=name)
    assert refs(directory) == {MAIN: project.commit}


@needs_sshd
def test_an_agent_of_this_machine_lends_no_key(
    server: SshServer, project: Project, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    directory = server.create(name)
    with tempfile.TemporaryDirectory() as place:
        socket = f"{place}/agent"
        agent = subprocess.Popen(["ssh-agent", "-D", "-a", socket], stdout=subprocess.DEVNULL)
        try:
            while not Path(socket).exists():
                time.sleep(0.01)
            monkeypatch.setenv("SSH_AUTH_SOCK", socket)
            subprocess.run(["ssh-add", "-q", "-"], input=server.client_key.private, text=True, check=True)
            with pytest.raises(ExportRejectedError, match="Permission denied"):
                project.push(remote_of(server, private_key=make_ssh_key(server.root).private), name=name)
        finally:
            agent.terminate()
            agent.wait(timeout=30)
    assert refs(directory) == {}


@needs_sshd
def test_the_banner_of_a_host_is_no_reason(server: SshServer, project: Project, name: str) -> None:
    # Its words would make a cut connection, which may pass, a refusal.
    server.create(name, pre_receive="kill -9 $PPID")
    with pytest.raises(HostUnavailableError, match="git push at"):
        project.push(remote_of(server), name=name)


@needs_sshd
def test_what_a_host_repeats_is_hidden(server: SshServer, locked_key: SshKey, project: Project, name: str) -> None:
    told = server.root / f"{name}.txt"
    lines = [
        *pieces(locked_key),
        quote(PASSPHRASE, safe=""),
        quote(PASSPHRASE),
        "\x1b[31m" + PASSPHRASE.upper() + "\x07",
    ]
    lines = [line for one in lines for line in (one, f"protected: {one}")]
    told.write_text("\n".join([*lines, "protected: " + 470 * "x" + PASSPHRASE]) + "\n")
    server.authorize(locked_key)
    server.create(name, pre_receive=f"cat {told} >&2; exit 1")
    remote = remote_of(server, private_key=locked_key.private, private_key_passphrase=PASSPHRASE)
    url = remote.url.replace("{name}", name)
    with pytest.raises(RemoteGitError) as caught:
        RemoteGit(url, remote=remote, timeout_seconds=60).run(
            "push", "--", url, f"{project.commit}:{MAIN}", git_directory=project.repository.directory / ".git"
        )
    server.authorize(server.client_key)
    assert "***" in caught.value.told
    for text in (str(caught.value), caught.value.told):
        assert not [secret for secret in [*pieces(locked_key), "s3cret", "S3CRET"] if secret in text]
        assert text.replace("\n", "").isprintable()
    assert len(str(caught.value)) < 1_000


WAITING_HOOK = "touch {0}/started; while [ ! -e {0}/go ]; do sleep 0.05; done"


@needs_sshd
@pytest.mark.parametrize("succeeds", [True, False])
def test_keys_and_passphrases_are_seen_nowhere(
    server: SshServer,
    locked_key: SshKey,
    project: Project,
    name: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    succeeds: bool,
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    server.authorize(locked_key)
    server.create(name, pre_receive=WAITING_HOOK.format(tmp_path) + ("" if succeeds else "; exit 1"))
    remote = remote_of(server, private_key=locked_key.private, private_key_passphrase=PASSPHRASE)
    secrets = pieces(locked_key)
    seen: set[str] = set()
    with ThreadPoolExecutor() as pool:
        pushing = pool.submit(project.push, remote, name=name)
        while not pushing.done():
            waits = (tmp_path / "started").exists()
            for process in psutil.Process().children(recursive=True):
                arguments, environment = read_process(process.pid)
                seen.add(Path(arguments.split("\0")[0]).name)
                assert not [secret for secret in secrets if secret in arguments or secret in environment]
            assert find_in_files(temporary, secrets) == []
            if waits:
                (tmp_path / "go").touch()
    server.authorize(server.client_key)
    assert (pushing.exception() is None) is succeeds, pushing.exception()
    assert {"git", "ssh"} <= seen
    assert list(temporary.iterdir()) == []
    assert find_in_files(tmp_path, secrets) == []


def read_process(pid: int) -> tuple[str, str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text(), Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return "", ""


PUSH = """
import json, sys
from pathlib import Path
from scaffolder.generation.git_remote import GitRemote, RemoteGit
url, commit, directory, remote = json.load(sys.stdin)
git = RemoteGit(url, remote=GitRemote(url=url, **remote), timeout_seconds=60)
git.run("push", "--quiet", "--", url, f"{commit}:refs/heads/main", git_directory=Path(directory))
"""


@needs_sshd
def test_a_killed_push_leaves_no_key_behind(
    server: SshServer, locked_key: SshKey, project: Project, name: str, tmp_path: Path
) -> None:
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    server.authorize(locked_key)
    server.create(name, pre_receive=WAITING_HOOK.format(tmp_path))
    remote = {"private_key": locked_key.private, "private_key_passphrase": PASSPHRASE, "host_keys": server.host_keys}
    given = [server.url.replace("{name}", name), project.commit, str(project.repository.directory / ".git"), remote]
    environment = os.environ | {"PYTHONPATH": str(CHECKOUT / "plugins"), "TMPDIR": str(temporary)}
    process = subprocess.Popen([sys.executable, "-c", PUSH], stdin=subprocess.PIPE, env=environment)
    assert process.stdin is not None
    process.stdin.write(json.dumps(given).encode())
    process.stdin.close()
    try:
        while not (tmp_path / "started").exists():
            assert process.poll() is None
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(timeout=30)
        (tmp_path / "go").touch()
    server.authorize(server.client_key)
    assert find_in_files(tmp_path, pieces(locked_key)) == []


@contextmanager
def serve_https(directory: Path, authority: Authority) -> Iterator[str]:
    """Yield the URL of a host that answers everything with 404."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_error(404)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listener:
        context = authority.issue("127.0.0.1").make_server_context(directory)
        listener.socket = context.wrap_socket(listener.socket, server_side=True, do_handshake_on_connect=False)
        listener.handle_error = lambda *_: None  # type: ignore[method-assign]  # clients hang up on purpose
        thread = threading.Thread(target=listener.serve_forever)
        thread.start()
        try:
            yield f"https://127.0.0.1:{listener.server_port}/{{name}}.git"
        finally:
            listener.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("certificate", "error", "message"),
    [
        ("text", ExportRejectedError, "not found"),
        ("path", ExportRejectedError, "not found"),
        ("other", ExportRejectedError, "certificate"),
        (None, ExportRejectedError, "certificate"),
        ("/nowhere.pem", ExportTargetError, "ca_certificate is '/nowhere.pem'; accepted is PEM text, or the absolute"),
        ("relative.pem", ExportTargetError, "ca_certificate is 'relative.pem'; accepted is PEM text"),
    ],
)
def test_a_host_with_its_own_authority_is_known_by_that(
    project: Project, tmp_path: Path, certificate: str | None, error: type[ScaffolderError], message: str
) -> None:
    authority = Authority("ours")
    (tmp_path / "ca.pem").write_text(authority.certificate)
    texts = {
        "text": f"\n{authority.certificate}",
        "path": str(tmp_path / "ca.pem"),
        "other": Authority("theirs").certificate,
    }
    with serve_https(tmp_path, authority) as url:
        remote = GitRemote(url=url, ca_certificate=texts.get(certificate or "", certificate))
        with pytest.raises(error, match=message):
            project.push(remote, name="x")


# Connections


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> Any:
    def put(conn_id: str, **fields: Any) -> str:
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(fields))
        return conn_id

    return put


EXTRAS = {"private_key": "k3y", "private_key_passphrase": "phrase", "host_keys": "h x y", "ca_certificate": "/ca.pem"}


def test_a_git_host_is_read_from_its_connection(connections: Any) -> None:
    url = "ssh://git@git.example.com/{name}.git"
    connections("host", conn_type="git_remote", host=url, login="ada", password="t0ken", extra=EXTRAS)
    assert GitRemoteHook("host").get_conn() == GitRemote(url=url, username="ada", password="t0ken", **EXTRAS)


def test_extras_that_the_form_left_empty_are_not_given(connections: Any) -> None:
    extra = dict.fromkeys(EXTRAS, "") | {"host_keys": None}
    connections("host", conn_type="git_remote", host="git.example.com/{name}.git", extra=extra)
    assert GitRemoteHook("host").get_conn() == GitRemote(url="https://git.example.com/{name}.git")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"host": ""}, "connection 'host' has no host"),
        ({"conn_type": "git"}, "connection 'host' is of type 'git'; accepted is 'git_remote'"),
        ({"extra": {"privatekey": "s3cret"}}, r"has the extras \['privatekey'\]; accepted are \['private_key', "),
        ({"extra": {"private_key": ["s3cret"]}}, r"has the extras \['private_key'\] that are no text"),
        ({"extra": '["s3cret"]'}, "has an extra that is no JSON object"),
        ({"extra": '"s3cret'}, "has an extra that is no JSON"),
    ],
)
def test_a_git_host_that_cannot_be_read_is_named(connections: Any, fields: dict[str, Any], message: str) -> None:
    connections("host", **({"conn_type": "git_remote", "host": "git.example.com"} | fields))
    with pytest.raises(ExportTargetError, match=message) as caught:
        GitRemoteHook("host").get_conn()
    assert "s3cret" not in str(caught.value)


def test_a_connection_that_is_not_there_is_named() -> None:
    with pytest.raises(
        ExportTargetError, match="there is no connection 'nobody'; accepted is one of type 'git_remote'"
    ):
        GitRemoteHook("nobody").get_conn()


@pytest.mark.parametrize(
    ("hook", "secret"),
    [(GitRemoteHook, {"private_key", "private_key_passphrase"}), (CommitIdentityHook, {"private_key"})],
)
def test_the_form_has_what_the_hook_reads_and_hides_secrets(hook: Any, secret: set[str], connections: Any) -> None:
    from airflow.sdk._shared.secrets_masker import should_hide_value_for_key

    (entry,) = [one for one in get_provider_info()["connection-types"] if one["connection-type"] == hook.conn_type]
    assert entry["hook-class-name"] == f"{hook.__module__}.{hook.__name__}"
    connections("one", conn_type=hook.conn_type, host="x", extra={"nothing": "x"})
    with pytest.raises(ExportTargetError) as caught:
        hook("one").get_conn()
    fields = entry["conn-fields"]
    assert str(list(fields)).strip("[]") in str(caught.value)
    assert {name for name, one in fields.items() if one["schema"].get("format") == "password"} == secret
    assert {name for name in fields if should_hide_value_for_key(name)} == secret
