"""Tests of maa.replication.crossval: every photograph measured once, by networks that never saw it."""

import json

import pytest
from tiny import TINY, in_small

from maa import evaluation
from maa.data import open_dataset
from maa.inference.system import FIRST_STAGE
from maa.replication import crossval
from maa.replication.crossval import READINGS, cross_validate
from maa.replication.folds import folds
from maa.replication.study import Study
from maa.replication.validation import Validation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_phantom, tmp_path_factory):
    out = tmp_path_factory.mktemp("crossval")
    with in_small(out / "cache"):
        dataset = open_dataset(tiny_phantom)
        yield dataset, out, cross_validate(dataset, TINY, out, 2)


def test_every_photograph_is_measured_once_under_each_reading(run):
    dataset, out, results = run
    diseased = {record.name for record in dataset.select(diseased=True) if record.split != "test"}
    assert json.loads((out / "crossval.json").read_text())["folds"] == results["folds"]
    assert list(results["readings"]) == list(READINGS)
    for rows in results["readings"].values():
        assert tuple(rows) == tuple(FIRST_STAGE)
        for row in rows.values():
            assert row["by_image"].keys() == diseased
            assert 0 < row["average_precision"]["low"] <= row["average_precision"]["value"] <= row["average_precision"]["high"]


def test_no_network_saw_the_photographs_it_is_measured_on(run):
    dataset, out, results = run
    seen = [json.loads(file.read_text())["photographs"] for file in (out / "runs").glob("*/run.json")]
    assert len(seen) == 2 * 2 * len(READINGS)
    for validated in results["folds"]:
        assert sum(not set(validated) & set(photographs) for photographs in seen) == 2 * len(READINGS)


def test_the_numbers_are_those_of_the_maps_of_all_folds_together(run, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    pixels = evaluation.PixelScores()
    for part in folds(dataset, 2):
        study = Study(part, TINY, out / "runs")
        validation = Validation(study, {"hgn_1x": study.windows(1.0, 1), "hgn_half": study.windows(0.5, 1)})
        for index in validation.photographs:
            pixels.add(scores=validation.maps(index)["fused"], **validation.image(index))
    value = results["readings"]["windows"]["fused"]["average_precision"]["value"]
    assert value == pytest.approx(evaluation.average_precision(*pixels.pooled()))


def test_readings_are_compared_photograph_by_photograph(run):
    _, _, results = run
    for row, compared in results["against"]["centre"].items():
        ours, theirs = (results["readings"][reading][row]["average_precision"]["value"] for reading in READINGS)
        assert compared["difference"]["value"] == pytest.approx(ours - theirs)


def test_a_run_that_is_there_is_not_repeated(run, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    monkeypatch.setattr("maa.replication.study.fit", lambda *a, **k: pytest.fail("trained again"))
    assert crossval.cross_validate(dataset, TINY, out, 2)["readings"] == results["readings"]
