"""The whole system: the trained networks, the settings chosen on validation, and what they say of a photograph."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
from torch import nn

from maa.data.stacks import FOV, MARGIN, ImageStack
from maa.errors import MaaError
from maa.hardware import device
from maa.inference.candidates import Hypotheses, hypotheses, refine, score_hypotheses
from maa.inference.fusion import fuse
from maa.inference.maps import FULL_SCALE, dense_map, upsample
from maa.models.hgn import HGN
from maa.models.prn import PRN
from maa.models.weights import load_weights
from maa.provenance import write_json

#: File names of the networks in a folder of weights, by what they are called in it.
FILES = {
    "hgn_1x": "hgn-1x.safetensors",
    "hgn_half": "hgn-0.5x.safetensors",
    "prn_cross_entropy": "prn-cross-entropy.safetensors",
    "prn_sampling": "prn-sampling.safetensors",
    "prn_triplet": "prn-triplet.safetensors",
    "prn_full": "prn.safetensors",
}
SETTINGS = "settings.json"
_MOST_BYTES = 2**20  # of a file of settings; ours have a thousand
#: The rows of the table, each after those that it builds on: the paper's Table 2 as far as it was read, a control that decides
#: candidate by candidate without a network, and second stages with none, one and both of the paper's two ideas.
ROWS = {
    "hgn_1x": "HGN 1x",
    "hgn_half": "HGN 0.5x",
    "fused": "HGN geometric",
    "control": "+ candidates, without a network",
    "prn_cross_entropy": "+ PRN, cross-entropy only",
    "prn_sampling": "+ PRN, selective sampling",
    "prn_triplet": "+ PRN, triplet loss",
    "prn_full": "+ PRN, both: the full system",
}
FIRST_STAGE = ("hgn_1x", "hgn_half", "fused")
SECOND_STAGE = tuple(row for row in ROWS if row not in FIRST_STAGE)
#: The row of the paper's whole system.
FULL_SYSTEM = "prn_full"


@dataclass(frozen=True)
class Settings:
    """What is chosen on validation and then left alone.

    Attributes
    ----------
    hypothesis : float
        Fused probability from which a pixel belongs to a hypothesis.
    weights : dict of str to float, 0 to 1
        Of each second stage against the map that it refines (see `maa.inference.refine`); `WEIGHT` where there is none.
    thresholds : dict of str to float
        For each row, the probability from which a pixel is called a microaneurysm.
    precisions : dict of str to float
        Average precision of each row on the photographs that chose all this.  The row with the highest is the one to use.
    """

    #: The weight of a second stage for which none was chosen.
    WEIGHT: ClassVar[float] = 0.5

    hypothesis: float = 0.001
    weights: dict[str, float] = field(default_factory=dict)
    thresholds: dict[str, float] = field(default_factory=dict)
    precisions: dict[str, float] = field(default_factory=dict)

    def final(self, rows: Sequence[str]) -> str:
        """The row to use: the one that validation found best, of equals the first; or else the last."""
        known = [row for row in rows if row in self.precisions]
        return max(known, key=self.precisions.__getitem__) if known else rows[-1]

    def weight(self, row: str) -> float:
        """The weight of a second stage."""
        return self.weights.get(row, self.WEIGHT)


class AnySystem(Protocol):
    """What there is to a system, whichever its track: the paper's (`System`) or the one beyond it (`maa.inference.Beyond`)."""

    @property
    def settings(self) -> Settings:
        """What was chosen on validation."""

    @property
    def rows(self) -> list[str]:
        """The maps that `maps` gives, each after those that it builds on."""

    @property
    def final(self) -> str:
        """The row to use."""

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that are there."""

    def maps(
        self, stacks: tuple[ImageStack, ImageStack], index: int = 0, rows: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Probability maps of a photograph (see `System.maps`)."""

    def tried(self, stacks: tuple[ImageStack, ImageStack], weights: Sequence[float]) -> Iterator[tuple[Hashable, np.ndarray]]:
        """Every map of a photograph that settings are chosen by (see `System.tried`)."""


