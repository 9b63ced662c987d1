"""The exporters there are, by target: entry points of the group ``scaffolder.exporters``, ours and those of others."""

from __future__ import annotations

from importlib.metadata import EntryPoint, PackageNotFoundError, distribution, entry_points
from typing import Final

from scaffolder.errors import ExportTargetError
from scaffolder.exports.contract import Exporter

GROUP: Final = "scaffolder.exporters"
_DISTRIBUTION: Final = "airflow-scaffolder"


def get_exporter(target: str) -> Exporter:
    """Return the exporter for `target`; nobody else's can take the place of one of ours.

    Raises ExportTargetError naming those there are.
    """
    found = _find_own(target) or {point.value: point for point in entry_points(group=GROUP, name=target)}
    if not found:
        raise ExportTargetError(f"target {target!r}; accepted are {list_targets()}")
    if len(found) > 1:
        raise ExportTargetError(
            f"target {target!r} is offered by several installed packages: {sorted(found)}; accepted is one"
        )
    [point] = found.values()
    try:
        exporter: Exporter = point.load()()
    except ImportError as error:
        raise ExportTargetError(f"target {target!r} cannot be loaded ({point.value}): {error}") from error
    return exporter


def list_targets() -> list[str]:
    """Return the names of all targets."""
    return sorted({point.name for point in entry_points(group=GROUP)})


def _find_own(target: str) -> dict[str, EntryPoint]:
    # One package is read in a fraction of the time that all of them take.
    try:
        points = distribution(_DISTRIBUTION).entry_points.select(group=GROUP, name=target)
    except PackageNotFoundError:
        return {}
    return {point.value: point for point in points}
