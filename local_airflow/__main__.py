"""The command line behind `make run` and `make stop`: ``python -m local_airflow up|run|stop|status``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from local_airflow.airflow_rest import AirflowRestError
from local_airflow.errors import LocalAirflowError
from local_airflow.instance import LocalAirflow
from local_airflow.lock import exclusive_lock
from local_airflow.main_job import create_connections, openapi_job, run_job

_CHECKOUT = Path(__file__).resolve().parent.parent
_EXAMPLE = _CHECKOUT / "examples" / "openapi" / "media-library.yaml"
_INTERRUPTED = 130

console = Console(soft_wrap=True)
app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.command()
def up() -> None:
    """Start Airflow, its database and the bundled agent."""
    airflow = _checkout_instance()
    airflow.start()
    create_connections(airflow)
    _show_access(airflow)


@app.command()
def run(
    openapi: Annotated[Path, typer.Option(help="OpenAPI document to make a service of.")] = _EXAMPLE,
    name: Annotated[str, typer.Option(help="Name of the service.")] = "media-library",
) -> None:
    """Start everything that does not run yet, run the workflow `openapi_service` and show what it made."""
    job = openapi_job(openapi, name=name)
    airflow = _checkout_instance()
    airflow.directory.create()
    with exclusive_lock(airflow.directory.root / "run.lock", doing="running 'make run' here already"):
        airflow.start()
        create_connections(airflow)
        succeeded = run_job(airflow, job=job, console=console)
    _show_access(airflow)
    if not succeeded:
        raise typer.Exit(1)


@app.command()
def stop() -> None:
    """Stop everything that was started here."""
    stopped = _checkout_instance().stop()
    console.print(f"Stopped: {', '.join(stopped)}" if stopped else "Nothing runs here.", highlight=False)


@app.command()
def status() -> None:
    """Show which processes run; exit code 3 if none does."""
    airflow = _checkout_instance()
    running = airflow.running()
    for name, pid in running.items():
        console.print(f"{name:<14} pid {pid}", highlight=False)
    if not running:
        console.print("Nothing runs here.")
        raise typer.Exit(3)
    console.print(f"{airflow.url}", highlight=False)


def _checkout_instance() -> LocalAirflow:
    return LocalAirflow(
        _CHECKOUT / ".scaffolder",
        dags_folder=_CHECKOUT / "dags",
        plugins_folder=_CHECKOUT / "plugins",
        generated_projects_dir=_CHECKOUT / "generated-projects",
        include_folder=_CHECKOUT / "include",
        report=lambda message: console.print(f"  {escape(message)}", highlight=False),
    )


def _show_access(airflow: LocalAirflow) -> None:
    env_file = os.path.relpath(airflow.directory.env_file)
    console.print(
        f"\nAirflow runs at [bold]{airflow.url}[/]   log in as [bold]admin[/], "
        f"password [bold]{escape(airflow.settings.passwords['admin'])}[/]\n"
        f"Command line:   . {escape(env_file)} && scaffolder show ID\n"
        "End everything: make stop",
        highlight=False,
    )


class InterruptedFromOutsideError(BaseException):
    """Ctrl-C, or a signal that asks this process to end; like KeyboardInterrupt nothing but `main` catches it."""


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise InterruptedFromOutsideError


def main() -> int:
    """Run the command line and return its exit code."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # `nohup` and shells that run a job in the background have it ignored for a reason.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)
    try:
        app()
    except (LocalAirflowError, AirflowRestError) as error:
        console.print(f"[bold red]Error:[/] {escape(str(error))}", highlight=False)
        return 1
    except InterruptedFromOutsideError:
        console.print(
            "\nInterrupted. What this command was starting has been stopped; what ran already still runs "
            "('make stop' ends it)."
        )
        return _INTERRUPTED
    return 0


if __name__ == "__main__":
    sys.exit(main())