@dataclass(frozen=True, eq=False)
class System:
    """Two hypothesis generation networks and, unless it is a baseline, refinement networks.

    Explained in ch:fusion and ch:refinement; used on new photographs in ch:yours.

    Attributes
    ----------
    hgn_1x, hgn_half : HGN or None
    prns : mapping of str to PRN
        By their rows: the second stages that are there.
    settings : Settings
    """

    hgn_1x: HGN | None = None
    hgn_half: HGN | None = None
    prns: Mapping[str, PRN] = field(default_factory=dict)
    settings: Settings = Settings()

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> System:
        """Read the networks and settings of a folder of weights, onto what this machine computes best with; what is absent is left out.

        Raises
        ------
        MaaError
            When the folder holds no hypothesis generation network, or a file of it is damaged.
        """
        folder = Path(folder)
        there = {name: folder / file for name, file in FILES.items() if (folder / file).exists()}
        hgns = {name: load_weights(there.pop(name), HGN).to(device()) for name in ("hgn_1x", "hgn_half") if name in there}
        if not hgns:
            raise MaaError(
                f"{folder} holds no {FILES['hgn_1x']} and no {FILES['hgn_half']}: "
                "train them with `maa train hgn-1x` and `maa train hgn-0.5x`, or name another folder."
            )
        prns = {name: load_weights(file, PRN).to(device()) for name, file in there.items()}
        return cls(**hgns, prns=prns, settings=read_settings(folder))

    @property
    def rows(self) -> list[str]:
        """The keys of `ROWS` that `maps` gives, in their order; the control only beside a second stage that it controls."""
        rows = {row for row in ("hgn_1x", "hgn_half") if getattr(self, row) is not None}
        rows |= {"fused"} if len(rows) == 2 else set()
        rows |= {"control"} if "fused" in rows and self.prns else set()
        return [row for row in ROWS if row in rows or row in self.prns]

    @property
    def final(self) -> str:
        """The row to use: the one that validation found best; where nothing was chosen, the last one that the networks allow."""
        return self.settings.final(self.rows)

    @property
    def networks(self) -> list[nn.Module]:
        """The networks that are there."""
        return [network for network in (self.hgn_1x, self.hgn_half, *self.prns.values()) if network is not None]

    def maps(
        self, stacks: tuple[ImageStack, ImageStack], index: int = 0, rows: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """Probability maps of a photograph.

        Parameters
        ----------
        stacks : tuple of ImageStack
            At 1x and at 0.5x (`maa.data.stack_photograph` makes them of one photograph).
        index : int
            Which photograph of the stacks.
        rows : collection of str, optional
            The maps that are wanted: keys of `ROWS`.  By default all that the networks allow.

        Returns
        -------
        dict of str to ndarray, shape (H, W), uint16
            By row, at native resolution.
        """
        rows = self.rows if rows is None else rows
        maps = self.first_stage(stacks, index)
        second = [row for row in self.rows if row in rows and row in SECOND_STAGE]
        if second:
            base = self.base(maps)
            found = hypotheses(base, self.settings.hypothesis)
            for row in second:
                maps[row] = refine(base, found, self.opinions(row, base, found, stacks, index), self.settings.weight(row))
        return {row: map_ for row, map_ in maps.items() if row in rows}

    def tried(self, stacks: tuple[ImageStack, ImageStack], weights: Sequence[float]) -> Iterator[tuple[Hashable, np.ndarray]]:
        """Every map of a photograph that settings are chosen by, one at a time.

        Parameters
        ----------
        stacks : tuple of ImageStack
            Of one photograph, at 1x and at 0.5x.
        weights : sequence of float
            Of each second stage.

        Yields
        ------
        (row, map) of the first stage, ((row, weight), map) of each second stage
        """
        maps = self.first_stage(stacks)
        yield from maps.items()
        base = self.base(maps)
        found = self.hypotheses(base)
        for row in (row for row in self.rows if row in SECOND_STAGE):
            opinions = self.opinions(row, base, found, stacks)
            yield from (((row, weight), refine(base, found, opinions, weight)) for weight in weights)

    def first_stage(self, stacks: tuple[ImageStack, ImageStack], index: int = 0) -> dict[str, np.ndarray]:
        """The maps of the rows of `FIRST_STAGE` that the networks allow; parameters and values as `maps`."""
        maps = {}
        for name, model, stack in zip(("hgn_1x", "hgn_half"), (self.hgn_1x, self.hgn_half), stacks):
            if model is not None:
                probability = dense_map(model, image_of(stack, index), field_of(stack, index))
                maps[name] = probability if stack.scale == 1 else upsample(probability, tuple(stacks[0].shapes[index]))
        return maps | ({"fused": fuse(list(maps.values()))} if len(maps) == 2 else {})

    def opinions(
        self, row: str, base: np.ndarray, found: Hypotheses, stacks: tuple[ImageStack, ImageStack], index: int = 0
    ) -> np.ndarray:
        """The probability, shape (K,), that a second stage gives to each candidate; the control, that of the map at its centre."""
        if row == "control":
            return base[tuple(found.centres.T)] / FULL_SCALE
        return score_hypotheses(self.prns[row], stacks, index, found.centres)

    @staticmethod
    def base(maps: Mapping[str, np.ndarray]) -> np.ndarray:
        """The map of the first stage that the second refines: the fused one, or that of the only scale."""
        return maps.get("fused", next(iter(maps.values())))

    def hypotheses(self, fused: np.ndarray) -> Hypotheses:
        """The candidates of a fused map, at the chosen threshold."""
        return hypotheses(fused, self.settings.hypothesis)


def read_settings(folder: str | os.PathLike[str]) -> Settings:
    """The settings beside the weights of a folder; the defaults where there are none.

    Raises
    ------
    MaaError
        When the file is damaged.
    """
    path = Path(folder) / SETTINGS
    if not path.exists():
        return Settings()
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise ValueError("no settings of ours")
        settings = Settings(**json.loads(path.read_text(encoding="utf-8")))
        shares = (*settings.weights.values(), *settings.thresholds.values(), *settings.precisions.values())
        for share in (settings.hypothesis, *shares):
            if isinstance(share, bool) or not 0 <= share <= 1:
                raise ValueError(f"{share} is no share")
    except (ValueError, TypeError, AttributeError, RecursionError, OSError):
        raise MaaError(f"{path} is damaged: write it anew with `maa evaluate --split validation`.") from None
    return settings


def write_settings(settings: Settings, folder: str | os.PathLike[str]) -> None:
    """Write settings beside the weights of a folder."""
    write_json(Path(folder) / SETTINGS, asdict(settings))


def image_of(stack: ImageStack, index: int) -> np.ndarray:
    """A normalised photograph of a stack without its margin, shape (H, W, 3), uint8."""
    return stack.image(index)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def field_of(stack: ImageStack, index: int) -> np.ndarray:
    """The field of view of a photograph of a stack, shape (H, W), bool."""
    return (stack.label(index) & FOV) > 0
