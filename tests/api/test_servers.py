from __future__ import annotations

import pytest

from tests.api.conftest import Api
from tests.api_server import MALFORMED_TOKEN, USERS


def test_users_log_in_and_run_what_airflow_lets_them(api: Api) -> None:
    assert api.server.request("GET", "/api/v2/dags", user="ann").json()["total_entries"] >= 2
    run = {"logical_date": None, "conf": {"name": "by-hand"}}
    url = "/api/v2/dags/plain/dagRuns"
    started = api.server.request("POST", url, user="ann", json=run)
    # There is no scheduler.
    assert (started.status_code, started.json().get("state")) == (200, "queued"), started.text
    assert api.server.request("POST", url, user="vic", json=run).status_code == 403
    assert api.server.request("GET", "/scaffolder/agents").status_code == 401
    assert api.server.request("GET", "/scaffolder/agents", user="vic").status_code == 200


def test_an_expired_token_is_none(api: Api) -> None:
    answer = api.server.request("GET", "/scaffolder/api/v1/projects", token=api.server.expired_token("ann"))
    assert (answer.status_code, answer.json()["detail"]) == (401, "Token Expired")


def test_a_token_that_is_none_is_refused_in_airflow_s_own_api_too(api: Api) -> None:
    for path in ("/api/v2/dags", "/scaffolder/agents"):
        assert api.server.request("GET", path, token=MALFORMED_TOKEN).status_code in (401, 403)
        assert api.server.request("GET", path, cookie=MALFORMED_TOKEN).status_code in (401, 403)
        assert api.server.request("GET", path, cookie=api.server.token("ann")).status_code == 200


@pytest.mark.parametrize("username", USERS)
def test_every_user_is_who_they_say(api: Api, username: str) -> None:
    assert api.server.request("GET", "/ui/auth/me", user=username).json()["username"] == username


def test_who_may_see_plugins_sees_our_entries_in_airflow_s_menu(api: Api) -> None:
    """Airflow lists all plugins or none: FAB's stock roles Viewer and User may not read them."""
    statuses = {user: api.server.request("GET", "/api/v2/plugins", user=user).status_code for user in ("ann", "vic")}
    wanted = 403 if api.server.auth_manager == "fab" else 200
    assert statuses == {"ann": wanted, "vic": wanted}
    listed = api.server.request("GET", "/api/v2/plugins", user="root").json()["plugins"]
    (ours,) = [plugin for plugin in listed if plugin["name"] == "scaffolder"]
    assert "scaffolder-agents" in {view["url_route"] for view in ours["external_views"]}


def test_connections_that_postgres_has_ended_are_replaced(api: Api) -> None:
    assert api.ask("GET", "/projects", user="ann").status_code == 200
    ended = api.connection.execute(
        "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    ).fetchone()
    assert ended is not None
    assert ended[0] > 0
    assert [api.ask("GET", "/projects", user="ann").status_code for _ in range(5)] == [200] * 5
