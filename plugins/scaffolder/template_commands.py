"""The commands ``scaffolder render`` and ``scaffolder template check``: templates without a workflow or a database."""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any
from uuid import UUID

import typer

from scaffolder.errors import InvalidParametersError, StorageError

if TYPE_CHECKING:
    from scaffolder.config import Settings
    from scaffolder.generation.templates.contract import Template
    from scaffolder.generation.templates.native.checking import TemplateProblem
    from scaffolder.generation.templates.native.definition import NativeTemplate
    from scaffolder.generation.tree import GeneratedFile

template_app = typer.Typer(help="Templates, for those who write them.", no_args_is_help=True)

_VALUES_HELP = "The template's values: a YAML or JSON mapping; '-' is the standard input."
_TRUST_HELP = "Let a Copier or Cookiecutter template run code of its author: hooks, tasks, extensions."


def render(
    template: Annotated[str, typer.Argument(help="A directory, or a git URL: git+https://host/repository@tag.")],
    values: Annotated[str, typer.Option(help=_VALUES_HELP, metavar="FILE")],
    output: Annotated[Path, typer.Option(help="Where the project goes; must not be there, or be empty.")],
    *,
    trust: Annotated[bool, typer.Option("--trust", help=_TRUST_HELP)] = False,
) -> None:
    """Render a template into a directory: all of it, or nothing."""
    settings = _get_settings()
    target = _check_output(output)
    opened = _open(template, settings)
    files = opened.render(_read_values(values), run=_describe_run(), trust=trust, settings=settings)
    _check_files(files, settings=settings)
    _write(files, target)
    _print_tree(str(output), files)
    typer.echo(f"From {opened.origin}")


@template_app.command("check")
def check(
    directory: Annotated[str, typer.Argument(help="The template's directory.", metavar="DIR")],
    values: Annotated[str | None, typer.Option(help=f"{_VALUES_HELP} Renders it too.", metavar="FILE")] = None,
    against: Annotated[
        Path | None, typer.Option(help="Show what differs from the files in this directory.", metavar="DIR")
    ] = None,
    *,
    diff: Annotated[bool, typer.Option("--diff", help="Show the rendered files whole.")] = False,
    trust: Annotated[bool, typer.Option("--trust", help=_TRUST_HELP)] = False,
) -> None:
    """Say all that is wrong with a template and, given values, show what it makes of them."""
    if values is None and (against is not None or diff):
        raise InvalidParametersError("--against and --diff show what is rendered; accepted is that with --values FILE")
    from scaffolder.generation.templates.native.definition import NativeTemplate

    settings = _get_settings()
    opened = _open(directory, settings)
    given = None if values is None else _read_values(values)
    if isinstance(opened, NativeTemplate):
        problems, files = _check_native(opened, given, settings=settings)
    else:
        problems, files = (), _check_foreign(opened, given, trust=trust, settings=settings)
    if files is not None:
        _check_files(files, settings=settings)
        _print_tree(opened.name, files)
        _print_differences(files, against=against, whole=diff, settings=settings)
    if problems:
        raise typer.Exit(1)
    typer.echo(f"No problems found in {opened.name}")


def _get_settings() -> Settings:
    from scaffolder.config import get_settings

    # On the command line --trust is the word of the person whose machine it is.
    return replace(get_settings(), allow_trusted_templates=True)


def _open(location: str, settings: Settings) -> Template:
    from scaffolder.generation.templates.sources import open_template

    return open_template(location, settings=settings)


def _describe_run() -> dict[str, Any]:
    at = datetime.now(UTC).replace(microsecond=0)
    return {
        "id": "command-line",
        "dag_id": "scaffolder",
        "at": at.isoformat(),
        "year": at.year,
        "user": os.environ.get("USER", ""),
        "generated_project_id": str(UUID(int=0)),
    }


def _read_values(location: str) -> dict[str, Any]:
    """Read a mapping of plain data. Raises InvalidParametersError."""
    from scaffolder.yaml_document import YamlDocumentError, parse_yaml

    try:
        content = sys.stdin.buffer.read() if location == "-" else Path(location).read_bytes()
        document = parse_yaml(content)
    except OSError as error:
        raise InvalidParametersError(f"--values {location!r} cannot be read: {error.strerror}") from error
    except YamlDocumentError as error:
        raise InvalidParametersError(f"--values {location!r}, line {error.line}: it {error}") from error
    data = {} if document.data is None else document.data
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise InvalidParametersError(f"--values {location!r}: accepted is a mapping of names to values")
    return data


