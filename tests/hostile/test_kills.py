"""A run that is killed or stopped at any moment, and started again, ends with the very files of one that was not.

MAA_KILLS says how many kills each kind of run has to survive in ``make hostile``.
"""

import json
import multiprocessing
import os
import random
import shutil
import signal
import time
from pathlib import Path

import nbformat
import numpy as np
import pandas as pd
import pytest
from hostile import forked, mutators

from maa.phantom import PhantomConfig, write_dataset

ROOT = Path(__file__).parents[2]
PHOTOGRAPHS = 5
IN_A_ROW = 5
KILLS = int(os.environ.get("MAA_KILLS", 10))
#: Differs from run to run.
TIMES = {"seconds", "training_seconds", "time"}
fork = multiprocessing.get_context("forkserver")


@pytest.fixture(scope="module", autouse=True)
def loaded():
    """The process that is forked."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join(map(str, (ROOT, ROOT / "tests"))))
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("MAA_PROGRESS", "0")
        fork.set_forkserver_preload(["hostile.forked"])
        first = fork.Process(target=os.getpid)  # which waits for the imports, so that no run that is timed does
        first.start()
        first.join()
        yield


class Kind:
    """A kind of run: how it is started, and what it leaves."""

    program, statuses = staticmethod(forked.maa_with_little_to_do), {0}

    def __init__(self, folder):
        self.folder = folder

    def arguments(self, out):
        raise NotImplementedError

    def stopped(self, number):
        """The exit status after a signal that was caught."""
        return 128 + number

    def start(self, out):
        out.mkdir(parents=True, exist_ok=True)
        environment = {"MAA_CACHE": str(out / "cache"), "STUB_SECONDS": "0.05"}
        errors = out / "errors"
        errors.unlink(missing_ok=True)
        child = fork.Process(target=forked.run, args=(self.program, self.arguments(out), errors, environment))
        child.start()
        while child.is_alive() and not errors.exists():
            time.sleep(0.001)
        return child

    def end(self, child, out):
        child.join(240)
        assert child.exitcode is not None, "it hangs"
        errors = (out / "errors").read_text() if (out / "errors").exists() else ""
        assert "Traceback" not in errors, errors
        return child.exitcode

    def contents(self, out):
        """All that is left but locks: the bytes of every file, of JSON without times."""
        left = {}
        for path in out.rglob("*"):
            if path.is_file() and path.suffix != ".lock" and path.name not in ("lock", "errors"):
                left[str(path.relative_to(out))] = timeless(path) if path.suffix == ".json" else path.read_bytes()
        return left

    def look(self, out, status):
        """Look at what a signal left that could be caught."""

    def whole(self):
        """What a run leaves that nobody disturbs, and how long it takes."""
        out, began = self.folder / "whole", time.monotonic()
        assert self.end(self.start(out), out) in self.statuses, (out / "errors").read_text()
        return self.contents(out), time.monotonic() - began

    def disturbed(self, out, number, delay):
        """Start a run, send it a signal after a while, and look at what it leaves."""
        child = self.start(out)
        time.sleep(delay)
        if child.is_alive():
            os.kill(child.pid, number)
        status = self.end(child, out)
        # -number: also before or after the work, when nothing is half done
        assert status in self.statuses | ({-number} if number == signal.SIGKILL else {-number, self.stopped(number)}), status
        if status == self.stopped(number):
            self.look(out, status)

    def ends_as(self, whole, out):
        assert self.end(self.start(out), out) in self.statuses, (out / "errors").read_text()
        left = self.contents(out)
        assert sorted(left) == sorted(whole)
        assert not {name for name in whole if left[name] != whole[name]}


def timeless(path):
    def without(value):
        if isinstance(value, dict):
            return {key: without(part) for key, part in value.items() if key not in TIMES}
        return [without(part) for part in value] if isinstance(value, list) else value

    return without(json.loads(path.read_text()))


class Segment(Kind):
    statuses = {2}  # one photograph is none

    def __init__(self, folder):
        super().__init__(folder)
        (folder / "photographs").mkdir()
        for number in range(PHOTOGRAPHS):
            picture = mutators.retina(np.random.default_rng(number), (200, 180))
            picture.save(folder / "photographs" / f"eye {number}.png")
        (folder / "photographs" / "bad.jpg").write_bytes(b"no image")

    def arguments(self, out):
        return "segment", self.folder / "photographs", "--out", out / "out", "--resize", "1"

    def look(self, out, status):
        out = out / "out"
        done = {json.loads(path.read_bytes())["large"]["name"] for path in out.glob(".maa/*.done")}
        if done:
            assert done <= set(pd.read_csv(out / "photographs.csv")["image"])
            assert (out / "index.html").read_text().rstrip().endswith("</html>")
        assert not list(out.rglob("*.partial"))


class Train(Kind):
    """The second stage, before which both networks of the first are trained."""

    command = ("train", "prn")

    def __init__(self, folder):
        super().__init__(folder)
        config = PhantomConfig(size=192, field_degrees=6.0, lesion_density=8.0)
        write_dataset(folder / "phantom", 3, 2, seed=3, n_test=0, config=config)

    def arguments(self, out):
        return *self.command, "--data", self.folder / "phantom", "--out", out / "out"


class Reproduce(Train):
    command = ("reproduce",)


CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_nb", "sphinx_external_toc", "stale_pages", "run_pages"]
external_toc_path = "_toc.yml"
exclude_patterns = ["_build"]
nb_execution_mode = "cache"
nb_execution_raise_on_error = True
"""
#: A picture of some megabytes, so that writing it takes a while.
PICTURE = """
import io
import numpy as np
from IPython.display import Image
from PIL import Image as Picture

noise = np.random.default_rng({0}).integers(0, 256, (1000, 1000, 3), np.uint8)
Picture.fromarray(noise).save(file := io.BytesIO(), "PNG")
Image(file.getvalue())
"""


