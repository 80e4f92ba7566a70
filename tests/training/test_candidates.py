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
from maa.training.sampling import CAP, RULES, Reserve

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


@pytest.mark.parametrize("rule", RULES)
def test_the_reserve_draws_as_its_weights_say(rule):
    rng = np.random.default_rng(0)
    reserve = Reserve(rule, rng.random(40) ** 6)
    assert reserve.weights.mean() == pytest.approx(1)
    assert reserve.weight(reserve.error) == pytest.approx(reserve.weights)
    if rule == "fresh":
        assert len(np.unique(reserve.draw(40, rng))) == 40
        first = np.bincount([reserve.draw(1, rng)[0] for _ in range(20_000)], minlength=40)
    else:
        first = np.bincount(reserve.draw(20_000, rng), minlength=40)
    assert first / 20_000 == pytest.approx(reserve.weights / 40, abs=0.012)


def test_no_patch_rules_and_none_is_forgotten():
    error = np.r_[np.zeros(999), 1.0]
    for rule in ("told", "fresh"):
        weights = Reserve(rule, error).weights
        assert weights.max() / weights.min() <= CAP**2 * 1.001 and weights.min() > 0
    assert Reserve("mixture", error).weights.min() >= 0.5
    assert (Reserve("plain", np.zeros(5)).weights == 1).all()


def test_drawing_by_the_error_and_dividing_by_the_weight_varies_less():
    error = np.random.default_rng(0).random(500) ** 6
    assert Reserve("plain", error).variance == pytest.approx(0, abs=1e-9)  # the best there is: every term is the mean
    assert 0 < Reserve("mixture", error).variance < 1
    # By simulation: the variance of one drawn, weighed error against that of an even draw.
    reserve = Reserve("mixture", error)
    drawn = reserve.draw(200_000, np.random.default_rng(1))
    assert np.var(error[drawn] / reserve.weights[drawn]) / np.var(error) == pytest.approx(reserve.variance, rel=0.03)


def test_the_loss_is_told_what_the_sampler_does_to_every_patch(drawn_stacks, centres, small):
    task = task_of(drawn_stacks, centres, rule="told")
    task.refresh(task.build(), np.random.default_rng(0))
    where, told, weight = task.draw(np.random.default_rng(0))
    positive = np.random.default_rng(0).integers(len(task.positive), size=8)
    assert told[:8].numpy() == pytest.approx(-np.log(task.reserve.weight(task.beliefs[positive])), rel=1e-5)
    scored = {tuple(place): log for place, log in zip(task.scored.tolist(), -np.log(task.reserve.weights))}
    assert told[8:].numpy() == pytest.approx([scored[tuple(place)] for place in where[8:].tolist()], rel=1e-5)
    assert (weight == 1).all()


def test_with_what_is_told_the_best_logit_is_the_true_one():
    # Two kinds of ground and lesions that look like either: the network is a table, so its best logits are known.
    lesions, ground = np.array([0.2, 0.8]), np.array([0.9, 0.1])
    reserve = Reserve("told", np.r_[np.full(900, 0.05), np.full(100, 0.6)])
    w = reserve.weight(np.array([0.05, 0.6]))
    assert w[1] > 3 * w[0]
    logit = torch.zeros(2, dtype=torch.double, requires_grad=True)
    told, drawn = torch.from_numpy(-np.log(w)), torch.from_numpy(ground * w / (ground * w).sum())
    norm = float((ground * w).sum())  # 1, as the weights are of mean 1
    assert norm == pytest.approx(1)
    optimizer = torch.optim.LBFGS([logit], max_iter=200, tolerance_grad=1e-12)

    def loss():
        optimizer.zero_grad()
        z = logit + told
        value = (torch.from_numpy(lesions) * torch.nn.functional.softplus(-z) + drawn * torch.nn.functional.softplus(z)).sum()
        value.backward()
        return value

    optimizer.step(loss)
    assert logit.detach().numpy() == pytest.approx(np.log(lesions / ground), abs=1e-4)


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
