"""The pages of agents as the web app serves them: for users alone, with headers that let nothing in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from local_airflow.postgres import EmbeddedPostgres
from scaffolder.agents.openapi.document import read_offer
from scaffolder.records.endpoints import Offer, OfferedEndpoint
from scaffolder.records.store import ProjectRecords
from tests.servers import DESCRIPTION

PAGES = (
    "/airflow/scaffolder/agents",
    "/airflow/scaffolder/agents/pets",
    "/airflow/scaffolder/agents/pets.md",
    "/airflow/scaffolder/agents/pets/operations/getItem",
)


class Client:
    """A browser's view of the web app, mounted as Airflow mounts it; `user` is who is logged in."""

    def __init__(self) -> None:
        from airflow import settings
        from airflow.api_fastapi.app import init_auth_manager
        from airflow.models.revoked_token import RevokedToken
        from fastapi import FastAPI
        from starlette.testclient import TestClient

        from scaffolder.web import create_app

        # All that Airflow asks its own database for here.
        RevokedToken.metadata.create_all(settings.engine, tables=[RevokedToken.__table__])
        self._auth_manager = init_auth_manager()
        outside = FastAPI(root_path="/airflow")
        outside.mount("/scaffolder", create_app())
        self._client = TestClient(outside)

    def get(self, path: str, *, role: str | None = "viewer", **headers: str) -> Any:
        if role is not None:
            headers["Authorization"] = f"Bearer {self._make_token(role)}"
        return self._client.get(path, headers=headers)

    def _make_token(self, role: str) -> str:
        from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser

        return self._auth_manager.generate_jwt(SimpleAuthManagerUser(username="vera", role=role or None))


@pytest.fixture(scope="module")
def client() -> Iterator[Client]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(
            "AIRFLOW__API_AUTH__JWT_SECRET", "a-secret-of-the-tests-0123456789abcdef0123456789abcdef0123456789"
        )
        yield Client()


@pytest.fixture(autouse=True)
def records_connection(
    monkeypatch: pytest.MonkeyPatch, postgres: EmbeddedPostgres, records_database: str
) -> Iterator[None]:
    from scaffolder.api.records import close_pool

    fields = {
        "conn_type": "postgres",
        "host": str(postgres.socket_directory),
        "port": 5432,
        "login": "postgres",
        "schema": records_database,
    }
    monkeypatch.setenv("AIRFLOW_CONN_SCAFFOLDER_DB", json.dumps(fields))
    yield
    close_pool()


@pytest.fixture
def pets(records: ProjectRecords) -> Offer:
    offer = read_offer(DESCRIPTION, content=b"1", source="https://pets.example/openapi.json", base_url=None)
    records.endpoints.write("pets", offer)
    return offer


@pytest.mark.parametrize("path", PAGES)
def test_nobody_sees_a_page_without_logging_in(client: Client, pets: Offer, path: str) -> None:
    assert client.get(path, role=None).status_code == 401
    assert client.get(path, role=None, authorization="Bearer x").status_code in (401, 403)
    assert client.get(path, role=None, cookie="_token=x").status_code in (401, 403)
    assert client.get(path).status_code == 200


def test_a_user_without_a_role_may_not_read(client: Client, pets: Offer) -> None:
    for path in PAGES:
        answer = client.get(path, role="")
        assert (answer.status_code, answer.headers["content-type"]) == (403, "text/html; charset=utf-8")
        assert "that permission on &#39;Scaffolder&#39;" in answer.text


def test_pages_lead_to_one_another_below_where_airflow_is(client: Client, pets: Offer) -> None:
    page = client.get("/airflow/scaffolder/agents").text
    assert 'href="/airflow/scaffolder/agents/pets"' in page
    assert "2 operations" in page
    page = client.get("/airflow/scaffolder/agents/pets").text
    assert 'href="/airflow/scaffolder/agents"' in page
    assert 'href="/airflow/scaffolder/agents/pets.md"' in page
    assert "operation: getItem" in page
    assert (
        'href="/airflow/scaffolder/agents/pets"'
        in client.get("/airflow/scaffolder/agents/pets/operations/getItem").text
    )


def test_pages_come_with_headers_that_let_nothing_in(client: Client, pets: Offer) -> None:
    for path in PAGES:
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        if path.endswith(".md"):
            assert headers["content-type"] == "text/markdown; charset=utf-8"
            assert headers["content-disposition"] == "attachment; filename*=UTF-8''pets.md"
            continue
        assert headers["content-type"] == "text/html; charset=utf-8"
        assert headers["content-security-policy"].startswith("default-src 'none'; style-src 'sha256-")
        assert headers["content-security-policy"].endswith("frame-ancestors 'self'")
        assert headers["referrer-policy"] == "no-referrer"
        assert headers["cache-control"] == "private, no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/airflow/scaffolder/agents/nobody",
        "/airflow/scaffolder/agents/nobody.md",
        "/airflow/scaffolder/agents/pets/operations/nothing",
        "/airflow/scaffolder/agents/%3Cscript%3E",
    ],
)
def test_what_is_not_there_is_a_page_that_says_so(client: Client, pets: Offer, path: str) -> None:
    answer = client.get(path)
    assert (answer.status_code, answer.headers["content-type"]) == (404, "text/html; charset=utf-8")
    assert "there is no" in answer.text or "offers no" in answer.text or "has no" in answer.text
    assert "<script>a" not in answer.text


def test_a_name_that_the_records_cannot_hold_is_told_too(client: Client, pets: Offer) -> None:
    answer = client.get("/airflow/scaffolder/agents/pets/operations/%00")
    assert (answer.status_code, answer.headers["content-type"]) == (422, "text/html; charset=utf-8")


def test_without_agents_the_page_says_where_they_come_from(client: Client) -> None:
    assert "discover_agent_apis" in client.get("/airflow/scaffolder/agents").text


@pytest.mark.parametrize("operation_id", ["GET /pets/{id}", "a/b?c#d", "../x", "ä €"])
def test_every_operation_of_a_large_agent_has_its_page(
    client: Client, records: ProjectRecords, pets: Offer, operation_id: str
) -> None:
    import re
    from html import unescape

    definition = next(one for one in pets.endpoints if one.operation_id == "getItem").definition
    ids = [operation_id, *(f"op{number}" for number in range(100))]
    endpoints = tuple(
        OfferedEndpoint(operation_id=one, method="GET", path="/x", summary="", definition=definition, digest="0" * 64)
        for one in ids
    )
    records.endpoints.write("large", Offer(**(vars(pets) | {"endpoints": endpoints, "digest": "1" * 64})))
    page = client.get("/airflow/scaffolder/agents/large").text
    assert "101 operations" in page
    links = [unescape(link) for link in re.findall(r'href="([^"]*/operations/[^"]*)"', page)]
    assert len(links) == 101
    shown = [client.get(link) for link in (links[0], links[-1])]
    assert [answer.status_code for answer in shown] == [200, 200]
    (link,) = [link for link in links if "op" not in link.rpartition("operations/")[2]]
    assert f"<title>{operation_id}" in unescape(client.get(link).text)
    assert client.get("/airflow/scaffolder/agents/large.md").text.count("### Example step") == 101
