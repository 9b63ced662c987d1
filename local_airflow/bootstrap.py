"""Checks what the machine must have, and makes or refreshes the virtual environment. Standard library only.

Run by the Makefile with the system's Python, whose version is not known yet: the syntax up to the version
check stays readable for old ones.
"""

import argparse
import contextlib
import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

OLDEST_PYTHON = (3, 11)
FIRST_UNSUPPORTED_PYTHON = (3, 14)
OLDEST_GIT = (2, 31)
UV = "uv==0.13.9"

if not OLDEST_PYTHON <= sys.version_info[:2] < FIRST_UNSUPPORTED_PYTHON:
    sys.exit(
        f"Error: Python 3.11, 3.12 or 3.13 is needed, but {sys.executable} is Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}. Install one and name it: make run PYTHON=python3.12"
    )

CHECKOUT = Path(__file__).resolve().parent.parent
VENV = CHECKOUT / ".venv"
STAMP = "installed.json"


class BootstrapError(Exception):
    """The machine lacks something, or an installation failed; the message says the remedy."""


def check_machine(*, git: str | None) -> None:
    """Raise BootstrapError for the first thing that is missing."""
    if not os.access(CHECKOUT, os.W_OK | os.X_OK):
        raise BootstrapError(f"{CHECKOUT} is not writable. Use a checkout in a directory of your own.")
    try:
        import ensurepip  # noqa: F401 -- Debian ships venv without it
        import venv  # noqa: F401
    except ImportError:
        raise BootstrapError(
            f"{sys.executable} cannot make virtual environments. Install its venv module "
            "(Debian, Ubuntu: apt-get install python3-venv)."
        ) from None
    if git is None:
        raise BootstrapError("git is missing. Install git 2.31 or newer.")
    version = git_version(git)
    if version < OLDEST_GIT:
        raise BootstrapError(
            f"{git} is {'.'.join(map(str, version))}; git 2.31 or newer is needed. Install a newer one."
        )


def git_version(git: str) -> tuple[int, ...]:
    """Return the version of the program `git`; (0,) if it does not tell one."""
    told = subprocess.run((git, "--version"), capture_output=True, text=True, check=False).stdout
    match = re.search(r"(\d+)\.(\d+)", told)
    return tuple(map(int, match.groups())) if match else (0,)


def index_settings(*, pip_configuration: str, environ: dict[str, str]) -> dict[str, str]:
    """Return the variables that make uv use the package index that pip is configured for.

    `pip_configuration` is what ``pip config list`` prints. Only http(s) URLs are taken over: a mirror is
    one, and directories on disk are a private matter of pip's.
    """
    values: dict[str, str] = {}
    for line in pip_configuration.splitlines():
        name, _, value = line.partition("=")
        # From the least to the most specific: the environment is printed last and wins, as in pip.
        values[name.rpartition(".")[2].replace("_", "-")] = value.strip("'\"")
    found = {
        "UV_DEFAULT_INDEX": " ".join(_urls(values.get("index-url", ""))[:1]),
        "UV_INDEX": " ".join(_urls(values.get("extra-index-url", ""))),
        "UV_INSECURE_HOST": values.get("trusted-host", ""),
        "SSL_CERT_FILE": values.get("cert", ""),
    }
    if found["UV_INDEX"]:
        # As pip: the best version of all indexes, not the first index that knows the name.
        found["UV_INDEX_STRATEGY"] = "unsafe-best-match"
    return {name: value for name, value in found.items() if value and name not in environ}


def _urls(value: str) -> list[str]:
    return [url for url in value.replace("\\n", " ").split() if url.startswith(("http://", "https://"))]


def is_installed(requirements: Path, *, venv: Path) -> bool:
    """Say whether the environment `venv` was completely installed from these very `requirements` by this Python."""
    try:
        installed = json.loads((venv / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return bool(installed.get(requirements.name) == wanted_stamp(requirements, venv=venv))


def wanted_stamp(requirements: Path, *, venv: Path) -> str:
    """Return what the stamp holds for `requirements` once they are installed."""
    digest = hashlib.sha256(f"{sys.version_info[:2]} {venv}".encode())
    for path in (requirements, CHECKOUT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def install(requirements: Path, *, venv: Path) -> None:
    """Make the environment `venv` if there is none of this Python, and bring it to `requirements`."""
    python = venv / "bin" / "python"
    if not _is_usable(python):
        print(f"Creating {venv}", flush=True)
        shutil.rmtree(venv, ignore_errors=True)
        _run([sys.executable, "-m", "venv", str(venv)])
    (venv / STAMP).unlink(missing_ok=True)
    print(f"Installing {requirements.name}", flush=True)
    pip = [str(python), "-m", "pip"]
    environment = dict(os.environ)
    with_uv = subprocess.run([*pip, "install", "--quiet", UV], check=False).returncode == 0
    if with_uv:
        configured = subprocess.run([*pip, "config", "list"], capture_output=True, text=True, check=False).stdout
        environment |= index_settings(pip_configuration=configured, environ=environment)
        command = [str(venv / "bin" / "uv"), "pip", "install", "--quiet", "--python", str(python)]
        quick = "--compile-bytecode"
    else:
        print("uv is not to be had from the package index; pip takes longer.", flush=True)
        command, quick = [*pip, "install", "--quiet"], "--compile"
    _run([*command, quick, "-r", str(requirements)], environment=environment)
    _run([*command, "--no-deps", "-e", str(CHECKOUT)], environment=environment)
    (venv / STAMP).write_text(json.dumps(_new_stamp(requirements, venv=venv)), encoding="utf-8")


def _new_stamp(requirements: Path, *, venv: Path) -> dict[str, str]:
    # requirements-dev.txt holds all of requirements.txt, at the same versions.
    also = [CHECKOUT / "requirements.txt"] if requirements.name == "requirements-dev.txt" else []
    return {path.name: wanted_stamp(path, venv=venv) for path in [requirements, *also]}


def _is_usable(python: Path) -> bool:
    code = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        return subprocess.run([str(python), "-c", code], capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _run(command: list[str], *, environment: dict[str, str] | None = None) -> None:
    if subprocess.run(command, env=environment, check=False).returncode != 0:
        raise BootstrapError(f"failed: {' '.join(command)}\nWhat it printed is above; run make again after a remedy.")


@contextlib.contextmanager
def _alone() -> Iterator[None]:
    """Let one installation at a time work in this checkout; others wait."""
    folder = CHECKOUT / ".scaffolder"
    folder.mkdir(exist_ok=True)
    with (folder / "bootstrap.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print("Another make installs here; waiting for it.", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Check the machine and install; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("requirements", type=Path)
    parser.add_argument("--venv", type=Path, default=VENV)
    arguments = parser.parse_args()
    requirements, venv = arguments.requirements.resolve(), arguments.venv.absolute()
    try:
        check_machine(git=shutil.which("git"))
        if not is_installed(requirements, venv=venv):
            with _alone():
                if not is_installed(requirements, venv=venv):
                    install(requirements, venv=venv)
    except BootstrapError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nInterrupted; the next make goes on from here.", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
