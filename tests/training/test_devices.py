"""Tests of maa.training.devices: two processes that share every batch learn what one does, and say so of what is missing."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from several import trained
from torch import nn

from maa.errors import MaaError
from maa.training import devices

HERE = Path(__file__).parent


@pytest.mark.slow
def test_two_processes_learn_what_one_does_from_the_same_batches(tmp_path, root, monkeypatch):
    """The loss, the mining of triplets, the sampler's errors and what batch normalisation remembers are those of the whole batch."""
    pytest.importorskip("accelerate", reason="Accelerate is not installed: pip install 'maa[devices]'")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    one = trained(tmp_path / "one")
    launch = [sys.executable, "-m", "accelerate.commands.accelerate_cli", "launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    environment = os.environ | {
        "PYTHONPATH": str(root),
        "MAA_PROGRESS": "0",
        "OMP_NUM_THREADS": "1",
        "CUDA_VISIBLE_DEVICES": "",
    }
    run = subprocess.run([*launch, HERE / "several.py", tmp_path / "two"], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-3000:]
    two = json.loads((tmp_path / "two" / "found.json").read_text())
    for network in ("hgn", "prn"):
        assert two[network].keys() == one[network].keys()
        for column, values in one[network].items():
            close = {"abs": 0.05} if column == "validation_ap" else {"rel": 1e-3}  # of few pixels, whose order rounding changes
            assert two[network][column] == pytest.approx(values, **close), (network, column)
    assert two["error"] == pytest.approx(one["error"], rel=1e-2) and len(set(one["error"])) > 10
    # Of a bias before a batch norm the gradient is nothing but rounding, which AdamW takes for a direction: a step of the learning rate.
    assert np.concatenate(two["means"]) == pytest.approx(np.concatenate(one["means"]), abs=6e-3)
    assert np.concatenate(two["variances"]) == pytest.approx(np.concatenate(one["variances"]), rel=1e-2, abs=1e-3)


def test_one_process_is_left_as_it_is():
    model = nn.Sequential(nn.Conv2d(3, 2, 1), nn.BatchNorm2d(2))
    devices.share(model)
    devices.join()
    devices.wait()
    assert devices.processes() == 1 and devices.is_first() and "forward" not in vars(model) and "forward" not in vars(model[1])
    assert not torch.distributed.is_initialized()


def test_without_accelerate_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setitem(sys.modules, "accelerate", None)
    with pytest.raises(MaaError, match=r"maa\[devices\]"):
        devices.join()


def test_a_batch_that_cannot_be_divided_is_named(monkeypatch):
    monkeypatch.setattr(devices, "processes", lambda: 3)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: 0)
    with pytest.raises(MaaError, match="A batch of 32 cannot be divided among 3 processes"):
        devices._shared(lambda batch: batch)(torch.zeros(32, 2))
