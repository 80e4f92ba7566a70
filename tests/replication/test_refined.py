"""Tests of maa.replication.refined: a frame that finds back, marks that meet, and what is counted by either set."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from maa.data import open_dataset
from maa.errors import MaaError
from maa.inference import Settings
from maa.inference.system import write_settings
from maa.models import HGN
from maa.models.weights import save_weights
from maa.phantom import PhantomConfig, write_dataset
from maa.replication import refined
from maa.replication.refined import (
    COUNTS,
    SIDE,
    WIDER,
    Frame,
    agreement,
    compare_marks,
    count_marked,
    marks_of,
    near,
    read_refined,
)


def field(height=2848, width=4288):
    """A field of view wider than the frame is high, as IDRiD's."""
    rows, columns = np.ogrid[:height, :width]
    return np.hypot(rows - height / 2, columns - width / 2) < 1700


def test_the_frame_is_the_field_padded_to_a_square_and_shrunk():
    fov = field()
    frame, columns = Frame(fov), np.flatnonzero(fov.any(0))
    width = columns[-1] - columns[0] + 1 + sum(WIDER)
    truth = np.zeros(fov.shape, bool)
    truth[1000:1040, 2000:2060] = truth[0:20, 2100:2120] = True
    top = (width - fov.shape[0]) // 2
    square = np.pad(truth[:, columns[0] - WIDER[0] : columns[-1] + 1 + WIDER[1]], ((top, width - fov.shape[0] - top), (0, 0)))
    expected = Image.fromarray(square.view(np.uint8)).resize((SIDE, SIDE), Image.Resampling.NEAREST)
    small = frame.shrink(truth)
    assert (small == (np.asarray(expected) > 0)).all() and small.sum() > 200
    back = frame.enlarge(small)
    assert back.shape == truth.shape and 2 * (back & truth).sum() / (back.sum() + truth.sum()) > 0.9
    assert (frame.shrink(back) == small).all()  # nothing is lost on the way back


def test_marks_meet_within_the_tolerance():
    a, b = np.zeros((2, 40, 40), bool)
    a[5:8, 5:8] = a[20, 20] = a[30, 30] = True
    b[7:9, 9] = b[20, 22] = b[34, 30] = True  # two columns beside it, two, four rows below
    numbers, met = marks_of(a, near(b))
    assert met.tolist() == [True, True, False] and numbers.max() == 3
    found = agreement([(a, b), (a, a)])
    assert found["official"] == {"pixels": 22, "marks": 6, "met": 5} and found["refined"] == {
        "pixels": 15,
        "marks": 6,
        "met": 5,
    }
    assert found["f1"] == 2 * 11 / 37 and found["precision"] == 0.5 and found["recall"] == 11 / 15
    assert not near(np.zeros((4, 4), bool)).any()


def test_false_alarms_and_marks_are_counted_by_hand():
    called, truth, marks, added = np.zeros((4, 50, 50), bool)
    truth[5:8, 5:8] = truth[20:23, 5:8] = truth[40:43, 5:8] = True  # kept and found; dropped and found; kept and missed
    marks[5:8, 5:8] = marks[40:43, 5:8] = marks[30:33, 30:33] = True
    added[29:34, 29:34] = True
    called[5:8, 5:9] = called[20, 5] = True  # one column too wide
    called[33, 33] = called[31, 31] = called[10, 30] = True  # beside an added mark, on it, and nowhere
    official, kept = marks_of(truth, marks)
    counts = dict.fromkeys(COUNTS, 0)
    count_marked(counts, called, truth, marks, added, official, kept)
    assert counts == {
        "false_alarms": 3, "marked_false_alarms": 2, "false_pixels": 6, "marked_false_pixels": 1,
        "kept_marks": 2, "kept_found": 1, "dropped_marks": 1, "dropped_found": 1,
    }  # fmt: skip


def test_a_mask_that_is_missing_or_of_another_size_is_named(tmp_path):
    with pytest.raises(MaaError, match="IDRiD_01_MA.png is not there"):
        read_refined(tmp_path, "IDRiD_01")
    Image.fromarray(np.zeros((10, 10), np.uint8)).save(tmp_path / "IDRiD_01_MA.png")
    with pytest.raises(MaaError, match="10 x 10"):
        read_refined(tmp_path, "IDRiD_01")


@pytest.mark.slow
def test_marks_are_compared_and_a_system_is_measured_by_either(tmp_path, monkeypatch, seasoned):
    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAA_PROGRESS", "0")
    config = PhantomConfig(size=288, field_degrees=8.0, lesion_density=6.0)
    dataset = open_dataset(write_dataset(tmp_path / "set", 6, 2, seed=7, n_test=1, config=config))
    names = [record.name for record in dataset.select("train", diseased=True)]
    records = tuple(replace(r, split="validation") if r.name == names[-1] else r for r in dataset.records)
    dataset = replace(dataset, records=records)
    (tmp_path / "marks").mkdir()
    official = 0
    for record in dataset.records:
        if record.diseased and record.split != "test":
            fundus = record.load()
            small = Frame(fundus.fov).shrink(fundus.ma)
            official += marks_of(small, small)[0].max()
            if record.split == "validation":
                small[SIDE // 2 - 6 : SIDE // 2 + 6, SIDE // 2 - 6 : SIDE // 2 + 6] = True  # one more, or a larger one
            Image.fromarray(small).save(tmp_path / "marks" / f"{record.name}_MA.png")
    torch.manual_seed(0)
    model = seasoned(HGN(2))
    with torch.no_grad():
        model.head.bias.add_(5)
    save_weights(model, tmp_path / "weights/hgn-0.5x.safetensors", half=True)
    write_settings(Settings(thresholds={"hgn_half": 0.4}), tmp_path / "weights")
    results = compare_marks(dataset, tmp_path / "marks", tmp_path / "weights", tmp_path / "out")
    everything = results["agreement"]["all"]
    assert everything["official"]["marks"] == official == everything["official"]["met"]
    assert 0 < everything["refined"]["marks"] - everything["refined"]["met"] + 2 and everything["recall"] < 1
    assert everything["precision"] == 1
    row = results["rows"]["hgn_half"]
    values = {ruler: row["rulers"][ruler]["average_precision"]["value"] for ruler in refined.RULERS}
    assert all(0 < value < 1 for value in values.values()) and values["refined"] != values["official, coarse"]
    assert row["kept_marks"] + row["dropped_marks"] > 0 and row["dropped_marks"] == 0
    assert 0 < results["ceiling"] < 1 and (tmp_path / "out/results.json").is_file()
