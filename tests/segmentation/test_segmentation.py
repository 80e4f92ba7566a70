"""Tests of maa.segment: scale, maps and lesions of photographs that are not IDRiD's, and files that stay whole."""

import os
import pathlib
import re
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from maa import segmentation
from maa.data import IDRID_PIXELS_PER_DEGREE, MARGIN
from maa.errors import MaaError
from maa.inference import FULL_SCALE, LAST, OWN, ROWS, SECOND_STAGE, Beyond, Settings, System
from maa.models import HGN, PRN, UNet, network_fingerprint
from maa.phantom import PhantomConfig, make_phantom
from maa.segmentation import OUTLINE, Segmentation, field_diameter, photographs_of, resize_factor, segment, segment_files


class DarkSpots:
    """Stands in for a trained system: a pixel's probability is its darkness.  Remembers what size it was shown."""

    rows, final, networks = ["hgn_1x"], "hgn_1x", ()

    def __init__(self, **thresholds):
        self.settings = Settings(thresholds=thresholds)

    def maps(self, stacks, index=0, rows=None):
        picture = stacks[0].image(index)[MARGIN:-MARGIN, MARGIN:-MARGIN, 1]
        inside = stacks[0].label(index) > 0
        self.shape = picture.shape
        return {"hgn_1x": (inside * np.clip((128.0 - picture) / 128, 0, 1) * FULL_SCALE).astype(np.uint16)}


def disc(shape, row, column, radius):
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return np.hypot(rows - row, columns - column) <= radius


def photograph(shape=(200, 240), radius=95, spot=(70, 150), spot_radius=5):
    """An evenly coloured retina with one dark spot."""
    image = np.zeros((*shape, 3), np.uint8)
    image[disc(shape, shape[0] / 2, shape[1] / 2, radius)] = (180, 90, 40)
    if spot:
        image[disc(shape, *spot, spot_radius)] = (90, 20, 15)
    return image


DIAMETER = 191
DEGREES = DIAMETER / IDRID_PIXELS_PER_DEGREE  # of a camera with IDRiD's scale


def tiny_system(**settings):
    torch.manual_seed(0)
    return System(HGN(2).eval(), HGN(2).eval(), {"prn_full": PRN(2, 4).eval()}, Settings(**settings))


# --- scale ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "window", [np.s_[:, :], np.s_[40:260, :], np.s_[60:240, 50:250], np.s_[:, 140:], np.s_[:, 180:], np.s_[90:, 90:]]
)
def test_field_diameter_is_that_of_the_circle_even_where_the_frame_cuts_it(window):
    fov = disc((300, 300), 149.5, 149.5, 130)[window]
    assert field_diameter(fov) == pytest.approx(260, rel=0.02)


def test_field_that_fills_the_frame_has_no_known_scale():
    assert field_diameter(np.ones((30, 40), bool)) is None
    factor, notes = resize_factor(np.ones((30, 40), bool))
    assert factor == 1 and "scale is unknown" in notes[0]


@pytest.mark.parametrize("pixels, degrees, expected", [
    (3420, 50, 1), (3420, 45, 1), (2800, 50, 1), (4200, 50, 1),
    (3420, 30, 0.6), (1710, 50, 2), (1710, 30, 1.2), (993, 20, 1.378),
])  # fmt: skip
def test_resize_factor_brings_the_scale_to_idrids_when_it_is_far(monkeypatch, pixels, degrees, expected):
    monkeypatch.setattr("maa.segmentation.scale.field_diameter", lambda fov: float(pixels))
    factor, notes = resize_factor(None, degrees)
    if 0.8 <= expected <= 1.25:
        assert factor == 1 and notes == ()
    else:
        assert factor == pytest.approx(expected, rel=1e-3) and f"Resized by {factor:.2f}" in notes[0]


@pytest.mark.parametrize("factor", [1, 0.5, 2, 1.7])
def test_lesion_is_found_where_it_is_whatever_the_scale(factor):
    system = DarkSpots()
    found = segment(photograph(), system, threshold=0.5, degrees=DEGREES * factor)
    assert found.resized == pytest.approx(factor, rel=0.02)
    assert system.shape == pytest.approx((200 * factor, 240 * factor), rel=0.02)
    assert found.probability.shape == found.mask.shape == (200, 240) and found.probability.dtype == np.uint16
    assert not found.probability[~found.fov].any()
    assert len(found.lesions) == 1
    lesion = found.lesions.loc[0]
    assert (lesion["row"], lesion["column"]) == pytest.approx((70, 150), abs=0.6)
    assert lesion["area"] == pytest.approx(np.pi * 5**2, rel=0.35)


