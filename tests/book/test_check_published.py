"""The script that looks at the published book finds what is wrong with it, on a server of this machine."""

import datetime
import shutil
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "make"))
import check_published  # noqa: E402

REVISION = "0123456789abcdef0123456789abcdef01234567"
TODAY = datetime.date(2026, 11, 26)


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture
def published(tmp_path):
    """A book of the right pages on a server: its folder and its address."""
    words = "word " * 100
    for page in check_published.pages():
        file = tmp_path / f"{page}.html"
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"<html><body><h1>A page</h1><p>{words}</p></body></html>")
    front = tmp_path / f"{check_published.pages()[0]}.html"
    said = f"Gains: {', '.join(check_published.gains().values())}.  Last built on {TODAY}\nfrom revision <a>{REVISION[:7]}</a>."
    front.write_text(f"<html><body><h1>The front</h1><script>no words</script><p>{words}{said}</p></body></html>")
    server = ThreadingHTTPServer(("127.0.0.1", 0), lambda *a: Quiet(*a, directory=str(tmp_path)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield tmp_path, f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_a_whole_book_is_well(published):
    assert check_published.troubles(published[1], REVISION, TODAY) == []
    assert check_published.troubles(published[1], REVISION, TODAY + datetime.timedelta(1)) == []


def test_what_is_wrong_is_named(published):
    folder, address = published
    chapter = check_published.pages()[3]
    (folder / f"{chapter}.html").unlink()
    front = folder / f"{check_published.pages()[0]}.html"
    gain = check_published.gains()["control over hgn_1x, cross-validated"]
    front.write_text(front.read_text().replace(gain, "+1.0 %"))
    found = check_published.troubles(address, "f" * 40, TODAY + datetime.timedelta(2))
    assert [next(word for word in (chapter, "2026-11-28", "ffff", gain) if word in line) for line in found] == [
        chapter, "2026-11-28", "ffff", gain]  # fmt: skip
    shutil.rmtree(folder / Path(check_published.pages()[0]).parent)
    assert f"{check_published.pages()[0]} cannot be fetched" in check_published.troubles(address, REVISION, TODAY)[0]


def test_a_server_that_is_away_is_named_page_by_page():
    found = check_published.troubles("http://127.0.0.1:9/", REVISION, TODAY)
    assert len(found) == len(check_published.pages()) and all("cannot be fetched" in line for line in found)


@pytest.mark.book
def test_the_front_page_prints_the_gains_as_the_script_expects_them():
    page = ROOT / "_build/html" / f"{check_published.pages()[0]}.html"
    if not page.is_file():
        pytest.skip("the book is not built here; `make book` builds it")
    text = check_published.Words(page.read_text()).text
    assert all(gain in text for gain in check_published.gains().values())
