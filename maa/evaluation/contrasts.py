"""Contrasts: what may be said of several comparisons at once, by rules that are written down before the runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import special

from maa.errors import MaaError
from maa.evaluation.intervals import Interval, Resampled, Scores

#: A corrected p-value below this is an effect.
LEVEL = 0.05
#: A difference of average precision whose whole interval lies within this is not worth having, in either direction.
NEGLIGIBLE = 0.01


@dataclass(frozen=True)
class Decision:
    """What is said of one contrast.

    Attributes
    ----------
    difference, relative_gain : Interval
        As of `Comparison`, not corrected.
    p_value, corrected : float
        Two-sided, of the difference; and corrected for the number of contrasts.
    verdict : str
        As `ruling` gives it.

    Notes
    -----
    `dataclasses.asdict` gives its JSON form.  Explained in ch:gain.
    """

    difference: Interval
    relative_gain: Interval
    p_value: float
    corrected: float
    verdict: str


def decide(
    contrasts: Sequence[Mapping[str, tuple[Scores, Scores]]], samples: int = 10_000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Decision]:
    """Judge several contrasts by paired bootstraps and Holm's correction.  Explained in ch:gain.

    Parameters
    ----------
    contrasts : sequence of mapping of str to pair
        Each entry is one contrast for the correction, and holds one pair of system and baseline, as `paired_bootstrap` takes
        them, by the name of the comparison.  An entry of several pairs (each of two ideas, say) enters by the smallest of its
        p-values times their number; each pair has its own decision.
    samples, confidence, seed
        As `paired_bootstrap`.  The smallest p-value that there can be is 2 / (samples + 1), before the correction.

    Returns
    -------
    dict of str to Decision
        By the names of the pairs, in their order.

    Raises
    ------
    MaaError
        As `paired_bootstrap`; when there is no contrast, or a contrast without a pair.

    References
    ----------
    S. Holm, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6(2), 1979.
    """
    if not contrasts or not all(contrasts):
        raise MaaError("There is a contrast without a pair of systems; give each at least one.")
    systems = {id(scores): scores for pairs in contrasts for pair in pairs.values() for scores in pair}
    drawn = {key: Resampled.of(scores, samples, seed) for key, scores in systems.items()}
    compared = [
        {name: drawn[id(system)].against(drawn[id(baseline)], confidence) for name, (system, baseline) in pairs.items()}
        for pairs in contrasts
    ]
    own = [len(parts) * min(part.p_value for part in parts.values()) for parts in compared]
    corrected, factors = holm(own)
    decisions = {}
    for parts, least, factor in zip(compared, corrected, factors):
        for name, part in parts.items():
            # Of several parts only the smallest p-value has the contrast's; the others stay behind it.
            p = max(float(least), min(1.0, float(factor * len(parts) * part.p_value)))
            decisions[name] = Decision(part.difference, part.relative_gain, part.p_value, p, ruling(part.difference, p))
    return decisions


def ruling(difference: Interval, corrected: float) -> str:
    """What a difference of average precision is called.  Explained in ch:gain.

    Parameters
    ----------
    difference : Interval
    corrected : float
        Its two-sided p-value, corrected for the number of contrasts.

    Returns
    -------
    {"helps", "hurts", "no effect worth having", "undecided"}
        The first two where the p-value is below `LEVEL`, by the sign of the difference; the third where it is not, and the
        interval lies within `NEGLIGIBLE` of zero.
    """
    if corrected < LEVEL:
        return "helps" if difference.value > 0 else "hurts"
    return "no effect worth having" if -NEGLIGIBLE <= difference.low and difference.high <= NEGLIGIBLE else "undecided"


def holm(p_values: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Holm's corrected p-values, and the factor that each was multiplied with.  Explained in ch:gain.

    Parameters
    ----------
    p_values : sequence of float, length m

    Returns
    -------
    corrected : (m,) float array
        At most 1; never smaller than that of a smaller p-value.
    factors : (m,) int array
        m for the smallest, 1 for the largest.
    """
    p = np.asarray(p_values, float)
    order = np.argsort(p, kind="stable")
    factors = np.empty(len(p), int)
    factors[order] = np.arange(len(p), 0, -1)
    corrected = np.empty(len(p))
    corrected[order] = np.minimum(1, np.maximum.accumulate((factors * p)[order]))
    return corrected, factors


def detectable(spread: float, photographs: int, level: float = LEVEL, power: float = 0.8) -> float:
    """The smallest difference that so many photographs show, most of the time.  Explained in ch:gain.

    Parameters
    ----------
    spread : float
        Standard deviation of the paired difference from photograph to photograph; of a pooled measure, that of its bootstrap times
        the root of the number of photographs.
    photographs : int
    level : float
        Two-sided, in (0, 1).
    power : float
        Share of the repetitions, in (0, 1), in which a difference of this size would be told from zero.

    Returns
    -------
    float
        By the normal distribution, which is somewhat hopeful for ten photographs.
    """
    return float((special.ndtri(1 - level / 2) + special.ndtri(power)) * spread / np.sqrt(photographs))
