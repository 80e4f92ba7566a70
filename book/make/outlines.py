"""Move the candidates of the networks that ship as a whole, on IDRiD's validation photographs: ``python book/make/outlines.py DATA``.

`maa arms` asks the same in cross-validation (sec:arms).  Writes results/idrid-full/outlines.json; ten minutes or so on two cores.
"""

import sys
import time
from itertools import product
from pathlib import Path

import numpy as np

from maa.data import FOV, MA, open_dataset
from maa.evaluation import PixelScores
from maa.inference import System, refine
from maa.models.weights import network_fingerprint
from maa.progress import track
from maa.provenance import environment, write_json
from maa.replication.crossval import OUTLINES, WHOLE
from maa.replication.folds import nested
from maa.replication.profiles import FULL
from maa.replication.scores import REFINEMENT_WEIGHTS, judged, with_intervals
from maa.replication.study import Study

ROOT = Path(__file__).resolve().parents[2]


def main(data: str) -> None:
    started = time.perf_counter()
    dataset, system = open_dataset(data), System.load(ROOT / "maa/pretrained")
    stacks = Study(dataset, FULL).validation
    called = {row: (row, False) for row in system.rows if row not in ("hgn_1x", "hgn_half", "fused")}
    called |= {row: (other, True) for row, other in WHOLE.items() if other in called}
    scores = {row: PixelScores() for row in ("fused", *called)}
    tried = {key: PixelScores() for key in product(called, REFINEMENT_WEIGHTS)}
    for index in track(np.flatnonzero(stacks[0].diseased).tolist(), "Moving candidates"):
        label = stacks[0].label(index)
        image = {"name": stacks[0].names[index], "truth": (label & MA) > 0, "fov": (label & FOV) > 0}
        base = system.base(system.first_stage(stacks, index))
        found = system.hypotheses(base)
        scores["fused"].add(scores=base, **image)
        opinions = {row: system.opinions(row, base, found, stacks, index) for row in {other for other, _ in called.values()}}
        for row, weight in tried:
            other, whole = called[row]
            tried[row, weight].add(scores=refine(base, found, opinions[other], weight, whole), **image)
    weights = {row: nested({weight: tried[row, weight] for weight in REFINEMENT_WEIGHTS}) for row in called}
    for row in called:
        for name, weight in weights[row].items():
            scores[row].extend(tried[row, weight].subset([name]))
    results = {
        "split": "validation",
        "data": dataset.fingerprint,
        "weights": network_fingerprint(system.networks),
        "photographs": scores["fused"].names,
        "rows": with_intervals(scores, ("fused", "control", "prn_cross_entropy")),
        "chosen": weights,
        "outlines": judged(scores, OUTLINES),
        "environment": environment(),
        "seconds": time.perf_counter() - started,
    }
    write_json(ROOT / "results/idrid-full/outlines.json", results)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("Name the folder of IDRiD: python book/make/outlines.py DATA")
    main(sys.argv[1])
