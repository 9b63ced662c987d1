from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = {"jinja2", "yaml", "git", "pathspec", "jsonschema", "slugify", "tomli_w", "airflow"}


@pytest.mark.parametrize(
    "module",
    [
        "native.checking",
        "native.definition",
        "native.rendering",
        "native.filters",
        "foreign.copier",
        "contract",
        "sources",
    ],
)
def test_importing_what_workers_import_loads_nothing_heavy(module: str) -> None:
    program = (
        f"import sys; sys.path[:] = {sys.path!r}; import scaffolder.generation.templates.{module}; print(*sys.modules)"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stdout.split()
    assert f"scaffolder.generation.templates.{module}" in loaded
    assert not HEAVY & set(loaded)
