"""What every benchmark prints: a table for people, then one JSON object on the last line."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

_PACKAGES = (
    "apache-airflow",
    "cookiecutter",
    "copier",
    "datamodel-code-generator",
    "gitpython",
    "httpx2",
    "jinja2",
    "psycopg",
)


def print_result(benchmark: str, *, ratios: Mapping[str, float], figures: Mapping[str, float]) -> None:
    """Print the result. Ratios are ours over the peer's or the floor's; figures carry their unit in their name."""
    table = Table(title=benchmark, title_justify="left")
    table.add_column("what")
    table.add_column("value", justify="right")
    for name, value in {**ratios, **figures}.items():
        table.add_row(name, f"{value:,.3g}" if value < 100 else f"{value:,.0f}")
    Console().print(table)
    result = {
        "benchmark": benchmark,
        "ratios": {name: round(value, 4) for name, value in ratios.items()},
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in _PACKAGES},
    }
    print(json.dumps(result))
