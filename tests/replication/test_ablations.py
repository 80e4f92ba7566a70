"""Tests of maa.replication.ablations: every question is answered, from runs that are shared with the main table."""

import json
from dataclasses import replace

import numpy as np
import pytest
from tiny import TINY

from maa import evaluation
from maa.data import open_dataset
from maa.replication import ablations
from maa.replication.ablations import DECISIVE, FIRST_STAGE_QUESTIONS, FURTHER, QUESTIONS, ablate, decide
from maa.replication.reproduce import REFINEMENTS
from maa.training import PRNConfig, Probe, Schedule

pytestmark = pytest.mark.slow

SEEDS = (1, 2)


@pytest.fixture(scope="module")
def answered(tiny_phantom, tmp_path_factory):
    """A question of each kind, on a tiny phantom: where the results are, those of `ablate`, and those of `decide`."""
    out, sides = tmp_path_factory.mktemp("ablate"), {"45": {}, "29": {"depth": 6}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MAA_CACHE", str(out / "cache"))
        patch.setenv("MAA_PROGRESS", "0")
        patch.setattr(Probe, "POSITIVES", 40)
        patch.setattr(Probe, "NEGATIVES", 120)
        patch.setattr(ablations, "QUESTIONS", {name: QUESTIONS[name] for name in ("rims of lesions", "scales of the patch")})
        patch.setattr(ablations, "DECISIVE", ("rims of lesions",))
        patch.setattr(ablations, "FURTHER", {"power": FURTHER["power of the sampler's error"]})
        patch.setattr(ablations, "FIRST_STAGE_QUESTIONS", {"side": ((0.5,), sides), "both": ((1.0, 0.5), sides)})
        patch.setattr(ablations, "LARGE_POOL", 90)
        patch.setattr(ablations, "THRESHOLDS", (0.001, 0.5))
        arguments = open_dataset(tiny_phantom), replace(TINY, seeds=SEEDS), out / "out"
        yield out / "out", ablate(*arguments), decide(*arguments)


def test_each_question_changes_one_thing():
    assert set(DECISIVE) <= QUESTIONS.keys()
    everything = QUESTIONS | FURTHER
    config = lambda changes: PRNConfig(Schedule(1), **changes)
    rows = [config(changes) for changes in REFINEMENTS.values()]
    for question, answers in everything.items():
        reference, *others = map(config, answers.values())
        asked = [
            config(variant) for other, variants in everything.items() if other != question for variant in variants.values()
        ]
        assert reference in rows or reference in asked, question
        for other in others:
            changed = [name for name, value in vars(other).items() if value != getattr(reference, name)]
            # To switch an idea on is one change, whatever its settings.
            assert len(changed) == 1 or other in rows or "selective" in changed or "triplet_weight" in changed
    for question, (_, answers) in FIRST_STAGE_QUESTIONS.items():
        reference, *others = answers.values()
        assert reference == {} and all(len(other) == 1 for other in others), question


def test_every_variant_is_measured_against_the_first(answered):
    out, ablated, decided = answered
    for results, file in ((ablated, "ablations"), (decided, "decisive")):
        assert json.loads((out / f"{file}.json").read_text())["questions"].keys() == results["questions"].keys()
        for answers in results["questions"].values():
            first = next(iter(answers.values()))
            assert first["difference"]["value"] == first["difference"]["low"] == 0
            for answer in answers.values():
                gap = answer["average_precision"]["value"] - first["average_precision"]["value"]
                assert answer["difference"]["value"] == pytest.approx(gap, abs=1e-12)
                assert answer["average_precision"]["value"] == pytest.approx(np.mean(answer["seeds"]))
                if "by_weight" in answer:
                    assert max(answer["by_weight"].values()) == pytest.approx(answer["seeds"][0])
    assert list(ablated["questions"]) == ["rims of lesions", "scales of the patch", "fusion", "hypothesis threshold"]
    rows = ["side, HGN 0.5x", *(f"both, {row}" for row in ("HGN 1x", "HGN 0.5x", "fused"))]
    assert list(decided["questions"]) == ["rims of lesions", "power", "pool of the sampling", *rows]
    assert list(decided["questions"]["pool of the sampling"]) == ["60", "90"]


def test_a_decisive_question_is_asked_with_every_seed(answered):
    _, ablated, decided = answered
    assert decided["seeds"] == list(SEEDS)
    for question, answers in decided["questions"].items():
        seeds = 2 if question == "rims of lesions" else 1
        assert all(len(answer["seeds"]) == seeds for answer in answers.values()), question
    for name, answer in ablated["questions"]["rims of lesions"].items():
        assert answer["seeds"] == decided["questions"]["rims of lesions"][name]["seeds"][:1]


def test_the_record_of_a_run_holds_what_was_measured_of_it(answered):
    out, ablated, _ = answered
    measured = []
    for path in (out / "runs").glob("prn-*/metrics.json"):
        metrics = json.loads(path.read_text())
        assert 0 <= metrics["f1"] <= 1
        measured.append(metrics["average_precision"])
    stated = [
        answer["seeds"][0]
        for question in ("rims of lesions", "scales of the patch")
        for answer in ablated["questions"][question].values()
    ]
    assert all(any(value == pytest.approx(t, abs=1e-12) for value in measured) for t in stated)


def test_the_learned_fusion_never_saw_the_photograph_it_is_used_on():
    """Three photographs whose second map is noise, but for the last, where the first is: it must not know."""
    rng = np.random.default_rng(0)
    truth = rng.random((3, 60, 60)) < 0.1

    class Maps:
        photographs = [0, 1, 2]

        def image(self, index):
            return {"truth": truth[index], "fov": np.ones((60, 60), bool)}

        def maps(self, index):
            good = np.where(truth[index], 40000, 3000) + rng.integers(0, 20000, (60, 60))
            noise = rng.integers(0, 60000, (60, 60))
            pair = (good, noise) if index < 2 else (noise, good)
            return dict(zip(("hgn_1x", "hgn_half"), (m.astype(np.uint16) for m in pair)))

    learned = ablations._learned(Maps(), count=1000)
    assert learned[2][0] > 1 > abs(learned[2][1])  # from the first two: trust the first map
    assert abs(learned[0][0] - learned[0][1]) < abs(learned[2][0] - learned[2][1])


def test_compared_refuses_other_truth():
    a, b = evaluation.PixelScores(), evaluation.PixelScores()
    a.add("x", np.array([[0.5, 0.1]]), np.array([[True, False]]))
    b.add("x", np.array([[0.5, 0.1]]), np.array([[False, True]]) | True)
    with pytest.raises(Exception, match="truth"):
        ablations._compared({"a": [ablations._Measured(a)], "b": [ablations._Measured(b)]})
