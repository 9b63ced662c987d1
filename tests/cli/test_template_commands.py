"""``scaffolder render`` and ``scaffolder template check`` as people run them: a process of their own, no database."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import CACHE
from tests.planted_secrets import plant_secrets
from tests.unit.templates.trees import commit_tree, read_tree, write_tree

COMMAND = str(Path(sys.executable).parent / "scaffolder")
SECRET = plant_secrets()["github classic"]
ROOT = "{{cookiecutter.slug}}"
FOREIGN = {
    "cookiecutter.json": json.dumps({"slug": "thing"}),
    f"{ROOT}/bin/run": "#!/bin/sh\necho {{ cookiecutter.slug }}\n",
    f"{ROOT}/logo.bin": b"\x00\xff",
    f"{ROOT}/README.md": "# {{ cookiecutter.slug }}\n",
}
MADE = {
    "bin/run": (b"#!/bin/sh\necho abc\n", True),
    "logo.bin": (b"\x00\xff", False),
    "README.md": (b"# abc\n", False),
}
NATIVE = {
    "template.yaml": "name: service\nversion: '1'\nvalues: {properties: {name: {type: string}}, required: [name]}\n",
    "README.md.jinja": "# {{ name }} in {{ run.year }}\n",
}


class Command:
    """The command, run in a directory with a template and a file of values."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.template = write_tree(directory / "template", FOREIGN, executable=[f"{ROOT}/bin/run"])
        self.values = write_tree(directory, {"values.yaml": "slug: abc\n"}) / "values.yaml"
        self.output = directory / "made"

    def run(self, *arguments: str, stdin: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
        settings = {
            "AIRFLOW_HOME": str(self.directory / "airflow"),
            "SCAFFOLDER_CACHE_DIR": str(CACHE),
            "TMPDIR": str(self.directory / "tmp"),
            "COLUMNS": "60",
        }
        (self.directory / "tmp").mkdir(exist_ok=True)
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=self.directory,
            env=os.environ | settings | environment,
            input=stdin,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )

    def render(
        self, *options: str, template: str | None = None, stdin: str = "", **environment: str
    ) -> subprocess.CompletedProcess[str]:
        given = {"--values": str(self.values), "--output": str(self.output)}
        given |= dict(zip(options[::2], options[1::2], strict=False)) if "--trust" not in options else {}
        flags = [part for option in given.items() for part in option] + (["--trust"] if "--trust" in options else [])
        return self.run("render", template or str(self.template), *flags, stdin=stdin, **environment)

    def leftovers(self) -> list[str]:
        kept = {"template", "values.yaml", "made", "airflow"}
        found = [*self.directory.iterdir(), *(self.directory / "tmp").iterdir()]
        return sorted(path.name for path in found if path.name not in {*kept, "tmp"})


@pytest.fixture
def command(tmp_path: Path) -> Command:
    return Command(tmp_path)


def test_renders_a_directory_with_bytes_and_modes_and_shows_the_tree(command: Command) -> None:
    finished = command.render()
    assert (finished.returncode, finished.stderr) == (0, "")
    assert read_tree(command.output) == MADE
    expected = ["made (3 files, 27 bytes)", "bin/", "run  19  executable", "README.md  6", "From template:template@"]
    assert [text for text in expected if text not in finished.stdout] == []
    assert command.leftovers() == []


@pytest.mark.parametrize("values", ["slug: abc", '{"slug": "abc"}'])
def test_values_may_come_from_the_standard_input(command: Command, values: str) -> None:
    assert command.render("--values", "-", stdin=values).returncode == 0
    assert read_tree(command.output) == MADE


def test_renders_a_git_url_at_a_tag(command: Command) -> None:
    commit = commit_tree(command.template, "v1")
    finished = command.render(template=f"git+file://{command.template}@v1")
    assert finished.returncode == 0, finished.stderr
    assert read_tree(command.output) == MADE
    assert f"From template:file://{command.template}@{commit}" in finished.stdout


def test_renders_a_native_template_with_a_run(command: Command) -> None:
    write_tree(command.directory / "service", NATIVE)
    finished = command.render("--values", "-", template="service", stdin="name: x")
    assert finished.returncode == 0, finished.stderr
    assert re.fullmatch(rb"# x in 20\d\d\n", read_tree(command.output)["README.md"][0])


def test_an_empty_directory_is_taken(command: Command) -> None:
    command.output.mkdir()
    assert command.render().returncode == 0
    assert read_tree(command.output) == MADE


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("made/kept", "is there; accepted is a new or an empty directory"),
        ("made", "is there; accepted is a new or an empty directory"),
    ],
)
def test_what_is_there_is_not_touched(command: Command, path: str, message: str) -> None:
    write_tree(command.directory, {path: "kept"})
    finished = command.render()
    assert (finished.returncode, message in finished.stderr) == (1, True), finished.stderr
    assert (command.directory / path).read_text() == "kept"


def test_a_directory_that_cannot_be_made_is_named(command: Command) -> None:
    write_tree(command.directory, {"file": ""})
    finished = command.render("--output", str(command.directory / "file" / "made"))
    assert (finished.returncode, "StorageError: the directory" in finished.stderr) == (1, True), finished.stderr


