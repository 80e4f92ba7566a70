"""What this machine computes best with."""

import ctypes
import sys

import torch


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(on: torch.device):
    """Autocast to bfloat16 where it pays: on a GPU, and on a CPU that computes in bfloat16 itself.

    That is one with AMX or AVX512-BF16 instructions.  Elsewhere bfloat16 is emulated, and the convolutions of this
    package ran at half their float32 speed; benchmarks/speed.py compares the two on the machine at hand.
    """
    pays = on.type == "cuda" or torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported()
    return torch.autocast(on.type, torch.bfloat16, enabled=pays)


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
