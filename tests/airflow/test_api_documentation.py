"""What docs/api.md says, held against the code."""

from __future__ import annotations

from scaffolder.api.permissions import SLUG_PATTERN
from scaffolder.api.problems import list_types
from scaffolder.api.resources import STOCK_ROLES, Resource
from scaffolder.operators.assets import GENERATED_PROJECT_READY, REPOSITORY_EXPORTED
from scaffolder.workflows.definition import PROJECT_PARAM
from tests.conftest import CHECKOUT

TEXT = (CHECKOUT / "docs" / "api.md").read_text()


def test_every_problem_type_is_there_with_its_status() -> None:
    listed = [line for line in TEXT.splitlines() if line.startswith("| `")]
    wanted = {
        f"| `{kind.removeprefix('urn:scaffolder:problem:')}` | {status} | {meaning} |"
        for kind, (status, meaning) in list_types().items()
    }
    assert wanted <= set(listed)
    assert "record-not-found" in TEXT


def test_assets_and_permissions_are_named_as_they_are() -> None:
    for asset in (GENERATED_PROJECT_READY, REPOSITORY_EXPORTED):
        assert f"`{asset.name}` (`{asset.uri}`)" in TEXT
    assert all(f"*{resource.value}*" in TEXT for resource in Resource)
    assert {resource for row in STOCK_ROLES.values() for resource in row} == set(Resource)


def test_a_slug_is_the_same_everywhere() -> None:
    assert PROJECT_PARAM["pattern"] == SLUG_PATTERN
