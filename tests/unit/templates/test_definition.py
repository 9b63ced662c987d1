from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaffolder.config import Settings
from scaffolder.errors import PermanentError, TemplateError
from scaffolder.generation.templates.native.definition import load_template
from tests.native_templates import RUN, properties, render, write_template


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), cache_dir=tmp_path / "cache")


def write_definition(directory: Path, text: str) -> Path:
    root = directory / "service"
    root.mkdir()
    (root / "template.yaml").write_text("name: service\nversion: '1'\n" + text)
    return root


# The definition


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        ("hooks: [rm]\nx: 1", 3, r"unknown keys \['hooks', 'x'\]; accepted are \['name', 'version', .*'extends'\]"),
        ("exclude: '*.tmp'", 3, r"exclude is '\*.tmp'; accepted is a list of patterns as in .gitignore"),
        ("exclude:\n - a\n - 1", 5, "exclude has 1; accepted is a pattern"),
        ("copy_without_render: {a: b}", 3, "copy_without_render is {'a': 'b'}; accepted is a list"),
        ("conditions: [a]", 3, r"conditions is \['a'\]; accepted is a mapping of pattern to Jinja expression"),
        ("conditions:\n  docker/: true", 4, "the condition of 'docker/' is True; accepted is a Jinja expression"),
        ("values: {type: thing}", 3, "values is {'type': 'thing'}; accepted is a JSON Schema of an object"),
        (
            "values:\n  type: object\n  properties:\n    a:\n      type: thing",
            7,
            "values is no JSON Schema: 'thing' is not",
        ),
        ("values:\n  properties:\n    run: {}", 5, "a value is called 'run'; accepted is another name"),
        (
            "values:\n  properties:\n    a: {default: 2031-01-01}",
            5,
            r"datetime.date\(2031, 1, 1\) is date; accepted is plain JSON data: put it in quotes",
        ),
        ("values:\n  properties:\n    on: {}", 4, "the key True is bool; accepted is text: put it in quotes"),
        ("description: [a]", 3, r"description is \['a'\]; accepted is a string"),
        ("extends: ../other", 3, "extends '../other'; accepted is the name of another template"),
        ("extends: [a, a]", 3, "extends 'a' twice; accepted is once"),
        ("extends: base", 3, r"extends 'base', which is not there; there are \[\]"),
        ("name: x", 3, "key 'name' is there twice"),
        ("a: [", 4, "is no YAML"),
        ("exclude: &a [*a]", 3, "an alias leads back to where it stands"),
        ("exclude: " + "[" * 100_000, 3, "is nested deeper than 64 levels"),
    ],
)
def test_a_definition_that_cannot_be_used_is_named_with_its_line(
    tmp_path: Path, text: str, line: int, message: str
) -> None:
    root = write_definition(tmp_path, text)
    with pytest.raises(TemplateError, match=rf"service/template.yaml:{line}: .*{message}"):
        load_template(root, directories=[tmp_path])


@pytest.mark.parametrize(
    ("definition", "message"),
    [
        ({"name": "other"}, "name is 'other'; accepted is the directory's, 'service'"),
        ({"version": 1}, "version is 1; accepted is a string"),
        ({"version": "1\n2"}, r"version is '1\\n2'; accepted is a string"),
        ({"version": None}, "version is None; accepted is a string"),
    ],
)
def test_name_and_version_are_checked(tmp_path: Path, definition: dict[str, Any], message: str) -> None:
    write_template(tmp_path, {})
    text = "\n".join(f"{key}: {value!r}" for key, value in ({"name": "service", "version": "1"} | definition).items())
    (tmp_path / "service" / "template.yaml").write_text(text.replace("None", "null").replace(r"'1\n2'", r'"1\n2"'))
    with pytest.raises(TemplateError, match=message):
        load_template(tmp_path / "service", directories=[tmp_path])


def test_every_problem_is_named_at_once(tmp_path: Path) -> None:
    root = write_definition(tmp_path, "exclude: x\nconditions: y\nextends: 1\nvalues: z")
    with pytest.raises(TemplateError) as caught:
        load_template(root, directories=[tmp_path])
    lines = str(caught.value).splitlines()
    assert [line.split(":")[1] for line in lines] == ["3", "4", "5", "6"]


