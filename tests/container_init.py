"""The first process of a container: makes the root that its specification describes, and runs a command there.

Run as root in new mount, PID, UTS and network namespaces, with the specification as JSON on standard input. The
standard library only: it runs before there is anything else.
"""

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

_ROOT = Path("/mnt")
_PROGRAMS = ("bin", "dev", "etc", "lib", "lib32", "lib64", "sbin", "sys", "usr")
_EMPTY = {"home": 0o755, "opt": 0o755, "root": 0o755, "run": 0o755, "tmp": 0o1777, "var": 0o755, "var/tmp": 0o1777}


def mount(*arguments: str) -> None:
    subprocess.run(("mount", *arguments), check=True)


def make_root(specification: dict) -> None:
    """Lay out a root of this machine's programs, the image's directories and the volumes; nothing else is in it."""
    mount("-t", "tmpfs", "-o", "mode=755", "root", str(_ROOT))
    for name in _PROGRAMS:
        source, place = Path("/", name), _ROOT / name
        if source.is_symlink():
            place.symlink_to(source.readlink())
        elif source.is_dir():
            place.mkdir()
            mount("--rbind", str(source), str(place))
    mount("-t", "tmpfs", "shm", str(_ROOT / "dev" / "shm"))  # or what is killed would leave its shared memory here
    for name, mode in _EMPTY.items():
        (_ROOT / name).mkdir()
        (_ROOT / name).chmod(mode)
    (_ROOT / "var" / "run").symlink_to("/run")
    (_ROOT / "proc").mkdir()
    mount("-t", "proc", "proc", str(_ROOT / "proc"))
    for name in specification["directories"]:
        directory = _ROOT / name.lstrip("/")
        directory.mkdir(parents=True, exist_ok=True)
        os.chown(directory, *specification["owner"])
    for source, target, options in specification["mounts"]:
        place = _ROOT / target.lstrip("/")
        if Path(source).is_dir():
            place.mkdir(parents=True, exist_ok=True)
        elif not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            place.touch()
        mount("--bind", source, str(place))
        if options == "ro":
            mount("-o", "remount,bind,ro", str(place))


def main() -> int:
    specification = json.load(sys.stdin)
    socket.sethostname(specification["hostname"])
    make_root(specification)
    os.chroot(_ROOT)
    os.chdir(specification["working_directory"])
    command = subprocess.Popen(
        ("setpriv", *specification["privileges"], "--", *specification["command"]),
        env=specification["environment"],
        stdin=subprocess.DEVNULL,
    )
    signal.signal(signal.SIGTERM, lambda *_: command.terminate())
    while True:
        pid, status = os.wait()  # orphans are ours to bury
        if pid == command.pid:
            return os.waitstatus_to_exitcode(status) & 0xFF


sys.exit(main())
