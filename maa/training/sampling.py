"""Training: one loop for all three models.

A *task* says what is special about a model: how a batch is drawn, what its loss is, how it is
validated.  The loop does the rest, and can be stopped at any moment: every random number of a step is
drawn from a generator seeded by (seed, step), so a run that resumes continues bit for bit on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np


class SelectiveSampler:
    """Draws indices of a pool with probability proportional to the model's current error on each.

    Almost every healthy patch is plain background that the network knows after a minute.  Uniform
    sampling keeps showing it; this sampler shows vessel crossings, pigment and dust instead.

    Parameters
    ----------
    size : int
        Number of patches in the pool, at least 1; millions are fine.
    power : float, 0 to 1
        Of the error that the probabilities are proportional to: 1 is the rule of van Grinsven et al., 0 uniform sampling.

    Attributes
    ----------
    error : ndarray, shape (size,), float32
        The last known error |p - label| of every patch, 0 to 1.  All ones at first, so that the
        first epoch is uniform.

    Notes
    -----
    Drawing a patch x in proportion to the error e(x) on it changes what the network is taught.  With lesions of density m(x)
    and healthy ground of density n(x) the best logit is log m(x) / (n(x) e(x)), the true one less log e(x).  The error on a
    healthy patch *is* the probability of a lesion, which nearly everywhere is small, so that log e(x) is the last logit itself
    and the two cancel: a network that learns from its errors alone forgets its ranking, its next errors are nearly even, so
    the next draws are uniform, and so on, to and fro.  With e(x) to the power a, between 0 and 1, the best logit is 1 - a
    times the true one: flatter, and in the same order (sec:suspects).

    Explained in ch:refinement.  That a routine "dynamically assigns sampling probabilities to the oversampled
    class patches" is stated (journal version, abstract); its formula is not.  This one is van Grinsven
    et al., IEEE TMI 2016.
    """

    def __init__(self, size: int, power: float = 1.0) -> None:
        if size < 1:
            raise ValueError("a sampler needs a pool of at least one patch")
        self.power = power
        self.error = np.ones(size, np.float32)
        self._cumulate()

    def _cumulate(self) -> None:
        # float64: the sum of millions of float32 errors loses the small ones.
        weight = self.error if self.power == 1 else self.error.astype(np.float64) ** self.power
        self._cumulative = np.cumsum(weight, dtype=np.float64)

    @property
    def probabilities(self) -> np.ndarray:
        """Sampling probabilities, shape (size,), float64, of sum 1."""
        return self.error.astype(np.float64) ** self.power / self._cumulative[-1]

    @property
    def effective_size(self) -> float:
        """How many equally likely patches would be as varied: 1 / sum(p squared), 1 to the pool's size."""
        return float(1 / np.square(self.probabilities).sum())

    def update(self, error: np.ndarray, indices: np.ndarray | None = None) -> None:
        """Take over the model's error.

        Parameters
        ----------
        error : ndarray, shape (size,) or (len(indices),)
            |p - label| of each patch, 0 to 1.
        indices : ndarray of int, optional
            The patches that were scored, when not the whole pool was; the others keep their last error.

        Raises
        ------
        ValueError
            When an error lies outside 0 to 1 or is not a number, or when the shapes differ.
        """
        error = np.asarray(error, np.float32)
        known = self.error if indices is None else self.error[indices]
        if error.shape != known.shape:
            raise ValueError(f"expected {known.shape} errors, one for each patch, got {error.shape}")
        if not ((error >= 0) & (error <= 1)).all():
            raise ValueError("errors must lie between 0 and 1: they are |probability - label|")
        self.error[slice(None) if indices is None else indices] = error
        if not self.error.any():
            self.error[:] = 1  # a model without any error leaves nothing to prefer
        self._cumulate()

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Draw patches, independently and with repetition.

        Returns
        -------
        ndarray, shape (count,), int64
            Indices into the pool; a patch without error is never drawn.
        """
        # Inverting the cumulative sum takes log(size) a draw and no further memory.
        targets = rng.random(count) * self._cumulative[-1]
        drawn = np.searchsorted(self._cumulative, targets, side="right")
        return np.minimum(drawn, self.error.size - 1)


#: No patch is drawn more than so many times as often as the average one ("told": nor less than its inverse; "fresh": at most).
CAP = 20.0
#: By rule: how often a patch is drawn, up to a factor, on which the model errs `error` times as much as on the average healthy patch.
#: Our choice, but for the first (van Grinsven et al., IEEE TMI 2016).  Explained in ch:refinement.
RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "plain": lambda error: error,
    "told": lambda error: np.clip(error, 1 / CAP, CAP),
    "mixture": lambda error: (1 + error) / 2,
    "fresh": lambda error: np.minimum(error + 0.1, CAP),
}


class Reserve:
    """Healthy patches that were drawn evenly and scored lately, from which the next batches are drawn by their errors.

    So the pool itself may be as large as it likes: what is scored at a time does not grow with it.

    Parameters
    ----------
    rule : str
        Of `RULES`.
    error : ndarray, shape (R,), 0 to 1
        The model's error |p - label| on each patch, which for a healthy one is the probability that it gives to a lesion.

    Attributes
    ----------
    weights : ndarray, shape (R,), float64
        How much more often each patch is drawn than by even draws: of mean 1.
    """

    def __init__(self, rule: str, error: np.ndarray) -> None:
        self.rule, self.error = rule, np.asarray(error, np.float64)
        self._mean = max(float(self.error.mean()), np.finfo(float).tiny)
        self._norm = 1.0
        self._norm = max(float(self.weight(self.error).mean()), np.finfo(float).tiny)
        self.weights = self.weight(self.error) if self.error.any() else np.ones(len(self.error))

    def weight(self, error: np.ndarray) -> np.ndarray:
        """How much more often than evenly a patch would be drawn on which the model errs so much; shape as `error`."""
        return RULES[self.rule](np.asarray(error, np.float64) / self._mean) / self._norm

    def draw(self, count: int, rng: np.random.Generator) -> np.ndarray:
        """Indices of patches, shape (count,): without repetition by the rule "fresh", else with."""
        return rng.choice(len(self.weights), count, replace=self.rule != "fresh", p=self.weights / self.weights.sum())

    @property
    def variance(self) -> float:
        """Variance of the healthy gradient of one patch, drawn by the weights and divided by them, against that of even draws.

        Of the gradient in the logit, which is the error: below 1 where the rule is worth its trouble.
        """
        mean = self.error.mean()
        even = np.square(self.error).mean() - mean**2
        return float((np.square(self.error) / self.weights).mean() - mean**2) / even if even > 0 else 1.0


def draw(pool: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`count` rows of a table of pixels, evenly and with repetition."""
    return pool[rng.integers(len(pool), size=count)] if count else pool[:0]
