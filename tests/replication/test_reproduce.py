"""Tests of maa.replication.reproduce: the whole road on a tiny phantom, into one results file."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from tiny import TINY, in_small

from maa import provenance
from maa.data import FOV, MA, open_dataset, stacks
from maa.errors import MaaError
from maa.evaluation import PixelScores, average_precision, paired_bootstrap
from maa.inference import FILES, ROWS, SETTINGS, Settings, System, system
from maa.parallel import spread
from maa.replication import evaluate as evaluate_module
from maa.replication import study
from maa.replication.ablations import LARGE_POOL
from maa.replication.beyond import long
from maa.replication.evaluate import choose, evaluate
from maa.replication.grid import grid, train
from maa.replication.profiles import FULL
from maa.replication.reproduce import REFINEMENTS, reproduce
from maa.replication.scores import PAPER, PAPER_GAIN, REFINEMENT_WEIGHTS, Scores
from maa.replication.validation import Validation

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def run(tiny_phantom, tmp_path_factory):
    """One replication: the data set, where it went, and what it returned."""
    out = tmp_path_factory.mktemp("reproduce")
    with in_small(out / "cache"):
        dataset = open_dataset(tiny_phantom)
        yield dataset, out / "out", reproduce(dataset, TINY, out / "out")


def test_every_row_is_in_the_results_file(run):
    dataset, out, results = run
    written = json.loads((out / "results.json").read_text())
    assert written == json.loads(json.dumps(results, default=provenance.write_json.__globals__["_plain"]))
    expected = ["hgn_1x", "hgn_half", "fused", "control", "prn_cross_entropy", "prn_sampling", "prn_triplet", "prn_full"]
    assert list(written["rows"]) == expected and expected == list(ROWS)
    for key, row in written["rows"].items():
        interval = row["average_precision"]
        assert row["name"] == ROWS[key] and row["paper"] == PAPER.get(key)
        assert 0 < interval["value"] <= 1 and 0 <= row["recall"] <= 1
        assert len(row["curve"]["precision"]) == len(row["curve"]["recall"]) > 2
        assert ("gain" in row) == (key != "hgn_1x")
    assert written["data"] == dataset.fingerprint and written["seed"] in TINY.seeds and written["split"] == "validation"
    assert written["photographs"] == [r.name for r in dataset.select("validation", True)]
    assert written["profile"]["name"] == "tiny" and len(written["code"]) == 64


def test_the_run_behind_every_model_is_in_the_results_file(run):
    dataset, _, results = run
    assert list(results["runs"]) == ["hgn_1x", "hgn_half", *REFINEMENTS]
    for name, changes in REFINEMENTS.items():
        assert results["runs"][name]["config"] == asdict(
            replace(TINY.prn, **changes, schedule=replace(TINY.prn.schedule, seed=results["seed"]))
        )
    assert all(
        record["seed"] == results["seed"] and record["data"] == dataset.fingerprint for record in results["runs"].values()
    )


def test_every_seed_is_listed_with_mean_and_spread(run):
    _, _, results = run
    for name, row in results["rows"].items():
        assert len(row["seeds"]) == 2 and row["spread"] == pytest.approx(np.std(row["seeds"], ddof=1))
        assert row["average_precision"]["value"] == pytest.approx(np.mean(row["seeds"]))
        for other, gain in row["gains"].items():
            theirs = np.mean(results["rows"][other]["seeds"])
            assert gain["relative_gain"]["value"] == pytest.approx(np.mean(row["seeds"]) / theirs - 1)
    full = results["rows"]["prn_full"]
    assert results["seed"] == TINY.seeds[int(np.argmax(full["seeds"]))]
    assert results["rows"]["hgn_1x"]["seeds"][0] != results["rows"]["hgn_1x"]["seeds"][1]


def test_the_control_scores_a_candidate_by_its_own_peak():
    """Its opinion of a lone peak is the peak's probability; at weight 1 the whole candidate takes it."""
    fused = np.zeros((40, 40), np.uint16)
    fused[10:15, 10:15], fused[12, 12] = 3000, 30000
    validation = object.__new__(Validation)
    validation.stacks = None
    maps = dict(validation.second_stage(0, fused, {}, threshold=0.01, weights=(0.0, 1.0)))
    assert np.array_equal(maps["control", 0.0], fused)
    assert (maps["control", 1.0][10:15, 10:15] == 30000).all() and maps["control", 1.0].sum() == 25 * 30000


def test_no_folder_of_this_machine_is_in_the_results_file(run):
    _, out, _ = run
    assert str(out.parent) not in (out / "results.json").read_text()


