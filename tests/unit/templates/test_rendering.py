from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as limits
from hypothesis import strategies as st

from scaffolder.config import Settings
from scaffolder.errors import LimitExceededError, TemplateError
from scaffolder.generation.templates.native.source_files import SourceFiles
from tests.native_templates import RUN, render, write_template

VALUES = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "docker": {"type": "boolean", "default": True}},
    "required": ["name"],
}


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return replace(Settings(), cache_dir=tmp_path_factory.mktemp("cache"))


def render_source(directory: Path, settings: Settings, source: bytes | str, **values: Any) -> bytes:
    template = write_template(directory, {"a.jinja": source}, values={})
    return render(template, settings, **values)["a"]


def test_renders_jinja_files_and_paths_and_copies_the_rest(tmp_path: Path, settings: Settings) -> None:
    template = write_template(
        tmp_path,
        {
            "README.md.jinja": "# {{ name }}\n",
            "src/{{ name | snake }}/app.py.jinja": "NAME = {{ name | to_json }}",
            "raw.txt": "{{ name }}",
            "logo.bin": b"\x00\xff{{ name }}",
            "plain.jinja": "nothing to do",
        },
        values=VALUES,
    )
    assert render(template, settings, name="My service") == {
        "README.md": b"# My service\n",
        "src/my_service/app.py": b'NAME = "My service"',
        "raw.txt": b"{{ name }}",
        "logo.bin": b"\x00\xff{{ name }}",
        "plain": b"nothing to do",
    }


def test_files_say_what_they_are(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"b.sh.jinja": "{{ 1 }}", "a.sh": "x", "c": "x"})
    for name in ("a.sh", "b.sh.jinja"):
        (template.directory / name).chmod(0o755)
    files = template.render({}, run=RUN, trust=False, settings=settings)
    assert [(file.path, file.executable, file.origin) for file in files] == [
        ("a.sh", True, "template:service@1.2.0"),
        ("b.sh", True, "template:service@1.2.0"),
        ("c", False, "template:service@1.2.0"),
    ]


def test_a_part_that_renders_to_nothing_leaves_the_file_out(tmp_path: Path, settings: Settings) -> None:
    template = write_template(
        tmp_path,
        {"{{ 'Dockerfile' if docker else '' }}": "FROM x", "{% if docker %}ops{% endif %}/a": "x", "b": ""},
        values=VALUES,
    )
    assert sorted(render(template, settings, name="x")) == ["Dockerfile", "b", "ops/a"]
    assert sorted(render(template, settings, name="x", docker=False)) == ["b"]


def test_values_are_never_rendered(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ name }}", "{{ name }}.txt": ""}, values=VALUES)
    assert render(template, settings, name="{{ 7*7 }}{% raw %}") == {
        "a": b"{{ 7*7 }}{% raw %}",
        "{{ 7*7 }}{% raw %}.txt": b"",
    }


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("{{ data.items }} {{ data.values }}", b"1 2"),
        ("{{ run.id }} {{ run.at | year }} {{ run.year }}", b"manual__1 2031 2031"),
        ("{% macro m() %}{{ run.user }}{% endmacro %}{{ m() }}", b"ada"),
        ("{{ data | list | join('-') }}", b"items-values"),
        ("{{ 'a\nb' | indent(2) }}", b"a\n  b"),
        ("{{ data.keys() | list }}", b"['items', 'values']"),
    ],
)
def test_renders_what_templates_say(tmp_path: Path, settings: Settings, source: str, result: bytes) -> None:
    assert render_source(tmp_path, settings, source, data={"items": 1, "values": 2}) == result


@pytest.mark.parametrize(
    "source",
    [
        b"a\r\n{{ name }}\r\n",
        b"a\r\n{{ name }}\nb\r{{ name }}\r\r\n\n",
        b"{{ name }}",
        b"{{ name }}\n\n",
        b"\xef\xbb\xbf{{ name }}\r\n",
        "\x1f{{ name }}\r\n\u2000".encode(),
    ],
)
def test_keeps_every_line_ending_byte_for_byte(tmp_path: Path, settings: Settings, source: bytes) -> None:
    assert render_source(tmp_path, settings, source, name="n") == source.replace(b"{{ name }}", b"n")


@pytest.mark.parametrize(
    ("source", "result"),
    [
        (b"{% if\r\n name %}x\r\n{%- endif %}\r\ny", b"x\r\ny"),
        (b"{# a\r\n b #}x", b"x"),
        (b"{% raw %}\r\n{{ x }}\r\n{% endraw %}", b"\r\n{{ x }}\r\n"),
        (b"{{ 'a\r\nb' }}", b"a\r\nb"),
        (b"{% filter indent(2) %}a\r\nb{% endfilter %}", b"a\r\n  b"),
        (b"{% set t %}a\r\nb\r\n{% endset %}{{ t | trim }}|", b"a\r\nb|"),
        (b"{% for i in [1, 2] -%}\r\n{{ i }}\r\n{% endfor %}", b"1\r\n2\r\n"),
        (b"{% macro m() %}x\r\n{% endmacro %}{{ m() }}{{ name }}", b"x\r\na\x1f\r\nb"),
    ],
)
def test_tags_take_carriage_returns_for_space(tmp_path: Path, settings: Settings, source: bytes, result: bytes) -> None:
    assert render_source(tmp_path, settings, source, name="a\x1f\r\nb") == result


