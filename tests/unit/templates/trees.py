"""Templates on disk and in git, written by the tests, and what tools make of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

GIT = {
    "GIT_CONFIG_GLOBAL": "/dev/null",
    "GIT_CONFIG_NOSYSTEM": "1",
    "GIT_AUTHOR_NAME": "Ada",
    "GIT_AUTHOR_EMAIL": "ada@example.com",
    "GIT_COMMITTER_NAME": "Ada",
    "GIT_COMMITTER_EMAIL": "ada@example.com",
    "GIT_AUTHOR_DATE": "2026-03-04T05:06:07Z",
    "GIT_COMMITTER_DATE": "2026-03-04T05:06:07Z",
}


def write_tree(directory: Path, files: Mapping[str, bytes | str], *, executable: Sequence[str] = ()) -> Path:
    for path, content in files.items():
        target = directory / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        target.chmod(0o755 if path in executable else 0o644)
    return directory


def run_git(directory: Path, *arguments: str) -> str:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return subprocess.run(
        ["git", *arguments], cwd=directory, env=environment | GIT, check=True, capture_output=True, text=True
    ).stdout.strip()


def commit_tree(directory: Path, *tags: str) -> str:
    """Make `directory` a repository with one more commit of all that is in it; return the commit."""
    if not (directory / ".git").exists():
        run_git(directory, "init", "-q", "-b", "main")
    run_git(directory, "add", "-A", "-f")
    run_git(directory, "commit", "-q", "--allow-empty", "-m", "a commit")
    for tag in tags:
        run_git(directory, "tag", tag)
    return run_git(directory, "rev-parse", "HEAD")


def read_tree(directory: Path) -> dict[str, tuple[bytes, bool]]:
    """Return all files below `directory` but git's: path -> content and whether it is executable."""
    return {
        path.relative_to(directory).as_posix(): (path.read_bytes(), bool(path.stat().st_mode & 0o100))
        for path in directory.rglob("*")
        if path.is_file() and path.relative_to(directory).parts[0] != ".git"
    }


def run_tool(
    tool: str, *arguments: str, home: Path, path: Sequence[Path] = (), check: bool = True
) -> subprocess.CompletedProcess[str]:
    """Run Copier's or Cookiecutter's own command as a person with an empty home would."""
    home.mkdir(parents=True, exist_ok=True)
    environment = {
        "HOME": str(home),
        "PATH": os.environ["PATH"],
        "LC_ALL": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join(str(entry) for entry in path),
        **GIT,
    }
    command = [str(Path(sys.executable).parent / tool), *arguments]
    return subprocess.run(command, cwd=home, env=environment, capture_output=True, text=True, check=check, timeout=120)
