"""Example strings: by format, by pattern and by length."""

import re
from collections.abc import Callable
from itertools import chain
from re import _constants as sre  # type: ignore[attr-defined]  # private, and the only parser of Python's patterns
from re import _parser  # type: ignore[attr-defined]  # private, and the only parser of Python's patterns
from typing import Any

_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_ .,:/@#+=!?\t\n\u00e9\u4e2d\u20ac"
_LONGEST = 20_000

_FORMATS: dict[str, Callable[[int], str]] = {
    "date-time": lambda n: f"2024-01-{n % 28 + 1:02}T09:30:00Z",
    "date": lambda n: f"2024-01-{n % 28 + 1:02}",
    "time": lambda n: f"{n % 24:02}:30:00Z",
    "duration": lambda n: f"P{n + 1}D",
    "email": lambda n: f"user{n or ''}@example.com",
    "idn-email": lambda n: f"user{n or ''}@example.com",
    "hostname": lambda n: f"host{n or ''}.example.com",
    "idn-hostname": lambda n: f"host{n or ''}.example.com",
    "ipv4": lambda n: f"192.0.2.{n % 250 + 1}",
    "ip": lambda n: f"192.0.2.{n % 250 + 1}",
    "ipv6": lambda n: f"2001:db8::{n + 1:x}",
    "ipv4network": lambda n: f"192.0.{n % 250}.0/24",
    "ipv6network": lambda n: f"2001:db8:{n + 1:x}::/48",
    "uri": lambda n: f"https://example.com/{n or ''}",
    "url": lambda n: f"https://example.com/{n or ''}",
    "iri": lambda n: f"https://example.com/{n or ''}",
    "uri-reference": lambda n: f"/example{n or ''}",
    "iri-reference": lambda n: f"/example{n or ''}",
    "uri-template": lambda n: f"/example{n or ''}/{{id}}",
    "uuid": lambda n: f"3fa85f64-5717-4562-b3fc-{n + 0x2C963F66AFA6:012x}",
    "byte": lambda n: "ZXhhbXBsZQ==" if n == 0 else "ZXhhbXBsZTI=",
    "json-pointer": lambda n: f"/example{n or ''}",
    "relative-json-pointer": lambda n: f"{n}/example",
    "regex": lambda n: f"^example{n or ''}$",
    "decimal": lambda n: f"{n + 1}.50",
}


def example_text(schema: dict[str, Any], *, variant: int = 0) -> str:
    """Return a string for a string schema; another `variant`, another string where that is possible.

    The result may still violate the schema (a pattern may contradict a length): the caller checks.
    """
    low, high = bound(schema.get("minLength"), default=0), bound(schema.get("maxLength"), default=_LONGEST)
    candidates = []
    formatted = _FORMATS.get(str(schema.get("format")))
    if formatted is not None:
        candidates.append(formatted(variant))
    pattern = schema.get("pattern")
    if isinstance(pattern, str):
        if formatted is None:
            candidates.append(_sized("string", low=low, high=high, variant=variant))
        fits = [text for text in candidates if low <= len(text) <= high and matches(pattern, text)]
        return fits[0] if fits else text_matching(pattern, low=low, high=high, variant=variant)
    if formatted is not None and low <= len(candidates[0]) <= high:
        return candidates[0]
    return _sized("string", low=low, high=high, variant=variant)


def bound(value: Any, *, default: int) -> int:
    """Return a length or count from a schema; anything but a sensible number is the default."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return int(min(max(value, 0), _LONGEST)) if number else default


def matches(pattern: str, text: str) -> bool:
    """Say whether JSON Schema's `pattern` accepts `text`."""
    try:
        return re.search(pattern, text) is not None
    except re.error:
        return False


