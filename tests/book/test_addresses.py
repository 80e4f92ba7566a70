"""Addresses that somebody may have saved stay: pages, and the anchors in them of sections, figures, equations, tables and terms.

`addresses.txt` beside this file lists them.  ``python tests/book/test_addresses.py`` adds those that the built book has more.
"""

import re
from collections import defaultdict
from pathlib import Path

import pytest
from test_book import PAGES, html, read  # noqa: F401  (a fixture)

pytestmark = pytest.mark.book

ROOT = Path(__file__).resolve().parents[2]
LIST = Path(__file__).with_name("addresses.txt")
#: Anchors that Sphinx numbers through: nobody is offered a link to them.
NUMBERED = re.compile(r"(id|index-|codecell|cite-|cell-)\d*|.*-(solution|exercise)-\d+|T_[0-9a-f]+")  # T_: tables of pandas
#: What offers its own address: a section, a figure, a table, an exercise, an equation, a term.
OFFERS = re.compile(r'<(?:section|figure|table|dt|div)\b[^>]*\bid="([^"]+)"')


def listed() -> dict[str, set[str]]:
    """The anchors of each page that stay."""
    found = defaultdict(set)
    for line in LIST.read_text(encoding="utf-8").split():
        page, _, anchor = line.partition("#")
        found[page] |= {anchor} - {""}
    return found


def offered(built: Path) -> set[str]:
    """The anchors that a built page offers."""
    article = built.read_text(encoding="utf-8").partition('<article class="bd-article">')[2].partition("</article>")[0]
    return {anchor for anchor in OFFERS.findall(article) if not NUMBERED.fullmatch(anchor)}


@pytest.mark.parametrize("page", listed())
def test_saved_addresses_still_lead_somewhere(html, page):  # noqa: F811
    built = html / f"{page}.html"
    assert built.is_file(), (
        f"{page}.html was public and is gone.  Keep it; or add sphinx-reredirects to the extensions in _config.yml, with "
        f"'{page}' and where it went in its `redirects`, and take its lines out of {LIST.name}."
    )
    gone = listed()[page] - read(built).anchors
    assert not gone, (
        f"{page} had the anchors {sorted(gone)}, to which somebody may have a link.  Put a line such as ({min(gone)})= above the "
        f"section that says it now; an anchor may stand beside another."
    )


def test_the_list_has_every_page_and_the_words_of_the_glossary():
    assert set(listed()) >= set(PAGES)
    assert "term-microaneurysm" in listed()["book/glossary"] and "equation-eq-triplet" in listed()["notebooks/05_refinement"]


if __name__ == "__main__":
    addresses = {f"{page}#{anchor}" for page, anchors in listed().items() for anchor in anchors} if LIST.is_file() else set()
    for page in PAGES:
        addresses |= {page} | {f"{page}#{anchor}" for anchor in offered(ROOT / "_build/html" / f"{page}.html")}
    LIST.write_text("\n".join(sorted(addresses)) + "\n", encoding="utf-8")
