"""Waiting for what GitLab does after it has answered: pushes and new merge requests are worked on in the background."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

_INTERVAL_SECONDS: Final = 0.5


def wait_until(check: Callable[[], bool], *, seconds: float) -> bool:
    """Return whether `check` holds within `seconds`; it is asked once at least."""
    deadline = time.monotonic() + seconds
    while not check():
        if time.monotonic() + _INTERVAL_SECONDS > deadline:
            return False
        time.sleep(_INTERVAL_SECONDS)
    return True
