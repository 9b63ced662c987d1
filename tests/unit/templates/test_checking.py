from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from scaffolder.config import Settings
from scaffolder.generation.templates.native import checking
from scaffolder.generation.templates.native.checking import check_template
from scaffolder.generation.templates.native.definition import load_template
from tests.native_templates import RUN, properties, write_template


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return replace(Settings(), cache_dir=tmp_path / "cache")


def check(directory: Path, settings: Settings, files: dict[str, bytes | str], **definition: Any) -> list[str]:
    """Return the problems, with files relative to the templates directory."""
    report = check_template(write_template(directory, files, **definition), values=None, run=RUN, settings=settings)
    assert report.files is None
    return [str(problem).removeprefix(f"{directory}/") for problem in report.problems]


X = properties(x={})


@pytest.mark.parametrize(
    ("files", "definition", "problems"),
    [
        ({"a.jinja": "{{ x }}"}, {"values": X}, []),
        ({"a.jinja": "\n{{ y }}{{ y }}"}, {}, ["service/a.jinja:2: uses 'y', which is no value that is known there; there are []"]),
        ({"a.jinja": "{{ y }}{{ x }}"}, {"values": X}, ["service/a.jinja:1: uses 'y', which is no value that is known there; there are ['x']"]),
        ({"a.jinja": "{{ run.id }}{{ range(3) }}{% for i in [1] %}{{ i }}{{ loop.index }}{% endfor %}{% set z = 1 %}{{ z }}"}, {}, []),
        ({"a.jinja": "{% if y is defined %}{{ y }}{% endif %}{{ z | default('') }}"}, {}, []),
        ({"{{ y }}/a": ""}, {}, ["service/{{ y }}/a: its path uses 'y', which is no value that is known there; there are []"]),
        ({"{{ y": ""}, {}, ["service/{{ y: its path unexpected end of template, expected 'end of print statement'."]),
        ({"a": ""}, {"conditions": {"a": "y"}}, ["service/template.yaml:5: the condition of 'a' uses 'y', which is no value that is known there; there are []"]),
        ({"a": ""}, {"conditions": {"a": "y +"}}, ["service/template.yaml:5: the condition of 'a' unexpected 'end of print statement'"]),
        ({"a": ""}, {"conditions": {"a": "1 == 2"}}, ["service/template.yaml:5: the condition of 'a' is never true: its files are always left out"]),
        ({"a": ""}, {"conditions": {"b": "true"}}, ["service/template.yaml:5: 'b' matches no file"]),
        ({"a": ""}, {"copy_without_render": ["*.html"]}, ["service/template.yaml:4: '*.html' matches no file"]),
        ({"a": ""}, {"exclude": ["!"]}, ["service/template.yaml:4: exclude has a pattern that is none: Invalid git pattern: '!'"]),
        ({"a.html.jinja": "{{ .Values }}"}, {"copy_without_render": ["*.html.jinja"]}, []),
        ({"a": ""}, {"values": X}, ["service/template.yaml:7: the value 'x' is never used"]),
        ({"{{ x }}": ""}, {"values": X}, []),
        ({"a": ""}, {"values": X, "conditions": {"a": "x"}}, []),
        (
            {"a.jinja": "{{ x }}"},
            {"values": properties(a="{{ b }}", b="{{ c }}", c=1, x="{{ a }}{{ nope }}")},
            [
                "service/template.yaml:8: the default of 'a' uses 'b', which is no value that is known there; there are ['c']",
                "service/template.yaml:14: the default of 'x' uses 'nope', which is no value that is known there; there are ['a', 'b', 'c']",
            ],
        ),
        ({"a.jinja": "{{ x }}"}, {"values": properties(x={"type": "string", "default": 1})}, ["service/template.yaml:9: the value 'x' refuses its own default: 1 is not of type 'string'"]),
        ({"a.jinja": "{{ 1 | nope }}\n{% if 1 is odder %}{% endif %}"}, {}, ["service/a.jinja:1: uses the filter 'nope', which does not exist", "service/a.jinja:2: uses the test 'odder', which does not exist"]),
        ({"a.jinja": "{{ [1] | random }}\n{{ lipsum() }}"}, {}, ["service/a.jinja:1: uses 'random', which is not accepted: it gives something else each time", "service/a.jinja:2: uses 'lipsum', which is not accepted: it gives something else each time"]),
        ({"a.jinja": "\n{% if %}", "b.jinja": "{{ x", "c.jinja": b"\xff{{ y }}"}, {}, ["service/a.jinja:2: Expected an expression, got 'end of statement block'", "service/b.jinja:1: unexpected end of template, expected 'end of print statement'.", "service/c.jinja: is not UTF-8, or too large to be a template"]),
        ({"a.jinja": "{% include 'b' %}\n{% include '../b' %}{% include 'c' ignore missing %}{% include x %}"}, {"values": X}, ["service/a.jinja:1: includes 'b', which is not there", "service/a.jinja:2: includes '../b', which is not there"]),
        ({"a.jinja": "", "b.jinja": "{{ y }}"}, {"exclude": ["b.jinja"]}, ["service/b.jinja: is excluded, and no file includes it"]),
        ({"a.jinja": "{% include 'b.jinja' %}", "b.jinja": "{{ y }}{{ x }}"}, {"exclude": ["b.jinja"], "values": X}, ["service/b.jinja:1: uses 'y', which is no value that is known there; there are ['x']"]),
        ({"a.jinja": "{% set y = 1 %}{% include 'b.jinja' %}", "b.jinja": "{% include 'c.txt' %}", "c.txt": "{{ y }}"}, {"exclude": ["b.jinja", "c.txt"]}, []),
        ({"a.jinja": "{% include x %}", "b.jinja": ""}, {"exclude": ["b.jinja"], "values": X}, []),
        (
            {"a.jinja": "{% import 'm.jinja' as m %}{{ m.f(x) }}", "m.jinja": "{% macro f(y) %}\n{{ x }}{{ y }}{{ run.id }}{% endmacro %}"},
            {"exclude": ["m.jinja"], "values": X},
            ["service/m.jinja:2: uses 'x', which a file that is imported without context does not know; import it 'with context', or take it as an argument"],
        ),
        ({"a.jinja": "{% import 'm.jinja' as m with context %}", "m.jinja": "{{ x }}"}, {"exclude": ["m.jinja"], "values": X}, []),
        ({"a": "", "a.jinja": "", "b": "", "b.jinja": ""}, {"conditions": {"b": "run.user"}}, ["service/a.jinja: becomes 'a', as does 'a'"]),
    ],
)  # fmt: skip
def test_finds(
    tmp_path: Path, settings: Settings, files: dict[str, bytes | str], definition: dict[str, Any], problems: list[str]
) -> None:
    assert check(tmp_path, settings, files, **definition) == problems


