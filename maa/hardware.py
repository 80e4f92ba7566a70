"""What this machine computes best with."""

from __future__ import annotations

import ctypes
import sys
from typing import TypeVar

import torch
from torch import nn

N = TypeVar("N", bound=nn.Module)


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def precision(device: torch.device) -> str:
    """What this machine multiplies in, "bfloat16" where that pays, else "float32".

    It pays on a GPU that computes in bfloat16 itself, and on a CPU that does: one with AMX or AVX512-BF16 instructions.  Elsewhere
    bfloat16 is emulated, and the convolutions of this package ran at half their float32 speed; benchmarks/bench.py compares the
    two on the machine at hand.
    """
    if device.type == "cuda":
        pays = torch.cuda.get_device_capability(device) >= (8, 0)  # a T4 only emulates it
    else:  # an older torch cannot be asked
        asked = (getattr(torch.cpu, name, None) for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"))
        pays = any(ask() for ask in asked if ask is not None)
    return "bfloat16" if pays else "float32"


def mixed_precision(device: torch.device) -> torch.autocast:
    """Autocast to bfloat16 where it pays (see `precision`)."""
    return torch.autocast(device.type, torch.bfloat16, enabled=precision(device) == "bfloat16")


def keep_memory() -> None:
    """Let the C library keep freed memory for the next large tensor, instead of giving it back.

    glibc asks the kernel anew for every block of some ten megabytes, and the kernel clears it page by
    page: half of the time of a training step on two cores.
    """
    if sys.platform == "linux":
        library = ctypes.CDLL(None)
        if hasattr(library, "mallopt"):
            trim_threshold, mmap_threshold = -1, -3  # M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of malloc.h
            library.mallopt(mmap_threshold, 1 << 30)
            library.mallopt(trim_threshold, (1 << 31) - 1)


def in_channels_last(model: N) -> N:
    """The model with its weights in the layout in which convolutions of photographs are fastest."""
    return model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's stub forgets it
