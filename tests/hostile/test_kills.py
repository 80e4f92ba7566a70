"""A run that is killed or stopped at any moment, and started again, ends with the very files of one that was not."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hostile import mutators

STUB, ROOT = Path(__file__).with_name("stub.py"), Path(__file__).parents[2]
PHOTOGRAPHS = 5


@pytest.fixture(scope="module")
def photographs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kills") / "photographs"
    folder.mkdir()
    for number in range(PHOTOGRAPHS):
        mutators.retina(np.random.default_rng(number), (200, 180)).save(folder / f"eye {number}.png")
    (folder / "bad.jpg").write_bytes(b"no image")
    return folder


def started(photographs, out):
    """A run that has loaded everything."""
    arguments = [sys.executable, STUB, "segment", photographs, "--out", out, "--resize", "1"]
    environment = os.environ | {"STUB_SECONDS": "0.05", "PYTHONPATH": str(ROOT)}
    child = subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    assert child.stderr.readline() == "loaded\n"
    return child


def ended(child):
    errors = child.communicate(timeout=120)[1]
    assert "Traceback" not in errors
    return child.returncode


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.fixture(scope="module")
def whole(photographs):
    """The files of a run that nobody disturbs, and how long it takes."""
    out = photographs.parent / "whole"
    child, start = started(photographs, out), time.monotonic()
    assert ended(child) == 2, "one photograph is none"
    return contents(out), time.monotonic() - start


def disturbed(photographs, out, number, delay):
    """Start a run, send it a signal after a while, and check what it leaves."""
    child = started(photographs, out)
    time.sleep(delay)
    child.send_signal(number)
    status = ended(child)
    if number == signal.SIGKILL:
        assert status in (-number, 2)
        return
    assert status in (128 + number, 2, -number), "-number: before or after the work, when nothing is half done"
    done = {json.loads(path.read_bytes())["large"]["name"] for path in out.glob(".maa/*.done")}
    if done and status != -number:
        assert done <= set(pd.read_csv(out / "photographs.csv")["image"])
        assert (out / "index.html").read_text().rstrip().endswith("</html>")
    assert not list(out.rglob("*.partial"))


@pytest.mark.slow
def test_killed_twice_and_stopped_twice(photographs, whole, tmp_path):
    files, seconds = whole
    out = photographs.parent / "few"
    for number, part in ((signal.SIGKILL, 0.3), (signal.SIGINT, 0.15), (signal.SIGTERM, 0.3), (signal.SIGKILL, 0.5)):
        disturbed(photographs, out, number, part * seconds)
    assert ended(started(photographs, out)) == 2
    assert contents(out) == files


@pytest.mark.hostile
@pytest.mark.parametrize("seed", range(10))
def test_fifty_times_at_random_moments(photographs, whole, seed):
    files, seconds = whole
    rng, out = random.Random(seed), photographs.parent / f"many {seed}"
    for _ in range(5):
        disturbed(photographs, out, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]), rng.uniform(0, 0.6 * seconds))
    assert ended(started(photographs, out)) == 2
    assert contents(out) == files


@pytest.mark.slow
def test_two_runs_into_one_folder_lose_no_row(photographs, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for number in range(PHOTOGRAPHS):
        mutators.retina(np.random.default_rng(10 + number), (180, 180)).save(other / f"eye {number}.png")
    (other / "worse.jpg").write_bytes(b"no image")
    both = [started(folder, tmp_path / "out") for folder in (photographs, other)]
    assert [ended(child) for child in both] == [2, 2]
    table = pd.read_csv(tmp_path / "out" / "photographs.csv")
    assert len(table) == 2 * PHOTOGRAPHS + 2 and table["image"].is_unique
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 2 * PHOTOGRAPHS
    assert sorted(table["file"]) == sorted(path.name for folder in (photographs, other) for path in folder.iterdir())
