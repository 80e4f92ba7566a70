"""Tests of maa.beyond: the U-Net on a tiny phantom, beside the paper's track."""

import json
from dataclasses import replace

import pytest
from test_reproduce import TINY

from maa import unet
from maa.beyond import NAMES, beyond
from maa.idrid import open_dataset
from maa.training import Probe, Schedule


def test_every_row_is_measured_and_compared(tiny_phantom, tmp_path, monkeypatch):
    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("MAA_PROGRESS", "0")
    monkeypatch.setattr(Probe, "POSITIVES", 40)
    monkeypatch.setattr(Probe, "NEGATIVES", 120)
    monkeypatch.setattr(unet, "SIDE", 48)
    profile = replace(TINY, unet=Schedule(steps=3, batch=8, reports=1))
    results = beyond(open_dataset(tiny_phantom), profile, tmp_path / "out", seed=1)
    written = json.loads((tmp_path / "out" / "beyond.json").read_text())
    assert list(written["rows"]) == list(NAMES)
    for row, measures in written["rows"].items():
        assert 0 <= measures["average_precision"]["value"] <= 1 and measures["name"] == NAMES[row]
        assert measures["gains"].keys() == {"hgn_1x", "hgn_half", "fused", "unet_half"} - {row}
    assert results["runs"]["unet_half"]["config"]["scale"] == 0.5 and results["runs"]["unet_half"]["seed"] == 1
