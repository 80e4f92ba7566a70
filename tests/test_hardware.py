"""What the machine computes best with is asked of the machine, and does not change what is computed on a plain CPU."""

import torch

from maa.hardware import device, mixed_precision


def test_the_device_is_one_that_can_compute():
    on = device()
    assert on.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (torch.ones(2, device=on) * 2).sum().item() == 4


def test_bfloat16_is_used_only_where_it_pays(monkeypatch):
    a = torch.eye(4)
    for tiles, dtype in ((False, torch.float32), (True, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
        with mixed_precision(torch.device("cpu")):
            assert (a @ a).dtype == dtype
