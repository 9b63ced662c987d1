"""Git hosts: whose URL it is, how git gets its credentials, and what its errors mean.

Exports and templates from git share it, and signing shares its private keys. Credentials stand in no URL, argument,
environment variable or file: git and ssh ask for passwords, and keys are files that only this process's memory holds.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import quote, quote_plus, urlsplit, urlunsplit

from scaffolder.errors import (
    ExportRejectedError,
    ExportTargetError,
    HostUnavailableError,
    PermanentError,
    ScaffolderError,
)
from scaffolder.generation.repository import last_line, make_git

_PATH: Final = os.environ.get("PATH", os.defpath)
SCHEMES: Final = ("file", "http", "https", "ssh")

_DEFAULT_PORTS: Final = {"http": 80, "https": 443, "ssh": 22}
# What retrying cannot help, in git's own words; all else (resets, time-outs, 5xx) may pass.
_PERMANENT = re.compile(
    r"authentication failed|could not read (username|password)|terminal prompts disabled|permission denied|not found"
    r"|does not exist|does not appear to be a git repository|hook declined|protected|remote rejected|access denied"
    r"|returned error: 4(?!08|25|29)\d\d|host key verification failed|certificate|dubious ownership|unsupported"
    r"|fsck error|invalid refspec|cannot run ssh",
    re.IGNORECASE,
)
# What git adds after ssh has said why.
_ADVICE = re.compile(r"(fatal: )?(Could not read from remote repo|Please make sure you have|and the repository exists)")
_NO_HOST_KEY = re.compile(r"^No \S+ host key is known for", re.MULTILINE)
_WRONG_HOST_KEY = re.compile(r"^Host key verification failed", re.MULTILINE)
_ASKPASS: Final = """#!/bin/sh
case "$1" in
    Username*) printf '%s\\n' "$SCAFFOLDER_GIT_USERNAME" ;;
    *) cat "/dev/fd/$SCAFFOLDER_GIT_PASSWORD_FD" ;;
