"""Tests of maa.cli: what each command says, and that bad input ends in one sentence and status 2."""

import io
import os
import shutil
import subprocess
import sys
import warnings
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maa import cli, phantom
from maa.errors import MaaError
from maa.fundus import read_mask

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    """A small data set, written by the command itself."""
    root = tmp_path_factory.mktemp("phantoms") / "set"
    assert run("phantom", "--n", "3", "--healthy", "2", "--size", "128", "--out", root)[0] == 0
    return root


@pytest.fixture
def copy(phantoms, tmp_path):
    return shutil.copytree(phantoms, tmp_path / "copy")


@pytest.fixture(autouse=True)
def nothing_in_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv("MAA_IDRID", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "100")


def run(*arguments):
    """Exit status, stdout and stderr of ``maa ARGUMENTS``, run in this process, which is faster."""
    out, err = io.StringIO(), io.StringIO()
    argv, sys.argv = sys.argv, ["maa", *map(str, arguments)]
    try:
        with redirect_stdout(out), redirect_stderr(err), warnings.catch_warnings():
            cli.main()
        status = 0
    except SystemExit as stop:
        status = stop.code or 0
    finally:
        sys.argv = argv
    return status, out.getvalue(), err.getvalue()


def refused(result, *words):
    """Whether a run ended in status 2 and one line on stderr that holds every word."""
    status, _, err = result
    lines = err.strip().splitlines()
    return (
        status == 2
        and len(lines) == 1
        and lines[0].endswith(".")
        and all(str(word) in lines[0] for word in words)
    )


def test_help_names_every_command_and_how_to_begin():
    status, out, _ = run("--help")
    assert status == 0
    for word in ("data", "phantom", "MICCAI", "maa phantom --out phantoms", "Exit status"):
        assert word in out
    names = {command.callback.__name__ for command in cli.app.registered_commands}
    for name in names:
        status, out, _ = run(name, "--help")
        assert status == 0 and "Usage" in out and len(out) > 400


