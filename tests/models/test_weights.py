"""Tests of maa.models.weights: what is written is what is read, and nothing else passes for it."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import load_file, save_file

from maa.errors import MaaError
from maa.models import HGN, PRN, load_weights, save_weights


@pytest.fixture
def hgn(seasoned):
    torch.manual_seed(0)
    return seasoned(HGN(4)).to(memory_format=torch.channels_last)


def sentence(error, path):
    text = str(error.value)
    return str(path) in text and text.endswith(".") and "\n" not in text


def test_hgn_comes_back_bit_for_bit(hgn, tmp_path):
    path = tmp_path / "new folder" / "a.safetensors"
    save_weights(hgn.train(), path)
    model = load_weights(path, HGN)
    assert not model.training and model.width == 4
    assert model.state_dict().keys() == hgn.state_dict().keys()
    assert all(torch.equal(value, hgn.state_dict()[name]) for name, value in model.state_dict().items())
    assert model.trunk.convolutions[3].weight.is_contiguous(memory_format=torch.channels_last)
    patches = torch.randint(256, (3, 45, 45, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.equal(model(patches), hgn.eval()(patches))


def test_reading_weights_does_not_import_the_compiler_of_pytorch(hgn, tmp_path):
    """Which takes seconds, and which PyTorch imports to draw weights that have no storage."""
    save_weights(hgn, tmp_path / "a.safetensors")
    code = "import sys; from maa.models import HGN, load_weights; load_weights(sys.argv[1], HGN); sys.exit('torch._dynamo' in sys.modules)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.safetensors"], check=True)


def test_half_takes_half_the_room_and_reads_as_the_nearest_float16(hgn, tmp_path):
    whole, half = tmp_path / "whole.safetensors", tmp_path / "half.safetensors"
    save_weights(hgn, whole)
    save_weights(hgn, half, half=True)
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    model = load_weights(half, HGN)
    for name, value in model.state_dict().items():
        known = hgn.state_dict()[name]
        assert value.dtype == known.dtype
        assert torch.equal(value, known.half().to(known.dtype) if known.is_floating_point() else known)


@pytest.mark.parametrize("depth, patch", [(6, 29), (10, 61)])
def test_hgn_comes_back_with_its_depth(seasoned, tmp_path, depth, patch):
    torch.manual_seed(0)
    hgn = seasoned(HGN(3, depth))
    save_weights(hgn, tmp_path / "a.safetensors")
    model = load_weights(tmp_path / "a.safetensors", HGN)
    assert (model.width, model.depth, model.patch_size) == (3, depth, patch)
    patches = torch.randint(256, (3, patch, patch, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert torch.allclose(model(patches), hgn(patches), atol=1e-4)  # another memory layout, another order of summing


@pytest.mark.parametrize("depth, scales", [(8, "both"), (6, "1x"), (10, "0.5x")])
def test_prn_is_built_with_its_own_arguments(seasoned, tmp_path, depth, scales):
    torch.manual_seed(1)
    prn = seasoned(PRN(3, 17, depth, scales))
    save_weights(prn, tmp_path / "p.safetensors")
    model = load_weights(tmp_path / "p.safetensors", PRN)
    assert (model.width, model.embedding_size, model.depth, model.scales) == (3, 17, depth, scales)
    assert model.state_dict().keys() == prn.state_dict().keys()
    assert all(torch.equal(value, prn.state_dict()[name]) for name, value in model.state_dict().items())
    patches = torch.randint(256, (3, 2, prn.patch_size, prn.patch_size, 3), dtype=torch.uint8)
    with torch.inference_mode():
        assert all(torch.allclose(one, other, atol=1e-4) for one, other in zip(model(patches), prn(patches)))


def test_the_file_does_not_depend_on_the_memory_layout(hgn, tmp_path):
    save_weights(hgn, tmp_path / "a.safetensors")
    save_weights(hgn.to(memory_format=torch.contiguous_format), tmp_path / "b.safetensors")
    assert (tmp_path / "a.safetensors").read_bytes() == (tmp_path / "b.safetensors").read_bytes()
    assert load_file(tmp_path / "a.safetensors")["trunk.convolutions.1.weight"].dtype == torch.float32


def fail(*_):
    raise OSError("the disk is full")


def test_a_write_that_fails_keeps_the_old_file_and_leaves_no_other(hgn, tmp_path, monkeypatch):
    path = tmp_path / "a.safetensors"
    save_weights(hgn, path)
    before = path.read_bytes()
    monkeypatch.setattr("maa.provenance.os.replace", fail)
    with pytest.raises(MaaError, match="full"):
        save_weights(hgn, path)
    assert path.read_bytes() == before and os.listdir(tmp_path) == ["a.safetensors"]


def test_missing_weights(tmp_path):
    with pytest.raises(MaaError, match="no weights") as error:
        load_weights(tmp_path / "none.safetensors", HGN)
    assert sentence(error, tmp_path / "none.safetensors")


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "foreign", "no json"])
def test_a_damaged_or_foreign_file(hgn, tmp_path, damage):
    path = tmp_path / "a.safetensors"
    save_weights(hgn, path)
    content = path.read_bytes()
    if damage == "truncated":
        path.write_bytes(content[: len(content) // 2])
    elif damage == "empty":
        path.write_bytes(b"")
    elif damage == "text":
        path.write_text("these are no weights\n" * 20)
    elif damage == "foreign":
        save_file({"a": torch.zeros(2)}, path)
    else:
        save_file({"a": torch.zeros(2)}, path, metadata={"maa": "{"})
    with pytest.raises(MaaError, match="not a weights file") as error:
        load_weights(path, HGN)
    assert sentence(error, path)


def test_another_architecture(hgn, tmp_path):
    path = tmp_path / "a.safetensors"
    save_weights(hgn, path)
    with pytest.raises(MaaError, match="HGN, not of PRN") as error:
        load_weights(path, PRN)
    assert sentence(error, path)


def test_an_architecture_that_is_not_known_is_named_with_those_that_are(hgn, tmp_path):
    path = tmp_path / "a.safetensors"
    tensors = {name: value.contiguous() for name, value in hgn.state_dict().items()}
    save_file(tensors, path, {"maa": json.dumps({"architecture": "Transformer", "arguments": {}})})
    with pytest.raises(MaaError, match="Transformer, not of HGN") as error:
        load_weights(path, HGN)
    assert sentence(error, path)


@pytest.mark.parametrize("arguments", [
    {"width": 1_000_000, "depth": 8}, {"width": [1], "depth": 8}, {"width": -1, "depth": 8}, {"width": True, "depth": 8}, {"width": 4}, [], "x", {"width": "4", "depth": 8},
    {"width": 4, "depth": 8, "more": 1}, None,
])  # fmt: skip
def test_a_header_that_no_network_of_ours_has_is_refused_before_anything_is_allocated(hgn, tmp_path, arguments, monkeypatch):
    path = tmp_path / "a.safetensors"
    tensors = {name: value.contiguous() for name, value in hgn.state_dict().items()}
    save_file(tensors, path, {"maa": json.dumps({"architecture": "HGN", "arguments": arguments})})
    monkeypatch.setattr(HGN, "__init__", lambda *a, **k: pytest.fail("built"))
    with pytest.raises(MaaError, match="damaged"):
        load_weights(path, HGN)


@pytest.mark.parametrize(
    "arguments", [{"width": 4096, "depth": 8}, {"width": 4, "depth": 4096}, {"width": 4096, "depth": 4096}]
)
def test_a_header_that_its_tensors_do_not_bear_out_is_refused_before_anything_is_allocated(
    hgn, tmp_path, arguments, monkeypatch
):
    path = tmp_path / "a.safetensors"
    tensors = {name: value.contiguous() for name, value in hgn.state_dict().items()}
    save_file(tensors, path, {"maa": json.dumps({"architecture": "HGN", "arguments": arguments})})
    built, build = [], HGN.__init__

    def spy(self, *args, **kwargs):
        build(self, *args, **kwargs)
        built.extend(parameter.device.type for parameter in self.parameters())

    monkeypatch.setattr(HGN, "__init__", spy)
    with pytest.raises(MaaError, match="another version") as error:
        load_weights(path, HGN)
    assert sentence(error, path) and set(built) <= {"meta"}


@pytest.mark.parametrize("change", [
    lambda tensors: tensors | {"head.bias": torch.zeros(2)}, lambda tensors: tensors | {"more": torch.zeros(1)},
    lambda tensors: {name: value for name, value in tensors.items() if name != "head.bias"},
])  # fmt: skip
def test_tensors_that_are_not_the_networks(hgn, tmp_path, change):
    path = tmp_path / "a.safetensors"
    tensors = change({name: value.contiguous() for name, value in hgn.state_dict().items()})
    save_file(tensors, path, {"maa": json.dumps({"architecture": "HGN", "arguments": {"width": 4, "depth": 8}})})
    with pytest.raises(MaaError, match="another version") as error:
        load_weights(path, HGN)
    assert sentence(error, path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers(hgn, tmp_path, value):
    with torch.no_grad():
        hgn.head.bias.fill_(value)
    save_weights(hgn, tmp_path / "a.safetensors")
    with pytest.raises(MaaError, match="damaged") as error:
        load_weights(tmp_path / "a.safetensors", HGN)
    assert sentence(error, tmp_path / "a.safetensors")


def test_weights_are_read_from_regular_files_only(tmp_path):
    os.mkfifo(tmp_path / "a.safetensors")
    with pytest.raises(MaaError, match="not a weights file") as error:
        load_weights(tmp_path / "a.safetensors", HGN)
    assert sentence(error, tmp_path / "a.safetensors")


def test_the_scales_of_a_prn_that_there_are_not(seasoned, tmp_path):
    prn = seasoned(PRN(3, 17))
    arguments = {"width": 3, "embedding_size": 17, "depth": 8, "scales": "4x"}
    tensors = {name: value.contiguous() for name, value in prn.state_dict().items()}
    save_file(tensors, tmp_path / "p.safetensors", {"maa": json.dumps({"architecture": "PRN", "arguments": arguments})})
    with pytest.raises(MaaError, match="another version"):
        load_weights(tmp_path / "p.safetensors", PRN)


def test_weights_of_another_version_of_the_architecture(hgn, tmp_path):
    path = tmp_path / "a.safetensors"
    metadata = {"architecture": "HGN", "arguments": {"width": 5, "depth": 8}}
    save_file({name: value.contiguous() for name, value in hgn.state_dict().items()}, path, {"maa": json.dumps(metadata)})
    with pytest.raises(MaaError, match="another version") as error:
        load_weights(path, HGN)
    assert sentence(error, path)
