"""Stoplight's Prism with GitHub's own description: it refuses requests that the description refuses, and keeps nothing.

Both come from npm once, into the user's cache.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

PRISM = ("@stoplight/prism-cli", "5.16.0")
DESCRIPTION = ("@octokit/openapi", "23.0.2")
_GENERATED = Path("node_modules/@octokit/openapi/generated")
_NAME = "api.github.com.json"
_INSTALL_SECONDS = 300
_START_SECONDS = 120


class PrismUnavailableError(Exception):
    """Prism can't be had here; the message is a test's reason to be skipped."""


def find_obstacle() -> str | None:
    """Return why Prism can't run here, as far as one sees without trying."""
    if os.environ.get("SCAFFOLDER_TEST_OFFLINE") == "1":
        return "SCAFFOLDER_TEST_OFFLINE is set"
    missing = [program for program in ("node", "npm") if shutil.which(program) is None]
    return f"{' and '.join(missing)} not found" if missing else None


@contextmanager
def serve_prism() -> Iterator[str]:
    """Serve GitHub's description as a mock and yield its URL; paths stand right below it.

    Raises PrismUnavailableError where it can't be had, RuntimeError where it doesn't start.
    """
    directory = _install()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    command = ["node_modules/.bin/prism", "mock", "-h", "127.0.0.1", "-p", str(port), "-v", "error"]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            [*command, str(_GENERATED / _NAME)],
            cwd=directory,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            if not _answers(process, port):
                log.seek(0)
                raise RuntimeError(f"Prism did not start: {log.read()[-2000:].decode(errors='replace')}")
            yield f"http://127.0.0.1:{port}"
        finally:
            _end(process)


def _install() -> Path:
    if obstacle := find_obstacle():
        raise PrismUnavailableError(obstacle)
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "scaffolder-tests"
    directory = cache / f"prism-{PRISM[1]}-{DESCRIPTION[1]}"
    if directory.is_dir():
        return directory
    cache.mkdir(parents=True, exist_ok=True)
    # What is built apart and renamed is there completely or not at all.
    with tempfile.TemporaryDirectory(dir=cache, prefix="installing-", ignore_cleanup_errors=True) as parent:
        building = Path(parent) / "prism"
        building.mkdir()
        _fetch(building)
        # Another session may have been faster.
        with suppress(OSError):
            building.rename(directory)
    return directory


def _fetch(directory: Path) -> None:
    (directory / "package.json").write_text(json.dumps({"name": "scaffolder-tests-prism", "private": True}))
    packages = [f"{name}@{version}" for name, version in (PRISM, DESCRIPTION)]
    command = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund", "--save-exact", *packages]
    try:
        subprocess.run(command, cwd=directory, capture_output=True, check=True, timeout=_INSTALL_SECONDS)
    except subprocess.TimeoutExpired:
        raise PrismUnavailableError(f"npm did not install Prism in {_INSTALL_SECONDS} seconds") from None
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()[-3:]
        raise PrismUnavailableError(f"npm could not install Prism: {' '.join(said)}") from None
    # The descriptions of GitHub's other products take 370 MB.
    for other in (directory / _GENERATED).glob("*.json"):
        if other.name != _NAME:
            other.unlink()


def _answers(process: subprocess.Popen[bytes], port: int) -> bool:
    deadline = time.monotonic() + _START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        try:
            connection.request("GET", "/zen")
            return connection.getresponse().status < 500
        except OSError:
            time.sleep(0.1)
        finally:
            connection.close()
    return False


def _end(process: subprocess.Popen[bytes]) -> None:
    for sent in (signal.SIGTERM, signal.SIGKILL):
        # Until it is waited for, nobody else has its number.
        if process.poll() is None:
            os.killpg(process.pid, sent)
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=10)
            return
