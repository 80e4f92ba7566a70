"""Tests of maa.inference.system: the networks and settings of a folder, and every map that they allow."""

import json
import os

import numpy as np
import pytest
import torch

from maa.data import MARGIN, stack_photograph
from maa.errors import MaaError
from maa.inference import (
    FILES,
    FULL_SCALE,
    ROWS,
    SETTINGS,
    Settings,
    System,
    dense_map,
    field_of,
    fuse,
    hypotheses,
    image_of,
    read_settings,
    refine,
    score_hypotheses,
    upsample,
    write_settings,
)
from maa.models import HGN, PRN, save_weights


@pytest.fixture(scope="module")
def networks(seasoned):
    torch.manual_seed(0)
    networks = {"hgn_1x": seasoned(HGN(2), 1), "hgn_half": seasoned(HGN(2), 2)}
    networks |= {row: seasoned(PRN(2, 4), 3 + n) for n, row in enumerate(row for row in FILES if row.startswith("prn"))}
    with torch.no_grad():  # untrained, they would propose nothing: lesions are rare, and they start from that
        for name in ("hgn_1x", "hgn_half"):
            networks[name].head.bias += 5
        for row in networks.keys() - {"hgn_1x", "hgn_half"}:
            networks[row].classifier.bias += 5
    return networks


def system_of(networks, present=None, settings=Settings()):
    """A system of some of the networks, by default all."""
    chosen = {name: model for name, model in networks.items() if present is None or name in present}
    return System(chosen.pop("hgn_1x", None), chosen.pop("hgn_half", None), chosen, settings)


@pytest.fixture
def folder(networks, tmp_path):
    for name, model in networks.items():
        save_weights(model, tmp_path / FILES[name])
    return tmp_path


def test_a_photograph_and_its_field_come_out_of_the_stack_without_the_margin(drawn_records, drawn_stacks):
    fundus = drawn_records[2].fundus
    assert np.array_equal(field_of(drawn_stacks[0], 2), fundus.fov)
    assert image_of(drawn_stacks[0], 2).shape == fundus.image.shape
    assert np.array_equal(image_of(drawn_stacks[0], 2), drawn_stacks[0].image(2)[MARGIN:-MARGIN, MARGIN:-MARGIN])


def test_maps_are_the_pipeline_step_by_step_at_native_resolution(networks, drawn_stacks, float32):
    weights = {row: 0.1 + 0.15 * n for n, row in enumerate(ROWS)}
    system = system_of(networks, settings=Settings(hypothesis=0.05, weights=weights))
    index = 2  # 149 x 181: odd both ways
    maps = system.maps(drawn_stacks, index)
    assert list(maps) == system.rows == list(ROWS) and {m.shape for m in maps.values()} == {(149, 181)}
    fine, coarse = (
        dense_map(networks[name], image_of(stack, index), field_of(stack, index))
        for name, stack in zip(("hgn_1x", "hgn_half"), drawn_stacks)
    )
    assert np.array_equal(maps["hgn_1x"], fine) and fine.any()
    assert np.array_equal(maps["hgn_half"], upsample(coarse, (149, 181))) and coarse.any()
    fused = maps["fused"]
    assert np.array_equal(fused, fuse([fine, maps["hgn_half"]], "geometric"))
    found = hypotheses(fused, 0.05)
    opinions = {"control": fused[tuple(found.centres.T)] / FULL_SCALE}
    opinions |= {
        row: score_hypotheses(model, drawn_stacks, index, found.centres)
        for row, model in networks.items()
        if row.startswith("prn")
    }
    assert len(found.centres) > 0 and opinions.keys() == set(ROWS) - {"hgn_1x", "hgn_half", "fused"}
    for row, opinion in opinions.items():
        assert np.array_equal(maps[row], refine(fused, found, opinion, weights[row]))
    assert not maps["prn_full"][fused < round(0.05 * FULL_SCALE)].any()


def test_only_the_maps_that_are_wanted_are_made(networks, drawn_stacks, monkeypatch):
    system = system_of(networks, settings=Settings(hypothesis=0.05))
    whole = system.maps(drawn_stacks, 1)
    asked = []
    monkeypatch.setattr(
        "maa.inference.system.score_hypotheses", lambda prn, *rest: asked.append(prn) or score_hypotheses(prn, *rest)
    )
    alone = system.maps(drawn_stacks, 1, ["prn_full"])
    assert list(alone) == ["prn_full"] and np.array_equal(alone["prn_full"], whole["prn_full"])
    assert asked == [networks["prn_full"]]


