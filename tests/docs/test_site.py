"""The documentation site builds with one command, every link in it leads somewhere, and it fetches nothing."""

import re
import shutil
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest

from tests.docs.console import blocks
from tests.docs.place import PAGES, ROOT


class Page(HTMLParser):
    """Link targets, fetched addresses and anchors of an HTML page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.fetched: list[str] = []
        self.anchors: set[str] = set()
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.anchors |= {values[name] for name in ("id", "name") if values.get(name)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if tag in ("script", "img", "link"):
            fetched = values.get("src") or (values.get("href") if values.get("rel") != "canonical" else None)
            if fetched:
                self.fetched.append(fetched)


@pytest.fixture(scope="module")
def site(tmp_path_factory) -> Path:
    project = tmp_path_factory.mktemp("site")
    shutil.copy(ROOT / "zensical.toml", project)
    shutil.copytree(ROOT / "docs", project / "docs")
    command = [Path(sys.executable).with_name("zensical"), "build", "--strict", "--clean"]
    built = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    return project / "site"


def test_every_page_of_docs_is_in_the_site_and_in_its_navigation(site):
    home = Page((site / "index.html").read_text(encoding="utf-8"))
    for path in (ROOT / "docs").glob("*.md"):
        if path.stem != "index":
            assert (site / path.stem / "index.html").is_file(), path
            assert any(link.rstrip("/").endswith(path.stem) for link in home.links), f"{path} is not in zensical.toml"


def test_every_link_of_the_site_leads_to_a_page_and_an_anchor_that_exist(site):
    pages = {path.resolve(): Page(path.read_text(encoding="utf-8")) for path in site.rglob("*.html")}
    checked = 0
    for path, page in pages.items():
        if path.name == "404.html":  # its links are relative to wherever the wrong address was
            continue
        for link in page.links:
            address, fragment = urldefrag(link)
            if urlparse(address).scheme or address.startswith("//"):
                continue
            target = (path.parent / unquote(address)).resolve() if address else path
            target = target / "index.html" if target.is_dir() else target
            assert target in pages or target.is_file(), f"{path.relative_to(site)}: {link}"
            if fragment and target in pages:
                assert unquote(fragment) in pages[target].anchors, f"{path.relative_to(site)}: {link}"
            checked += 1
    assert checked > 200


def test_the_site_fetches_nothing_from_elsewhere(site):
    for path in site.rglob("*.html"):
        outside = [link for link in Page(path.read_text(encoding="utf-8")).fetched if urlparse(link).netloc]
        assert not outside, (path, outside)


@pytest.mark.parametrize("page", [*PAGES, "CONTRIBUTING.md", "CHANGELOG.md"])
def test_every_relative_link_of_a_page_leads_to_a_file(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    for block in blocks(ROOT / page):
        text = text.replace("\n".join(block.lines), "")
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        address, fragment = urldefrag(link)
        if urlparse(address).scheme:
            continue
        target = ((ROOT / page).parent / address).resolve() if address else ROOT / page
        assert target.exists(), f"{page}: {link}"
        assert page == "README.md" or target.is_relative_to(ROOT / ("docs" if page.startswith("docs/") else ".")), link
        if fragment and target.suffix == ".md":
            assert fragment in headings(target), f"{page}: {link}"


def headings(page: Path) -> set[str]:
    """The anchors that Markdown renderers give a page's headings."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in found}
