from __future__ import annotations

from tests.api.conftest import Api


def test_users_log_in_and_run_what_airflow_lets_them(api: Api) -> None:
    assert api.server.request("GET", "/api/v2/dags", user="ann").json()["total_entries"] >= 2
    run = {"logical_date": None, "conf": {"name": "by-hand"}}
    url = "/api/v2/dags/plain/dagRuns"
    assert api.server.request("POST", url, user="ann", json=run).status_code == 200
    assert api.server.request("POST", url, user="vic", json=run).status_code == 403
    assert api.server.request("GET", "/scaffolder/agents").status_code == 401
    assert api.server.request("GET", "/scaffolder/agents", user="vic").status_code == 200


def test_an_expired_token_is_none(api: Api) -> None:
    answer = api.server.request("GET", "/scaffolder/api/v1/projects", token=api.server.expired_token("ann"))
    assert (answer.status_code, answer.json()["detail"]) == (401, "Token Expired")
