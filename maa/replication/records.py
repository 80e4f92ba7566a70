"""Records: what a trained model was made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

import pandas as pd

from maa.errors import MaaError
from maa.models.hgn import HGN
from maa.models.prn import PRN
from maa.models.unet import UNet
from maa.provenance import Json, PathLike, fingerprint, read_json, write_json
from maa.training.config import CandidateConfig, DecoderConfig, HGNConfig, PRNConfig, Schedule, UNetConfig, WindowConfig

Config = HGNConfig | WindowConfig | DecoderConfig | PRNConfig | CandidateConfig | UNetConfig
NETWORKS: dict[str, Any] = {"hgn": HGN, "windows": HGN, "decoder": UNet, "prn": PRN, "candidates": PRN, "unet": UNet}
C = TypeVar("C", HGNConfig, WindowConfig, DecoderConfig, PRNConfig, CandidateConfig, UNetConfig)
N = TypeVar("N", HGN, PRN, UNet, covariant=True)
_CONFIGS: dict[str, Any] = {
    "hgn": HGNConfig,
    "windows": WindowConfig,
    "decoder": DecoderConfig,
    "prn": PRNConfig,
    "candidates": CandidateConfig,
    "unet": UNetConfig,
}


@dataclass(frozen=True)
class Record:
    """What a trained model was made from: written once, with the weights, and never changed.

    Attributes
    ----------
    family : {"hgn", "windows", "decoder", "prn", "candidates", "unet"}
        Three of hypothesis generation networks: trained on patches with the label of their centre, or on windows with masks, and the
        encoder-decoder that is trained on those.  Two of
        refinement networks: trained on patches around lesions and healthy ground, or on candidates.
    config : HGNConfig, WindowConfig, DecoderConfig, PRNConfig, CandidateConfig or UNetConfig
    start : tuple of HGNConfig
        Of the networks whose trunks the towers of a refinement network started as.
    recipe : dict of str to int
        Versions of what was done (see `maa.replication.recipes`).
    data : str
        Fingerprint of the data set and, where a network learns from candidates, of these.
    photographs : tuple of str
        That it was trained on.
    device, precision : str
        What it was computed on and in (see `maa.hardware`).
    code : str
        Fingerprint of the package's code at the time: a note, no part of the key.
    environment : dict
        Versions, machine and time.
    seconds : float
        Of training.
    history : dict of str to list of float
        One entry a report (see `maa.training.fit`).
    """

    family: str
    config: Config
    start: tuple[HGNConfig, ...]
    recipe: dict[str, int]
    data: str
    photographs: tuple[str, ...]
    device: str
    precision: str
    code: str = ""
    environment: dict[str, object] = field(default_factory=dict)
    seconds: float = 0.0
    history: dict[str, list[float]] = field(default_factory=dict)

    @property
    def seed(self) -> int:
        """Of the weights and of every draw."""
        return self.config.schedule.seed

    @property
    def name(self) -> str:
        """Of the model, for people: ``hgn-0.5x``."""
        scale = getattr(self.config, "scale", None)
        return self.family if scale is None else f"{self.family}-{scale:g}x"

    @property
    def key(self) -> str:
        """SHA-256 of all that decides what the model becomes."""
        parts = ("family", "config", "start", "recipe", "data", "photographs", "device", "precision")
        return fingerprint({part: getattr(self, part) for part in parts})

    def as_json(self) -> Json:
        """For a file; `from_json` takes it back."""
        return {"family": self.family, "seed": self.seed, **{k: v for k, v in asdict(self).items() if k != "family"}}

    @classmethod
    def from_json(cls, content: Json) -> Record:
        """What `as_json` gave."""
        values = {key: value for key, value in content.items() if key != "seed"}
        values["config"] = _config(_CONFIGS[content["family"]], content["config"])
        values["start"] = tuple(_config(HGNConfig, start) for start in content["start"])
        values["photographs"] = tuple(content["photographs"])
        return cls(**values)

    @classmethod
    def read(cls, path: PathLike) -> Record:
        """What was written of a run; a MaaError when the file is damaged."""
        remedy = "remove its folder, and the run is done again"
        try:
            return cls.from_json(read_json(path, remedy))
        except (ValueError, KeyError, TypeError, AttributeError):
            raise MaaError(f"{path} is damaged: {remedy}.") from None


def _config(kind: type[C], content: Json) -> C:
    return kind(**{**content, "schedule": Schedule(**content["schedule"])})


@dataclass(frozen=True, eq=False)
class Trained(Generic[N]):
    """A trained model.

    Attributes
    ----------
    model : HGN, PRN or UNet
        In evaluation mode.
    record : Record
    path : Path
        Its weights file; ``run.json`` beside it holds the record, ``metrics.json`` what was measured of the model.
    """

    model: N
    record: Record
    path: Path

    @property
    def history(self) -> pd.DataFrame:
        """One row a report (see `maa.training.fit`)."""
        return pd.DataFrame(self.record.history)

    @property
    def metrics(self) -> dict[str, float]:
        """What was measured of the model so far; a MaaError when the file is damaged."""
        file = self.path.with_name("metrics.json")
        return read_json(file, "remove it, and it is measured again") if file.exists() else {}

    def add_metrics(self, **metrics: float) -> None:
        """Keep what was measured of the model, beside its record."""
        write_json(self.path.with_name("metrics.json"), self.metrics | metrics)