def _check_files(files: Sequence[GeneratedFile], *, settings: Settings) -> None:
    """Raise where a step could not commit `files` into an empty project."""
    from scaffolder.generation.file_generation import refuse_secrets
    from scaffolder.generation.merge import TreeEdits, merge

    merge(TreeEdits(files=files), tree=(), settings=settings)
    refuse_secrets(files, settings=settings)


def _check_output(output: Path) -> Path:
    """Return where the project goes, links resolved. Raises InvalidParametersError where something is there."""
    target = Path(os.path.realpath(output.expanduser()))
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidParametersError(f"--output {str(output)!r} is there; accepted is a new or an empty directory")
    if target == Path.cwd():
        raise InvalidParametersError(
            "--output is the current directory; accepted is another one, which takes its place"
        )
    return target


def _write(files: Sequence[GeneratedFile], target: Path) -> None:
    """Write `files`, whose paths are checked, as the directory `target`: it appears whole. Raises StorageError."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".scaffolder-", dir=target.parent) as staging:
            tree = Path(staging, "tree")
            tree.mkdir()
            for file in files:
                path = tree / file.path
                path.parent.mkdir(parents=True, exist_ok=True)
                with path.open("xb") as opened:
                    opened.write(file.content)
                    if file.executable:
                        # Whoever may read it may run it.
                        mode = os.fstat(opened.fileno()).st_mode
                        os.fchmod(opened.fileno(), mode | (mode & 0o444) >> 2)
            tree.rename(target)
    except OSError as error:
        raise StorageError(f"the directory {str(target)!r} cannot be written: {error.strerror}") from error


def _check_native(
    template: NativeTemplate, values: Mapping[str, Any] | None, *, settings: Settings
) -> tuple[Sequence[TemplateProblem], Sequence[GeneratedFile] | None]:
    """Print what is wrong; return that, and what the template makes of `values`."""
    from scaffolder.generation.templates.native.checking import check_template

    report = check_template(template, values=values, run=_describe_run(), settings=settings)
    for problem in report.problems:
        _print_line(str(problem))
    return report.problems, report.files


def _check_foreign(
    template: Template, values: Mapping[str, Any] | None, *, trust: bool, settings: Settings
) -> Sequence[GeneratedFile] | None:
    """Print what asks for trust; return what the template makes of `values`, where it may."""
    from scaffolder.generation.templates.foreign.template import ForeignTemplate

    demands = template.inspect(settings=settings).demands if isinstance(template, ForeignTemplate) else ()
    for demand in demands:
        _print_line(f"Asks for trust: {demand}")
    if values is None:
        return None
    if demands and not trust:
        typer.echo("Not rendered: accepted is --trust, which lets it run the code above")
        return None
    return template.render(values, run=_describe_run(), trust=trust, settings=settings)


def _print_line(text: str) -> None:
    from scaffolder.terminal import make_printable

    typer.echo(make_printable(text))


def _print_tree(title: str, files: Sequence[GeneratedFile]) -> None:
    from scaffolder.terminal import TreeEntry, print_tree

    entries = [
        TreeEntry(path=file.path, size_bytes=len(file.content), note="executable" if file.executable else "")
        for file in files
    ]
    print_tree(title, entries)


def _print_differences(
    files: Sequence[GeneratedFile], *, against: Path | None, whole: bool, settings: Settings
) -> None:
    from scaffolder.generation.templates.foreign.output import read_back
    from scaffolder.terminal import compare, print_diff

    if against is None and not whole:
        return
    old: dict[str, bytes] = {}
    if against is not None:
        if not against.is_dir():
            raise InvalidParametersError(f"--against {str(against)!r}; accepted is a directory")
        there = read_back(against, what=f"--against {str(against)!r}", origin="", settings=settings)
        old = {file.path: file.content for file in there}
    print_diff(compare(old, {file.path: file.content for file in files}))
