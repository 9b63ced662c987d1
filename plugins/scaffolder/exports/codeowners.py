"""The file by which hosts know who owns what in a repository."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scaffolder.errors import ExportTargetError
from scaffolder.generation.tree import GeneratedFile


def make_codeowners(owners: Mapping[str, Sequence[str]], *, path: str) -> list[GeneratedFile]:
    """Return the file at `path` that says who owns what, or nothing where `owners` (by pattern) is empty.

    GitHub and GitLab read the same lines: a pattern, then users, groups or addresses. The last pattern that fits
    counts. Raises ExportTargetError for what would break a line.
    """
    lines = []
    for pattern, names in owners.items():
        flawed = [text for text in (pattern, *names) if not text or not text.isprintable()]
        flawed += [name for name in names if " " in name or "@" not in name]
        if flawed or pattern.startswith(("#", "[")):
            raise ExportTargetError(
                f"codeowners {pattern!r}: {list(names)!r}; accepted is a path pattern with @users, @teams or addresses"
            )
        lines.append(" ".join([pattern.replace(" ", "\\ "), *names]))
    if not lines:
        return []
    content = "".join(f"{line}\n" for line in lines).encode()
    return [GeneratedFile(path=path, content=content, origin="export:codeowners")]
