"""The rules a path must pass before it may become a file, whoever it comes from.

Sources of the rules: git's own checks (``core.protectHFS``, ``core.protectNTFS``, fsck's ``hasDotgit``), Windows'
device names (Microsoft, "Naming Files, Paths, and Namespaces") and Unicode's bidirectional controls (UAX #9).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

from scaffolder.errors import UnsafePathError

MAX_PART_BYTES: Final = 255
MAX_PATH_BYTES: Final = 4_096

# What most paths are; they need no closer look.
_PLAIN_PART = (
    r"(?!(?:[cC][oO][nN]|[pP][rR][nN]|[aA][uU][xX]|[nN][uU][lL]|(?:[cC][oO][mM]|[lL][pP][tT])[0-9])(?:[./]|\Z))"
    r"[A-Za-z0-9_][A-Za-z0-9_-]*(?:\.[A-Za-z0-9_-]+)*"
)
_PLAIN = re.compile(f"{_PLAIN_PART}(?:/{_PLAIN_PART})*")
_PLAIN_LENGTH: Final = 255
_DRIVE = re.compile(r"[A-Za-z]:")
# NTFS's short names of .git and .gitmodules
_GIT_SHORT_NAME = re.compile(r"git~\d+|gitmod~\d+|gi7eba~\d")
_WINDOWS_DEVICE = re.compile(r"(con|prn|aux|nul|conin\$|conout\$|com[0-9¹²³]|lpt[0-9¹²³])( *\..*| *)", re.IGNORECASE)
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_RESERVED: Final = frozenset({".git", ".gitmodules"})
# Files that a CI system runs by itself once they are pushed, from the documentation of each; folded.
_CI_FILE = re.compile(
    r"\.(?:github|gitea|forgejo)/(?:workflows|actions|scripts)/.+"
    r"|(?:.*/)?\.gitlab-ci[^/]*\.ya?ml|\.gitlab/.*\.ya?ml"
    r"|(?:.*/)?azure-pipelines[^/]*\.ya?ml|\.(?:azure-pipelines|azuredevops|pipelines)/.+"
    r"|\.(?:circleci|buildkite|woodpecker|semaphore|teamcity|tekton|harness|concourse)/.+"
    r"|(?:.*/)?jenkinsfile(?:[.-][^/]*)?"
    r"|(?:.*/)?(?:\.travis|bitbucket-pipelines|\.?appveyor|\.drone|\.woodpecker|\.cirrus|\.scrutinizer|\.gocd|codefresh"
    r"|cloudbuild[^/]*|buildspec[^/]*|wercker|shippable|bamboo)\.ya?ml"
    r"|\.drone\.(?:star|jsonnet)|\.cirrus\.star|bamboo-specs/.+|\.vsts-ci\.ya?ml|action\.ya?ml"
)


def check_paths(paths: Iterable[str], *, max_depth: int) -> None:
    """Refuse the whole batch where one path is unsafe or two of them collide.

    Paths collide where they are equal, differ only in case or in Unicode normalisation, or where one would be both
    a file and a directory. Raises UnsafePathError with every offender.
    """
    batch = list(paths)
    offenders = [(path, reason) for path in batch if (reason := find_flaw(path, max_depth=max_depth))]
    flawed = {path for path, _ in offenders}
    offenders += _find_collisions([path for path in batch if path not in flawed])
    if offenders:
        raise UnsafePathError(offenders)


def find_flaw(path: str, *, max_depth: int | None = None) -> str | None:
    """Return why `path` may not become a file, or None where it may. `max_depth` counts all its parts."""
    if _PLAIN.fullmatch(path) and (max_depth is None or path.count("/") < max_depth) and len(path) <= _PLAIN_LENGTH:
        return None
    return _look_closely(path, max_depth=max_depth)


def _look_closely(path: str, *, max_depth: int | None) -> str | None:
    if not path:
        return "is empty"
    try:
        encoded = path.encode("utf-8")
    except UnicodeEncodeError:
        return "has a lone surrogate"
    if len(encoded) > MAX_PATH_BYTES:
        return f"is longer than {MAX_PATH_BYTES} bytes"
    if "\\" in path:
        return "has a backslash"
    if path.startswith("/"):
        return "is absolute"
    if _DRIVE.match(path):
        return "begins with a drive"
    parts = path.split("/")
    if max_depth is not None and len(parts) > max_depth:
        return f"is deeper than {max_depth} parts"
    return next((flaw for part in parts if (flaw := _find_part_flaw(part))), None)


def _find_part_flaw(part: str) -> str | None:
    if not part:
        return "has an empty part"
    if part in {".", ".."}:
        return f"has a part {part!r}"
    if len(part.encode("utf-8")) > MAX_PART_BYTES:
        return f"has a part longer than {MAX_PART_BYTES} bytes"
    if flaw := _find_character_flaw(part):
        return flaw
    if part.startswith("-"):
        return "has a part that begins with '-'"
    if part[-1] in ". ":
        return "has a part that ends with a dot or a space"
    if _WINDOWS_DEVICE.fullmatch(part):
        return "has a part that is a device name on Windows"
    if _is_reserved_by_git(part):
        return "has a part that git keeps for itself"
    return None


def _find_character_flaw(part: str) -> str | None:
    for character in part:
        if character == ":":
            return "has a colon"
        if character in _BIDI:
            return "has a bidirectional control character"
        category = unicodedata.category(character)
        if category in {"Cc", "Zl", "Zp"}:
            return "has a control character"
        if category == "Cf" or _is_ignorable(character):
            return "has an invisible character"
        if category == "Cn":
            return "has an unassigned character"
    return None


def _is_ignorable(character: str) -> bool:
    # Default_Ignorable_Code_Point beyond category Cf: fillers and variation selectors draw nothing.
    point = ord(character)
    return (
        point in {0x034F, 0x115F, 0x1160, 0x17B4, 0x17B5, 0x3164, 0xFFA0}
        or 0x180B <= point <= 0x180F
        or 0xFE00 <= point <= 0xFE0F
        or 0xE0000 <= point <= 0xE0FFF
    )


def _is_reserved_by_git(part: str) -> bool:
    folded = fold(part)
    return folded in _RESERVED or _GIT_SHORT_NAME.fullmatch(folded) is not None


def is_ci_file(path: str) -> bool:
    """Say whether a CI system would run what is in the file at `path` once it is pushed."""
    return _CI_FILE.fullmatch(fold(path)) is not None


def fold(path: str) -> str:
    """Return what `path` is on a file system that ignores case and normalisation: equal keys collide."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFKD", path).casefold()).casefold()


def _find_collisions(paths: list[str]) -> list[tuple[str, str]]:
    offenders: list[tuple[str, str]] = []
    files: dict[str, str] = {}
    directories: dict[str, str] = {}
    for path in paths:
        key = fold(path)
        if key in files:
            same = files[key] == path
            offenders.append((path, "is there twice" if same else f"differs from {files[key]!r} only in spelling"))
            continue
        files[key] = path
    known: set[str] = set()
    for path in files.values():
        offenders += _register_parents(path, directories, known)
    offenders += [
        (path, f"is both a file and a directory (of {directories[key]!r})")
        for key, path in files.items()
        if key in directories
    ]
    return offenders


def _register_parents(path: str, directories: dict[str, str], known: set[str]) -> list[tuple[str, str]]:
    # `directories` maps the folded path of each directory to the first file below it; `known` are those seen already.
    parent = path.rpartition("/")[0]
    while parent and parent not in known:
        first = directories.setdefault(fold(parent), path)
        if first[: len(parent)] != parent:
            spelled = first[: len(parent)]
            return [(path, f"has a directory that differs from {spelled!r} only in spelling")]
        known.add(parent)
        parent = parent.rpartition("/")[0]
    return []