def test_the_weight_of_each_refinement_is_the_best_on_validation(run):
    _, out, results = run
    assert results["refinement_weights"].keys() == set(system.SECOND_STAGE)
    assert set(results["refinement_weights"].values()) <= set(REFINEMENT_WEIGHTS)
    assert results["settings"]["weights"] == results["refinement_weights"]


def test_evaluating_the_written_weights_repeats_the_numbers(run):
    """Two roads, one through the prepared stacks and one photograph by photograph, must agree."""
    dataset, out, _ = run
    shipped = System.load(out / "weights")
    assert sorted(p.name for p in (out / "weights").iterdir()) == sorted([*FILES.values(), SETTINGS])
    # Whatever the settings were, validation chooses them anew.
    again = choose(replace(shipped, settings=Settings()), dataset, healthy=False)
    assert list(again["rows"]) == list(ROWS)
    # By the weights as they ship: the half precision moves what so small networks say, and so the weights that are chosen.
    chosen = replace(shipped, settings=Settings(weights=again["settings"]["weights"]))
    prepared = study.Study(dataset, TINY, out / "runs").validation
    scores: dict[str, PixelScores] = {}
    for index in np.flatnonzero(prepared[0].diseased).tolist():
        label = prepared[0].label(index)
        image = {"name": prepared[0].names[index], "truth": (label & MA) > 0, "fov": (label & FOV) > 0}
        for row, map_ in chosen.maps(prepared, index).items():
            scores.setdefault(row, PixelScores()).add(scores=map_, **image)
    for row in ROWS:
        value = average_precision(*scores[row].pooled())
        assert again["rows"][row]["average_precision"]["value"] == pytest.approx(value, rel=1e-6)


def test_what_was_measured_before_a_stop_is_not_measured_again(run, tmp_path, monkeypatch):
    dataset, out, _ = run
    system = System.load(out / "weights")
    whole = choose(system, dataset, folder=tmp_path)
    assert sorted(p.stem for p in tmp_path.iterdir()) == sorted(whole["photographs"])
    first, second = sorted(tmp_path.iterdir())
    second.write_bytes(second.read_bytes()[:1000])  # as a machine that stopped may leave it
    measured, stack = [], stacks.stack_photograph
    monkeypatch.setattr(
        evaluate_module, "stack_photograph", lambda image, fov, name: measured.append(name) or stack(image, fov, name)
    )
    again = choose(system, dataset, folder=tmp_path)
    as_written = lambda results: json.dumps(results["rows"], default=provenance.write_json.__globals__["_plain"])
    assert measured == [second.stem] and as_written(again) == as_written(whole)
    # Nothing is taken from another system's scores.
    choose(replace(system, prns={}), dataset, folder=tmp_path)
    assert measured[1:] == whole["photographs"]


def test_only_the_rows_that_are_wanted_are_measured(run):
    dataset, out, _ = run
    rows = evaluate(System.load(out / "weights"), dataset, "test", healthy=False, rows=["hgn_1x", "prn_full"])["rows"]
    assert list(rows) == ["hgn_1x", "prn_full"] and list(rows["prn_full"]["gains"]) == ["hgn_1x"]


def test_a_second_replication_trains_nothing_and_gives_the_same_rows(run, monkeypatch):
    dataset, out, results = run
    monkeypatch.setattr(study, "fit", lambda *a, **k: pytest.fail("trained again"))
    again = reproduce(dataset, TINY, out)
    assert again["refinement_weights"] == results["refinement_weights"]
    for row in results["rows"]:
        assert again["rows"][row]["average_precision"] == results["rows"][row]["average_precision"]


def test_on_test_the_thresholds_of_validation_are_used_unseen(run, monkeypatch):
    dataset, out, results = run
    system = System.load(out / "weights")
    monkeypatch.setattr("maa.evaluation.best_f1_threshold", lambda *_: pytest.fail("chosen on the test images"))
    tested = evaluate(system, dataset, "test")
    assert tested["photographs"] == [r.name for r in dataset.select("test")]
    assert tested["settings"] == results["settings"]
    for row, measures in tested["rows"].items():
        assert measures["threshold"] == pytest.approx(results["settings"]["thresholds"][row], abs=1 / 65535)
    # Another threshold gives another operating point, and the same curve.
    moved = dict.fromkeys(ROWS, 0.999)
    other = evaluate(replace(system, settings=replace(system.settings, thresholds=moved)), dataset, "test")
    for row in ROWS:
        assert other["rows"][row]["recall"] <= tested["rows"][row]["recall"]
        assert other["rows"][row]["average_precision"] == tested["rows"][row]["average_precision"]


