"""The page in a real browser: phone and desktop, light and dark, with documents that try to break out.

Needs Chromium and its driver; without them the tests fail and say how to get them.
"""

from __future__ import annotations

import base64
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from common.report.write import write_report
from tests.report.example_runs import corpus, write_evaluation, write_training
from tests.report.test_page import hostile_examples

pytestmark = pytest.mark.slow

INSTALL = (
    "Chromium is needed for this test: apt-get install chromium chromium-driver (Debian), or "
    "brew install --cask chromium chromedriver (macOS); and pip install selenium"
)
PHONE, DESKTOP = 390, 1280

# Contrast of every text with what lies behind it, WCAG 2.2; returns the texts below 4.5 (3 for large text).
LOW_CONTRAST = """
const number = c => (c.match(/[\\d.]+/g) || []).map(Number);
const parse = c => { const n = number(c); return c.startsWith('color(') ? [n[0]*255, n[1]*255, n[2]*255, n[3] ?? 1]
                                                                     : [n[0], n[1], n[2], n[3] ?? 1]; };
const light = ([r, g, b]) => { const f = v => (v /= 255) <= .03928 ? v/12.92 : ((v+.055)/1.055)**2.4;
                               return .2126*f(r) + .7152*f(g) + .0722*f(b); };
const over = (top, under) => [0,1,2].map(i => top[i]*top[3] + under[i]*(1-top[3])).concat(1);
const behind = e => { const layers = [];
                      for (; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
                      return layers.reverse().reduce((under, top) => over(top, under), [255,255,255,1]); };
const low = [];
for (const e of document.querySelectorAll('body *')) {
  const text = [...e.childNodes].filter(n => n.nodeType === 3).map(n => n.data).join('').trim();
  if (!text || !e.getClientRects().length || e.closest('.unseen')) continue;
  const style = getComputedStyle(e), svg = e.ownerSVGElement;
  const back = behind(svg ? svg.parentElement : e);
  const front = over(parse(svg ? style.fill : style.color), back);
  const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
  const ratio = (a + .05) / (b + .05);
  const large = parseFloat(style.fontSize) >= 24 || (parseFloat(style.fontSize) >= 18.6 && style.fontWeight >= 700);
  if (svg && /^\\d+ %$/.test(text)) continue;  // written on a bar, not on the card
  if (ratio < (large ? 3 : 4.5)) low.push(text.slice(0, 30) + ' ' + ratio.toFixed(2));
}
return low;
"""
SMALLEST_PLOT_TEXT = """
return Math.min(...[...document.querySelectorAll('.plot text')].map(t =>
  parseFloat(getComputedStyle(t).fontSize) * t.ownerSVGElement.getScreenCTM().a));
"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    binary = next(
        (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None
    )
    driver = shutil.which("chromedriver")
    try:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service
    except ImportError:
        pytest.fail(INSTALL)
    if binary is None or driver is None:
        pytest.fail(INSTALL)
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"):
        options.add_argument(argument)
    opened = webdriver.Chrome(options=options, service=Service(driver))
    yield opened
    opened.quit()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    ordinary, hostile = tmp_path_factory.mktemp("ordinary"), tmp_path_factory.mktemp("hostile")
    write_training(ordinary)
    write_evaluation(ordinary, corpus(60))
    write_training(hostile, steps=7, dev=False)
    write_evaluation(hostile, hostile_examples())
    return {"ordinary": write_report(ordinary), "hostile": write_report(hostile)}


def show(browser: Any, page: Path, width: int, scheme: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width == PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get(page.as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(d => d.open = true)")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [PHONE, DESKTOP])
@pytest.mark.parametrize("kind", ["ordinary", "hostile"])
def test_the_page_fits_its_screen_and_every_text_can_be_read(
    browser: Any, pages: dict[str, Path], kind: str, width: int, scheme: str
) -> None:
    show(browser, pages[kind], width, scheme)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.execute_script(LOW_CONTRAST) == []
    assert browser.execute_script(SMALLEST_PLOT_TEXT) >= 7.5


def test_the_contrast_check_itself_finds_faint_text(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["ordinary"], DESKTOP, "light")
    browser.execute_script("document.querySelector('.sentence').style.color = '#999'")
    assert len(browser.execute_script(LOW_CONTRAST)) == 1


def test_dark_mode_turns_page_and_plots_dark(browser: Any, pages: dict[str, Path]) -> None:
    colours = {}
    for scheme in ("light", "dark"):
        show(browser, pages["ordinary"], DESKTOP, scheme)
        colours[scheme] = browser.execute_script(
            "return [getComputedStyle(document.body).backgroundColor, "
            "getComputedStyle(document.querySelector('.plot text')).fill]"
        )
    assert all(light != dark for light, dark in zip(colours["light"], colours["dark"], strict=True))


def test_nothing_in_a_document_runs_or_is_fetched(browser: Any, pages: dict[str, Path]) -> None:
    show(browser, pages["hostile"], DESKTOP, "light")
    assert browser.title == "hostile0: sumkit report"
    assert browser.execute_script("return performance.getEntriesByType('resource').length") == 0
    assert browser.execute_script("return document.querySelectorAll('script, img, article h1, article a').length") == 0


def test_screenshots_of_the_page_are_not_blank(browser: Any, pages: dict[str, Path], tmp_path: Path) -> None:
    for width in (PHONE, DESKTOP):
        for scheme in ("light", "dark"):
            show(browser, pages["ordinary"], width, scheme)
            image = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
            assert len(base64.b64decode(image["data"])) > 20_000