@limits(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(
        st.lists(
            st.one_of(
                st.sampled_from(
                    [
                        "\r",
                        "\n",
                        "\r\n",
                        "\x1f",
                        "\u2000",
                        "\ufeff",
                        "\x85",
                        "{{ x }}",
                        "{% if x %}",
                        "{% endif %}{# #}",
                    ]
                ),
                st.text(st.characters(exclude_categories=["Cs"], exclude_characters="{}%#")),
            )
        ).map("".join),
        max_size=20,
    )
)
def test_text_beside_the_marks_stays_as_it_is(tmp_path: Path, settings: Settings, sources: list[str]) -> None:
    """Marks are balanced by closing what a source has opened."""
    files, expected = {}, {}
    for number, source in enumerate(sources):
        opened = source.count("{% if x %}") - source.count("{% endif %}")
        full = source
        if "{% endif %}" in source:
            opened, full = 0, source.replace("{% endif %}", "").replace("{% if x %}", "")
        full += "{{ x }}" + "{% endif %}" * opened
        files[f"{number}.jinja"] = full
        for mark, text in (("{{ x }}", "\r\n-\x1e"), ("{% if x %}", ""), ("{% endif %}", ""), ("{# #}", "")):
            full = full.replace(mark, text)
        expected[str(number)] = full.encode()
    template = write_template(tmp_path / str(len(list(tmp_path.iterdir()))), files, values={})
    assert render(template, settings, x="\r\n-\x1e") == expected


@limits(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(st.characters(exclude_categories=["Cs"])),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(exclude_categories=["Cs"])), inner),
        max_leaves=10,
    )
)
def test_values_arrive_as_they_are(tmp_path: Path, settings: Settings, value: Any) -> None:
    rendered = render_source(tmp_path, settings, "{{ value | to_json }}\r\n", value=value)
    assert json.loads(rendered) == value
    assert rendered.endswith(b"\r\n")


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, settings: Settings) -> None:
    source = "{% for k in data.keys() - ['c'] %}{{ k }} {% endfor %}{{ namespace(a=1) }}{{ range(3) }}"
    data = dict.fromkeys("zyxwvutsrqponmlkjihgfedcba", 1)
    template = write_template(tmp_path, {"a.jinja": source}, values={})
    first = render(template, settings, data=data)
    assert len(first["a"].split()) > 25
    assert all(
        render(template, replace(settings, cache_dir=tmp_path / str(number)), data=data) == first for number in range(3)
    )


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ nme }}", r"template 'service': 'a.jinja', line 1: cannot be rendered: UndefinedError: 'nme' is undefined"),
        ("a\n\n{{ nme | snake }}", "'a.jinja', line 3: cannot be rendered: UndefinedError: 'nme' is undefined"),
        ("a\n\n{{ nme | to_json }}", "'a.jinja', line 3: cannot be rendered: UndefinedError: 'nme' is undefined"),
        (
            "\n{% macro m() %}\n{{ 1 / 0 }}{% endmacro %}\n\n{{ m() }}",
            "'a.jinja', line 3: cannot be rendered: ZeroDivisionError",
        ),
        ("\n{{ name", r"'a.jinja', line 2: unexpected end of template"),
        ("\r\n\r\n{% if %}", r"'a.jinja', line 3: Expected an expression"),
        ("{{ name | nope }}", "'a.jinja', line 1: No filter named 'nope'"),
        ("\n{{ ''.__class__.__mro__ }}", "line 2: cannot be rendered: SecurityError"),
        ("{{ name.__class__ }}", "cannot be rendered: SecurityError"),
        ("{{ cycler.__init__.__globals__ }}", "cannot be rendered: SecurityError"),
        ("{{ ''|attr('__class__') }}", "cannot be rendered: SecurityError"),
        ("{{ '{0.__class__}'.format(name) }}", "cannot be rendered: SecurityError"),
        ("{{ name.format.__self__.__init__ }}", "cannot be rendered: SecurityError"),
        ("{{ [name] | map(attribute='__class__') | first }}", "cannot be rendered: SecurityError"),
        ("{% set x = [] %}{{ x.append(1) }}", "cannot be rendered: SecurityError"),
        ("{{ run.update({'id': 1}) }}", "cannot be rendered: SecurityError"),
        ("{% for i in range(10**9) %}{% endfor %}", "cannot be rendered: OverflowError"),
        ("{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}", "cannot be rendered: RecursionError"),
        ("{{ [1, 2] | random }}", "'random' is not accepted: it gives something else each time"),
        ("{{ lipsum() }}", "'lipsum' is not accepted: it gives something else each time"),
        ("{{ name.upper }}", "prints a builtin_function_or_method; accepted is data: call what is a function"),
        ("{{ [name] | map('upper') }}", "prints a generator; accepted is data"),
        ("{% include name %}", "includes 'x', which is not there"),
        (b"\xff{{ name }}", "'a.jinja' is not UTF-8: 'utf-8' codec can't decode byte 0xff"),
        (b"\xff", "'a.jinja' is not UTF-8: 'utf-8' codec can't decode byte 0xff"),
        ("{{ surrogate }}", "'a.jinja' cannot be rendered: UnicodeEncodeError"),
    ],
)
def test_a_file_that_cannot_be_rendered_is_named(
    tmp_path: Path, settings: Settings, source: bytes | str, message: str
) -> None:
    with pytest.raises(TemplateError, match=message):
        render_source(tmp_path, settings, source, name="x", surrogate="\ud800")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("{{ name", r"'{{ name' its path unexpected end of template"),
        ("x/{{ nme }}/a", "its path cannot be rendered: UndefinedError: 'nme' is undefined"),
        ("{{ 'a' + slash + 'b' }}", "the part .* became 'a/b'; accepted is one part without a slash"),
        ("{{ 'a' * 10000 }}", "its path became 10000 characters long"),
    ],
)
def test_a_path_that_cannot_be_rendered_is_named(tmp_path: Path, settings: Settings, path: str, message: str) -> None:
    template = write_template(tmp_path, {path: ""}, values={})
    with pytest.raises(TemplateError, match=message):
        render(template, settings, name="x", slash="/")


