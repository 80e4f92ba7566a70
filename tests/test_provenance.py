"""Tests of maa.provenance: fingerprints that change when they should, files that are whole or absent."""

import dataclasses
import json
import os
from pathlib import Path

import numpy as np
import pytest

from maa import provenance
from maa.errors import MaaError
from maa.provenance import cache_folder, code_fingerprint, environment, fingerprint, partial_path, read_json, write_json
from maa.training import PRNConfig, Schedule

SOURCE = '''"""Module."""

import math

#: The size.
SIZE = 45
"""A note under a name."""


def area(side: int = SIZE) -> int:
    """Area of a square."""
    # Squares have equal sides.
    return side * side  # not side + side


class Square:
    """A square."""

    side = 3

    def area(self):
        """Its area."""
        return area(self.side)
'''


def test_the_code_has_one_fingerprint():
    assert len(code_fingerprint()) == 64 and code_fingerprint() == code_fingerprint.__wrapped__()


def test_fingerprint_of_configurations():
    same = fingerprint({"b": 1, "a": Schedule(steps=3)}, np.float64(0.5))
    assert same == fingerprint({"a": Schedule(steps=3), "b": 1}, 0.5)
    others = [
        fingerprint({"b": 1, "a": Schedule(steps=4)}, 0.5),
        fingerprint({"b": 1, "a": Schedule(steps=3, seed=1)}, 0.5),
        fingerprint({"b": 2, "a": Schedule(steps=3)}, 0.5),
        fingerprint({"b": 1, "a": Schedule(steps=3)}),
    ]
    assert len({same, *others}) == 5 and len(same) == 64


@pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(PRNConfig)])
def test_every_field_of_a_config_counts(field):
    default = PRNConfig(Schedule(1))
    value = getattr(default, field)
    others = {Schedule: lambda: Schedule(2), bool: lambda: not value, str: lambda: value + "?", type(None): lambda: "?"}
    other = others.get(type(value), lambda: value + 1)()
    assert fingerprint(dataclasses.replace(default, **{field: other})) != fingerprint(default)


def test_write_json_holds_what_results_are_made_of(tmp_path):
    path = tmp_path / "deep" / "a.json"
    write_json(
        path,
        {
            "s": Schedule(steps=2),
            "a": np.arange(3),
            "f": np.float32(0.5),
            "i": np.int64(4),
            "b": np.bool_(True),
            "n": None,
            "p": Path("/somewhere/secret/weights.bin"),
        },
    )
    content = json.loads(path.read_text())
    assert content["s"]["steps"] == 2 and content["a"] == [0, 1, 2] and content["f"] == 0.5
    assert content["i"] == 4 and content["b"] is True and content["n"] is None
    assert content["p"] == "weights.bin"  # results never name the folders of a machine
    assert path.read_text().endswith("\n")


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), np.float32("nan"), np.array([1.0, np.nan]), object()])
def test_what_json_cannot_hold_is_refused_and_the_old_file_stays(tmp_path, bad):
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})
    with pytest.raises((ValueError, TypeError)):
        write_json(path, {"new": bad})
    assert json.loads(path.read_text()) == {"old": 1} and os.listdir(tmp_path) == ["a.json"]


def test_write_json_replaces_in_one_step(tmp_path, monkeypatch):
    """A reader never sees a half-written file: until the rename the old one is there."""
    path = tmp_path / "a.json"
    write_json(path, {"old": 1})

    def seen(source, target):
        assert json.loads(path.read_text()) == {"old": 1}
        assert json.loads(Path(source).read_text()) == {"new": 2}
        assert Path(source).parent == path.parent and Path(target) == path
        rename(source, target)

    rename = os.replace
    monkeypatch.setattr(provenance.os, "replace", seen)
    write_json(path, {"new": 2})
    assert json.loads(path.read_text()) == {"new": 2}


def test_environment_says_what_a_run_depends_on():
    machine = environment()
    assert {"maa", "python", "torch", "numpy", "cores", "machine", "gpu", "time"} <= machine.keys()
    import torch

    assert machine["torch"] == torch.__version__
    json.dumps(machine)
    assert not any(str(Path.home()) in str(value) for value in machine.values())


def test_cache_folder_is_the_variable_or_the_home(tmp_path, monkeypatch):
    monkeypatch.setenv("MAA_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("MAA_CACHE", "")
    assert cache_folder() == Path.home() / ".cache" / "maa" / "runs"


def test_a_place_that_cannot_be_written_is_named_in_a_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(MaaError, match=r"a.json cannot be written \(File exists\): .*MAA_CACHE"):
        write_json(tmp_path / "file" / "a.json", {})
    assert os.listdir(tmp_path) == ["file"]


def test_names_of_partial_files_are_never_twice_the_same(tmp_path):
    names = {provenance.partial_path(tmp_path / "a.json") for _ in range(100)}
    assert len(names) == 100 and all(name.parent == tmp_path and name.name.startswith(".a.json.") for name in names)


def test_what_killed_processes_left_of_a_file_goes_when_it_is_whole(tmp_path):
    left, folder, other = (partial_path(tmp_path / name) for name in ("a[1].json", "a[1].json", "b.json"))
    left.write_text("{")
    folder.mkdir()
    (folder / "a").write_text("{")
    other.write_text("{")
    write_json(tmp_path / "a[1].json", {})
    assert sorted(tmp_path.iterdir()) == sorted([tmp_path / "a[1].json", other])


def test_of_two_processes_that_write_a_file_at_once_the_first_wins(tmp_path, monkeypatch):
    path, rename = tmp_path / "a.json", os.replace

    def beaten(source, target):
        monkeypatch.setattr(provenance.os, "replace", rename)
        write_json(path, {"first": 1})
        rename(source, target)

    monkeypatch.setattr(provenance.os, "replace", beaten)
    write_json(path, {"second": 2})
    assert json.loads(path.read_text()) == {"first": 1} and os.listdir(tmp_path) == ["a.json"]


#: What may stand in a file that a disk or a person damaged.
DAMAGED = [b"", b"{", b"[]", b"null", b"1", b"\xff", b"\0" * 40, b"[" * 100_000]


@pytest.mark.parametrize("content", DAMAGED)
def test_damaged_json_is_one_sentence(tmp_path, content):
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(MaaError) as error:
        read_json(path, "remove it")
    assert str(error.value) == f"{path} is damaged: remove it."
    write_json(path, {"whole": [1]})
    assert read_json(path, "remove it") == {"whole": [1]}


def test_a_pipe_in_the_place_of_json_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.json")
    with pytest.raises(MaaError, match="damaged"):
        read_json(tmp_path / "a.json", "remove it")
