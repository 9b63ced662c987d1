"""A real sshd on 127.0.0.1 that serves bare git repositories to one key, and keys made for a test."""

from __future__ import annotations

import getpass
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil
import pytest

# Debian keeps it where users' PATH doesn't look.
SSHD: Final = shutil.which("sshd", path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/usr/local/sbin")
needs_sshd: Final = pytest.mark.skipif(SSHD is None, reason="there is no sshd here (Debian: openssh-server)")

_CONFIGURATION = """
ListenAddress 127.0.0.1:{port}
HostKey {root}/host_key
AuthorizedKeysFile {root}/authorized_keys
ForceCommand {root}/run "$SSH_ORIGINAL_COMMAND"
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
AuthenticationMethods publickey
Banner {root}/banner
LogLevel VERBOSE
"""
# From OpenSSH 9.8 on, a host that is refused a few times has to wait.
_NO_PENALTIES = "PerSourcePenalties no\n"


@dataclass(frozen=True)
class SshKey:
    """A key pair: the private half as the text of its file, the public one as one line."""

    private: str
    public: str
    passphrase: str | None = None


def make_ssh_key(directory: Path, *, kind: str = "ed25519", passphrase: str | None = None, pem: bool = False) -> SshKey:
    """Return a new key; nothing of it stays in `directory`."""
    path = directory / "new_key"
    subprocess.run(
        ["ssh-keygen", "-q", "-t", kind, "-N", passphrase or "", "-C", "", "-f", str(path)]
        + (["-m", "PEM"] if pem else []),
        check=True,
    )
    public = path.with_suffix(".pub")
    key = SshKey(path.read_text(), public.read_text().strip(), passphrase)
    path.unlink()
    public.unlink()
    return key


@dataclass(frozen=True)
class SshServer:
    """git over ssh below `root`/git. `host_keys` are the known_hosts lines of this server."""

    port: int
    root: Path
    host_key: SshKey
    client_key: SshKey

    @property
    def url(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{self.root}/git/{{name}}.git"

    @property
    def host_keys(self) -> str:
        return self.pin(self.host_key)

    def pin(self, key: SshKey) -> str:
        return f"[127.0.0.1]:{self.port} {key.public}\n"

    def authorize(self, *keys: SshKey) -> None:
        (self.root / "authorized_keys").write_text("".join(f"restrict {key.public}\n" for key in keys))

    def create(self, name: str, *, pre_receive: str | None = None) -> Path:
        directory = self.root / "git" / f"{name}.git"
        subprocess.run(["git", "init", "-q", "--bare", "-b", "main", "--template=", str(directory)], check=True)
        if pre_receive:
            hook = directory / "hooks" / "pre-receive"
            hook.parent.mkdir()
            hook.write_text(f"#!/bin/sh\n{pre_receive}\n")
            hook.chmod(0o755)
        return directory


@contextmanager
def serve_ssh(root: Path) -> Iterator[SshServer]:
    """Run sshd with its configuration, keys and log in `root`."""
    assert SSHD is not None
    if os.geteuid() == 0:
        # Only as root sshd wants it, and only an init system makes it.
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    (root / "git").mkdir()
    host_key, client_key = make_ssh_key(root), make_ssh_key(root)
    (root / "host_key").write_text(host_key.private)
    (root / "host_key").chmod(0o600)
    (root / "banner").write_text("Access denied to all but users of this protected host: not found elsewhere\n")
    (root / "run").write_text('#!/bin/sh\nexec git shell -c "$1"\n')
    (root / "run").chmod(0o755)
    server = SshServer(find_free_port(), root, host_key, client_key)
    server.authorize(client_key)
    configuration = root / "sshd_config"
    configuration.write_text(_CONFIGURATION.format(port=server.port, root=root) + _NO_PENALTIES)
    if subprocess.run([SSHD, "-t", "-f", str(configuration)], capture_output=True, check=False).returncode:
        configuration.write_text(_CONFIGURATION.format(port=server.port, root=root))
    command = [SSHD, "-D", "-f", str(configuration), "-E", str(root / "sshd.log")]
    process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(server, process)
        yield server
    finally:
        process.terminate()
        process.wait(timeout=30)
        _end_sessions(root)


def _end_sessions(root: Path) -> None:
    """End what clients that were killed have left: git waits for them for ever."""
    for one in psutil.process_iter(["cmdline"]):
        if any(str(root) in argument for argument in one.info["cmdline"] or ()):
            with suppress(psutil.Error):
                one.kill()


def _wait_for(server: SshServer, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        assert process.poll() is None, (server.root / "sshd.log").read_text()
        try:
            with socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection:
                if connection.recv(4) == b"SSH-":
                    return
        except OSError:
            time.sleep(0.02)
    pytest.fail(f"sshd does not answer: {(server.root / 'sshd.log').read_text()}")


def find_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
