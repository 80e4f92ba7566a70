"""The Patch-wise Refinement Network: is the dot in the middle of this patch a microaneurysm?

The paper's second stage (paper, section 2.2) looks again at what the first one has proposed.  It maps
a patch to a point on the unit sphere, where the triplet loss pulls lesions together and pushes healthy
ground away, and classifies that point.
"""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maa.models.hgn import DEPTH, Trunk, to_network


class PRN(nn.Module):
    """Patch classifier with an embedding head and a class head.

    Parameters
    ----------
    width : int
        Channels of the first layer of each tower.
    embedding_size : int
        Dimensions of the embedding.
    depth : int
        Convolutions of each tower; they set the patch size.
    scales : {"both", "1x", "0.5x"}
        Which scales of a patch are looked at.
    projected : bool
        Whether the classifier reads a feature of any length, and the embedding is a projection of it; else it reads the embedding.

    Notes
    -----
    One tower of convolutions without padding for each scale, so that the patch is seen sharply at 1x and
    with four times its surroundings at 0.5x.  The towers end in a single position and not in an average
    over the patch: a lesion in the centre and a lesion beside it must not look the same.

    Explained in ch:refinement.  Source: paper, section 2.2 (a patch classifier with an embedding); towers,
    width, embedding size and normalisation are our choice.
    """

    def __init__(
        self, width: int = 16, embedding_size: int = 64, depth: int = DEPTH, scales: str = "both", projected: bool = False
    ) -> None:
        super().__init__()
        self.width, self.embedding_size, self.depth = width, embedding_size, depth
        self.scales, self.projected = scales, projected
        self.levels = {"both": (0, 1), "1x": (0,), "0.5x": (1,)}[scales]
        towers = [Trunk(width, depth) for _ in self.levels]
        self.towers = nn.ModuleList(towers)
        self.embedding = nn.Linear(sum(tower.features for tower in towers), embedding_size)
        if projected:
            self.projection = nn.Linear(embedding_size, embedding_size)
        self.classifier = nn.Linear(embedding_size, 1)
        if not projected:
            # Points on the unit sphere span logits of a few units only if the classifier may scale them.
            self.scale = nn.Parameter(torch.tensor(8.0))
        nn.init.constant_(self.classifier.bias, -7.0)  # lesions are rare

    @property
    def patch_size(self) -> int:
        """Side of the patches in pixels, the same at both scales."""
        return cast(Trunk, self.towers[0]).receptive_field

    def forward(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and embeddings of patches.

        Parameters
        ----------
        patches : Tensor, shape (N, 2, P, P, 3), uint8
            Normalised pixels around the same centre at 1x and at 0.5x; P is `patch_size`.

        Returns
        -------
        logits : Tensor, shape (N,), float
            Logit that the patch is centred on a microaneurysm.
        embeddings : Tensor, shape (N, embedding_size), float
            Points of unit length.
        """
        features = [tower(to_network(patches[:, level])).flatten(1) for level, tower in zip(self.levels, self.towers)]
        feature = self.embedding(torch.cat(features, dim=1)).float()
        if self.projected:
            feature = F.relu(feature)
            return self.classifier(feature)[:, 0], F.normalize(self.projection(feature).float(), dim=1)
        embeddings = F.normalize(feature, dim=1)
        return self.classifier(self.scale * embeddings)[:, 0], embeddings
