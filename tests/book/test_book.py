"""What was built of the book is whole: every page is there, shows no error, and leads nowhere that is not.

`make book` and `make test` name the folder of built pages in MAA_BOOK; where nobody built the book these tests
are skipped.
"""

import os
import re
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
import yaml

pytestmark = pytest.mark.book

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]


class Page(HTMLParser):
    """What a page links to, the anchors it offers, and the words in it."""

    def __init__(self, text: str):
        super().__init__()
        self.links, self.anchors, self.words, self.classes = [], set(), [], set()
        self._skip = 0
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self._skip += tag in ("script", "style")
        self.anchors |= {attributes.get("id"), attributes.get("name")} - {None}
        self.classes |= set((attributes.get("class") or "").split())
        for key in ("href", "src"):
            if attributes.get(key):
                self.links.append(attributes[key])

    def handle_endtag(self, tag):
        self._skip -= tag in ("script", "style")

    def handle_data(self, data):
        if not self._skip:
            self.words.append(data)

    @property
    def text(self) -> str:
        return "".join(self.words)


@pytest.fixture(scope="module")
def html() -> Path:
    named = os.environ.get("MAA_BOOK")
    folder = ROOT / (named or "_build/html")
    if not named and not (folder / "index.html").is_file():
        pytest.skip("the book is not built here; `make book` builds it")
    return folder


@cache
def read(path: Path) -> Page:
    return Page(path.read_text(encoding="utf-8"))


def test_the_front_door_leads_to_the_first_page(html):
    front = (html / "index.html").read_text()
    target = re.search(r"url=([^\"']+)", front)[1]
    assert target == PAGES[0] + ".html" and (html / target).is_file()


@pytest.mark.parametrize("page", PAGES)
def test_the_page_was_built_and_shows_no_error(html, page):
    built = html / f"{page}.html"
    assert built.is_file(), f"{page} stands in _toc.yml and was not built"
    content = read(built)
    assert len(content.text.split()) > 100, "hardly a word on the page"
    assert "Traceback (most recent call last)" not in content.text
    assert not {"traceback", "system-message", "problematic"} & content.classes
    assert built.stat().st_size <= 3 * 2**20, "a page stays under 3 MB"


@pytest.mark.parametrize("page", PAGES)
def test_every_internal_link_and_picture_resolves(html, page):
    built = html / f"{page}.html"
    for link in read(built).links:
        if urlparse(link).scheme or link.startswith("//"):
            continue
        target, anchor = urldefrag(link)
        target = built if not target else (built.parent / unquote(urlparse(target).path)).resolve()
        assert target.is_file(), f"{page} links to {link}, which is not there"
        if anchor and target.suffix == ".html":
            assert unquote(anchor) in read(target).anchors, f"{page} links to {link}, an anchor that is not there"


@pytest.mark.parametrize("page", [p for p in PAGES if p.startswith("notebooks/")])
def test_a_chapter_opens_on_colab_and_binder(html, page):
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["html_theme_options"]
    repository, branch = config["repository_url"].removeprefix("https://github.com/"), config["repository_branch"]
    links = read(html / f"{page}.html").links
    assert (html / "editions" / f"{Path(page).name}.ipynb").is_file()
    assert f"https://colab.research.google.com/github/{repository}/blob/{branch}/{page}.ipynb" in links
    assert f"https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{page}.ipynb" in links


def test_the_search_knows_the_glossary(html):
    index = (html / "searchindex.js").read_text()
    assert "microaneurysm" in index and "trustworthi" in index