def test_elsewhere_a_template_has_a_name_of_its_own(tmp_path: Path) -> None:
    write_template(tmp_path, {})
    (tmp_path / "service").rename(tmp_path / "checkout-1f2e")
    template = load_template(tmp_path / "checkout-1f2e", directories=[tmp_path / "elsewhere"])
    assert (template.name, template.version, template.description) == ("service", "1.2.0", "A service")
    assert template.origin == "template:service@1.2.0"


# Values and defaults


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "template 'service' refuses its values: values: 'name' is a required property"),
        ({"name": 1}, "name: 1 is not of type 'string'"),
        ({"name": 1, "docker": "yes"}, "docker: 'yes' is not of type 'boolean'; name: 1 is not of type 'string'"),
        ({"name": "x", "slug": "A B"}, "slug: 'A B' does not match"),
        ({"name": "?"}, "slug: '' does not match"),
        ({"name": "x", "run": {}}, "'run' is what the run says of itself; accepted is another name"),
    ],
)
def test_values_that_the_schema_refuses_are_named(
    tmp_path: Path, settings: Settings, values: dict[str, Any], message: str
) -> None:
    schema = properties(
        name={"type": "string"},
        docker={"type": "boolean", "default": True},
        slug={"pattern": "^[a-z]+$", "default": "{{ name | slug }}"},
    )
    template = write_template(tmp_path, {"a": ""}, values=schema | {"required": ["name"]})
    with pytest.raises(TemplateError, match=message):
        render(template, settings, **values)


@pytest.mark.parametrize("value", [Path("/etc/passwd"), {1, 2}, b"x", object()])
def test_takes_plain_data_only(tmp_path: Path, settings: Settings, value: Any) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ name.read_text() }}"})
    with pytest.raises(TemplateError, match="takes plain data as values"):
        render(template, settings, name=value)


@pytest.mark.parametrize("reference", ["file:///etc/hostname", "http://127.0.0.1:9/schema.json", "#/nowhere"])
def test_a_schema_fetches_nothing(tmp_path: Path, settings: Settings, reference: str) -> None:
    template = write_template(tmp_path, {"a": ""}, values=properties(name={"$ref": reference}))
    with pytest.raises(TemplateError, match="leads nowhere inside the schema"):
        render(template, settings, name="x")


DEFAULTS = properties(
    name={"type": "string"},
    package="{{ name | snake }}",
    port={"type": "integer", "default": "{{ 8000 + offset }}"},
    offset=1,
    module="{{ package }}.app",
    year="{{ run.year }}",
    tags=["{{ name }}", {"x": "{{ [port] }}"}],
    literal="{ name }",
)


def test_defaults_are_rendered_from_the_values_before_them(tmp_path: Path, settings: Settings) -> None:
    template = write_template(
        tmp_path, {"a.jinja": "{{ [package, port, module, year, tags, literal] | to_json }}"}, values=DEFAULTS
    )
    assert render(template, settings, name="My app")["a"] == (
        b'["my_app", 8001, "my_app.app", 2031, ["My app", {"x": [8001]}], "{ name }"]'
    )
    assert render(template, settings, name="x", package="{{ name }}", port=1)["a"] == (
        b'["{{ name }}", 1, "{{ name }}.app", 2031, ["x", {"x": [1]}], "{ name }"]'
    )


@pytest.mark.parametrize(
    ("default", "message"),
    [
        ("{{ later }}", "the default of 'a' cannot be rendered: UndefinedError: 'later' is undefined"),
        ("{{ ''.__class__ }}", "the default of 'a' cannot be rendered: SecurityError"),
        ("{{ 1 + }}", "the default of 'a' unexpected"),
        (
            "{{ range(3) }}",
            "the default of 'a' cannot be rendered: TypeError: Object of type range is not JSON serializable",
        ),
    ],
)
def test_a_default_that_cannot_be_rendered_is_named_with_its_line(
    tmp_path: Path, settings: Settings, default: str, message: str
) -> None:
    root = write_definition(
        tmp_path,
        f"values:\n  properties:\n    a:\n      default: \"{default}\"\n    later: {{default: '{{{{ 1 }}}}'}}\n",
    )
    with pytest.raises(TemplateError, match=f"template.yaml:6: {message}"):
        render(load_template(root, directories=[tmp_path]), settings)


