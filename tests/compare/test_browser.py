"""The page in a real browser: nothing blocked, nothing wider than a phone, its controls work."""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from typing import Any

import pytest

pytestmark = [
    pytest.mark.browser,
    pytest.mark.skipif(
        shutil.which("chromium") is None or shutil.which("chromedriver") is None,
        reason="needs Debian's chromium and chromium-driver",
    ),
]
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs selenium")
    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in (
        *FLAGS,
        f"--user-data-dir={tmp_path_factory.mktemp('browser')}",
        "--window-size=1280,900",
    ):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    try:
        yield driver
    finally:
        driver.quit()


@pytest.fixture(scope="module")
def address(unchanged_show: Any) -> str:
    return str(unchanged_show.compare().path.as_uri())


@pytest.fixture
def opened(browser: Any, address: str) -> Any:
    browser.get("about:blank")
    browser.get_log("browser")
    look(browser, width=1280, scheme="light")
    browser.get(address)
    return browser


def look(browser: Any, *, width: int, scheme: str) -> None:
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 500}
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)


def shown(browser: Any, selector: str) -> list[Any]:
    return [e for e in browser.find_elements("css selector", selector) if e.is_displayed()]


def choose(browser: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.select import Select

    Select(browser.find_element("id", name)).select_by_value(value)


def test_it_loads_without_a_word_on_the_console_and_shows_its_pictures(opened: Any) -> None:
    assert opened.get_log("browser") == []
    pictures = shown(opened, "picture img")
    assert len(pictures) == 2
    assert all(picture.get_property("naturalWidth") > 0 for picture in pictures)


def test_an_injected_style_or_script_is_blocked(opened: Any) -> None:
    opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.hurt = 1';"
        "document.body.append(s);"
        "const i = document.createElement('img'); i.src = 'http://127.0.0.1:9/x.png';"
        "document.body.append(i);"
    )
    assert opened.execute_script("return window.hurt") is None
    blocked = [entry["message"] for entry in opened.get_log("browser")]
    assert len([line for line in blocked if "Content Security Policy" in line]) == 2


def test_the_filters_and_the_count(opened: Any) -> None:
    assert len(shown(opened, ".card")) == 36
    choose(opened, "pick-decoder", "2")
    assert len(shown(opened, ".card")) == 12
    assert {e.text for e in shown(opened, ".decoder-name")} == {"beam"}
    choose(opened, "pick-prompt", "3")
    assert len(shown(opened, ".card")) == 4
    assert opened.find_element("id", "count").text == "4 of 36 samples"
    choose(opened, "pick-decoder", "")
    assert len(shown(opened, ".card")) == 12


def test_the_differences_come_on_demand_by_keyboard_alone(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    assert shown(opened, ".card del") == []
    gap = "return getComputedStyle(document.querySelector('.card del + ins')).marginLeft"
    assert opened.execute_script(gap) == "0px"
    box = opened.find_element("id", "show-difference")
    while opened.switch_to.active_element != box:
        opened.switch_to.active_element.send_keys(Keys.TAB)
    assert opened.execute_script("return getComputedStyle(arguments[0]).outlineWidth", box) == "3px"
    box.send_keys(Keys.SPACE)
    assert shown(opened, ".card del")
    assert opened.find_element("id", "legend").is_displayed()
    box.send_keys(Keys.SPACE)
    assert shown(opened, ".card del") == []


def test_a_link_to_a_filtered_sample_brings_it_back(opened: Any) -> None:
    choose(opened, "pick-prompt", "1")
    opened.execute_script("location.hash = '#sample-36'")
    opened.implicitly_wait(5)
    assert opened.find_element("css selector", "#sample-36:target").is_displayed()
    assert len(shown(opened, ".card")) == 36


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_no_horizontal_scroll_and_the_right_picture(opened: Any, width: int, scheme: str) -> None:
    look(opened, width=width, scheme=scheme)
    wide = opened.execute_script("return document.documentElement.scrollWidth")
    assert wide <= width
    opened.find_element("id", "show-difference").click()
    assert opened.execute_script("return document.documentElement.scrollWidth") <= width
    source = opened.find_element("css selector", "picture img").get_property("currentSrc")
    svg = base64.b64decode(source.partition(",")[2]).decode()
    ink, other = ("#1f1d1a", "#ece8e1") if scheme == "light" else ("#ece8e1", "#1f1d1a")
    assert ink in svg
    assert other not in svg
    assert ('width="358pt"' in svg) == (width == 390)
