"""What the machine computes best with is asked of the machine, and does not change what is computed on a plain CPU."""

import os
import subprocess
import sys

import pytest
import torch

from maa import hardware
from maa.hardware import device, keep_memory, mixed_precision, precision


def test_the_device_is_one_that_can_compute():
    found = device()
    assert found.type == ("cuda" if torch.cuda.is_available() else "cpu")
    assert (torch.ones(2, device=found) * 2).sum().item() == 4


def test_bfloat16_is_used_only_where_it_pays(monkeypatch):
    a = torch.eye(4)
    for tiles, vectors, dtype in ((False, False, torch.float32), (True, False, torch.bfloat16), (False, True, torch.bfloat16)):
        monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: tiles)
        monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: vectors)
        with mixed_precision(torch.device("cpu")):
            assert (a @ a).dtype == dtype


def test_an_older_torch_that_cannot_be_asked_computes_in_float32(monkeypatch):
    for name in ("_is_amx_tile_supported", "_is_avx512_bf16_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert precision(torch.device("cpu")) == "float32"
    with mixed_precision(torch.device("cpu")):
        assert (torch.eye(4) @ torch.eye(4)).dtype == torch.float32


@pytest.mark.parametrize(
    "capability, name", [((6, 1), "float32"), ((7, 5), "float32"), ((8, 0), "bfloat16"), ((9, 0), "bfloat16")]
)
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(monkeypatch, capability, name):
    """A T4 has (7, 5), and torch.cuda.is_bf16_supported() says True there."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    assert precision(torch.device("cuda")) == name


def test_keeping_memory_harms_nothing_and_twice_is_once():
    a = torch.arange(4_000_000.0)
    keep_memory(), keep_memory()
    assert (a + torch.ones(4_000_000)).sum().item() == pytest.approx(a.sum().item() + 4_000_000, rel=1e-6)


class Library:
    """A C library with the functions given."""

    def __init__(self, **functions):
        self.__dict__.update(functions)


def test_only_glibc_is_told_to_keep_memory(monkeypatch):
    options, opened = [], []

    def library(functions):
        return lambda name: opened.append(name) or Library(**functions)

    mallopt = {"mallopt": lambda option, value: options.append((option, value)) or 1}
    for platform in ("darwin", "win32"):  # where the C library is not even opened
        monkeypatch.setattr(sys, "platform", platform)
        monkeypatch.setattr(hardware.ctypes, "CDLL", library(mallopt))
        assert keep_memory() is None and options == opened == []
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(hardware.ctypes, "CDLL", library({}))  # musl
    assert keep_memory() is None and opened == [None]
    monkeypatch.setattr(hardware.ctypes, "CDLL", library(mallopt))
    keep_memory()
    assert dict(options) == {-3: 2**30, -1: 2**31 - 1}  # as malloc.h numbers them; both fit the int they are given as


@pytest.mark.skipif(not hasattr(os, "confstr") or "CS_GNU_LIBC_VERSION" not in os.confstr_names, reason="only glibc is told")
def test_freed_memory_is_used_again_without_the_kernel():
    """Counts the pages that the kernel clears for a tensor of 40 MB that is made and dropped over and over."""
    code = """
import resource, torch
from maa.hardware import keep_memory

def faults(times):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(times):
        torch.ones(10_000_000)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

before = faults(5)
keep_memory()
faults(20)  # until the heap has grown to hold it
print(before, faults(5))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after < 0.2 * before, done.stdout
