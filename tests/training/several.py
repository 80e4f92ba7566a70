"""Trains an HGN and a refinement network in each of the processes that start this, and writes what the first saw.

``accelerate launch ... several.py FOLDER``
"""

import json
import sys
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import torch
from conftest import draw_records

import maa.inference.candidates
import maa.training.loop
import maa.training.probe
from maa.data import build_stacks
from maa.training import HGNConfig, HGNTask, PRNConfig, PRNTask, Probe, Schedule, fit
from maa.training.devices import is_first


def trained(folder):
    """Histories, the sampler's errors and the running means of two short trainings."""
    torch.set_num_threads(1)
    Probe.POSITIVES, Probe.NEGATIVES = 41, 120  # not to be divided by two
    for module in (maa.inference.candidates, maa.training.loop, maa.training.probe):
        module.mixed_precision = lambda device: nullcontext()
    stacks = build_stacks(draw_records(), Path(folder) / "stack")
    schedule = Schedule(steps=6, batch=32, reports=6, learning_rate=1e-3, seed=3)
    hgn, first = fit(HGNTask(stacks[0], stacks[0], HGNConfig(1.0, schedule, width=4, pool=500)), schedule)
    prn = PRNTask(stacks, PRNConfig(schedule, width=4, pool=61), [])
    model, second = fit(prn, schedule)
    return {
        "hgn": first.drop(columns="seconds").to_dict("list"),
        "prn": second.drop(columns="seconds").to_dict("list"),
        "error": prn.sampler.error.tolist(),
        "means": [
            module.running_mean.tolist() for module in (*hgn.modules(), *model.modules()) if hasattr(module, "running_mean")
        ],
        "variances": [
            module.running_var.tolist() for module in (*hgn.modules(), *model.modules()) if hasattr(module, "running_var")
        ],
    }


if __name__ == "__main__":
    found = trained(sys.argv[1])
    if is_first():
        (Path(sys.argv[1]) / "found.json").write_text(json.dumps(found))
