"""The page in a real browser: paste, drop, stream, compare, flag, rate; on a phone and in the dark."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.data.preferences import Preference, read_preferences
from common.serve.limits import Limits
from tests.documents.make_files import pdf_bytes
from tests.serve.conftest import Running, Start
from tests.serve.echo import Echo
from tests.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not shutil.which("chromedriver"), reason="needs Chromium and its driver"),
]
TEXT = "The ferry 🚢 carries 38 people <img src=x onerror=alert(1)> a night."
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1280,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    binary = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    options.binary_location = binary or ""
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


@pytest.fixture
def server(start: Start) -> Running:
    return start(
        lambda: {"tuned": Echo("tuned", pause=0.03), "untuned": Echo("untuned", adds="The town of Leeds paid 99.")}
    )


class Page:
    """The page of a server, as a person uses it."""

    def __init__(self, driver: Any, url: str) -> None:
        self.driver = driver
        driver.get_log("browser")
        driver.get(url)

    def all(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def one(self, selector: str) -> Any:
        return self.all(selector)[0]

    def texts(self, selector: str) -> list[str]:
        return [element.text for element in self.all(selector)]

    def summarize(self, text: str) -> None:
        wait_until(lambda: bool(self.texts("#model option")))
        self.driver.execute_script("document.getElementById('document').value = arguments[0]", text)
        self.one("#document").send_keys(" ")
        self.one("#go").click()

    def wait_done(self) -> None:
        wait_until(lambda: self.one("#go").text == "Summarize")

    def errors(self) -> list[str]:
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] == "SEVERE"]


def test_two_models_stream_side_by_side_and_claims_without_support_are_marked(chromium: Any, server: Running) -> None:
    page = Page(chromium, server.url)
    page.summarize(TEXT)
    seen: set[str] = set()

    def growing() -> bool:
        seen.add(page.one(".summary").get_attribute("textContent"))
        return page.one("#go").text == "Summarize"

    assert page.one("#go").text == "Stop"
    wait_until(growing)
    assert len(seen) > 3, "the summary appears word by word"
    assert page.texts(".name") == ["tuned", "untuned"]
    assert page.texts(".summary") == [TEXT, f"{TEXT} The town of Leeds paid 99."], "text stays text"
    assert page.texts("mark") == ["Leeds", "99"]
    assert page.texts(".flags")[1] == "Not in the document: Leeds (name), 99 (number)"
    assert not page.all(".flags")[0].is_displayed()
    assert all("first word after" in line and "done in" in line for line in page.texts(".times"))
    assert page.all(".card")[0].location["y"] == page.all(".card")[1].location["y"]
    assert page.errors() == []


def test_what_people_say_is_kept_as_pairs(chromium: Any, server: Running) -> None:
    page = Page(chromium, server.url)
    page.summarize("The ferry stays.")
    page.wait_done()
    document = "The ferry stays. "
    long = "The ferry stays. The town of Leeds paid 99."
    page.all(".good")[0].click()
    page.all(".bad")[1].click()
    wait_until(lambda: page.texts(".said") == ["Kept.", "Kept."])
    assert page.all(".good")[0].get_attribute("aria-pressed") == "true"
    page.all(".correct")[1].click()
    page.one(".correction:not([hidden]) textarea").clear()
    page.one(".correction:not([hidden]) textarea").send_keys("It stays.")
    page.one(".correction:not([hidden]) .primary").click()
    wait_until(lambda: page.texts(".said")[1] == "Your version is kept.")
    page.all("#verdict button")[1].click()
    wait_until(lambda: page.one("#verdict").text == "Kept: untuned is better.")
    assert read_preferences(server.ratings) == [
        Preference(document, "It stays.", long),
        Preference(document, long, "The ferry stays."),
        Preference(document, "The ferry stays.", long),
    ]


def test_a_file_is_read_and_one_that_cannot_be_is_named(chromium: Any, server: Running, tmp_path: Path) -> None:
    (tmp_path / "good.pdf").write_bytes(pdf_bytes([["The ferry stays."]]))
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4 damaged")
    page = Page(chromium, server.url)
    page.one("#file").send_keys(str(tmp_path / "good.pdf"))
    wait_until(lambda: page.one("#file-note").text == "good.pdf")
    assert page.one("#document").get_attribute("value") == "The ferry stays."
    assert page.one("#size").text == "3 words"
    page.one("#file").send_keys(str(tmp_path / "bad.pdf"))
    wait_until(lambda: page.one("#file-note").text.startswith("bad.pdf: is damaged"))
    assert page.one("#document").get_attribute("value") == "The ferry stays."


def test_stopping_ends_the_request_and_a_busy_server_is_tried_again(chromium: Any, start: Start) -> None:
    echo = Echo("slow", pause=0.05)
    server = start(lambda: {"slow": echo}, Limits(waiting=1, together=1))
    page = Page(chromium, server.url)
    page.summarize("word " * 400)
    wait_until(lambda: len(page.texts(".summary")[0]) > 10)
    page.one("#go").click()
    page.wait_done()
    assert page.texts(".state") == ["stopped"]
    from common.summarize.summary import SummaryOptions

    first = server.worker.submit("slow", "word " * 80, SummaryOptions(), lambda item: None)
    wait_until(lambda: server.worker.queue_length() == 0)
    server.worker.submit("slow", "word", SummaryOptions(), lambda item: None)
    page.summarize("The ferry stays.")
    wait_until(lambda: "busy, trying again in" in page.texts(".state")[0])
    first.cancel()
    page.wait_done()
    assert page.texts(".summary") == ["The ferry stays."]


def test_the_token_is_asked_for_or_taken_from_the_address(chromium: Any, start: Start) -> None:
    server = start(lambda: {"a": Echo("a")}, token="right")
    page = Page(chromium, server.url)
    wait_until(lambda: bool(page.one("#token").is_displayed()))
    assert not page.one("#ask").is_displayed()
    page.one("#token").send_keys("right")
    page.one("#token-form .primary").click()
    page.summarize("The ferry stays.")
    page.wait_done()
    assert page.texts(".summary") == ["The ferry stays."]
    chromium.execute_script("sessionStorage.clear()")
    Page(chromium, "about:blank")
    page = Page(chromium, f"{server.url}/#token=right")
    page.summarize("The ferry stays.")
    page.wait_done()
    assert "token" not in chromium.current_url


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("metrics", [None, PHONE])
def test_the_page_fits_its_screen_and_can_be_read(
    chromium: Any, server: Running, scheme: str, metrics: dict[str, Any] | None
) -> None:
    chromium.execute_cdp_cmd(
        "Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    )
    if metrics:
        chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    try:
        page = Page(chromium, server.url)
        page.summarize("The ferry stays. " + "Donaudampfschifffahrtsgesellschaft" * 6)
        page.wait_done()
        overflow = chromium.execute_script("return document.documentElement.scrollWidth - innerWidth")
        assert overflow <= 0
        assert chromium.execute_script(CONTRASTS) == []
        heights = chromium.execute_script(
            "return [...document.querySelectorAll('button, select, .button')].filter(e => e.offsetParent)"
            ".map(e => e.offsetHeight)"
        )
        assert min(heights) >= 36
    finally:
        chromium.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_the_page_asks_its_own_server_only(chromium: Any, server: Running) -> None:
    chromium.get_log("performance")
    page = Page(chromium, server.url)
    page.summarize(TEXT)
    page.wait_done()
    sent = [json.loads(entry["message"])["message"] for entry in chromium.get_log("performance")]
    urls = [m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"]
    assert len(urls) >= 5
    assert all(url.startswith((server.url, "data:")) for url in urls)


# Visible text whose contrast with what is behind it is under WCAG's 4.5:1.
CONTRASTS = """
const parse = (c) => (c.match(/[\\d.]+/g) || []).map(Number);
const channel = (v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const behind = (e) => {
  for (; e; e = e.parentElement) {
    const c = parse(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
return [...document.querySelectorAll('body *')].filter((e) =>
  e.offsetParent && !e.disabled && [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())
).map((e) => {
  const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))];
  return [e.tagName + '.' + e.className, (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05)];
}).filter(([, ratio]) => ratio < 4.5);
"""
