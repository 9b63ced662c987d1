"""What the doctor finds: the kinds there are, a difference with its repair, and the finding that is shown of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Final

SHOWN: Final = 10  # of a list inside one sentence


class FindingKind(StrEnum):
    """The kinds of findings; docs/doctor.md says of each what it means and what becomes of it."""

    DIRECTORY_WITHOUT_RECORD = "directory-without-record"
    DIRECTORY_OF_DELETED = "directory-of-deleted"
    RECORD_WITHOUT_DIRECTORY = "record-without-directory"
    REMOVAL_UNFINISHED = "removal-unfinished"
    STALE_TRASH = "stale-trash"
    FOREIGN_ENTRY = "foreign-entry"
    OUTSIDE_LINK = "outside-link"
    HEAD_DIFFERS = "head-differs"
    COMMIT_MISSING = "commit-missing"
    OBJECTS_DAMAGED = "objects-damaged"
    FILES_DIFFER = "files-differ"
    TOTALS_DIFFER = "totals-differ"
    CHECKOUT_DIFFERS = "checkout-differs"
    ARCHIVE_MISSING = "archive-missing"
    ARCHIVE_DAMAGED = "archive-damaged"
    ARCHIVE_UNREFERENCED = "archive-unreferenced"
    RUN_GONE = "run-gone"
    ANSWERS_LEFT = "answers-left"
    REMOTE_MISSING = "remote-missing"
    REMOTE_DIFFERS = "remote-differs"
    REMOTE_UNKNOWN = "remote-unknown"


#: Kinds that are told and are nothing wrong.
NOTES: Final = frozenset({FindingKind.REMOTE_DIFFERS})


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One difference as it is shown.

    `subject` is the id, slug or path that it is about; `detail` is a sentence: what, where, the value, what to do.
    """

    kind: FindingKind
    subject: str
    detail: str
    is_repairable: bool
    repaired: bool

    @property
    def remains(self) -> bool:
        """Say whether something is still wrong."""
        return not self.repaired and self.kind not in NOTES


@dataclass(frozen=True, kw_only=True)
class Difference:
    """One difference and how it is repaired, None where that is not for a program to do.

    `repair` looks once more whether it is still right to do so. It raises ScaffolderError and OSError.
    """

    kind: FindingKind
    subject: str
    detail: str
    repair: Callable[[], object] | None = None


def join_shown(items: Iterable[str], *, count: int) -> str:
    """Return the first of `count` items for a sentence, and how many more there are."""
    shown: Sequence[str] = list(islice(items, SHOWN))
    more = f" and {count - len(shown)} more" if count > len(shown) else ""
    return ", ".join(shown) + more
