"""What this machine computes best with."""

import torch


def device() -> torch.device:
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def mixed_precision(on: torch.device):
    """Autocast to bfloat16 where it pays: on a GPU, and on a CPU with matrix (AMX) instructions.

    On CPUs that only have bfloat16 vector instructions, the convolutions of this package ran at half
    their float32 speed.
    """
    pays = on.type == "cuda" or torch.cpu._is_amx_tile_supported()
    return torch.autocast(on.type, torch.bfloat16, enabled=pays)
