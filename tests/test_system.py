"""Tests of maa.system: the networks and settings of a folder, and every map that they allow."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from maa.errors import MaaError
from maa.hgn import HGN
from maa.inference import FULL, dense_map, double, fuse, hypotheses, refine, score_hypotheses
from maa.patches import MARGIN, stack_photograph
from maa.prn import PRN
from maa.system import FILES, ROWS, SETTINGS, Settings, System, field_of_view, photograph
from maa.weights import save_weights


@pytest.fixture(scope="module")
def networks(seasoned):
    torch.manual_seed(0)
    networks = {"hgn_1x": seasoned(HGN(2), 1), "hgn_half": seasoned(HGN(2), 2), "prn": seasoned(PRN(2, 4), 3)}
    with torch.no_grad():  # untrained, they would propose nothing: lesions are rare, and they start from that
        for name in ("hgn_1x", "hgn_half"):
            networks[name].head.bias += 5
        networks["prn"].classifier.bias += 5
    return networks


@pytest.fixture
def folder(networks, tmp_path):
    for name, model in networks.items():
        save_weights(model, tmp_path / FILES[name])
    return tmp_path


def test_a_photograph_and_its_field_come_out_of_the_stack_without_the_margin(drawn_records, drawn_stacks):
    fundus = drawn_records[2].fundus
    assert np.array_equal(field_of_view(drawn_stacks[0], 2), fundus.fov)
    assert photograph(drawn_stacks[0], 2).shape == fundus.image.shape
    assert np.array_equal(photograph(drawn_stacks[0], 2), drawn_stacks[0].image(2)[MARGIN:-MARGIN, MARGIN:-MARGIN])


def test_maps_are_the_pipeline_step_by_step_at_native_resolution(networks, drawn_stacks, float32):
    system = System(**networks, settings=Settings(hypothesis=0.05, weight=0.3))
    index = 2  # 149 x 181: odd both ways
    maps = system.maps(drawn_stacks, index)
    assert list(maps) == list(ROWS) and {m.shape for m in maps.values()} == {(149, 181)}
    fine, coarse = (
        dense_map(networks[name], photograph(stack, index), field_of_view(stack, index))
        for name, stack in zip(("hgn_1x", "hgn_half"), drawn_stacks)
    )
    assert np.array_equal(maps["hgn_1x"], fine) and fine.any()
    assert np.array_equal(maps["hgn_half"], double(coarse, (149, 181))) and coarse.any()
    assert np.array_equal(maps["fused"], fuse([fine, maps["hgn_half"]], "geometric"))
    found = hypotheses(maps["fused"], 0.05)
    scores = score_hypotheses(networks["prn"], drawn_stacks, index, found.centres)
    assert len(scores) > 0
    assert np.array_equal(maps["refined"], refine(maps["fused"], found, scores, 0.3))
    assert not maps["refined"][maps["fused"] < round(0.05 * FULL)].any()


def test_each_setting_has_its_effect(networks, drawn_stacks):
    def refined(**settings):
        return System(**networks, settings=Settings(**settings)).maps(drawn_stacks, 1)["refined"]

    base = refined(hypothesis=0.05, weight=0.3)
    assert not np.array_equal(base, refined(hypothesis=0.05, weight=0.6))
    assert (refined(hypothesis=0.2, weight=0.3) > 0).sum() < (base > 0).sum()


@pytest.mark.parametrize("present, rows", [
    (("hgn_1x",), ["hgn_1x"]),
    (("hgn_half",), ["hgn_half"]),
    (("hgn_1x", "hgn_half"), ["hgn_1x", "hgn_half", "fused"]),
    (("hgn_half", "prn"), ["hgn_half", "refined"]),
])
def test_what_is_absent_gives_no_row(networks, drawn_stacks, present, rows):
    chosen = {name: model if name in present else None for name, model in networks.items()}
    assert list(System(**chosen).maps(drawn_stacks, 1)) == rows


def test_a_single_photograph_has_the_maps_that_it_has_in_a_stack(networks, drawn_records, drawn_stacks):
    fundus = drawn_records[1].fundus
    system = System(**networks, settings=Settings(hypothesis=0.05))
    alone = system.maps(stack_photograph(fundus.image, fundus.fov))
    for row, map_ in system.maps(drawn_stacks, 1).items():
        assert np.abs(alone[row].astype(int) - map_).max() <= 1


def test_loading_gives_the_networks_and_settings_that_were_saved(networks, folder, drawn_stacks):
    settings = Settings(hypothesis=0.07, weight=0.25, thresholds={"hgn_1x": 0.4, "refined": 0.6})
    replace(System.load(folder), settings=settings).save_settings(folder)
    system = System.load(folder)
    assert system.settings == settings
    for name, model in networks.items():
        loaded = getattr(system, name)
        assert all(torch.equal(v, model.state_dict()[k]) for k, v in loaded.state_dict().items())
    assert json.loads((folder / SETTINGS).read_text())["thresholds"]["refined"] == 0.6


def test_without_settings_the_defaults_hold(folder):
    assert System.load(folder).settings == Settings()


@pytest.mark.parametrize("left", [[], ["prn"]])
def test_a_folder_without_a_first_stage_is_refused(folder, left):
    for name in FILES.keys() - set(left):
        (folder / FILES[name]).unlink()
    with pytest.raises(MaaError, match="maa train hgn-1x") as error:
        System.load(folder)
    assert str(folder) in str(error.value)


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(MaaError, match="nowhere"):
        System.load(tmp_path / "nowhere")


@pytest.mark.parametrize("content", ["{", "[1, 2]", '{"colour": 3}', ""])
def test_damaged_settings_are_refused(folder, content):
    (folder / SETTINGS).write_text(content)
    with pytest.raises(MaaError, match="damaged") as error:
        System.load(folder)
    assert SETTINGS in str(error.value)


def test_networks_in_the_wrong_file_are_refused(networks, folder):
    save_weights(networks["prn"], folder / FILES["hgn_half"])
    with pytest.raises(MaaError, match="PRN, not of HGN"):
        System.load(folder)
