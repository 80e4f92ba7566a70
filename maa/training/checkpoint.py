"""The state of a run on disk, from which it goes on bit for bit.

Tensors and JSON in a safetensors file: a file that somebody else put there can be wrong, but never runs anything.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from maa.errors import MaaError
from maa.provenance import write_in_one_step

#: The file's name, in the folder of the run.
CHECKPOINT = "checkpoint.safetensors"
_MOMENTS = ("step", "exp_avg", "exp_avg_sq")  # what AdamW remembers of a parameter


def save_checkpoint(
    path: str | os.PathLike[str],
    model: nn.Module,
    optimizer: torch.optim.AdamW,
    task: dict[str, Tensor],
    progress: dict[str, Any],
) -> None:
    """Write the state of a run in one step.

    Parameters
    ----------
    path : path-like
    model : nn.Module
    optimizer : AdamW
        Of one group, the model's parameters.
    task : dict of str to Tensor
        What the task must remember.
    progress : dict
        What JSON can hold: "step" (int, the next one), "seconds" (float) and "rows" (the history so far).
    """
    tensors = {f"model/{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"task/{name}": value for name, value in task.items()}
    for index, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
    tensors = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    header = {"progress": json.dumps(progress, default=float)}
    write_in_one_step(path, lambda file: file.write(save(tensors, metadata=header)))


def load_checkpoint(
    path: str | os.PathLike[str], model: nn.Module, optimizer: torch.optim.AdamW, task: dict[str, Tensor], steps: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Bring a fresh model and optimizer to the state that `save_checkpoint` wrote.

    The names and shapes of all tensors are compared with those of the fresh run before any is read.

    Parameters
    ----------
    path, model, optimizer
        As in `save_checkpoint`.
    task : dict of str to Tensor
        What a fresh task would remember.
    steps : int
        Of the whole run.

    Returns
    -------
    task : dict of str to Tensor
        On the CPU.
    progress : dict
        As in `save_checkpoint`.

    Raises
    ------
    MaaError
        When the file is damaged, or is of another run.
    """
    path, parameters = Path(path), list(model.parameters())
    fresh = {f"model/{name}": value for name, value in model.state_dict().items()}
    fresh |= {f"task/{name}": value for name, value in task.items()}
    for index, parameter in enumerate(parameters):
        fresh |= {f"optimizer/{index}/{name}": parameter if name != "step" else torch.zeros(()) for name in _MOMENTS}
    try:
        if not path.is_file():
            raise ValueError("not a regular file")
        with safe_open(path, "pt") as file:
            progress = json.loads((file.metadata() or {})["progress"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # it is no mapping
            if shapes != {name: tuple(value.shape) for name, value in fresh.items()} or not _sound(progress, steps):
                raise ValueError("another run's")
            stored = {name: file.get_tensor(name) for name in shapes}
        if any(stored[name].dtype != value.dtype for name, value in fresh.items()):
            raise ValueError("another run's")
    except (SafetensorError, OSError, KeyError, TypeError, ValueError, RecursionError):
        raise MaaError(f"{path} is damaged or of another run: remove it, and the run starts from its first step.") from None
    model.load_state_dict({name: stored[f"model/{name}"] for name in model.state_dict()})
    state = optimizer.state_dict()
    for index in range(len(parameters)):
        # In the memory layout of the parameter, as the optimizer itself makes it: the same operations in the same order.
        keys = {name: f"optimizer/{index}/{name}" for name in _MOMENTS}
        state["state"][index] = {name: torch.empty_like(fresh[key]).copy_(stored[key]) for name, key in keys.items()}
    optimizer.load_state_dict(state)
    return {name: stored[f"task/{name}"] for name in task}, progress


def _sound(progress: object, steps: int) -> bool:
    """Whether this is what `save_checkpoint` is given, of a run of so many steps."""
    return (
        isinstance(progress, dict)
        and progress.keys() == {"step", "seconds", "rows"}
        and type(progress["step"]) is int
        and 0 < progress["step"] < steps
        and isinstance(progress["seconds"], float)
        and isinstance(progress["rows"], list)
        and all(
            isinstance(row, dict) and all(isinstance(value, int | float) for value in row.values()) for row in progress["rows"]
        )
    )
