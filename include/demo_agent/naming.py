"""Python names from arbitrary text: modules, functions, parameters and classes, each unique where it must be."""

import builtins
import keyword
import re
import sys
import unicodedata

_DEPENDENCIES = frozenset(
    [
        "fastapi",
        "pydantic",
        "pydantic_core",
        "starlette",
        "uvicorn",
        "httpx",
        "httpx2",
        "jinja2",
        "yaml",
        "pytest",
        "tests",
        "test",
        "src",
        "hatchling",
        "multipart",
        "python_multipart",
        "jsonschema",
        "referencing",
        "openapi_schema_validator",
        "email_validator",
        "anyio",
        "annotated_types",
        "typing_extensions",
        "dist",
        "build",
    ]
)
RESERVED = frozenset(keyword.kwlist) | frozenset(keyword.softkwlist) | frozenset(dir(builtins))


def words_of(text: str) -> list[str]:
    """Split text into lower-case ASCII words, at case changes too: `getHTTPUser-2` gives get, http, user, 2."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+", plain)]


def snake(text: str, *, fallback: str) -> str:
    """Return a snake_case identifier, or `fallback` where the text has no usable character."""
    name = "_".join(words_of(text))[:80].strip("_")
    if not name:
        return fallback
    return f"n{name}" if name[0].isdigit() else name


def pascal(text: str, *, fallback: str) -> str:
    """Return a PascalCase identifier; capitals inside words are kept (`HTTPError`)."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode()
    name = "".join(word[0].upper() + word[1:] for word in re.findall(r"[A-Za-z0-9]+", plain))[:80]
    if not name:
        return fallback
    return f"N{name}" if name[0].isdigit() else name


def package_name(name: str) -> str:
    """Return the import package of a project; never one that would shadow Python's or a dependency's."""
    package = name.replace("-", "_").strip("_")
    taken = package in RESERVED or package in sys.stdlib_module_names or package in _DEPENDENCIES
    return f"{package}_service" if taken else package


def unique(name: str, *, taken: set[str]) -> str:
    """Return `name`, or `name` with the first free number; the result is added to `taken`."""
    result, number = name, 2
    while result in taken:
        separator = "_" if name == name.lower() else ""
        result, number = f"{name}{separator}{number}", number + 1
    taken.add(result)
    return result


def safe(name: str, *, taken: set[str]) -> str:
    """Like `unique`, and never a keyword or builtin: those get a trailing underscore."""
    return unique(f"{name}_" if name in RESERVED else name, taken=taken)
