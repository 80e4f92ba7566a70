"""The runnable editions of the chapters say what the site says, in Markdown and LaTeX that Colab, JupyterLab and GitHub render.

Where the book is built, each edition is held against its page.  In a chromium it is rendered with JupyterLab's own treatment of
mathematics, its Markdown parser and MathJax, from the npm packages that `tests/browser` pins.
"""

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urljoin

import nbformat
import pytest
import yaml
from bs4 import BeautifulSoup
from docutils import nodes
from sphinx.errors import ExtensionError
from test_book import PAGES, html  # noqa: F401  (a fixture)
from test_browser import CONFIG, ELSEWHERE, PACKAGES, Visit, browser, fresh  # noqa: F401  (`browser` is a fixture)

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import editions  # noqa: E402

CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]
MYST = r"\{[\w:+-]+\}`|^[ >]*(?:`{3,}|:{3,})\{|^\([\w:-]+\)=|\{\{|^:[\w-]+: |\]\(\)|%s|\bnp\.\w+\(|\]\((?!https?:)"
NUMBER = r"\d+(?:[.,]\d+)*"


def named(page: str) -> str:
    return f"{Path(page).stem}.ipynb"


def read(html: Path, page: str) -> nbformat.NotebookNode:  # noqa: F811
    return nbformat.read(html / editions.FOLDER / named(page), 4)


def prose_of(html: Path, page: str) -> BeautifulSoup:  # noqa: F811
    """The article of a page as a browser with scripts reads it, without what its cells hold, but with their captions."""
    article = BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser").select_one("article.bd-article")
    for cell in article.select("div.cell"):
        captions = [caption.extract() for caption in cell.select("figcaption")]
        cell.replace_with(*captions)
    for extra in article.select("a.headerlink, script, noscript"):
        extra.decompose()
    return article


# -- a piece of a page ----------------------------------------------------------------------------------------------


@pytest.fixture
def writer() -> editions.Edition:
    """Writes pieces of a page that stands by itself."""
    config = SimpleNamespace(
        html_baseurl="https://the.site/book/",
        mathjax3_config={"tex": {"macros": {"R": r"\mathbb{R}", "AP": r"\operatorname{AP}"}}},
    )
    builder = SimpleNamespace(get_target_uri=lambda page: f"{page}.html")
    return editions.Edition(SimpleNamespace(config=config, env=None, builder=builder), "notebooks/00_none")


def test_text_stays_text(writer):
    text = "5. It costs 3 $ or 2*3 < 7 & a_b \\ ~x~ `y`"
    assert writer.block_paragraph(nodes.paragraph("", text), 1) == [
        r"5\. It costs 3 \$ or 2\*3 &lt; 7 &amp; a\_b \\ \~x\~ \`y\`"
    ]
    assert writer.block_paragraph(nodes.paragraph("", "- no list"), 1) == [r"\- no list"]
    assert writer.inline(nodes.literal("", "a`b")) == "`` a`b ``"


def test_mathematics_needs_no_macro_of_ours_and_looks_like_no_html(writer):
    assert writer.latex("x \\in \\R,\n|x| < \\APx \\|y\\|") == r"x \in \mathbb{R}, \vert x\vert \lt \APx \Vert y\Vert"
    assert writer.latex(r"a \\|b|") == r"a \\\vert b\vert", "the end of a line and no norm"


def test_a_reference_leads_to_the_site_from_anywhere(writer):
    for target, address in [
        ({"refuri": "../book/glossary.html#term-x"}, "https://the.site/book/book/glossary.html#term-x"),
        ({"refid": "here"}, "https://the.site/book/notebooks/00_none.html#here"),
        ({"refuri": "https://else.where/"}, "https://else.where/"),
    ]:
        assert writer.inline(nodes.reference("", "", nodes.emphasis("", "word"), **target)) == f"[*word*]({address})"


