"""The command ``scaffolder doctor``: whether records, disk and remotes say the same."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stdout
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Final

import typer

from scaffolder.errors import InvalidParametersError
from scaffolder.terminal import make_printable

if TYPE_CHECKING:
    from scaffolder.doctor.findings import Finding
    from scaffolder.doctor.service import Scope

_SECONDS_BETWEEN_PROGRESS: Final = 5.0


def doctor(
    project: Annotated[str | None, typer.Option(help="Look at this project alone.", metavar="SLUG")] = None,
    *,
    deep: Annotated[bool, typer.Option("--deep", help="Also read every object, file and archive.")] = False,
    remotes: Annotated[bool, typer.Option("--remotes", help="Also ask git hosts for what was exported.")] = False,
    repair: Annotated[bool, typer.Option("--repair", help="Repair what is safe to repair.")] = False,
    all_directories: Annotated[
        bool,
        typer.Option(
            "--all-directories", help="With --repair: remove directories without a record however many there are."
        ),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Compare records, disk and remotes, and explain what differs. Ends with status 1 where something is wrong."""
    if all_directories and not repair:
        raise InvalidParametersError("--all-directories says what is removed; accepted is --repair with it")
    from scaffolder.doctor.service import Scope

    scope = Scope(project=project, deep=deep, remotes=remotes, repair=repair, all_directories=all_directories)
    answer = sys.stdout
    # Airflow logs while it is imported, which is not the answer.
    with redirect_stdout(sys.stderr):
        findings = _examine(scope)
        show = print_json if as_json else print_lines
        remaining = show(findings, lambda text: typer.echo(text, file=answer, nl=False))
    if remaining:
        raise typer.Exit(1)


def _examine(scope: Scope) -> Iterator[Finding]:
    from scaffolder.config import get_settings
    from scaffolder.doctor.hook import AirflowRuns
    from scaffolder.doctor.service import Doctor
    from scaffolder.records.hook import ProjectRecordsHook

    with ProjectRecordsHook().open() as records:
        yield from Doctor(
            records, settings=get_settings(), runs=AirflowRuns(), scope=scope, progress=_ProgressLines()
        ).examine()


def print_lines(findings: Iterator[Finding], write: Callable[[str], None]) -> int:
    """Print each finding as it comes. Return how many of them remain."""
    count = repaired = remaining = 0
    for one in findings:
        count += 1
        repaired += one.repaired
        remaining += one.remains
        end = " (repaired)" if one.repaired else ""
        write(make_printable(f"{one.kind}: {one.detail}{end}") + "\n")
    write(
        f"{count} {'finding' if count == 1 else 'findings'}, {repaired} repaired, {remaining} remain\n"
        if count
        else "Nothing is wrong\n"
    )
    return remaining


def print_json(findings: Iterator[Finding], write: Callable[[str], None]) -> int:
    """Print one document, piece by piece: there may be many findings. Return how many of them remain."""
    remaining = 0
    write('{"findings": [')
    for number, one in enumerate(findings):
        remaining += one.remains
        write(("," if number else "") + "\n  " + json.dumps(asdict(one)))
    write(f'\n], "remaining": {remaining}}}\n')
    return remaining


class _ProgressLines:
    """Says on standard error how far it is, every few seconds."""

    def __init__(self) -> None:
        self._next = time.monotonic() + _SECONDS_BETWEEN_PROGRESS

    def __call__(self, what: str, count: int) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + _SECONDS_BETWEEN_PROGRESS
            typer.echo(f"{count} {what} looked at", err=True)
