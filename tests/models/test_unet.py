"""Tests of maa.models.unet: the network, its crops, and that it learns."""

import numpy as np
import pytest
import torch

from maa.data import FOV, HE, MA
from maa.inference import dense_map
from maa.models import CLASSES, CONTEXT, UNet, load_weights, save_weights
from maa.training import Schedule, UNetConfig, UNetTask, fit, turn_and_zoom


@pytest.fixture
def net(float32):
    torch.manual_seed(0)
    return UNet(width=4).eval()


@pytest.mark.parametrize("shape", [(32, 48), (16, 16)])
def test_one_logit_for_each_class_and_pixel(net, shape):
    assert net(torch.zeros(2, 3, *shape)).shape == (2, len(CLASSES), *shape)


def test_dense_gives_the_pixels_that_have_their_context_around_them(net):
    image = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (1, 160, 171, 3), dtype=np.uint8))
    with torch.inference_mode():
        dense = net.dense(image)
        whole = net(torch.nn.functional.pad((image.permute(0, 3, 1, 2).float() - 128) / 24, (0, 5, 0, 0)))
    assert dense.shape == (1, 160 - 2 * CONTEXT, 171 - 2 * CONTEXT)
    assert torch.allclose(dense[0], whole[0, 0, CONTEXT:-CONTEXT, CONTEXT : 171 - CONTEXT], atol=1e-5)
    assert net.patch_size == 2 * CONTEXT + 1


def test_a_map_of_a_photograph_has_its_size(net):
    rng = np.random.default_rng(0)
    image, fov = rng.integers(0, 255, (90, 70, 3), dtype=np.uint8), np.ones((90, 70), bool)
    fov[:5] = False
    map_ = dense_map(net, image, fov, tile=64)
    assert map_.shape == fov.shape and map_.dtype == np.uint16 and not map_[:5].any() and map_[5:].any()


def test_pixels_and_labels_are_turned_alike():
    """A bright disc in the pixels stays where the label says, whatever the turn."""
    rows, columns = np.ogrid[:120, :120]
    disc = np.hypot(rows - 70, columns - 52) < 9
    pixels = np.where(disc[..., None], 200, 60).astype(np.uint8).repeat(3, -1)[None].repeat(24, 0)
    labels = (disc * MA + FOV).astype(np.uint8)[None].repeat(24, 0)
    turned, marked = turn_and_zoom(pixels, labels, 64, 1.25, np.random.default_rng(0))
    assert turned.shape == (24, 64, 64, 3) and marked.shape == (24, 64, 64) and set(np.unique(marked)) <= {FOV, FOV | MA}
    bright = turned[..., 1] > 130
    assert (bright == ((marked & MA) > 0)).mean() > 0.99
    areas = ((marked & MA) > 0).sum((1, 2))
    assert areas.min() < disc.sum() < areas.max()  # zoomed out, and in
    centres = np.array([np.argwhere(mark & MA).mean(0) for mark in marked])
    assert np.hypot(*(centres - 32).T).std() < 4 and centres.std(0).min() > 5  # turned about the middle


def test_beyond_the_photograph_nothing_is_known():
    labels = np.full((1, 40, 40), FOV, np.uint8)
    marked = turn_and_zoom(np.zeros((1, 40, 40, 3), np.uint8), labels, 64, 1.25, np.random.default_rng(0))[1]
    assert (marked == 0).any() and (marked == FOV).any()


def test_weights_come_back(net, tmp_path):
    save_weights(net, tmp_path / "u.safetensors")
    again = load_weights(tmp_path / "u.safetensors", UNet)
    image = torch.zeros(1, 144, 144, 3, dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(again.dense(image), net.dense(image)) and again.width == 4


def test_it_learns_the_dots_of_a_drawn_photograph(drawn_stacks, float32, monkeypatch):
    monkeypatch.setenv("MAA_PROGRESS", "0")
    fine = drawn_stacks[0]
    schedule = Schedule(steps=60, batch=8, learning_rate=5e-3, reports=2)
    task = UNetTask(fine, fine, UNetConfig(schedule, width=8, side=48))
    assert task.shares == {"ma": 4, "other": 1, "diseased": 1, "healthy": 2}
    assert all((fine.label(i)[r, c] & HE) for i, r, c in task.pools["other"][:20])
    _, history = fit(task, schedule)
    assert history["validation_ap"].iloc[-1] > 0.3 and len(history) == schedule.reports
    assert history["dice"].iloc[-1] < history["dice"].iloc[0]
