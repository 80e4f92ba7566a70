"""Tests of maa.prn: embeddings on the sphere, what the two towers see, and where."""

import numpy as np
import pytest
import torch

from maa.patches import gather_scales, stack_photograph
from maa.prn import PRN


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


def test_it_sees_beyond_45_pixels_through_the_half_scale_tower_and_not_beyond_90(model, drawn_stacks):
    stacks = stack_photograph(photograph(), np.ones((160, 160), bool))
    where = np.array([[0, 80, 80]])
    patches = gather_scales(stacks, where, 45)

    def embedding_after(distance):
        """Blackening one pixel of both scales, `distance` pixels (at 1x) to the right of the centre."""
        fine, coarse = (stack.pixels.copy() for stack in stacks)
        for stack, pixels, column in zip(stacks, (fine, coarse), (80 + distance, (80 + distance) // 2)):
            row = 80 if stack.scale == 1 else 40
            side = stack.shapes[0, 1] + 128
            at = ((row + 64) * side + column + 64) * 3
            pixels[at : at + 3] = 0
        changed = [type(s)(p, s.labels, s.shapes, s.names, s.diseased, s.scale) for s, p in zip(stacks, (fine, coarse))]
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
