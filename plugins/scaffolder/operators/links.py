"""Extra links: from a task in Airflow's UI to what it made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from airflow.sdk import BaseOperatorLink
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.configuration import conf

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
            base = urlsplit(conf.get("api", "base_url", fallback="") or "").path.rstrip("/")
            return f"{base}/scaffolder/api/v1/exports/{output['export_id']}/archive"
        return str(output.get("url") or "")
