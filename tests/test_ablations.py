"""Tests of maa.ablations: every question is answered, from runs that are shared with the main table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from test_reproduce import TINY

from maa import ablations as module
from maa import evaluation
from maa.ablations import QUESTIONS, ablate
from maa.idrid import open_dataset
from maa.reproduce import REFINEMENTS
from maa.training import Probe


@pytest.fixture(scope="module")
def ablated(tiny_phantom, tmp_path_factory):
    """Two of the questions, on a tiny phantom."""
    out = tmp_path_factory.mktemp("ablate")
    few = {name: QUESTIONS[name] for name in ("rims of lesions", "scales of the patch")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAA_CACHE", str(out / "cache"))
        patch.setenv("MAA_PROGRESS", "0")
        patch.setattr(Probe, "POSITIVES", 40)
        patch.setattr(Probe, "NEGATIVES", 120)
        patch.setattr(module, "QUESTIONS", few)
        patch.setattr(module, "THRESHOLDS", (0.001, 0.5))
        results = ablate(open_dataset(tiny_phantom), replace(TINY, seeds=(1,)), out / "out", seed=1)
        yield few, out / "out", results


def test_each_question_changes_one_thing():
    for question, answers in QUESTIONS.items():
        reference, *others = answers.values()
        assert reference in REFINEMENTS.values(), question
        for other in others:
            changed = [name for name, value in vars(other).items() if value != getattr(reference, name)]
            # To switch an idea on is one change, whatever its settings.
            assert len(changed) == 1 or other in REFINEMENTS.values() or "selective" in changed or "triplet_weight" in changed


def test_every_variant_is_measured_against_the_first(ablated):
    few, out, results = ablated
    assert json.loads((out / "ablations.json").read_text())["questions"].keys() == results["questions"].keys()
    assert results["questions"].keys() == few.keys() | {"fusion", "hypothesis threshold"}
    for question, answers in results["questions"].items():
        first = next(iter(answers.values()))
        assert first["difference"]["value"] == first["difference"]["low"] == 0
        for answer in answers.values():
            gap = answer["average_precision"]["value"] - first["average_precision"]["value"]
            assert answer["difference"]["value"] == pytest.approx(gap, abs=1e-12)
        if question in few:
            for answer in answers.values():
                assert max(answer["by_weight"].values()) == pytest.approx(answer["average_precision"]["value"])


def test_the_learned_fusion_never_saw_the_photograph_it_is_used_on():
    """Three photographs whose second map is noise, but for the last, where the first is: it must not know."""
    rng = np.random.default_rng(0)
    truth = rng.random((3, 60, 60)) < 0.1

    class Maps:
        photographs = [0, 1, 2]

        def about(self, index):
            return {"truth": truth[index], "fov": np.ones((60, 60), bool)}

        def maps(self, index):
            good = np.where(truth[index], 40000, 3000) + rng.integers(0, 20000, (60, 60))
            noise = rng.integers(0, 60000, (60, 60))
            pair = (good, noise) if index < 2 else (noise, good)
            return dict(zip(("hgn_1x", "hgn_half"), (m.astype(np.uint16) for m in pair)))

    learned = module._learned(Maps(), count=1000)
    assert learned[2][0] > 1 > abs(learned[2][1])  # from the first two: trust the first map
    assert abs(learned[0][0] - learned[0][1]) < abs(learned[2][0] - learned[2][1])


def test_compared_refuses_other_truth():
    a, b = evaluation.PixelScores(), evaluation.PixelScores()
    a.add("x", np.array([[0.5, 0.1]]), np.array([[True, False]]))
    b.add("x", np.array([[0.5, 0.1]]), np.array([[False, True]]) | True)
    with pytest.raises(Exception, match="truth"):
        module._compared({"a": a, "b": b})