def test_resize_overrules_the_degrees():
    system = DarkSpots()
    assert segment(photograph(), system, degrees=20, resize=1).resized == 1
    assert system.shape == (200, 240)


def test_photograph_that_would_become_too_large_is_refused_at_once_with_advice_that_works(monkeypatch):
    def unasked(*arguments):
        raise AssertionError("work was done before the refusal")

    image = photograph()
    monkeypatch.setattr("maa.segmentation.one.MAX_WORKING_PIXELS", 100_000)
    monkeypatch.setattr("maa.data.quality.measure", unasked)
    with pytest.raises(MaaError, match="--resize") as error:
        segment(image, DarkSpots(), degrees=DEGREES * 2)
    assert "--degrees" not in str(error.value), "who gave the degrees is not told to give them"
    with pytest.raises(MaaError, match="say so with --degrees"):
        segment(image, DarkSpots())
    with pytest.raises(MaaError, match="the factor that was given"):
        segment(image, DarkSpots(), resize=3)
    monkeypatch.undo()
    monkeypatch.setattr("maa.segmentation.one.MAX_WORKING_PIXELS", 100_000)
    side, factor, whole = re.search(r"pieces of (\d+) x .* --resize ([\d.]+), .* --resize ([\d.]+),", str(error.value)).groups()
    assert segment(image[: int(side), : int(side)], DarkSpots(), resize=float(factor)).resized == float(factor)
    assert segment(image, DarkSpots(), resize=float(whole)).resized == float(whole)


@pytest.mark.parametrize("wrong", [
    {"threshold": 0}, {"threshold": 1.1}, {"threshold": float("nan")}, {"degrees": 0}, {"degrees": 400},
    {"resize": 0}, {"resize": -1},
])  # fmt: skip
def test_numbers_out_of_range_are_refused(wrong):
    with pytest.raises(MaaError, match="choose"):
        segment(photograph(), DarkSpots(), **wrong)


# --- what a photograph may be ---------------------------------------------------------------------


def with_alpha(image, alpha=255):
    return np.dstack([image, np.full(image.shape[:2], alpha, image.dtype)])


AS = {
    "RGBA": with_alpha,
    "alpha that was never filled": lambda image: with_alpha(image, 0),
    "channels first": lambda image: np.moveaxis(image, 2, 0),
    "not contiguous": lambda image: np.asfortranarray(image),
    "16 bits": lambda image: image.astype(np.uint16) * 257,
    "12 bits of 16": lambda image: image.astype(np.uint16) * 16,
    "float32": lambda image: image.astype(np.float32) / 255,
    "float64": lambda image: image / 255,
    "tensor": torch.from_numpy,
    "tensor, channels first": lambda image: torch.from_numpy(image).permute(2, 0, 1),
    "tensor of float": lambda image: (torch.from_numpy(image).permute(2, 0, 1).float() / 255).requires_grad_(),
    "tensor of bfloat16": lambda image: (torch.from_numpy(image).float() / 255).bfloat16(),
    "PIL": Image.fromarray,
    "PIL, RGBA": lambda image: Image.fromarray(with_alpha(image)),
    "PIL, palette": lambda image: Image.fromarray(image).quantize(256),
    "PIL, CMYK": lambda image: Image.fromarray(image).convert("CMYK"),
}


@pytest.mark.parametrize("kind", AS)
def test_a_photograph_in_memory_is_taken_in_every_form_that_has_colour(kind):
    known = photograph()
    known[60, 60] = 255  # so that the range is that of the type
    before = known.copy()
    found = segment(AS[kind](known), DarkSpots(), threshold=0.5, resize=1)
    assert found.image.dtype == np.uint8 and np.abs(found.image.astype(int) - before).max() <= (
        1 if kind != "tensor of bfloat16" else 2
    )
    assert np.array_equal(known, before) and len(found.lesions) == 1 and found.name == "photograph"
    assert ("12 bits" in " ".join(found.notes)) == (kind == "12 bits of 16")


