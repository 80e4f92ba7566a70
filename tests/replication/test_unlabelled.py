"""Tests of maa.replication.unlabelled: the same photographs, fewer labels, and two rulers for what was learned."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import TINY

from maa.data import MA, SOURCES, idrid
from maa.phantom import PhantomConfig
from maa.replication import study, unlabelled
from maa.replication.unlabelled import experiment
from maa.training import Probe

pytestmark = pytest.mark.slow

SMALL = replace(TINY, seeds=(0,))
PHANTOM = PhantomConfig(size=384, lesion_density=4.0)  # so that the one that validates has lesions to hide


@pytest.fixture
def few(monkeypatch, tmp_path):
    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAA_PROGRESS", "0")
    monkeypatch.setattr(unlabelled, "PHOTOGRAPHS", {"n_diseased": 4, "n_healthy": 4, "n_test": 0, "seed": 3})
    monkeypatch.setattr(Probe, "POSITIVES", 40)
    monkeypatch.setattr(Probe, "NEGATIVES", 120)


def test_every_network_is_judged_by_the_truth_and_by_the_labels(few, tmp_path):
    results = experiment(tmp_path, PHANTOM, SMALL, (0.0, 0.5))
    assert json.loads((tmp_path / "unlabelled.json").read_text())["networks"] == results["networks"]
    entries = [(entry["share"], entry["source"], entry["network"]) for entry in results["networks"]]
    networks = ("hgn_1x", "prn_uniform", "prn_selective")
    assert entries == [(share, source, name) for share in (0.0, 0.5) for source in SOURCES for name in networks]
    for entry in results["networks"]:
        assert 0 < entry["true"] < 1 and 0 < entry["labelled"] < 1
        # With everything labelled the two rulers are one.
        assert (entry["true"] == entry["labelled"]) == (entry["share"] == 0)
    assert len(set(results["data"].values())) == 2


class Oracle:
    """A refinement network that knows the whole truth, and whose patches are asked for by place."""

    def __init__(self, stack):
        self.stack = stack


def test_a_network_that_finds_every_lesion_is_punished_by_the_labels_only(few, monkeypatch):
    studies = [
        study.Study(idrid.open_dataset(study.phantoms(replace(PHANTOM, unlabelled=share), **unlabelled.PHOTOGRAPHS)), SMALL)
        for share in (0.0, 0.5)
    ]
    whole, labels = (study.validation for study in studies)
    assert any(((whole[0].label(i) & MA) > (labels[0].label(i) & MA)).any() for i in range(len(whole[0])))

    def knows(prn, stacks, where):
        truth = (prn.stack.gather_labels(where, 1)[:, 0, 0] & MA) > 0
        return truth.astype(np.float32), None

    monkeypatch.setattr(unlabelled, "score_patches", knows)
    seen = unlabelled._patch_precision(Oracle(whole[0]), whole, labels)
    assert seen["true"] == 1 and seen["labelled"] < 0.95
    blind = unlabelled._patch_precision(Oracle(labels[0]), whole, labels)
    assert blind["labelled"] == 1 and blind["true"] < 0.95
