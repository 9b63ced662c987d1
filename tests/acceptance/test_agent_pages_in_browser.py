"""The pages of agents inside Airflow's UI, in a real browser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import airflow
import psycopg
import pytest
import yaml

from scaffolder.agents.openapi.document import read_offer
from scaffolder.records.endpoints import Offer, OfferedEndpoint
from scaffolder.records.store import ProjectRecords
from tests.acceptance.browser import Browser
from tests.acceptance.conftest import Live

SKILL = {
    "id": "plan",
    "name": "Plan a release",
    "description": "Reads *issues*.",
    "examples": ["Plan 2.0 of bookings."],
}


@pytest.fixture
def discovered(live: Live) -> Iterator[None]:
    """Three agents in the registry: the bundled one, a large one, and one with a skill."""
    import httpx2

    settings = live.airflow.settings
    headers = {"Authorization": f"Bearer {settings.agent_token}"}
    answer = httpx2.get(f"{settings.agent_url}/openapi.json", headers=headers).raise_for_status()
    large = Path(airflow.__file__).parent / "api_fastapi" / "core_api" / "openapi" / "v2-rest-api-generated.yaml"
    offers = {
        "demo_agent": read_offer(
            answer.json(), content=answer.content, source=str(answer.url), base_url=settings.agent_url
        ),
        "airflow": read_offer(
            yaml.load(large.read_bytes(), Loader=yaml.CSafeLoader), content=b"", source="airflow.yaml", base_url=None
        ),
        "planner": offer_skill(),
    }
    with psycopg.connect(live.records_postgres.url("scaffolder"), autocommit=True) as connection:
        for name, offer in offers.items():
            ProjectRecords(connection).endpoints.write(name, offer)
        yield
        connection.execute("DELETE FROM agent_description WHERE connection = ANY(%s)", [list(offers)])


def offer_skill() -> Offer:
    skill = OfferedEndpoint(
        operation_id="plan",
        method="SKILL",
        path="",
        summary=SKILL["name"],
        definition={"skill": SKILL},
        digest="0" * 64,
    )
    return Offer(
        kind="a2a",
        source="https://planner.example/.well-known/agent-card.json",
        title="Planner",
        version="0.3.0",
        description="Plans **releases**.",
        etag=None,
        digest="0" * 64,
        warnings=("the card names a second interface",),
        endpoints=(skill,),
    )


def in_frame(browser: Browser) -> None:
    browser.driver.switch_to.default_content()
    browser.driver.switch_to.frame(browser.find("iframe[title=Agents]"))


def background(browser: Browser) -> str:
    colour: Any = browser.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    return str(colour)


def test_a_user_finds_an_operation_and_its_example_step(discovered: None, browser: Browser) -> None:
    browser.open("/")
    browser.open_plugin("scaffolder-agents")
    in_frame(browser)
    assert browser.find_text("h1", "Agents")
    browser.save_screenshot("agents")

    browser.click_text("a", "demo_agent")
    assert browser.find_text("h1", "Demo agent")
    steps = [block.text for block in browser.driver.find_elements("css selector", ".step code")]
    assert any("operation: generateModels" in step for step in steps)
    assert browser.find(".copy").is_displayed()
    browser.find(".copy").click()
    browser.wait(lambda _: browser.find(".copy").text in {"Copied", "Selected"})
    browser.save_screenshot("agent")

    browser.click_text("a", "Agents")
    browser.click_text("a", "airflow")
    browser.find("#filter").send_keys("dag run")
    browser.wait(lambda _: " of " in browser.find("#count").text)
    rows = browser.driver.find_elements("css selector", "[data-index] tbody tr")
    shown = [row.text.lower() for row in rows if row.is_displayed()]
    assert 0 < len(shown) < len(rows)
    assert [text for text in shown if "dag" not in text or "run" not in text] == []
    browser.find("#filter").clear()
    browser.find("#filter").send_keys("patch_dag_run")
    browser.save_screenshot("agent-large")
    browser.click_text("a", "patch_dag_run")
    assert browser.find_text("h3", "Request body required")
    browser.save_screenshot("operation")
    assert [entry for entry in browser.driver.get_log("browser") if "Content Security Policy" in entry["message"]] == []

    # The address of the frame is in the window's own, so a page can be kept and sent to others.
    browser.driver.switch_to.default_content()
    browser.wait(lambda driver: driver.current_url.endswith("/scaffolder/agents/airflow/operations/patch_dag_run"))
    browser.driver.refresh()
    in_frame(browser)
    assert browser.find_text("h3", "Request body required")


def test_the_pages_follow_the_theme_that_is_chosen_in_airflow(discovered: None, browser: Browser) -> None:
    browser.open("/plugin/scaffolder-agents/scaffolder/agents/planner")
    for theme, colour in (("dark", "rgb(17, 20, 23)"), ("light", "rgb(255, 255, 255)")):
        browser.driver.switch_to.default_content()
        browser.driver.execute_script("window.localStorage.setItem('theme', arguments[0])", theme)
        browser.driver.refresh()
        in_frame(browser)
        assert browser.find_text("h1", "Planner")
        assert background(browser) == colour
        browser.save_screenshot(f"agent-{theme}")
