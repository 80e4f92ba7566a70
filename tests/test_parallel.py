"""Tests of maa.parallel with maa.segmentation: the same files, whoever made them, and however many of those were killed."""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hostile import mutators
from hostile.stub import DarkSpots

from maa.errors import MaaError
from maa.parallel import each, in_order, spread
from maa.segmentation import segment_files

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def eyes(tmp_path_factory):
    """Eight photographs in two folders, one of them in the other, and a file that is none."""
    folder = tmp_path_factory.mktemp("cluster") / "eyes"
    (folder / "more").mkdir(parents=True)
    for number in range(8):
        mutators.retina(np.random.default_rng(number), (160, 150)).save(
            folder / ("more" if number % 2 else "") / f"{number}.png"
        )
    (folder / "more" / "bad.jpg").write_bytes(b"no image")
    return folder


@pytest.fixture
def out(eyes, tmp_path):
    """A folder that sees the photographs as the `whole` one does, which records note."""
    return eyes.parent / tmp_path.name


def run(eyes, out):
    return segment_files(eyes, out, DarkSpots(), resize=1, recursive=True)


def contents(out):
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file() and path.name != "lock"}


@pytest.fixture(scope="module")
def whole(eyes):
    """The report and the files of one process."""
    report = run(eyes, eyes.parent / "whole")
    assert len(report.photographs) == 8 and len(report.problems) == 1
    return report, contents(eyes.parent / "whole")


def test_answers_come_in_the_order_of_the_questions():
    with spread(2):
        assert in_order(pow, [(7, 10**6, 10**9), (2, 3), (2, 4)], "Raising") == [pow(7, 10**6, 10**9), 8, 16]


def same(report, whole):
    assert report.photographs.equals(whole.photographs) and report.lesions.equals(whole.lesions)
    assert list(map(str, report.problems)) == list(map(str, whole.problems))


def test_two_processes_give_the_files_of_one(eyes, whole, out):
    with spread(2):
        same(run(eyes, out), whole[0])
    assert contents(out) == whole[1]


def _die(number):
    if number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_process_that_is_killed_is_one_sentence_and_the_next_run_goes_on(eyes, whole, out, monkeypatch):
    with spread(2), pytest.raises(MaaError, match="was killed"):
        list(each(_die, [(0,), (1,), (2,)], ""))

    def ends_early(function, items, description):
        yield from each(function, items[:3], description)
        raise RuntimeError("A worker process\nwas terminated.")

    monkeypatch.setattr("maa.segmentation.many.each", ends_early)
    report = run(eyes, out)
    assert len(report.photographs) == 3 and str(report.problems[-1]).startswith(
        "The work of other processes ended early (RuntimeError: A"
    )
    assert r"process\nwas" in (out / "index.html").read_text()
    monkeypatch.undo()
    run(eyes, out)
    assert contents(out) == whole[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_stopped_with_two_processes_it_leaves_whole_tables_and_goes_on(eyes, whole, out, root, number):
    """Ctrl-C of a terminal reaches the processes that work for it too."""
    arguments = [sys.executable, root / "tests" / "hostile" / "stub.py", "segment", eyes, "--recursive", "--resize", "1"]
    environment = os.environ | {"STUB_SECONDS": "0.3", "PYTHONPATH": str(root)}
    child = subprocess.Popen(
        [*arguments, "--out", out, "--jobs", "2"], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        env=environment, start_new_session=True,
    )  # fmt: skip
    first_is_done(out)
    (os.killpg if number == signal.SIGINT else os.kill)(child.pid, number)
    errors = child.communicate(timeout=300)[1]
    assert "Traceback" not in errors and child.returncode in ((-number,) if number == signal.SIGKILL else (128 + number, 2))
    if number != signal.SIGKILL:
        assert "Stopped by hand after" in errors or child.returncode == 2
        assert (out / "index.html").read_text().rstrip().endswith("</html>")
    run(eyes, out)
    assert contents(out) == whole[1]


def first_is_done(out):
    for _ in range(3000):
        if list(out.glob(".maa/*.done")):
            return
        time.sleep(0.1)
    raise AssertionError("nothing was done in five minutes")


# --- Dask -----------------------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch):
    """A Dask cluster of two processes on this machine, which take a moment for each photograph."""
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'maa[cluster]'")
    monkeypatch.setenv("STUB_SECONDS", "0.5")
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        yield cluster


def test_a_worker_that_is_killed_in_the_middle_loses_nothing_and_does_nothing_twice(eyes, whole, cluster, out):
    killed = []

    def kill():
        first_is_done(out)
        killed.append(cluster.workers[0].pid)
        os.kill(killed[0], signal.SIGKILL)

    murderer = threading.Thread(target=kill)
    murderer.start()
    with spread(cluster=cluster.scheduler_address):
        report = run(eyes, out)
    murderer.join()
    assert killed
    same(report, whole[0])
    assert contents(out) == whole[1]


def test_a_cluster_that_does_not_answer_is_one_sentence(monkeypatch):
    distributed = pytest.importorskip("distributed", reason="Dask is not installed: pip install 'maa[cluster]'")
    monkeypatch.setattr("maa.parallel.PATIENCE", 1)
    for address in ("tcp://127.0.0.1:1", "no address", "ftp://127.0.0.1:80"):
        with pytest.raises(MaaError, match="No Dask scheduler answers at"), spread(cluster=address):
            pass
    with (
        distributed.LocalCluster(n_workers=0, dashboard_address=None) as idle,
        pytest.raises(MaaError, match="has no worker"),
        spread(cluster=idle.scheduler_address),
    ):
        pass


def test_without_dask_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(MaaError, match=r"maa\[cluster\]"), spread(cluster="tcp://127.0.0.1:1"):
        pass
