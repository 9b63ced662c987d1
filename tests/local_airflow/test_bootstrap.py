from __future__ import annotations

import ast
from pathlib import Path

import pytest

from local_airflow import bootstrap


def program(folder: Path, *, prints: str) -> str:
    path = folder / "git"
    path.write_text(f"#!/bin/sh\necho '{prints}'\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("prints", "version"),
    [
        ("git version 2.39.5", (2, 39)),
        ("git version 2.31.1.windows.1", (2, 31)),
        ("git version 2.50.1 (Apple Git-155)", (2, 50)),
        ("?", (0,)),
    ],
)
def test_reads_the_version_of_git(tmp_path: Path, prints: str, version: tuple[int, ...]) -> None:
    assert bootstrap.git_version(program(tmp_path, prints=prints)) == version


@pytest.mark.parametrize(
    ("prints", "message"),
    [(None, "git is missing"), ("git version 2.30.9", r"2\.30; git 2\.31 or newer is needed")],
)
def test_names_what_is_missing(tmp_path: Path, prints: str | None, message: str) -> None:
    git = program(tmp_path, prints=prints) if prints else None
    with pytest.raises(bootstrap.BootstrapError, match=message):
        bootstrap.check_machine(git=git)


def test_a_new_enough_git_will_do(tmp_path: Path) -> None:
    bootstrap.check_machine(git=program(tmp_path, prints="git version 2.31.0"))


@pytest.mark.parametrize(
    ("configuration", "expected"),
    [
        ("", {}),
        ("global.index-url='https://mirror.example/simple'", {"UV_DEFAULT_INDEX": "https://mirror.example/simple"}),
        (
            "global.index-url='https://a.example/'\n:env:.index-url='https://b.example/'",
            {"UV_DEFAULT_INDEX": "https://b.example/"},
        ),
        (
            "global.extra-index-url='file:///disk/simple https://c.example/'",
            {"UV_INDEX": "https://c.example/", "UV_INDEX_STRATEGY": "unsafe-best-match"},
        ),
        ("global.extra-index-url='file:///disk/simple'", {}),
        ("global.cert='/etc/ca.pem'", {"SSL_CERT_FILE": "/etc/ca.pem"}),
        ("global.trusted-host='mirror.example'", {"UV_INSECURE_HOST": "mirror.example"}),
    ],
)
def test_uv_takes_the_index_that_pip_is_configured_for(configuration: str, expected: dict[str, str]) -> None:
    assert bootstrap.index_settings(pip_configuration=configuration, environ={}) == expected


def test_what_is_said_to_uv_itself_wins() -> None:
    configuration = "global.index-url='https://mirror.example/'"
    assert bootstrap.index_settings(pip_configuration=configuration, environ={"UV_DEFAULT_INDEX": "x"}) == {}


def test_old_pythons_can_read_it_as_far_as_the_version_check() -> None:
    ast.parse(Path(bootstrap.__file__).read_text(), feature_version=(3, 8))


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(bootstrap, "CHECKOUT", tmp_path)
    for name in ("pyproject.toml", "requirements.txt", "requirements-dev.txt"):
        (tmp_path / name).write_text(name)
    return tmp_path


@pytest.mark.parametrize("text", [None, "", "{}", "null-ish", '{"requirements.txt": "other"}'])
def test_installs_when_the_stamp_is_missing_damaged_or_of_other_requirements(checkout: Path, text: str | None) -> None:
    if text is not None:
        (checkout / "installed.json").write_text(text)
    assert not bootstrap.is_installed(checkout / "requirements.txt", venv=checkout)


@pytest.mark.parametrize("changed", ["pyproject.toml", "requirements.txt"])
def test_installs_again_when_what_it_was_installed_from_has_changed(checkout: Path, changed: str) -> None:
    requirements = checkout / "requirements.txt"
    stamp = bootstrap.wanted_stamp(requirements, venv=checkout)
    (checkout / "installed.json").write_text(f'{{"requirements.txt": "{stamp}"}}')
    assert bootstrap.is_installed(requirements, venv=checkout)
    (checkout / changed).write_text("changed")
    assert not bootstrap.is_installed(requirements, venv=checkout)
