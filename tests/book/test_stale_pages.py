"""A page runs again when what it shows may have changed, and only then."""

import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

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


@pytest.mark.book
def test_the_build_runs_these_pages_and_no_others(book):
    assert executed(book) == {"computes", "prints", "reads", "judges", "alone"}
    (book / "package" / "base.py").write_text("def one():\n    return 4\n")
    (book / "index.md").write_text((book / "index.md").read_text() + "\nMore words.\n")
    assert executed(book) == {"computes", "prints"}
    assert executed(book) == set()
