"""Tests of maa.replication.freeze: what ships is what the cross-validation chose, and measures itself with nothing left to choose."""

import json

import pytest
from tiny import TINY, in_small

from maa.data import open_dataset
from maa.errors import MaaError
from maa.inference import BEYOND_ROWS, FOLDER, LAST, OWN, PRN_FILE, ROWS, Beyond, System, read_settings
from maa.models import load_weights
from maa.models.prn import PRN
from maa.models.weights import network_fingerprint
from maa.provenance import file_fingerprints
from maa.replication.crossval import cross_validate
from maa.replication.evaluate import evaluate
from maa.replication.freeze import freeze
from maa.replication.published import published
from maa.replication.scores import CONTRASTS
from maa.segmentation import default_weights

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_phantom, tmp_path_factory):
    """The data set, the folder, and what cross-validation and freeze returned."""
    out = tmp_path_factory.mktemp("freeze")
    with in_small(out / "cache"):
        dataset = open_dataset(tiny_phantom)
        crossed = cross_validate(dataset, TINY, out, 2)
        yield dataset, out, crossed, freeze(dataset, TINY, out)


def test_the_networks_are_those_that_the_cross_validation_chose(run):
    dataset, _, crossed, results = run
    runs = results["runs"]
    trained = {record.name for record in dataset.select("train")}
    assert all(set(record["photographs"]) <= trained for record in runs.values())
    assert [runs[row]["config"]["scale"] for row in ("hgn_1x", "hgn_half")] == [1.0, 0.5]
    config = {row: runs[row]["config"] for row in runs if row.startswith("prn") or row == "beyond"}
    assert config["prn_cross_entropy"]["triplet_weight"] == 0 and config["prn_cross_entropy"]["rule"] == "uniform"
    mining, rule = config["prn_triplet"]["mining"], config["prn_sampling"]["rule"]
    assert crossed["chosen"]["prn_triplet"].split(", ")[1] == mining and crossed["chosen"]["prn_sampling"].endswith(rule)
    assert (config["prn_full"]["mining"], config["prn_full"]["rule"]) == (mining, rule)
    assert config["prn_full"]["triplet_weight"] == config["prn_triplet"]["triplet_weight"] > 0
    assert {row: c["negatives"] for row, c in config.items() if c["negatives"] != "healthy"} == {"beyond": "diseased too"}


def test_a_candidate_comes_from_networks_that_had_not_seen_its_photograph(run, monkeypatch):
    """Which the cross-validation asserts of its own; here its proposals are what the second stage is given."""
    dataset, out, crossed, _ = run
    given = {}
    monkeypatch.setenv("MAA_CACHE", str(out / "cache"))
    monkeypatch.setattr(
        "maa.replication.freeze.Study.refinement",
        lambda study, centres, *a, **k: given.update(centres) or pytest.fail("enough"),
    )
    with pytest.raises(pytest.fail.Exception, match="enough"):
        freeze(dataset, TINY, out)
    assert given.keys() == {name for part in crossed["folds"] for name in part}


def test_what_ships_measures_both_tracks_with_nothing_left_to_choose(run):
    dataset, out, _, results = run
    system = Beyond.load(out / "weights")
    assert len(system.unets) == 2 and list(results["rows"]) == system.rows == [*ROWS, *OWN]
    assert json.loads((out / "frozen.json").read_text())["files"] == file_fingerprints(out / "weights") == results["files"]
    assert read_settings(out / "weights").thresholds.keys() == ROWS.keys()
    assert read_settings(out / "weights" / FOLDER).weights.keys() == {LAST}
    found = {row: values["average_precision"]["value"] for row, values in results["rows"].items()}
    assert read_settings(out / "weights").precisions == pytest.approx({row: found[row] for row in ROWS}, rel=1e-9)
    assert system.final == max(found, key=found.__getitem__)
    measured = evaluate(system, dataset, "validation", healthy=False, names={**ROWS, **BEYOND_ROWS})
    for row, values in measured["rows"].items():
        assert values["threshold"] == results["rows"][row]["threshold"]
        assert values["average_precision"] == results["rows"][row]["average_precision"]
    assert measured["contrasts"] == results["contrasts"]
    assert list(results["contrasts"]) == [name for contrast in CONTRASTS for name in contrast]


def test_each_file_is_the_network_of_its_record(run):
    _, out, _, results = run
    beyond = load_weights(out / "weights" / FOLDER / PRN_FILE, PRN)
    folder = next(
        path.parent
        for path in (out / "runs").glob("candidates-*/run.json")
        if json.loads(path.read_text()) == json.loads(json.dumps(results["runs"]["beyond"]))
    )
    trained = load_weights(folder / "weights.safetensors", PRN)
    for name, tensor in trained.state_dict().items():
        assert beyond.state_dict()[name].equal(tensor.half().to(tensor.dtype)), name


def test_without_a_cross_validation_it_says_what_to_do(tiny_phantom, tmp_path):
    with pytest.raises(MaaError, match="maa crossval --out"):
        freeze(open_dataset(tiny_phantom), TINY, tmp_path)


def test_the_outlines_on_the_pages_are_of_the_networks_that_ship():
    moved, frozen = published("idrid-full", "outlines"), published("idrid-full", "frozen")
    assert moved["weights"] == network_fingerprint(System.load(default_weights()).networks)
    values = {row: content["average_precision"]["value"] for row, content in frozen["rows"].items()}
    for row, weights in moved["chosen"].items():
        if row in values and set(weights.values()) == {frozen["settings"]["weights"][row]}:
            assert moved["rows"][row]["average_precision"]["value"] == pytest.approx(values[row], abs=5e-4)
    assert moved["rows"]["fused"]["average_precision"]["value"] == pytest.approx(values["fused"], abs=5e-4)
    assert moved["photographs"] == frozen["photographs"]
