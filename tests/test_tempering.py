"""Tests of maa.tempering: how sharply a power of the error draws, and what becomes of a network that is taught by it."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from test_study import TINY

from maa.idrid import open_dataset
from maa.sampling import SelectiveSampler
from maa.study import Study
from maa.tempering import Tempered, TemperedSampler
from maa.training import Probe, Refinement


def test_probabilities_follow_a_power_of_the_error():
    error = np.array([0.0001, 0.01, 0.25, 1.0], np.float32)
    for power in (0.25, 0.5, 1.0):
        sampler = TemperedSampler(4, power)
        assert sampler.probabilities == pytest.approx([0.25] * 4), "uniform until the first errors are known"
        sampler.update(error)
        assert sampler.probabilities == pytest.approx(error**power / (error**power).sum())
        drawn = sampler.draw(100_000, np.random.default_rng(0))
        assert np.bincount(drawn, minlength=4) / drawn.size == pytest.approx(sampler.probabilities, abs=0.01)


def test_between_plain_selective_sampling_and_uniform():
    error = np.random.default_rng(0).random(1000).astype(np.float32) ** 8
    plain = SelectiveSampler(1000)
    plain.update(error)
    sizes = []
    for power in (1.0, 0.5, 0.25, 0.0):
        sampler = TemperedSampler(1000, power)
        sampler.update(error)
        sizes.append(sampler.effective_size)
    assert sizes[0] == pytest.approx(plain.effective_size) and sizes[-1] == pytest.approx(1000)
    assert sizes == sorted(sizes) and len(set(sizes)) == 4


def test_a_run_resumes_with_the_errors_and_not_with_their_powers():
    error = np.array([0.04, 0.09], np.float32)
    sampler, resumed = TemperedSampler(2, 0.5), TemperedSampler(2, 0.5)
    sampler.update(error)
    resumed.update(sampler.error)
    assert resumed.probabilities == pytest.approx([0.4, 0.6])
    assert np.array_equal(resumed.probabilities, sampler.probabilities)


def best_logits(power: float, refreshes: int = 8) -> np.ndarray:
    """Logits that ten kinds of patch settle at when each fit is perfect, (refreshes, 10): the argument of the module, in numbers."""
    truth = np.linspace(-9, -2, 10)  # log m / n, of ground that is less and less plainly healthy
    logits, history = truth, []
    for _ in range(refreshes):
        error = 1 / (1 + np.exp(-logits))
        logits = truth - power * np.log(error / error.max())
        history.append(logits)
    return np.array(history)


def test_the_error_itself_undoes_the_ranking_and_its_root_does_not():
    plain, tempered = best_logits(1.0), best_logits(0.5)
    assert np.ptp(plain[0]) < 0.2 < 6 < np.ptp(plain[1]), "flat after one refresh, as it was after the next"
    assert (np.diff(tempered, axis=1) > 0).all() and np.ptp(tempered, axis=1).min() > 3


def test_a_study_trains_with_it_and_keeps_it_apart(tiny_phantom, tmp_path, monkeypatch):
    monkeypatch.setattr(Probe, "POSITIVES", 40)
    monkeypatch.setattr(Probe, "NEGATIVES", 120)
    monkeypatch.setenv("MAA_CACHE", str(tmp_path))
    study = Study(open_dataset(tiny_phantom), TINY)
    plain, tempered = study.prn(Refinement()), study.prn(Tempered())
    assert tempered.record["config"]["refinement"] == {**asdict(replace(Refinement(), width=2)), "power": 0.5}
    assert plain.path != tempered.path and plain.record["code"] != tempered.record["code"]
    assert study.prn(Tempered(power=0.25)).path != tempered.path
    assert tempered.history["effective_pool"].iloc[-1] > plain.history["effective_pool"].iloc[-1]
    assert not all(torch.equal(a, b) for a, b in zip(plain.model.parameters(), tempered.model.parameters()))
