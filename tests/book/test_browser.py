"""The built pages in a browser: whole, legible, usable by keyboard and by ear, and alive with no kernel behind them.

`make book` and `make test` name the folder of built pages in MAA_BOOK.  Debian's chromium opens them from a small
server on this machine, below the path that the book has on the web, or as files.  Any other host is refused, and that a page asked
is a failure.  Without a built book, a chromium or axe-core (pinned in `tests/browser`), these tests are skipped and say which of
them is missing.
"""

import json
import re
import shutil
import threading
from dataclasses import dataclass, field
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urljoin, urlparse

import pytest
import yaml
from test_book import PAGES, html  # noqa: F401  (a fixture)

pytestmark = pytest.mark.browser

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ROOT / "tests" / "browser" / "node_modules"
CONFIG = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]
ELSEWHERE = re.compile(r"https?://(?!127\.0\.0\.1)")
AT = urlparse(CONFIG["html_baseurl"]).path  # the path of the book on its server
WIDTHS = {360: 740, 768: 1024, 1280: 800}  # phone, tablet, desktop
THEMES = ("light", "dark")
CHAPTERS = [page for page in PAGES if page.startswith("notebooks/")]


# -- a server, a browser, a page ------------------------------------------------------------------------------------


class Server(SimpleHTTPRequestHandler):
    """Static files below `AT`, and the book's own page for what is not there, as the web server does it."""

    protocol_version = "HTTP/1.1"

    def translate_path(self, path):
        path = urlparse(path).path
        return super().translate_path(path.removeprefix(AT.rstrip("/"))) if path.startswith(AT) else "nowhere"

    def send_error(self, code, message=None, explain=None):
        if code != 404:
            return super().send_error(code, message, explain)
        body = (Path(self.directory) / "404.html").read_bytes()
        self.send_response(404)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def site(html):  # noqa: F811
    """The address of the book on a server of its own."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Server(*a, directory=str(html)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{AT}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(html):  # noqa: F811
    """One headless chromium for all tests."""
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium is on the PATH; `apt-get install chromium` installs it on Debian")
    if not (PACKAGES / "axe-core" / "axe.min.js").is_file():
        pytest.skip("the pinned npm packages are not installed; `make browser` installs them where npm is")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed; `make setup` installs it")
    with playwright.sync_playwright() as driver:
        quiet = [
            "--disable-gpu",
            "--disable-quic",
            "--no-first-run",
            "--disable-background-networking",
            "--disable-component-update",
            "--disable-sync",
        ]
        browser = driver.chromium.launch(executable_path=program, args=quiet)
        yield browser
        browser.close()


@dataclass
class Visit:
    """A page that is open, and what went wrong with it so far."""

    page: object
    name: str
    trouble: list[str] = field(default_factory=list)

    def route(self, route):
        self.trouble.append(f"asks another host for {route.request.url}")
        route.abort()

    def listen(self):
        self.page.route(ELSEWHERE, self.route)
        self.page.on("console", lambda m: m.type == "error" and self.trouble.append(f"console: {m.text}"))
        self.page.on("pageerror", lambda e: self.trouble.append(f"script: {e}"))
        # What was under way when a test left the page is given up by the browser, and no fault of the page.
        self.page.on(
            "requestfailed", lambda r: r.failure != "net::ERR_ABORTED" and self.trouble.append(f"failed: {r.url} ({r.failure})")
        )
        self.page.on("response", lambda r: r.status >= 400 and self.trouble.append(f"{r.status}: {r.url}"))

    def wear(self, theme: str, width: int = 1280):
        """The theme that the reader's system asks for, and a width of the window."""
        self.page.set_viewport_size({"width": width, "height": WIDTHS[width]})
        self.page.emulate_media(color_scheme=theme)
        self.page.wait_for_function("theme => document.documentElement.dataset.theme === theme", arg=theme)
        self.page.wait_for_timeout(400)  # the theme makes what scrolls focusable 300 ms after the window changed


