"""Airflow's UI in a real browser: a headless Chromium, which tests use one after the other."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver.chrome.webdriver import WebDriver

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WINDOW = (1400, 900)
OPTIONS = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)


def start_chromium() -> WebDriver:
    """Start a browser; `quit` ends it. That takes seconds, and pages come from its cache the second time.

    A machine without a browser still runs all other tests; continuous integration installs one.
    """
    if not (CHROMIUM and DRIVER):
        pytest.skip("chromium and chromedriver are not installed")
    from selenium import webdriver
    from selenium.webdriver.chrome.service import Service

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for argument in OPTIONS.split():
        options.add_argument(argument)
    return webdriver.Chrome(options=options, service=Service(DRIVER))


class Browser:
    """Chromium with a user of one Airflow; each starts with what a new browser knows: nothing."""

    def __init__(self, driver: WebDriver, url: str, *, downloads: Path) -> None:
        self.driver = driver
        self.url = url
        driver.set_window_size(*WINDOW)
        driver.execute_cdp_cmd("Storage.clearDataForOrigin", {"origin": url, "storageTypes": "all"})
        driver.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(downloads)})
        driver.get_log("browser")  # reading is forgetting

    def leave(self) -> None:
        """Close what is open: Airflow's pages go on asking."""
        first, *others = self.driver.window_handles
        for handle in others:
            self.driver.switch_to.window(handle)
            self.driver.close()
        self.driver.switch_to.window(first)
        self.driver.get("about:blank")

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