def test_knows_what_a_template_has_from_those_it_extends(tmp_path: Path, settings: Settings) -> None:
    write_template(tmp_path, {"a.jinja": "{{ x }}{{ y }}", "same": ""}, name="base", values=X)
    write_template(tmp_path, {"same": ""}, name="other")
    assert check(
        tmp_path, settings, {"b.jinja": "{{ x }}", "a.jinja": "{% extends 'a.jinja' %}"}, extends=["base", "other"]
    ) == [
        "base/a.jinja:1: uses 'y', which is no value that is known there; there are ['x']",
        "base/same: is never used: another template that is extended has the path too",
    ]


def test_gives_the_files_for_values(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"{{ x }}.jinja": "{{ x }}", "b": "b"}, values=X)
    report = check_template(template, values={"x": "a"}, run=RUN, settings=settings)
    assert report.problems == ()
    assert [(file.path, file.content) for file in report.files or ()] == [("a", b"a"), ("b", b"b")]


def test_what_fails_for_values_is_a_problem_beside_the_others(tmp_path: Path, settings: Settings) -> None:
    template = write_template(tmp_path, {"a.jinja": "{{ x.y }}{{ 1 | nope }}"}, values=X)
    report = check_template(template, values={"x": {}}, run=RUN, settings=settings)
    assert report.files is None
    assert [(problem.line, problem.message) for problem in report.problems] == [
        (0, "template 'service': 'a.jinja', line 1: No filter named 'nope'."),
        (1, "uses the filter 'nope', which does not exist"),
    ]


def test_checking_is_limited_too(tmp_path: Path, settings: Settings) -> None:
    small = replace(settings, render_cpu_seconds=1)
    (problem,) = check(tmp_path, small, {"a": ""}, conditions={"a": "9 ** (9 ** 9) > 1"})
    assert "checking template 'service' took more than 1 seconds of processor time" in problem


@pytest.mark.parametrize("answer", ["", "{", "[1]", "[[9, null, null, null, 'x']]", '[[0, 1, null, null, "x"]]'])
def test_an_answer_that_is_none_is_a_problem(
    tmp_path: Path, settings: Settings, monkeypatch: pytest.MonkeyPatch, answer: str
) -> None:
    (tmp_path / "hostile_checker.py").write_text(f"def main():\n    print({answer!r}, end='')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(checking, "_PROGRAM", "hostile_checker")
    (problem,) = check(tmp_path, settings, {"a": ""})
    assert "checking template 'service' gave what cannot be used" in problem


def test_the_templates_that_ship_have_no_problems(settings: Settings) -> None:
    definitions = sorted(settings.templates_dir.glob("*/template.yaml"))
    assert definitions
    for definition in definitions:
        template = load_template(definition.parent, directories=[settings.templates_dir])
        assert check_template(template, values=None, run=RUN, settings=settings).problems == ()