def visit(context, site, name) -> Visit:
    """Open a page and wait until its equations and its widgets stand."""
    visit = Visit(context.new_page(), name)
    visit.listen()
    visit.page.goto(f"{site}{name}.html", wait_until="load")
    visit.page.wait_for_function("window.MathJax === undefined || window.MathJax.startup?.promise !== undefined")
    visit.page.evaluate("window.MathJax?.startup?.promise")
    visit.page.wait_for_function(
        "document.querySelectorAll('script[type=\"application/vnd.jupyter.widget-view+json\"]').length === "
        "document.querySelectorAll('.bd-article .explorer').length"
    )
    return visit


def fresh(browser, **options):
    """A context of its own, without motion; it waits long, because a busy machine is no failure."""
    context = browser.new_context(reduced_motion="reduce", **options)
    context.set_default_timeout(120_000)
    return context


@pytest.fixture(scope="module", params=PAGES)
def opened(request, browser, site):
    """A page of the table of contents, opened once for all tests that ask for it."""
    with fresh(browser) as context:
        yield visit(context, site, request.param)


@pytest.fixture
def open_page(browser, site):
    """Opens one page for one test: ``open_page(name, javascript, width)``."""
    contexts = []

    def open_page(name, javascript=True, width=1280):
        contexts.append(fresh(browser, java_script_enabled=javascript, viewport={"width": width, "height": WIDTHS[width]}))
        if javascript:
            return visit(contexts[-1], site, name)
        quiet = Visit(contexts[-1].new_page(), name)
        quiet.page.route(ELSEWHERE, quiet.route)
        quiet.page.goto(f"{site}{name}.html")
        return quiet

    yield open_page
    for context in contexts:
        context.close()


# -- each page ----------------------------------------------------------------------------------------------------


def test_the_page_loads_without_an_error(opened):
    assert opened.page.title() and opened.page.locator(".bd-article h1").first.is_visible()
    assert not opened.trouble, "\n".join(opened.trouble)


def test_no_picture_is_broken(opened):
    broken = opened.page.evaluate("""async () => {
        const bad = [];
        for (const img of document.images) {
            img.loading = 'eager';
            try { await img.decode() } catch { bad.push(img.currentSrc.slice(0, 120)) }
        }
        return bad;
    }""")
    assert not broken, f"cannot be shown: {broken}"


def test_equations_are_rendered(opened):
    raw, wrong = opened.page.evaluate("""() => [
        [...document.querySelectorAll('.bd-article .math')].filter(e => !e.querySelector('mjx-container')).map(e => e.textContent),
        [...document.querySelectorAll('mjx-merror, mjx-container [data-mjx-error]')].map(e => e.dataset.mjxError || e.textContent),
    ]""")
    assert not raw, f"left as they were written: {raw}"
    assert not wrong, f"not understood: {wrong}"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_the_page_does_not_scroll_sideways(opened, width, theme):
    opened.wear(theme, width)
    needed, wide = opened.page.evaluate("""() => {
        const edge = document.documentElement.clientWidth;
        const scrolls = e => { for (let p = e.parentElement; p; p = p.parentElement)
            if (p !== document.body && getComputedStyle(p).overflowX !== 'visible') return true; return false };
        const wide = [...document.querySelectorAll('.bd-article-container *')].filter(e =>
            e.getBoundingClientRect().right > edge + 1 && e.getBoundingClientRect().width && !scrolls(e));
        return [document.documentElement.scrollWidth - edge,
                wide.slice(0, 5).map(e => `<${e.tagName.toLowerCase()} class="${e.className}"> ${e.textContent.trim().slice(0, 60)}`)];
    }""")
    assert needed <= 0 and not wide, f"{needed} px too wide at {width} px: {wide}"
    # A wide equation scrolls; but to what lies left of its beginning nothing scrolls.
    cut = opened.page.evaluate("""() => [...document.querySelectorAll('div.math mjx-container')].filter(e =>
        e.querySelector('mjx-math').getBoundingClientRect().left < e.parentElement.parentElement.getBoundingClientRect().left - 1)
        .map(e => e.closest('div.math').id)""")
    assert not cut, f"cut off on the left at {width} px: {cut}"


