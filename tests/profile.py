"""How much the tests try: what ``make test`` does, or the many more of ``make nightly``."""

from __future__ import annotations

import os

NIGHTLY = os.environ.get("SCAFFOLDER_TEST_PROFILE") == "nightly"


def examples(count: int) -> int:
    """Return how many examples a property test tries: `count`, twenty times as many at night."""
    return count * (20 if NIGHTLY else 1)
