"""Tests of maa.segmentation.many and its records: every photograph is an island, and what is done is not done again."""

import csv
import json
import os
import shutil

import numpy as np
import pandas as pd
import pytest
from hostile import mutators
from hostile.stub import DarkSpots

from maa.provenance import write_json
from maa.segmentation import contact_sheet, font, segment, segment_files, summary
from maa.segmentation.inputs import photographs_of


@pytest.fixture
def eyes(tmp_path):
    folder = tmp_path / "eyes"
    folder.mkdir()
    for number, name in enumerate(("left.png", "right.png")):
        mutators.retina(np.random.default_rng(number), (160, 150)).save(folder / name)
    return folder


@pytest.fixture
def counted(monkeypatch):
    """The names of photographs that were really segmented."""
    names = []

    def count(path, *arguments):
        names.append(os.path.basename(path))
        return segment(path, *arguments)

    monkeypatch.setattr("maa.segmentation.many.segment", count)
    return names


def contents(out):
    return {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}


def run(eyes, out, **options):
    return segment_files(eyes, out, DarkSpots(), **{"resize": 1} | options)


# --- what is done is not done again ---------------------------------------------------------------


def test_what_is_done_and_unchanged_is_left_as_it_is(eyes, tmp_path, counted):
    out = tmp_path / "out"
    first = run(eyes, out)
    files = contents(out)
    again = run(eyes, out)
    assert counted == ["left.png", "right.png"] and contents(out) == files
    assert again.notes == ["2 photographs were done before and unchanged; --force does them again."]
    pd.testing.assert_frame_equal(again.photographs, first.photographs)
    pd.testing.assert_frame_equal(again.lesions, first.lesions)
    run(eyes, out, force=True)
    assert counted[2:] == ["left.png", "right.png"] and contents(out) == files


@pytest.mark.parametrize(
    "change", ["photograph", "result", "missing result", "record", "threshold", "degrees", "weights", "version"]
)
def test_what_changed_is_done_again(eyes, tmp_path, counted, monkeypatch, change):
    out, options = tmp_path / "out", {}
    run(eyes, out)
    files = contents(out)
    match change:
        case "photograph":
            mutators.retina(np.random.default_rng(7), (160, 150)).save(eyes / "left.png")
        case "result":
            (out / "left_mask.png").write_bytes(b"\0" * (out / "left_mask.png").stat().st_size)
        case "missing result":
            (out / "left_overlay.jpg").unlink()
        case "record":
            (out / ".maa" / "left.done").write_bytes((out / ".maa" / "left.done").read_bytes()[:-100])
        case "threshold":
            options = {"threshold": 0.4}
        case "degrees":
            options = {"degrees": 45}
        case "weights":
            monkeypatch.setattr("maa.segmentation.many.network_fingerprint", lambda networks: "other")
        case "version":
            monkeypatch.setattr("maa.segmentation.many.FORMAT", 0)
    del counted[:]
    run(eyes, out, **options)
    everything = change in ("threshold", "degrees", "weights", "version")
    assert counted == (["left.png", "right.png"] if everything else ["left.png"])
    if change in ("result", "missing result", "record"):
        assert contents(out) == files


def test_photographs_that_were_moved_are_known_again(eyes, tmp_path, counted):
    run(eyes, tmp_path / "out")
    eyes.rename(tmp_path / "moved")
    report = run(tmp_path / "moved", tmp_path / "out")
    assert len(counted) == 2 and list(report.photographs["image"]) == ["left", "right"]


@pytest.mark.parametrize("spoil", [
    lambda record: record | {"lesions": [[1, 2]]}, lambda record: record | {"large": 5}, lambda record: record | {"results": None},
    lambda record: record | {"small": record["small"] | {"overlay": "../../other.jpg"}}, lambda record: record | {"format": 99},
    lambda record: record | {"large": record["large"] | {"thumbnail": "?"}}, lambda record: record | {"resized": "nan?"},
    lambda record: [record], lambda record: {}, lambda record: record | {"large": record["large"] | {"name": "../x"}},
])  # fmt: skip
def test_a_record_that_was_tampered_with_counts_for_nothing(eyes, tmp_path, counted, spoil):
    out = tmp_path / "out"
    run(eyes, out)
    files = contents(out)
    write_json(out / ".maa" / "left.done", spoil(json.loads((out / ".maa" / "left.done").read_bytes())))
    run(eyes, out)
    assert counted[2:] == ["left.png"] and contents(out) == files


# --- islands --------------------------------------------------------------------------------------


@pytest.mark.parametrize("error, words", [
    (MemoryError(), "needs more memory"), (RecursionError("too deep"), "fault of maa (RecursionError: too deep)"),
    (OSError(5, "Input/output error"), "Input/output error"), (ZeroDivisionError("x\ny"), r"ZeroDivisionError: x\ny"),
])  # fmt: skip
def test_no_error_of_one_photograph_stops_the_others(eyes, tmp_path, monkeypatch, error, words):
    def fails(path, *arguments):
        if path.stem == "left":
            raise error
        return segment(path, *arguments)

    monkeypatch.setattr("maa.segmentation.many.segment", fails)
    report = run(eyes, tmp_path / "out")
    table = pd.read_csv(tmp_path / "out" / "photographs.csv", index_col="image")
    assert len(report.problems) == 1 and words in str(report.problems[0]) and words in table.loc["left", "warnings"]
    assert table.loc["right", "lesions"] > 0 and words.split(":")[0] in (tmp_path / "out" / "index.html").read_text()


