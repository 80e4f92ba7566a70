"""Training on several devices at once: a process for each, as ``accelerate launch`` starts them.

Every process draws the same batch (a step's random numbers come from its seed), shows its share of it to the network, and is given
what the network said of all of it.  So the loss, the mining of triplets and the sampler see the whole batch in every process, as
one process alone would, and only the network's own work is divided.  What batch normalisation knows of a batch is summed over
the processes, and so are the gradients.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed
import torch.distributed.nn.functional
from torch import Tensor, nn

from maa.errors import MaaError
from maa.hardware import device

collective: Any = torch.distributed.nn.functional  # which torch has not annotated


def processes() -> int:
    """How many processes train together."""
    return int(os.environ.get("WORLD_SIZE", 1))


def is_first() -> bool:
    """Whether this is the process that writes files and speaks."""
    return int(os.environ.get("RANK", 0)) == 0


def join() -> None:
    """Meet the other processes, the first time: each then has a device of its own.

    Raises
    ------
    MaaError
        When Accelerate is not installed.
    """
    if processes() > 1 and not torch.distributed.is_initialized():
        try:
            from accelerate import PartialState
        except ImportError:
            raise MaaError("Accelerate is not installed, which several devices need: pip install 'maa[devices]'.") from None
        PartialState(cpu=device().type == "cpu")


def wait() -> None:
    """Let no process go on before all are here."""
    if processes() > 1:
        join()
        torch.distributed.barrier()


def share(model: nn.Module) -> None:
    """Let each process do its share of what a model is shown; where there is but one process, nothing changes."""
    if processes() > 1:
        join()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.forward = _Norm(module)  # type: ignore[method-assign, assignment]
        method = "grid" if hasattr(model, "grid") else "forward"  # of an HGN, whose `forward` asks its `grid`
        setattr(model, method, _shared(getattr(model, method)))


def _shared(function: Callable[[Tensor], Any]) -> Callable[[Tensor], Any]:
    """A function of a batch, whose rows are divided among the processes, and what it gives collected."""

    def whole(batch: Tensor) -> Any:
        count, rank = processes(), torch.distributed.get_rank()
        size = -(-len(batch) // count)
        if torch.is_grad_enabled() and len(batch) % count:
            raise MaaError(
                f"A batch of {len(batch)} cannot be divided among {count} processes: start a number that divides it."
            )
        padded = torch.cat([batch, batch[-1:].expand(size * count - len(batch), *batch.shape[1:])])
        given = function(padded[rank * size : (rank + 1) * size])
        parts = given if isinstance(given, tuple) else (given,)
        wholes = tuple(torch.cat(list(collective.all_gather(part.contiguous())))[: len(batch)] for part in parts)
        return wholes if isinstance(given, tuple) else wholes[0]

    return whole


class _Norm:
    """Batch normalisation by mean and variance of the whole batch; `torch.nn.SyncBatchNorm`, which does it too, needs a GPU."""

    def __init__(self, norm: nn.BatchNorm2d) -> None:
        self.norm = norm

    def __call__(self, x: Tensor) -> Tensor:
        norm, x32 = self.norm, x.float()
        if not norm.training:
            return type(norm).forward(norm, x)
        count = x.numel() // x.shape[1] * processes()
        mean = collective.all_reduce(x32.sum((0, 2, 3))) / count
        centred = x32 - mean[:, None, None]
        variance = collective.all_reduce(centred.square().sum((0, 2, 3))) / count
        with torch.no_grad():
            assert norm.running_mean is not None and norm.running_var is not None and norm.num_batches_tracked is not None
            assert norm.momentum is not None
            norm.num_batches_tracked += 1
            norm.running_mean.lerp_(mean, norm.momentum)
            norm.running_var.lerp_(variance * count / (count - 1), norm.momentum)
        gain = norm.weight * torch.rsqrt(variance + norm.eps)
        return (centred * gain[:, None, None] + norm.bias[:, None, None]).to(x.dtype)


def average(model: nn.Module) -> None:
    """Make the gradients of a model the mean over the processes."""
    if processes() > 1:
        for parameter in model.parameters():
            if parameter.grad is not None:
                torch.distributed.all_reduce(parameter.grad)
                parameter.grad /= processes()
