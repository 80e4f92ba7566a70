"""Tests of maa.models.hgn: one network, on patches and on whole images."""

import numpy as np
import pytest
import torch

from maa.data import CONTRAST_LEVELS
from maa.inference import dense_map, image_of, to_map
from maa.models import DEPTH, HGN, LAYERS, to_network
from maa.training import PRIOR


@pytest.fixture(scope="module", params=[3, 16])
def model(request, seasoned):
    torch.manual_seed(request.param)
    return seasoned(HGN(request.param))


def pixels(*shape, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def test_to_network_centres_scales_and_keeps_the_pixels_in_place():
    patches = pixels(2, 5, 7, 3)
    x = to_network(patches)
    assert x.shape == (2, 3, 5, 7) and x.dtype == torch.float32
    assert x.is_contiguous(memory_format=torch.channels_last)
    assert x[1, 2, 4, 6].item() == pytest.approx((int(patches[1, 4, 6, 2]) - 128) / CONTRAST_LEVELS)
    assert (to_network(torch.full((1, 1, 1, 3), 128, dtype=torch.uint8)) == 0).all()


@pytest.mark.parametrize("shape", [(57, 62), (45, 45), (46, 71)])
def test_dense_equals_the_patch_around_every_pixel(model, shape):
    image = pixels(1, *shape, 3)
    with torch.inference_mode():
        dense = model.dense(image)[0]
        patches = image[0].unfold(0, 45, 1).unfold(1, 45, 1).permute(0, 1, 3, 4, 2)
        assert dense.shape == patches.shape[:2] == (shape[0] - 44, shape[1] - 44)
        single = model(patches.reshape(-1, 45, 45, 3)).reshape(dense.shape)
    assert dense.numel() == 1 or dense.std() > 0.05  # the comparison below is not one of constants
    assert torch.allclose(dense, single, atol=2e-4, rtol=1e-4)


def undecided(model):
    """A network that does not take lesions for rare, so that its maps use their whole range."""
    with torch.no_grad():
        model.head.bias.zero_()
    return model


#: The patch that follows from the number of convolutions.
PATCHES = {6: 29, 8: 45, 10: 61}


@pytest.mark.parametrize("depth, patch", PATCHES.items())
def test_depth_sets_the_patch_and_dense_is_forward_at_each(seasoned, depth, patch):
    torch.manual_seed(depth)
    model = seasoned(HGN(4, depth))
    assert model.patch_size == patch and model.depth == len(model.trunk.convolutions) == depth
    image = pixels(1, patch + 7, patch + 10, 3)
    with torch.inference_mode():
        dense = model.dense(image)[0]
        patches = image[0].unfold(0, patch, 1).unfold(1, patch, 1).permute(0, 1, 3, 4, 2)
        single = model(patches.reshape(-1, patch, patch, 3)).reshape(dense.shape)
    assert dense.shape == (8, 11) and dense.std() > 0.05
    assert torch.allclose(dense, single, atol=2e-4, rtol=1e-4)


def test_each_convolution_beyond_the_layers_widens_the_patch_by_eight():
    sizes = [HGN(1, depth).patch_size for depth in range(len(LAYERS), 12)]
    assert np.diff(sizes).tolist() == [8] * 7
    assert HGN(1).patch_size == PATCHES[DEPTH] and HGN(1).depth == DEPTH


@pytest.mark.parametrize("level", [0, 1], ids=["1x", "0.5x"])
def test_the_map_of_a_photograph_equals_its_patches_at_both_scales(seasoned, drawn_stacks, level, float32):
    """All along the border of a photograph of odd sizes, and at random inside it."""
    torch.manual_seed(3)
    model, stack, index = undecided(seasoned(HGN(3))), drawn_stacks[level], 2
    height, width = stack.shapes[index]
    dense = dense_map(model, image_of(stack, index), np.ones((height, width), bool))
    rows, columns = np.mgrid[0:height, 0:width].reshape(2, -1)
    border = (rows % (height - 1) == 0) | (columns % (width - 1) == 0)
    chosen = np.flatnonzero(border | (np.random.default_rng(0).random(rows.size) < 400 / rows.size))
    where = np.stack([np.full(chosen.size, index), rows[chosen], columns[chosen]], axis=1)
    with torch.inference_mode():
        single = torch.sigmoid(model(torch.from_numpy(stack.gather(where, 45))))
    difference = dense[where[:, 1], where[:, 2]].astype(int) - to_map(single.numpy())
    assert np.abs(difference).max() <= 3 and dense.std() > 100


def sum_of_all_it_sees(depth=DEPTH):
    """A network whose positive weights keep every ReLU open, so each pixel that can matter does.

    The background gives exactly zero, so that not even a tiny contribution is rounded away.
    """
    torch.manual_seed(0)
    model = HGN(2, depth).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.abs_()
        model.head.bias.zero_()
    return model


@pytest.mark.parametrize("depth, patch", PATCHES.items())
def test_the_receptive_field_is_exactly_the_patch(depth, patch):
    model, reach = sum_of_all_it_sees(depth), patch - 1
    assert model.patch_size == model.trunk.receptive_field == patch
    image = torch.full((1, 2 * patch + 17, 2 * patch + 13, 3), 128, dtype=torch.uint8)
    row, column = patch + 8, patch + 5
    image[0, row, column, 1] = 200
    with torch.inference_mode():
        rows, columns = np.nonzero(model.dense(image)[0].numpy())
    # An output at (r, c) reads the image from (r, c) to (r + reach, c + reach).
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (row - reach, row, column - reach, column)
    assert rows.size == patch**2


@pytest.mark.parametrize("row, column", [(0, 0), (0, 44), (44, 0), (44, 44), (22, 22)])
def test_a_patch_is_read_to_its_very_corners(row, column):
    model = sum_of_all_it_sees()
    patch = torch.full((1, 45, 45, 3), 128, dtype=torch.uint8)
    with torch.inference_mode():
        assert model(patch) == 0
        patch[0, row, column] = 200
        assert model(patch) > 0


def test_the_dense_filter_uses_fixed_statistics_and_leaves_them_alone(model):
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.inference_mode():
        alone = model.dense(pixels(1, 50, 50, 3))
        together = model.dense(torch.cat([pixels(1, 50, 50, 3), pixels(1, 50, 50, 3, seed=1)]))
    assert torch.allclose(alone[0], together[0], atol=1e-4)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_training_reaches_every_parameter():
    torch.manual_seed(1)
    model = HGN(4).train()
    model(pixels(16, 45, 45, 3)).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())
    silent = [name for name, p in model.named_parameters() if not p.grad.any()]
    # A batch norm takes away any constant that the convolution before it adds.
    assert all(name.endswith("bias") and "convolutions" in name for name in silent)


def test_a_fresh_network_takes_lesions_for_rare():
    torch.manual_seed(0)
    with torch.inference_mode():
        background = HGN(8).eval()(torch.full((4, 45, 45, 3), 128, dtype=torch.uint8))
        texture = HGN(8).eval()(pixels(20, 45, 45, 3) // 8 + 112)
    # About as rare as the loss takes them for, whose logits are not those of the balanced batch.
    assert (torch.sigmoid(background) < 2 * PRIOR).all()
    assert (torch.sigmoid(texture) < 0.1).all()


@pytest.mark.parametrize("side", [45, 48, 49, 96])
def test_the_grid_is_the_dense_filter_at_every_fourth_pixel(model, side):
    windows = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, side, side, 3), np.uint8))
    with torch.no_grad():
        grid, dense = model.grid(windows), model.dense(windows)
    assert model.trunk.step == 4 and torch.allclose(grid, dense[:, ::4, ::4], atol=1e-4)
    assert grid.shape[1:] == ((side - model.patch_size) // 4 + 1,) * 2
