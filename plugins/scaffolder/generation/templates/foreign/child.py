"""The program in which Copier and Cookiecutter run: one request on its standard input, one answer on its output.

A module of its own process: it reads ``{"kind", "trusted", ...}`` and answers ``{"directory"}`` (what it made, relative
to the request's output), ``{"demands"}`` (what asks for trust that the request doesn't give) or ``{"problem"}``. What
the libraries and templates print goes to the standard error.
"""

from __future__ import annotations

import errno
import importlib
import json
import logging
import os
import sys
import warnings
from collections.abc import Callable
from typing import Any, Final

_PROGRAMS: Final = {
    "copier": "scaffolder.generation.templates.foreign.copier_child",
    "cookiecutter": "scaffolder.generation.templates.foreign.cookiecutter_child",
}
_PROBLEM_CHARACTERS: Final = 2_000
# Whoever removes it all again does that by recursion.
_MAX_DEPTH: Final = 300
# Which arguments of an audit event are paths that it changes, and which one is the directory they are relative to.
_CHANGES: Final[dict[str, tuple[tuple[int, int | None], ...]]] = {
    "os.mkdir": ((0, 2),),
    "os.remove": ((0, 1),),
    "os.rmdir": ((0, 1),),
    "os.rename": ((0, 2), (1, 3)),
    "os.link": ((0, 2), (1, 3)),
    "os.symlink": ((1, 2),),
    "os.chmod": ((0, 2),),
    "os.chown": ((0, 3),),
    "os.utime": ((0, 3),),
    "os.truncate": ((0, None),),
    "os.setxattr": ((0, None),),
}
_NEVER: Final = frozenset(
    {"os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.forkpty", "pty.spawn", "socket.connect", "socket.bind"}
)
_SYSTEM_FILES: Final = (
    "/usr/share/zoneinfo",
    "/etc/localtime",
    "/etc/timezone",
    "/dev/null",
    "/dev/urandom",
    "/usr/lib",
)


class ProblemError(Exception):
    """What the template or its values did wrong, in a sentence's end."""


class ForbiddenError(Exception):
    """The template, by way of its library, reached for what it must not."""


def main() -> None:
    """Answer one request."""
    answer = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    request = json.load(sys.stdin.buffer)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    # What hooks and tasks print counts, not what the libraries say of it.
    logging.disable()
    warnings.simplefilter("ignore")
    answer.write(json.dumps(_answer(request)).encode())
    answer.close()


def _answer(request: dict[str, Any]) -> dict[str, Any]:
    try:
        run: Callable[[dict[str, Any]], dict[str, Any]] = importlib.import_module(_PROGRAMS[request["kind"]]).run
        if not request["trusted"]:
            confine(readable=[request["directory"], request["workspace"]], writable=[request["workspace"]])
        return run(request)
    except MemoryError:
        raise
    except (Exception, SystemExit, KeyboardInterrupt) as error:
        if isinstance(error, OSError) and error.errno == errno.EFBIG:
            raise
        return {"problem": _describe(error)[:_PROBLEM_CHARACTERS]}


def _describe(error: BaseException) -> str:
    text = str(getattr(error, "message", None) or error)
    if place := getattr(error, "lineno", None):
        text = f"{getattr(error, 'name', None) or 'a text'}, line {place}: {text}"
    # Cookiecutter keeps the reason apart.
    reason = getattr(error, "error", None) or error.__cause__
    if isinstance(reason, Exception) and str(reason) not in text:
        text = f"{text}: {reason}"
    if isinstance(error, ProblemError | ForbiddenError | ValueError) and text:
        return text
    return f"{type(error).__name__}: {text}"


def confine(*, readable: list[str], writable: list[str]) -> None:
    """Keep this process's own Python code to these directories and, of programs, to git, for good.

    Not a wall against code (untrusted templates bring none), but against paths: a library that is led outside by the
    template's names, links and settings is stopped where it opens, makes or removes a file.
    """
    roots_written = [os.path.realpath(path) for path in writable]
    installed = [path for path in (*sys.path, sys.prefix, sys.base_prefix, *_SYSTEM_FILES) if path]
    roots_read = [os.path.realpath(path) for path in (*readable, *installed)]
    writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND

    def check(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "open":
            path, _, flags = arguments
            if not isinstance(path, int):
                is_written = bool(flags & writing) and os.fsdecode(path) != os.devnull
                _check_path(os.path.realpath(path), roots_written if is_written else roots_read)
        elif event in _CHANGES:
            for path, directory in _CHANGES[event]:
                base = arguments[directory] if directory is not None else -1
                changed = _resolve_parent(arguments[path], base)
                _check_path(changed, roots_written)
                if changed.count("/") > _MAX_DEPTH:
                    raise ForbiddenError(f"it makes directories in each other; accepted are {_MAX_DEPTH}")
        elif event == "subprocess.Popen":
            executable, command = arguments[0], arguments[1]
            if os.path.basename(os.fsdecode(executable or command[0])) != "git":  # noqa: PTH119 - as below
                raise ForbiddenError(f"it starts {command!r}; accepted is no program")
        elif event in _NEVER:
            raise ForbiddenError(f"it calls {event}; accepted are files of the template and the project")

    sys.addaudithook(check)


def _resolve_parent(path: Any, base: Any) -> str:
    # What is made or removed is the name itself, whatever a link of that name leads to.
    if isinstance(path, int):
        return os.path.realpath(f"/proc/self/fd/{path}")
    parent, name = os.path.split(os.fsdecode(path).rstrip("/"))
    if isinstance(base, int) and base >= 0:
        parent = os.path.join(f"/proc/self/fd/{base}", parent)  # noqa: PTH118 - called for every file
    return os.path.join(os.path.realpath(parent or "."), name)  # noqa: PTH118 - the same


def _check_path(path: Any, roots: list[str]) -> None:
    path = os.fsdecode(path)
    if not any(path == root or path.startswith(root.rstrip("/") + "/") for root in roots):
        raise ForbiddenError(f"it reaches for {path!r}; accepted are files of the template and the project")
