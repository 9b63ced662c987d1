"""Locks between workers that share a directory; the system lets go of one when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_lock(path: Path) -> Iterator[None]:
    """Wait until nobody else holds `path`, a file that is there only while somebody does."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            # Whoever held it before has removed the file: a lock on that one keeps nobody out.
            if _is_file_of(path, descriptor):
                try:
                    yield
                finally:
                    # Whoever has moved the directory away meanwhile may have left another's lock here.
                    if _is_file_of(path, descriptor):
                        path.unlink(missing_ok=True)
                return
        finally:
            os.close(descriptor)


def _is_file_of(path: Path, descriptor: int) -> bool:
    try:
        return os.path.samestat(path.stat(), os.fstat(descriptor))
    except FileNotFoundError:
        return False
