"""Containers of Linux's own parts, for machines without a container engine: namespaces, bind mounts, a bridge.

A container has its own file system layout, processes, host name and network, and runs as a user without rights. What is
not there is an image: programs and libraries are this machine's. Needs root, iproute2 and util-linux.
"""

from __future__ import annotations

import ctypes
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Self

_INIT = Path(__file__).with_name("container_init.py")
_CLONE_NEWNET = 0x40000000
_PREFIX = "scaffolder-test-"


def find_obstacle() -> str | None:
    """Return why there can be no containers here, or None."""
    for program in ("ip", "unshare", "nsenter", "setpriv"):
        if not shutil.which(program):
            return f"{program} is not installed"
    probe = subprocess.run(
        ("unshare", "--mount", "--pid", "--net", "--fork", "true"), capture_output=True, text=True, check=False
    )
    return probe.stderr.strip() or "no namespaces" if probe.returncode else None


@dataclass(kw_only=True)
class Container:
    """One container; `environment` and `command` are all that its processes get. `owner` has its directories."""

    name: str
    hostname: str
    address: str
    network_namespace: str
    uid: int
    gid: int
    owner: tuple[int, int]
    environment: dict[str, str]
    command: Sequence[str]
    working_directory: str
    mounts: Sequence[tuple[str, str, str]]
    directories: Sequence[str]
    log: Path
    has_capabilities: bool = True
    may_gain_privileges: bool = True
    process: subprocess.Popen[str] | None = field(default=None, init=False)

    def start(self) -> None:
        specification = {
            "hostname": self.hostname,
            "owner": self.owner,
            "environment": self.environment,
            "privileges": self._privileges,
            "command": list(self.command),
            "working_directory": self.working_directory,
            "mounts": self.mounts,
            "directories": self.directories,
        }
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                (
                    *("setpriv", "--pdeathsig", "KILL", "ip", "netns", "exec", self.network_namespace),
                    *("unshare", "--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child=KILL"),
                    *(sys.executable, "-I", str(_INIT)),
                ),
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                text=True,
            )
        stream: IO[str] = self.process.stdin  # type: ignore[assignment]  # there is one: a pipe was asked for
        with stream:
            json.dump(specification, stream)

    @property
    def _privileges(self) -> list[str]:
        """The options of setpriv."""
        options = [f"--reuid={self.uid}", f"--regid={self.gid}", "--clear-groups"]
        if not self.has_capabilities:
            options += ["--inh-caps=-all", "--bounding-set=-all"]
        if not self.may_gain_privileges:
            options.append("--no-new-privs")
        return options

    @property
    def first_pid(self) -> int:
        """The process that all others of the container end with, as this machine counts."""
        assert self.process is not None
        return _find_children(self.process.pid)[0]

    def wait_until_started(self) -> None:
        """Wait until its command has been started, and others can be run beside it."""
        deadline = time.monotonic() + 30
        while True:
            with suppress(OSError, IndexError):
                if _find_children(self.first_pid):
                    return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} has not started: {self.log.read_text()}")
            time.sleep(0.05)

    @property
    def entry(self) -> list[str]:
        """The command that runs the words after it in the container, as its user and with its environment only."""
        return [
            *("env", "--ignore-environment", *(f"{name}={value}" for name, value in self.environment.items())),
            *("nsenter", "--target", str(self.first_pid), "--mount", "--pid", "--net", "--uts", "--ipc", "--root"),
            *("setpriv", *self._privileges, "--", "sh", "-c", 'cd "$0" && exec "$@"', self.working_directory),
        ]

    def run(self, command: Sequence[str], *, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command in the container, as its user."""
        return subprocess.run((*self.entry, *command), capture_output=True, text=True, check=False, timeout=timeout)

    def pids(self) -> list[int]:
        """Return the processes of the container, as this machine counts."""
        namespace = Path(f"/proc/{self.first_pid}/ns/pid").readlink()
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (path / "ns" / "pid").readlink() == namespace:
                    found.append(int(path.name))
        return found

    def wait(self, timeout: float) -> int:
        assert self.process is not None
        return self.process.wait(timeout)

    def stop(self) -> None:
        """Ask it to end, as ``docker stop`` does: its first process gets SIGTERM. `wait` has the end."""
        os.kill(self.first_pid, signal.SIGTERM)

    def kill(self) -> None:
        """End all processes at once, as a machine that loses power does."""
        if self.process is None or self.process.poll() is not None:
            return
        with suppress(OSError, IndexError):
            os.kill(self.first_pid, signal.SIGKILL)
        self.process.kill()
        self.process.wait()


class Network:
    """A bridge in a network namespace of its own. Nothing leads out of it but published ports of 127.0.0.1."""

    def __init__(self) -> None:
        self.name = f"{_PREFIX}{os.getpid()}-{secrets.token_hex(3)}"
        self._namespaces: list[str] = []
        self._listeners: list[socket.socket] = []
        self._next = 2

    def __enter__(self) -> Self:
        _remove_abandoned()
        try:
            _ip("netns", "add", self.name)
            self._namespaces.append(self.name)
            _ip("-n", self.name, "link", "set", "lo", "up")
            _ip("-n", self.name, "link", "add", "bridge", "type", "bridge")
            _ip("-n", self.name, "addr", "add", "10.89.0.1/24", "dev", "bridge")
            _ip("-n", self.name, "link", "set", "bridge", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for listener in self._listeners:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for namespace in reversed(self._namespaces):
            _ip("netns", "delete", namespace)

    def add(self, *, connected: bool = True) -> tuple[str, str]:
        """Return the namespace and the address of one more machine in the network, or of one that has none."""
        number, self._next = self._next, self._next + 1
        namespace, address, port = f"{self.name}-{number}", f"10.89.0.{number}", f"port{number}"
        _ip("netns", "add", namespace)
        self._namespaces.append(namespace)
        if not connected:
            return namespace, "127.0.0.1"
        _ip("-n", self.name, "link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", namespace)
        _ip("-n", self.name, "link", "set", port, "master", "bridge", "up")
        _ip("-n", namespace, "addr", "add", f"{address}/24", "dev", "eth0")
        _ip("-n", namespace, "link", "set", "eth0", "up")
        _ip("-n", namespace, "link", "set", "lo", "up")
        return namespace, address

    def publish(self, address: str, port: int) -> int:
        """Lead connections to a port of 127.0.0.1, which is returned, to `port` of `address` in the network."""
        listener = socket.create_server(("127.0.0.1", 0))
        self._listeners.append(listener)
        threading.Thread(target=self._serve, args=(listener, address, port), daemon=True).start()
        return int(listener.getsockname()[1])

    def _serve(self, listener: socket.socket, address: str, port: int) -> None:
        # A socket stays in the namespace it was made in; this thread, and those it starts, make the others inside.
        with Path("/run/netns", self.name).open() as namespace:
            if ctypes.CDLL(None, use_errno=True).setns(namespace.fileno(), _CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=_relay, args=(client, address, port), daemon=True).start()


def _find_children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _remove_abandoned() -> None:
    """Delete the namespaces of test processes that were killed."""
    for name in Path("/run/netns").glob(f"{_PREFIX}*"):
        owner = name.name.removeprefix(_PREFIX).partition("-")[0]
        if owner.isdigit() and not Path("/proc", owner).exists():
            with suppress(subprocess.CalledProcessError):  # another process may have been quicker
                _ip("netns", "delete", name.name)


def _relay(client: socket.socket, address: str, port: int) -> None:
    try:
        server = socket.create_connection((address, port), timeout=10)
    except OSError:
        client.close()
        return
    server.settimeout(None)
    back = threading.Thread(target=_copy, args=(server, client), daemon=True)
    back.start()
    _copy(client, server)
    back.join()
    client.close()
    server.close()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)


def _ip(*arguments: str) -> None:
    subprocess.run(("ip", *arguments), check=True, capture_output=True, text=True)


def read_proportional_memory(pids: Sequence[int]) -> int:
    """Return the bytes of memory of processes; what several share is divided between them."""
    total = 0
    for pid in pids:
        with suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
    return total


def as_environment(values: Mapping[str, object]) -> dict[str, str]:
    """Return variables as a container gets them; Compose says None for those of no value."""
    return {name: "" if value is None else str(value) for name, value in values.items()}