@pytest.mark.parametrize(
    ("files", "values", "message"),
    [
        ({f"{ROOT}/{{{{cookiecutter.slug}}}}:x": ""}, "slug: a", "UnsafePathError: 1 unsafe path"),
        ({f"{ROOT}/AUX": "", f"{ROOT}/readme.MD": ""}, "slug: a", "UnsafePathError: 2 unsafe path"),
        ({f"{ROOT}/token": SECRET.text}, "slug: a", "SecretFoundError: 1 secret(s) in files"),
        ({}, "slug: [", "line 2: it is no YAML"),
        ({}, "[a]", "accepted is a mapping of names to values"),
        ({}, "1: a", "accepted is a mapping of names to values"),
        ({}, "slug: 2026-01-02", "takes plain data as values"),
        ({}, "slgu: a", "it has no values ['slgu']; accepted are ['slug']"),
        (
            {"hooks/post_gen_project.py": "open('ran', 'w')"},
            "slug: a",
            "TemplateNotAllowedError: template 'template' runs",
        ),
    ],
)
def test_what_cannot_be_a_project_leaves_nothing_behind(
    command: Command, files: dict[str, str], values: str, message: str
) -> None:
    write_tree(command.template, files)
    finished = command.render("--values", "-", stdin=values)
    assert (finished.returncode, message in finished.stderr) == (1, True), finished.stderr
    assert "Traceback" not in finished.stderr
    assert SECRET.secret not in finished.stderr
    assert not command.output.exists()
    assert command.leftovers() == []


def test_trust_is_the_persons_own_say(command: Command) -> None:
    write_tree(command.template, {"hooks/post_gen_project.py": "open('made-by-hook', 'w').close()"})
    finished = command.render("--trust", SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES="false", SCAFFOLDER_ALLOWED_TEMPLATES="")
    assert finished.returncode == 0, finished.stderr
    assert set(read_tree(command.output)) == {*MADE, "made-by-hook"}


def test_a_missing_file_of_values_is_named(command: Command) -> None:
    finished = command.render("--values", "missing.yaml")
    assert "InvalidParametersError: --values 'missing.yaml' cannot be read: No such file" in finished.stderr


def test_neither_command_imports_airflow(command: Command) -> None:
    for arguments in (
        ["render", str(command.template), "--values", str(command.values), "--output", str(command.output)],
        ["template", "check", str(command.template), "--values", str(command.values)],
    ):
        finished = subprocess.run(
            [sys.executable, "-X", "importtime", COMMAND, *arguments],
            cwd=command.directory,
            capture_output=True,
            text=True,
            check=True,
        )
        assert re.search(r"\| +scaffolder\b", finished.stderr)
        assert not re.search(r"\| +(airflow|sqlalchemy)\b", finished.stderr)


def test_a_sound_template_is_shown_as_the_tree_it_makes(command: Command) -> None:
    finished = command.run("template", "check", str(command.template), "--values", str(command.values))
    assert (finished.returncode, finished.stderr) == (0, "")
    assert "template (3 files, 27 bytes)" in finished.stdout
    assert finished.stdout.endswith("No problems found in template\n")
    assert "+++" not in finished.stdout
    assert not command.output.exists()


def test_a_template_is_compared_with_a_directory(command: Command) -> None:
    write_tree(command.output, {"README.md": "# abc\nmore\n", "logo.bin": b"\x00\xfe", "old\x1b[31m.txt": "old"})
    finished = command.run(
        "template", "check", str(command.template), "--values", str(command.values), "--against", str(command.output)
    )
    assert finished.returncode == 0, finished.stderr
    expected = [
        "--- a/README.md\n+++ b/README.md\n@@ -1,2 +1 @@\n # abc\n-more\n",
        "--- /dev/null\n+++ b/bin/run\n@@ -0,0 +1,2 @@\n+#!/bin/sh\n+echo abc\n",
        "Binary files a/logo.bin and b/logo.bin differ\n",
        "--- a/old\\x1b[31m.txt\n+++ /dev/null\n@@ -1 +0,0 @@\n-old (no line end)\n",
    ]
    assert [text for text in expected if text not in finished.stdout] == []
    assert "\x1b" not in finished.stdout


def test_control_characters_never_reach_the_terminal(command: Command) -> None:
    write_tree(command.template, {f"{ROOT}/a.txt": "\x1b]0;title\x07\u202egnp\r\n[bold]x[/bold]\r\n"})
    finished = command.run("template", "check", str(command.template), "--values", str(command.values), "--diff")
    assert "+\\x1b]0;title\\x07\\u202egnp\\r\n+[bold]x[/bold]\\r\n" in finished.stdout
    assert not re.search("[\x00-\x08\x0b-\x1f\x7f\u202e]", finished.stdout)


def test_what_asks_for_trust_is_listed_and_not_run(command: Command) -> None:
    write_tree(command.template, {"hooks/post_gen_project.py": "open('made-by-hook', 'w').close()"})
    arguments = ("template", "check", str(command.template), "--values", str(command.values))
    finished = command.run(*arguments)
    assert finished.returncode == 0, finished.stderr
    assert "Asks for trust: hooks/post_gen_project.py\n" in finished.stdout
    assert "Not rendered: accepted is --trust" in finished.stdout
    assert "made-by-hook" in command.run(*arguments, "--trust").stdout


def test_all_problems_of_a_native_template_are_printed(command: Command) -> None:
    broken = {**NATIVE, "a.txt.jinja": "{{ nmae }}\n", "b.txt.jinja": "\n{% if %}\n"}
    directory = write_tree(command.directory / "service", broken)
    finished = command.run("template", "check", str(directory))
    assert finished.returncode == 1
    for text in ("a.txt.jinja", "nmae", "b.txt.jinja:2"):
        assert text in finished.stdout
    assert "No problems" not in finished.stdout


@pytest.mark.parametrize("option", [("--diff",), ("--against", ".")])
def test_what_is_rendered_is_shown_with_values_only(command: Command, option: tuple[str, ...]) -> None:
    finished = command.run("template", "check", str(command.template), *option)
    assert (finished.returncode, "accepted is that with --values FILE" in finished.stderr) == (1, True)