@pytest.mark.parametrize("make, reason", [
    (lambda image: image[..., 0], "greyscale"), (lambda image: image[..., :1], "greyscale"), (lambda image: image[None, ..., 0], "greyscale"),
    (lambda image: image[..., [0, 0, 0]], "greyscale"), (lambda image: Image.fromarray(image).convert("L"), "greyscale"),
    (lambda image: image[None], "shape"), (lambda image: image[..., [0, 1, 2, 0, 1]], "shape"), (lambda image: image[:0], "shape"),
    (lambda image: image.ravel(), "shape"), (lambda image: np.array(3), "shape"),
    (lambda image: image.astype(np.float32), "outside 0 to 1"), (lambda image: image / 255 - 0.5, "outside 0 to 1"),
    (lambda image: image * np.nan, "outside 0 to 1"), (lambda image: image.astype(int), "type int64"), (lambda image: image > 9, "type bool"),
    (lambda image: image.astype(complex), "type complex128"), (lambda image: image.astype(str), "type <U3"), (lambda image: image.astype(object), "type object"),
    (lambda image: torch.from_numpy(image).to_sparse(), "tensor"), (lambda image: torch.zeros(9, 9, 3, device="meta"), "tensor"),
    (lambda image: image.tolist(), "not a list"), (lambda image: None, "not a NoneType"), (lambda image: b"eye.jpg", "not a bytes"), (lambda image: 3, "not a int"),
])  # fmt: skip
def test_what_is_no_colour_photograph_is_refused_in_a_sentence(make, reason):
    with pytest.raises(MaaError, match=reason) as error:
        segment(make(photograph()), DarkSpots(), resize=1)
    assert "\n" not in str(error.value) and str(error.value).endswith(".")


def test_a_picture_that_pillow_has_opened_and_cannot_decode_is_refused_in_a_sentence(tmp_path):
    Image.fromarray(photograph()).save(tmp_path / "a.jpg")
    (tmp_path / "a.jpg").write_bytes((tmp_path / "a.jpg").read_bytes()[:-800])
    with Image.open(tmp_path / "a.jpg") as picture, pytest.raises(MaaError, match="photograph is damaged or cut short"):
        segment(picture, DarkSpots(), resize=1)


def test_an_array_beyond_the_limit_is_refused_as_a_file_is(monkeypatch):
    monkeypatch.setattr("maa.data.files.MAX_PIXELS", 40_000)
    for kind in (photograph(), Image.fromarray(photograph())):
        with pytest.raises(MaaError, match="240 x 200 pixels"):
            segment(kind, DarkSpots(), resize=1)


def test_what_was_done_to_read_a_file_is_among_the_notes(tmp_path):
    Image.fromarray(with_alpha(photograph(), 0)).save(tmp_path / "a.png")
    assert "transparent everywhere" in segment(tmp_path / "a.png", DarkSpots(), resize=1).notes[0]


@pytest.mark.parametrize("name", ["../eye", "/etc/eye", "a/b", "a/../b", "eye\0", "..", ""])
def test_results_cannot_leave_their_folder(tmp_path, name):
    out = tmp_path / "out"
    written = segment(photograph(), DarkSpots(), resize=1, name=name).save(out)
    assert sorted(written.values()) == sorted(out.iterdir()) and os.listdir(tmp_path) == ["out"]


def test_a_link_in_the_folder_does_not_lead_a_result_out_of_it(tmp_path):
    out, other = tmp_path / "out", tmp_path / "other.png"
    out.mkdir()
    other.write_text("mine")
    (out / "eye_mask.png").symlink_to(other)
    segment(photograph(), DarkSpots(), resize=1, name="eye").save(out)
    assert other.read_text() == "mine" and not (out / "eye_mask.png").is_symlink()


@pytest.mark.parametrize("kind", [str, pathlib.Path])
def test_one_path_is_one_path(tmp_path, kind):
    (tmp_path / "p").mkdir()  # not the letters of its name
    Image.fromarray(photograph()).save(tmp_path / "p" / "eye.png")
    for given in (tmp_path / "p", tmp_path / "p" / "eye.png"):
        report = segment_files(kind(given), tmp_path / "out", DarkSpots(), resize=1)
        assert list(report.photographs["image"]) == ["eye"] and not report.problems


# --- what is found --------------------------------------------------------------------------------


def result(probability, threshold=0.5):
    levels = np.round(np.asarray(probability) * FULL_SCALE).astype(np.uint16)
    image = np.full((*levels.shape, 3), 100, np.uint8)
    return Segmentation("eye", image, np.ones(levels.shape, bool), levels, "fused", threshold)


