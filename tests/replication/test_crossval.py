"""Tests of maa.replication.crossval: every photograph measured once, by networks that never saw it."""

import json
import shutil

import numpy as np
import pytest
from tiny import TINY, in_small

from maa import evaluation
from maa.data import open_dataset
from maa.errors import MaaError
from maa.inference import hypotheses, refine, score_hypotheses
from maa.inference.beyond import mirrored_map
from maa.inference.fusion import mean_log_odds
from maa.inference.system import FIRST_STAGE
from maa.parallel import spread
from maa.replication.crossval import (
    BEYOND,
    DISEASED,
    FULL,
    FULL_TOO,
    FURTHER,
    OUTLINES,
    PRIMARY,
    TOO,
    WHOLE,
    ask_further,
    cross_validate,
    go_beyond,
    read_otherwise,
)
from maa.replication.folds import READINGS, Fold, folds, nested
from maa.replication.scores import CONTRASTS, REFINEMENT_WEIGHTS
from maa.replication.study import Study
from maa.replication.validation import Validation

pytestmark = pytest.mark.slow

ASKED = ("warm start", "ground, fresh")


@pytest.fixture(scope="module")
def run(tiny_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("crossval")
    with in_small(out / "cache"):
        dataset = open_dataset(tiny_phantom)
        yield dataset, out, cross_validate(dataset, TINY, out, 2)


@pytest.fixture(scope="module")
def further(run):
    """What is asked of the second stage beside the primary rows, of the same parts."""
    dataset, out, _ = run
    with in_small(out / "cache"):
        return ask_further(dataset, TINY, out, ASKED)


@pytest.fixture(scope="module")
def readings(run, tmp_path_factory):
    """The other first stages, in the same parts."""
    dataset, out, _ = run
    other = tmp_path_factory.mktemp("readings")
    with in_small(out / "cache"):
        return {name: read_otherwise(dataset, TINY, other, name, 2) for name in READINGS if name != "windows"}, other


@pytest.fixture(scope="module")
def centre(run, tmp_path_factory):
    """Both stages under the other reading of the paper, and one further question of its second stage."""
    dataset, out, _ = run
    other = tmp_path_factory.mktemp("centre")
    with in_small(out / "cache"):
        crossed = cross_validate(dataset, TINY, other, 2, "centre")
        return other, crossed, ask_further(dataset, TINY, other, ["ground, told"], "centre")


def test_every_photograph_is_measured_once(run, readings):
    dataset, out, results = run
    diseased = {record.name for record in dataset.select(diseased=True) if record.split != "test"}
    assert json.loads((out / "crossval.json").read_text())["folds"] == results["folds"]
    for name, found in readings[0].items():
        assert found["folds"] == results["folds"] and tuple(found["rows"]) == FIRST_STAGE
        assert json.loads((readings[1] / f"reading-{name}.json").read_text())["rows"] == found["rows"]
    for rows in (results["rows"], *(found["rows"] for found in readings[0].values())):
        for row in rows.values():
            assert row["by_image"].keys() == diseased
            assert 0 < row["average_precision"]["low"] <= row["average_precision"]["value"] <= row["average_precision"]["high"]


def test_the_other_first_stages_are_trained_as_they_say(readings):
    found, out = readings
    steps = {json.loads(file.read_text())["config"]["schedule"]["steps"] for file in (out / "runs").glob("windows-*/run.json")}
    assert steps == {2 * TINY.windows.schedule.steps}
    for name, family in (("centre", "hgn"), ("decoder", "decoder"), ("longer", "windows")):
        runs = [json.loads(file.read_text()) for file in (out / "runs").glob(f"{family}-*/run.json")]
        for row, scale in (("hgn_1x", 1.0), ("hgn_half", 0.5)):
            seconds = [run["seconds"] for run in runs if run["config"]["scale"] == scale]
            assert len(seconds) == 2 and found[name]["training_seconds"][row] == pytest.approx(sum(seconds))
        courses = [run["history"].get("validation_ap") for run in runs if run["config"]["scale"] == 1.0]
        assert found[name]["baseline_course"] == ([] if None in courses else pytest.approx(np.mean(courses, axis=0)))


def test_the_whole_system_stands_on_the_first_stage_of_the_other_reading(run, readings, centre):
    _, out, results = run
    other, crossed, asked = centre
    assert sorted(path.name for path in other.glob("*.json")) == ["arms-centre.json", "crossval-centre.json"]
    assert json.loads((other / "crossval-centre.json").read_text())["rows"] == crossed["rows"]
    assert crossed["reading"] == asked["reading"] == "centre" and results["reading"] == "windows"
    assert crossed["folds"] == results["folds"] and crossed["rows"].keys() == results["rows"].keys()
    assert {path.name.split("-")[0] for path in (other / "runs").iterdir()} == {"hgn", "candidates"}
    for row in FIRST_STAGE:
        alone = readings[0]["centre"]["rows"][row]["by_image"]
        assert crossed["rows"][row]["by_image"] == asked["rows"][row]["by_image"] == alone
        assert alone != results["rows"][row]["by_image"]
    for row in ("control", "prn_cross_entropy"):
        assert crossed["rows"][row]["by_image"] == asked["rows"][row]["by_image"] != results["rows"][row]["by_image"]


def test_further_questions_need_the_cross_validation_of_their_own_reading(run):
    dataset, out, _ = run
    with pytest.raises(MaaError, match="no arm 'ground': choose among warm start, ground, uniform"):
        ask_further(dataset, TINY, out, ["ground"])
    with pytest.raises(MaaError, match=r"no crossval-centre\.json: run maa crossval --out .* --reading centre first"):
        ask_further(dataset, TINY, out, reading="centre")


def test_no_network_saw_the_photographs_it_is_measured_on(run, readings):
    _, out, results = run
    others = [json.loads(file.read_text())["photographs"] for file in (readings[1] / "runs").glob("*/run.json")]
    for validated in results["folds"]:
        assert sum(not set(validated) & set(photographs) for photographs in others) == len(others) / 2 == 6
    seen = [json.loads(file.read_text())["photographs"] for file in (out / "runs").glob("*/run.json")]
    each = 2 + len(PRIMARY) + 1  # the full system is one more
    assert len(seen) == 2 * each
    for validated in results["folds"]:
        assert sum(not set(validated) & set(photographs) for photographs in seen) == each


def test_the_numbers_are_those_of_the_maps_of_all_folds_together(run, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    pixels = evaluation.PixelScores()
    for part in folds(dataset, 2):
        study = Study(part, TINY, out / "runs")
        validation = Validation(study, {"hgn_1x": study.windows(1.0, 1), "hgn_half": study.windows(0.5, 1)})
        for index in validation.photographs:
            pixels.add(scores=validation.maps(index)["fused"], **validation.image(index))
    value = results["rows"]["fused"]["average_precision"]["value"]
    assert value == pytest.approx(evaluation.average_precision(*pixels.pooled()))


def test_a_run_that_is_there_is_not_repeated(run, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    monkeypatch.setattr("maa.replication.study.fit", lambda *a, **k: pytest.fail("trained again"))
    again = cross_validate(dataset, TINY, out, 2)
    assert all(again[part] == results[part] for part in ("rows", "contrasts", "chosen", "details"))


def test_every_row_is_measured_and_every_contrast_judged(run):
    _, _, results = run
    rows = {*FIRST_STAGE, "control", *PRIMARY, FULL}
    assert results["rows"].keys() == rows and results["details"].keys() == rows - {*FIRST_STAGE}
    assert list(results["contrasts"]) == [name for contrast in CONTRASTS for name in contrast]
    values = {row: content["average_precision"]["value"] for row, content in results["rows"].items()}
    named = values | {row: values[variant] for row, variant in results["chosen"].items()}
    for contrast in CONTRASTS:
        for name, (system, baseline) in contrast.items():
            assert results["contrasts"][name]["difference"]["value"] == pytest.approx(named[system] - named[baseline])
    for kind in ("triplet", "sampling"):
        assert named[f"prn_{kind}"] == max(values[row] for row in PRIMARY if row.startswith(kind))
    assert results["details"]["prn_cross_entropy"]["slope"] == pytest.approx(1)
    assert len(results["baseline_course"]) == TINY.windows.schedule.reports


def test_further_questions_are_asked_of_the_same_parts_and_networks(run, further):
    _, out, results = run
    assert json.loads((out / "arms.json").read_text())["folds"] == further["folds"] == results["folds"]
    assert further["rows"].keys() == {*FIRST_STAGE, "control", "prn_cross_entropy", TOO, FULL_TOO, *ASKED, *WHOLE}
    for row in (*FIRST_STAGE, "control", "prn_cross_entropy"):
        assert further["rows"][row]["by_image"] == results["rows"][row]["by_image"]
    values = {row: content["average_precision"]["value"] for row, content in further["rows"].items()}
    for kind, contrasts, names in (("contrasts", FURTHER, ["D1", "D2"]), ("outlines", OUTLINES, ["E1", "E2", "E3"])):
        assert list(further[kind]) == names
        for contrast in contrasts:
            for name, (system, baseline) in contrast.items():
                assert further[kind][name]["difference"]["value"] == pytest.approx(values[system] - values[baseline])
    for row, other in WHOLE.items():
        assert values[row] != (values | {FULL: None})[other]
        opinion = further["details"][row]  # the networks, and what they say of a candidate, are the other row's
        assert opinion == (further["details"] | {FULL: results["details"][FULL]})[other]
    configs = [json.loads(path.read_text())["config"] for path in (out / "runs").glob("candidates-*/run.json")]
    whole = [c for c in configs if c["negatives"] == "diseased too" and c["triplet_weight"] and c["rule"] != "uniform"]
    assert len(whole) == 2  # the full system under the other rule for negatives, once a part


def test_the_track_beyond_the_paper_is_measured_in_the_same_parts(run, further, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    found = go_beyond(dataset, TINY, out)
    assert json.loads((out / "crossval-beyond.json").read_text())["folds"] == found["folds"] == results["folds"]
    moved = {row for row, other in WHOLE.items() if other in (TOO, FULL_TOO)}
    assert found["rows"].keys() == {*FIRST_STAGE, "unet", "unet_mirrored", "all", "control", TOO, FULL_TOO, *moved}
    values = {row: content["average_precision"]["value"] for row, content in found["rows"].items()}
    for contrast in BEYOND:
        for name, (system, baseline) in contrast.items():
            assert found["contrasts"][name]["difference"]["value"] == pytest.approx(values[system] - values[baseline])
    scores = {row: evaluation.PixelScores() for row in ("all", TOO, f"{TOO}, moved whole")}
    parts = [Fold(part, TINY, out / "runs") for part in folds(dataset, 2)]
    centres = parts[0].candidates() | parts[1].candidates()
    for fold in parts:
        validation, unet = fold.validation(), fold.unet()
        assert not set(validation.names) & set(unet.record.photographs)
        tried = {(row, weight): evaluation.PixelScores() for row in scores for weight in REFINEMENT_WEIGHTS}
        for index in validation.photographs:
            map_ = mean_log_odds([mirrored_map(unet.model, validation.stacks, index, 4), validation.maps(index)["fused"]])
            hits = hypotheses(map_, 0.001)
            opinion = score_hypotheses(fold.refinement(centres, DISEASED).model, validation.stacks, index, hits.centres)
            for row, weight in tried:
                refined = map_ if row == "all" else refine(map_, hits, opinion, weight, whole=row != TOO)
                tried[row, weight].add(scores=refined, **validation.image(index))
        for row, pixels in scores.items():
            for name, weight in nested({weight: tried[row, weight] for weight in REFINEMENT_WEIGHTS}).items():
                pixels.extend(tried[row, weight].subset([name]))
    for row, pixels in scores.items():
        assert values[row] == pytest.approx(evaluation.average_precision(*pixels.pooled()))


def test_a_second_stage_learns_from_candidates_of_networks_that_had_not_seen_the_photograph(run, monkeypatch):
    dataset, out, _ = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    for fold in (Fold(part, TINY, out / "runs") for part in folds(dataset, 2)):
        validated = {record.name for record in fold.study.records("validation")}
        assert fold.candidates().keys() == validated
        for trained in fold.validation().first_stage.values():
            assert not validated & {*trained.record.photographs}


@pytest.mark.parametrize("whole", [False, True])
def test_the_scores_of_the_second_stage_are_those_of_its_whole_maps(run, further, whole, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    found = [Fold(part, TINY, out / "runs") for part in folds(dataset, 2)]
    centres = found[0].candidates() | found[1].candidates()
    pixels = evaluation.PixelScores()
    for fold in found:
        validation, prn = fold.validation(), fold.refinement(centres, {}).model
        tried = {weight: evaluation.PixelScores() for weight in REFINEMENT_WEIGHTS}
        for index in validation.photographs:
            base = validation.maps(index)["fused"]
            hits = hypotheses(base, 0.001)
            opinion = score_hypotheses(prn, validation.stacks, index, hits.centres)
            for weight, scores in tried.items():
                scores.add(scores=refine(base, hits, opinion, weight, whole), **validation.image(index))
        for name, weight in nested(tried).items():
            pixels.extend(tried[weight].subset([name]))
    row = further["rows"]["cross-entropy, moved whole"] if whole else results["rows"]["prn_cross_entropy"]
    assert row["average_precision"]["value"] == pytest.approx(evaluation.average_precision(*pixels.pooled()))
    assert row["variants"] == pytest.approx(evaluation.variants(pixels))


def test_two_processes_give_what_one_does(run, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    shutil.copytree(out / "runs", out / "two" / "runs")
    shutil.rmtree(next((out / "two" / "runs").glob("candidates-*")))  # which is trained again
    with spread(2):
        again = cross_validate(dataset, TINY, out / "two", 2)
    assert all(again[part] == results[part] for part in ("rows", "contrasts", "chosen", "details"))


def test_the_weight_of_a_photograph_is_chosen_by_the_others():
    truth = np.zeros((4, 50), bool)
    truth[0, :10] = True
    good, bad = np.where(truth, 0.9, 0.1), np.where(truth, 0.1, 0.9)
    tried = {0.25: evaluation.PixelScores(), 0.75: evaluation.PixelScores()}
    for name, better in (("a", 0.25), ("b", 0.75), ("c", 0.75)):
        for weight, scores in tried.items():
            scores.add(name, good if weight == better else bad, truth)
    # "a" is given the weight of "b" and "c", which is bad for it; the others see one of each kind, and take the first of equals.
    assert nested(tried) == {"a": 0.75, "b": 0.25, "c": 0.25}