def test_no_threshold_is_ever_chosen_on_test(run):
    dataset, out, _ = run
    system = System.load(out / "weights")
    thresholds = {row: value for row, value in system.settings.thresholds.items() if row != "prn_full"}
    with pytest.raises(MaaError, match="--split validation"):
        evaluate(replace(system, settings=replace(system.settings, thresholds=thresholds)), dataset, "test")


def test_evaluation_writes_what_json_can_hold(run, tmp_path):
    dataset, out, _ = run
    results = choose(System.load(out / "weights"), dataset)
    provenance.write_json(tmp_path / "v.json", results)
    assert results["photographs"] == [r.name for r in dataset.select("validation")]
    assert len(results["rows"]["prn_full"]["by_image"]) == 1  # the healthy photograph has none


def test_scores_table_measures_what_was_added():
    rng = np.random.default_rng(0)
    scores = Scores()
    truths, maps = {}, {}
    for name in "ab":
        truths[name] = np.zeros((40, 50), bool)
        truths[name][10:14, 20:24] = True
        for row, blur in (("hgn_1x", 0.9), ("fused", 0.3)):
            map_ = ((truths[name] * (1 - blur) + rng.random((40, 50)) * blur) * 65535).astype(np.uint16)
            maps[row, name] = map_
            scores.add(row, name, map_, truths[name], np.ones((40, 50), bool), True)
    table = scores.table({"hgn_1x": 0.5, "fused": 0.5})
    from sklearn.metrics import average_precision_score

    for row in table:
        y = np.concatenate([truths[n].ravel() for n in "ab"])
        s = np.concatenate([maps[row, n].ravel() for n in "ab"])
        assert table[row]["average_precision"]["value"] == pytest.approx(average_precision_score(y, s))
        assert table[row]["recall"] == pytest.approx((s[y] >= 32768).mean(), abs=0.02)
    assert "gain" not in table["hgn_1x"] and "gain" in table["fused"]
    alone = paired_bootstrap(scores.pixels["fused"], scores.pixels["hgn_1x"], samples=1000)
    assert table["fused"]["gains"] == {"hgn_1x": asdict(alone)} and table["fused"]["gain"] == asdict(alone)
    assert table["hgn_1x"]["average_precision"] == asdict(alone.baseline)


def test_the_papers_own_numbers_are_consistent():
    """F1 is the harmonic mean of the printed precision and recall; the columns were not swapped."""
    for row in ("hgn_1x", "hgn_half"):
        p, r, f1 = (PAPER[row][key] for key in ("precision", "recall", "f1"))
        assert 2 * p * r / (p + r) == pytest.approx(f1, abs=2e-4)
    assert PAPER["fused"]["average_precision"] > PAPER["hgn_half"]["average_precision"] > PAPER["hgn_1x"]["average_precision"]
    assert 0.30 < PAPER_GAIN < 0.31 and PAPER.keys() <= ROWS.keys()


def test_the_grid_in_two_processes_is_what_one_trains_and_is_found_again(run, tmp_path, monkeypatch):
    dataset, out, results = run
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # of the processes too
    with spread(2):
        train(dataset, TINY, tmp_path)
    weights = {path.parent.name: path.read_bytes() for path in (out / "runs").glob("*/weights.safetensors")}
    assert {path.parent.name: path.read_bytes() for path in (tmp_path / "runs").glob("*/weights.safetensors")} == weights
    assert len(weights) == len(TINY.seeds) * 6
    monkeypatch.setattr(study, "fit", None)
    reproduce(dataset, TINY, tmp_path)
    one, two = (json.loads((folder / "results.json").read_text()) for folder in (out, tmp_path))
    assert two["rows"] == one["rows"] and two["settings"] == one["settings"]


def test_the_grid_names_each_run_once_and_the_whole_one_has_every_question():
    first, second = grid(FULL)
    assert len(first) == 2 * len(FULL.seeds) and len(second) == 4 * len(FULL.seeds)
    more, most = grid(FULL, everything=True)
    assert [run for run in first + second if run not in more + most] == []
    assert len({str(run) for run in most}) == len(most) and ("unet", 1, {}) in more
    assert ("hgn", FULL.seeds[0], {"scale": 0.5, "depth": 10}) in more
    assert all(("hgn", FULL.seeds[0], changes) in more for changes in long(FULL).values())
    assert any(changes.get("pool") == LARGE_POOL for _, _, changes in most)
    assert all(("prn", seed, {"triplet_weight": 0.0, "selective": False, "rim": False}) in most for seed in FULL.seeds)