def test_lesions_are_connected_groups_the_most_probable_first():
    probability = np.zeros((6, 8))
    probability[1, 1], probability[2, 2] = 0.6, 0.5  # joined by a corner
    probability[4, 5:8] = [0.7, 0.9, 0.7]
    probability[0, 7] = 0.49
    expected = pd.DataFrame({"image": "eye", "row": [4.0, 1.5], "column": [6.0, 1.5], "area": [3, 2], "score": [0.9, 0.6]})
    pd.testing.assert_frame_equal(result(probability).lesions, expected, check_dtype=False, atol=1e-4)


def test_no_lesion_is_an_empty_table_with_the_same_columns():
    empty = result(np.zeros((4, 4)))
    assert list(empty.lesions) == ["image", "row", "column", "area", "score"] and len(empty.lesions) == 0
    assert (empty.overlay == empty.image).all()


def test_overlay_draws_around_the_lesion_and_not_on_it():
    probability = np.zeros((60, 60))
    probability[30, 30] = 1
    drawn = (result(probability).overlay == OUTLINE).all(axis=2)
    assert drawn.any() and not drawn[28:33, 28:33].any() and not drawn[:20].any()


def test_threshold_is_the_chosen_one_unless_named_and_missing_is_said():
    chosen = segment(photograph(), DarkSpots(hgn_1x=0.37), resize=1)
    assert chosen.threshold == 0.37 and chosen.notes == ()
    assert segment(photograph(), DarkSpots(hgn_1x=0.37), threshold=0.2, resize=1).threshold == 0.2
    unchosen = segment(photograph(), DarkSpots(), resize=1)
    assert unchosen.threshold == segmentation.UNCHOSEN_THRESHOLD and "maa evaluate" in unchosen.notes[0]


def test_three_lines_of_python_give_the_systems_own_map(tmp_path):
    fundus = make_phantom(3, config=PhantomConfig(size=128))
    Image.fromarray(fundus.image).save(tmp_path / "eye.png")
    system = tiny_system(hypothesis=0.05, thresholds={"prn_full": 0.3})
    found = segment(tmp_path / "eye.png", system, resize=1)
    assert (found.name, found.map, found.threshold) == ("eye", "prn_full", 0.3)
    from maa.data import stack_photograph

    maps = system.maps(stack_photograph(found.image, found.fov))
    assert (found.probability == maps["prn_full"]).all()


def test_the_track_beyond_the_paper_ends_with_its_own_map_and_threshold():
    paper = tiny_system(thresholds={"prn_full": 0.3})
    settings = Settings(hypothesis=0.05, thresholds={"prn_full": 0.3, LAST: 0.2})
    system = Beyond(paper, (UNet(2).eval(),), PRN(2, 4).eval(), settings)
    found = segment(photograph((96, 96), 45, None), system, resize=1)
    assert (found.map, found.threshold) == (LAST, 0.2) and found.probability.shape == (96, 96)
    assert len(system.networks) == 5 and len(paper.networks) == 3
    assert (
        network_fingerprint(system.networks)
        != network_fingerprint(paper.networks)
        == network_fingerprint(tiny_system().networks)
    )


def test_both_tracks_come_with_the_package(tmp_path):
    for track, rows in (("paper", [*ROWS]), ("beyond", [*ROWS, *OWN])):
        system = segmentation.load_system(track=track)
        assert system.rows == rows and system.settings.precisions.keys() == set(rows)
        assert system.final == max(rows, key=system.settings.precisions.__getitem__)
    with pytest.raises(MaaError, match="choose paper or beyond"):
        segmentation.load_system(track="other")
    with pytest.raises(MaaError, match="no folder of weights"):
        segmentation.load_system(tmp_path / "absent")


# --- files ----------------------------------------------------------------------------------------


@pytest.fixture
def eyes(tmp_path):
    folder = tmp_path / "eyes"
    folder.mkdir()
    for name in ("left.png", "right.png"):
        Image.fromarray(photograph()).save(folder / name)
    return folder


