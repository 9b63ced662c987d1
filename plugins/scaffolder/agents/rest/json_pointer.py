"""JSON pointers (RFC 6901): where in an agent's answer the step's author says that something is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

_VALID: Final = re.compile(r"(?:/(?:[^~/]|~[01])*)*", re.ASCII)
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,8}", re.ASCII)
ACCEPTED: Final = "accepted is a JSON pointer such as '/data/items', or '' for the whole answer"


def is_pointer(text: str) -> bool:
    """Say whether `text` is a JSON pointer."""
    return _VALID.fullmatch(text) is not None


def look_up(data: Any, pointer: str) -> Any:
    """Return what `pointer` points to in `data`.

    Raises LookupError where nothing is there. ``-`` (the element after the last one) never is.
    """
    for part in pointer.split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(data, Mapping):
            data = data[name]
        elif isinstance(data, list) and _INDEX.fullmatch(name):
            data = data[int(name)]
        else:
            raise LookupError(pointer)
    return data
