from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from local_airflow.errors import StateError
from local_airflow.ports import is_port_free, pick_port


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def taken_port(request: pytest.FixtureRequest) -> Iterator[int]:
    with socket.create_server((request.param, 0)) as server:
        yield server.getsockname()[1]


def test_a_port_that_somebody_listens_on_is_not_free(taken_port: int) -> None:
    assert not is_port_free(taken_port)


def test_a_port_is_free_again_right_after_its_server_ended() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()
    assert is_port_free(port)


def test_picks_the_next_port_when_the_preferred_one_is_taken(taken_port: int) -> None:
    assert pick_port(taken_port) > taken_port


def test_does_not_pick_a_port_to_avoid() -> None:
    first = pick_port(20_000)
    assert pick_port(first, avoid={first}) != first


def test_says_so_when_there_is_no_free_port(taken_port: int) -> None:
    with pytest.raises(StateError, match="no free port"):
        pick_port(65_535, avoid={65_535})
