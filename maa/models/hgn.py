"""The Hypothesis Generation Network: a patch classifier that is also a dense filter.

The paper's first stage (paper, section 2.1) is trained on patches and run on whole images.  Both are
the same network here: convolutions without padding, so that a patch as large as the receptive field
shrinks to exactly one number, the logit of its centre pixel.  Strides make the patch cheap; on a
whole image every stride becomes a dilation of the layers behind it (the *a trous* algorithm), which
gives at every pixel what the patch around that pixel would give.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maa.data.normalisation import CONTRAST_LEVELS

#: (channels as a multiple of the width, stride) of the first 3 x 3 convolutions; the others are (4, 1).
#: Our choice: the paper does not give its layers.
LAYERS = ((1, 1), (2, 2), (2, 1), (4, 2))
LAST_STRIDE = max(index for index, (_, stride) in enumerate(LAYERS) if stride > 1)
#: Convolutions.  The receptive field that follows, 45 pixels, spans a lesion (8 to 30 pixels) and the
#: ground around it at 1x, and twice that at 0.5x.  Our choice; ch:ablations tries 6 (29 pixels) and 10 (61).
DEPTH = 8


def to_network(patches: Tensor) -> Tensor:
    """Normalised uint8 pixels as the float tensor that a network reads.

    Parameters
    ----------
    patches : Tensor, shape (N, H, W, C), uint8
        Pixels as `maa.data.normalise` leaves them: 128 is the background, `LEVELS` one unit of contrast.

    Returns
    -------
    Tensor, shape (N, C, H, W), float32, channels-last in memory
        (pixel - 128) / LEVELS.
    """
    return patches.permute(0, 3, 1, 2).float().sub_(128).div_(CONTRAST_LEVELS)


class Trunk(nn.Module):
    """The convolutions that both stages share in kind: without padding, each followed by a ReLU.

    Parameters
    ----------
    width : int
        Channels of the first layer; the deeper layers have a fixed multiple of it (`LAYERS`).
    depth : int
        Convolutions, at least those of `LAYERS`; each of the others widens the receptive field by 8 pixels.
    """

    def __init__(self, width: int, depth: int = DEPTH) -> None:
        super().__init__()
        layers = LAYERS + ((4, 1),) * (depth - len(LAYERS))
        channels = [3] + [width * multiple for multiple, _ in layers]
        self.strides = [stride for _, stride in layers]
        self.features = channels[-1]
        convolutions = [nn.Conv2d(before, after, kernel_size=3) for before, after in itertools.pairwise(channels)]
        self.convolutions = nn.ModuleList(convolutions)
        # Batch norm on the large maps before the last stride would take a third of a training step on a
        # CPU; there a careful start serves as well, since the input is normalised already.
        self.norms = nn.ModuleList(
            nn.BatchNorm2d(after) if index >= LAST_STRIDE else nn.Identity() for index, after in enumerate(channels[1:])
        )
        for convolution in convolutions:
            nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
            nn.init.zeros_(cast(Tensor, convolution.bias))

    @property
    def layers(self) -> Iterator[tuple[nn.Conv2d, nn.Module, int]]:
        """Convolution, norm and stride, one layer after the other."""
        return zip(cast("list[nn.Conv2d]", self.convolutions), self.norms, self.strides)

    @property
    def receptive_field(self) -> int:
        """Side in pixels of the square that one output sees."""
        field, step = 1, 1
        for stride in self.strides:
            field += 2 * step
            step *= stride
        return field

    @property
    def step(self) -> int:
        """Pixels from one output of `forward` to the next: the product of the strides."""
        return math.prod(self.strides)

    def forward(self, x: Tensor) -> Tensor:
        """Features of patches: (N, 3, P, P) to (N, features, 1, 1), with strides; of larger windows at every `step`-th pixel."""
        for convolution, norm, stride in self.layers:
            x = F.relu(norm(F.conv2d(x, convolution.weight, convolution.bias, stride=stride)), inplace=True)
        return x

    def dense(self, x: Tensor) -> Tensor:
        """Features at every pixel: (N, 3, H, W) to (N, features, H - P + 1, W - P + 1), with dilations."""
        dilation = 1
        for convolution, norm, stride in self.layers:
            weight, bias = _folded(convolution, norm)
            x = F.relu(F.conv2d(x, weight, bias, dilation=dilation), inplace=True)
            dilation *= stride
        return x


def _folded(convolution: nn.Conv2d, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that includes its batch norm, whose statistics are fixed by then.

    One pass over the map instead of two: a whole image is a large map.
    """
    bias = cast(Tensor, convolution.bias)
    if not isinstance(norm, nn.BatchNorm2d):
        return convolution.weight, bias
    mean, variance = cast(Tensor, norm.running_mean), cast(Tensor, norm.running_var)
    gain = norm.weight / torch.sqrt(variance + norm.eps)
    return convolution.weight * gain[:, None, None, None], (bias - mean) * gain + norm.bias


class HGN(nn.Module):
    """Fully convolutional patch network that scores the centre pixel of its receptive field.

    Parameters
    ----------
    width : int
        Channels of the first layer.
    depth : int
        Convolutions; they set the patch size.

    Notes
    -----
    Explained in ch:hgn (1x) and ch:half (0.5x).  Source: paper, section 2.1 (a fully convolutional
    network trained on patches); layers, width and receptive field are our choice.
    """

    def __init__(self, width: int = 16, depth: int = DEPTH) -> None:
        super().__init__()
        self.width, self.depth = width, depth
        self.trunk = Trunk(width, depth)
        self.head = nn.Conv2d(self.trunk.features, 1, kernel_size=1)
        # Lesions are rare: start from a low probability, so that the first steps are not spent on it.
        nn.init.constant_(cast(Tensor, self.head.bias), -7.0)

    @property
    def patch_size(self) -> int:
        """Side in pixels of a training patch: the receptive field."""
        return self.trunk.receptive_field

    def forward(self, patches: Tensor) -> Tensor:
        """Logits of patches.

        Parameters
        ----------
        patches : Tensor, shape (N, P, P, 3), uint8
            Normalised pixels; P is `patch_size`.

        Returns
        -------
        Tensor, shape (N,), float
            Logit that the centre pixel belongs to a microaneurysm.
        """
        return self.grid(patches)[:, 0, 0]

    def grid(self, windows: Tensor) -> Tensor:
        """Logits at every fourth pixel of windows, in one pass with the strides of training.

        Parameters
        ----------
        windows : Tensor, shape (N, S, S, 3), uint8
            Normalised pixels; S is at least `patch_size`.

        Returns
        -------
        Tensor, shape (N, G, G), float
            Equal to `forward` on the patches around every `Trunk.step`-th pixel, from pixel P // 2 on, as far as whole
            patches fit: G is (S - P) // step + 1, 53 for a window of 256 pixels.
        """
        return self.head(self.trunk(to_network(windows)))[:, 0]

    def dense(self, image: Tensor) -> Tensor:
        """Logits at every pixel that has a whole receptive field around it.

        Parameters
        ----------
        image : Tensor, shape (N, H, W, 3), uint8
            Normalised pixels of an image or of a tile of one, H and W at least P.

        Returns
        -------
        Tensor, shape (N, H - P + 1, W - P + 1), float
            Equal, pixel by pixel, to `forward` on the patch around each pixel.
        """
        return self.head(self.trunk.dense(to_network(image)))[:, 0]
