"""Seeing the smallest lesion: microaneurysms in photographs of the retina, found in two stages.

The rooms, in the order in which data flow: `maa.data`, `maa.phantom`, `maa.models`, `maa.inference`, `maa.evaluation`, `maa.training`,
`maa.segmentation`, `maa.replication`, `maa.figures`, `maa.cli`.  Nothing imports from a room below its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maa.segmentation import load_system as load_system
    from maa.segmentation import segment as segment

__all__ = ["__version__", "load_system", "segment"]


def __getattr__(name: str) -> object:
    """What is used from the top of the package, imported when it is asked for: PyTorch takes a second."""
    if name == "__version__":
        from importlib.metadata import version

        return version("maa")
    if name in __all__:
        from maa import segmentation

        return getattr(segmentation, name)
    raise AttributeError(f"module 'maa' has no attribute {name!r}")
