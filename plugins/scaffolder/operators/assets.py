"""The assets of what happens here: a DAG with one of them as its schedule runs when it is updated.

An update is told when the task that made it succeeds: again if the task is cleared. Its ``extra`` has ids and URLs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit
from uuid import UUID

from airflow.sdk import Asset
from airflow.sdk.configuration import conf

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

GENERATED_PROJECT_READY: Final = Asset(
    name="scaffolder_generated_project_ready", uri="scaffolder://generated-project/ready"
)
REPOSITORY_EXPORTED: Final = Asset(name="scaffolder_repository_exported", uri="scaffolder://repository-export/exported")


def add_outlet(operator: BaseOperator, asset: Asset) -> None:
    """Make `asset` one of the outlets of an operator, besides those its author gave it."""
    if asset not in operator.outlets:
        operator.outlets = [*operator.outlets, asset]


def tell(context: Context, asset: Asset, **extra: Any) -> None:
    """Give the update of `asset` that comes of this task what others need to know: JSON values."""
    context["outlet_events"][asset].extra.update(extra)


def link_page(project: str, generated_project_id: UUID) -> str:
    """Return the path of a generated project's page in Airflow's UI."""
    return f"{_find_base()}/scaffolder/projects/{project}/generated/{generated_project_id}"


def link_archive(project: str, generated_project_id: UUID | str, export_id: UUID | str) -> str:
    """Return the path that an exported archive is downloaded from."""
    generated = f"projects/{project}/generated/{generated_project_id}"
    return f"{_find_base()}/scaffolder/api/v1/{generated}/exports/{export_id}/archive"


def _find_base() -> str:
    """Return the path that Airflow is below, empty for none."""
    return urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
