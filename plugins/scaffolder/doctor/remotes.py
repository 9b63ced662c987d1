"""Exports that have arrived at hosts: whether what was pushed is there. Nothing is changed there."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from scaffolder.config import Settings
from scaffolder.doctor.findings import Difference, FindingKind
from scaffolder.errors import ExportRejectedError, RecordsUnavailableError, ScaffolderError, TransientError
from scaffolder.exports.contract import Exporter
from scaffolder.exports.push import HEADS, RemoteRepositoryGit
from scaffolder.exports.registry import get_exporter
from scaffolder.generation.git_remote import GitRemote, get_origin, without_credentials
from scaffolder.records.doctor_models import RemoteExport

TARGETS: Final = ("git", "github", "gitlab")
_GIT: Final = "git"
# A host that is away this often is not asked again.
_MAX_FAILURES: Final = 3
_GONE = re.compile(
    r"repository .*not found|could not be found|does not appear to be a git repository|does not exist", re.IGNORECASE
)

Connect = Callable[[Exporter, str], Any]


class RemoteExamination:
    """Asks hosts for their branches. `connect` returns what an exporter needs of a connection, its own by default."""

    def __init__(self, *, settings: Settings, bare: Path, connect: Connect | None = None) -> None:
        self._settings = settings
        # An empty repository: a project's own configuration could send credentials elsewhere.
        self._bare = bare
        self._connect: Connect = connect or (lambda exporter, conn_id: exporter.connect(conn_id))
        self._failures: Counter[str | None] = Counter()

    def compare(self, export: RemoteExport) -> Difference | None:
        """Return what differs, None where the branch is where it was left."""
        if self._failures[export.location] >= _MAX_FAILURES:
            return _differ(
                FindingKind.REMOTE_UNKNOWN,
                export,
                f"could not be checked: {export.location} was away {_MAX_FAILURES} times and was not asked again",
            )
        try:
            refs = self._list_refs(export)
        except RecordsUnavailableError:
            raise
        except ExportRejectedError as error:
            if _GONE.search(str(error)):
                return _differ(
                    FindingKind.REMOTE_MISSING,
                    export,
                    f"is gone, or connection {export.connection!r} may not see it: {error}. If it is wanted, export "
                    "the generated project again",
                )
            return _cannot_check(export, error)
        except ScaffolderError as error:
            if isinstance(error, TransientError):
                self._failures[export.location] += 1
            return _cannot_check(export, error)
        self._failures[export.location] = 0
        return _compare_tip(export, refs.get(HEADS + export.branch))

    def _list_refs(self, export: RemoteExport) -> dict[str, str]:
        if export.connection is None:
            raise ExportRejectedError("its record names no connection")
        exporter = get_exporter(export.target)
        connection = self._connect(exporter, export.connection)
        location = exporter.locate(connection)
        if location != export.location:
            raise ExportRejectedError(
                f"connection {export.connection!r} is for {location!r} now, and the export went to {export.location!r}"
            )
        remote: GitRemote = connection if export.target == _GIT else connection.get_git_remote()
        url = str(export.remote_id) if export.target == _GIT else f"{remote.url}/{export.remote_name}.git"
        if _get_origin(url) != _get_origin(remote.url):
            raise ExportRejectedError(
                f"{without_credentials(url)!r} is not at the host of connection {export.connection!r}"
            )
        return RemoteRepositoryGit(
            url, remote=remote, directory=self._bare, timeout_seconds=self._settings.export_timeout_seconds
        ).list_refs()


def _compare_tip(export: RemoteExport, tip: str | None) -> Difference | None:
    if tip == export.exported_commit:
        return None
    if tip is None and not export.is_request:
        return _differ(
            FindingKind.REMOTE_MISSING,
            export,
            f"has no branch {export.branch!r} any more, which was at {export.exported_commit!r}; if it is wanted, "
            "export the generated project again",
        )
    what = f"is at {tip!r}" if tip is not None else "is gone, as after a merge"
    return _differ(
        FindingKind.REMOTE_DIFFERS,
        export,
        f"has moved on: branch {export.branch!r} was left at {export.exported_commit!r} and {what}; nothing is to be "
        "done",
    )


def _cannot_check(export: RemoteExport, error: ScaffolderError) -> Difference:
    return _differ(
        FindingKind.REMOTE_UNKNOWN, export, f"could not be checked: {error}; run this again when that is mended"
    )


def _differ(kind: FindingKind, export: RemoteExport, what: str) -> Difference:
    place = export.url or export.remote_name or export.target
    return Difference(
        kind=kind,
        subject=str(export.id),
        detail=f"{without_credentials(place)}, export {export.id} of generated project {export.generated_project_id} "
        f"(project {export.project!r}), {what}",
    )


def _get_origin(url: str) -> tuple[str, str, int | None] | None:
    try:
        return get_origin(url)
    except ValueError:
        return None