def _sized(text: str, *, low: int, high: int, variant: int) -> str:
    ending = str(variant) if variant else ""
    filled = (text * (low // len(text) + 1))[: max(low - len(ending), min(len(text), high - len(ending)), 0)]
    return (filled + ending)[: max(high, 0)]


def text_matching(pattern: str, *, low: int = 0, high: int = _LONGEST, variant: int = 0) -> str:
    """Return a string that `pattern` accepts, between `low` and `high` characters long where the pattern can be."""
    try:
        tree = _parser.parse(pattern)
    except (re.error, RecursionError, OverflowError):
        return _sized("string", low=low, high=high, variant=variant)
    fallback = ""
    anchored = "$" in pattern or "\\Z" in pattern
    for repeats in dict.fromkeys(chain(range(33), (low, high, max(low // 2, 33)))):
        text = _Writer(repeats, variant).write(tree)
        if len(text) < low and not anchored:
            text += "a" * (low - len(text))
        if matches(pattern, text):
            if low <= len(text) <= high:
                return text
            fallback = fallback or text
        if len(text) > max(high, _LONGEST):
            break
    return fallback


class _Writer:
    """Writes one string for a parsed pattern, repeating `repeats` times more than the pattern demands."""

    def __init__(self, repeats: int, variant: int) -> None:
        self.repeats = repeats
        self.variant = variant
        self.groups: dict[int, str] = {}
        self.room = 2 * _LONGEST

    def write(self, tree: Any) -> str:
        return "".join(self._item(kind, value) for kind, value in tree)

    def _item(self, kind: Any, value: Any) -> str:
        if kind is sre.LITERAL:
            return chr(value)
        if kind in (sre.NOT_LITERAL, sre.ANY, sre.IN):
            return self._character(kind, value)
        if kind in (sre.MAX_REPEAT, sre.MIN_REPEAT, sre.POSSESSIVE_REPEAT):
            return self._repeat(*value)
        if kind is sre.SUBPATTERN:
            text = self.write(value[3])
            if value[0] is not None:
                self.groups[value[0]] = text
            return text
        if kind is sre.ATOMIC_GROUP:
            return self.write(value)
        if kind is sre.BRANCH:
            return self.write(value[1][self.variant % len(value[1])])
        if kind is sre.GROUPREF:
            return self.groups.get(value, "")
        return ""

    def _repeat(self, low: int, high: Any, tree: Any) -> str:
        count = min(low + self.repeats, _LONGEST if high is sre.MAXREPEAT else int(high))
        text = ""
        for _ in range(count):
            part = self.write(tree)
            self.room -= len(part)
            if self.room < 0 or not part:
                break
            text += part
        return text

    def _character(self, kind: Any, value: Any) -> str:
        if kind is sre.ANY:
            return "a"
        if kind is sre.NOT_LITERAL:
            return next(c for c in _CHARACTERS if ord(c) != value)
        negated = value[0][0] is sre.NEGATE
        members = value[1:] if negated else value
        if not negated and members[0][0] is sre.LITERAL:
            return chr(members[self.variant % len(members)][1]) if _literals(members) else chr(members[0][1])
        if not negated and members[0][0] is sre.RANGE:
            first, last = members[0][1]
            return chr(first + self.variant % (last - first + 1))
        found = [c for c in _CHARACTERS if any(_contains(member, c) for member in members) is not negated]
        return found[self.variant % len(found)] if found else ""


def _literals(members: Any) -> bool:
    return all(kind is sre.LITERAL for kind, _ in members)


def _contains(member: Any, character: str) -> bool:
    kind, value = member
    if kind is sre.LITERAL:
        return ord(character) == int(value)
    if kind is sre.RANGE:
        return bool(value[0] <= ord(character) <= value[1])
    category = {
        sre.CATEGORY_DIGIT: r"\d", sre.CATEGORY_NOT_DIGIT: r"\D", sre.CATEGORY_SPACE: r"\s",
        sre.CATEGORY_NOT_SPACE: r"\S", sre.CATEGORY_WORD: r"\w", sre.CATEGORY_NOT_WORD: r"\W",
    }.get(value)  # fmt: skip
    return category is not None and re.match(category, character) is not None
