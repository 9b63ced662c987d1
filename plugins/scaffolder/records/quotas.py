"""The setting ``quotas``: how many generated projects, and how many bytes of them, a project may have.

Deleted ones do not count, from the moment at which they are.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from fnmatch import fnmatchcase
from typing import Any, Final

from scaffolder.config import environment_variable
from scaffolder.errors import QuotaExceededError, SettingsError
from scaffolder.records import project_statements as statements
from scaffolder.records.access import RecordsAccess

_VARIABLE: Final = environment_variable("quotas")
_PATTERN: Final = re.compile(r"[a-z0-9*][a-z0-9*-]{0,62}")
_EXAMPLE: Final = '[{"project": "team-*", "count": 50, "size": 10737418240}]'
_WAYS_OUT: Final = f"Delete some, let retention remove those that expire, or raise {_VARIABLE}"


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What each project whose slug matches `project` may have; there ``*`` stands for any text. None is no limit.

    `count` is of generated projects that are not deleted, `size` of the bytes of the files at their heads.
    """

    project: str
    count: int | None = None
    size: int | None = None


_KEYS: Final = tuple(one.name for one in fields(Quota))


def load_quotas(text: str) -> tuple[Quota, ...]:
    """Read the setting. Raises SettingsError naming every problem and what is accepted."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        raise SettingsError(f"{_VARIABLE} is {text[:100]!r}, which is no JSON; accepted is {_EXAMPLE}") from None
    if not isinstance(data, list):
        raise SettingsError(f"{_VARIABLE} is {text[:100]!r}; accepted is a list such as {_EXAMPLE}")
    problems = [
        f"{_VARIABLE}: entry number {number}: {problem}"
        for number, entry in enumerate(data, start=1)
        for problem in _find_problems(entry)
    ]
    if problems:
        raise SettingsError("; ".join(problems))
    return tuple(Quota(**entry) for entry in data)


def find_quota(quotas: Sequence[Quota], project: str) -> Quota | None:
    """Return the quota that decides for `project`: the first one whose pattern its slug matches."""
    return next((one for one in quotas if fnmatchcase(project, one.project)), None)


def _find_problems(entry: Any) -> list[str]:
    if not isinstance(entry, Mapping):
        return [f"it is {entry!r}; accepted is an object such as {_EXAMPLE[1:-1]}"]
    problems = [f"unknown key {key!r}; accepted are {list(_KEYS)}" for key in entry if key not in _KEYS]
    accepted = "accepted is a project's slug, where * stands for any text"
    if "project" not in entry:
        problems.append(f"project is missing; {accepted}")
    elif not isinstance(entry["project"], str) or not _PATTERN.fullmatch(entry["project"]):
        problems.append(f"project is {entry['project']!r}; {accepted}")
    limits = [key for key in ("count", "size") if key in entry]
    if not limits:
        problems.append("count and size are missing; accepted is at least one of them")
    problems += [
        f"{key} is {entry[key]!r}; accepted is a whole number from 1" for key in limits if not _is_limit(entry[key])
    ]
    return problems


def _is_limit(value: Any) -> bool:
    # JSON's true is an int to Python.
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


class QuotaRecords(RecordsAccess):
    """What projects have of their quotas, over one open connection."""

    def check_count(self, project: str, *, quotas: Sequence[Quota]) -> None:
        """Raise QuotaExceededError where `project` has more generated projects than it may.

        Call it in the transaction that has recorded one more: until that ends, others who do so wait, since the trigger
        that counts has locked the project's row. So exactly as many as are accepted get in.
        """
        quota = find_quota(quotas, project)
        if quota is None or quota.count is None:
            return
        row = self._fetch_one(statements.SELECT_PROJECT, {"slug": project})
        count = row["generated_count"] if row else 0
        if count > quota.count:
            raise QuotaExceededError(
                f"project {project!r} has {count - 1} generated projects that are not deleted; accepted are at most "
                f"{quota.count} (count of {quota.project!r} in {_VARIABLE}). {_WAYS_OUT}"
            )

    def check_size(self, project: str, *, quotas: Sequence[Quota]) -> None:
        """Raise QuotaExceededError where the generated projects of `project` leave no byte for another one."""
        quota = find_quota(quotas, project)
        if quota is None or quota.size is None:
            return
        used = self._sum_size(project)
        if used >= quota.size:
            raise QuotaExceededError(
                f"the generated projects of project {project!r} that are not deleted have {used} bytes; accepted for "
                f"another one are less than {quota.size} (size of {quota.project!r} in {_VARIABLE}). {_WAYS_OUT}"
            )

    def check_growth(self, project: str, *, quotas: Sequence[Quota], added_bytes: int) -> None:
        """Raise QuotaExceededError where `added_bytes` more are too many for `project`; what shrinks is never refused.

        Call it in the transaction that records them: until that ends, others who ask for the same project wait here.
        """
        quota = find_quota(quotas, project)
        if quota is None or quota.size is None or added_bytes <= 0:
            return
        self._execute(statements.LOCK_KEY, {"key": f"size of project {project}"})
        used = self._sum_size(project)
        if used + added_bytes > quota.size:
            raise QuotaExceededError(
                f"the generated projects of project {project!r} that are not deleted have {used} bytes and "
                f"{added_bytes} more would come; accepted are at most {quota.size} (size of {quota.project!r} in "
                f"{_VARIABLE}). {_WAYS_OUT}"
            )

    def _sum_size(self, project: str) -> int:
        row = self._fetch_one(statements.SUM_SIZE_OF_PROJECT, {"slug": project})
        return int(row["size_bytes"]) if row else 0