def test_a_chapter_opens_with_a_picture_and_shows_its_code_without_scrolling(opened):
    if opened.name not in CHAPTERS:
        pytest.skip("no chapter")
    opened.wear("light")
    top, cut = opened.page.evaluate("""() => [
        document.querySelector('.bd-article figure img').getBoundingClientRect().top + scrollY,
        [...document.querySelectorAll('.cell_input pre')].filter(e => e.checkVisibility() && e.scrollWidth > e.clientWidth)
            .map(e => e.textContent.slice(0, 60))]""")
    assert top < 0.75 * WIDTHS[1280], "the first screen shows no picture"
    assert not cut, f"wider than the page: {cut}"


@pytest.mark.parametrize("theme", THEMES)
@pytest.mark.parametrize("width", (360, 1280))
def test_axe_finds_no_serious_violation(opened, width, theme):
    opened.wear(theme, width)
    if not opened.page.evaluate("'axe' in window"):
        opened.page.evaluate((PACKAGES / "axe-core" / "axe.min.js").read_text() + "; undefined")
    found = opened.page.evaluate("axe.run({resultTypes: ['violations']}).then(r => r.violations)")
    serious = [
        f"{v['id']} ({v['impact']}): {v['help']}\n    "
        + "\n    ".join(
            f"{n['target'][-1]} {n['html'][:160]} {n['failureSummary'].splitlines()[-1].strip()[:160]}" for n in v["nodes"][:6]
        )
        for v in found
        if v["impact"] in ("serious", "critical")
    ]
    assert not serious, "\n".join(serious)


def test_every_picture_is_told_in_words(opened):
    """A sentence and no file name; frames of an explorer that are not shown now are pictures too."""
    words = opened.page.evaluate("""() => {
        const shown = [...document.querySelectorAll('.bd-article img')].map(i => [i.alt, i.getAttribute('src').slice(0, 80)]);
        const svg = [...document.querySelectorAll('.bd-article :is(figure, .cell_output) svg:not([aria-hidden="true"])')]
            .map(s => [s.getAttribute('aria-label') || s.querySelector('title')?.textContent || '', s.outerHTML.slice(0, 80)]);
        return shown.concat(svg);
    }""")
    state = opened.page.locator('script[type="application/vnd.jupyter.widget-state+json"]')
    for text in state.all_text_contents():
        for model in json.loads(text)["state"].values():
            if "<img" in str(model["state"].get("value", "")):
                words.append((re.search(r'<img [^>]*alt="([^"]*)"', model["state"]["value"])[1], "a frame"))
    bare = [source for alt, source in words if len(alt.split()) < 3 or re.search(r"\.(png|svg|webp|jpe?g)$", alt)]
    assert not bare, f"no words for {bare}"


PICTURE = "e => [...e.querySelectorAll('img')].filter(i => i.offsetParent).map(i => i.src)"


def test_every_control_moves_its_picture_by_keyboard_and_no_kernel_runs(opened):
    explorers = opened.page.locator(".bd-article .explorer")
    for index in range(explorers.count()):
        explorer = explorers.nth(index)
        sliders, buttons = explorer.locator("input[type=range]"), explorer.locator("button")
        assert sliders.count() or buttons.count(), "an explorer without a control"
        for control in [sliders.nth(i) for i in range(sliders.count())]:
            seen = {tuple(explorer.evaluate(PICTURE))}
            control.focus()
            control.press("Home")
            steps = int(control.get_attribute("max"))
            names = set()
            for _ in range(steps + 1):
                pictures = explorer.evaluate(PICTURE)
                assert len(pictures) == 1, "one position shows one picture"
                seen.add(tuple(pictures))
                names.add(control.get_attribute("aria-valuetext"))
                control.press("ArrowRight")
            assert len(seen) == steps + 1, f"{steps + 1} positions show {len(seen)} pictures"
            assert len(names) == steps + 1, "a screen reader hears each position by its name"
            assert control.get_attribute("aria-label"), "a slider without a name"
        if not sliders.count():
            seen = set()
            for button in [buttons.nth(i) for i in range(buttons.count())]:
                button.focus()
                button.press("Enter")
                pictures = explorer.evaluate(PICTURE)
                assert len(pictures) == 1, "one position shows one picture"
                seen.add(tuple(pictures))
                assert button.get_attribute("aria-pressed") == "true", "a screen reader hears which button is down"
            assert len(seen) == buttons.count(), f"{buttons.count()} buttons show {len(seen)} pictures"