def test_files_hold_the_map_the_mask_and_the_overlay(tmp_path):
    found = segment(photograph(), DarkSpots(), resize=1, name="eye")
    files = found.save(tmp_path / "new" / "folder")
    assert sorted(path.name for path in (tmp_path / "new" / "folder").iterdir()) == [
        "eye_mask.png", "eye_overlay.jpg", "eye_probability.png"
    ]  # fmt: skip
    assert (np.asarray(Image.open(files["probability"])) == found.probability).all()
    assert (np.asarray(Image.open(files["mask"])) == 255 * found.mask).all()
    overlay = np.asarray(Image.open(files["overlay"])).astype(int)
    assert np.abs(overlay - found.overlay).mean() < 5


def test_table_holds_every_lesion_of_every_photograph(eyes, tmp_path):
    report = segment_files([eyes], tmp_path / "out", DarkSpots(), resize=1)
    table = pd.read_csv(tmp_path / "out" / "lesions.csv")
    assert list(table) == ["image", "row", "column", "area", "score"]
    assert list(table["image"]) == ["left", "right"] == list(report.photographs["image"])
    assert len(list((tmp_path / "out").glob("[!.]*"))) == 2 * 3 + len(segmentation.TABLES)


def test_nothing_found_is_a_table_without_rows(tmp_path):
    Image.fromarray(photograph(spot=None)).save(tmp_path / "eye.png")
    report = segment_files([tmp_path / "eye.png"], tmp_path / "out", DarkSpots(), resize=1, threshold=0.9)
    assert (tmp_path / "out" / "lesions.csv").read_text("utf-8-sig") == "image,row,column,area,score\n"
    assert list(report.photographs["lesions"]) == [0]


def test_bad_photographs_do_not_stop_the_good_ones(eyes, tmp_path):
    (eyes / "broken.jpg").write_bytes(b"no image")
    report = segment_files([tmp_path / "absent.png", eyes], tmp_path / "out", DarkSpots(), resize=1)
    assert list(report.photographs["image"]) == ["left", "right"]
    assert ["absent.png" in str(report.problems[0]), "broken.jpg" in str(report.problems[1])] == [True, True]
    assert not [path for path in (tmp_path / "out").iterdir() if "broken" in path.name or "partial" in path.name]


def test_names_are_unique_and_say_where_a_photograph_is_from(tmp_path):
    for place in ("a/1.jpg", "b/1.jpg", "b/1.png", "b/2.jpg", "c/B_1.jpg"):
        (tmp_path / place).parent.mkdir(exist_ok=True)
        (tmp_path / place).write_bytes(b"")
    jobs, problems, _ = photographs_of([tmp_path / "a", tmp_path / "b", tmp_path / "c", tmp_path / "b" / "2.jpg"])
    assert problems == []
    names = {str(path.relative_to(tmp_path)): name for path, name in jobs}
    assert names == {"a/1.jpg": "a_1", "b/1.jpg": "b_1", "b/1.png": "b_1_2", "b/2.jpg": "2", "c/B_1.jpg": "B_1_3"}


def test_what_a_folder_holds_besides_photographs_is_said(eyes):
    (eyes / "notes.txt").write_text("")
    (eyes / ".hidden.jpg").write_text("")
    (eyes / "more").mkdir()
    jobs, problems, notes = photographs_of([eyes])
    assert [name for _, name in jobs] == ["left", "right"] and problems == []
    assert notes == [f"{eyes}: passed over 1 other file and 1 folder."]
    (eyes / "IM0001").write_bytes(bytes(128) + b"DICM")  # named with a sentence, as a pipe is that is called a photograph
    os.mkfifo(eyes / "pipe.jpg")
    assert [name for _, name in photographs_of([eyes])[0]] == ["IM0001", "left", "pipe", "right"]
    (eyes / "pipe.jpg").unlink()
    assert "searched with --recursive" in str(photographs_of([eyes.parent])[1][0])
    assert "holds no photograph:" in str(photographs_of([eyes / "more"])[1][0])


def test_photographs_are_never_overwritten_nor_mixed_with_results(eyes):
    with pytest.raises(MaaError, match="folder of the photographs"):
        segment_files([eyes], eyes, DarkSpots())
    (eyes / "right.png").rename(eyes / "left_mask.png")
    before = (eyes / "left_mask.png").read_bytes()
    with pytest.raises(MaaError, match=r"replace the photograph .*left_mask\.png"):
        segment_files([eyes / "left.png", eyes / "left_mask.png"], eyes, DarkSpots())
    assert sorted(path.name for path in eyes.iterdir()) == ["left.png", "left_mask.png"]
    assert (eyes / "left_mask.png").read_bytes() == before


