"""Extra links: from a task in Airflow's UI to what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom

from scaffolder.operators.assets import link_archive

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class RepositoryLink(BaseOperatorLink):
    """To the archive's download, or to the repository at its host."""

    name = "Archive or repository"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link, empty where nothing was exported."""
        output: Any = BaseXCom.get_value(ti_key=cast("Any", ti_key), key="return_value")
        if not isinstance(output, dict):
            return ""
        if output.get("archive_path"):
            return link_archive(output["project"], output["generated_project_id"], output["export_id"])
        return str(output.get("url") or "")
