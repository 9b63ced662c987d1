from __future__ import annotations

from pathlib import Path
from zipfile import ZipFile

from tests.conftest import CHECKOUT
from tests.installation import build_wheel

WHERE = {
    "plugins/scaffolder": "scaffolder",
    "dags": "scaffolder/dags",
    "include/workflows": "scaffolder/include/workflows",
    "include/templates": "scaffolder/include/templates",
}


def test_the_wheel_holds_package_dags_workflows_and_templates_and_nothing_else(tmp_path: Path) -> None:
    names = ZipFile(build_wheel(tmp_path)).namelist()
    held = {name for name in names if ".dist-info/" not in name}
    wanted = {
        f"{target}/{path.relative_to(CHECKOUT / source).as_posix()}"
        for source, target in WHERE.items()
        for path in (CHECKOUT / source).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert held == wanted
    assert "scaffolder/records/migrations/versions/0001_records.py" in held
