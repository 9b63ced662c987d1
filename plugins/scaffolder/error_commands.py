"""The command ``scaffolder errors``: what each error means and what to do, for people and for docs/operations.md."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import redirect_stdout
from typing import Annotated

import typer

from scaffolder.errors import InvalidParametersError, ScaffolderError, TransientError


def list_errors(
    name: Annotated[str | None, typer.Argument(help="One error, as the log names it.", metavar="NAME")] = None,
    *,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="Print the table of docs/operations.md, of all of them.")
    ] = False,
) -> None:
    """Say what each error means, whether it is retried, how the API answers it and what to do."""
    kinds = list(list_kinds())
    if name is not None:
        kinds = [kind for kind in kinds if kind.__name__ == name]
        if not kinds:
            known = [kind.__name__ for kind in list_kinds()]
            raise InvalidParametersError(f"error {name!r}; accepted are {known}")
    # What FastAPI's and Airflow's imports log is not the answer.
    with redirect_stdout(sys.stderr):
        text = make_table(kinds) if as_markdown else "\n\n".join(_describe(kind) for kind in kinds) + "\n"
    typer.echo(text, nl=False)


def list_kinds(kind: type[ScaffolderError] = ScaffolderError) -> Iterator[type[ScaffolderError]]:
    """Yield the errors of this package that are raised, as errors.py has them; not those of installed exporters."""
    for sub in kind.__subclasses__():
        if sub.__module__ == ScaffolderError.__module__:
            yield sub
            yield from list_kinds(sub)


def make_table(kinds: list[type[ScaffolderError]]) -> str:
    """Return them as a Markdown table."""
    from scaffolder.api.problems import get_status

    rows = [
        f"| `{kind.__name__}` | {kind.get_meaning()} | {_is_retried(kind)} | {get_status(kind)} | {kind.remedy} |"
        for kind in kinds
    ]
    header = "| error | meaning | retried | status | what to do |\n| --- | --- | --- | --- | --- |"
    return "\n".join([header, *rows, ""])


def _describe(kind: type[ScaffolderError]) -> str:
    from scaffolder.api.problems import get_status

    return (
        f"{kind.__name__}: {kind.get_meaning()}\n"
        f"  Retried by Airflow: {_is_retried(kind)}. Status of the API: {get_status(kind)}.\n  {kind.remedy}"
    )


def _is_retried(kind: type[ScaffolderError]) -> str:
    return "yes" if issubclass(kind, TransientError) else "no"
