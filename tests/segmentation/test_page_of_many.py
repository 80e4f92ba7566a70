"""Tests of the page of many photographs: rows in it, pictures beside it, some shown at a time, sorted as one likes."""

import gc
import json
import math
import shutil
from dataclasses import replace

import numpy as np
import pytest
from hostile import mutators
from hostile.stub import DarkSpots
from test_summary import NASTY, Reader, drawn

from maa.segmentation import Entry, segment_files, summary
from maa.segmentation.inputs import photographs_of
from maa.segmentation.records import Lazily
from maa.segmentation.summary import paged, write_thumbnails


def read(entries, **options):
    text = paged(entries, {"Weights": "<i>mine</i>"}, ["bad & worse.jpg is no image."], [], ["contact_sheet.jpg"])
    return text, json.loads(text.split('id="rows">')[1].split("</script>")[0])


def test_its_rows_hold_what_a_card_shows_and_no_name_ends_them():
    text, rows = read([drawn(NASTY, 6, ["Out of focus: <b>x</b>."]), drawn("clean", 0), drawn("</script><b>", 1)])
    assert [row["name"] for row in rows] == [NASTY, "clean", "</script><b>"]
    assert rows[0]["lesions"] == 6 and rows[0]["score"] == 1 and len(rows[0]["crops"]) == 4 and rows[1]["score"] is None
    assert len(rows[0]["pictures"]) == 2 and len(rows[1]["pictures"]) == 1 and rows[1]["overlay"] == "clean_overlay.jpg"
    assert "<b>" not in text and text.count("</script>") == 2 and "innerHTML" not in text
    assert "data:" not in text and "//cdn" not in text and "http" not in text


def test_its_pictures_are_written_once_and_those_of_no_one_removed(tmp_path):
    entries = [drawn("a", 3), drawn("b", 0)]
    write_thumbnails(entries, tmp_path)
    folder = tmp_path / "thumbnails"
    names = ["a_lesions.jpg", "a_thumbnail.jpg", "b_thumbnail.jpg"]
    assert sorted(path.name for path in folder.iterdir()) == names
    assert {f"thumbnails/{name}" for name in names} == {picture for row in read(entries)[1] for picture in row["pictures"]}
    (folder / "left over.jpg").write_bytes(b"")
    (folder / "a_lesions.jpg").write_bytes(b"half")
    moment = (folder / "a_thumbnail.jpg").stat().st_mtime_ns
    write_thumbnails(entries, tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == names and (folder / "a_lesions.jpg").read_bytes() != b"half"
    assert (folder / "a_thumbnail.jpg").stat().st_mtime_ns == moment


@pytest.fixture
def eyes(tmp_path):
    folder = tmp_path / "eyes"
    (folder / "below" / "deep").mkdir(parents=True)
    for number, place in enumerate((".", "below", "below/deep", ".")):
        mutators.retina(np.random.default_rng(number), (160, 150)).save(folder / place / f"{number}.png")
    return folder


def test_many_photographs_are_never_in_memory_together(eyes, tmp_path, monkeypatch):
    monkeypatch.setattr(summary, "FEW", 1)
    monkeypatch.setattr(summary, "SHEET", 2)
    most = []
    heading = summary.heading

    def count(entries):
        most.append(sum(type(thing) is Entry and thing.thumbnail != b"" for thing in gc.get_objects()))
        return heading(entries)

    monkeypatch.setattr(summary, "heading", count)
    report = segment_files(eyes, tmp_path / "out", DarkSpots(), resize=1, recursive=True)
    assert len(report.photographs) == 4 and len(most) == 3 and max(most[:2]) == 2 and most[2] <= 1, most
    assert sorted(path.name for path in (tmp_path / "out" / "contact_sheets").iterdir()) == ["2.jpg"]
    rows = read_page(tmp_path / "out")
    assert [row["name"] for row in rows] == ["0", "3", "1", "2"] or [row["name"] for row in rows] == ["0", "3", "2", "1"]
    for row in rows:
        assert all((tmp_path / "out" / file).is_file() for file in (row["overlay"], *row["pictures"]))
    anchors = [link["href"] for link in Reader((tmp_path / "out" / "index.html").read_text()).all("a")]
    assert "contact_sheet.jpg" in anchors and "contact_sheets/2.jpg" in anchors


def read_page(out):
    return json.loads((out / "index.html").read_text().split('id="rows">')[1].split("</script>")[0])


def test_folders_below_are_searched_when_asked_but_not_those_of_results(eyes, tmp_path):
    assert [name for _, name in photographs_of([eyes])[0]] == ["0", "3"]
    (eyes / "found" / ".maa").mkdir(parents=True)
    shutil.copy(eyes / "0.png", eyes / "found" / "0_mask.png")
    (eyes / "linked").symlink_to(eyes / "below")
    (eyes / "below" / ".hidden").mkdir()
    shutil.copy(eyes / "0.png", eyes / "below" / ".hidden")
    (eyes / "below" / "notes.txt").write_text("")
    jobs, problems, notes = photographs_of([eyes], recursive=True)
    assert sorted(name for _, name in jobs) == ["0", "1", "2", "3"] and problems == []
    assert notes == [f"{eyes}: passed over 1 other file and 2 folders."]
    (eyes / "below" / "deep" / "2.png").unlink()
    assert "holds no photograph:" in str(photographs_of([eyes / "below" / "deep"], recursive=True)[1][0])


@pytest.mark.slow
@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, 375])
def test_ten_thousand_are_paged_sorted_and_found_from_a_disk(tmp_path, width):
    program = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if program is None:
        pytest.skip("no chromium is on the PATH; `apt-get install chromium` installs it on Debian")
    from playwright.sync_api import sync_playwright

    kinds = [drawn(spots=spots, warnings=["Too dark."] * (spots == 1), many=1000) for spots in range(3)]

    def numbered(place):
        kind = kinds[place % 3]
        return replace(kind, name=f"eye {place}", overlay=f"eye {place}_overlay.jpg", file=f"eye {place}.jpg")

    entries = Lazily(10_000, numbered)
    write_thumbnails(entries[:60], tmp_path)
    (tmp_path / "index.html").write_text(paged(entries, {}, [], [], ["contact_sheet.jpg"]))
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program)
        page, asked, faults = browser.new_page(viewport={"width": width, "height": 700}), [], []
        page.set_default_timeout(120_000)
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: faults.append(str(error)))
        page.goto((tmp_path / "index.html").as_uri())
        status, first = page.locator(".turn span").first, page.locator("tbody tr").first
        assert page.locator("section").count() == page.locator("tbody tr").count() == summary.PAGE
        assert status.inner_text() == "page 1 of 200, 10,000 photographs"
        assert len(asked) < summary.PAGE, "pictures that are far below are not loaded yet"
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        page.get_by_role("button", name="lesions").click()
        assert first.inner_text().split() == ["eye", "2", "2", "1.00", "none"]
        page.get_by_role("button", name="photograph").click()
        assert first.inner_text().startswith("eye 0")
        page.get_by_role("button", name="photograph").click()
        assert first.inner_text().startswith("eye 9999")
        page.locator("#which").select_option("warnings")
        assert status.inner_text() == f"page 1 of {math.ceil(3333 / summary.PAGE)}, 3,333 photographs"
        page.get_by_role("button", name="Last").first.click()
        assert status.inner_text().startswith("page 67 of 67") and page.locator("section").count() == 3333 % summary.PAGE
        page.locator("#name").fill("EYE 1000")
        assert status.inner_text() == "page 1 of 1, 1 photograph"
        assert faults == [] and all(url.startswith("file:") for url in asked)
        browser.close()
