"""The probe: validation pixels, few enough to be scored during training."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import average_precision_score

from maa.data.pools import ma_pixels
from maa.data.stacks import FOV, MA, ImageStack
from maa.hardware import mixed_precision
from maa.models.hgn import HGN
from maa.training.sampling import draw


class Probe:
    """Validation pixels, few enough to be scored during training.

    The rare class is sampled more densely, and each pixel weighs as much as those it stands for, so that the
    average precision of the sample estimates that of all the pixels.  It reads high, by a tenth or so: above a lesion's score lie so few
    of the sampled other pixels that often there is none.  Good for the course of a training; measure its end exactly.

    Parameters
    ----------
    stack : ImageStack
        Validation photographs; only the diseased ones count.

    Raises
    ------
    MaaError
        When no microaneurysm is annotated in any of them.
    """

    POSITIVES, NEGATIVES = 1000, 15_000

    def __init__(self, stack: ImageStack) -> None:
        rng = np.random.default_rng(0)  # the same probe for every run of a study
        ma = ma_pixels(stack)
        tables, total = [], 0
        diseased = np.flatnonzero(stack.diseased).tolist()
        for index in diseased:
            flat = np.flatnonzero((stack.label(index) & (FOV | MA)) == FOV)
            total += flat.size
            drawn = np.sort(draw(flat, self.NEGATIVES // len(diseased), rng))
            tables.append(np.stack([np.full(drawn.size, index), *np.divmod(drawn, stack.shapes[index, 1])], axis=1))
        negatives = np.concatenate(tables)
        positives = draw(ma, self.POSITIVES, rng)
        self.stack = stack
        self.where = np.concatenate([positives, negatives])
        self.truth = np.arange(len(self.where)) < len(positives)
        self.weight = np.where(self.truth, len(ma) / len(positives), total / len(negatives))

    def average_precision(self, model: HGN) -> float:
        """Estimated average precision of a model at the scale of the stack."""
        device, scores = next(model.parameters()).device, []
        with torch.inference_mode(), mixed_precision(device):
            for start in range(0, len(self.where), 1024):
                patches = self.stack.gather(self.where[start : start + 1024], model.patch_size)
                scores.append(model(torch.from_numpy(patches).to(device)).float().cpu())
        return float(average_precision_score(self.truth, torch.cat(scores).numpy(), sample_weight=self.weight))