esac
"""
_SSH_ASKPASS: Final = '#!/bin/sh\ncat "$SCAFFOLDER_PASSPHRASE_FILE"\n'
# sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"
_KNOWN_HOST = re.compile(r"(@(cert-authority|revoked)\s+)?\S+\s+[a-z][a-z0-9@.-]+\s+[A-Za-z0-9+/]{16,}={0,2}(\s.*)?")
_SSH_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+-]*")
_SSH_OPTIONS: Final = (
    "StrictHostKeyChecking=yes",
    "GlobalKnownHostsFile=/dev/null",
    "UpdateHostKeys=no",
    "IdentitiesOnly=yes",
    "IdentityAgent=none",
    "PreferredAuthentications=publickey",
    "NumberOfPasswordPrompts=1",
    "ForwardAgent=no",
    "ForwardX11=no",
    "ClearAllForwardings=yes",
    "ConnectTimeout=30",
    "ServerAliveInterval=15",
    "LogLevel=ERROR",  # or the host's banner would stand among the reasons
)
_ARMOR = re.compile(r"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?)-----(.*)-----END \1-----", re.DOTALL)
_BASE64 = re.compile(r"([A-Za-z0-9+/]+={0,2}?)(=[A-Za-z0-9+/]{4})?")
_KEY_PIECE = re.compile(r"[A-Za-z0-9+/=]{16,}")  # shorter ones are not told from words
_KEYGEN_SECONDS: Final = 60


@dataclass(frozen=True, kw_only=True)
class GitRemote:
    """What a connection says of a git host: the URL's template (``{name}`` is the repository) and who we are there.

    ``ssh:`` URLs need `private_key` (OpenSSH or PEM text) and `host_keys` (lines as in OpenSSH's known_hosts; no
    other host is spoken to). `ca_certificate` is PEM text, or the absolute path of a PEM file, for ``https:`` URLs.
    """

    url: str
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    private_key: str | None = field(default=None, repr=False)
    private_key_passphrase: str | None = field(default=None, repr=False)
    host_keys: str | None = None
    ca_certificate: str | None = None


class RemoteGitError(Exception):
    """A git command that failed, or that `is_misconfigured` kept from running.

    `told` is what git and the host said, without the URL and credentials. It never leaves the domain packages:
    `translated` makes it one of ours.
    """

    def __init__(self, message: str, *, told: str, is_misconfigured: bool = False) -> None:
        super().__init__(message)
        self.told = told
        self.is_misconfigured = is_misconfigured

    def translated(self, rejected: type[PermanentError]) -> ScaffolderError:
        """Return the error of ours: `rejected` where retrying cannot help, otherwise HostUnavailableError.

        For exports, whose `rejected` speaks of the host, a connection that cannot be used is an ExportTargetError.
        """
        if self.is_misconfigured:
            return (ExportTargetError if rejected is ExportRejectedError else rejected)(str(self))
        return rejected(str(self)) if _PERMANENT.search(self.told) else HostUnavailableError(str(self))


class CredentialsError(Exception):
    """Credentials that cannot be used. The message holds no secret; it never leaves the domain packages."""


class RemoteGit:
    """git commands against the repository at `url`, with the credentials of `remote`."""

    def __init__(self, url: str, *, remote: GitRemote | None, timeout_seconds: int) -> None:
        self.url = url
        self._remote = remote
        self._timeout_seconds = timeout_seconds
        self._key_is_checked = False

    def list_refs(self, git_directory: Path) -> dict[str, str]:
        """Return the remote's branches and tags: ref -> object id. Raises RemoteGitError."""
        text = self.run("ls-remote", "--heads", "--tags", "--refs", "--", self.url, git_directory=git_directory)
        lines = [line.split("\t") for line in text.splitlines() if "\t" in line]
        return {ref: object_id for object_id, ref in lines}

    def run(self, command: str, *arguments: str, git_directory: Path, configuration: Sequence[str] = ()) -> str:
        """Run one git command in the repository `git_directory` and return what it prints.

        `configuration` is git's own, each ``name=value``. Raises RemoteGitError.
        """
        import git

        with ExitStack() as stack:
            access = self._open_access(stack)
            options = ("http.followRedirects=false", *access.configuration, *configuration)
            configured = [part for option in options for part in ("-c", option)]
            runner = make_git(git_directory, **access.environment, GIT_DIR=str(git_directory))
            try:
                return str(
                    runner.execute(
                        ["git", *configured, command, *arguments],
                        kill_after_timeout=self._timeout_seconds,
                        pass_fds=access.descriptors,
                    )
                )
            except git.GitCommandError as error:
                # Not "from error": its text is what the host wrote, unread.
                raise self._describe(command, str(error.stderr)) from None

    def _open_access(self, stack: ExitStack) -> _Access:
        try:
            if urlsplit(self.url).scheme == "ssh":
                return self._open_ssh(stack)
            return _open_http(self._remote, stack)
        except CredentialsError as error:
            message = f"{self.url} cannot be reached: {error}"
            raise RemoteGitError(message, told=str(error), is_misconfigured=True) from None

    def _open_ssh(self, stack: ExitStack) -> _Access:
        remote = self._remote or GitRemote(url=self.url)
        host_keys = self._read_host_keys(remote.host_keys)
        if not remote.private_key:
            raise CredentialsError("its connection has no private_key; accepted is the text of an OpenSSH or PEM key")
        if not self._key_is_checked:
            read_public_key(remote.private_key, passphrase=remote.private_key_passphrase)
            self._key_is_checked = True
        known_hosts = stack.enter_context(hold_in_memory(host_keys))
        key = stack.enter_context(hold_in_memory(restore_private_key(remote.private_key)))
        environment = stack.enter_context(answering_passphrase(remote.private_key_passphrase))
        user = urlsplit(self.url).username or remote.username or "git"
        if not _SSH_USER.fullmatch(user):
            raise CredentialsError(f"its connection's login is {user!r}; accepted is {_SSH_USER.pattern}")
        options = [
            # ssh asks for a passphrase only where it is not in batch mode; it has nothing else to ask for.
            f"BatchMode={'no' if remote.private_key_passphrase else 'yes'}",
            f"UserKnownHostsFile={known_hosts}",
            f"IdentityFile={key}",
            f"User={user}",
            *_SSH_OPTIONS,
        ]
        command = ["ssh", "-F", "/dev/null", *(part for option in options for part in ("-o", option))]
        return _Access(
            environment=environment
            | {"GIT_ASKPASS": "/bin/false", "GIT_SSH_COMMAND": shlex.join(command), "GIT_SSH_VARIANT": "ssh"}
        )

    def _read_host_keys(self, text: str | None) -> str:
        lines = [line.strip() for line in (text or "").splitlines()]
        lines = [line for line in lines if line and not line.startswith("#")]
        accepted = (
            f"accepted are the lines that '{self._keyscan}' prints, compared with what the host's operator publishes, "
            "in the field host_keys of a connection of type 'git_remote'"
        )
        if not lines:
            raise CredentialsError(f"no key of the host is pinned, so that anybody could answer; {accepted}")
        for line in lines:
            if not _KNOWN_HOST.fullmatch(line):
                raise CredentialsError(f"its connection's host_keys have the line {line[:100]!r}; {accepted}")
        return "\n".join(lines) + "\n"

    @property
    def _keyscan(self) -> str:
        parts = urlsplit(self.url)
        return f"ssh-keyscan {f'-p {parts.port} ' if parts.port else ''}{parts.hostname}"

    def _describe(self, command: str, stderr: str) -> RemoteGitError:
        stderr = stderr.strip().removeprefix("stderr: '").removesuffix("'")
        # The URL is ours and may hold any word.
        told = _hide(stderr.replace(self.url, "the repository"), self._remote)
        what = f"git {command} at {self.url} failed: "
        if _WRONG_HOST_KEY.search(told):
            unknown = "the connection's host_keys have no key of this host"
            other = "the host's key is not the one that the connection pins"
            return RemoteGitError(
                f"{what}{unknown if _NO_HOST_KEY.search(told) else other}, so nothing was sent. Either somebody else "
                f"answers there, or its key is new: compare what '{self._keyscan}' prints with what the host's "
                "operator publishes before it goes into host_keys",
                told=told,
                is_misconfigured=True,
            )
        lines = [line for line in told.splitlines() if not _ADVICE.match(line)]
        reasons = [line for line in lines if _PERMANENT.search(line)] or lines[-1:]
        return RemoteGitError(what + last_line("".join(reasons[:1])), told=told)


