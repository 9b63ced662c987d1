"""`PlanExportsOperator`: what somebody wants exported, checked before anything is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

from airflow.sdk import BaseOperator

from scaffolder.config import Settings, get_settings
from scaffolder.errors import ExportTargetError, InvalidParametersError, PermissionDeniedError, ScaffolderError
from scaffolder.operators.observing import observing_task, tell_of
from scaffolder.operators.run import find_exportable, read_identity
from scaffolder.operators.step import failing_at_once
from scaffolder.records.hook import DEFAULT_CONN_ID, ProjectRecordsHook

if TYPE_CHECKING:
    from airflow.sdk import Context

_KEYS = frozenset({"target", "connection", "options"})


class PlanExportsOperator(BaseOperator):
    """Check the exports that a run's parameters ask for, and return them as arguments of `RepoCreationOperator`.

    Whoever triggers a run chooses among targets and connections (setting ``export_connections``), but not what only a
    workflow's author may: secrets, webhooks, members, protection (`Exporter.author_options`).

    :param generated_project_id: the generated project, which must be ready. (templated)
    :param exports_param: the parameter of the run with the list of ``{target, connection, options}``.
    :param scaffolder_conn_id: the connection of the records' database.
    """

    template_fields: Sequence[str] = ("generated_project_id",)
    ui_color = "#dfe7f5"

    def __init__(
        self,
        *,
        generated_project_id: str,
        exports_param: str = "exports",
        scaffolder_conn_id: str = DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.generated_project_id = generated_project_id
        self.exports_param = exports_param
        self.scaffolder_conn_id = scaffolder_conn_id

    def execute(self, context: Context) -> list[dict[str, Any]]:
        """Return one mapping of arguments for each export. Raises every problem at once."""
        identity = read_identity(context)
        with (
            observing_task(),
            failing_at_once(),
            ProjectRecordsHook(self.scaffolder_conn_id).open(actor=identity.triggered_by) as records,
        ):
            tell_of(find_exportable(records, self.generated_project_id, run=identity))
            plan = plan_exports(context["params"].get(self.exports_param), settings=get_settings())
            self.log.info("%s export(s) of generated project %s", len(plan), self.generated_project_id)
        return plan


def plan_exports(entries: Any, *, settings: Settings) -> list[dict[str, Any]]:
    """Return the arguments of `RepoCreationOperator` for each of `entries`. Raises InvalidParametersError."""
    if not isinstance(entries, list) or not entries:
        raise InvalidParametersError(f"exports is {entries!r}; accepted is a list of {{target, connection, options}}")
    plan: list[dict[str, Any]] = []
    problems: dict[str, str] = {}
    for index, entry in enumerate(entries):
        try:
            plan.append(_plan_export(entry, settings=settings))
        except ScaffolderError as error:
            problems[f"/exports/{index}"] = f"exports[{index}]: {error}"
    if len({str(one) for one in plan}) < len(plan):
        problems["/exports"] = "two exports are the same; accepted is each one once"
    if problems:
        raise InvalidParametersError("; ".join(problems.values()), pointers=problems)
    return plan


def _plan_export(entry: Any, *, settings: Settings) -> dict[str, Any]:
    from scaffolder.exports.service import check_target

    if not isinstance(entry, Mapping) or not isinstance(entry.get("target"), str):
        raise InvalidParametersError(f"it is {entry!r}; accepted is {{target, connection, options}}")
    if unknown := sorted(set(entry) - _KEYS):
        raise InvalidParametersError(f"unknown keys {unknown}; accepted are {sorted(_KEYS)}")
    options = entry.get("options") or {}
    connection = entry.get("connection") or None
    if not isinstance(options, Mapping):
        raise ExportTargetError(f"options are {options!r}; accepted is a mapping")
    exporter = check_target(entry["target"], options, has_connection=connection is not None)
    if refused := sorted(name for name in exporter.author_options if _is_set(options, name)):
        raise PermissionDeniedError(
            f"the options {refused} of target {entry['target']!r} are for authors of workflows; leave them out"
        )
    patterns = [pattern.strip() for pattern in settings.export_connections.split(",")]
    if connection is not None and not any(fnmatchcase(str(connection), pattern) for pattern in patterns):
        raise PermissionDeniedError(
            f"connection {connection!r} may not be used here; accepted are {patterns} (SCAFFOLDER_EXPORT_CONNECTIONS)"
        )
    return {"target": entry["target"], "target_conn_id": connection, "options": dict(options)}


def _is_set(options: Mapping[str, Any], name: str) -> bool:
    outer, _, inner = name.partition(".")
    value = options.get(outer)
    return outer in options if not inner else isinstance(value, Mapping) and bool(value.get(inner))
