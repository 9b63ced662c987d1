"""Airflow's UI in a real browser, as a user of the workflow sees it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from scaffolder.agents.connection import parse_connection
from scaffolder.agents.http.authentication import BearerToken
from scaffolder.records.models import GeneratedProjectStatus
from tests.acceptance.conftest import Live, Run
from tests.conftest import CHECKOUT

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
# A machine without a browser still runs all other tests; continuous integration installs one.
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed")

OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --window-size=1400,900"
)


class Browser:
    """A headless Chromium, logged in as admin."""

    def __init__(self, live: Live, downloads: Path) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        options = webdriver.ChromeOptions()
        options.binary_location = str(CHROMIUM)
        for argument in OPTIONS.split():
            options.add_argument(argument)
        options.add_experimental_option("prefs", {"download.default_directory": str(downloads)})
        self.driver = webdriver.Chrome(options=options, service=Service(DRIVER))
        self.url = live.airflow.url

    def wait(self, condition: Callable[[Any], Any]) -> Any:
        from selenium.common import ElementClickInterceptedException, StaleElementReferenceException
        from selenium.webdriver.support.ui import WebDriverWait

        # The page draws itself again while it loads: what was found may be gone or covered a moment later.
        passing = (StaleElementReferenceException, ElementClickInterceptedException)
        return WebDriverWait(self.driver, 60, ignored_exceptions=passing).until(condition)

    def open(self, path: str) -> None:
        self.driver.get(self.url + path)

    def find(self, css: str) -> Any:
        from selenium.webdriver.common.by import By

        return self.wait(lambda driver: driver.find_element(By.CSS_SELECTOR, css))

    def find_text(self, tag: str, text: str) -> Any:
        return self.wait(lambda _: self._matching(tag, text))[0]

    def click_text(self, tag: str, text: str, *, last: bool = False) -> None:
        def click(_: Any) -> bool:
            found = self._matching(tag, text)
            if found:
                found[-1 if last else 0].click()
            return bool(found)

        self.wait(click)

    def _matching(self, tag: str, text: str) -> list[Any]:
        from selenium.webdriver.common.by import By

        return [one for one in self.driver.find_elements(By.TAG_NAME, tag) if one.text.strip() == text]

    def log_in(self, username: str, password: str) -> None:
        self.open("/")
        self.find("[name=username]").send_keys(username)
        self.find("[name=password]").send_keys(password)
        self.find("button[type=submit]").click()
        self.wait(lambda driver: "/auth/login" not in driver.current_url)

    def open_plugin(self, route: str) -> None:
        """Choose a page of ours in Airflow's navigation, where those of plugins are a menu."""
        self.click_text("button", "Plugins")
        self.find(f"a[href$='/plugin/{route}']").click()

    def fill(self, css: str, text: str) -> None:
        # Typing a whole document key by key takes minutes; this is what pasting does.
        script = (
            "const field = arguments[0], kind = Object.getPrototypeOf(field);"
            "Object.getOwnPropertyDescriptor(kind, 'value').set.call(field, arguments[1]);"
            "field.dispatchEvent(new Event('input', {bubbles: true}));"
        )
        self.driver.execute_script(script, self.find(css), text)

    def save_screenshot(self, name: str) -> None:
        """Keep a picture where SCAFFOLDER_TEST_SCREENSHOTS says, for people to look at."""
        if directory := os.environ.get("SCAFFOLDER_TEST_SCREENSHOTS"):
            self.driver.save_screenshot(str(Path(directory, f"{name}.png")))


@pytest.fixture
def browser(live: Live, tmp_path: Path) -> Iterator[Browser]:
    found = Browser(live, tmp_path)
    try:
        found.log_in("admin", live.airflow.settings.passwords["admin"])
        yield found
    finally:
        found.driver.quit()


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
