"""Tests of maa.training.windows: which windows are drawn, what is labelled in them, and that a network learns from it."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import ndimage
from sklearn.metrics import average_precision_score

from maa.data import FOV, MA
from maa.data.pools import lesion_centres
from maa.data.stacks import MARGIN
from maa.inference import dense_map
from maa.training import PRIOR, DecoderConfig, DecoderTask, Probe, Schedule, WindowConfig, WindowTask, fit
from maa.training.windows import IGNORED

pytestmark = pytest.mark.slow

CONFIG = WindowConfig(1.0, Schedule(steps=30, batch=8, reports=1), width=4, side=96, pool=500)


@pytest.fixture(autouse=True)
def small(monkeypatch, float32):
    monkeypatch.setattr(Probe, "POSITIVES", 40)
    monkeypatch.setattr(Probe, "NEGATIVES", 120)
    monkeypatch.setenv("MAA_PROGRESS", "0")


@pytest.fixture(scope="module")
def task(drawn_stacks):
    return WindowTask(drawn_stacks[0], drawn_stacks[0], CONFIG)


def test_every_lesion_is_one_centre_on_it(drawn_stacks):
    stack = drawn_stacks[0]
    centres = lesion_centres(stack)
    counts = [ndimage.label((stack.label(i) & (FOV | MA)) == (FOV | MA), np.ones((3, 3)))[1] for i in range(len(stack))]
    assert np.bincount(centres[:, 0], minlength=len(stack)).tolist() == counts and sum(counts) > 5
    assert all(stack.label(i)[row, column] & MA for i, row, column in centres)  # discs, so their centres lie on them


def test_half_of_the_windows_hold_a_lesion_and_the_others_are_of_healthy_patients(task):
    where = task.draw(400, np.random.default_rng(0))
    truth, _ = task.marks(torch.from_numpy(task.stack.gather_labels(where, CONFIG.side)))
    diseased = task.stack.diseased[where[:, 0]]
    assert diseased[:200].all() and not diseased[200:].any()
    assert (truth[:200].sum(dim=(1, 2)) > 0).float().mean() > 0.95, "a lesion of few pixels may fall between the grid's"
    assert truth[200:].sum() == 0


def test_lesions_are_drawn_evenly_and_lie_anywhere_in_their_window(task, monkeypatch):
    where = task.draw(40_000, np.random.default_rng(0))[:20_000]
    near = lesion_centres(task.stack)
    reach = CONFIG.side // 2 - task.first
    monkeypatch.setattr(task, "lesions", near[:1])
    shift = task.draw(4000, np.random.default_rng(0))[:2000, 1:] - near[0, 1:]
    limits = np.clip(near[0, 1:] + [[-reach], [reach]], 0, task.stack.shapes[near[0, 0]] - 1) - near[0, 1:]
    assert (shift.min(axis=0) == limits[0]).all() and (shift.max(axis=0) == limits[1]).all()
    shares = np.bincount(where[:, 0], minlength=len(task.stack)) / len(where)
    expected = np.bincount(near[:, 0], minlength=len(task.stack)) / len(near)
    assert shares == pytest.approx(expected, abs=0.02)


def test_marks_are_those_of_the_pixels_that_the_grid_sees(task):
    rng = np.random.default_rng(1)
    where = task.draw(6, rng)
    labels = task.stack.gather_labels(where, CONFIG.side)
    truth, used = task.marks(torch.from_numpy(labels))
    grid = task.build().grid(torch.from_numpy(task.stack.gather(where, CONFIG.side)))
    assert truth.shape == used.shape == grid.shape
    square = np.ones((2 * IGNORED + 1, 2 * IGNORED + 1))
    for window, t, u in zip(labels, truth.numpy(), used.numpy()):
        lesion = (window & MA) > 0
        ring = ndimage.binary_dilation(lesion, square) & ~lesion
        pixels = task.first + task.step * np.arange(len(t))
        assert (t == lesion[np.ix_(pixels, pixels)]).all()
        assert (u == (((window & FOV) > 0) & ~ring)[np.ix_(pixels, pixels)]).all()


def test_the_loss_is_the_mean_of_what_is_used_with_the_log_odds_of_the_batch_added(task, monkeypatch):
    class Constant(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.logit = torch.nn.Parameter(torch.tensor(-3.0))

        def grid(self, windows):
            side = (windows.shape[1] - 2 * task.first - 1) // task.step + 1
            return self.logit.expand(len(windows), side, side)

    monkeypatch.setattr("maa.training.windows.turn", lambda patches, rng: patches)
    rng = np.random.default_rng(3)
    truth, used = task.marks(torch.from_numpy(task.stack.gather_labels(task.draw(8, np.random.default_rng(3)), CONFIG.side)))
    expected = F.binary_cross_entropy_with_logits(torch.full(truth.shape, -3.0 + task.added)[used > 0], truth[used > 0])
    assert task.loss(Constant(), 0, rng)[0].item() == pytest.approx(expected.item(), rel=1e-5)


def test_a_network_is_at_rest_where_it_says_the_share_of_a_photograph(task):
    where = task.draw(2000, np.random.default_rng(9))
    truth, used = task.marks(torch.from_numpy(task.stack.gather_labels(where, CONFIG.side)))
    share = ((truth * used).sum() / used.sum()).item()
    rest = np.log(PRIOR / (1 - PRIOR)) + task.added
    assert 1 / (1 + np.exp(-rest)) == pytest.approx(share, rel=0.15)


def test_pixels_and_masks_are_turned_together(task, monkeypatch):
    """A network that reads the answer off the pixels is never wrong, however the windows are turned."""

    class Reader(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))

        def grid(self, windows):
            end = windows.shape[1] - task.first
            seen = windows[:, task.first : end : task.step, task.first : end : task.step, 0].float()
            return (seen - 0.5) * 80 - task.added + self.weight

    marked = lambda where, size: ((task.stack.gather_labels(where, size) & MA) > 0)[..., None].astype(np.uint8).repeat(3, -1)
    monkeypatch.setattr(type(task.stack), "gather", lambda self, where, size: marked(where, size))
    monkeypatch.setattr("maa.training.windows.color_jitter", lambda patches, rng: np.ascontiguousarray(patches))
    for seed in range(5):
        assert task.loss(Reader(), 0, np.random.default_rng(seed))[0].item() < 1e-6


def test_the_loss_falls_on_dots_that_are_easy_to_see(task):
    _, history = fit(task, Schedule(steps=60, batch=8, reports=4))
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0] and history["validation_ap"].iloc[-1] > 0.3


@pytest.fixture(scope="module")
def decoder(drawn_stacks):
    config = DecoderConfig(1.0, Schedule(steps=40, batch=8, reports=4, learning_rate=4e-3), width=8, side=96, pool=500)
    return DecoderTask(drawn_stacks[0], drawn_stacks[0], config)


def test_an_encoder_decoder_is_labelled_at_every_pixel_but_those_at_the_border(decoder):
    rng = np.random.default_rng(1)
    where = decoder.draw(6, rng)
    labels = decoder.stack.gather_labels(where, 96)
    truth, used = decoder.marks(torch.from_numpy(labels))
    logits = decoder.logits(decoder.build(), torch.from_numpy(decoder.stack.gather(where, 96)))
    assert logits.shape == truth.shape == used.shape == (6, 96 - 2 * IGNORED, 96 - 2 * IGNORED)
    for window, t, u in zip(labels, truth.numpy(), used.numpy()):
        lesion = (window & MA) > 0
        ring = ndimage.binary_dilation(lesion, np.ones((2 * IGNORED + 1, 2 * IGNORED + 1))) & ~lesion
        inner = (slice(IGNORED, -IGNORED),) * 2
        assert (t == lesion[inner]).all() and (u == (((window & FOV) > 0) & ~ring)[inner]).all()


def test_an_encoder_decoder_finds_dots_that_are_easy_to_see(decoder):
    model, history = fit(decoder, decoder.config.schedule)
    stack, index = decoder.stack, int(np.flatnonzero(decoder.stack.diseased)[0])
    label = stack.label(index)
    map_ = dense_map(model, stack.image(index)[MARGIN:-MARGIN, MARGIN:-MARGIN], (label & FOV) > 0)
    inside = (label & FOV) > 0
    found = average_precision_score((label & MA)[inside] > 0, map_[inside])
    assert history["loss"].iloc[-1] < 0.6 * history["loss"].iloc[0] and found > 0.3