def test_nothing_went_wrong_while_the_page_was_used(opened):
    """The last of a page's tests: what the ones before it made the page do left no error either."""
    assert not opened.trouble, "\n".join(opened.trouble)


# -- with scripts off -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES)
def test_with_scripts_off_every_equation_is_mathml_and_no_tex_is_seen(open_page, page):
    still = open_page(page, javascript=False).page
    equations = still.locator(".bd-article .math")
    told = equations.evaluate_all("""all => all.map(e => {
        const maths = e.querySelector('math'), tex = e.querySelector('.tex');
        return [!!maths && maths.getBoundingClientRect().width > 2 && !/\\\\[a-z]/i.test(maths.textContent), !!tex && tex.checkVisibility(),
                e.textContent.trim().slice(0, 60)] })""")
    bad = [words for drawn, raw, words in told if raw or not drawn]
    assert not bad, f"cannot be read: {bad}"


@pytest.mark.parametrize("page", CHAPTERS)
def test_with_scripts_off_every_explorer_is_a_still_picture(open_page, page):
    still = open_page(page, javascript=False).page
    views = still.locator('script[type="application/vnd.jupyter.widget-view+json"]').count()
    pictures = still.locator(".cell_output:has(script[type='application/vnd.jupyter.widget-view+json']) img")
    assert pictures.count() >= views
    for i in range(pictures.count()):
        assert pictures.nth(i).is_visible() and pictures.nth(i).evaluate("i => i.naturalWidth") > 300


# -- from a disk ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [PAGES[0], CHAPTERS[4]])
def test_a_page_reads_from_a_file_with_no_network(browser, html, page):  # noqa: F811
    with fresh(browser, offline=True) as context:
        alone = visit(context, html.resolve().as_uri() + "/", page)
        drawn, all_equations = alone.page.evaluate(
            "[document.querySelectorAll('.math mjx-container').length, document.querySelectorAll('.bd-article .math').length]"
        )
        assert drawn >= all_equations
        if all_equations:  # with its own letters, not with those of the system
            assert alone.page.evaluate(
                "document.fonts.ready.then(() => [...document.fonts].some(f => /^MJX/.test(f.family) && f.status === 'loaded'))"
            )
        assert not alone.trouble, "\n".join(alone.trouble)


# -- finding one's way ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", [PAGES[0], CHAPTERS[3]])
def test_the_first_tab_skips_to_the_text(open_page, page):
    first = open_page(page).page
    first.keyboard.press("Tab")
    assert first.evaluate("document.activeElement.textContent.trim()") == "Skip to main content"
    assert first.locator("#pst-skip-link a").is_visible()
    first.keyboard.press("Enter")
    first.keyboard.press("Tab")
    assert first.evaluate("document.querySelector('#main-content').contains(document.activeElement)")


