"""What an exporter is: the contract, and what passes through it. `registry` knows those there are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from scaffolder.config import Settings
from scaffolder.errors import ExportTargetError
from scaffolder.generation.git_remote import GitRemote
from scaffolder.generation.repository import ProjectRepository


@dataclass(frozen=True, kw_only=True)
class ExportRequest:
    """One commit to be put somewhere. `directory` is where archives of this generated project go."""

    name: str
    commit: str
    repository: ProjectRepository
    directory: Path
    options: Mapping[str, Any]
    remote: GitRemote | None
    settings: Settings


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """Where the commit is now."""

    url: str
    archive_path: Path | None = None
    archive_sha256: str | None = None


class Exporter(Protocol):
    """Puts a commit somewhere. Calling it again with the same request must find the first call's work done."""

    target: str
    needs_connection: bool

    def check_options(self, options: Mapping[str, Any]) -> None:
        """Raise ExportTargetError where an option is unknown or its value isn't accepted."""

    def export(self, request: ExportRequest) -> ExportResult:
        """Put `request.commit` there. Raises the errors of ``scaffolder.errors`` that speak of exports."""


def check_known_options(target: str, options: Mapping[str, Any], accepted: Mapping[str, str]) -> None:
    """Raise ExportTargetError where `options` has a key that is not in `accepted` (name -> what it takes)."""
    if unknown := sorted(set(options) - set(accepted)):
        listing = ", ".join(f"{name} ({kind})" for name, kind in sorted(accepted.items()))
        raise ExportTargetError(f"target {target!r} has no options {unknown}; accepted are {listing}")