def without_credentials(url: str) -> str:
    """Return `url` without what stands before its ``@``."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "(not a URL)"
    return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))


def get_origin(url: str) -> tuple[str, str, int | None]:
    """Return what credentials belong to: scheme, host and port (the scheme's own where none is named).

    Raises ValueError for a port that is no number.
    """
    parts = urlsplit(url)
    return parts.scheme, (parts.hostname or "").lower(), parts.port or _DEFAULT_PORTS.get(parts.scheme)


@contextmanager
def hold_in_memory(text: str) -> Iterator[str]:
    """Yield the path of a file with `text` that is nowhere but in memory and ends with this process, however it ends.

    Children open it by its path: ssh closes all that it inherits. The path leads through a process that only waits,
    as Airflow closes /proc of its tasks to others (PR_SET_DUMPABLE). Raises CredentialsError where the system has no
    such files.
    """
    if not hasattr(os, "memfd_create"):
        raise CredentialsError("keys are kept off the disk with memfd_create, which only Linux has")
    with os.fdopen(os.memfd_create("scaffolder"), "wb") as file:
        os.fchmod(file.fileno(), 0o600)  # ssh refuses keys that others may read
        file.write(text.encode())
        file.flush()
        # It reads until its input ends, as it does when this process does.
        with subprocess.Popen(
            ["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, pass_fds=(file.fileno(),), env={"PATH": _PATH}
        ) as keeper:
            yield f"/proc/{keeper.pid}/fd/{file.fileno()}"


@contextmanager
def answering_passphrase(passphrase: str | None) -> Iterator[dict[str, str]]:
    """Yield the environment in which OpenSSH's programs (8.4 and later) get `passphrase` when they ask for it."""
    if not passphrase:
        yield {"SSH_ASKPASS": "/bin/false", "SSH_ASKPASS_REQUIRE": "force"}
        return
    with hold_in_memory(f"{passphrase}\n") as path, _script(_SSH_ASKPASS) as script:
        yield {"SSH_ASKPASS": script, "SSH_ASKPASS_REQUIRE": "force", "SCAFFOLDER_PASSPHRASE_FILE": path}


def restore_private_key(text: str) -> str:
    """Return the key with line ends as programs read them: forms with one line take them away.

    Raises CredentialsError where it is no private key in ASCII armor.
    """
    found = _ARMOR.search(text.replace("\\n", "\n").replace("\r\n", "\n").replace("\r", "\n"))
    if not found:
        raise CredentialsError("the private_key is none; accepted is the text of '-----BEGIN ... PRIVATE KEY-----'")
    label, body = found.groups()
    lines = [line.strip() for line in body.strip().splitlines()] or [""]
    if len(lines) == 1:
        parts = _BASE64.fullmatch("".join(body.split()))
        if not parts:
            raise CredentialsError("the private_key has lost its line ends; accepted is its file's text, line by line")
        width = 70 if label.startswith("OPENSSH") else 64
        lines = [*textwrap.wrap(parts[1], width), *filter(None, parts.groups()[1:])]
    if label.startswith("PGP") and ":" not in lines[0]:
        lines.insert(0, "")
    return "\n".join([f"-----BEGIN {label}-----", *lines, f"-----END {label}-----", ""])


def read_public_key(private_key: str, *, passphrase: str | None) -> str:
    """Return the public key of an OpenSSH or PEM key, as OpenSSH writes it. Raises CredentialsError."""
    with hold_in_memory(restore_private_key(private_key)) as path:
        return run_ssh_keygen("-y", "-f", path, passphrase=passphrase).decode()


def run_ssh_keygen(*arguments: str, passphrase: str | None, data: bytes = b"") -> bytes:
    """Return what ``ssh-keygen`` prints; `data` is what it reads. Raises CredentialsError."""
    with answering_passphrase(passphrase) as answers:
        try:
            finished = subprocess.run(
                ["ssh-keygen", *arguments],
                input=data,
                capture_output=True,
                check=False,
                env=answers | {"PATH": _PATH, "HOME": "/nonexistent", "LC_ALL": "C"},
                timeout=_KEYGEN_SECONDS,
            )
        except FileNotFoundError:
            raise CredentialsError("there is no ssh-keygen on this machine; it comes with OpenSSH's client") from None
        except subprocess.TimeoutExpired:
            raise CredentialsError(f"ssh-keygen took longer than {_KEYGEN_SECONDS} s") from None
    if finished.returncode == 0:
        return finished.stdout
    told = finished.stderr.decode("utf-8", "replace")
    if "incorrect passphrase" in told:
        raise CredentialsError(
            f"the private_key {'does not open with its passphrase' if passphrase else 'needs its passphrase'}"
        )
    raise CredentialsError(f"the private_key cannot be read: {last_line(told).rpartition(': ')[2]}")


@contextmanager
def _script(text: str) -> Iterator[str]:
    with tempfile.TemporaryDirectory(prefix="scaffolder-") as directory:
        script = Path(directory, "askpass")
        script.write_text(text)
        script.chmod(0o700)
        yield str(script)


@dataclass(frozen=True, kw_only=True)
class _Access:
    """How git gets in: an environment, file descriptors that it inherits, and configuration."""

    environment: Mapping[str, str]
    descriptors: tuple[int, ...] = ()
    configuration: tuple[str, ...] = ()


def _open_http(remote: GitRemote | None, stack: ExitStack) -> _Access:
    # Only for ssh: URLs does ssh know whom to trust.
    environment = {"GIT_ASKPASS": "/bin/false", "GIT_SSH_COMMAND": "/bin/false"}
    if remote is None:
        return _Access(environment=environment)
    configuration = _open_authority(remote.ca_certificate, stack)
    if remote.password is None:
        return _Access(environment=environment, configuration=configuration)
    reader, writer = os.pipe()
    stack.callback(os.close, reader)
    with os.fdopen(writer, "wb") as pipe:
        pipe.write(remote.password.encode() + b"\n")
    environment |= {
        "GIT_ASKPASS": stack.enter_context(_script(_ASKPASS)),
        "SCAFFOLDER_GIT_USERNAME": remote.username or "git",
        "SCAFFOLDER_GIT_PASSWORD_FD": str(reader),
    }
    return _Access(environment=environment, descriptors=(reader,), configuration=configuration)


def _open_authority(certificate: str | None, stack: ExitStack) -> tuple[str, ...]:
    given = (certificate or "").strip()
    if not given:
        return ()
    if "-----BEGIN CERTIFICATE-----" in given:
        return (f"http.sslCAInfo={stack.enter_context(hold_in_memory(given))}",)
    if Path(given).is_absolute() and Path(given).is_file():
        return (f"http.sslCAInfo={given}",)
    shown = given[: 100 if given.startswith("/") else 30]  # not what may be a key in the wrong field
    raise CredentialsError(
        f"its connection's ca_certificate is {shown!r}; accepted is PEM text, or the absolute path of a PEM file"
    )


def _hide(told: str, remote: GitRemote | None) -> str:
    """Return what a host said, each line printable, without any secret of ours: a host may repeat them."""
    lines = [_make_printable(line) for line in told.splitlines() if line.strip()]
    if remote is None:
        return "\n".join(lines)
    secrets = [secret for secret in (remote.password, remote.private_key_passphrase) if secret]
    spellings = (_make_printable, quote, quote_plus, partial(quote, safe=""))
    forms = {spell(secret) for secret in secrets for spell in spellings}
    for form in sorted(forms - {""}, key=len, reverse=True):
        lines = [re.sub(re.escape(form), "***", line, flags=re.IGNORECASE) for line in lines]
    key = "".join((remote.private_key or "").replace("\\n", "").split())
    return "\n".join(_KEY_PIECE.sub(lambda piece: "***" if piece[0] in key else piece[0], line) for line in lines)


def _make_printable(line: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in line).split())
