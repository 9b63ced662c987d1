"""The table of metrics, what holds it, and what it refuses."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from scaffolder.errors import (
    AgentRejectedError,
    BudgetExceededError,
    DiskSpaceError,
    LimitExceededError,
    QuotaExceededError,
    ScaffolderError,
)
from scaffolder.observability import metrics
from tests.conftest import CHECKOUT

PACKAGE = CHECKOUT / "plugins" / "scaffolder"
# Whoever adds one says here that there are few of its values, and none is a person's or a project's.
TAGS = {
    *("workflow", "status", "step_type", "outcome", "error", "reason", "connection", "protocol", "direction"),
    *("target", "kind", "where", "channel", "route", "method"),
}


def list_modules() -> Iterator[tuple[Path, ast.Module]]:
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, ast.parse(path.read_text())


def test_names_are_of_one_form_and_tags_of_few_values() -> None:
    assert all(re.fullmatch(r"scaffolder\.[a-z]+\.[a-z_]+", name) for name in metrics.METRICS)
    assert {tag for metric in metrics.METRICS.values() for tag in metric.tags} == TAGS


def test_no_metric_is_sent_but_those_of_the_table() -> None:
    """Airflow's clients are the hook's alone, and it takes metrics only."""
    importing = {
        path.relative_to(PACKAGE).as_posix()
        for path, tree in list_modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom | ast.Import)
        and re.search(r"\bstats\b|\bstatsd\b|observability\.metrics|opentelemetry\.metrics", ast.unparse(node))
        and "scaffolder.observability" not in ast.unparse(node)
    }
    assert importing == {"observability/hook.py"}


def test_every_metric_of_the_table_is_sent_somewhere() -> None:
    constants = {name for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}
    assert {getattr(metrics, name).name for name in constants} == set(metrics.METRICS)
    named = {
        node.attr for path, tree in list_modules() for node in ast.walk(tree) if isinstance(node, ast.Attribute)
    } | {
        node.id
        for path, tree in list_modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)
    }
    assert constants <= named


def test_the_documents_have_the_table() -> None:
    rows = [
        f"| `{metric.name}` | {metric.kind} | {metric.unit} | {', '.join(f'`{tag}`' for tag in metric.tags)} | "
        f"{metric.meaning} |"
        for metric in metrics.METRICS.values()
    ]
    text = (CHECKOUT / "docs" / "observability.md").read_text()
    lines = text.partition("## Log lines")[0].splitlines()
    assert [line for line in lines if line.startswith("| `scaffolder.")] == rows


def test_one_table_says_what_to_alert_on_and_names_what_there_is() -> None:
    texts = {path.name: path.read_text() for path in sorted((CHECKOUT / "docs").glob("*.md"))}
    assert [name for name, text in texts.items() if "# What to alert on" in text] == ["operations.md"]
    table = texts["operations.md"].partition("## What to alert on")[2].partition("\n## ")[0]
    named = [match for row in table.splitlines() for match in re.finditer(r"`(scaffolder\.\S+)`(?: \(a (\w+)\))?", row)]
    assert len(named) > 10
    assert {match[1] for match in named} <= set(metrics.METRICS)
    assert all(match[2] in {None, metrics.METRICS[match[1]].kind} for match in named)


def test_the_table_says_where_refusals_are_counted() -> None:
    places = {
        ast.literal_eval(keyword.value)
        for _, tree in list_modules()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        for keyword in node.keywords
        if keyword.arg == "where" and isinstance(keyword.value, ast.Constant)
    }
    assert places == {"open", "step", "api"}
    for metric in (metrics.LIMIT_EXCEEDED, metrics.QUOTA_REFUSED, metrics.DISK_REFUSED):
        assert places <= set(re.findall(r"\w+", metric.meaning.partition("`where`")[2]))


def test_the_readme_names_every_metric() -> None:
    text = (CHECKOUT / "README.md").read_text()
    areas: dict[str, list[str]] = {}
    for name in metrics.METRICS:
        _, area, what = name.split(".")
        areas.setdefault(area, []).append(f"`{what}`")
    for area, names in areas.items():
        assert f"| `scaffolder.{area}.` | {', '.join(names)} |" in text


@pytest.mark.parametrize(
    "tell",
    [
        lambda: metrics.count(metrics.AGENT_LATENCY, connection="a", protocol="rest", outcome="answered"),
        lambda: metrics.count(metrics.EXPORT_ROLLED_BACK),
        lambda: metrics.count(metrics.EXPORT_ROLLED_BACK, target="git", project="secret-plans"),
        lambda: metrics.gauge(metrics.CLEANUP_REMOVED, 1),
        lambda: metrics.time(metrics.CLEANUP_DUE, 1),
    ],
)
def test_refuses_another_kind_and_other_tags_whether_or_not_anybody_listens(tell: Any) -> None:
    with pytest.raises(TypeError, match=r"^scaffolder\.\w+\.\w+ is a "):
        tell()


def test_a_clock_that_was_set_back_is_no_negative_time() -> None:
    values: list[float] = []

    def keep(_: metrics.Metric, value: float, __: Any) -> None:
        values.append(value)

    metrics.set_sink(keep)
    try:
        metrics.time(metrics.EXPORT_DURATION, -1, target="git", outcome="exported")
        metrics.time(metrics.EXPORT_DURATION, 1.5, target="git", outcome="exported")
    finally:
        metrics.set_sink(None)
    assert values == [0, 1500]


@pytest.mark.parametrize(
    ("error", "metric"),
    [
        (QuotaExceededError("x"), "quota.refused"),
        (LimitExceededError("x"), "limit.exceeded"),
        (BudgetExceededError("x"), "budget.refused"),
        (DiskSpaceError("x"), "disk.refused"),
        (AgentRejectedError("x"), None),
    ],
)
def test_what_is_used_up_is_counted_once(
    told: list[tuple[str, dict[str, str], float]], error: ScaffolderError, metric: str | None
) -> None:
    metrics.count_refusal(error, where="step")
    assert told == ([(metric, {"where": "step"}, 1)] if metric else [])
