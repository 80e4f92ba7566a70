"""The pages run beforehand, here two at a time, and the build says how far that is."""

import json
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import run_pages  # noqa: E402

EXPECTED = {"one": 10.0, "two": 20.0, "three": 30.0}


@pytest.mark.parametrize(
    ("done", "running", "left"),
    [
        ({}, {}, 30.0),  # all of it, by two
        ({"one": 80.0}, {}, 60.0),  # at half the pace, with the minute that counts beside it, and the longest page by itself
        ({"one": 10.0}, {"two": 15.0, "three": 10.0}, 20.0),
        ({"one": 10.0, "two": 20.0}, {"three": 45.0}, 0.0),  # later than thought, but not less than nothing
        (EXPECTED, {}, 0.0),
    ],
)
def test_the_rest_is_reckoned_by_the_pace_so_far(monkeypatch, done, running, left):
    monkeypatch.setattr(run_pages, "AT_A_TIME", 2)
    assert run_pages.seconds_left(EXPECTED, done, running) == pytest.approx(left)


def test_light_pages_run_beside_the_others(monkeypatch):
    monkeypatch.setattr(run_pages, "AT_A_TIME", 1)
    expected = EXPECTED | {"book/four": 12.0, "book/five": 13.0}
    assert run_pages.seconds_left(expected, {}, {}) == pytest.approx(60.0)
    assert run_pages.seconds_left(expected, EXPECTED, {"book/four": 2.0}) == pytest.approx(23.0)


def test_a_line_says_what_is_done_what_runs_and_what_is_left():
    line = run_pages.in_words(list(EXPECTED), {"one": 3.0}, {"notebooks/two": 12.3}, 33.0)
    assert line == "1 of 3 pages done; running two (12 s); about 30 s left"
    assert run_pages.in_words(list(EXPECTED), EXPECTED, {}, 0.0) == "3 of 3 pages done"


def test_the_expected_seconds_are_of_pages_that_exist():
    for page in json.loads(run_pages.SECONDS.read_text()):
        assert any((ROOT / f"{page}{suffix}").is_file() for suffix in (".md", ".ipynb")), page


CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
import run_pages
run_pages.AT_A_TIME = 2
extensions = ["myst_nb", "sphinx_external_toc", "run_pages"]
external_toc_path = "_toc.yml"
exclude_patterns = ["_build"]
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
"""
#: Each of the two waits for the other, so they end only if they run at the same time.
MEETS = """
import pathlib, time
pathlib.Path("{mine}").touch()
end = time.monotonic() + 60
while not pathlib.Path("{other}").exists():
    assert time.monotonic() < end, "alone"
    time.sleep(0.05)
print("met")
"""


def build(book: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--color", ".", "_build/html"], cwd=book, capture_output=True, text=True
    )


@pytest.mark.slow
@pytest.mark.book
def test_two_pages_run_at_the_same_time_and_once(tmp_path):
    (tmp_path / "conf.py").write_text(CONF)
    (tmp_path / "_toc.yml").write_text("root: index\nentries:\n  - file: a\n  - file: b\n")
    (tmp_path / "index.md").write_text("# Book\n")
    for mine, other in ("ab", "ba"):
        cells = [nbformat.v4.new_markdown_cell(f"# {mine}"), nbformat.v4.new_code_cell(MEETS.format(mine=mine, other=other))]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), tmp_path / f"{mine}.ipynb")
    done = build(tmp_path)
    said = re.sub(r"\x1b\[[\d;]*m", "", done.stdout)
    assert done.returncode == 0, said + done.stderr
    assert "Running 2 pages" in said and "2 of 2 pages done" in said and "Executed notebook" not in said
    assert all("met" in (tmp_path / f"_build/html/{page}.html").read_text() for page in "ab")

    (tmp_path / "a").unlink()
    (tmp_path / "index.md").write_text("# Book\n\nMore words.\n")
    assert build(tmp_path).returncode == 0 and not (tmp_path / "a").exists(), "ran again without a reason"

    notebook = nbformat.read(tmp_path / "a.ipynb", 4)
    notebook.cells[1].source = "1 / 0"
    nbformat.write(notebook, tmp_path / "a.ipynb")
    failed = build(tmp_path)
    assert failed.returncode and "These pages stopped with an error" in failed.stderr and "ZeroDivisionError" in failed.stderr
