"""The benchmark suite runs, with sizes that measure nothing, and its file is what the page of the book reads."""

import importlib.util
import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

spec = importlib.util.spec_from_file_location("bench", Path(__file__).parents[1] / "benchmarks/bench.py")
bench = importlib.util.module_from_spec(spec)
spec.loader.exec_module(bench)


def test_every_part_runs(tmp_path):
    file = tmp_path / "bench.json"
    bench.main(["--tiny", "--out", str(file)])
    results = json.loads(file.read_text())
    assert results["parts"].keys() == bench.PARTS.keys() and results["peers"].keys() == set(bench.PEERS)
    parts = results["parts"]
    compared = [parts["maps"], parts["precision_recall"], *({"times": each} for each in parts["triplets"]["times"].values())]
    for part in compared:
        assert part["times"]["maa"]["ratio"] == 1 and all(row["seconds"] > 0 for row in part["times"].values())
    values = parts["precision_recall"]["values"]
    assert values["maa"] == pytest.approx(values["scikit-learn"], abs=1e-6)
    assert all(0 <= share <= 1 for share in parts["tried"]["skipping"].values())
    before = parts["limits"]
    bench.main(["--tiny", "--out", str(file), "triplets"])  # one part again; the others stay
    assert json.loads(file.read_text())["parts"]["limits"] == before


def test_an_unknown_part_is_named(tmp_path, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--out", str(tmp_path / "bench.json"), "coffee"])
    assert "coffee" in capsys.readouterr().err


def test_the_exponent_is_that_of_a_power():
    assert bench.exponent([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
