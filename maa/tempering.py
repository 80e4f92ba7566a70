"""Tempered selective sampling: healthy patches drawn by a power of the network's error, and not by the error itself.

Drawing a patch x in proportion to the error e(x) on it changes what the network is taught.  With lesions of density m(x)
and healthy ground of density n(x) the best logit is log m(x) / (n(x) e(x)), the true one less log e(x).  The error on a
healthy patch *is* the probability of a lesion, which nearly everywhere is small, so that log e(x) is the last logit itself
and the two cancel: a network that learns from its errors alone forgets its ranking, its next errors are nearly even, so
the next draws are uniform, and so on, to and fro.  With e(x) to the power a, between 0 and 1, the best logit is 1 - a
times the true one: flatter, and in the same order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from maa.sampling import SelectiveSampler
from maa.training import Refinement


@dataclass(frozen=True)
class Tempered(Refinement):
    """A refinement with tempered sampling.  Our choice; explained in chapter 5, compared in chapter 10.

    Attributes
    ----------
    power : float, 0 to 1
        Of the error; 1 is plain selective sampling, 0 uniform.
    """

    power: float = 0.5


class TemperedSampler(SelectiveSampler):
    """Draws indices of a pool with probability proportional to a power of the model's current error on each.

    Parameters
    ----------
    size : int
        Number of patches in the pool, at least 1.
    power : float, 0 to 1

    Notes
    -----
    `error` holds the errors themselves, so that the state of a run is the same for every power.  Explained in chapter 5.
    """

    def __init__(self, size: int, power: float):
        self.power = power
        super().__init__(size)

    def _cumulate(self):
        self._tempered = self.error.astype(np.float64) ** self.power
        self._cumulative = np.cumsum(self._tempered)

    @property
    def probabilities(self) -> np.ndarray:
        """Sampling probabilities, shape (size,), float64, of sum 1."""
        return self._tempered / self._cumulative[-1]