def test_two_files_of_one_path_are_both_named(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "", "a": "", "{% if 1 %}c{% endif %}": "", "c": ""})
    with pytest.raises(
        TemplateError, match="'a' and 'a.jinja' both become 'a'; 'c' and '{% if 1 %}c{% endif %}' both become 'c'"
    ):
        render(template, settings)


def test_refuses_links_and_pipes_and_names_them_all(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a": ""})
    (template.directory / "file").symlink_to("/etc/passwd")
    (template.directory / "directory").symlink_to("/etc")
    (template.directory / "dangling.jinja").symlink_to("nowhere")
    os.mkfifo(template.directory / "pipe")
    with pytest.raises(
        TemplateError, match="'dangling.jinja', 'directory', 'file', 'pipe' are neither a file nor a directory"
    ):
        render(template, settings)


@pytest.mark.parametrize("swap", ["link", "pipe", "longer", "shorter", "gone"])
def test_a_file_that_changes_before_it_is_read_is_refused(tmp_path: Path, settings: Settings, swap: str) -> None:
    template = write_template(tmp_path, {"a": "secret"})
    sources = SourceFiles(template, settings=settings)
    path = template.directory / "a"
    path.unlink()
    if swap == "link":
        (tmp_path / "other").write_text("secret")
        path.symlink_to(tmp_path / "other")
    elif swap == "pipe":
        os.mkfifo(path)
    elif swap != "gone":
        path.write_text({"longer": "secrets", "shorter": "secre"}[swap])
    with pytest.raises(TemplateError, match="changed while it was read|cannot be read"):
        sources.read(0)


def test_odd_files_that_are_left_out_do_no_harm(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a": ""}, exclude=["odd*"])
    (template.directory / "odd1").symlink_to("/etc/passwd")
    os.mkfifo(template.directory / "odd2")
    with (template.directory / "odd3").open("wb") as file:
        file.truncate(settings.max_file_size + 1)
    assert list(render(template, settings)) == ["a"]


def test_large_files_are_refused_before_they_are_read(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a": "", "b.jinja": ""})
    for name in ("a", "b.jinja"):
        with (template.directory / name).open("wb") as file:
            file.truncate(10 * 1024 * 1024 + 1)
    with pytest.raises(
        LimitExceededError,
        match=r"'a' has 10485761 bytes, 'b.jinja' has 10485761 bytes, accepted are 10485760 \(SCAFFOLDER_MAX_FILE_SIZE\)",
    ):
        render(template, settings)


def test_what_cannot_be_read_is_named(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a": "x"})
    (template.directory / "template.yaml").rename(tmp_path / "template.yaml")
    (template.directory / "a").unlink()
    template.directory.rmdir()
    with pytest.raises(TemplateError, match="service/' cannot be read: No such file or directory"):
        render(template, settings)


def test_a_name_that_is_no_text_arrives_as_one_that_the_path_rules_refuse(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a": "x"})
    Path(os.fsdecode(os.fsencode(template.directory) + b"/\xff.jinja")).write_text("{{ 1 }}")
    assert render(template, settings) == {"a": b"x", "\udcff": b"1"}


def test_git_and_the_definition_are_no_files(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {".git/config": "x", "sub/.gitignore": "x", "sub/template.yaml": "x"})
    assert sorted(render(template, settings)) == ["sub/.gitignore", "sub/template.yaml"]