def test_each_setting_has_its_effect(networks, drawn_stacks):
    def refined(hypothesis, weight):
        settings = Settings(hypothesis=hypothesis, weights={"prn_full": weight})
        return system_of(networks, settings=settings).maps(drawn_stacks, 1)["prn_full"]

    base = refined(0.05, 0.3)
    assert not np.array_equal(base, refined(0.05, 0.6))
    assert (refined(0.2, 0.3) > 0).sum() < (base > 0).sum()
    assert Settings(weights={"control": 0.2}).weight("control") == 0.2 and Settings().weight("control") == Settings.WEIGHT


@pytest.mark.parametrize(
    "present, rows",
    [
        (("hgn_1x",), ["hgn_1x"]),
        (("hgn_half",), ["hgn_half"]),
        (("hgn_1x", "hgn_half"), ["hgn_1x", "hgn_half", "fused"]),
        (("hgn_half", "prn_full"), ["hgn_half", "prn_full"]),
        (("hgn_1x", "hgn_half", "prn_triplet"), ["hgn_1x", "hgn_half", "fused", "control", "prn_triplet"]),
    ],
)
def test_what_is_absent_gives_no_row(networks, drawn_stacks, present, rows):
    system = system_of(networks, present)
    assert list(system.maps(drawn_stacks, 1)) == system.rows == rows and system.final == rows[-1]
    assert system.networks == [networks[name] for name in present]


def test_the_row_to_use_is_the_one_that_validation_found_best(networks):
    system = system_of(networks)
    rows = system.rows
    assert system.final == rows[-1] == "prn_full"
    best = system_of(networks, settings=Settings(precisions={"hgn_1x": 0.3, "fused": 0.5, "prn_full": 0.5, "all": 0.9}))
    assert best.final == "fused"  # of equals the first, which takes less time; and none that it does not have


def test_a_single_photograph_has_the_maps_that_it_has_in_a_stack(networks, drawn_records, drawn_stacks):
    fundus = drawn_records[1].fundus
    system = system_of(networks, settings=Settings(hypothesis=0.05))
    alone = system.maps(stack_photograph(fundus.image, fundus.fov))
    for row, map_ in system.maps(drawn_stacks, 1).items():
        assert np.abs(alone[row].astype(int) - map_).max() <= 1


def test_loading_gives_the_networks_and_settings_that_were_saved(networks, folder, drawn_stacks):
    settings = Settings(hypothesis=0.07, weights={"prn_full": 0.25}, thresholds={"hgn_1x": 0.4, "prn_full": 0.6})
    write_settings(settings, folder)
    system = System.load(folder)
    assert system.settings == settings
    for name, model in networks.items():
        loaded = system.prns.get(name) or getattr(system, name)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())
    assert json.loads((folder / SETTINGS).read_text())["thresholds"]["prn_full"] == 0.6


def test_without_settings_the_defaults_hold(folder):
    assert System.load(folder).settings == read_settings(folder) == Settings()


@pytest.mark.parametrize("left", [[], ["prn_full"]])
def test_a_folder_without_a_first_stage_is_refused(folder, left):
    for name in FILES.keys() - set(left):
        (folder / FILES[name]).unlink()
    with pytest.raises(MaaError, match="maa train hgn-1x") as error:
        System.load(folder)
    assert str(folder) in str(error.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MaaError, match="nowhere"):
        System.load(tmp_path / "nowhere")


@pytest.mark.parametrize("content", [
    b"{", b"[1, 2]", b'{"colour": 3}', b"", b"null", b"7", b"\xff\xfe{", b"[" * 100_000, b" " * 2**21, b'{"weights": []}', b'{"weights": 1}',
    b'{"weights": {"prn_full": "1"}}', b'{"weights": {"prn_full": 2}}', b'{"weights": {"prn_full": true}}', b'{"thresholds": [0.5]}',
    b'{"thresholds": {"prn_full": NaN}}', b'{"thresholds": {"prn_full": [0.5]}}', b'{"hypothesis": null}', b'{"hypothesis": -1}',
])  # fmt: skip
def test_damaged_settings_are_refused(folder, content):
    (folder / SETTINGS).write_bytes(content)
    with pytest.raises(MaaError, match="damaged") as error:
        System.load(folder)
    assert str(folder / SETTINGS) in str(error.value) and "\n" not in str(error.value)


def test_settings_are_read_from_a_regular_file_only(folder):
    os.mkfifo(folder / SETTINGS)
    with pytest.raises(MaaError, match="damaged"):
        System.load(folder)


def test_networks_in_the_wrong_file_are_refused(networks, folder):
    save_weights(networks["prn_full"], folder / FILES["hgn_half"])
    with pytest.raises(MaaError, match="PRN, not of HGN"):
        System.load(folder)
