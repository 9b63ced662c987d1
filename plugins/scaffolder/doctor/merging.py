"""Two streams of files, each by path in byte order, read side by side: neither is ever in memory as a whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from typing import Protocol, TypeVar


class _Pathed(Protocol):
    @property
    def path(self) -> str: ...


_Left = TypeVar("_Left", bound=_Pathed)
_Right = TypeVar("_Right", bound=_Pathed)


def merge_by_path(left: Iterable[_Left], right: Iterable[_Right]) -> Iterator[tuple[_Left | None, _Right | None]]:
    """Yield what both have at each path of either; None stands for what is not there."""
    lefts, rights = iter(left), iter(right)
    one, other = next(lefts, None), next(rights, None)
    while one is not None or other is not None:
        first = None if one is None else os.fsencode(one.path)
        second = None if other is None else os.fsencode(other.path)
        takes_left = second is None or (first is not None and first <= second)
        takes_right = first is None or (second is not None and second <= first)
        yield one if takes_left else None, other if takes_right else None
        if takes_left:
            one = next(lefts, None)
        if takes_right:
            other = next(rights, None)