def test_full_disk_is_one_sentence_and_leaves_no_file(tmp_path, monkeypatch):
    found = segment(photograph(), DarkSpots(), resize=1)
    monkeypatch.setattr(Path, "write_bytes", full_after(2, Path.write_bytes))
    with pytest.raises(MaaError, match="No space left"):
        found.save(tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_a_disk_that_becomes_full_is_noticed_before_the_work_and_loses_nothing(eyes, tmp_path, monkeypatch):
    free = iter([10**9, 10**6])
    monkeypatch.setattr(
        "maa.segmentation.records.shutil.disk_usage", lambda folder: SimpleNamespace(total=10**12, free=next(free))
    )
    asked, maps = [], DarkSpots.maps
    monkeypatch.setattr(DarkSpots, "maps", lambda *a, **k: asked.append(a) or maps(*a, **k))
    report = segment_files([eyes], tmp_path / "out", DarkSpots(), resize=1)
    assert len(report.photographs) == len(report.problems) == len(asked) == 1
    assert re.fullmatch(r"The disk of .*out is full: free 50 MB or more, and run it again.", str(report.problems[0]))
    # Where a file system does not tell, nothing is refused.
    monkeypatch.setattr("maa.segmentation.records.shutil.disk_usage", lambda folder: SimpleNamespace(total=0, free=0))
    assert len(segment_files([eyes], tmp_path / "out", DarkSpots(), resize=1).photographs) == 2


def full_after(count, write):
    calls = SimpleNamespace(left=count)

    def full(self, content):
        if calls.left == 0:
            write(self, b"half a fi")
            raise OSError(28, "No space left on device")
        calls.left -= 1
        write(self, content)

    return full


def test_results_cannot_go_into_a_file(eyes, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MaaError, match="is a file"):
        segment_files([eyes], tmp_path / "file", DarkSpots())


# --- the tables and the page ------------------------------------------------------------------------


def test_table_of_photographs_accounts_for_every_photograph(eyes, tmp_path):
    (eyes / "broken.jpg").write_bytes(b"no image")
    Image.fromarray(photograph(spot=None)).save(eyes / "clean.png")
    segment_files([eyes], tmp_path / "out", DarkSpots(), threshold=0.7, resize=1)
    table = pd.read_csv(tmp_path / "out" / "photographs.csv", index_col="image")
    assert list(table) == ["file", "lesions", "score", "resized", "warnings"]
    assert list(table.index) == ["clean", "left", "right", "broken"]
    assert table.loc["clean", "lesions"] == 0 and np.isnan(table.loc["clean", "score"])
    assert np.isnan(table.loc["broken", "lesions"]) and "Not segmented: broken.jpg" in table.loc["broken", "warnings"]
    assert str(eyes) not in (tmp_path / "out" / "index.html").read_text(), "a colleague needs no folder of this machine"
    assert ",0,,1" in (tmp_path / "out" / "photographs.csv").read_text(), "counts are whole numbers"


def test_tables_are_of_all_photographs_of_the_same_settings_and_say_what_else_is_there(eyes, tmp_path):
    out = tmp_path / "out"
    segment_files([eyes], out, DarkSpots(), resize=1)
    Image.fromarray(photograph()).save(tmp_path / "left.png")
    report = segment_files([tmp_path / "left.png"], out, DarkSpots(), resize=1)
    assert list(pd.read_csv(out / "lesions.csv")["image"]) == ["left_2", "left", "right"], "another photograph of that name"
    assert list(report.photographs["image"]) == ["left_2"] and report.notes == []
    report = segment_files([eyes / "left.png"], out, DarkSpots(), resize=1, threshold=0.4)
    assert list(pd.read_csv(out / "lesions.csv")["image"]) == ["left"], "those of another threshold would mislead"
    assert "also holds 2 overlays of other settings" in (out / "index.html").read_text()


def test_a_photograph_that_is_refused_is_in_the_tables_until_it_is_gone_or_done(eyes, tmp_path):
    out = tmp_path / "out"
    (eyes / "bad.png").write_bytes(b"no image")
    segment_files([eyes / "bad.png"], out, DarkSpots(), resize=1)
    assert not out.exists(), "a run without a result leaves nothing"
    segment_files([eyes], out, DarkSpots(), resize=1)
    segment_files([eyes / "left.png"], out, DarkSpots(), resize=1)
    assert list(pd.read_csv(out / "photographs.csv")["image"]) == ["left", "right", "bad"]
    (eyes / "bad.png").write_bytes((eyes / "left.png").read_bytes())
    (eyes / "right.png").write_bytes(b"no image any more")
    segment_files([eyes], out, DarkSpots(), resize=1)
    table = pd.read_csv(out / "photographs.csv", index_col="image")
    assert list(table.index) == ["bad", "left", "right"] and np.isnan(table.loc["right", "lesions"])
    (eyes / "right.png").unlink()
    segment_files([eyes], out, DarkSpots(), resize=1)
    assert list(pd.read_csv(out / "photographs.csv")["image"]) == ["bad", "left"]


def test_a_run_that_is_stopped_keeps_what_is_done(eyes, tmp_path, monkeypatch):
    calls = []

    def stopped(path, *arguments):
        calls.append(path)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return segment(path, *arguments)

    monkeypatch.setattr("maa.segmentation.many.segment", stopped)
    report = segment_files([eyes], tmp_path / "out", DarkSpots(), resize=1)
    assert "Stopped by hand after 1 of 2" in str(report.problems[0]) and report.stopped == 0, "no signal came"
    assert list(pd.read_csv(tmp_path / "out" / "lesions.csv")["image"]) == ["left"]
    assert "Stopped by hand" in (tmp_path / "out" / "index.html").read_text()


def test_each_table_is_written_whatever_becomes_of_the_others(eyes, tmp_path, monkeypatch):
    monkeypatch.setattr("maa.segmentation.summary.contact_sheet", lambda entries: (_ for _ in ()).throw(MemoryError))
    (tmp_path / "out" / "lesions.csv").mkdir(parents=True)  # as one that a spreadsheet holds open
    report = segment_files([eyes], tmp_path / "out", DarkSpots(), resize=1)
    assert len(report.problems) == 2
    assert "lesions.csv cannot be replaced, so lesions_new.csv was written" in str(report.problems[0])
    assert "contact_sheet.jpg needs more memory" in str(report.problems[1])
    assert len(pd.read_csv(tmp_path / "out" / "lesions_new.csv")) == len(pd.read_csv(tmp_path / "out" / "photographs.csv")) == 2
    assert "lesions_new.csv" in (tmp_path / "out" / "index.html").read_text()
    assert not [path for path in (tmp_path / "out").rglob("*") if "partial" in path.name or "sheet" in path.name]


def test_warnings_reach_the_table_and_the_page(eyes, tmp_path):
    (eyes / "right.png").unlink()
    Image.fromarray(photograph() // 8).save(eyes / "dark.png")
    report = segment_files([eyes], tmp_path / "out", DarkSpots(), resize=1)
    warnings = dict(zip(report.photographs["image"], report.photographs["warnings"]))
    assert warnings["left"] == () and warnings["dark"][0].startswith("Too dark")
    assert "Too dark" in (tmp_path / "out" / "photographs.csv").read_text()
    assert (tmp_path / "out" / "index.html").read_text().count("Too dark") == 1


@pytest.mark.parametrize("value", [
    ({"name": "a.jpg", "type": "image/jpeg", "content": memoryview(b"bytes")},),  # ipywidgets 8
    {"a.jpg": {"metadata": {"name": "a.jpg"}, "content": b"bytes"}},  # ipywidgets 7
])  # fmt: skip
def test_uploaded_file_is_read_in_both_versions_of_the_widget(value):
    assert segmentation.uploaded(value) == b"bytes"
    with pytest.raises(MaaError, match="No photograph was chosen"):
        segmentation.uploaded(type(value)())


# --- weights --------------------------------------------------------------------------------------


def test_default_weights_come_with_the_package_and_make_the_whole_system():
    system = System.load(segmentation.default_weights())
    assert system.rows == list(ROWS) and set(system.settings.thresholds) == set(ROWS)
    assert set(system.settings.weights) == set(SECOND_STAGE)


def test_an_installation_without_weights_says_how_to_make_some(tmp_path, monkeypatch):
    monkeypatch.setattr("maa.segmentation.one.__file__", str(tmp_path / "maa" / "segmentation" / "one.py"))
    with pytest.raises(MaaError, match="maa train hgn-1x"):
        segmentation.default_weights()
