"""The page of projects inside Airflow's UI, in a real browser, with what an agent would like to run there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.browser import Browser
from tests.acceptance.conftest import Live, Run
from tests.servers import json_answer

HOSTILE = "<script>parent.hacked = window.hacked = 1</script><img src=x onerror='parent.hacked = 1'>"


@pytest.fixture(scope="module")
def generated(live: Live) -> Run:
    """A run whose agent has written HTML, also into the names of its files."""
    files = [
        {"path": "index.html", "content": HOSTILE},
        {"path": "docs/a <b>bold<b> name & more.md", "content": HOSTILE},
        {"path": "docs/" + "very-long-name-" * 12 + ".md", "content": "x"},
    ]
    live.agent.answer(json_answer({"files": files}))
    run = live.run("steps", name="shown")
    assert run.state == "success"
    return run


def enter_frame(browser: Browser) -> Any:
    browser.driver.switch_to.default_content()
    frame = browser.find("iframe")
    browser.driver.switch_to.frame(frame)
    browser.find("h1")
    return frame


def is_hacked(browser: Browser) -> bool:
    return bool(browser.driver.execute_script("return Boolean(window.hacked || window.parent.hacked)"))


def set_theme(browser: Browser, theme: str) -> None:
    browser.driver.switch_to.default_content()
    browser.driver.execute_script("window.localStorage.setItem('theme', arguments[0])", theme)
    browser.driver.refresh()


def test_from_the_list_to_a_project_and_its_files(
    browser: Browser,
    generated: Run,
    tmp_path: Path,
) -> None:
    browser.open_plugin("scaffolder-projects")
    for theme in ("dark", "light"):
        set_theme(browser, theme)
        enter_frame(browser)
        browser.find_text("a", "shown")
        shown = browser.driver.execute_script("return document.documentElement.dataset.theme")
        assert shown == theme
        browser.save_screenshot(f"projects-{theme}")
    row = browser.driver.execute_script(
        "return [...document.querySelectorAll('tbody tr')].find(row => row.innerText.includes('shown')).innerText"
    )
    for text in ("shown", "default", "steps", "ready", "exported 1", "in 30 d", "by admin"):
        assert text in row, row

    browser.click_text("a", "shown")
    browser.find("#files")
    browser.save_screenshot("project-light")
    browser.driver.execute_script("document.getElementById('exports').scrollIntoView()")
    browser.save_screenshot("project-light-exports")
    text = browser.driver.find_element("tag name", "main").text
    assert "docs/a <b>bold<b> name & more.md" in text
    width = browser.driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    assert not is_hacked(browser)

    # Airflow's frame lets downloads through.
    browser.click_text("a", "Download")
    archive = Path(generated.read("exports")[0].archive_path)
    browser.wait(lambda _: (tmp_path / archive.name).is_file())
    browser.wait(lambda _: (tmp_path / archive.name).read_bytes() == archive.read_bytes())

    # A file opens in a tab of its own, as text.
    before = set(browser.driver.window_handles)
    browser.find_text("a", "index.html").click()
    browser.wait(lambda driver: set(driver.window_handles) - before)
    [tab] = set(browser.driver.window_handles) - before
    main = browser.driver.current_window_handle
    browser.driver.switch_to.window(tab)
    browser.wait(lambda driver: HOSTILE in driver.find_element("tag name", "body").text)
    assert browser.driver.execute_script("return window.hacked") is None
    browser.driver.close()
    browser.driver.switch_to.window(main)


def test_from_a_project_to_its_run_and_back(browser: Browser, generated: Run) -> None:
    from selenium.webdriver import ActionChains, Keys

    found = generated.generated_project
    browser.open_plugin("scaffolder-projects")
    enter_frame(browser)
    browser.click_text("a", "shown")
    browser.find("#files")

    # The run is Airflow's own page, outside the frame.
    browser.find_text("a", found.run_id).click()
    browser.driver.switch_to.default_content()
    browser.wait(lambda driver: "/dags/steps/runs/" in driver.current_url)
    assert not is_hacked(browser)

    # And from the run, whose id has a plus, back to what it has generated.
    assert "+" in found.run_id
    browser.click_text("a", "Generated project")
    enter_frame(browser)
    assert browser.find("h1").text.startswith("shown")
    assert str(found.id) in browser.driver.find_element("tag name", "header").text
    browser.save_screenshot("run-tab")
    assert not is_hacked(browser)
    set_theme(browser, "dark")
    enter_frame(browser)
    browser.save_screenshot("run-tab-dark")

    # Control opens a tab here, too.
    before = set(browser.driver.window_handles)
    link = browser.find_text("a", found.run_id)
    ActionChains(browser.driver).key_down(Keys.CONTROL).click(link).key_up(Keys.CONTROL).perform()
    browser.wait(lambda driver: set(driver.window_handles) - before)


def test_the_list_is_filtered_by_hand(browser: Browser, generated: Run) -> None:
    browser.open("/plugin/scaffolder-projects")
    enter_frame(browser)
    browser.find("[name=name]").send_keys("shown-not")
    browser.click_text("button", "Show")
    browser.wait(lambda driver: "There is nothing like that" in driver.find_element("tag name", "main").text)
    field = browser.find("[name=name]")
    assert field.get_attribute("value") == "shown-not"
    field.clear()
    field.send_keys("shown")
    browser.click_text("button", "Show")
    browser.find_text("a", "shown")


def test_narrow_windows_keep_the_page_inside(browser: Browser, generated: Run) -> None:
    browser.driver.set_window_size(700, 900)
    browser.open(f"/scaffolder/projects/default/generated/{generated.generated_project.id}")
    browser.find("#files")
    width = browser.driver.execute_script("return [document.documentElement.scrollWidth, window.innerWidth]")
    assert width[0] <= width[1]
    browser.save_screenshot("project-narrow")
