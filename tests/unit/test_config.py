from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from scaffolder.config import Settings, environment_variable, load_settings
from scaffolder.errors import SettingsError
from tests.conftest import CHECKOUT

NUMBERS = [setting for setting in fields(Settings) if type(setting.default) is int]


def test_defaults_are_those_promised() -> None:
    settings = load_settings({})
    assert settings.generated_projects_retention_days == 30
    assert settings.max_file_size == 10 * 1024 * 1024
    assert settings.generated_projects_dir == Path("~/airflow/generated-projects").expanduser()
    assert settings.workflows_dir == CHECKOUT / "include" / "workflows"


def test_relative_paths_are_taken_from_airflow_home() -> None:
    settings = load_settings({"AIRFLOW_HOME": "/opt/airflow", "SCAFFOLDER_GENERATED_PROJECTS_DIR": "out"})
    assert settings.generated_projects_dir == Path("/opt/airflow/out")


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
@pytest.mark.parametrize("text", ["0", "-1", "", "ten", "1.5", "1e3", "٣", str(10**15)])
def test_a_number_out_of_range_is_refused_with_the_range(setting: object, text: str) -> None:
    name, low, high = setting.name, setting.metadata["low"], setting.metadata["high"]  # type: ignore[attr-defined]
    if text == "0" and low == 0:
        return
    variable = environment_variable(name)
    with pytest.raises(SettingsError) as caught:
        load_settings({variable: text})
    assert str(caught.value) == f"{variable}={text!r}: accepted is a whole number from {low} to {high}"


@pytest.mark.parametrize("setting", NUMBERS, ids=lambda setting: setting.name)
def test_both_ends_of_the_range_are_accepted(setting: object) -> None:
    name, low, high = setting.name, setting.metadata["low"], setting.metadata["high"]  # type: ignore[attr-defined]
    for value in (low, high):
        assert getattr(load_settings({environment_variable(name): str(value)}), name) == value


@pytest.mark.parametrize(
    ("text", "value"), [("true", True), ("False", False), ("1", True), (" t ", True), ("0", False)]
)
def test_a_switch_takes_airflow_s_words(text: str, value: bool) -> None:
    assert load_settings({"SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES": text}).allow_trusted_templates is value


@pytest.mark.parametrize("text", ["", "yes", "on", "2", "truee"])
def test_a_switch_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="accepted are true and false"):
        load_settings({"SCAFFOLDER_ALLOW_TRUSTED_TEMPLATES": text})


def test_own_directories_come_before_what_ships_which_can_be_left_out() -> None:
    shipped = CHECKOUT / "include" / "workflows"
    own = {"SCAFFOLDER_WORKFLOWS_DIR": "/own/workflows", "SCAFFOLDER_TEMPLATES_DIR": "/own/templates"}
    without = {"SCAFFOLDER_INCLUDE_SHIPPED": "false"}
    assert load_settings({}).workflow_directories == (shipped,)
    assert load_settings(own).workflow_directories == (Path("/own/workflows"), shipped)
    assert load_settings(own).template_directories == (Path("/own/templates"), CHECKOUT / "include" / "templates")
    assert load_settings(own | without).workflow_directories == (Path("/own/workflows"),)
    assert load_settings(without).workflow_directories == load_settings(without).template_directories == ()


def test_every_bad_setting_is_named() -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings({"SCAFFOLDER_MAX_FILE_SIZE": "x", "SCAFFOLDER_WORKFLOWS_DIR": " "})
    assert "SCAFFOLDER_MAX_FILE_SIZE='x'" in str(caught.value)
    assert "SCAFFOLDER_WORKFLOWS_DIR=' ': accepted is the path of a directory" in str(caught.value)


def test_the_readme_lists_every_setting_with_its_meaning() -> None:
    lines = (CHECKOUT / "README.md").read_text().splitlines()
    for setting in fields(Settings):
        [line] = [line for line in lines if line.startswith(f"| `{environment_variable(setting.name)}` |")]
        assert line.endswith(f" | {setting.metadata['doc']} |")
