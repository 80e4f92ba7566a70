"""``maa`` with a system that takes no time, for tests of all that is not the networks: ``python stub.py segment ...``.

It says on stderr when everything is loaded, and takes a moment for each photograph, so that a test can kill it in between.
"""

import os
import sys
import time

import numpy as np

from maa import segmentation
from maa.data import MARGIN
from maa.inference import FULL_SCALE, Settings


class DarkSpots:
    """A pixel's probability is its darkness."""

    rows, final, networks = ["hgn_1x"], "hgn_1x", ()
    settings = Settings(thresholds={"hgn_1x": 0.5})

    def maps(self, stacks, index=0, rows=None):
        time.sleep(float(os.environ.get("STUB_SECONDS", 0)))
        green = stacks[0].image(index)[MARGIN:-MARGIN, MARGIN:-MARGIN, 1]
        inside = stacks[0].label(index) > 0
        return {"hgn_1x": (inside * np.clip((128.0 - green) / 128, 0, 1) * FULL_SCALE).astype(np.uint16)}


if __name__ == "__main__":
    import maa.segmentation.many  # noqa: F401  # which the command would load later
    from maa.cli import main

    segmentation.one.load_system = lambda weights, track: DarkSpots()
    print("loaded", file=sys.stderr, flush=True)
    main()
