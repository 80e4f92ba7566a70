"""Tests of maa.models.prn: embeddings on the sphere, what the two towers see, and where."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from maa.data import MARGIN, gather_scales, stack_photograph
from maa.models import PRN
from maa.training import PRIOR


@pytest.fixture(scope="module")
def model(seasoned):
    torch.manual_seed(0)
    return seasoned(PRN(6, 10))


def photograph(*dots, seed=0):
    """Texture with a dark dot at each (row, column)."""
    rng = np.random.default_rng(seed)
    image = np.array([150.0, 90, 50]) + rng.normal(0, 5, (160, 160, 3))
    rows, columns = np.ogrid[:160, :160]
    for row, column in dots:
        image[np.hypot(rows - row, columns - column) <= 4] -= 40
    return image.clip(0, 255).astype(np.uint8)


def look(model, patches):
    with torch.inference_mode():
        return model(torch.from_numpy(patches))


def test_shapes_and_unit_length(model):
    patches = np.random.default_rng(0).integers(0, 256, (7, 2, 45, 45, 3), np.uint8)
    logits, embeddings = look(model, patches)
    assert logits.shape == (7,) and embeddings.shape == (7, 10) and model.patch_size == 45
    assert torch.allclose(embeddings.norm(dim=1), torch.ones(7), atol=1e-6)
    assert embeddings.std(dim=0).max() > 1e-3  # not one point for all


def test_the_class_is_read_off_the_embedding(model):
    """Equal embeddings have equal logits: the classifier sees nothing else."""
    logits, embeddings = look(model, np.random.default_rng(1).integers(0, 256, (5, 2, 45, 45, 3), np.uint8))
    with torch.inference_mode():
        again = model.classifier(model.scale * embeddings)[:, 0]
    assert torch.allclose(logits, again, atol=1e-6)
    with torch.inference_mode():
        reach = model.scale * model.classifier.weight.norm() + model.classifier.bias.abs()
    assert (logits.abs() <= reach + 1e-5).all()


@pytest.mark.parametrize("tower", [0, 1])
def test_each_scale_has_a_say(model, tower):
    patches = np.random.default_rng(2).integers(0, 256, (3, 2, 45, 45, 3), np.uint8)
    changed = patches.copy()
    changed[:, tower] = 255 - changed[:, tower]
    assert (look(model, patches)[1] - look(model, changed)[1]).norm(dim=1).min() > 1e-3


LEVELS = {"both": [0, 1], "1x": [0], "0.5x": [1]}


@pytest.mark.parametrize("scales, levels", LEVELS.items())
def test_a_network_of_some_scales_looks_at_those_alone(seasoned, scales, levels):
    torch.manual_seed(0)
    model = seasoned(PRN(6, 10, scales=scales))
    assert model.scales == scales and len(model.towers) == len(levels)
    patches = np.random.default_rng(2).integers(0, 256, (3, 2, 45, 45, 3), np.uint8)
    logits, embeddings = look(model, patches)
    assert logits.shape == (3,) and embeddings.shape == (3, 10)
    for level in (0, 1):
        changed = patches.copy()
        changed[:, level] = 255 - changed[:, level]
        moved = (look(model, changed)[1] - embeddings).norm(dim=1)
        assert moved.min() > 1e-3 if level in levels else moved.max() == 0


def test_each_tower_reads_its_own_scale(seasoned):
    """Exchanging the patches of the two scales, and the towers, exchanges the halves of the features and nothing else."""
    torch.manual_seed(0)
    model = seasoned(PRN(6, 10))
    patches = np.random.default_rng(3).integers(0, 256, (3, 2, 45, 45, 3), np.uint8)
    before = look(model, patches)[1]
    assert (look(model, patches[:, ::-1].copy())[1] - before).norm(dim=1).min() > 1e-3
    model.towers = torch.nn.ModuleList(reversed(model.towers))
    with torch.no_grad():
        model.embedding.weight.copy_(model.embedding.weight.roll(model.towers[0].features, dims=1))
    assert torch.allclose(look(model, patches[:, ::-1].copy())[1], before, atol=1e-5)


def test_scales_that_are_not_known_are_refused():
    with pytest.raises(KeyError, match="2x"):
        PRN(2, 4, scales="2x")


@pytest.mark.parametrize("depth, patch", [(6, 29), (8, 45), (10, 61)])
def test_depth_sets_the_patch(seasoned, depth, patch):
    model = seasoned(PRN(3, 5, depth))
    assert model.patch_size == patch and model.depth == depth
    patches = np.random.default_rng(0).integers(0, 256, (3, 2, patch, patch, 3), np.uint8)
    logits, embeddings = look(model, patches)
    assert logits.shape == (3,) and embeddings.shape == (3, 5)
    for row, column in ((0, 0), (patch - 1, patch - 1)):  # to its very corners
        changed = patches.copy()
        changed[:, :, row, column] ^= 255
        assert (look(model, changed)[1] != embeddings).any()


def test_a_fresh_network_takes_lesions_for_rare():
    torch.manual_seed(0)
    model = PRN(8).eval()
    patches = np.random.default_rng(0).integers(110, 146, (20, 2, 45, 45, 3), np.uint8)
    assert (torch.sigmoid(look(model, patches)[0]) < 0.1).all()
    with torch.inference_mode():  # an embedding that says nothing
        assert torch.sigmoid(model.classifier(torch.zeros(1, 64))).item() < 2 * PRIOR


def test_it_sees_beyond_45_pixels_through_the_half_scale_tower_and_not_beyond_90(model, drawn_stacks):
    stacks = stack_photograph(photograph(), np.ones((160, 160), bool))
    where = np.array([[0, 80, 80]])
    patches = gather_scales(stacks, where, 45)

    def embedding_after(distance):
        """Blackening one pixel of both scales, `distance` pixels (at 1x) to the right of the centre."""
        fine, coarse = (stack.pixels.copy() for stack in stacks)
        for stack, pixels, column in zip(stacks, (fine, coarse), (80 + distance, (80 + distance) // 2)):
            row = 80 if stack.scale == 1 else 40
            side = stack.shapes[0, 1] + 2 * MARGIN
            at = ((row + MARGIN) * side + column + MARGIN) * 3
            pixels[at : at + 3] = 0
        changed = [replace(stack, pixels=pixels) for stack, pixels in zip(stacks, (fine, coarse))]
        return gather_scales(tuple(changed), where, 45)

    for distance, seen_fine, seen_coarse in ((20, True, True), (30, False, True), (43, False, True), (50, False, False)):
        changed = embedding_after(distance)
        assert (changed[:, 0] != patches[:, 0]).any() == seen_fine
        assert (changed[:, 1] != patches[:, 1]).any() == seen_coarse
    original, far = look(model, patches)[1], look(model, embedding_after(30))[1]
    assert not torch.equal(original, far)


def test_it_is_not_blind_to_position(model):
    """A lesion in the centre and one beside it must not look the same: pooling would make them."""
    stacks = stack_photograph(photograph((80, 80)), np.ones((160, 160), bool))
    centred = gather_scales(stacks, np.array([[0, 80, 80]]), 45)
    beside = gather_scales(stacks, np.array([[0, 80, 90]]), 45)
    noise = stack_photograph(photograph((80, 80), seed=1), np.ones((160, 160), bool))
    centred_again = gather_scales(noise, np.array([[0, 80, 80]]), 45)
    moved = (look(model, centred)[1] - look(model, beside)[1]).norm()
    renewed = (look(model, centred)[1] - look(model, centred_again)[1]).norm()
    assert moved > 1.5 * renewed


def test_both_heads_train_every_parameter():
    torch.manual_seed(3)
    model = PRN(4, 8).train()
    patches = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (12, 2, 45, 45, 3), np.uint8))
    logits, embeddings = model(patches)
    (logits.sum() + embeddings[:, 0].sum()).backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    silent = {name for name, p in model.named_parameters() if not p.grad.any()}
    assert all(name.endswith("bias") and "convolutions" in name for name in silent)
    assert model.scale.grad != 0
