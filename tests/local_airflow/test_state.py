from __future__ import annotations

import json
import socket
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from local_airflow.errors import StateError
from local_airflow.files import digest_of_files, write_atomically
from local_airflow.state import (
    InstanceSettings,
    StateDirectory,
    load_settings,
    new_settings,
    save_settings,
    with_free_ports,
)


@pytest.fixture
def directory(tmp_path: Path) -> StateDirectory:
    directory = StateDirectory(tmp_path / "state")
    directory.create()
    return directory


@pytest.fixture
def settings() -> InstanceSettings:
    return new_settings(users=["admin"], api_port=21_000, agent_port=21_000)


def test_keeps_secrets_and_ports_between_starts(directory: StateDirectory, settings: InstanceSettings) -> None:
    save_settings(directory, settings)
    assert load_settings(directory, users=["admin"]) == settings


def test_two_servers_never_get_one_port(settings: InstanceSettings) -> None:
    assert settings.api_port != settings.agent_port


def test_every_instance_has_secrets_of_its_own(settings: InstanceSettings) -> None:
    other = new_settings(users=["admin"])
    for name in ("jwt_secret", "fernet_key", "secret_key", "agent_token"):
        assert getattr(settings, name) != getattr(other, name)


def test_no_secret_shows_in_a_representation(settings: InstanceSettings) -> None:
    shown = repr(settings)
    assert settings.jwt_secret not in shown
    assert settings.passwords["admin"] not in shown


def test_a_new_user_gets_a_password_and_the_others_keep_theirs(
    directory: StateDirectory, settings: InstanceSettings
) -> None:
    save_settings(directory, settings)
    loaded = load_settings(directory, users=["admin", "ana"])
    assert loaded.passwords["admin"] == settings.passwords["admin"]
    assert loaded.passwords["ana"]


def test_files_with_secrets_are_for_their_owner_only(directory: StateDirectory, settings: InstanceSettings) -> None:
    save_settings(directory, settings)
    for path in (directory.settings_file, directory.passwords_file):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_airflow_finds_the_passwords_in_its_own_form(directory: StateDirectory, settings: InstanceSettings) -> None:
    save_settings(directory, settings)
    assert json.loads(directory.passwords_file.read_text()) == settings.passwords


@pytest.mark.parametrize("text", ["", "{", "[]", '{"api_port": 1}', '{"unknown": 1}'])
def test_names_a_damaged_file_and_the_remedy(directory: StateDirectory, text: str) -> None:
    directory.settings_file.write_text(text)
    with pytest.raises(StateError, match=r"settings\.json is damaged.*make clean"):
        load_settings(directory, users=["admin"])


def test_moves_away_from_a_port_that_somebody_else_took(settings: InstanceSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = replace(settings, api_port=server.getsockname()[1])
        moved = with_free_ports(taken, api_is_ours=False, agent_is_ours=False)
    assert moved.api_port != taken.api_port
    assert moved.agent_port == taken.agent_port


def test_stays_on_a_port_that_our_own_process_holds(settings: InstanceSettings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        ours = replace(settings, api_port=server.getsockname()[1])
        assert with_free_ports(ours, api_is_ours=True, agent_is_ours=False) == ours


def test_names_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match=r"cannot write to .*file/state"):
        StateDirectory(tmp_path / "file" / "state").create()


def test_an_interrupted_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "settings"
    write_atomically(path, text="old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(path, text="new\ud800")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_digest_tells_contents_and_names_apart_but_not_caches(tmp_path: Path) -> None:
    def digest() -> str:
        return digest_of_files([tmp_path / "code", tmp_path / "absent"])

    (tmp_path / "code" / "__pycache__").mkdir(parents=True)
    (tmp_path / "code" / "a.py").write_text("1")
    first = digest()
    (tmp_path / "code" / "__pycache__" / "a.pyc").write_text("x")
    assert digest() == first
    (tmp_path / "code" / "a.py").write_text("2")
    second = digest()
    (tmp_path / "code" / "a.py").rename(tmp_path / "code" / "b.py")
    assert len({first, second, digest()}) == 3
