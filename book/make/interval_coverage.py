"""How often the intervals hold what they should: ``python book/make/interval_coverage.py``.

Photographs are drawn from a population that is known: lesion pixels as many as IDRiD's photographs have, scores of lesions and of ground
normal on the scale of log-odds, the distance between the two different from photograph to photograph, from system to system and from
training to training, about as much as it is on IDRiD.  The intervals of `maa.evaluation` are then asked whether they hold the
population's value.  Writes results/coverage/results.json; some minutes on one core.
"""

import time
from dataclasses import asdict
from pathlib import Path

import numpy as np
from scipy.stats import norm

from maa import evaluation
from maa.progress import track
from maa.provenance import environment, write_json

OUT = Path(__file__).resolve().parents[2] / "results/coverage/results.json"
PHOTOGRAPHS, RUNS, TRIALS, SAMPLES = (10, 27, 54), 3, 600, 400
#: Pixels of the field of view; median of the lesion pixels of a photograph, and the spread of their logarithm (IDRiD's 54).
FIELD, LESION, LESION_SPREAD = 9_000_000, 9652, 0.78
#: Log-odds of lesions above ground, in units of the ground's spread, and their own spread.
ABOVE, WIDE = 3.1, 1.0
#: Spread of that over photographs; of a training; of the second system's gain over photographs, and the gain itself.
HARD, TRAINING, GAINS, GAIN = 0.2, 0.025, 0.1, 0.07
#: Where a histogram has its borders.
BORDERS = np.linspace(-5, 8, 161)


def photographs(rng, number):
    """Lesion pixels, difficulty, and what the second system gains, of some photographs."""
    lesion = np.rint(LESION * np.exp(LESION_SPREAD * rng.normal(size=number)))
    return lesion, rng.normal(ABOVE, HARD, number), rng.normal(GAIN, GAINS, number)


def histograms(lesion, above):
    """Positives and negatives of each photograph, (n, bins), whose sums do not depend on how hard it is."""
    share = norm.cdf((BORDERS[:, None] - above) / WIDE)
    share[0], share[-1] = 0, 1
    positives = np.diff(np.rint(share * lesion), axis=0).T
    ground = norm.cdf(BORDERS)
    ground[0], ground[-1] = 0, 1
    return positives, np.diff(np.rint(ground[:, None] * (FIELD - lesion)), axis=0).T


def scores(lesion, above):
    """The same as `PixelScores`, which do not mind that there are fewer levels."""
    counts = np.zeros((len(lesion), 2, 2, len(BORDERS) - 1), np.uint32)
    counts[:, 0, 1], counts[:, 0, 0] = histograms(lesion, above)
    return evaluation.PixelScores.from_arrays({
        "images": np.arange(len(lesion)).astype(str),
        "diseased": np.ones(len(lesion), bool),
        "counts": counts,
        "shrunk": np.zeros((len(lesion), 2, evaluation.THRESHOLDS)),
    })  # fmt: skip


def population(many=40_000):
    """Average precision of the whole population as a function of a training's luck, by system; and spreads, to compare with IDRiD's."""
    rng = np.random.default_rng(12345)
    lesion, above, gain = photographs(rng, many)
    luck = np.linspace(-5, 5, 41) * TRAINING
    value = {
        system: np.array([
            evaluation.average_precision(*(part.sum(0) for part in histograms(lesion, above + extra + shift))) for shift in luck
        ])
        for system, extra in (("baseline", 0), ("system", gain))
    }  # fmt: skip
    alone = [
        np.array([evaluation.average_precision(p, n) for p, n in zip(*histograms(lesion[:400], above[:400] + extra))])
        for extra in (0, gain[:400])
    ]
    drawn = rng.normal(0, TRAINING, 20_000)
    mean = {system: float(np.interp(drawn, luck, v).mean()) for system, v in value.items()}
    spreads = {
        "photographs": float(alone[0].std()),
        "differences": float((alone[1] - alone[0]).std()),
        "trainings": float(np.interp(drawn, luck, value["baseline"]).std()),
    }
    return luck, value, mean, spreads


def main() -> None:
    started = time.perf_counter()
    luck, value, mean, spreads = population()
    held = {}
    for number in PHOTOGRAPHS:
        inside = {name: [] for name in ("one training", "three trainings", "difference, one", "difference, three")}
        for trial in track(range(TRIALS), f"Intervals of {number} photographs"):
            rng = np.random.default_rng([number, trial])
            lesion, above, gain = photographs(rng, number)
            shifts = rng.normal(0, TRAINING, (2, RUNS))
            baseline = [scores(lesion, above + shift) for shift in shifts[0]]
            system = [scores(lesion, above + gain + shift) for shift in shifts[1]]
            truth = [np.interp(shifts[i, 0], luck, value[name]) for i, name in enumerate(("baseline", "system"))]
            options = {"samples": SAMPLES, "seed": trial}
            found = {
                "one training": (evaluation.bootstrap_average_precision(baseline[0], **options), truth[0]),
                "three trainings": (evaluation.bootstrap_average_precision(baseline, **options), mean["baseline"]),
                "difference, one": (
                    evaluation.paired_bootstrap(system[0], baseline[0], **options).difference,
                    truth[1] - truth[0],
                ),
                "difference, three": (
                    evaluation.paired_bootstrap(system, baseline, **options).difference,
                    mean["system"] - mean["baseline"],
                ),
            }
            for name, (interval, true) in found.items():
                inside[name].append(interval.low <= true <= interval.high)
        held[number] = {name: asdict(evaluation.wilson(np.mean(hits), len(hits))) for name, hits in inside.items()}
    results = {
        "trials": TRIALS,
        "samples": SAMPLES,
        "confidence": 0.95,
        "population": mean,
        "spreads": spreads,
        "coverage": held,
        "environment": environment(),
        "seconds": time.perf_counter() - started,
    }
    write_json(OUT, results)


if __name__ == "__main__":
    main()
