"""What is said of errors, held against the errors: the tree, the remedies, and the table of docs/operations.md."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import pytest
from typer.testing import CliRunner

from scaffolder import errors
from scaffolder.cli import app
from scaffolder.config import Settings, environment_variable
from scaffolder.error_commands import list_kinds, make_table
from scaffolder.errors import InvalidParametersError, PermanentError, ScaffolderError, TransientError
from tests.conftest import CHECKOUT

KINDS = list(list_kinds())
_LINE = re.compile(r" {4}(?P<indent>[│├└─ ]*)(?P<name>\w+Error)(?: +(?P<meaning>.+))?")


def read_tree() -> Iterator[tuple[str, int, str]]:
    """Yield name, depth and meaning of each line of the tree in the module's docstring."""
    for line in str(errors.__doc__).splitlines():
        if found := _LINE.fullmatch(line):
            yield found["name"], len(found["indent"]) // 4, found["meaning"] or ""


def get_depth(kind: type[ScaffolderError]) -> int:
    return kind.__mro__.index(ScaffolderError)


def test_the_tree_shows_every_error_where_it_is_and_begins_its_meaning() -> None:
    tree = list(read_tree())
    assert [name for name, _, _ in tree] == ["ScaffolderError", *(kind.__name__ for kind in KINDS)]
    for (name, depth, meaning), kind in zip(tree, [ScaffolderError, *KINDS], strict=True):
        assert depth == get_depth(kind), name
        assert kind.get_meaning().casefold().startswith(meaning.casefold()), name


def test_all_errors_of_the_module_are_listed() -> None:
    defined = {one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, ScaffolderError)}
    assert {ScaffolderError, *KINDS} == defined


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_error_is_retried_or_not_and_has_a_remedy_of_its_own(kind: type[ScaffolderError]) -> None:
    assert issubclass(kind, PermanentError) != issubclass(kind, TransientError)
    assert vars(kind).get("remedy", "").endswith(".")
    assert "|" not in kind.remedy + kind.get_meaning()


def test_remedies_name_settings_that_there_are() -> None:
    known = {environment_variable(setting.name) for setting in fields(Settings)}
    named = {name for kind in KINDS for name in re.findall(r"\bSCAFFOLDER_[A-Z_]+\b", kind.remedy)}
    assert named
    assert named <= known


def test_the_operations_page_has_the_table_of_errors() -> None:
    table = make_table(KINDS)
    text = (CHECKOUT / "docs" / "operations.md").read_text()
    assert table in text, "the table is what `scaffolder errors --markdown` prints"


def ask(*arguments: str) -> Any:
    return CliRunner().invoke(app, ["errors", *arguments])


def test_the_command_says_of_one_error_what_to_do() -> None:
    answer = ask("DiskSpaceError")
    assert answer.exit_code == 0
    assert answer.stdout == (
        "DiskSpaceError: Too little space is free on the disk of the projects directory.\n"
        f"  Retried by Airflow: no. Status of the API: 507.\n  {errors.DiskSpaceError.remedy}\n"
    )


def test_the_command_lists_all_errors_and_prints_the_table() -> None:
    listed = ask().stdout
    assert [line.partition(":")[0] for line in listed.splitlines() if re.match(r"\w+Error:", line)] == [
        kind.__name__ for kind in KINDS
    ]
    assert ask("--markdown").stdout == make_table(KINDS)


def test_the_command_refuses_a_name_that_is_none() -> None:
    answer = ask("DiskError")
    assert isinstance(answer.exception, InvalidParametersError)
    assert "accepted are ['PermanentError', " in str(answer.exception)
