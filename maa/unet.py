"""A U-Net: the plain one-stage competitor, and the first stage of the track beyond the paper.

Where the paper's networks learn one label a patch, this one learns a label for every pixel of a crop, of all four
lesions that IDRiD annotates: a haemorrhage is then something with a name, and not a microaneurysm gone wrong.
Nothing here is the paper's; chapter 10 compares the two.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maa.evaluation import PixelScores, average_precision
from maa.hgn import to_network
from maa.inference import dense_map
from maa.patches import EX, FOV, HE, MA, MARGIN, SE, ImageStack, healthy_pixels, ma_pixels, pixels_of
from maa.training import UNetConfig, draw, tint

#: The bit of each output's class; the first is what the others are there for.
CLASSES = (MA, HE, EX, SE)

#: Channels at full resolution and after each halving, as multiples of the width.
WIDTHS = (1, 2, 3, 3, 3)

#: Pixels around a tile whose values are thrown away, because they saw its border.
CONTEXT = 64


class UNet(nn.Module):
    """Encoder and decoder with skip connections (Ronneberger, Fischer, Brox, MICCAI 2015).

    Parameters
    ----------
    width : int
        Channels at full resolution.

    Notes
    -----
    Batch norm from the second level on: at full resolution, where the input is normalised already, it
    would take a third of the time of a step.  Explained in chapter 10.
    """

    def __init__(self, width: int = 32):
        super().__init__()
        self.width = width
        channels = [width * multiple for multiple in WIDTHS]
        self.down = nn.ModuleList(
            _block(before, after, norm=level > 0) for level, (before, after) in enumerate(zip([3, *channels], channels))
        )
        self.up = nn.ModuleList(
            _block(channels[level] + channels[level + 1], channels[level], norm=level > 0)
            for level in range(len(channels) - 1)
        )
        self.head = nn.Conv2d(width, len(CLASSES), kernel_size=1)
        nn.init.constant_(self.head.bias, -5.0)

    @property
    def patch_size(self) -> int:
        """Side in pixels of the square around a pixel that `dense` needs to have."""
        return 2 * CONTEXT + 1

    def forward(self, crops: Tensor) -> Tensor:
        """Logits of every class at every pixel.

        Parameters
        ----------
        crops : Tensor, shape (N, 3, H, W), float
            As `maa.hgn.to_network` gives them; H and W multiples of 16.

        Returns
        -------
        Tensor, shape (N, 4, H, W), float
            In the order of `CLASSES`.
        """
        x, skips = crops, []
        for level, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if level else x)
            skips.append(x)
        for level in reversed(range(len(self.up))):
            x = self.up[level](torch.cat([skips[level], F.interpolate(x, scale_factor=2, mode="nearest")], dim=1))
        return self.head(x)

    def dense(self, image: Tensor) -> Tensor:
        """Microaneurysm logits at every pixel that has CONTEXT pixels around it.

        Parameters
        ----------
        image : Tensor, shape (N, H, W, 3), uint8
            Normalised pixels.

        Returns
        -------
        Tensor, shape (N, H - 2 * CONTEXT, W - 2 * CONTEXT), float
        """
        height, width = image.shape[1:3]
        step = 2 ** (len(WIDTHS) - 1)
        padded = F.pad(to_network(image), (0, -width % step, 0, -height % step))
        return self(padded)[:, 0, CONTEXT : height - CONTEXT, CONTEXT : width - CONTEXT]


def _block(before: int, after: int, norm: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for channels in (before, after):
        convolution = nn.Conv2d(channels, after, kernel_size=3, padding=1, bias=not norm)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers += [convolution, *([nn.BatchNorm2d(after)] if norm else []), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class UNetTask:
    """Train a U-Net on crops with a label for every pixel.

    Parameters
    ----------
    train, validation : ImageStack
        Photographs at the scale of the network.
    config : UNetConfig

    Notes
    -----
    Binary cross-entropy of every class inside the field of view, and the Dice loss of the microaneurysms over the
    batch (Milletari et al., 3DV 2016).  Crops are turned by any angle and scaled by 0.8 to 1.25.
    """

    def __init__(self, train: ImageStack, validation: ImageStack, config: UNetConfig):
        rng = np.random.default_rng(config.schedule.seed)
        self.train, self.validation, self.config = train, validation, config
        self.pools = {
            "ma": ma_pixels(train),
            "other": pixels_of(train, HE | EX | SE),
            "diseased": healthy_pixels(train, config.pool, rng, "unlabelled"),
            "healthy": healthy_pixels(train, config.pool, rng),
        }
        quarter = config.schedule.batch // 4
        self.shares = {"ma": 2 * quarter, "other": quarter // 2, "diseased": quarter - quarter // 2, "healthy": quarter}

    def build(self) -> UNet:
        return UNet(self.config.width)

    def loss(self, model: nn.Module, step: int, rng: np.random.Generator) -> tuple[Tensor, dict[str, Tensor]]:
        where = np.concatenate([draw(self.pools[pool], share, rng) for pool, share in self.shares.items()])
        side, zoom = self.config.side, self.config.zoom
        where[:, 1:] += rng.integers(-side // 3, side // 3 + 1, size=(len(where), 2))
        where[:, 1:] = np.clip(where[:, 1:], 0, self.train.shapes[where[:, 0]] - 1)
        room = math.ceil(side * zoom * math.sqrt(2))
        seen, marked = turn_and_zoom(self.train.gather(where, room), self.train.gather_labels(where, room), side, zoom, rng)
        device = next(model.parameters()).device
        crops, labels = torch.from_numpy(tint(seen, rng)).to(device), torch.from_numpy(marked).to(device)
        logits = model(to_network(crops)).float()
        inside = ((labels & FOV) > 0).float()
        truth = torch.stack([(labels & bit) > 0 for bit in CLASSES], dim=1).float()
        cross_entropy = (F.binary_cross_entropy_with_logits(logits, truth, reduction="none") * inside[:, None]).mean(
            dim=(0, 2, 3)
        )
        found = torch.sigmoid(logits[:, 0]) * inside
        dice = 1 - (2 * (found * truth[:, 0]).sum() + 1) / (found.square().sum() + truth[:, 0].sum() + 1)
        loss = cross_entropy.sum() * self.config.cross_entropy_weight + dice
        return loss, {"cross_entropy": cross_entropy[0].detach(), "dice": dice.detach()}

    def report(self, model: nn.Module) -> dict[str, float]:
        scores = PixelScores()
        for index in np.flatnonzero(self.validation.diseased).tolist():
            label = self.validation.label(index)
            image = self.validation.image(index)[MARGIN:-MARGIN, MARGIN:-MARGIN]
            probability = dense_map(model, image, (label & FOV) > 0, tile=512)
            scores.add(self.validation.names[index], probability, (label & MA) > 0, (label & FOV) > 0)
        return {"validation_ap": average_precision(*scores.pooled())}

    def state(self) -> dict[str, Tensor]:
        return {}

    def restore(self, state: dict[str, Tensor]) -> None:
        pass


def turn_and_zoom(
    pixels: np.ndarray, labels: np.ndarray, side: int, zoom: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The middle of crops, turned by any angle, mirrored and scaled at random.

    Parameters
    ----------
    pixels : ndarray, shape (N, R, R, 3), uint8
    labels : ndarray, shape (N, R, R), uint8
    side : int
        Of what is returned; R is at least side * zoom * sqrt(2), or else corners show repeated borders.
    zoom : float
        Crops are scaled by up to this factor, up or down.
    rng : numpy.random.Generator

    Returns
    -------
    pixels : ndarray, shape (N, side, side, 3), uint8
        Interpolated bilinearly.
    labels : ndarray, shape (N, side, side), uint8
        Of the nearest pixel; 0 where there is none.
    """
    count, room = labels.shape[:2]
    angle = rng.uniform(0, 2 * np.pi, count)
    scale = np.exp(rng.uniform(-np.log(zoom), np.log(zoom), count)) * side / room
    mirror = rng.choice([-1, 1], count)
    turn = np.zeros((count, 2, 3), np.float32)
    turn[:, 0, 0], turn[:, 0, 1] = scale * np.cos(angle) * mirror, -scale * np.sin(angle)
    turn[:, 1, 0], turn[:, 1, 1] = scale * np.sin(angle) * mirror, scale * np.cos(angle)
    grid = F.affine_grid(torch.from_numpy(turn), [count, 1, side, side], align_corners=False)
    planes = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    turned = F.grid_sample(planes, grid, mode="bilinear", padding_mode="border", align_corners=False)
    marked = F.grid_sample(torch.from_numpy(labels)[:, None].float(), grid, mode="nearest", padding_mode="zeros", align_corners=False)
    return turned.add_(0.5).permute(0, 2, 3, 1).to(torch.uint8).numpy(), marked[:, 0].to(torch.uint8).numpy()
