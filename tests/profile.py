"""How much the tests try: what ``make test`` does, or the many more of ``make nightly``."""

from __future__ import annotations

import itertools
import os
from collections.abc import Sequence
from typing import Any

NIGHTLY = os.environ.get("SCAFFOLDER_TEST_PROFILE") == "nightly"


def examples(count: int) -> int:
    """Return how many examples a property test tries: `count`, twenty times as many at night."""
    return count * (20 if NIGHTLY else 1)


def pair(steps: Sequence[Any], faults: Sequence[Any]) -> list[tuple[Any, Any]]:
    """Return every fault at every step at night; by day each step with two faults, and each fault at some step."""
    if NIGHTLY:
        return list(itertools.product(steps, faults))
    shifts = (0, (len(faults) + 1) // 2)
    return [(step, faults[(index + shift) % len(faults)]) for index, step in enumerate(steps) for shift in shifts]
