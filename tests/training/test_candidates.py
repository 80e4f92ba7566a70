"""Tests of maa.training.candidates: what a candidate is called, how a batch is drawn, and what is told to the loss."""

import numpy as np
import pytest
import torch
from scipy import ndimage

from maa.data import FOV, MA
from maa.data.pools import lesion_centres
from maa.training import CandidateConfig, CandidateTask, Schedule, fit
from maa.training import candidates as module
from maa.training.candidates import COPIES, JITTER, sorted_candidates

SCHEDULE = Schedule(steps=12, batch=16, reports=2)


@pytest.fixture
def small(monkeypatch, float32):
    monkeypatch.setattr(module, "REFRESH", 4)
    monkeypatch.setattr(module, "SCORED", 60)
    monkeypatch.setattr(module, "GROUND", 500)
    monkeypatch.setenv("MAA_PROGRESS", "0")


@pytest.fixture(scope="module")
def centres(drawn_stacks):
    """Every second lesion, and places drawn evenly."""
    stack, rng = drawn_stacks[0], np.random.default_rng(0)
    lesions, tables = lesion_centres(stack), {}
    for index, name in enumerate(stack.names):
        anywhere = rng.integers((0, 0), stack.shapes[index], size=(30, 2))
        tables[name] = np.concatenate([lesions[lesions[:, 0] == index][::2, 1:], anywhere]).astype(np.int32)
    return tables


def task_of(stacks, centres, **changes):
    return CandidateTask(stacks, centres, CandidateConfig(SCHEDULE, width=4, embedding_size=8, **changes))


def test_a_candidate_is_what_its_centre_lies_on_and_missed_lesions_are_shown_in_its_place(drawn_stacks, centres):
    stack = drawn_stacks[0]
    kinds = sorted_candidates(stack, centres, np.random.default_rng(0))
    assert sum(len(kinds[kind]) for kind in ("healthy", "false")) <= 30 * len(stack)
    assert not stack.diseased[kinds["healthy"][:, 0]].any() and stack.diseased[kinds["false"][:, 0]].all()
    distance = [ndimage.distance_transform_edt((stack.label(i) & (FOV | MA)) != (FOV | MA)) for i in range(len(stack))]
    assert all(distance[i][row, column] > module.NEAR for i, row, column in kinds["false"])
    found = missed = 0
    for index in np.flatnonzero(stack.diseased):
        components, count = ndimage.label(distance[index] == 0, np.ones((3, 3)))
        near = ndimage.distance_transform_edt(components == 0, return_distances=False, return_indices=True)
        hit = {components[tuple(near[:, r, c])] for r, c in centres[stack.names[index]] if distance[index][r, c] <= module.NEAR}
        found += sum(distance[index][r, c] <= module.NEAR for r, c in centres[stack.names[index]])
        missed += count - len(hit)
    assert missed > 3 and len(kinds["ma"]) == found + COPIES * missed
    lesions = lesion_centres(stack)
    for index, row, column in kinds["ma"]:
        of_it = lesions[lesions[:, 0] == index, 1:]
        close = np.abs(of_it - (row, column)).max(axis=1).min() <= JITTER + 1
        assert close or distance[index][row, column] <= module.NEAR


def test_without_candidates_of_a_kind_there_is_none_of_it(drawn_stacks):
    stack = drawn_stacks[0]
    kinds = sorted_candidates(stack, {name: np.empty((0, 2), int) for name in stack.names}, np.random.default_rng(0))
    assert len(kinds["healthy"]) == len(kinds["false"]) == 0 and len(kinds["ma"]) == COPIES * len(lesion_centres(stack))


@pytest.mark.parametrize("negatives", ["healthy", "diseased too", "ground"])
def test_negatives_come_from_where_the_configuration_says(drawn_stacks, centres, small, negatives):
    task = task_of(drawn_stacks, centres, negatives=negatives)
    where, told, weight = task.draw(np.random.default_rng(0))
    assert where.shape == (16, 3) and not told.any() and (weight == 1).all()
    assert task.stacks[0].diseased[where[:8, 0]].all()
    assert task.stacks[0].diseased[task.negative[:, 0]].any() == (negatives == "diseased too")
    if negatives == "ground":
        assert len(task.negative) == 500


def test_the_loss_is_told_what_the_sampler_does_to_every_patch(drawn_stacks, centres, small):
    task = task_of(drawn_stacks, centres, rule="told")
    task.refresh(task.build(), np.random.default_rng(0))
    where, told, weight = task.draw(np.random.default_rng(0))
    positive = np.random.default_rng(0).integers(len(task.positive), size=8)
    assert told[:8].numpy() == pytest.approx(-np.log(task.reserve.weight(task.beliefs[positive])), rel=1e-5)
    scored = {tuple(place): log for place, log in zip(task.scored.tolist(), -np.log(task.reserve.weights))}
    assert told[8:].numpy() == pytest.approx([scored[tuple(place)] for place in where[8:].tolist()], rel=1e-5)
    assert (weight == 1).all()


def test_a_mixture_counts_each_patch_by_how_often_it_is_drawn(drawn_stacks, centres, small):
    task = task_of(drawn_stacks, centres, rule="mixture")
    task.refresh(task.build(), np.random.default_rng(0))
    weights = torch.cat([task.draw(np.random.default_rng(i))[2][8:] for i in range(400)])
    assert weights.max() <= 2 and weights.mean() == pytest.approx(1, abs=0.02)
    assert (task.draw(np.random.default_rng(0))[2][:8] == 1).all()


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"rule": "told"},
        {"rule": "fresh", "negatives": "ground"},
        {"triplet_weight": 0.5, "mining": "soft", "projected": True},
        {"triplet_weight": 0.5},
    ],
    ids=str,
)
def test_a_training_that_is_cut_goes_on_as_if_it_had_not_been(drawn_stacks, centres, small, tmp_path, changes):
    model, history = fit(task_of(drawn_stacks, centres, **changes), SCHEDULE)
    assert history["cross_entropy"].notna().all()
    cut = task_of(drawn_stacks, centres, **changes)
    loss = cut.loss

    def broken(model, step, rng):
        if step == 8:
            raise KeyboardInterrupt
        return loss(model, step, rng)

    cut.loss = broken
    with pytest.raises(KeyboardInterrupt):
        fit(cut, SCHEDULE, tmp_path)
    again, _ = fit(task_of(drawn_stacks, centres, **changes), SCHEDULE, tmp_path)
    for ours, theirs in zip(model.state_dict().values(), again.state_dict().values()):
        assert torch.equal(ours, theirs)