class Book(Kind):
    """A small book by the page runner of ours, with a page of text, two that run, and their outputs."""

    program = staticmethod(forked.build)

    def stopped(self, number):
        return 2  # Sphinx has one for all of its errors

    def arguments(self, out):
        if not (out / "book").exists():
            (out / "book").mkdir()
            (out / "book" / "conf.py").write_text(CONF)
            (out / "book" / "_toc.yml").write_text("root: index\nentries:\n  - file: a\n  - file: b\n")
            (out / "book" / "index.md").write_text("# Book\n")
            for number, name in enumerate("ab"):
                cells = [nbformat.v4.new_markdown_cell(f"# {name}", id="title")]
                cells += [nbformat.v4.new_code_cell(PICTURE.format(number), id="picture")]
                nbformat.write(nbformat.v4.new_notebook(cells=cells), out / "book" / f"{name}.ipynb")
        return "-W", "--keep-going", out / "book", out / "book" / "_build" / "html"

    def contents(self, out):
        left = super().contents(out / "book" / "_build")
        assert "html/.unfinished" not in left
        # A pickle of the same is not the same, nor is a data base.
        return {name: content for name, content in left.items() if not name.endswith((".pickle", ".doctree", ".db"))}


KINDS = {"segment": Segment, "train": Train, "reproduce": Reproduce, "book": Book}


@pytest.fixture(scope="module")
def kind(request, tmp_path_factory):
    return KINDS[request.param](tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def whole(kind):
    return kind.whole()


@pytest.mark.slow
@pytest.mark.parametrize("kind", [*KINDS], indirect=True)
def test_killed_and_stopped(kind, whole):
    files, seconds = whole
    out = kind.folder / "few"
    for number, part in ((signal.SIGKILL, 0.3), (signal.SIGINT, 0.15), (signal.SIGTERM, 0.3), (signal.SIGKILL, 0.5)):
        kind.disturbed(out, number, part * seconds)
    kind.ends_as(files, out)


@pytest.mark.hostile
@pytest.mark.parametrize("seed", range(-(-KILLS // IN_A_ROW)))
@pytest.mark.parametrize("kind", [*KINDS], indirect=True)
def test_killed_at_random_moments(kind, whole, seed):
    files, seconds = whole
    rng, out = random.Random(seed), kind.folder / f"many {seed}"
    for _ in range(IN_A_ROW):
        kind.disturbed(out, rng.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]), rng.uniform(0, 0.6 * seconds))
    kind.ends_as(files, out)
    shutil.rmtree(out)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["segment"], indirect=True)
def test_two_runs_into_one_folder_lose_no_row(kind, tmp_path):
    photographs, other = kind.folder / "photographs", Segment(tmp_path)
    for number in range(PHOTOGRAPHS):
        picture = mutators.retina(np.random.default_rng(10 + number), (180, 180))
        picture.save(tmp_path / "photographs" / f"eye {number}.png")
    (tmp_path / "photographs" / "bad.jpg").rename(tmp_path / "photographs" / "worse.jpg")
    both = [each.start(tmp_path) for each in (kind, other)]
    assert [kind.end(child, tmp_path) for child in both] == [2, 2]
    table = pd.read_csv(tmp_path / "out" / "photographs.csv")
    assert len(table) == 2 * PHOTOGRAPHS + 2 and table["image"].is_unique
    assert len(list((tmp_path / "out").glob("*_mask.png"))) == 2 * PHOTOGRAPHS
    given = [path.name for folder in (photographs, tmp_path / "photographs") for path in folder.iterdir()]
    assert sorted(table["file"]) == sorted(given)
