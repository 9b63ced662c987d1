"""Keeps two starters of one instance apart, across processes."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from local_airflow.errors import BusyError


@contextmanager
def exclusive_lock(path: Path, *, doing: str) -> Iterator[None]:
    """Hold the lock file `path` for the duration of the block; the kernel frees it whatever ends the process.

    Raises BusyError at once, saying who does what, if somebody else holds it.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(descriptor, 200, 0).decode(errors="replace").strip() or "another process"
            raise BusyError(f"{holder}. Wait until that has ended, or end it, then try again.") from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"Process {os.getpid()} is {doing}".encode(), 0)
        yield
    finally:
        os.close(descriptor)
