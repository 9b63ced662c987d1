"""Airflow's UI in a real browser, as a user of the workflow sees it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from scaffolder.agents.connection import parse_connection
from scaffolder.agents.http.authentication import BearerToken
from scaffolder.records.models import GeneratedProjectStatus
from tests.acceptance.browser import Browser
from tests.acceptance.conftest import Live, Run
from tests.conftest import CHECKOUT


def test_a_user_fills_in_the_form_watches_the_grid_and_downloads_the_archive(
    live: Live, browser: Browser, tmp_path: Path
) -> None:
    live.rest.wait_for_dag("openapi_service")
    before = {run["dag_run_id"] for run in live.rest.get("/dags/openapi_service/dagRuns")["dag_runs"]}
    browser.open("/dags/openapi_service")
    browser.click_text("button", "Trigger")
    browser.fill("[name=element_name]", "from-the-form")
    browser.fill("[name=element_document]", (CHECKOUT / "examples" / "openapi" / "bookings.yaml").read_text())
    assert browser.find("[name=element_project]").get_attribute("value") == "default"
    browser.save_screenshot("form")
    browser.click_text("button", "Trigger", last=True)

    def find_new() -> list[str]:
        runs = live.rest.get("/dags/openapi_service/dagRuns", order_by="-run_after")["dag_runs"]
        return [run["dag_run_id"] for run in runs if run["dag_run_id"] not in before]

    browser.wait(lambda _: find_new())
    run = Run(live, "openapi_service", find_new()[0]).wait()
    assert run.state == "success"
    project = run.generated_project
    assert (project.name, project.status) == ("from-the-form", GeneratedProjectStatus.READY)

    path = f"/dags/openapi_service/runs/{quote(run.run_id, safe='')}"
    browser.open(path)
    assert browser.find_text("a", "Models and routes")
    browser.save_screenshot("grid")
    browser.open(f"{path}/tasks/publish/details")
    browser.click_text("a", "Archive or repository")
    name = f"from-the-form-{str(project.head_commit)[:12]}.zip"
    browser.wait(lambda _: (tmp_path / name).is_file())
    archive = Path(run.read("exports")[0].archive_path)
    browser.wait(lambda _: (tmp_path / name).read_bytes() == archive.read_bytes())


@pytest.mark.parametrize(("kind", "label"), [("agent_api", "Description path"), ("a2a", "Card path")])
def test_a_connection_of_an_agent_is_made_in_the_form(live: Live, browser: Browser, kind: str, label: str) -> None:
    conn_id, certificate = f"{kind}_of_the_form", "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----"
    browser.open("/connections")
    browser.click_text("button", "Add Connection")
    browser.find("input[role=combobox]").send_keys(f"{kind}\n")
    assert browser.find_text("label", "Base URL")
    assert browser.find_text("label", "Token, key, password or secret")
    # The form looks at what was typed when another field is entered, which pasting doesn't do.
    browser.find("[name=connection_id]").send_keys(conn_id)
    browser.fill("[name=host]", "https://agent.example.com")
    browser.fill("[name=password]", "t0ken-of-the-form")
    browser.click_text("button", "Extra Fields")
    assert browser.find_text("label", label)
    browser.save_screenshot(f"connection-{kind}")
    browser.fill("textarea[name=element_ca_certificate]", certificate)
    assert browser.find("[name=element_client_private_key]").get_attribute("type") == "password"
    browser.click_text("button", "Save")

    def find_saved() -> list[Any]:
        found = live.rest.get("/connections", connection_id_pattern=conn_id)["connections"]
        return [connection for connection in found if connection["connection_id"] == conn_id]

    saved = browser.wait(lambda _: find_saved())[0]
    assert (saved["conn_type"], saved["host"]) == (kind, "https://agent.example.com")
    fields = {"host": saved["host"], "password": "t0ken", "extra": json.loads(saved["extra"])}
    connection = parse_connection(conn_id, conn_type=kind, **fields)
    assert connection.authentication == BearerToken(token="t0ken")
    assert connection.tls.ca_certificate == certificate
