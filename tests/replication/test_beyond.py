"""Tests of maa.replication.beyond: the U-Nets on a tiny phantom, beside the paper's track."""

import json

import numpy as np
import pytest
from tiny import TINY, in_small

from maa.data import open_dataset
from maa.errors import MaaError
from maa.inference import BEYOND_ROWS, FOLDER, Beyond, mean_log_odds, mirrored_map
from maa.replication.beyond import beyond
from maa.replication.study import Study

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_phantom, tmp_path_factory):
    """The track on a tiny phantom: the data set, where it went, and what it returned."""
    out = tmp_path_factory.mktemp("beyond")
    with in_small(out / "cache"):
        dataset = open_dataset(tiny_phantom)
        results = beyond(dataset, TINY, out / "out", seed=1)
        yield dataset, out / "out", results


def test_every_row_is_measured_and_compared(run):
    _, out, results = run
    written = json.loads((out / "beyond.json").read_text())
    assert list(written["rows"]) == list(BEYOND_ROWS)
    for row, measures in written["rows"].items():
        assert 0 <= measures["average_precision"]["value"] <= 1 and measures["name"] == BEYOND_ROWS[row]
        assert measures["gains"].keys() == {"hgn_1x", "hgn_half", "fused", "unet"} - {row}
    assert [results["runs"][f"unet-{seed}"]["seed"] for seed in (0, 1)] == [0, 1]
    assert results["runs"]["unet-0"]["config"]["scale"] == 0.5


def test_the_longer_networks_see_as_many_patches_as_the_whole_system(run):
    results = run[2]
    schedules = [config.schedule for config in (TINY.hgn_1x, TINY.hgn_half, TINY.prn, TINY.prn)]
    whole = sum(schedule.steps * schedule.batch for schedule in schedules)
    for name in ("hgn_1x_long", "hgn_half_long"):
        schedule = results["runs"][name]["config"]["schedule"]
        assert abs(schedule["steps"] * schedule["batch"] - whole) <= schedule["batch"] / 2


def test_a_folder_without_the_track_says_so(run, tmp_path):
    with pytest.raises(MaaError, match="holds no U-Net") as error:
        Beyond.load(tmp_path)
    assert str(tmp_path / FOLDER) in str(error.value)


def test_mirrored_images_are_turned_back(run):
    """A network that looks at one pixel only gives the same map whichever way the photograph is turned."""
    dataset, out, _ = run
    stacks = Study(dataset, TINY).validation

    class Pixel:
        patch_size = 1

        def parameters(self):
            import torch

            yield torch.zeros(1)

        def dense(self, image):
            return (image[..., 0].float() - 128) / 20

    once, four = (mirrored_map(Pixel(), stacks, 0, ways) for ways in (1, 4))
    assert once.max() > 10_000 and len(np.unique(once)) > 20
    assert np.abs(once.astype(int) - four).max() <= 2


def test_the_mean_of_log_odds_is_between_its_maps_and_zero_where_they_are():
    a, b = (np.array([[0, 0, p, 65535]], np.uint16) for p in (655, 6554))
    a[0, 1] = 13
    mean = mean_log_odds([a, b])
    assert mean[0, 0] == 0 and 655 < mean[0, 2] < 6554 and mean[0, 3] == 65535
    odds = [p / (65535 - p) for p in (655, 6554)]
    expected = np.sqrt(odds[0] * odds[1])
    assert mean[0, 2] == pytest.approx(65535 * expected / (1 + expected), abs=1)
