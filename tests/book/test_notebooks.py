"""The sources of the book keep their form: every page is listed, every chapter is short, checked and stands alone."""

import json
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def test_the_toc_lists_every_page_once():
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text())
    pages = [toc["root"]] + [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    sources = list((ROOT / "book").glob("*.md")) + NOTEBOOKS
    assert sorted(pages) == sorted(str(p.relative_to(ROOT).with_suffix("")) for p in sources)


def code_cells(path: Path) -> list[dict]:
    return [c for c in json.loads(path.read_text())["cells"] if c["cell_type"] == "code" and c["source"]]


def source_of(cell: dict) -> str:
    return "".join(cell["source"])


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_is_short_enough_to_read(path):
    cells = code_cells(path)
    lengths = sorted(len(source_of(c).splitlines()) for c in cells)
    assert len(cells) <= 25, "at most 25 code cells a chapter"
    assert lengths[-1] <= 30, "at most 30 lines a cell"
    assert lengths[len(lengths) // 2] <= 12, "a median of about 10 lines a cell"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_holds_no_error_and_checks_its_key_numbers(path):
    cells = code_cells(path)
    for cell in cells:
        assert not [o for o in cell["outputs"] if o["output_type"] == "error"], source_of(cell)
    checked = [c for c in cells if "nbval-check-output" in c["metadata"].get("tags", [])]
    assert checked, "no cell is tagged nbval-check-output, so no number of the chapter is tested"
    assert all(c["outputs"] for c in checked), "a checked cell is stored without its output"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_starts_on_a_bare_machine(path):
    first = source_of(code_cells(path)[0])
    assert first == source_of(code_cells(NOTEBOOKS[0])[0]), "the first cell is the same in every chapter"
    assert len(first.splitlines()) <= 12 and first.count("print(") == 1


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_chapter_opens_with_its_question_and_a_picture(path):
    head = source_of(json.loads(path.read_text())["cells"][0])
    (title,) = (line for line in head.splitlines() if line.startswith("# "))
    assert title.endswith("?"), "a chapter's title is its question"
    assert "```{glue:figure}" in head, "a picture before the first code"
