"""What one page may show: descriptions can be small and, written out, take gigabytes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from scaffolder.agents.documentation.remote_text import clean

MAX_PAGE_SIZE: Final = 19_000_000
"""How many bytes of index and operations a page has at the most."""
MAX_OPERATIONS_SIZE: Final = 18_000_000
"""How many of them the operations have at the most: the index is to have the rest."""

# How much longer than of others it takes to make something of these.
_WEIGHTS: Final = {"[": 100, "\n": 20, ">": 20, "|": 5}


@dataclass(kw_only=True)
class Budget:
    """What is left to show of one operation: `rows` of schemas, `characters`, and `effort` for finding out what.

    `taken` counts the characters that are not left any more.
    """

    rows: int = 1_500
    characters: int = 250_000
    effort: int = 20_000
    taken: int = 0

    @property
    def is_spent(self) -> bool:
        """Whether nothing more may be shown."""
        return self.rows <= 0 or self.characters <= 0

    def take(self, text: str, limit: int) -> str:
        """Return `text` as `clean` does, cut at `limit` characters or what is left of all."""
        bound = max(0, min(limit, self.characters))
        # Charged is what is read: cleaning may leave little of it.
        self.charge(text[:bound])
        return clean(text, bound)

    def charge(self, *texts: str) -> None:
        """Count `texts` as shown, marks that take prose long to read as many characters."""
        for text in texts:
            cost = len(text) + sum(weight * text.count(mark) for mark, weight in _WEIGHTS.items())
            self.characters -= cost
            self.taken += cost


def fit(pieces: Iterable[str], size: int) -> Iterator[str]:
    """Yield the first of `pieces` that have together up to `size` bytes as UTF-8."""
    for piece in pieces:
        size -= measure(piece)
        if size < 0:
            return
        yield piece


def measure(text: str) -> int:
    """Return how many bytes `text` has as UTF-8."""
    return len(text.encode("utf-8", "replace"))


def describe_rest(count: int, *, listed: int, shown: int) -> list[str]:
    """Return what a page says where not all of its `count` operations are listed, or shown with all they take."""
    told = {"listed": listed, "shown in full": shown}
    return [f"{number:,} of {count:,} are {words}" for words, number in told.items() if number < count]
