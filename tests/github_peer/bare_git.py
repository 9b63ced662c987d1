"""Bare repositories: what git says about branches, commits by somebody else, and git's own HTTP server."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path


def run_git(directory: Path, *arguments: str, data: bytes | None = None) -> str:
    finished = subprocess.run(["git", "-C", str(directory), *arguments], input=data, capture_output=True, check=True)
    return finished.stdout.decode().strip()


def ask_git(directory: Path, *arguments: str) -> bool:
    return subprocess.run(["git", "-C", str(directory), *arguments], capture_output=True, check=False).returncode == 0


def create(directory: Path) -> None:
    subprocess.run(["git", "init", "-q", "--bare", "--template=", "-b", "main", str(directory)], check=True)
    run_git(directory, "config", "http.receivepack", "true")


def list_branches(directory: Path) -> dict[str, str]:
    """Return the commits of branches by name."""
    lines = run_git(directory, "for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads").splitlines()
    return {name: sha for sha, name in (line.split(" ", 1) for line in lines)}


def commit(directory: Path, *, branch: str, files: Mapping[str, str], message: str, author: str) -> str:
    """Add a commit to `branch`, which need not exist, and return it."""
    start = f"from refs/heads/{branch}^0\n" if branch in list_branches(directory) else ""
    lines = [f"commit refs/heads/{branch}\ncommitter {author} <{author}@example.org> {int(time.time())} +0000\n"]
    lines += [_data(message), start, *(f"M 100644 inline {path}\n{_data(text)}" for path, text in files.items())]
    run_git(directory, "fast-import", "--quiet", data="".join(lines).encode())
    return list_branches(directory)[branch]


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}\n"


def refuse_pushes(directory: Path, reason: str | None) -> None:
    """Install a hook that refuses every push, or remove it."""
    hook = directory / "hooks" / "pre-receive"
    if reason is None:
        hook.unlink(missing_ok=True)
        return
    hook.parent.mkdir(exist_ok=True)
    (directory / "refusal").write_text(f"{reason}\n")
    hook.write_text("#!/bin/sh\ncat refusal >&2\nexit 1\n")
    hook.chmod(0o755)


def run_backend(
    directory: Path, service_path: str, *, method: str, query: str, headers: Mapping[str, str], body: bytes, user: str
) -> tuple[int, dict[str, str], bytes]:
    """Return what git's http-backend answers, as a CGI program, for `service_path` below a repository."""
    environment = os.environ | {
        "GIT_PROJECT_ROOT": str(directory.parent),
        "GIT_HTTP_EXPORT_ALL": "1",
        "REQUEST_METHOD": method,
        "PATH_INFO": f"/{directory.name}/{service_path}",
        "QUERY_STRING": query,
        "CONTENT_TYPE": headers.get("content-type", ""),
        "CONTENT_LENGTH": str(len(body)),
        "HTTP_CONTENT_ENCODING": headers.get("content-encoding", ""),
        "GIT_PROTOCOL": headers.get("git-protocol", ""),
        "REMOTE_USER": user,
    }
    finished = subprocess.run(["git", "http-backend"], input=body, env=environment, capture_output=True, check=False)
    head, _, content = finished.stdout.partition(b"\r\n\r\n")
    answered = dict(line.split(": ", 1) for line in head.decode().split("\r\n") if ": " in line)
    return int(answered.pop("Status", "200").split()[0]), answered, content
