"""Numbers as people read them."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Final

_KIB: Final = 1024
_STEPS: Final = ((60, "s"), (60, "min"), (24, "h"), (365, "d"))


def format_size(size_bytes: int) -> str:
    """Return a size with two or three digits: ``17 B``, ``4.2 KiB``, ``310 MiB``."""
    size, unit = float(size_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if size < _KIB:
            break
        size, unit = size / _KIB, larger
    return f"{size:.1f} {unit}" if unit != "B" and size < 10 else f"{size:.0f} {unit}"


def format_amount(amount: Decimal) -> str:
    """Return an amount without the zeros that mean nothing."""
    return f"{amount.normalize():f}"


def tell_age(at: datetime, now: datetime | None = None) -> str:
    """Return how long ago `at` (aware) was, or how far away it is: ``3 min ago``, ``in 12 d``."""
    seconds = ((now or datetime.now(UTC)) - at).total_seconds()
    amount, unit = abs(seconds), "s"
    for factor, name in _STEPS:
        unit = name
        if amount < factor:
            break
        amount /= factor
    else:
        unit = "years"
    text = f"{amount:.0f} {unit}"
    return f"{text} ago" if seconds >= 0 else f"in {text}"