def test_values_are_checked_before_defaults_are_rendered(tmp_path: Path, settings: Settings) -> None:
    schema = properties(name={"type": "string"}, slug="{{ name | slug }}") | {"required": ["name", "slug"]}
    template = write_template(tmp_path, {"a": ""}, values=schema)
    with pytest.raises(TemplateError, match="refuses its values: values: 'name' is a required property$"):
        render(template, settings)
    assert render(template, settings, name="x") == {"a": b""}


# Which files


FILES = {
    "a.txt": "",
    "b.tmp": "",
    "c/d.tmp": "",
    "docs/internal/x": "",
    "docs/x.md.jinja": "{{ 1 }}",
    "sub/docs/y": "",
    "{{ 'keep' }}.tmp": "",
}


@pytest.mark.parametrize(
    ("exclude", "kept"),
    [
        (["*.tmp", "docs/internal"], ["a.txt", "docs/x.md", "sub/docs/y"]),
        (["*.tmp", "!{{ 'keep' }}.tmp", "docs/"], ["a.txt", "keep.tmp"]),
        (["/docs/*"], ["a.txt", "b.tmp", "c/d.tmp", "keep.tmp", "sub/docs/y"]),
        (["**/y", "*.jinja", "# comment"], ["a.txt", "b.tmp", "c/d.tmp", "docs/internal/x", "keep.tmp"]),
        (["*"], []),
    ],
)
def test_patterns_are_those_of_gitignore(
    tmp_path: Path, settings: Settings, exclude: list[str], kept: list[str]
) -> None:
    assert sorted(render(write_template(tmp_path, FILES, exclude=exclude), settings)) == kept


@pytest.mark.parametrize(
    ("values", "kept"),
    [
        ({"docker": True, "ci": "github"}, [".github/ci.yml", "Dockerfile", "README", "deploy/Dockerfile"]),
        ({"docker": False, "ci": "github"}, [".github/ci.yml", "README"]),
        ({"docker": True, "ci": "none"}, ["Dockerfile", "README"]),
    ],
)
def test_a_file_stays_where_all_its_conditions_are_true(
    tmp_path: Path, settings: Settings, values: dict[str, Any], kept: list[str]
) -> None:
    template = write_template(
        tmp_path,
        {"Dockerfile.jinja": "{{ ci }}", ".github/ci.yml": "", "README": "", "deploy/Dockerfile": ""},
        conditions={"Dockerfile*": "docker", ".github/": "ci == 'github'", "deploy/": "ci != 'none' and run.user"},
    )
    assert sorted(render(template, settings, **values)) == kept


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("nope", "the condition of 'a' cannot be rendered: UndefinedError: 'nope' is undefined"),
        ("1 +", "the condition of 'a' unexpected"),
        ("{{ name }}", "the condition of 'a' "),
        ("name.__class__", "the condition of 'a' cannot be rendered: SecurityError"),
    ],
)
def test_a_condition_that_cannot_be_computed_is_named_with_its_line(
    tmp_path: Path, settings: Settings, expression: str, message: str
) -> None:
    root = write_definition(tmp_path, f"conditions:\n  b: 'true'\n  a: \"{expression}\"\n")
    with pytest.raises(TemplateError, match=f"template.yaml:5: {message}"):
        render(load_template(root, directories=[tmp_path]), settings, name="x")


