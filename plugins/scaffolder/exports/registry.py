"""The exporters there are, by target."""

from __future__ import annotations

from collections.abc import Callable

from scaffolder.errors import ExportTargetError
from scaffolder.exports.archive import ArchiveExporter
from scaffolder.exports.contract import Exporter
from scaffolder.exports.git import GitExporter

_EXPORTERS: dict[str, Callable[[], Exporter]] = {"archive": ArchiveExporter, "git": GitExporter}


def get_exporter(target: str) -> Exporter:
    """Return the exporter for `target`. Raises ExportTargetError naming those there are."""
    if target not in _EXPORTERS:
        raise ExportTargetError(f"target {target!r}; accepted are {sorted(_EXPORTERS)}")
    return _EXPORTERS[target]()
