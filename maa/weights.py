"""Weights on disk: safetensors files that say what they are the weights of."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import nn

from maa.errors import MaaError
from maa.hgn import HGN
from maa.prn import PRN
from maa.unet import UNet

_ARCHITECTURES = {"HGN": HGN, "PRN": PRN, "UNet": UNet}


def save_weights(model: nn.Module, path, half: bool = False, **about) -> None:
    """Write a model's weights, with what is needed to build it again.

    Parameters
    ----------
    model : HGN, PRN or UNet
    path : path-like
        A ``.safetensors`` file; replaced in one step, so a half-written one is never left behind.
    half : bool
        Keep numbers in float16: half the size, for weights that are only run and never trained on.
    **about
        Further facts to keep in the file's header (anything JSON can hold), for example ``scale=0.5``.

    Notes
    -----
    Weights are kept in the default memory layout, so the file does not depend on the machine.
    """
    path = Path(path)
    arguments = {name: getattr(model, name) for name in _ARGUMENTS[type(model)]}
    about = {"architecture": type(model).__name__, "arguments": arguments, **about}
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in model.state_dict().items()}
    if half:
        tensors = {name: tensor.half() if tensor.is_floating_point() else tensor for name, tensor in tensors.items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_bytes(save(tensors, metadata={"maa": json.dumps(about)}))
    os.replace(partial, path)


_ARGUMENTS = {HGN: ("width", "depth"), PRN: ("width", "embedding_size", "depth", "scales"), UNet: ("width",)}


def load_weights(path, architecture: str | None = None) -> tuple[nn.Module, dict]:
    """Build the model that a weights file describes, ready for inference.

    Parameters
    ----------
    path : path-like
    architecture : {"HGN", "PRN", "UNet"}, optional
        What the file has to hold.

    Returns
    -------
    model : HGN, PRN or UNet
        In evaluation mode, channels-last, on the CPU.
    about : dict
        Everything `save_weights` was told.

    Raises
    ------
    MaaError
        When the file is missing, is not a weights file of this package, or holds another architecture.
    """
    path = Path(path)
    if not path.exists():
        raise MaaError(f"There are no weights at {path}: train them with `maa train`, or name another folder.")
    try:
        with safe_open(path, "pt") as file:
            about = json.loads((file.metadata() or {})["maa"])
        tensors = load(path.read_bytes())
    except (SafetensorError, KeyError, json.JSONDecodeError, OSError):
        raise MaaError(f"{path} is not a weights file of maa, or is damaged: train it anew with `maa train`.") from None
    found = about.get("architecture")
    if found not in _ARCHITECTURES or found != (architecture or found):
        wanted = architecture or " or ".join(_ARCHITECTURES)
        raise MaaError(f"{path} holds the weights of {found}, not of {wanted}: name the file that holds those.")
    model = _ARCHITECTURES[found](**about["arguments"])
    try:
        model.load_state_dict(tensors)
    except RuntimeError:
        raise MaaError(
            f"{path} holds weights of another version of {found}, which do not fit: train it anew with `maa train`."
        ) from None
    return model.eval().to(memory_format=torch.channels_last), about


def network_fingerprint(networks: Iterable[nn.Module]) -> str:
    """SHA-256 (hexadecimal) of every parameter of some networks: the same weights have the same, wherever they lie."""
    digest = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items():
            digest.update(name.encode())
            digest.update(value.cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()