def test_the_menu_of_a_phone_opens_and_closes_by_keyboard(open_page):
    phone = open_page(CHAPTERS[0], width=360).page
    menu = phone.locator(".bd-sidebar-primary a, #pst-primary-sidebar-modal a", has_text="Glossary")
    assert not any(link.is_visible() for link in menu.all())
    for _ in range(12):
        phone.keyboard.press("Tab")
        if phone.evaluate("document.activeElement.matches('.primary-toggle')"):
            break
    assert phone.evaluate("document.activeElement.matches('.primary-toggle')"), "tab does not reach the menu's button"
    assert phone.evaluate("document.activeElement.getAttribute('aria-label')")
    phone.keyboard.press("Enter")
    phone.wait_for_function(
        "[...document.querySelectorAll('nav a')].some(a => /Glossary/.test(a.textContent) && "
        "a.checkVisibility() && a.getBoundingClientRect().left >= 0)"
    )
    phone.keyboard.press("Escape")
    phone.wait_for_function("!document.querySelector('dialog[open]')")


def test_the_search_finds_a_word_of_the_glossary(open_page):
    found = open_page("book/glossary")
    found.page.goto(urljoin(found.page.url, "../search.html?q=hypothesis"))
    found.page.locator("#search-results li a", has_text="Glossary").first.wait_for()
    assert not found.trouble, "\n".join(found.trouble)


@pytest.mark.parametrize("page", CHAPTERS)
def test_the_launch_menu_opens_the_edition_of_this_chapter(open_page, html, page):  # noqa: F811
    chapter = open_page(page).page
    chapter.locator(".dropdown-launch-buttons > button").click()
    colab = chapter.locator(".dropdown-launch-buttons a", has_text="Colab")
    assert colab.is_visible()
    path = re.fullmatch(
        r"https://colab\.research\.google\.com/github/[\w-]+/[\w-]+/blob/editions/(.+)", colab.get_attribute("href")
    )
    assert path and path[1] == f"{page}.ipynb" and (html / "editions" / Path(path[1]).name).is_file()


@pytest.mark.parametrize("address", ["nowhere.html", "book/nowhere.html", "a/very/deep/address/that/is/not/there"])
def test_an_address_that_is_not_there_leads_back(open_page, site, address):
    lost = open_page(PAGES[0])
    response = lost.page.goto(site + address)
    assert response.status == 404
    lost.trouble[:] = [t for t in lost.trouble if address not in t and "the server responded with a status of 404" not in t]
    assert lost.page.locator(".bd-article h1").first.text_content().startswith("This page is not here")
    assert lost.page.locator(".bd-sidebar-primary").is_visible(), "without its styles"
    for theme in THEMES:
        lost.wear(theme, 360)
        assert lost.page.evaluate("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    for link in lost.page.locator("a[href]").all():
        target = link.get_attribute("href")
        if not re.match(r"#|https?:|mailto:", target):
            assert target.startswith(AT), f"{target} depends on where the page is seen"
    lost.page.locator(".not-found-search input").fill("haemorrhage")
    lost.page.keyboard.press("Enter")
    lost.page.locator("#search-results li a").first.wait_for()
    assert not lost.trouble, "\n".join(lost.trouble)


def test_the_head_of_a_page_previews_it_and_the_foot_says_what_it_was_built_from(open_page, site, html):  # noqa: F811
    front = open_page(PAGES[0]).page
    card = front.locator("meta[property='og:image']").get_attribute("content")
    assert (html / card.removeprefix(CONFIG["html_baseurl"])).is_file()
    assert front.locator("meta[property='og:image:alt']").get_attribute("content")
    icon = urljoin(front.url, front.locator("link[rel='icon']").get_attribute("href"))
    assert (html / unquote(urlparse(icon).path).removeprefix(AT)).is_file()
    foot = front.locator(".last-updated").text_content()
    assert re.search(r"Last built on \d{4}-\d\d-\d\d", foot)
    if (ROOT / ".git").exists():
        assert re.search(r"from revision\s+[0-9a-f]{7,}", foot)


# -- the pins -------------------------------------------------------------------------------------------------------


def test_the_lock_file_names_no_registry():
    lock = (ROOT / "tests" / "browser" / "package-lock.json").read_text()
    assert '"resolved"' not in lock and "registry." not in lock and "node_modules/axe-core" in json.loads(lock)["packages"]