def test_help_starts_without_the_heavy_libraries():
    code = (
        "import sys; sys.argv = ['maa', '--help']\n"
        "from maa.cli import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "print(sorted({'torch', 'scipy', 'pandas', 'matplotlib', 'sklearn'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_as_a_program_bad_input_is_one_sentence_without_traceback(copy):
    """Nor is there a warning of the image library, which a truncated TIFF provokes."""
    mask = next(copy.rglob("IDRiD_02_MA.tif"))
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])
    with pytest.warns(UserWarning), pytest.raises(MaaError):
        read_mask(mask)
    done = subprocess.run(
        [sys.executable, "-m", "maa.cli", "data", "--data", copy],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert refused((done.returncode, done.stdout, done.stderr), mask, "cut short")


def test_unexpected_error_keeps_its_traceback(monkeypatch, phantoms):
    def broken(root):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("maa.idrid.open_dataset", broken)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        run("data", "--data", phantoms)


def test_long_sentence_is_not_broken(monkeypatch, tmp_path):
    folder = tmp_path / ("long " * 40)
    assert refused(run("data", "--data", folder), folder)


# --- maa data -------------------------------------------------------------------------------------


def cells(out, *heads):
    """The numbers in the row of a table that begins with these words."""
    for line in out.splitlines():
        row = [cell.strip() for cell in line.strip("│ ").split("│")]
        if row[: len(heads)] == list(heads):
            return [int(cell.replace(",", "")) for cell in row if cell.replace(",", "").isdigit()]
    raise AssertionError(f"no row {heads} in {out}")


def test_data_counts_what_is_there(phantoms):
    masks = {
        path.stem: np.asarray(Image.open(path)) > 0
        for path in phantoms.rglob("*_MA.tif")
    }
    status, out, err = run("data", "--data", phantoms)
    assert status == 0 and err == ""
    assert cells(out, "train", "diseased")[0] == 2
    assert cells(out, "validation", "diseased")[:2] == [1, masks["IDRiD_03_MA"].sum()]
    assert cells(out, "test", "diseased")[0] == 2
    assert cells(out, "train", "healthy") == [1, 0, 0]
    assert cells(out, "validation", "healthy") == [1, 0, 0]
    images, pixels, lesions = cells(out, "all")
    assert (images, pixels) == (7, sum(mask.sum() for mask in masks.values()))
    assert 0 < lesions <= pixels
    assert str(phantoms) in out


def test_data_found_by_the_environment_variable(phantoms, monkeypatch):
    monkeypatch.setenv("MAA_IDRID", str(phantoms))
    assert cells(run("data")[1], "all")[0] == 7


def test_without_data_it_explains_and_ends_with_1():
    status, out, err = run("data")
    assert status == 1 and err == ""
    assert "ieee-dataport" in out and "pip install 'maa[data]'" in out


def test_fetch_downloads_only_what_is_not_there(phantoms, monkeypatch):
    monkeypatch.setattr("maa.idrid.fetch", lambda: phantoms)
    assert cells(run("data", "--fetch")[1], "all")[0] == 7

    def unwanted():
        raise MaaError("downloaded again.")

    monkeypatch.setattr("maa.idrid.fetch", unwanted)
    assert run("data", "--fetch", "--data", phantoms)[0] == 0


def test_verify_passes_sound_data(phantoms):
    status, out, err = run("data", "--data", phantoms, "--verify")
    masks = len(list(phantoms.rglob("*.tif")))
    assert status == 0 and f"Verified: 7 photographs and {masks} masks are sound." in out


def test_verify_lists_every_damaged_file(copy):
    images = sorted(copy.rglob("IDRiD_*.jpg"))
    images[0].write_bytes(images[0].read_bytes()[:-400])
    Image.open(images[1]).convert("L").save(images[1])
    Image.new("RGB", (128, 128)).save(images[2])
    mask = next(copy.rglob("IDRiD_04_OD.tif"))
    Image.new("1", (64, 64)).save(mask)
    status, out, err = run("data", "--data", copy, "--verify")
    lines = err.strip().splitlines()
    assert status == 2 and len(lines) == 4 and "Verified" not in out
    for line, path, reason in zip(
        lines, [*images[:3], mask],
        ["cut short", "greyscale", "No field of view", "64 x 64"], strict=True,
    ):  # fmt: skip
        assert str(path) in line and reason in line


def test_empty_folder_and_file_are_refused(tmp_path):
    (tmp_path / "empty").mkdir()
    assert refused(run("data", "--data", tmp_path / "empty"), tmp_path / "empty", "name the folder")
    (tmp_path / "file").write_text("")
    assert refused(run("data", "--data", tmp_path / "file"), tmp_path / "file", "is a file")


# --- maa phantom ----------------------------------------------------------------------------------


def test_phantom_writes_what_was_asked(phantoms):
    names = sorted(path.stem for path in phantoms.rglob("*.jpg"))
    assert len(names) == 3 + 2 + 2  # --n, half of it for testing, --healthy
    assert {Image.open(path).size for path in phantoms.rglob("*.jpg")} == {(128, 128)}


def test_phantom_is_repeated_by_its_seed(phantoms, tmp_path):
    same, other = tmp_path / "same", tmp_path / "other"
    arguments = ("phantom", "--n", 3, "--healthy", 2, "--size", 128)
    assert run(*arguments, "--seed", 0, "--out", same)[0] == 0
    assert run(*arguments, "--seed", 1, "--out", other)[0] == 0
    for path in phantoms.rglob("*.jpg"):
        assert (same / path.relative_to(phantoms)).read_bytes() == path.read_bytes()
        assert (other / path.relative_to(phantoms)).read_bytes() != path.read_bytes()


def test_phantom_never_mixes_with_what_is_there(tmp_path):
    (tmp_path / "mine.txt").write_text("")
    assert refused(run("phantom", "--n", 1, "--size", 128, "--out", tmp_path), tmp_path)
    assert os.listdir(tmp_path) == ["mine.txt"]


@pytest.mark.parametrize("option, value", [("--n", 0), ("--healthy", -1), ("--size", 8)])
def test_phantom_refuses_impossible_numbers(tmp_path, option, value):
    assert refused(run("phantom", "--out", tmp_path / "x", option, value))
    assert not (tmp_path / "x").exists()


def test_phantom_that_breaks_off_leaves_nothing(tmp_path, monkeypatch):
    def full_disk(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(phantom, "_write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run("phantom", "--n", 1, "--size", 128, "--out", tmp_path / "x")
    assert os.listdir(tmp_path) == []