def test_a_quotation_holds_lists_and_mathematics(writer):
    items = nodes.bullet_list(
        "", *(nodes.list_item("", nodes.paragraph("", "", nodes.Text(f"{n}: "), nodes.math("", "a\nb"))) for n in (1, 2))
    )
    (block,) = writer.block(nodes.admonition("", nodes.title("", "Mind"), items), 1)
    assert block == "> **Mind**\n>\n> - 1: $a b$\n> - 2: $a b$"


def test_what_has_no_markdown_stops_the_build_and_says_so(writer):
    with pytest.raises(ExtensionError, match="notebooks/00_none: an edition has no Markdown for definition_list"):
        writer.block(nodes.definition_list(), 1)
    with pytest.raises(ExtensionError, match="no Markdown for image in a line"):
        writer.inline(nodes.image())


# -- each edition beside its page -------------------------------------------------------------------------------------


@pytest.mark.book
@pytest.mark.parametrize("page", CHAPTERS)
def test_nothing_survives_that_only_a_build_understands(html, page):  # noqa: F811
    """No role, directive, label, substitution or fence of MyST, no empty number, no relative link, and no value as Python prints it."""
    notebook = read(html, page)
    nbformat.validate(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            found = re.findall(f".*(?:{MYST}).*", cell.source, re.MULTILINE)
            assert not found, found


@pytest.mark.book
@pytest.mark.parametrize("page", CHAPTERS)
def test_the_code_is_the_source_s_and_has_no_outputs(html, page):  # noqa: F811
    def code(notebook):
        return [(c.source, c.id, c.metadata.get("tags", [])) for c in notebook.cells if c.cell_type == "code"]

    notebook = read(html, page)
    assert code(notebook) == code(nbformat.read(ROOT / f"{page}.ipynb", 4))
    assert not any(cell.outputs or cell.execution_count for cell in notebook.cells if cell.cell_type == "code")


@pytest.mark.book
@pytest.mark.parametrize("page", CHAPTERS)
def test_every_number_of_the_page_s_prose_stands_in_the_edition(html, page):  # noqa: F811
    text = "\n".join(c.source for c in read(html, page).cells if c.cell_type == "markdown")
    shown, written = (
        Counter(re.findall(NUMBER, t)) for t in (prose_of(html, page).get_text(), re.sub(r"\]\([^)]*\)", "]", text))
    )
    assert sum(shown.values()) > 20, "hardly a number on the page"
    assert not shown - written


@pytest.mark.book
@pytest.mark.parametrize("page", CHAPTERS)
def test_the_page_offers_its_edition(html, page):  # noqa: F811
    offered = BeautifulSoup((html / f"{page}.html").read_text(encoding="utf-8"), "html.parser").select(
        ".btn-download-source-button"
    )
    assert {(html / page).parent.joinpath(link["href"]).resolve() for link in offered} == {
        html.resolve() / "editions" / named(page)
    }
    first, *_ = (c.source for c in read(html, page).cells)
    address = urljoin(CONFIG["html_baseurl"], f"{page}.html")
    assert first.startswith("# ") and f"\n\n> A runnable edition of [this page]({address})" in first


# -- as JupyterLab renders it -----------------------------------------------------------------------------------------

#: Where the pinned npm packages seem to lie.
NPM = "https://npm.invalid/"
RENDER = """async ([cells, latex, parser]) => {
    const [{removeMath, replaceMath}, {marked}] = await Promise.all([import(latex), import(parser)]);
    document.body.innerHTML = cells.map(source => {
        const {text, math} = removeMath(source);
        return replaceMath(marked.parse(text, {gfm: true}), math);
    }).join('\\n');
    return document.body.innerHTML;
}"""
EQUATIONS = """async () => {
    await MathJax.startup.promise; await MathJax.typesetPromise();
    // What is read aloud of each, without the number beside it, which the site writes elsewhere.
    const words = root => new DOMParser().parseFromString(MathJax.startup.toMML(root), 'text/xml');
    return [...MathJax.startup.document.math].map(item => {
        const tree = words(item.root);
        const tags = [...tree.querySelectorAll('mlabeledtr > mtd:first-child')].map(t => { t.remove(); return t.textContent.trim() });
        return [item.display, tree.documentElement.textContent.replace(/\\s/g, ''), tags.join()];
    });
}"""
TYPESETTER = f"""<!doctype html><meta charset="utf-8"><script>MathJax = {{tex: {{
    inlineMath: [['$', '$'], ['\\\\(', '\\\\)']], displayMath: [['$$', '$$'], ['\\\\[', '\\\\]']],
    processEscapes: true, processEnvironments: true%s}}, startup: {{typeset: false}}}}</script>
    <script src="{NPM}mathjax/es5/tex-mml-chtml.js"></script>"""


def from_npm(route):
    """Answer with the file of the pinned packages."""
    route.fulfill(path=PACKAGES / route.request.url.removeprefix(NPM), headers={"Access-Control-Allow-Origin": "*"})


@pytest.fixture(scope="module", params=CHAPTERS)
def rendered(request, browser, html):  # noqa: F811
    """The article of a page, the edition as HTML, and the equations of both."""
    page, found = request.param, []
    article = prose_of(html, page)
    cells = [cell.source for cell in read(html, page).cells if cell.cell_type == "markdown"]
    modules = [f"{NPM}{file}" for file in ("@jupyterlab/rendermime/lib/latex.js", "marked/lib/marked.esm.js")]
    with fresh(browser) as context:
        for macros in ("", f", macros: {CONFIG['mathjax3_config']['tex']['macros']}"):
            view = Visit(context.new_page(), page)
            view.page.route(ELSEWHERE, view.route)
            view.page.route(f"{NPM}**", from_npm)
            view.page.route("**/_images/*", lambda route: route.abort())  # the site's, which test_book.py looks for
            view.page.set_content(TYPESETTER % macros)
            if macros:
                view.page.evaluate("text => { document.body.innerHTML = text }", "".join(map(str, article.select(".math"))))
            else:
                found.append(BeautifulSoup(view.page.evaluate(RENDER, [cells, *modules]), "html.parser"))
            found.append(view.page.evaluate(EQUATIONS))
            wrong = view.page.evaluate("[...document.querySelectorAll('mjx-merror, [data-mjx-error]')].map(e => e.textContent)")
            assert not view.trouble and not wrong, f"{view.trouble} {wrong}"
    edition, equations, on_the_page = found
    return SimpleNamespace(page=page, article=article, edition=edition, equations=equations, on_the_page=on_the_page)


def plain(node) -> str:
    """The letters and digits of a text; those of mathematics are compared as equations."""
    for code in node.select("pre"):
        code.string = code.get_text().replace("$", "")  # a prompt
    text = re.sub(r"\$\$?[^$]+\$\$?|\\\(.+?\\\)|\\\[.+?\\\]", "", node.get_text(), flags=re.DOTALL)
    return re.sub(r"[\W_]+", "", text)


@pytest.mark.browser
def test_the_headings_are_those_of_the_page(rendered):
    on_the_page = rendered.article.select("h1, h2, h3, h4, .exercise > .admonition-title")
    assert [plain(h) for h in rendered.edition.select("h1, h2, h3, h4")] == [plain(h) for h in on_the_page]


@pytest.mark.browser
def test_the_equations_are_those_of_the_page_and_have_their_numbers(rendered):
    assert len(rendered.equations) > 2
    assert [item[:2] for item in rendered.equations] == [item[:2] for item in rendered.on_the_page]
    numbers = [number.get_text() for number in rendered.article.select(".eqno")]
    assert [tag for _, _, tag in rendered.equations if tag] == numbers


@pytest.mark.browser
def test_the_links_lead_where_those_of_the_page_do(rendered):
    address = urljoin(CONFIG["html_baseurl"], f"{rendered.page}.html")
    links = {(plain(a), urljoin(address, a["href"])) for a in rendered.article.select("a[href]:not(:has(img))")}
    found = {(plain(a), a["href"]) for a in rendered.edition.select("a[href]")}
    assert links <= found
    more = {target for _, target in found - links if not target.startswith(address)}  # of captions and the notice to the page
    assert more == {CONFIG["html_baseurl"]}
    pictures = [urljoin(address, image["src"]) for image in rendered.article.select("img")]
    assert [image["src"] for image in rendered.edition.select("img")] == pictures


@pytest.mark.browser
def test_the_words_and_numbers_are_those_of_the_page(rendered):
    """Each paragraph, item, caption, title and field of a table stands whole in the edition, in the page's order."""
    for abbreviation in rendered.article.select("abbr"):
        abbreviation.append(f" ({abbreviation['title']})")  # a notebook has no pointer that rests on it
    written, at = plain(rendered.edition), 0
    for block in rendered.article.select("h1, h2, h3, p, figcaption, th, td"):
        if block.find_parent(["figcaption", "th", "td"]):
            continue
        words = plain(block)
        place = written.find(words, at)
        assert place >= 0, f"not in the edition, or not there: {block.get_text()[:200]}"
        at = place + len(words)


# -- where they are published -----------------------------------------------------------------------------------------


def test_the_workflow_puts_them_where_the_launch_links_lead(tmp_path):
    """Its script, run in a clone: a branch of one commit with the editions, what Binder needs, and nothing else."""
    if subprocess.run(["git", "rev-parse"], cwd=ROOT, capture_output=True).returncode:
        pytest.skip("not a git checkout")
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "book.yml").read_text())
    job = workflow["jobs"]["editions"]
    (script,) = (step["run"] for step in job["steps"] if "run" in step)
    (folder,) = (step["with"]["path"] for step in job["steps"] if "download-artifact" in step.get("uses", ""))

    def git(*arguments, at):
        done = subprocess.run(["git", *arguments], cwd=at, check=True, capture_output=True, text=True)
        return done.stdout

    git("init", "--quiet", "--bare", "origin", at=tmp_path)
    git("init", "--quiet", "--initial-branch=main", "clone", at=tmp_path)
    clone = tmp_path / "clone"
    for name in [".binder", ".gitignore", "LICENSE", "README.md", "pyproject.toml", *(f"{page}.ipynb" for page in CHAPTERS)]:
        (clone / name).parent.mkdir(exist_ok=True)
        (shutil.copytree if (ROOT / name).is_dir() else shutil.copy)(ROOT / name, clone / name)
    git("add", "--all", at=clone)
    git("-c", "user.name=t", "-c", "user.email=t@t", "commit", "--quiet", "-m", "The sources", at=clone)
    git("remote", "add", "origin", "../origin", at=clone)
    for again in range(2):
        (clone / folder).mkdir(exist_ok=True)
        for page in CHAPTERS:
            (clone / folder / named(page)).write_text(f"edition {again} of {page}")
        done = subprocess.run(
            ["bash", "-e"], input=script, cwd=clone, text=True, capture_output=True, env=os.environ | {"GITHUB_SHA": "0" * 40}
        )
        assert done.returncode == 0, done.stderr
        git("switch", "--quiet", "--force", "main", at=clone)
        git("branch", "--quiet", "-D", "editions", at=clone)
    branch = CONFIG["html_theme_options"]["repository_branch"]
    listed = git("ls-tree", "-r", "--name-only", branch, at=tmp_path / "origin").split()
    assert set(listed) == {f"{page}.ipynb" for page in CHAPTERS} | {
        ".binder/environment.yml",
        ".binder/postBuild",
        "LICENSE",
        "README.md",
    }
    for page in CHAPTERS:
        assert git("show", f"{branch}:{page}.ipynb", at=tmp_path / "origin") == f"edition 1 of {page}"
    assert git("rev-list", "--count", branch, at=tmp_path / "origin").strip() == "1"
    assert git("ls-tree", branch, ".binder/postBuild", at=tmp_path / "origin").startswith("100755")
