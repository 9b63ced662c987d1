"""The command ``scaffolder``: the records, generated projects and templates, outside Airflow's UI."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from scaffolder import discover_commands, doctor_commands, error_commands, permission_commands, template_commands
from scaffolder.errors import InvalidParametersError, RecordNotFoundError, ScaffolderError

if TYPE_CHECKING:
    from scaffolder.report import Comparison, Report

app = typer.Typer(
    help="Scaffolder: projects from agents and templates.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
db = typer.Typer(help="The records' database (connection scaffolder_db).", no_args_is_help=True)
app.add_typer(db, name="db")
app.add_typer(template_commands.template_app, name="template")
app.add_typer(permission_commands.permissions_app, name="permissions")
app.command("render")(template_commands.render)
app.command("discover")(discover_commands.discover)
app.command("doctor")(doctor_commands.doctor)
app.command("errors")(error_commands.list_errors)


@db.command("migrate")
def migrate(
    revision: Annotated[str, typer.Option(help="'head', 'base' or a revision; going back drops data.")] = "head",
) -> None:
    """Bring the records' schema to a revision; safe to run twice and concurrently."""
    with _answer_alone():
        from scaffolder.records import schema

        revision = schema.migrate(_hook().get_schema_url(), revision=revision)
    typer.echo(f"The records' schema is at revision {revision}")


@db.command("check")
def check() -> None:
    """Say whether the records' schema is the one this version needs."""
    with _answer_alone():
        from scaffolder.records import schema

        revision = schema.check(_hook().get_schema_url())
    typer.echo(f"The records' schema is at revision {revision}, as this version needs")


@app.command("show")
def show(
    generated_id: Annotated[
        str | None, typer.Argument(help="Id of a generated project.", metavar="GENERATED_ID")
    ] = None,
    run: Annotated[tuple[str, str] | None, typer.Option(help="Or its DAG run.", metavar="DAG_ID RUN_ID")] = None,
    at: Annotated[str | None, typer.Option(help="Show the tree at this commit (id or step).", metavar="COMMIT")] = None,
    diff: Annotated[
        tuple[str, str] | None, typer.Option(help="Show what two commits have differently.", metavar="BASE HEAD")
    ] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show a generated project: its tree with each file's origin, commits, agent calls, exports and events."""
    if (generated_id is None) == (run is None):
        raise InvalidParametersError("accepted is either GENERATED_ID or --run DAG_ID RUN_ID")
    if at is not None and diff is not None:
        raise InvalidParametersError("accepted is either --at COMMIT or --diff BASE HEAD")
    with _answer_alone():
        report = _read_report(generated_id, run, at=at, diff=diff)
    if as_json:
        typer.echo(json.dumps(report.as_data(), indent=2))
    else:
        report.print()


def main() -> None:
    """Run the command; our errors end it with status 1 and one sentence."""
    # Outside a task, Airflow looks connections up in its own database only in processes that say they are a server.
    os.environ.setdefault("_AIRFLOW_PROCESS_CONTEXT", "server")
    try:
        app()
    except ScaffolderError as error:
        typer.echo(f"{type(error).__name__}: {error}", err=True)
        raise SystemExit(1) from error


def _hook() -> Any:
    from scaffolder.records.hook import ProjectRecordsHook

    return ProjectRecordsHook()


def _read_report(
    generated_id: str | None, run: tuple[str, str] | None, *, at: str | None, diff: tuple[str, str] | None
) -> Report | Comparison:
    from scaffolder.config import get_settings
    from scaffolder.generation.step_commit import get_repository
    from scaffolder.report import Comparison, Report

    with _hook().open() as records:
        if run is None:
            key = _parse_id(str(generated_id))
        else:
            found = records.find_generated_project(*run)
            if found is None:
                raise RecordNotFoundError(f"run {run[1]!r} of DAG {run[0]!r} has no generated project")
            key = found.id
        repository = get_repository(key, settings=get_settings())
        if diff is not None:
            return Comparison.read(records, key, repository=repository, base=diff[0], head=diff[1])
        return Report.read(records, key, repository=repository, at=at)


@contextmanager
def _answer_alone() -> Iterator[None]:
    """Keep standard output for the answer: what Airflow logs while it is imported goes to standard error."""
    with redirect_stdout(sys.stderr):
        yield


def _parse_id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise InvalidParametersError(f"id {text!r}; accepted is a UUID") from error