def test_a_pattern_that_is_none_is_named(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a": ""}, exclude=["a", "!"])
    with pytest.raises(TemplateError, match="template.yaml:4: exclude has a pattern that is none"):
        render(template, settings)


def test_copies_without_rendering_but_into_templated_directories(tmp_path: Path, settings: Settings) -> None:
    template = write_template(
        tmp_path,
        {
            "{{ name }}/chart/values.yaml.jinja": "{{ .Values.x }}",
            "{{ name }}/{{ name }}.tpl": "{{ include }}",
            "{{ name }}/b.jinja": "{{ name }}",
        },
        copy_without_render=["chart/", "*.tpl", "**/chart/**"],
    )
    assert render(template, settings, name="x") == {
        "x/chart/values.yaml.jinja": b"{{ .Values.x }}",
        "x/x.tpl": b"{{ include }}",
        "x/b": b"x",
    }


# Extending


def test_own_files_take_the_place_of_those_of_the_bases(tmp_path: Path, settings: Settings) -> None:
    write_template(tmp_path, {"a.jinja": "base {{ x }}", "b": "base", "{{ x }}.txt": "base"}, name="base", version="1")
    template = write_template(
        tmp_path, {"a": "own", "one.txt.jinja": "own {{ x }}", "c": "own"}, extends="base", version="2"
    )
    files = template.render({"x": "one"}, run=RUN, trust=False, settings=settings)
    assert {file.path: (file.content, file.origin) for file in files} == {
        "a": (b"own", "template:service@2"),
        "b": (b"base", "template:base@1"),
        "c": (b"own", "template:service@2"),
        "one.txt": (b"own one", "template:service@2"),
    }


def test_schemas_are_merged(tmp_path: Path, settings: Settings) -> None:
    write_template(
        tmp_path,
        {"a.jinja": "{{ [name, port, word] | to_json }}"},
        name="base",
        values={
            "type": "object",
            "additionalProperties": False,
            "required": ["name"],
            "properties": {"name": {"$ref": "#/$defs/word"}, "port": {"default": 1}, "word": {"default": "{{ name }}"}},
            "$defs": {"word": {"type": "string"}},
        },
    )
    template = write_template(
        tmp_path,
        {},
        extends=["base"],
        values={"properties": {"port": {"default": 2}, "more": {}}, "required": ["more"]},
    )
    assert render(template, settings, name="x", more=1, other=1)["a"] == b'["x", 2, "x"]'
    with pytest.raises(TemplateError, match="name: 1 is not of type 'string'; values: 'more' is a required property"):
        render(template, settings, name=1)


def test_each_template_rules_its_own_files_and_those_it_inherits(tmp_path: Path, settings: Settings) -> None:
    write_template(
        tmp_path,
        {"a.tmp": "", "b.md": "", "c.txt": "", "d.raw.jinja": "{{ 1 }}"},
        name="base",
        exclude=["*.tmp"],
        copy_without_render=["*.raw.jinja"],
    )
    template = write_template(
        tmp_path,
        {"own.tmp": "", "own.md": "", "own.raw.jinja": "{{ 1 }}"},
        extends="base",
        exclude=["*.md"],
        conditions={"c.txt": "false"},
    )
    assert render(template, settings) == {"d.raw.jinja": b"{{ 1 }}", "own.tmp": b"", "own.raw": b"1"}


def test_a_template_that_is_extended_twice_comes_once(tmp_path: Path, settings: Settings) -> None:
    write_template(tmp_path, {"a": "root", "b": "root"}, name="root")
    write_template(tmp_path, {"a": "left", "c": "left"}, name="left", extends="root")
    write_template(tmp_path, {"c": "right"}, name="right", extends="root")
    template = write_template(tmp_path, {}, extends=["left", "right"])
    assert [one.name for one in template.lineage] == ["root", "left", "right", "service"]
    assert render(template, settings) == {"a": b"left", "b": b"root", "c": b"right"}


def test_bases_are_siblings_first_and_otherwise_in_the_templates_directory(tmp_path: Path, settings: Settings) -> None:
    for name in ("base", "other"):
        write_template(tmp_path / "templates", {name: "templates"}, name=name)
    write_template(tmp_path / "siblings", {"base": "siblings"}, name="base")
    write_template(tmp_path / "siblings", {}, name="service")
    definition = tmp_path / "siblings" / "service" / "template.yaml"
    definition.write_text(definition.read_text() + "extends: [base, other]\n")
    template = load_template(definition.parent, directories=[tmp_path / "templates"])
    assert render(template, settings) == {"base": b"siblings", "other": b"templates"}


def test_bases_are_those_of_the_first_directory_that_has_them(tmp_path: Path, settings: Settings) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    for name in ("base", "other"):
        write_template(shipped, {name: "shipped"}, name=name)
    write_template(shipped, {}, extends=["base", "other"])
    write_template(own, {"base": "own"}, name="base")
    template = load_template(shipped / "service", directories=[own, shipped])
    assert render(template, settings) == {"base": b"own", "other": b"shipped"}


def test_a_template_extends_the_one_whose_place_it_takes(tmp_path: Path, settings: Settings) -> None:
    own, shipped = tmp_path / "own", tmp_path / "shipped"
    write_template(shipped, {"a": "shipped", "b": "shipped"}, version="1")
    write_template(own, {"a": "own"}, version="2")
    definition = own / "service" / "template.yaml"
    definition.write_text(definition.read_text() + "extends: service\n")
    template = load_template(own / "service", directories=[own, shipped])
    assert render(template, settings) == {"a": b"own", "b": b"shipped"}
    assert [one.version for one in template.lineage] == ["1", "2"]


def test_unknown_bases_and_circles_are_named(tmp_path: Path) -> None:
    write_template(tmp_path, {}, name="a")
    write_template(tmp_path, {}, name="b", extends="a")
    with pytest.raises(
        TemplateError, match=r"c/template.yaml:4: extends 'nope', which is not there; there are \['a', 'b'\]"
    ):
        write_template(tmp_path, {}, name="c", extends="nope")
    with pytest.raises(
        TemplateError, match="b/template.yaml:4: templates extend each other in a circle: 'a' -> 'b' -> 'a'"
    ):
        write_template(tmp_path, {}, name="a", extends=["b"])
    with pytest.raises(TemplateError, match="templates extend each other in a circle: 'd' -> 'd'"):
        write_template(tmp_path, {}, name="d", extends="d")


# Including


def test_files_include_others_of_the_template_and_of_those_it_extends(tmp_path: Path, settings: Settings) -> None:
    write_template(
        tmp_path,
        {
            "macros.jinja": "{% macro hi() %}hi from {{ run.user }}{% endmacro %}",
            "base.jinja": "[{% block b %}base{% endblock %}]\r\n",
        },
        name="base",
        exclude=["macros.jinja"],
    )
    template = write_template(
        tmp_path,
        {
            "a.jinja": "{% from 'macros.jinja' import hi %}{{ hi() }} {% include 'parts/p.txt' %}",
            "base.jinja": "{% extends 'base.jinja' %}{% block b %}own {{ super() }}{% endblock %}",
            "dynamic.jinja": "{% include ['nope', 'parts/' ~ name] %}{% include 'nope' ignore missing %}",
            "parts/p.txt": "part of {{ name }}\r\n",
        },
        extends="base",
        exclude=["parts/"],
    )
    assert render(template, settings, name="p.txt") == {
        "a": b"hi from ada part of p.txt\r\n",
        "base": b"[own base]\r\n",
        "dynamic": b"part of p.txt\r\n",
    }


@pytest.mark.parametrize("path", ["../secret", "/etc/passwd", "parts/../../secret", "service/../a"])
def test_includes_never_lead_out_of_the_template(tmp_path: Path, settings: Settings, path: str) -> None:
    (tmp_path / "secret").write_text("s3cret")
    template = write_template(tmp_path, {"a.jinja": "{% include name ignore missing %}"})
    with pytest.raises(TemplateError, match="accepted is a path from the template's root"):
        render(template, settings, name=path)


@pytest.mark.parametrize("kind", ["link", "binary", "syntax", "error", "large"])
def test_an_include_that_cannot_be_used_is_named(tmp_path: Path, settings: Settings, kind: str) -> None:
    template = write_template(
        tmp_path,
        {
            "a.jinja": "{{ 1 }}\n{% include name %}",
            "binary": b"\xff",
            "syntax": "\n{% if %}",
            "error": "\n\n{{ nope }}",
        },
        exclude=["*", "!a.jinja"],
    )
    (template.directory / "link").symlink_to("/etc/passwd")
    with (template.directory / "large").open("wb") as file:
        file.truncate(settings.max_file_size + 1)
    message = {
        "link": "'link' is neither a file nor a directory",
        "binary": "'a.jinja', line 2: includes 'binary', which is not UTF-8",
        "syntax": r"'syntax', line 2: Expected an expression, got 'end of statement block' \(in 'a.jinja'\)",
        "error": r"'error', line 3: cannot be rendered: UndefinedError: 'nope' is undefined \(in 'a.jinja'\)",
        "large": "'large' has 10485761 bytes, accepted are",
    }[kind]
    with pytest.raises(PermanentError, match=message):
        render(template, settings, name=kind)


def test_a_file_without_a_value_may_be_included_by_none(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "{% include 'template.yaml' %}"})
    with pytest.raises(TemplateError, match="'a.jinja', line 1: includes 'template.yaml', which is not there"):
        render(template, settings)


def test_an_include_of_several_that_are_missing_names_them_all(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "{% include ['x', 'y'] %}"})
    with pytest.raises(TemplateError, match="includes 'x' or 'y', which is not there"):
        render(template, settings)
