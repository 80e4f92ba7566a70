"""The paper's likely reading of the first stage: windows with masks."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maa.data.pools import healthy_pixels, lesion_centres
from maa.data.stacks import FOV, MA, ImageStack
from maa.models.hgn import HGN, to_network
from maa.models.unet import UNet
from maa.training.augmentation import color_jitter, turn
from maa.training.config import DecoderConfig, WindowConfig
from maa.training.loop import Task
from maa.training.probe import Probe
from maa.training.sampling import draw
from maa.training.tasks import PRIOR

#: Pixels outside an outline whose label is not used: nobody draws a border that exactly.
IGNORED = 2
#: Windows that the share of lesion pixels in a batch is estimated from.
_COUNTED = 256
N = TypeVar("N", bound=nn.Module)


class Windows(Task[N]):
    """Train a network of the first stage on windows with their masks: what `WindowTask` and `DecoderTask` share.

    Parameters
    ----------
    train, validation : ImageStack
        Photographs at the scale of the network.
    config : WindowConfig or DecoderConfig

    Attributes
    ----------
    first, step : int
        The first pixel of a window's side that is labelled, and pixels from one to the next; as many are left out at its end.

    Notes
    -----
    Half of the windows hold a lesion: lesions are drawn evenly, so that small ones are not drowned, and lie anywhere in the
    window.  The others come from healthy patients.  What the batch shows too many of is told to the loss as `maa.training.HGNTask`
    does.  Source: what others report of the paper (256 x 256 images at 1X and 0.5X); explained in ch:hgn.
    """

    first: int
    step: int

    def __init__(self, train: ImageStack, validation: ImageStack, config: WindowConfig | DecoderConfig) -> None:
        self.stack, self.config = train, config
        rng = np.random.default_rng(config.schedule.seed)
        self.lesions = lesion_centres(train)
        self.healthy = healthy_pixels(train, config.pool, rng)
        truth, used = self.marks(torch.from_numpy(self.stack.gather_labels(self.draw(_COUNTED, rng), config.side)))
        shown = float((truth * used).sum() / used.sum())
        self.added = float(torch.logit(torch.tensor(shown)) - torch.logit(torch.tensor(PRIOR)))

    def logits(self, model: N, windows: Tensor) -> Tensor:
        """Of windows, shape (N, S, S, 3), uint8, at the pixels that are labelled: shape (N, G, G), float."""
        raise NotImplementedError

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Centres of windows, shape (count, 3), int: the first half around lesions."""
        where = draw(self.lesions, count // 2, rng)
        reach = self.config.side // 2 - self.first
        where[:, 1:] += rng.integers(-reach, reach + 1, size=(len(where), 2))
        where[:, 1:] = np.clip(where[:, 1:], 0, self.stack.shapes[where[:, 0]] - 1)
        return np.concatenate([where, draw(self.healthy, count - len(where), rng)])

    def marks(self, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Truth and use of the pixels that are labelled.

        Parameters
        ----------
        labels : Tensor, shape (N, S, S), uint8
            Labels of windows, as `ImageStack.gather_labels` gives them.

        Returns
        -------
        truth, used : Tensor, shape (N, G, G), float32
            1 on a microaneurysm; 1 inside the field of view and not within `IGNORED` pixels outside an outline.
        """
        end = labels.shape[-1] - self.first
        around = slice(self.first - IGNORED, end + IGNORED)
        lesion = ((labels[:, around, around] & MA) > 0).float()
        near = F.max_pool2d(lesion[:, None], 2 * IGNORED + 1, self.step)[:, 0]
        truth = lesion[:, IGNORED : -IGNORED : self.step, IGNORED : -IGNORED : self.step]
        inside = (labels[:, self.first : end : self.step, self.first : end : self.step] & FOV) > 0
        return truth, (inside & (near == truth)).float()

    def windows(self, where: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Windows around pixels, turned and tinted at random.

        Parameters
        ----------
        where : ndarray, shape (N, 3), int
            As `draw` gives it.
        rng : numpy.random.Generator

        Returns
        -------
        windows : ndarray, shape (N, S, S, 3), uint8
        labels : ndarray, shape (N, S, S), uint8
        """
        orientation = rng.integers(8, size=len(where))
        pixels = turn(self.stack.gather(where, self.config.side), orientation)
        labels = turn(self.stack.gather_labels(where, self.config.side)[..., None], orientation)
        return color_jitter(pixels, rng), labels[..., 0]

    def loss(self, model: N, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        windows, labels = self.windows(self.draw(self.config.schedule.batch, rng), rng)
        truth, used = self.marks(torch.from_numpy(labels))
        device = next(model.parameters()).device
        logits = self.logits(model, torch.from_numpy(windows).to(device)).float() + self.added
        loss = F.binary_cross_entropy_with_logits(logits, truth.to(device), used.to(device), reduction="sum")
        return loss / used.sum().clamp(min=1).to(device), {}


class WindowTask(Windows[HGN]):
    """Train a hypothesis generation network on windows with their masks.

    Parameters are those of `Windows`, with a `WindowConfig`.

    Notes
    -----
    One pass with the strides of training labels every fourth pixel, and since a window begins anywhere, a training reaches every
    pixel.
    """

    config: WindowConfig

    def __init__(self, train: ImageStack, validation: ImageStack, config: WindowConfig) -> None:
        self.config = config
        model = self.build()
        self.first, self.step = model.patch_size // 2, model.trunk.step
        super().__init__(train, validation, config)
        self.probe = Probe(validation)

    def build(self) -> HGN:
        return HGN(self.config.width, self.config.depth)

    def logits(self, model: HGN, windows: Tensor) -> Tensor:
        return model.grid(windows)

    def report(self, model: HGN) -> dict[str, float]:
        return {"validation_ap": self.probe.average_precision(model)}


class DecoderTask(Windows[UNet]):
    """Train an encoder-decoder with skip connections on windows with their masks.

    Parameters are those of `Windows`, with a `DecoderConfig`.

    Notes
    -----
    Every pixel is labelled, but for the two at the border whose neighbourhood is cut off.  Of the network's outputs only the first,
    microaneurysms, is trained.  Explained in sec:readings.
    """

    first, step = IGNORED, 1

    def build(self) -> UNet:
        return UNet(self.config.width)

    def logits(self, model: UNet, windows: Tensor) -> Tensor:
        return model(to_network(windows))[:, 0, IGNORED:-IGNORED, IGNORED:-IGNORED]

    def report(self, model: UNet) -> dict[str, float]:
        return {}  # it has no cheap answer for single pixels, and is measured at its end
