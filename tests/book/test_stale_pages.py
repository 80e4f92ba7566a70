"""A page runs again when what it shows may have changed, and only then."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.cache.db import NbCacheRecord

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import stale_pages  # noqa: E402

CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_nb", "stale_pages"]
nb_execution_mode = "cache"
exclude_patterns = ["_build"]
import stale_pages
here = stale_pages.Path(".").resolve()
stale_pages.inputs.__defaults__ = (here, here / "package")
"""


@pytest.fixture
def book(tmp_path):
    """A book of five pages over a package: `room.top` imports `base`, and `other` stands alone."""
    package = tmp_path / "package"
    (package / "pretrained").mkdir(parents=True)
    (package / "base.py").write_text('def one():\n    """One."""\n    return 1\n')
    (package / "room").mkdir()
    (package / "room" / "templates").mkdir()
    (package / "room" / "__init__.py").write_text("from maa.room.top import two\n")
    (package / "room" / "top.py").write_text("def two():\n    from maa.base import one\n    return 2 * one()\n")
    (package / "other.py").write_text("THREE = 3\n")
    (tmp_path / "results" / "run").mkdir(parents=True)
    (tmp_path / "results" / "run" / "results.json").write_text("{}")
    (tmp_path / "constraints.txt").write_text("numpy==1\n")
    (tmp_path / "conf.py").write_text(CONF)
    (tmp_path / "index.md").write_text("# Book\n\n```{toctree}\ncomputes\nprints\nreads\njudges\nalone\n```\n")
    for name, code in {
        "computes": "if False:\n    from maa import room",
        "prints": "import inspect\nif False:\n    from maa import room\n    room.one",
        "reads": "published = 'run'",
        "judges": "verdict = 'run'",
    }.items():
        cells = [nbformat.v4.new_markdown_cell(f"# {name}"), nbformat.v4.new_code_cell(code)]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{name}.ipynb")
    (tmp_path / "alone.md").write_text(
        "---\nkernelspec: {name: python3, display_name: Python 3}\n"
        "jupytext: {text_representation: {extension: .md, format_name: myst}}\n---\n"
        "# alone\n\n```{code-cell} ipython3\n:tags: [hide-input]\nprint('from maa import other')\n```\n"
    )
    return tmp_path


def keys(book: Path) -> dict[str, str]:
    pages = [*book.glob("*.ipynb"), book / "alone.md"]
    return {page.stem: stale_pages.inputs(page, book, book / "package") for page in pages}


@pytest.mark.parametrize(
    ("file", "text", "again"),
    [
        ("package/base.py", 'def one():\n    """Uno."""  # in Italian\n    return 1\n', {"prints"}),
        ("package/room/top.py", "def two():  # twice\n    from maa.base import one\n    return 2 * one()\n", set()),
        ("package/base.py", "def one():\n    return 4\n", {"computes", "prints"}),
        ("package/other.py", "THREE = 4\n", set()),
        ("package/pretrained/settings.json", "{}", {"computes", "prints"}),
        ("package/room/templates/page.html", "<p>{{ one }}</p>", {"computes", "prints"}),
        ("results/run/results.json", '{"rows": 1}', {"reads", "judges"}),
        ("constraints.txt", "numpy==2\n", {"computes", "prints", "reads", "judges", "alone"}),
    ],
)
def test_a_change_concerns_the_pages_that_could_show_it(book, file, text, again):
    before = keys(book)
    (book / file).write_text(text)
    after = keys(book)
    assert {page for page in before if before[page] != after[page]} == again


def test_other_data_concern_every_page(book, monkeypatch):
    before = keys(book)
    monkeypatch.setenv("MAA_IDRID", "idrid")
    assert not set(before.items()) & set(keys(book).items())


def executed(book: Path) -> set[str]:
    """Build the book; which pages ran."""
    done = subprocess.run([sys.executable, "-m", "sphinx", "-W", ".", "_build/html"], cwd=book, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return set(re.findall(r"(\w+)\.\w+: .*Executed notebook", re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)))


def test_what_a_killed_build_left_in_the_cache_goes(tmp_path):
    cache = get_cache(tmp_path)
    for number in range(4):
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(str(number))])
        cache.cache_notebook_bundle(CacheBundleIn(notebook, f"{number}.ipynb"), check_validity=False)
    whole, half, none, alone = cache.list_cache_records()
    at = {record: tmp_path / "executed" / record.hashkey for record in (whole, half, none, alone)}
    (at[half] / "base.ipynb").write_text((at[half] / "base.ipynb").read_text()[:40])
    (at[none] / "base.ipynb").unlink()
    NbCacheRecord.remove_record(alone.pk, cache.db)
    stale_pages.remove_half_written(cache)
    assert [record.pk for record in cache.list_cache_records()] == [whole.pk]
    assert [path.name for path in (tmp_path / "executed").iterdir()] == [whole.hashkey]


@pytest.mark.book
def test_pages_that_a_killed_build_left_half_written_are_written_again(book):
    executed(book)
    whole = {path: path.read_bytes() for path in (book / "_build" / "html").glob("*.html")}
    (book / "_build" / "html" / "computes.html").write_text("<!DOC")
    assert executed(book) == set() and (book / "_build" / "html" / "computes.html").read_text() == "<!DOC"
    (book / "_build" / "html" / stale_pages.UNFINISHED).touch()
    assert executed(book) == set() and {path: path.read_bytes() for path in whole} == whole


@pytest.mark.book
def test_the_build_runs_these_pages_and_no_others(book):
    assert executed(book) == {"computes", "prints", "reads", "judges", "alone"}
    (book / "package" / "base.py").write_text("def one():\n    return 4\n")
    (book / "index.md").write_text((book / "index.md").read_text() + "\nMore words.\n")
    assert executed(book) == {"computes", "prints"}
    assert executed(book) == set()
