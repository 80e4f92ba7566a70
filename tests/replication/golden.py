"""The numbers that today's recipes give: three steps of each training, a map, a phantom, a sampler.  ``python tests/replication/golden.py`` writes them.

What is computed here is small and in float32 on one thread of a CPU, from fixed seeds.  tests/replication/test_golden.py compares it with
tests/replication/golden.json, and says which version of `maa.replication.recipes` to raise when it moved.
"""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from maa.data import FOV, MARGIN, ImageStack
from maa.inference import dense_map
from maa.phantom import PhantomConfig, make_phantom
from maa.training import (
    CandidateConfig,
    CandidateTask,
    DecoderConfig,
    DecoderTask,
    HGNConfig,
    HGNTask,
    PRNConfig,
    PRNTask,
    Probe,
    Schedule,
    SelectiveSampler,
    Task,
    UNetConfig,
    UNetTask,
    WindowConfig,
    WindowTask,
    fit,
)

FILE = Path(__file__).with_name("golden.json")
SCHEDULE = Schedule(steps=3, batch=16, reports=3, seed=5)
PRN = PRNConfig(SCHEDULE, width=4, embedding_size=8, refreshes=1, pool=60, warm=False)
CANDIDATES = CandidateConfig(SCHEDULE, width=4, embedding_size=8, triplet_weight=0.5, mining="soft", rule="told")


@contextlib.contextmanager
def plainly():
    """Float32, one thread, silence, and a probe of few pixels: what every machine has."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with (
            mock.patch.dict("os.environ", {"MAA_PROGRESS": "0"}),
            mock.patch("maa.training.loop.device", lambda: torch.device("cpu")),
            mock.patch("maa.training.loop.mixed_precision", lambda device: contextlib.nullcontext()),
            mock.patch("maa.inference.maps.mixed_precision", lambda device: contextlib.nullcontext()),
            mock.patch("maa.inference.candidates.mixed_precision", lambda device: contextlib.nullcontext()),
            mock.patch("maa.training.probe.mixed_precision", lambda device: contextlib.nullcontext()),
            mock.patch.multiple(Probe, POSITIVES=40, NEGATIVES=120),
        ):
            yield
    finally:
        torch.set_num_threads(threads)


def steps_of(task: Task) -> tuple[torch.nn.Module, dict]:
    """A model after three steps; their losses, and the sum and the norm of all its weights."""
    model, history = fit(task, SCHEDULE)
    weights = torch.cat([parameter.detach().double().flatten() for parameter in model.parameters()])
    return model, {"losses": history["loss"].tolist(), "weights": [float(weights.sum()), float(weights.norm())]}


def golden(stacks: tuple[ImageStack, ImageStack]) -> dict[str, dict]:
    """The numbers of every family of `maa.replication.recipes.RECIPES`, from the drawn photographs of the tests."""
    fine = stacks[0]
    found = {"photographs": {"pixels": [int(stack.pixels.sum(dtype=np.int64)) for stack in stacks],
                             "labels": [int(stack.labels.sum(dtype=np.int64)) for stack in stacks]}}  # fmt: skip
    with plainly():
        hgn, found["hgn"] = steps_of(HGNTask(fine, fine, HGNConfig(1.0, SCHEDULE, width=4, pool=300)))
        _, found["windows"] = steps_of(WindowTask(fine, fine, WindowConfig(1.0, SCHEDULE, width=4, side=96, pool=300)))
        _, found["decoder"] = steps_of(DecoderTask(fine, fine, DecoderConfig(1.0, SCHEDULE, width=4, side=96, pool=300)))
        map_ = dense_map(hgn, fine.image(0)[MARGIN:-MARGIN, MARGIN:-MARGIN], (fine.label(0) & FOV) > 0)
        found["maps"] = {"sum": int(map_.sum(dtype=np.int64)), "column": map_[60:70, 60].tolist()}
        _, found["prn"] = steps_of(PRNTask(stacks, PRN))
        with mock.patch("maa.training.candidates.REFRESH", 2), mock.patch("maa.training.candidates.SCORED", 60):
            everywhere = {
                name: np.stack(np.divmod(np.arange(0, shape.prod(), 997), shape[1]), 1)
                for name, shape in zip(fine.names, fine.shapes)
            }
            _, found["candidates"] = steps_of(CandidateTask(stacks, everywhere, CANDIDATES))
        _, found["unet"] = steps_of(UNetTask(fine, fine, UNetConfig(SCHEDULE, width=4, side=48)))
    sampler = SelectiveSampler(1000, power=0.5)
    sampler.update(np.linspace(0, 1, 1000) ** 4)
    found["prn"]["draws"] = sampler.draw(8, np.random.default_rng(0)).tolist()
    fundus = make_phantom(seed=3, config=PhantomConfig(size=192, field_degrees=6.0, lesion_density=6.0))
    found["phantom"] = {"channels": fundus.image.reshape(-1, 3).mean(axis=0).tolist(), "lesions": int(fundus.ma.sum())}
    return found


if __name__ == "__main__":
    import sys
    import tempfile

    sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does
    from conftest import draw_records

    from maa.data import build_stacks

    with tempfile.TemporaryDirectory() as folder:
        FILE.write_text(json.dumps(golden(build_stacks(draw_records(), Path(folder) / "stack")), indent=1) + "\n")