def test_a_result_that_cannot_be_replaced_stops_no_other(eyes, tmp_path):
    (tmp_path / "out" / "left_mask.png").mkdir(parents=True)
    report = run(eyes, tmp_path / "out")
    assert list(report.photographs["image"]) == ["right"] and "cannot be written" in str(report.problems[0])
    assert not list((tmp_path / "out").glob(".*.partial"))


def test_what_a_killed_run_left_half_written_is_removed(eyes, tmp_path):
    (tmp_path / "out").mkdir()
    left = tmp_path / "out" / ".left_mask.png.0a1b2c3d.partial"
    left.write_bytes(b"half")
    run(eyes, tmp_path / "out")
    assert not left.exists()


def test_names_of_links_are_their_own_and_a_broken_one_is_named(eyes, tmp_path):
    """As git-annex and datalad lay files: the same content for two patients, and one that was never fetched."""
    store = tmp_path / ".git" / "annex" / "MD5E-s1--0123.png"
    store.parent.mkdir(parents=True)
    shutil.copy(eyes / "left.png", store)
    for patient in ("p1", "p2"):
        (tmp_path / patient).mkdir()
        (tmp_path / patient / "OD.png").symlink_to(store)
    (tmp_path / "p1" / "OS.png").symlink_to("never fetched")
    report = segment_files([tmp_path / "p1", tmp_path / "p2"], tmp_path / "out", DarkSpots(), resize=1)
    assert list(report.photographs["image"]) == ["p1_OD", "p2_OD"]
    assert [str(problem) for problem in report.problems] == [
        f"{tmp_path}/p1/OS.png is a link to a file that is not there: fetch it (git annex get), or remove the link."
    ]
    assert list(pd.read_csv(tmp_path / "out" / "photographs.csv")["image"]) == ["p1_OD", "p2_OD", "OS"]


def test_folders_that_cannot_be_read_are_named(eyes, tmp_path, monkeypatch):
    from pathlib import Path

    entries = Path.iterdir

    def refuse(folder):
        if folder.name == "secret":
            raise PermissionError(13, "Permission denied")
        return entries(folder)

    (tmp_path / "secret").mkdir()
    monkeypatch.setattr(Path, "iterdir", refuse)
    jobs, problems, _ = photographs_of([tmp_path / "secret", eyes, "x" * 5000])
    assert len(jobs) == 3 and [str(problem) for problem in problems] == [
        f"{tmp_path}/secret cannot be read (Permission denied): check who may read that folder."
    ]
    report = segment_files([eyes, "x" * 5000, os.devnull, "/dev/zero"], tmp_path / "out", DarkSpots(), resize=1)
    assert len(report.photographs) == 2 and len(report.problems) == 3


# --- the tables -----------------------------------------------------------------------------------


def test_tables_open_in_a_spreadsheet_and_nothing_in_them_is_a_formula(eyes, tmp_path):
    names = ["=1+1", "+a", "-b", "@c", "Müller, 'x'", "眼底"]
    for name in names:
        shutil.copy(eyes / "left.png", eyes / f"{name}.png")
    run(eyes, tmp_path / "out")
    for table in ("photographs.csv", "lesions.csv"):
        content = (tmp_path / "out" / table).read_bytes()
        assert content.startswith(b"\xef\xbb\xbf")
        rows = list(csv.reader(content.decode("utf-8-sig").splitlines()))
        assert {name if name[0] not in "=+-@" else f"'{name}" for name in names} <= {row[0] for row in rows}
        assert not [cell for row in rows for cell in row if cell[:1] in tuple("=+-@")]
    assert pd.read_csv(tmp_path / "out" / "lesions.csv").dtypes[1:].tolist() == ["float64", "float64", "int64", "float64"]


def test_a_letter_is_never_drawn_as_a_box(monkeypatch):
    """Where no font of the machine has it, it is a question mark; where one has it, that one is taken."""
    assert summary.missing("Müller Иванов", font(20)) == set()
    asked = []
    monkeypatch.setattr(summary, "_fonts_of_this_machine", lambda: asked.append(1) or [])
    assert summary.missing("a眼", font(20, "a眼")) == {"眼"} and asked
    monkeypatch.setattr(summary, "_DEJAVU", summary._DEJAVU.parent / "STIXGeneral.ttf")
    arabic = "عين"
    assert summary.missing(arabic, font(20)) == set(arabic)
    monkeypatch.setattr(
        summary, "_fonts_of_this_machine", lambda: ["/no/font.ttf", str(summary._DEJAVU.parent / "DejaVuSans.ttf")]
    )
    assert font(20, arabic).getname()[0] == "DejaVu Sans"
    found = segment(np.asarray(mutators.retina(np.random.default_rng(0), (150, 150))), DarkSpots(), resize=1, name="眼")
    one, other = (summary.entry(found, "x.jpg", "x_overlay.jpg", *summary.sizes(1)) for _ in range(2))
    object.__setattr__(other, "name", "?")
    assert contact_sheet([one]).tobytes() == contact_sheet([other]).tobytes()
