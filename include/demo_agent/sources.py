"""Writes Python literals and docstrings from arbitrary text, so that text of a document stays text."""

from typing import Any


def literal(value: Any) -> str:
    """Return a Python expression for JSON data, strings in double quotes and in one line."""
    if isinstance(value, str):
        return '"' + "".join(map(_escaped, value)) + '"'
    if isinstance(value, list):
        return "[" + ", ".join(map(literal, value)) + "]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{literal(key)}: {literal(item)}" for key, item in value.items()) + "}"
    return repr(value)


def docstring(text: str) -> str:
    """Return the first sentence or line of `text` as a one-line docstring; never empty."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "") or "Undocumented."
    line = " ".join(line.split())
    if len(line) > 100:
        line = line[:97].rsplit(" ", 1)[0] + "..."
    line = line if line[-1] in ".!?" else f"{line}."
    return '"""' + "".join(map(_escaped, line)) + '"""'


def _escaped(character: str) -> str:
    if character in '"\\':
        return f"\\{character}"
    if character.isprintable():
        return character
    code = ord(character)
    if character in "\n\t\r":
        return {"\n": "\\n", "\t": "\\t", "\r": "\\r"}[character]
    return f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}" if code < 65536 else f"\\U{code:08x}"
