"""Weights on disk: safetensors files that say what they are the weights of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import nn
from torch.overrides import TorchFunctionMode

from maa.errors import MaaError
from maa.hardware import in_channels_last
from maa.models.hgn import HGN
from maa.models.prn import PRN
from maa.models.unet import UNet
from maa.provenance import write_in_one_step

#: What the networks are built with.
_ARGUMENTS: dict[type[nn.Module], tuple[str, ...]] = {
    HGN: ("width", "depth"),
    PRN: ("width", "embedding_size", "depth", "scales", "projected"),
    UNet: ("width",),
}
#: Arguments that files from before them do not name.
_LATER: dict[type[nn.Module], dict[str, Any]] = {PRN: {"projected": False}}
_LARGEST = 4096  # a width or depth beyond this is no network of ours
Network = TypeVar("Network", HGN, PRN, UNet)


def save_weights(model: nn.Module, path: str | os.PathLike[str], half: bool = False) -> None:
    """Write a model's weights, with what is needed to build it again.

    Parameters
    ----------
    model : HGN, PRN or UNet
    path : path-like
        A ``.safetensors`` file; replaced in one step, so a half-written one is never left behind.
    half : bool
        Keep numbers in float16: half the size, for weights that are only run and never trained on.

    Notes
    -----
    Weights are kept in the default memory layout, so the file does not depend on the machine.
    """
    arguments = {name: getattr(model, name) for name in _ARGUMENTS[type(model)]}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    header = {"maa": json.dumps({"architecture": type(model).__name__, "arguments": arguments})}
    write_in_one_step(path, lambda file: file.write(save(tensors, metadata=header)))


def load_weights(path: str | os.PathLike[str], architecture: type[Network]) -> Network:
    """Build the model that a weights file describes, ready for inference.

    Parameters
    ----------
    path : path-like
    architecture : type
        HGN, PRN or UNet: what the file has to hold.

    Returns
    -------
    HGN, PRN or UNet
        In evaluation mode, channels-last, on the CPU.

    Raises
    ------
    MaaError
        When the file is missing, is not a weights file of this package, or holds another architecture.
    """
    path = Path(path)
    if not path.exists():
        raise MaaError(f"There are no weights at {path}: train them with `maa train`, or name another folder.")
    damaged = MaaError(f"{path} is not a weights file of maa, or is damaged: train it anew with `maa train`.")
    try:
        if not path.is_file():
            raise ValueError("a pipe would never end")
        with safe_open(path, "pt") as file:
            header = json.loads((file.metadata() or {})["maa"])
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}  # noqa: SIM118  # it is no mapping
        found, arguments = header["architecture"], _LATER.get(architecture, {}) | dict(header["arguments"])
    except (SafetensorError, KeyError, TypeError, ValueError, OSError, RecursionError):
        raise damaged from None
    if found != architecture.__name__:
        raise MaaError(f"{path} holds the weights of {found}, not of {architecture.__name__}: name the file that holds those.")
    sizes = [value for name, value in arguments.items() if name not in ("scales", "projected")]
    if arguments.keys() != set(_ARGUMENTS[architecture]) or not all(
        type(size) is int and 0 < size <= _LARGEST for size in sizes
    ):
        raise damaged
    try:
        # Where nothing is allocated, however large the header says that the network is; a layer has at least one tensor.
        if arguments.get("depth", 0) > len(shapes):
            raise ValueError("the tensors are not those of the header")
        with torch.device("meta"), _Undrawn():
            described = architecture(**arguments).state_dict()
        if shapes != {name: tuple(value.shape) for name, value in described.items()}:
            raise ValueError("the tensors are not those of the header")
        model = architecture(**arguments)
        model.load_state_dict(load(path.read_bytes()))
    except (RuntimeError, ValueError, TypeError, KeyError, SafetensorError, OSError):
        raise MaaError(
            f"{path} holds weights of another version of {found}, which do not fit: train it anew with `maa train`."
        ) from None
    if not all(torch.isfinite(value).all() for value in model.state_dict().values()):
        raise damaged
    in_channels_last(model.eval())
    return model


class _Undrawn(TorchFunctionMode):
    """No weights are drawn for a network that is only described: without storage, PyTorch imports its compiler (seconds) to draw them."""

    def __torch_function__(self, function: Any, types: Any, arguments: Any = (), options: Any = None) -> Any:
        return arguments[0] if function is torch.Tensor.normal_ else function(*arguments, **(options or {}))


def network_fingerprint(networks: Iterable[nn.Module]) -> str:
    """SHA-256 (hexadecimal) of every parameter of some networks: the same weights have the same, wherever they lie."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
