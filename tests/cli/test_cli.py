"""Tests of maa.cli: what each command says, and that bad input ends in one sentence and status 2."""

import hashlib
import io
import json
import os
import shutil
import struct
import subprocess
import sys
import warnings
import zlib
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from PIL import Image
from scipy import ndimage

from maa import cli, phantom, training
from maa.data import open_dataset, read_mask
from maa.errors import MaaError
from maa.inference import ROWS, Settings, System, write_settings
from maa.models import HGN, PRN, save_weights
from maa.names import safe_name
from maa.replication import profiles
from maa.replication.evaluate import evaluate
from maa.segmentation.one import MAPS, default_weights, load_system

ROOT = Path(__file__).parents[2]


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
    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "models"))
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
    return status == 2 and len(lines) == 1 and lines[0].endswith(".") and all(str(word) in lines[0] for word in words)


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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_as_a_program_bad_input_is_one_sentence_without_traceback(copy):
    """Nor is there a warning of the image library, which a truncated TIFF provokes."""
    mask = next(copy.rglob("IDRiD_02_MA.tif"))
    mask.write_bytes(mask.read_bytes()[: mask.stat().st_size // 2])
    with pytest.warns(UserWarning), pytest.raises(MaaError):
        read_mask(mask)
    done = subprocess.run(
        [sys.executable, "-m", "maa", "data", "--data", copy],
        capture_output=True, text=True, cwd=ROOT,
    )  # fmt: skip
    assert refused((done.returncode, done.stdout, done.stderr), mask, "cut short")


def test_unexpected_error_keeps_its_traceback(monkeypatch, phantoms):
    def broken(root):
        raise ZeroDivisionError("a mistake of ours")

    monkeypatch.setattr("maa.data.idrid.open_dataset", broken)
    with pytest.raises(ZeroDivisionError, match="a mistake of ours"):
        run("data", "--data", phantoms)


def test_ctrl_c_outside_of_a_command_leaves_no_traceback(monkeypatch):
    def interrupted():
        raise KeyboardInterrupt

    monkeypatch.setattr("maa.cli.base.app", interrupted)
    assert run("data") == (130, "", "")


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
    masks = {path.stem: np.asarray(Image.open(path)) > 0 for path in phantoms.rglob("*_MA.tif")}
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
    monkeypatch.setattr("maa.data.locate.fetch", lambda: phantoms)
    assert cells(run("data", "--fetch")[1], "all")[0] == 7

    def unwanted():
        raise MaaError("downloaded again.")

    monkeypatch.setattr("maa.data.locate.fetch", unwanted)
    assert run("data", "--fetch", "--data", phantoms)[0] == 0


def test_verify_passes_sound_data(phantoms):
    status, out, _ = run("data", "--data", phantoms, "--verify")
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

    monkeypatch.setattr("pathlib.Path.write_bytes", full_disk)
    with pytest.raises(OSError, match="No space left"):
        run("phantom", "--n", 1, "--size", 128, "--out", tmp_path / "x")
    assert os.listdir(tmp_path) == []


# --- what the commands on models share ------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A folder of weights of networks that have learnt nothing, with thresholds."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    save_weights(HGN(2), folder / "hgn-1x.safetensors")
    save_weights(HGN(2), folder / "hgn-0.5x.safetensors")
    save_weights(PRN(2, 4), folder / "prn.safetensors")
    write_settings(Settings(thresholds=dict.fromkeys(ROWS, 0.2)), folder)
    return folder


@pytest.fixture(scope="module")
def retinas(tmp_path_factory):
    """A small data set whose lesions are large enough to be learnt from."""
    root = tmp_path_factory.mktemp("retinas") / "set"
    config = phantom.PhantomConfig(size=256, field_degrees=8, lesion_density=8)
    phantom.write_dataset(root, n_diseased=3, n_healthy=2, n_test=1, seed=1, config=config)
    return root


@pytest.fixture
def tiny_budget(monkeypatch):
    """The profile "lesson" with a handful of steps."""
    schedule = training.Schedule(steps=4, batch=16, reports=2)
    profile = profiles.Profile(
        "lesson",
        hgn_1x=training.HGNConfig(1.0, schedule, width=2, pool=500),
        hgn_half=training.HGNConfig(0.5, schedule, width=2, pool=500),
        prn=training.PRNConfig(schedule, width=2, pool=100),
        unet=training.UNetConfig(training.Schedule(2, 8, reports=1), side=48),
    )
    monkeypatch.setitem(profiles.PROFILES, "lesson", profile)
    monkeypatch.setattr(training.Probe, "NEGATIVES", 500)


def damage(path, how):
    """Spoil a photograph; returns a word of the sentence that must follow."""
    if how == "missing":
        path.unlink()
        return "does not exist"
    if how == "truncated":
        path.write_bytes(path.read_bytes()[:-400])
        return "cut short"
    if how == "greyscale":
        Image.open(path).convert("L").save(path)
        return "greyscale"
    if how == "16-bit greyscale":
        grey = np.asarray(Image.open(path).convert("L")).astype(np.uint16) * 257
        Image.fromarray(grey).save(path, format="PNG")
        return "greyscale"
    if how == "no field of view":
        Image.new("RGB", Image.open(path).size).save(path)
        return "No field of view"
    raise ValueError(how)


DAMAGES = ["truncated", "greyscale", "16-bit greyscale", "no field of view"]


def files_below(folder):
    """All but the records of what is done."""
    return sorted(name for path in folder.rglob("*") if not (name := str(path.relative_to(folder))).startswith(".maa"))


def commands(data, weights, out):
    """Each command that reads a data set, with where it would write."""
    return {
        "train": ("train", "hgn-0.5x", "--data", data, "--out", out),
        "evaluate": ("evaluate", "--data", data, "--split", "validation", "--weights", weights, "--out", out / "r.json"),
        "reproduce": ("reproduce", "--data", data, "--out", out),
        "crossval": ("crossval", "--data", data, "--out", out),
        "reading": ("reading", "decoder", "--data", data, "--out", out),
        "score": ("score", "--maps", weights, "--data", data, "--out", out / "r.json"),
    }


@pytest.mark.parametrize("command", ["train", "evaluate", "reproduce", "crossval", "reading", "score"])
def test_missing_and_empty_data_folders_are_refused(command, weights, tmp_path):
    (tmp_path / "empty").mkdir()
    for folder, word in (("absent", "does not exist"), ("empty", "name the folder")):
        assert refused(run(*commands(tmp_path / folder, weights, tmp_path / "out")[command]), tmp_path / folder, word)
    arguments = [part for part in commands("", weights, tmp_path / "out")[command] if part not in ("--data", "")]
    assert refused(run(*arguments), "No data were found", "--data")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("how", [*DAMAGES, "mask of another size"])
@pytest.mark.parametrize("command", ["train", "evaluate"])
def test_damaged_data_end_in_one_sentence_and_no_output(command, how, copy, weights, tmp_path):
    name = {"train": "IDRiD_01", "evaluate": "IDRiD_03"}[command]
    if how == "mask of another size":
        path, word = next(copy.rglob(f"{name}_MA.tif")), "64 x 64"
        Image.new("1", (64, 64)).save(path)
    else:
        path = next(copy.rglob(f"{name}.jpg"))
        word = damage(path, how)
    before = files_below(weights)
    assert refused(run(*commands(copy, weights, tmp_path / "out")[command]), path, word)
    assert not (tmp_path / "out").exists() and files_below(weights) == before
    left = files_below(tmp_path / "models") if (tmp_path / "models").exists() else []
    assert all(str(name).startswith("locks") for name in left), "nothing but the empty files of locks in the cache"


def test_weights_that_do_not_fit_are_refused(copy, weights, tmp_path):
    photograph = next(copy.rglob("IDRiD_01.jpg"))
    spoilt = shutil.copytree(weights, tmp_path / "spoilt")
    hgn = spoilt / "hgn-1x.safetensors"

    def all_refuse(folder, *words):
        evaluate = commands(copy, folder, tmp_path / "out")["evaluate"]
        segment = ("segment", photograph, "--weights", folder, "--out", tmp_path / "out")
        for arguments in (evaluate, segment):
            assert refused(run(*arguments), *words)
            assert not (tmp_path / "out").exists()

    all_refuse(tmp_path / "absent", tmp_path / "absent", "maa train")
    (tmp_path / "empty").mkdir()
    all_refuse(tmp_path / "empty", tmp_path / "empty", "maa train")
    shutil.copy(weights / "prn.safetensors", hgn)
    all_refuse(spoilt, hgn, "PRN", "HGN")
    hgn.write_bytes((weights / "hgn-1x.safetensors").read_bytes()[:-100])
    all_refuse(spoilt, hgn, "damaged")
    save_weights(HGN(2), hgn)
    (spoilt / "settings.json").write_text("{")
    all_refuse(spoilt, spoilt / "settings.json", "maa evaluate --split validation")


def test_places_that_cannot_be_written_are_refused_before_the_work(retinas, weights, tmp_path):
    (tmp_path / "file").write_text("")
    for out in (tmp_path / "file", tmp_path / "file" / "below"):
        for arguments in commands(retinas, weights, out).values():
            assert refused(run(*arguments), tmp_path / "file")
    (tmp_path / "folder").mkdir()
    arguments = commands(retinas, weights, tmp_path)["evaluate"][:-1]
    assert refused(run(*arguments, tmp_path / "folder"), tmp_path / "folder", "results.json")


def test_profiles_are_those_of_the_package():
    assert set(get_args(cli.ProfileName)) == set(profiles.PROFILES)


# --- maa train, evaluate, reproduce ---------------------------------------------------------------


@pytest.mark.slow
def test_from_photographs_to_a_table_of_lesions(retinas, tmp_path, monkeypatch, tiny_budget):
    """Trains, evaluates and segments for real, with a handful of steps."""
    folder = tmp_path / "weights"
    for network in ("hgn-1x", "hgn-0.5x", "prn"):
        arguments = ("train", network, "--data", retinas, "--out", folder, "--profile", "lesson", "--seed", 3)
        status, out, err = run(*arguments)
        assert status == 0 and err == "" and str(folder / f"{network}.safetensors") in out.replace("\n", "")
        record = json.loads((folder / f"{network}.json").read_text())
        assert record["seed"] == 3 and record["history"]["step"] == [2, 4] and len(record["data"]) == 64
    monkeypatch.setattr("maa.replication.study.fit", None)  # what is trained already is not trained again
    assert run(*arguments)[0] == 0

    # On the test photographs nothing may be chosen, so there must be thresholds already.
    arguments = ("evaluate", "--data", retinas, "--weights", folder)
    test_file, validation_file = tmp_path / "results" / "test.json", tmp_path / "results" / "validation.json"
    assert refused(run(*arguments, "--split", "test", "--out", test_file), folder, "--split validation")
    assert not test_file.exists()

    status, out, err = run(*arguments, "--split", "validation", "--out", validation_file)
    results = json.loads(validation_file.read_text())
    assert status == 0 and err == ""
    trained = ["hgn_1x", "hgn_half", "fused", "control", "prn_full"]
    assert list(results["rows"]) == trained and len(results["photographs"]) == 2
    assert all(ROWS[row].split(",")[0] in out for row in trained) and "no prn-triplet.safetensors" in out
    assert [p.name for p in validation_file.parent.iterdir()] == ["validation.json"]  # no parts are left
    assert results["files"] == {
        name: hashlib.sha256((folder / name).read_bytes()).hexdigest()
        for name in ("hgn-0.5x.safetensors", "hgn-1x.safetensors", "prn.safetensors", "settings.json")
    }
    final = results["rows"]["prn_full"]["average_precision"]["value"]
    assert out.splitlines()[-1] == f"AUC PR of the full system: {final:.4f}"
    settings = json.loads((folder / "settings.json").read_text())
    thresholds = {row: measures["threshold"] for row, measures in results["rows"].items()}
    assert settings["thresholds"] == thresholds

    (folder / "prn.safetensors").rename(tmp_path / "prn.safetensors")
    status, out, err = run(*arguments, "--split", "test", "--no-healthy", "--out", test_file)
    results = json.loads(test_file.read_text())
    assert status == 0 and len(results["photographs"]) == 1
    assert {row: measures["threshold"] for row, measures in results["rows"].items()} == {
        row: thresholds[row] for row in ("hgn_1x", "hgn_half", "fused")
    }
    assert json.loads((folder / "settings.json").read_text()) == settings
    final = results["rows"]["fused"]["average_precision"]["value"]
    assert "no prn.safetensors" in out
    assert out.splitlines()[-1] == f"AUC PR of HGN geometric, the last row that the weights allow: {final:.4f}"

    photograph = next(retinas.rglob("IDRiD_01.jpg"))
    status, out, err = run("segment", photograph, "--weights", folder, "--out", tmp_path / "found", "--resize", 1)
    best = ROWS[System.load(folder).final]  # of the rows that are left, the one that validation found best
    assert status == 0 and err == "" and best in out
    names = [f"IDRiD_01_{ending}" for ending in ("mask.png", "overlay.jpg", "probability.png")]
    assert files_below(tmp_path / "found") == [*names, "contact_sheet.jpg", "index.html", "lesions.csv", "photographs.csv"]
    assert best in (tmp_path / "found" / "index.html").read_text()


def test_evaluate_needs_photographs_of_the_split(copy, weights, tmp_path):
    for path in copy.rglob("b. Testing Set"):
        shutil.rmtree(path)
    arguments = ("evaluate", "--data", copy, "--split", "test", "--weights", weights, "--out", tmp_path / "r.json")
    assert refused(run(*arguments), copy, "no test photographs")
    assert not (tmp_path / "r.json").exists()


def test_evaluate_takes_the_weights_that_ship_for_the_test_photographs_only(retinas, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    status, printed, err = run("evaluate", "--data", retinas, "--split", "test", "--no-healthy")
    assert status == 0 and err == ""
    rows = json.loads((tmp_path / "test.json").read_text())["rows"]
    assert list(rows) == [*ROWS, "unets", "all", "all_prn_unlabelled"]
    assert "gain" in rows["prn_full"] and {"control", "prn_cross_entropy"} <= rows["prn_full"]["gains"].keys()
    final = rows["all_prn_unlabelled"]["average_precision"]["value"]
    assert f"AUC PR beyond the paper: {final:.4f}" in printed.splitlines()
    status, printed, err = run("evaluate", "--data", retinas, "--split", "validation")
    assert status != 0 and "--weights" in err and not (tmp_path / "validation.json").exists()


@pytest.mark.slow
def test_the_full_profile_goes_on_to_ablations_and_beyond_and_measures_what_ships(retinas, tmp_path, tiny_budget, monkeypatch):
    asked = []
    monkeypatch.setitem(profiles.PROFILES, "full", replace(profiles.PROFILES["lesson"], name="full"))
    monkeypatch.setattr(
        "maa.replication.ablations.ablate", lambda dataset, profile, out: asked.append(("ablate", profile.name, out))
    )
    monkeypatch.setattr(
        "maa.replication.ablations.decide", lambda dataset, profile, out: asked.append(("decide", profile.name, out))
    )
    monkeypatch.setattr("maa.replication.unlabelled.experiment", lambda out: asked.append(("experiment", out)))
    values = {"value": 0.4321, "low": 0.4, "high": 0.5}
    found = {
        "rows": {"hgn_1x": {"average_precision": values}},
        "contrasts": {"C1": {"difference": {"value": 0.01}, "verdict": "undecided"}},
    }
    monkeypatch.setattr(
        "maa.replication.crossval.cross_validate",
        lambda dataset, profile, out, reading: asked.append((f"crossval {reading}", profile.name, out)) or found,
    )
    monkeypatch.setattr(
        "maa.replication.crossval.ask_further",
        lambda dataset, profile, out, arms, reading: asked.append((f"arms {reading}", profile.name, out)) or found,
    )
    monkeypatch.setattr(
        "maa.replication.crossval.go_beyond",
        lambda dataset, profile, out: asked.append(("go_beyond", profile.name, out)) or found,
    )
    monkeypatch.setattr(
        "maa.replication.crossval.read_otherwise",
        lambda dataset, profile, out, reading: asked.append((reading, profile.name, out)) or {"rows": found["rows"]},
    )
    monkeypatch.setattr(
        "maa.replication.freeze.freeze", lambda dataset, profile, out: asked.append(("freeze", profile.name, out)) or shipped
    )
    shipped = evaluate(System.load(default_weights()), open_dataset(retinas), "validation", healthy=False)
    out = tmp_path / "replication"
    status, printed, err = run("reproduce", "--data", retinas, "--profile", "full", "--out", out)
    assert status == 0 and err == ""
    assert asked == [
        ("ablate", "full", out),
        ("decide", "full", out),
        ("experiment", out),
        ("crossval windows", "full", out),
        ("arms windows", "full", out),
        ("crossval centre", "full", out),
        ("arms centre", "full", out),
        ("go_beyond", "full", out),
        ("centre", "full", out),
        ("decoder", "full", out),
        ("longer", "full", out),
        ("freeze", "full", out),
    ]
    assert "0.4321  (0.4000 to 0.5000)" in printed and "C1   +0.0100  undecided" in printed
    assert "frozen.json" in printed and "unlabelled.json" in printed and "the version that ships" in printed


@pytest.mark.parametrize("command", ["arms", "beyond", "freeze"])
def test_what_builds_on_a_cross_validation_says_that_it_needs_one(retinas, tmp_path, command):
    assert refused(run(command, "--data", retinas, "--out", tmp_path), tmp_path, "maa crossval")


@pytest.mark.slow
def test_reproduce_fills_every_row_and_leaves_a_whole_system(retinas, tmp_path, tiny_budget):
    out = tmp_path / "replication"
    status, printed, err = run("reproduce", "--data", retinas, "--profile", "lesson", "--out", out)
    assert status == 0 and err == ""
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert len(rows) == 8 and all(row["name"] in printed for row in rows.values())
    assert "0.3374" in printed and "+30.3%" in printed and "took" in printed
    last = printed.splitlines()[-1]
    assert f"{rows['prn_full']['average_precision']['value']:.4f}" in last
    system = System.load(out / "weights")
    assert system.rows == list(ROWS)
    assert set(system.settings.thresholds) == set(ROWS)


# --- maa segment ----------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["missing", *DAMAGES])
def test_segment_refuses_a_bad_photograph_and_writes_nothing(how, copy, weights, tmp_path):
    path = next(copy.rglob("IDRiD_01.jpg"))
    word = damage(path, how)
    assert refused(run("segment", path, "--weights", weights, "--out", tmp_path / "found"), path, word)
    assert not (tmp_path / "found").exists()


def test_segment_refuses_an_empty_folder(weights, tmp_path):
    (tmp_path / "empty").mkdir()
    arguments = ("segment", tmp_path / "empty", "--weights", weights, "--out", tmp_path / "found")
    assert refused(run(*arguments), tmp_path / "empty", "holds no photograph")
    assert not (tmp_path / "found").exists()


def test_segment_does_the_good_ones_and_names_the_bad_ones_at_the_end(copy, weights, tmp_path):
    good, *bad = sorted(copy.rglob("IDRiD_*.jpg"))[:5]
    words = [damage(path, how) for path, how in zip(bad, DAMAGES, strict=True)]
    out = tmp_path / "found"
    status, printed, err = run("segment", *bad[:2], good, *bad[2:], "--weights", weights, "--out", out, "--resize", 1)
    lines = err.strip().splitlines()
    assert status == 2 and len(lines) == len(bad)
    for line, path, word in zip(lines, bad, words, strict=True):
        assert str(path) in line and word in line
    tables = {"lesions.csv", "photographs.csv", "contact_sheet.jpg", "index.html"}
    assert len(files_below(out)) == 7 and all(name in tables or name.startswith(good.stem) for name in files_below(out))
    assert "photographs: 1," in printed


def test_segment_takes_photographs_of_every_ordinary_kind(phantoms, weights, tmp_path):
    """CMYK, RGBA and 16-bit colour are converted; a turned photograph is set upright, and so are its maps."""
    given = tmp_path / "given"
    given.mkdir()
    picture = Image.open(next(phantoms.rglob("IDRiD_01.jpg"))).crop((0, 0, 128, 100))
    picture.convert("CMYK").save(given / "cmyk.jpg")
    picture.convert("RGBA").save(given / "rgba.png")
    write_png_of_16_bits(given / "deep.png", np.asarray(picture).astype(np.uint16) * 257)
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned a quarter to the right
    picture.transpose(Image.Transpose.ROTATE_90).save(given / "turned.jpg", exif=exif)
    out = tmp_path / "found"
    status, _, err = run("segment", given, "--weights", weights, "--out", out, "--resize", 1)
    assert status == 0 and err == ""
    for path in given.iterdir():
        assert Image.open(out / f"{path.stem}_mask.png").size == (128, 100), path.name
        overlay = np.asarray(Image.open(out / f"{path.stem}_overlay.jpg"))
        assert overlay.shape == (100, 128, 3)


def test_segment_says_how_it_was_resized(phantoms, weights, tmp_path):
    photograph = next(phantoms.rglob("IDRiD_01.jpg"))
    arguments = ("segment", photograph, "--weights", weights, "--out", tmp_path / "found", "--degrees", 4)
    status, out, _ = run(*arguments)
    assert status == 0 and "Resized by 2." in out and "field of view of 4 degrees" in out
    assert Image.open(tmp_path / "found" / "IDRiD_01_probability.png").size == (128, 128)


def test_segment_says_a_warning_once_and_of_which_photographs(copy, weights, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    for path in sorted(copy.rglob("IDRiD_*.jpg"))[:3]:
        Image.fromarray(np.asarray(Image.open(path)) // 9).save(given / f"{path.stem}.png")
    status, out, err = run("segment", given, "--weights", weights, "--out", tmp_path / "found", "--resize", 1)
    assert status == 0 and err == "" and out.count("Warning: Too dark") == 1
    assert ", ".join(sorted(path.stem for path in given.iterdir())) + ": Warning: Too dark" in out


def test_segment_takes_names_as_they_are(copy, weights, tmp_path):
    given, out = tmp_path / "given", tmp_path / "found"
    given.mkdir()
    names = ["left eye, Müller", "a'b\"c", "[bold]&amp;<img src=x onerror=alert(1)>"]
    for name in names:
        shutil.copy(next(copy.rglob("IDRiD_01.jpg")), given / f"{name}.jpg")
    (given / "paper.jpg").write_bytes(b"%PDF-1.7 no photograph")
    status, printed, err = run("segment", given, "--weights", weights, "--out", out, "--resize", 1)
    assert status == 2 and "paper.jpg is not an image" in err and len(err.splitlines()) == 1
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "<img src=x" not in page and "paper.jpg is not an image" in page
    for name in names:
        assert name in printed and (out / f"{safe_name(name)}_overlay.jpg").exists()


def stub(*arguments, **options):
    """``maa`` in a process of its own, with a system that takes no time."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MAA_PROGRESS": "0"} | options.pop("env", {})
    command = [sys.executable, ROOT / "tests" / "hostile" / "stub.py", *arguments]
    return subprocess.run(command, env=environment, stderr=subprocess.PIPE, **options)


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="this system has no /dev/full")
def test_segment_survives_an_output_that_takes_nothing(phantoms, tmp_path):
    arguments = ("segment", next(phantoms.rglob("IDRiD_01.jpg")), "--resize", "1", "--out")
    with open("/dev/full", "w") as full:
        done = stub(*arguments, tmp_path / "full", stdout=full)
    assert done.returncode == 2 and done.stderr.decode().splitlines()[1:] == [
        "The output could not be printed (No space left on device): look at the files that were written."
    ]
    done = stub(*arguments, tmp_path / "closed", preexec_fn=lambda: os.close(1))
    assert done.returncode == 0 and len(done.stderr.splitlines()) == 1
    assert contents_below(tmp_path / "full") == contents_below(tmp_path / "closed")


def contents_below(folder):
    return {name: (folder / name).read_bytes() for name in files_below(folder)}


@pytest.mark.slow
def test_segment_prints_any_name_in_any_code_page(phantoms, tmp_path):
    given = tmp_path / "given"
    given.mkdir()
    for name in ("Иванов_OD", "a\x1b[31m\n", os.fsdecode(b"M\xfcller"), "-rf"):
        shutil.copy(next(phantoms.rglob("IDRiD_01.jpg")), given / f"{name}.jpg")
    (given / "bad\n\x1b.jpg").write_bytes(b"no image")
    done = stub(
        "segment", given, "--resize", "1", "--out", tmp_path / "out", stdout=subprocess.PIPE, env={"PYTHONIOENCODING": "cp1252"}
    )
    printed, complaints = done.stdout.decode("cp1252"), done.stderr.decode("cp1252").splitlines()
    assert done.returncode == 2 and len(complaints) == 2 and r"bad\n\x1b.jpg is not" in complaints[1]
    assert all(name in printed for name in ("??????_OD", r"a\x1b[31m\n", r"M\xfcller", "-rf")) and "\x1b" not in printed


def test_segment_offers_both_tracks(phantoms, tmp_path):
    photograph = next(phantoms.rglob("IDRiD_01.jpg"))
    for track in ("paper", "beyond"):
        name = MAPS[load_system(track=track).final]
        status, out, _ = run("segment", photograph, "--track", track, "--out", tmp_path / track, "--resize", 1)
        assert status == 0 and name in out and "those that come with maa" in (tmp_path / track / "index.html").read_text()
    assert refused(run("segment", photograph, "--track", "beyond", "--weights", tmp_path, "--out", tmp_path / "x"), "no U-Net")


def test_segment_never_writes_among_the_photographs(copy, weights):
    folder = next(copy.rglob("IDRiD_01.jpg")).parent
    before = files_below(folder)
    assert refused(run("segment", folder, "--weights", weights, "--out", folder), folder, "another folder")
    assert files_below(folder) == before


def test_segment_without_weights_says_how_to_train_them(phantoms, tmp_path, monkeypatch):
    monkeypatch.setattr("maa.segmentation.one.__file__", str(tmp_path / "maa" / "segmentation" / "one.py"))
    assert refused(run("segment", phantoms, "--out", tmp_path / "found"), "--weights", "maa train hgn-1x")


def write_png_of_16_bits(path, values):
    """Pillow reads colour PNG of 16 bits a channel but cannot write it."""
    height, width, _ = values.shape

    def chunk(kind, content):
        checksum = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)

    lines = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b""))


# --- score ---------------------------------------------------------------------------------------


@pytest.fixture
def maps(retinas, tmp_path):
    """Maps of an outside method, darkness after closing, of every photograph of the data set."""
    folder = tmp_path / "dark dots"
    folder.mkdir()
    for path in (retinas / "A. Segmentation" / "1. Original Images").rglob("*.jpg"):
        green = ndimage.gaussian_filter(np.asarray(Image.open(path))[..., 1].astype(float), 1.5)
        dark = ndimage.grey_closing(green, size=(15, 15)) - green
        Image.fromarray(np.rint(dark.clip(0, 60) / 60 * 255).astype(np.uint8)).save(folder / f"{path.stem}_MA.png")
    return folder


def test_score_measures_the_maps_of_another_method(retinas, maps, tmp_path):
    out = tmp_path / "score.json"
    status, printed, _ = run("score", "--maps", maps, "--data", retinas, "--out", out)
    stored = json.loads(out.read_text())
    row, words = stored["rows"]["maps"], " ".join(printed.split())
    assert status == 0 and stored["split"] == "validation" and row["name"] == "dark dots"
    assert printed.rstrip().endswith(f"AUC PR: {row['average_precision']['value']:.4f}")
    assert f"FROC score, the mean to 8 {row['froc']['score']:.4f} (" in words
    for key in ("thresholds_11", "thresholds_33", "thresholds_256", "roc_auc"):
        assert f" {row['variants'][key]:.4f} " in words
    assert row["variants"]["shrunk"] is None and "shrunk to 1376 x 1376" in words
    assert "No published rows to compare with" in words and "not better" not in words
    assert "3 files are of no such photograph and were left out: IDRiD_01_MA.png" in words
    assert "of the field of view reach 0.02, where neighbouring lesions melt" in words

    out.unlink()
    status, printed, _ = run("score", "--maps", maps, "--data", retinas, "--split", "test", "--candidate", "0.9")
    assert status == 0 and "1 test photographs" in printed and "melt" not in printed and not out.exists()


def test_score_compares_two_methods_and_the_rows_of_the_repository(retinas, maps, tmp_path, monkeypatch):
    other, results = tmp_path / "other", tmp_path / "results"
    other.mkdir()
    for path in maps.iterdir():
        array = np.asarray(Image.open(path)) / 255
        np.save(other / f"{path.stem}.npy", array**0.5)
    arguments = ("score", "--maps", maps, "--data", retinas, "--against", other, "--ending", "_ma")
    assert run(*arguments, "--out", tmp_path / "score.json")[0] == 0
    row = json.loads((tmp_path / "score.json").read_text())["rows"]["maps"] | {"name": "a row of the book"}
    (results / "idrid-full").mkdir(parents=True)
    (results / "idrid-full" / "frozen.json").write_text(json.dumps({"rows": {"fused": row}}))
    monkeypatch.setenv("MAA_RESULTS", str(results))
    status, printed, _ = run(*arguments)
    words = " ".join(printed.split())
    # The root changes no rank, but 16 bits of it and 8 bits of the other are not tied alike.
    assert status == 0 and "dark dots over other, AUC PR pooled, paired: " in words and "+0.0% (" in words
    assert (
        f"a row of the book {row['average_precision']['value']:.4f} {row['variants']['per_image_mean']:.4f} +0.0000 (" in words
    )


def test_score_refuses_what_is_no_map_and_places_that_cannot_be_written(retinas, maps, tmp_path):
    arguments = ("score", "--maps", maps, "--data", retinas)
    assert refused(run(*arguments, "--out", tmp_path), tmp_path, "results.json")
    assert refused(run(*arguments, "--threshold", "1.5"), "threshold is 1.5")
    assert refused(run(*arguments, "--candidate", "0"), "candidate threshold is 0")
    assert refused(run(*arguments, "--against", tmp_path / "absent"), tmp_path / "absent", "is not a folder")
    assert refused(
        run(*arguments, "--ending", "_HE"), maps, "lacks the map of 1 of 1 validation photographs", "IDRiD_03_HE.png"
    )
    Image.new("RGB", (256, 256)).save(maps / "IDRiD_03_MA.png")
    assert refused(run(*arguments, "--out", tmp_path / "r.json"), maps / "IDRiD_03_MA.png", "RGB")
    assert not (tmp_path / "r.json").exists()
