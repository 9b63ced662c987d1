from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.template import Template, find_template, to_kebab, to_pascal, to_snake

VALUES = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "docker": {"type": "boolean", "default": True}},
    "required": ["name"],
}


def write_template(directory: Path, files: dict[str, bytes | str], **definition: Any) -> Template:
    root = directory / "service"
    for path, content in files.items():
        target = root / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
    root.mkdir(exist_ok=True)
    full = {"name": "service", "version": "1.2.0", "description": "A service", "values": VALUES} | definition
    (root / "template.yaml").write_text(yaml.safe_dump(full))
    return find_template("service", templates_dir=directory)


def render(template: Template, **values: Any) -> dict[str, bytes]:
    return {file.path: file.content for file in template.render(values, settings=Settings())}


def test_renders_jinja_files_and_paths_and_copies_the_rest(tmp_path: Path) -> None:
    template = write_template(
        tmp_path,
        {
            "README.md.jinja": "# {{ name }}\n",
            "src/{{ name | snake }}/app.py.jinja": "NAME = {{ name | to_json }}",
            "raw.txt": "{{ name }}",
            "logo.bin": b"\x00\xff{{ name }}",
        },
    )
    assert render(template, name="My service") == {
        "README.md": b"# My service\n",
        "src/my_service/app.py": b'NAME = "My service"',
        "raw.txt": b"{{ name }}",
        "logo.bin": b"\x00\xff{{ name }}",
    }


def test_a_part_that_renders_to_nothing_leaves_the_file_out(tmp_path: Path) -> None:
    template = write_template(
        tmp_path, {"{{ 'Dockerfile' if docker else '' }}": "FROM x", "{% if docker %}ops{% endif %}/a": "x", "b": ""}
    )
    assert sorted(render(template, name="x")) == ["Dockerfile", "b", "ops/a"]
    assert sorted(render(template, name="x", docker=False)) == ["b"]


def test_keeps_line_endings_final_newlines_and_modes(tmp_path: Path) -> None:
    template = write_template(
        tmp_path, {"crlf.jinja": "a\r\n{{ name }}\r\n", "none.jinja": "{{ name }}", "run.sh": "x"}
    )
    (tmp_path / "service" / "run.sh").chmod(0o755)
    assert render(template, name="n") == {"crlf": b"a\r\nn\r\n", "none": b"n", "run.sh": b"x"}
    modes = {file.path: file.executable for file in template.render({"name": "n"}, settings=Settings())}
    assert modes == {"crlf": False, "none": False, "run.sh": True}


def test_values_are_never_rendered(tmp_path: Path) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ name }}", "{{ name }}.txt": ""})
    assert render(template, name="{{ 7*7 }}{% raw %}") == {"a": b"{{ 7*7 }}{% raw %}", "{{ 7*7 }}{% raw %}.txt": b""}


def test_keys_come_before_methods(tmp_path: Path) -> None:
    schema = {"type": "object", "properties": {"data": {"type": "object"}}}
    template = write_template(tmp_path, {"a.jinja": "{{ data.items }} {{ data.values }}"}, values=schema)
    assert render(template, data={"items": 1, "values": 2}) == {"a": b"1 2"}


def test_takes_plain_data_only(tmp_path: Path) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ name.read_text() }}"}, values={"type": "object"})
    with pytest.raises(TemplateError, match="takes plain data as values"):
        render(template, name=Path("/etc/passwd"))


@pytest.mark.parametrize("reference", ["file:///etc/hostname", "http://127.0.0.1:9/schema.json", "#/nowhere"])
def test_a_schema_fetches_nothing(tmp_path: Path, reference: str) -> None:
    schema = {"type": "object", "properties": {"name": {"$ref": reference}}}
    template = write_template(tmp_path, {"a": ""}, values=schema)
    with pytest.raises(TemplateError, match="leads nowhere inside the schema"):
        render(template, name="x")


def test_a_file_that_grows_over_the_limit_is_refused(tmp_path: Path) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ 'x' * (10 * 1024 * 1024 + 1) }}"})
    with pytest.raises(LimitExceededError, match="'a.jinja' became 10485761 bytes"):
        render(template, name="x")


