"""How fast the parts of maa are on this machine, and by how much the choices in it pay.

    python benchmarks/speed.py

Each pair of alternatives is timed in turns, in one run, so that whatever else the machine does
disturbs both alike.  The fastest of the repeats counts.  About a minute on two cores.
"""

from __future__ import annotations

import contextlib
import time

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from rich.table import Table

from maa.data import MARGIN, gather_scales, stack_photograph
from maa.hardware import device, mixed_precision
from maa.models import HGN
from maa.training import augment

BATCH, WIDTH, REPEATS = 128, 16, 5
ON = device()


def fastest(*alternatives):
    """Seconds of the fastest of REPEATS calls of each function, called in turns after one call to warm up."""
    best = [float("inf")] * len(alternatives)
    for repeat in range(REPEATS + 1):
        for index, function in enumerate(alternatives):
            _wait()
            started = time.perf_counter()
            function()
            _wait()
            if repeat:
                best[index] = min(best[index], time.perf_counter() - started)
    return best


def _wait():
    if ON.type == "cuda":
        torch.cuda.synchronize()


def training_step(memory_format, precision):
    """A function that takes one optimiser step of the HGN on a batch of random patches."""
    torch.manual_seed(0)
    model = HGN(WIDTH).to(ON, memory_format=memory_format).train()
    optimizer = torch.optim.AdamW(model.parameters())
    patches = torch.randint(256, (BATCH, 45, 45, 3), dtype=torch.uint8, device=ON)
    labels = (torch.arange(BATCH, device=ON) < BATCH // 2).float()

    def step():
        with precision():
            loss = F.binary_cross_entropy_with_logits(model(patches).float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()

    return step


def bfloat16():
    return torch.autocast(ON.type, torch.bfloat16)


def main() -> None:
    rng = np.random.default_rng(0)
    table = Table("what", "this", "that", "this is faster by", title=f"maa on {_machine()}")

    def compare(what, this, that, seconds, per, unit):
        row = [f"{name}: {1e3 * value / per:.3g} ms {unit}" for name, value in zip((this, that), seconds)]
        table.add_row(what, *row, f"{seconds[1] / seconds[0]:.2f} x")

    last, plain = torch.channels_last, torch.contiguous_format
    steps = training_step(last, bfloat16), training_step(last, contextlib.nullcontext)
    compare(f"HGN training step, {BATCH} patches", "bfloat16", "float32", fastest(*steps), 1, "a step")
    steps = (training_step(layout, lambda: mixed_precision(ON)) for layout in (last, plain))
    compare(f"HGN training step, {BATCH} patches", "channels last", "channels first", fastest(*steps), 1, "a step")

    model = HGN(WIDTH).to(ON, memory_format=last).eval()
    side = 44 + 24
    image = torch.randint(256, (1, side, side, 3), dtype=torch.uint8, device=ON)

    def dense():
        return model.dense(image)[0]

    def by_patch():
        patches = image[0].unfold(0, 45, 1).unfold(1, 45, 1).permute(0, 1, 3, 4, 2).reshape(-1, 45, 45, 3)
        return model(patches).reshape(24, 24)

    with torch.inference_mode():
        assert torch.allclose(dense(), by_patch(), atol=1e-3), "the two ways must give the same map"
        compare(
            "Map of 24 x 24 pixels",
            "dilated, at once",
            "patch by patch",
            fastest(dense, by_patch),
            576 / 1e3,
            "per 1000 pixels",
        )

    photograph = rng.integers(0, 256, (2848, 4288, 3), np.uint8)
    stacks = stack_photograph(photograph, np.ones(photograph.shape[:2], bool))
    where = np.stack([np.zeros(4096, int), rng.integers(2848, size=4096), rng.integers(4288, size=4096)], axis=1)

    def in_a_loop():
        padded, half = stacks[0].image(0), MARGIN - 22
        return np.stack([padded[r + half : r + half + 45, c + half : c + half + 45] for _, r, c in where])

    assert np.array_equal(stacks[0].gather(where, 45), in_a_loop())
    seconds = fastest(lambda: stacks[0].gather(where, 45), in_a_loop)
    compare("Gathering 45 x 45 patches", "one gather", "loop", seconds, 4.096, "per 1000 patches")
    both = gather_scales(stacks, where, 45)
    seconds = fastest(lambda: gather_scales(stacks, where, 45), lambda: augment(both, np.random.default_rng(0)))
    compare("Patches at two scales", "gathering", "augmenting", seconds, 4.096, "per 1000 patches")
    Console().print(table)


def _machine() -> str:
    if ON.type == "cuda":
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads"


if __name__ == "__main__":
    main()
