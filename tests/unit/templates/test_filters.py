from __future__ import annotations

import json
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from scaffolder.config import Settings
from scaffolder.errors import TemplateError
from scaffolder.generation.templates.native import filters
from scaffolder.generation.templates.native.filters import FILTERS
from tests.conftest import CHECKOUT
from tests.native_templates import render, write_template

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
DATA = st.recursive(
    st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(TEXT, inner),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    return replace(Settings(), cache_dir=tmp_path_factory.mktemp("cache"))


@pytest.mark.parametrize("name", FILTERS)
def test_every_example_gives_what_it_says(tmp_path: Path, settings: Settings, name: str) -> None:
    one = FILTERS[name]
    assert f"| {name}" in one.example
    assert one.summary.endswith(".")
    assert render(write_template(tmp_path, {"a.jinja": one.example}), settings)["a"].decode() == one.result


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("My service", ("my_service", "my-service", "MyService", "myService")),
        ("HTTPServer2Go", ("http_server2_go", "http-server2-go", "HTTPServer2Go", "httpServer2Go")),
        ("--media_library--", ("media_library", "media-library", "MediaLibrary", "mediaLibrary")),
        ("Größe", ("größe", "größe", "Größe", "größe")),
        ("", ("", "", "", "")),
        (42, ("42", "42", "42", "42")),
    ],
)
def test_spells_names(text: Any, words: tuple[str, ...]) -> None:
    assert (filters.to_snake(text), filters.to_kebab(text), filters.to_pascal(text), filters.to_camel(text)) == words


@pytest.mark.parametrize(
    ("source", "result"),
    [
        ("{{ 'A b' | slug('_') }}", "a_b"),
        ("{{ {'a': [1]} | to_json(indent=1) }}", '{\n "a": [\n  1\n ]\n}'),
        ("{{ {'b': {'a': 'yes'}, 'c': none} | to_yaml }}", "b:\n  a: 'yes'\nc: null"),
        ("{{ 'ü: x' | to_yaml }}", "'ü: x'"),
        ("{{ [] | to_yaml }}", "[]"),
        ("{{ ['a', [1, 2.5]] | to_toml }}", '["a", [1, 2.5]]'),
        ("{{ {'t': {'a': 'x\"y'}} | to_toml }}", '[t]\na = "x\\"y"'),
        ("{{ [{'a b': 1, 'c': []}, {}] | to_toml }}", '[{ "a b" = 1, c = [] }, {}]'),
        ("{{ true | to_toml }} {{ '\\x7f' | to_toml }}", 'true "\\u007f"'),
        ("{{ 'aXbXc' | regex_replace('x', '-') }}", "aXbXc"),
        ("{{ 'aXbXc' | regex_replace('(?i)x', '-', 1) }}", "a-bXc"),
        ("{{ '2031-05-06' | year }} {{ run.at | year + 1 }}", "2031 2032"),
        ("{{ 'a\nb' | indent(2, first=true) }}", "  a\n  b"),
    ],
)
def test_filters_in_use(tmp_path: Path, settings: Settings, source: str, result: str) -> None:
    assert render(write_template(tmp_path, {"a.jinja": source}), settings)["a"].decode() == result


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("{{ nope | to_yaml }}", "'nope' is undefined"),
        ("{{ {'a': nope} | to_toml }}", "'nope' is undefined"),
        ("{{ nope | slug }}", "'nope' is undefined"),
        ("{{ [1] | map('abs') | to_json }}", "takes plain data, not generator"),
        ("{{ none | to_toml }}", "TypeError"),
        ("{{ 'x' | regex_replace('(', '') }}", "error: missing \\), unterminated subpattern"),
        ("{{ 'soon' | year }}", "year takes a date as ISO 8601 writes it, not 'soon'"),
    ],
)
def test_what_a_filter_does_not_take_is_named(tmp_path: Path, settings: Settings, source: str, message: str) -> None:
    with pytest.raises(TemplateError, match=message):
        render(write_template(tmp_path, {"a.jinja": source}), settings)


@pytest.mark.parametrize("name", list(filters.FILTERS))
def test_every_filter_is_documented_with_its_example(name: str) -> None:
    one = filters.FILTERS[name]
    result = one.result.replace("\n", "\\n")
    line = f"- `{name}`: {one.summary.replace('``', '`')} `{one.example}` gives `{result}`."
    assert line in (CHECKOUT / "docs" / "templates.md").read_text().splitlines()


@given(DATA)
def test_json_and_yaml_say_what_the_data_is(data: Any) -> None:
    assert json.loads(filters.to_json(data)) == data
    assert yaml.safe_load(filters.to_yaml(data)) == data


@given(st.lists(DATA) | TEXT | st.integers(-(2**63), 2**63 - 1))
def test_toml_values_say_what_the_data_is(data: Any) -> None:
    text = filters.to_toml(data)
    assert "\n" not in text
    assert tomllib.loads(f"value = {text}") == {"value": data}


@given(st.dictionaries(TEXT, DATA))
def test_toml_documents_say_what_the_data_is(data: dict[str, Any]) -> None:
    assert tomllib.loads(filters.to_toml(data)) == data
