"""JSON pointers (RFC 6901) as URI fragments: `#/paths/~1pets/get`."""

from typing import Any
from urllib.parse import quote, unquote


class PointerError(LookupError):
    """A pointer leads nowhere."""


def append(pointer: str, *parts: str) -> str:
    """Extend `pointer` by unescaped parts."""
    escaped = (quote(part.replace("~", "~0").replace("/", "~1"), safe="~") for part in parts)
    return "/".join([pointer, *escaped])


def parts_of(pointer: str) -> list[str]:
    """Split a pointer of the form `#` or `#/a/b` into unescaped parts."""
    if pointer == "#":
        return []
    if not pointer.startswith("#/"):
        raise PointerError(pointer)
    return [part.replace("~1", "/").replace("~0", "~") for part in unquote(pointer[2:]).split("/")]


def resolve(data: Any, *, pointer: str) -> Any:
    """Return the value at `pointer`.

    Raises:
        PointerError: nothing is there.
    """
    value = data
    for part in parts_of(pointer):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isascii() and part.isdigit() and int(part[:9]) < len(value):
            value = value[int(part[:9])]
        else:
            raise PointerError(pointer)
    return value


def canonical(pointer: str) -> str:
    """Spell a pointer the way `append` does, so that equal targets have equal pointers."""
    return append("#", *parts_of(pointer))