def test_excluded_files_stay_out(tmp_path: Path) -> None:
    template = write_template(
        tmp_path, {"a.txt": "", "b.tmp": "", "c/d.tmp": "", "docs/internal/x": ""}, exclude=["*.tmp", "docs/internal"]
    )
    assert sorted(render(template, name="x")) == ["a.txt"]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ nme }}", r"'a.jinja' cannot be rendered: UndefinedError: 'nme' is undefined"),
        ("\n{{ name", r"'a.jinja', line 2: unexpected end of template"),
        ("{% include 'x' %}", "cannot be rendered: TypeError: no loader"),
        ("{{ ''.__class__.__mro__ }}", "cannot be rendered: SecurityError"),
        ("{{ name.__class__ }}", "cannot be rendered: SecurityError"),
        ("{{ cycler.__init__.__globals__ }}", "cannot be rendered: SecurityError"),
        ("{{ ''|attr('__class__') }}", "cannot be rendered: SecurityError"),
        ("{{ '{0.__class__}'.format(name) }}", "cannot be rendered: SecurityError"),
        ("{{ 1 / 0 }}", "cannot be rendered: ZeroDivisionError"),
        ("{% for i in range(10**9) %}{% endfor %}", "cannot be rendered: OverflowError"),
    ],
)
def test_a_file_that_cannot_be_rendered_is_named(tmp_path: Path, source: str, message: str) -> None:
    template = write_template(tmp_path, {"a.jinja": source})
    with pytest.raises(TemplateError, match=message):
        render(template, name="x")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "values: 'name' is a required property"),
        ({"name": 1}, "name: 1 is not of type 'string'"),
        ({"name": "x", "docker": "yes"}, "docker: 'yes' is not of type 'boolean'"),
    ],
)
def test_values_that_the_schema_refuses_are_named(tmp_path: Path, values: dict[str, Any], message: str) -> None:
    template = write_template(tmp_path, {"a": ""})
    with pytest.raises(TemplateError, match=message):
        render(template, **values)


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"name": "other"}, "name is 'other'; accepted is the directory's, 'service'"),
        ({"version": 1}, "version is 1; accepted is a string"),
        ({"hooks": ["rm -rf /"]}, r"unknown keys \['hooks'\]; accepted are"),
        ({"exclude": "*.tmp"}, r"exclude is '\*.tmp'; accepted is a list"),
        ({"values": {"type": "thing"}}, "values is no JSON Schema"),
    ],
)
def test_a_definition_that_cannot_be_used_is_named(tmp_path: Path, definition: dict[str, Any], message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        write_template(tmp_path, {"a": ""}, **definition)


@pytest.mark.parametrize("name", ["../service", "/etc", "", ".", "a/b", "service/."])
def test_a_template_is_named_by_a_plain_name(tmp_path: Path, name: str) -> None:
    write_template(tmp_path, {"a": ""})
    with pytest.raises(TemplateError, match="accepted is the name of a directory"):
        find_template(name, templates_dir=tmp_path)


def test_an_unknown_template_names_those_there_are(tmp_path: Path) -> None:
    write_template(tmp_path, {"a": ""})
    with pytest.raises(TemplateError, match=r"there is no template 'servce' in .*; there are \['service'\]"):
        find_template("servce", templates_dir=tmp_path)


@pytest.mark.parametrize("kind", ["link to a file", "link to a directory", "pipe"])
def test_refuses_links_and_pipes(tmp_path: Path, kind: str) -> None:
    template = write_template(tmp_path, {"a": ""})
    odd = tmp_path / "service" / "odd"
    if kind == "pipe":
        os.mkfifo(odd)
    else:
        odd.symlink_to("/etc/passwd" if "file" in kind else "/etc")
    with pytest.raises(TemplateError, match="'odd' is neither a file nor a directory"):
        render(template, name="x")


def test_a_large_template_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    template = write_template(tmp_path, {"a": ""})
    with (tmp_path / "service" / "a").open("wb") as file:
        file.truncate(10 * 1024 * 1024 + 1)
    with pytest.raises(LimitExceededError, match="'a' has 10485761 bytes"):
        render(template, name="x")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("My service", ("my_service", "my-service", "MyService")),
        ("HTTPServer2Go", ("http_server2_go", "http-server2-go", "HTTPServer2Go")),
        ("--media_library--", ("media_library", "media-library", "MediaLibrary")),
    ],
)
def test_spells_names(text: str, words: tuple[str, str, str]) -> None:
    assert (to_snake(text), to_kebab(text), to_pascal(text)) == words
