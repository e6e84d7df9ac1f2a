"""The rating form in a real browser: rated with the mouse, saved as CSV, read back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from common.report.human_scores import read_human_scores
from common.report.human_sheet import write_human_sheet
from tests.report.example_runs import corpus, write_evaluation
from tests.report.test_browser import LOW_CONTRAST, PHONE, browser, show  # noqa: F401 (a fixture)
from tests.waiting import wait_until

pytestmark = pytest.mark.slow


def test_ratings_given_in_the_form_come_back(browser: Any, tmp_path: Path) -> None:  # noqa: F811
    write_evaluation(tmp_path, corpus(8))
    page = write_human_sheet(tmp_path, 2)[0]
    browser.execute_cdp_cmd("Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(tmp_path)})
    for scheme in ("light", "dark"):
        show(browser, page, PHONE, scheme)
        assert browser.execute_script("return document.documentElement.scrollWidth") <= PHONE
        assert browser.execute_script(LOW_CONTRAST) == []
    browser.execute_script(
        "document.getElementById('rater').value = 'Ann 1';"
        "document.querySelectorAll('input[value=\"4\"]').forEach(input => input.click())"
    )
    assert browser.execute_script("return document.getElementById('progress').textContent") == "24 of 24 ratings given"
    browser.execute_script("document.querySelector('button').click()")
    saved = tmp_path / "ratings-Ann-1.csv"
    wait_until(saved.is_file)
    scores = read_human_scores(tmp_path, [saved])
    assert scores.raters == ("Ann 1",)
    assert {name: means["overall"].mean for name, means in scores.means.items()} == {
        "tuned": 4.0,
        "base": 4.0,
        "reference": 4.0,
    }
    show(browser, page, PHONE, "light")
    assert browser.execute_script("return document.getElementById('rater').value") == "Ann 1"
