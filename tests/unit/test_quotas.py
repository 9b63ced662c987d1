from __future__ import annotations

import json
from typing import Any

import pytest

from scaffolder.errors import SettingsError
from scaffolder.records.quotas import Quota, find_quota, load_quotas
from tests.conftest import CHECKOUT

DOCUMENTATION = (CHECKOUT / "docs" / "quotas.md").read_text()


def load(*entries: Any) -> Any:
    return load_quotas(json.dumps(list(entries)))


def test_there_are_none_by_default() -> None:
    assert load_quotas("[]") == ()


def test_the_first_entry_that_matches_decides() -> None:
    quotas = load({"project": "team-a", "count": 1}, {"project": "team-*", "size": 2}, {"project": "*", "count": 3})
    assert [find_quota(quotas, slug) for slug in ("team-a", "team-b", "team")] == list(quotas)
    assert find_quota(quotas[:2], "team") is None
    assert quotas[1] == Quota(project="team-*", count=None, size=2)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "SCAFFOLDER_QUOTAS is '', which is no JSON; accepted is [{"),
        ("[{'project'}]", "SCAFFOLDER_QUOTAS is \"[{'project'}]\", which is no JSON; accepted is [{"),
        ("[" * 100_000, f"SCAFFOLDER_QUOTAS is {'[' * 100!r}, which is no JSON; accepted is [{{"),
        ("{}", "SCAFFOLDER_QUOTAS is '{}'; accepted is a list such as [{"),
        ("null", "SCAFFOLDER_QUOTAS is 'null'; accepted is a list such as [{"),
        ("[1]", "SCAFFOLDER_QUOTAS: entry number 1: it is 1; accepted is an object such as {"),
    ],
)
def test_what_is_no_list_of_quotas_is_refused(text: str, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load_quotas(text)
    assert str(caught.value).startswith(message)


SLUG = "accepted is a project's slug, where * stands for any text"
NUMBER = "accepted is a whole number from 1"


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"count": 1}, f"project is missing; {SLUG}"),
        ({"project": 5, "count": 1}, f"project is 5; {SLUG}"),
        ({"project": "", "count": 1}, f"project is ''; {SLUG}"),
        ({"project": "Team", "count": 1}, f"project is 'Team'; {SLUG}"),
        ({"project": "team-?", "count": 1}, f"project is 'team-?'; {SLUG}"),
        ({"project": "team\n", "count": 1}, f"project is 'team\\n'; {SLUG}"),
        ({"project": "team"}, "count and size are missing; accepted is at least one of them"),
        ({"project": "team", "count": 0}, f"count is 0; {NUMBER}"),
        ({"project": "team", "count": -1}, f"count is -1; {NUMBER}"),
        ({"project": "team", "count": True}, f"count is True; {NUMBER}"),
        ({"project": "team", "count": "3"}, f"count is '3'; {NUMBER}"),
        ({"project": "team", "count": None, "size": 1}, f"count is None; {NUMBER}"),
        ({"project": "team", "size": 1.5}, f"size is 1.5; {NUMBER}"),
        ({"project": "team", "size": [1]}, f"size is [1]; {NUMBER}"),
        (
            {"project": "team", "count": 1, "sizes": 1},
            "unknown key 'sizes'; accepted are ['project', 'count', 'size']",
        ),
    ],
)
def test_an_entry_that_cannot_be_used_is_refused_with_what_is_accepted(entry: Any, message: str) -> None:
    with pytest.raises(SettingsError) as caught:
        load({"project": "fine", "count": 1}, entry)
    assert str(caught.value) == f"SCAFFOLDER_QUOTAS: entry number 2: {message}"


def test_every_problem_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load({"count": 0}, {"project": "x", "size": 0})
    assert [sentence.partition(";")[0] for sentence in str(caught.value).split("SCAFFOLDER_QUOTAS: ")[1:]] == [
        "entry number 1: project is missing",
        "entry number 1: count is 0",
        "entry number 2: size is 0",
    ]


def test_the_documented_quotas_are_accepted() -> None:
    [example] = [part.partition("\n```")[0] for part in DOCUMENTATION.split("```json\n")[1:]]
    assert [quota.project for quota in load_quotas(example)] == ["payments", "team-*", "*"]
