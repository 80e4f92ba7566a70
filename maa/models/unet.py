"""A U-Net: the plain one-stage competitor, and the first stage of the track beyond the paper.

Where the paper's networks learn one label a patch, this one learns a label for every pixel of a crop, of all four
lesions that IDRiD annotates: a haemorrhage is then something with a name, and not a microaneurysm gone wrong.
Nothing here is the paper's; ch:real compares the two.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maa.data.stacks import EX, HE, MA, SE
from maa.models.hgn import to_network

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
    would take a third of the time of a step.  Explained in ch:real.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.width = width
        channels = [width * multiple for multiple in WIDTHS]
        self.down = nn.ModuleList(
            _block(before, after, norm=level > 0) for level, (before, after) in enumerate(zip([3, *channels], channels))
        )
        self.up = nn.ModuleList(
            _block(channels[level] + channels[level + 1], channels[level], norm=level > 0) for level in range(len(channels) - 1)
        )
        self.head = nn.Conv2d(width, len(CLASSES), kernel_size=1)
        nn.init.constant_(cast(Tensor, self.head.bias), -5.0)

    @property
    def patch_size(self) -> int:
        """Side in pixels of the square around a pixel that `dense` needs to have."""
        return 2 * CONTEXT + 1

    def forward(self, crops: Tensor) -> Tensor:
        """Logits of every class at every pixel.

        Parameters
        ----------
        crops : Tensor, shape (N, 3, H, W), float
            As `maa.models.to_network` gives them; H and W multiples of 16.

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
