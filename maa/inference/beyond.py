"""The system beyond the paper: its first stage, U-Nets, and a second stage that saw diseased ground."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from torch import nn

from maa.data.stacks import ImageStack
from maa.errors import MaaError
from maa.hardware import device
from maa.inference.candidates import hypotheses, refine, score_hypotheses
from maa.inference.fusion import mean_log_odds
from maa.inference.maps import dense_map, upsample
from maa.inference.system import ROWS, Settings, System, field_of, image_of, read_settings, write_settings
from maa.models.prn import PRN
from maa.models.unet import UNet
from maa.models.weights import load_weights

BEYOND_ROWS = {
    "hgn_1x_long": "HGN 1x, as many patches as the whole system",
    "hgn_half_long": "HGN 0.5x, as many patches as the whole system",
    "unet": "U-Net 0.5x",
    "unet_mirrored": "U-Net 0.5x, mirrored four ways",
    "unets": "two U-Nets 0.5x, mirrored four ways",
    "all": "U-Nets and HGNs, mean log-odds",
    "all_control": "+ candidates, without a network",
    "all_prn": "+ PRN, cross-entropy only",
    "all_prn_unlabelled": "+ PRN that was shown the healthy ground of diseased patients too",
}
#: The row that ships: see `Beyond`.
LAST = "all_prn_unlabelled"
#: The rows of `Beyond` that the paper's system does not have.
OWN = ("unets", "all", LAST)
#: File name of its refinement network.
PRN_FILE = "prn.safetensors"
#: Side of the tiles that a U-Net is run on.
UNET_TILE = 512
#: Where the weights of this track lie in a folder of weights.
FOLDER = "beyond"


@dataclass(frozen=True, eq=False)
class Beyond:
    """Both tracks: the paper's system, and what its first stage and U-Nets give together.

    Attributes
    ----------
    paper : System
        With both of its hypothesis generation networks.
    unets : tuple of UNet
        At 0.5x.
    prn : PRN
        The refinement network of this track.
    settings : Settings
        Of this track, chosen on validation; its thresholds include those of the paper's rows.
    """

    paper: System
    unets: tuple[UNet, ...]
    prn: PRN
    settings: Settings

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> Beyond:
        """Read the paper's system from a folder of weights, and the rest from `FOLDER` in it.

        Raises
        ------
        MaaError
            When there is no U-Net, a network is missing, or a file is damaged.
        """
        own = Path(folder) / FOLDER
        files = sorted(own.glob("unet-0.5x-*.safetensors"))
        if not files:
            raise MaaError(f"{own} holds no U-Net (unet-0.5x-*.safetensors): name another folder of weights.")
        paper, settings = System.load(folder), read_settings(own)
        settings = replace(
            settings,
            weights=paper.settings.weights | settings.weights,
            thresholds=paper.settings.thresholds | settings.thresholds,
            precisions=paper.settings.precisions | settings.precisions,
        )
        unets = tuple(load_weights(file, UNet).to(device()) for file in files)
        return cls(paper, unets, load_weights(own / PRN_FILE, PRN).to(device()), settings)

    @property
    def rows(self) -> list[str]:
        """The keys of the maps that `maps` gives, each after those that it builds on."""
        return [*self.paper.rows, *OWN]

    @property
    def final(self) -> str:
        """The row to use, as `System.final`."""
        return self.settings.final(self.rows)

    @property
    def networks(self) -> list[nn.Module]:
        """All networks of both tracks."""
        return [*self.paper.networks, *self.unets, self.prn]

    def maps(
        self, stacks: tuple[ImageStack, ImageStack], index: int = 0, rows: Collection[str] | None = None
    ) -> dict[str, np.ndarray]:
        """The paper's maps, then the mean of the U-Nets, that of all networks, and that refined; as `System.maps`."""
        rows = self.rows if rows is None else rows
        maps = self.paper.maps(stacks, index, {*rows, "fused"})
        if not set(rows).isdisjoint(OWN):
            maps |= self.together(maps["fused"], stacks, index)
        if LAST in rows:
            ((_, maps[LAST]),) = self.refined(maps["all"], stacks, [self.settings.weight(LAST)], index)
        return {row: map_ for row, map_ in maps.items() if row in rows}

    def tried(self, stacks: tuple[ImageStack, ImageStack], weights: Sequence[float]) -> Iterator[tuple[Hashable, np.ndarray]]:
        """Every map of both tracks that settings are chosen by; as `System.tried`."""
        fused = np.empty(0, np.uint16)
        for key, map_ in self.paper.tried(stacks, weights):
            if key == "fused":
                fused = map_
            yield key, map_
        own = self.together(fused, stacks)
        yield from own.items()
        yield from self.refined(own["all"], stacks, weights)

    def together(self, fused: np.ndarray, stacks: tuple[ImageStack, ImageStack], index: int = 0) -> dict[str, np.ndarray]:
        """The mean of the U-Nets, "unets", and its mean with the fused map of the paper's first stage, "all"."""
        unets = mean_log_odds([mirrored_map(unet, stacks, index) for unet in self.unets])
        return {"unets": unets, "all": mean_log_odds([unets, fused])}

    def refined(
        self, base: np.ndarray, stacks: tuple[ImageStack, ImageStack], weights: Sequence[float], index: int = 0
    ) -> Iterator[tuple[tuple[str, float], np.ndarray]]:
        """The map "all" refined with each of some weights: pairs of (`LAST`, weight) and map."""
        found = hypotheses(base, self.settings.hypothesis)
        opinions = score_hypotheses(self.prn, stacks, index, found.centres)
        for weight in weights:
            yield (LAST, weight), refine(base, found, opinions, weight)


def write_both_settings(settings: Settings, folder: str | os.PathLike[str]) -> None:
    """Write the settings of both tracks, each part beside its own weights in a folder."""

    def part(of_track: Callable[[str], bool]) -> Settings:
        weights, thresholds, precisions = (
            {row: value for row, value in chosen.items() if of_track(row)}
            for chosen in (settings.weights, settings.thresholds, settings.precisions)
        )
        return replace(settings, weights=weights, thresholds=thresholds, precisions=precisions)

    write_settings(part(ROWS.__contains__), folder)
    write_settings(part(OWN.__contains__), Path(folder) / FOLDER)


def mirrored_map(unet: UNet, stacks: tuple[ImageStack, ImageStack], index: int, ways: int = 4) -> np.ndarray:
    """A U-Net's map of a photograph at native resolution, the mean log-odds over its mirror images.

    Parameters
    ----------
    unet : UNet
        At 0.5x.
    stacks : tuple of ImageStack
        At 1x and at 0.5x.
    index : int
        Which photograph of the stacks.
    ways : {1, 2, 4}
        As it is; also upside down; also left and right.

    Returns
    -------
    ndarray, shape (H, W), uint16
    """
    native, half = stacks
    image, fov = image_of(half, index), field_of(half, index)
    maps = []
    for down, right in ((1, 1), (-1, 1), (1, -1), (-1, -1))[:ways]:
        seen, inside = (np.ascontiguousarray(array[::down, ::right]) for array in (image, fov))
        maps.append(dense_map(unet, seen, inside, tile=UNET_TILE)[::down, ::right])
    return upsample(mean_log_odds(maps), tuple(native.shapes[index]))
