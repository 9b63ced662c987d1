"""The DAGs that ship, as a bundle of Airflow's: `[dag_processor] dag_bundle_config_list` names it beside one's own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from airflow.dag_processing.bundles.local import LocalDagBundle

_PACKAGE = Path(__file__).resolve().parent
_CHECKOUT_DAGS = _PACKAGE.parent.parent / "dags"
DAGS = _PACKAGE / "dags" if (_PACKAGE / "dags").is_dir() else _CHECKOUT_DAGS


class ScaffolderDagBundle(LocalDagBundle):
    """The folder of the DAGs that come with the package, wherever that is installed.

    Configured as ``{"name": "scaffolder", "classpath": "scaffolder.dag_bundle.ScaffolderDagBundle", "kwargs": {}}``.
    """

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(path=str(DAGS), **kwargs)
