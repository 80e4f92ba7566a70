"""Every page links each term of the glossary at its first use, and the rule that does it knows a use when it sees one."""

import importlib.util
import json
import os
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest
import yaml
from sphinx.search.en import SearchEnglish

ROOT = Path(__file__).resolve().parents[2]
TOC = yaml.safe_load((ROOT / "_toc.yml").read_text())
PAGES = [TOC["root"]] + [chapter["file"] for part in TOC["parts"] for chapter in part["chapters"]]
GLOSSARY = (ROOT / "book/glossary.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def rule():
    """The extension of the book, where Sphinx is installed."""
    pytest.importorskip("sphinx")
    spec = importlib.util.spec_from_file_location("first_uses", ROOT / "book/_ext/first_uses.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_glossary_is_sorted_and_explains_each_term_in_words(rule):
    terms = rule.terms_of(GLOSSARY)
    words = [t.lower().replace("à", "a") for t in terms if t != "1x, 0.5x"]
    assert words == sorted(words) and len(words) == len(set(words)) > 90
    inside = re.search(r"```\{glossary\}\n(.*?)```", GLOSSARY, re.DOTALL)[1]
    for entry in re.split(r"\n\n(?=\S)", inside.strip()):
        term, _, text = entry.partition("\n")
        assert len(text.split()) >= 5 and text.startswith("  ") and text.rstrip()[-1] in ".:", f"{term} is not explained"
    assert rule.BY_HAND <= set(terms), f"{rule.BY_HAND - set(terms)} is linked by hand and not in the glossary"


@pytest.mark.parametrize(
    ("term", "uses", "others"),
    [
        (
            "microaneurysm",
            ["A microaneurysm is", "Microaneurysms,", "(microaneurysm)"],
            ["a non-microaneurysm", "`microaneurysmal`"],
        ),
        ("hypothesis", ["one hypothesis.", "the hypotheses"], ["hypothesise"]),
        ("HGN", ["HGN 1x", "two HGNs"], ["hgn", "maa.HGN.x"]),
        ("patch", ["a patch", "patches"], ["patch-wise", "dispatch"]),
        ("precision", ["its precision,"], ["precision-recall curve"]),
        ("field of view", ["field\nof view", "Field of view"], ["field of viewing"]),
        ("F1", ["best F1"], ["f1", "F10"]),
        ("prevalence", ["prevalence"], []),
    ],
)
def test_a_use_is_known_in_any_number_and_no_other_word_is_taken_for_one(rule, term, uses, others):
    pattern = rule.pattern_of(term)
    assert all(pattern.search(text) for text in uses), uses
    assert not any(pattern.search(text) for text in others), others


def test_only_the_first_use_in_prose_is_linked(rule):
    from docutils import nodes
    from docutils.utils import new_document
    from sphinx import addnodes

    page = new_document("page")
    page += nodes.title("", "A precision-recall curve")
    page += nodes.literal_block("", "precision recall")
    page += nodes.paragraph("", "Precision and the precision-recall curve.")
    page += nodes.paragraph("", "", nodes.Text("Recall, precision, and a "), addnodes.pending_xref("", nodes.inline("", "patch"), reftype="term", reftarget="patch"), nodes.Text(" or patches."))  # fmt: skip
    before = page.astext()
    rule.link_first_uses(page, "page", ["precision", "precision-recall curve", "recall", "patch", "control"])
    links = [(x["reftarget"], x.astext()) for x in page.findall(addnodes.pending_xref)]
    assert links == [
        ("precision", "Precision"),
        ("precision-recall curve", "precision-recall curve"),
        ("recall", "Recall"),
        ("patch", "patch"),
    ]
    assert page.astext() == before, "no word of the page is changed"


class Prose(HTMLParser):
    """The running text of a built page's article, and for each character whether it lies in a link to the glossary."""

    VOID = {"area", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}

    def __init__(self, html: str):
        super().__init__()
        self.text, self.linked, self.open = "", [], []
        self.feed(html[html.index("<article") : html.rindex("</article>")])

    def handle_starttag(self, tag, attributes):
        if tag not in self.VOID:
            attributes = dict(attributes)
            classes = set((attributes.get("class") or "").split())
            skip = tag in (
                "h1",
                "h2",
                "h3",
                "h4",
                "code",
                "pre",
                "figure",
                "figcaption",
                "script",
                "style",
                "table",
                "button",
                "cite",
            ) or bool(
                classes
                & {
                    "cell",
                    "math",
                    "sd-card-title",
                    "admonition-title",
                    "sidebar-title",
                    "headerlink",
                    "caption-number",
                    "prev-next-area",
                }
            )
            self.open.append((tag, skip, tag == "a" and "glossary.html#term" in attributes.get("href", ""), tag == "a"))

    def handle_endtag(self, tag):
        while self.open and self.open.pop()[0] != tag:
            pass

    def handle_data(self, data):
        other_link = any(a and not term for _, _, term, a in self.open)
        if any(skip for _, skip, *_ in self.open) or other_link:
            data = "\n" * bool(data)
        self.text += data
        self.linked += [any(term for _, _, term, _ in self.open)] * len(data)


@pytest.mark.parametrize("page", [p for p in PAGES if p not in ("book/glossary", "book/references")])
def test_a_page_links_each_term_where_it_first_uses_it(rule, page):
    named = os.environ.get("MAA_BOOK")
    built = ROOT / (named or "_build/html") / f"{page}.html"
    if not named and not built.is_file():
        pytest.skip("the book is not built here; `make book` builds it")
    prose = Prose(built.read_text(encoding="utf-8"))
    from docutils.nodes import make_id

    links = set(re.findall(r'glossary\.html#term-([^"]+)"', built.read_text(encoding="utf-8")))
    for term in rule.terms_of(GLOSSARY):
        if term not in rule.BY_HAND and (use := rule.pattern_of(term).search(prose.text)):
            somewhere = {make_id(term), term.replace(" ", "-")} & links  # Sphinx keeps the case where it can
            start = max(0, use.start() - 40)
            assert somewhere, f"{page} uses {term!r} and nowhere links it: ...{prose.text[start : use.end() + 40]!r}"


def test_the_search_finds_the_words_of_the_glossary(rule):
    named = os.environ.get("MAA_BOOK")
    index = ROOT / (named or "_build/html") / "searchindex.js"
    if not named and not index.is_file():
        pytest.skip("the book is not built here; `make book` builds it")
    # By stems, as the search does it.  (The names of the terms stand in the index too, but only after a whole build.)
    words = json.loads(index.read_text(encoding="utf-8").removeprefix("Search.setIndex(").rstrip(" ;\n").removesuffix(")"))
    page, language = words["docnames"].index("book/glossary"), SearchEnglish({})
    pages = {stem: [found] if isinstance(found, int) else found for stem, found in words["terms"].items()}
    for term in rule.terms_of(GLOSSARY):
        stems = {language.stem(word.lower()) for word in language.split(term) if language.word_filter(word.lower())}
        unknown = {stem for stem in stems if page not in pages.get(stem, [])}
        assert not unknown, f"the search does not find {term!r} in the glossary: {unknown}"
