"""Hostile files: each ends in a result or in one sentence, and nothing is written but results."""

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
from hostile import mutators
from hostile.stub import DarkSpots
from PIL import Image

from maa.segmentation import TABLES, segment_files
from maa.segmentation.inputs import photographs_of
from maa.segmentation.one import output_files

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL")  # as on the command line

STUB, ROOT = Path(__file__).with_name("stub.py"), Path(__file__).parents[2]
SECONDS = 20  # for one file
BYTES = 4_000_000_000  # as maa.segmentation.MAX_WORKING_PIXELS promises


def account(given, out):
    """Every photograph is in the table once, with all of its results or with one sentence."""
    jobs, _, _ = photographs_of([given])
    table = pd.read_csv(out / "photographs.csv", keep_default_na=False, dtype=str)
    names = table["image"].str.replace(r"^'(?=[=+\-@])", "", regex=True)
    assert sorted(names) == sorted(name for _, name in jobs)
    expected = set()
    for name, (_, row) in zip(names, table.iterrows()):
        if row["lesions"]:
            files = output_files(out, name)
            assert len({Image.open(file).size for file in files.values()}) == 1
            expected |= set(files.values())
        else:
            assert row["warnings"].startswith("Not segmented: ") and row["warnings"].rstrip().endswith("."), row["warnings"]
            assert "fault of maa" not in row["warnings"], row["warnings"]
    assert {path for path in out.iterdir() if path.name != ".maa"} == expected | {out / table for table in TABLES}
    assert {path.suffix for path in (out / ".maa").iterdir() if path.name != "lock"} <= {".done", ".refused"}
    return sum(table["lesions"] != ""), len(table)


@pytest.fixture
def given(tmp_path):
    folder = tmp_path / "given"
    folder.mkdir()
    return folder


@pytest.mark.slow
def test_three_hundred_files(given, tmp_path, monkeypatch):
    others = mutators.kinds(given)
    mutators.write(given, 300)
    taken, segment = [], __import__("maa.segmentation.many", fromlist=["segment"]).segment

    def timed(*arguments):
        start = time.monotonic()
        try:
            return segment(*arguments)
        finally:
            taken.append((time.monotonic() - start, arguments[0]))

    monkeypatch.setattr("maa.segmentation.many.segment", timed)
    report = segment_files(given, tmp_path / "out", DarkSpots(), resize=1)
    done, all_of_them = account(given, tmp_path / "out")
    assert all_of_them == 300 + len(others) and len(report.problems) == all_of_them - done and done > 50
    assert others <= {Path(str(problem).split(" is ")[0]).stem for problem in report.problems}
    assert max(taken)[0] < SECONDS, max(taken)


@pytest.mark.hostile
@pytest.mark.parametrize("seed", range(1, 6))
def test_a_thousand_files_on_the_command_line(given, tmp_path, seed):
    mutators.kinds(given)
    mutators.write(given, 200, seed)
    before = {path: os.lstat(path) for path in tmp_path.rglob("*")}
    arguments = [sys.executable, STUB, "segment", given, "--out", tmp_path / "out", "--resize", "1"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MAA_PROGRESS": "0"}
    child = subprocess.run(arguments, capture_output=True, text=True, timeout=200 * SECONDS, env=environment)
    done, all_of_them = account(given, tmp_path / "out")
    complaints = child.stderr.splitlines()
    assert child.returncode == 2 and "Traceback" not in child.stderr and "Warning" not in child.stderr
    assert len(complaints) == 1 + all_of_them - done, "one sentence each, and one that says that all is loaded"
    assert all(line.isprintable() for line in complaints)
    after = {path: os.lstat(path) for path in tmp_path.rglob("*") if (tmp_path / "out") not in (path, *path.parents)}
    assert before.keys() == after.keys()
    assert all(
        before[path].st_mtime_ns == after[path].st_mtime_ns and before[path].st_size == after[path].st_size for path in before
    )
    assert 1024 * resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss < BYTES
