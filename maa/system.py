"""The whole system: the trained networks, the settings chosen on validation, and what they say of a photograph."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np

from maa.errors import MaaError
from maa.hgn import HGN
from maa.inference import Hypotheses, dense_map, double, fuse, hypotheses, refine, score_hypotheses
from maa.patches import FOV, MARGIN, ImageStack
from maa.prn import PRN
from maa.records import write_json
from maa.weights import load_weights

#: File names of the networks in a folder of weights.
FILES = {"hgn_1x": "hgn-1x.safetensors", "hgn_half": "hgn-0.5x.safetensors", "prn": "prn.safetensors"}
SETTINGS = "settings.json"

#: The rows of the paper's Table 2 that the system can fill, in its order.
ROWS = {"hgn_1x": "HGN 1x", "hgn_half": "HGN 0.5x", "fused": "HGN geometric", "refined": "HGN + PRN"}


@dataclass(frozen=True)
class Settings:
    """What is chosen on validation and then left alone.

    Attributes
    ----------
    hypothesis : float
        Fused probability from which a pixel belongs to a hypothesis.
    weight : float, 0 to 1
        Of the refinement against the fused map (see `maa.inference.refine`).
    thresholds : dict of str to float
        For each row of `ROWS`, the probability from which a pixel is called a microaneurysm.
    """

    hypothesis: float = 0.001
    weight: float = 0.5
    thresholds: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class System:
    """Two hypothesis generation networks and, unless it is a baseline, a refinement network.

    Attributes
    ----------
    hgn_1x, hgn_half : HGN or None
    prn : PRN or None
    settings : Settings

    Notes
    -----
    Explained in chapters 4 and 5; used on new photographs in chapter 9.
    """

    hgn_1x: HGN | None
    hgn_half: HGN | None
    prn: PRN | None
    settings: Settings = Settings()

    @classmethod
    def load(cls, folder) -> System:
        """Read the networks and settings of a folder of weights; what is absent stays None.

        Raises
        ------
        MaaError
            When the folder holds no hypothesis generation network, or a file of it is damaged.
        """
        folder = Path(folder)
        kinds = {"hgn_1x": "HGN", "hgn_half": "HGN", "prn": "PRN"}
        networks = {
            name: load_weights(folder / file, kinds[name])[0] if (folder / file).exists() else None
            for name, file in FILES.items()
        }
        if networks["hgn_1x"] is None and networks["hgn_half"] is None:
            raise MaaError(
                f"{folder} holds no {FILES['hgn_1x']} and no {FILES['hgn_half']}: "
                "train them with `maa train hgn-1x` and `maa train hgn-0.5x`, or name another folder."
            )
        return cls(**networks, settings=cls.read_settings(folder))

    @property
    def rows(self) -> set[str]:
        """The keys of `ROWS` that `maps` gives."""
        rows = {name for name in ("hgn_1x", "hgn_half") if getattr(self, name) is not None}
        return rows | ({"fused"} if len(rows) == 2 else set()) | ({"refined"} if self.prn is not None else set())

    @staticmethod
    def read_settings(folder) -> Settings:
        """The settings beside the weights; the defaults where there are none.

        Raises
        ------
        MaaError
            When the file is damaged.
        """
        path = Path(folder) / SETTINGS
        if not path.exists():
            return Settings()
        try:
            return Settings(**json.loads(path.read_text()))
        except (json.JSONDecodeError, TypeError):
            raise MaaError(f"{path} is damaged: write it anew with `maa evaluate --split validation`.") from None

    def save_settings(self, folder) -> None:
        """Write the settings beside the weights."""
        write_json(Path(folder) / SETTINGS, asdict(self.settings))

    def maps(self, stacks: tuple[ImageStack, ImageStack], index: int = 0) -> dict[str, np.ndarray]:
        """Every probability map of a photograph that the networks allow.

        Parameters
        ----------
        stacks : tuple of ImageStack
            At 1x and at 0.5x (`maa.patches.stack_photograph` makes them of one photograph).
        index : int
            Which photograph of the stacks.

        Returns
        -------
        dict of str to ndarray, shape (H, W), uint16
            By the keys of `ROWS`, at native resolution.
        """
        maps = {}
        for name, model, stack in zip(("hgn_1x", "hgn_half"), (self.hgn_1x, self.hgn_half), stacks):
            if model is not None:
                probability = dense_map(model, photograph(stack, index), field_of_view(stack, index))
                maps[name] = probability if stack.scale == 1 else double(probability, tuple(stacks[0].shapes[index]))
        if len(maps) == 2:
            maps["fused"] = fuse(list(maps.values()))
        if self.prn is not None:
            base = self.base(maps)
            found = self.hypotheses(base)
            scores = score_hypotheses(self.prn, stacks, index, found.centres)
            maps["refined"] = refine(base, found, scores, self.settings.weight)
        return maps

    @staticmethod
    def base(maps: dict[str, np.ndarray]) -> np.ndarray:
        """The map of the first stage that the second refines: the fused one, or that of the only scale."""
        return maps.get("fused", next(iter(maps.values())))

    def hypotheses(self, fused: np.ndarray) -> Hypotheses:
        """The candidates of a fused map, at the chosen threshold."""
        return hypotheses(fused, self.settings.hypothesis)


def photograph(stack: ImageStack, index: int) -> np.ndarray:
    """A normalised photograph of a stack without its margin, shape (H, W, 3), uint8."""
    return stack.image(index)[MARGIN:-MARGIN, MARGIN:-MARGIN]


def field_of_view(stack: ImageStack, index: int) -> np.ndarray:
    """The field of view of a photograph of a stack, shape (H, W), bool."""
    return (stack.label(index) & FOV) > 0
