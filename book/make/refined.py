"""Ask the authors' premise of real marks: ``python book/make/refined.py IDRID MARKS``.

MARKS is the folder of the microaneurysm masks of the "Refined IDRiD" (doi 10.3390/data11020030).  The weights that ship are measured
against them.  Writes results/refined/results.json; ten minutes or so on two cores.
"""

import sys
from pathlib import Path

from maa.data import open_dataset
from maa.replication.refined import compare_marks

ROOT = Path(__file__).resolve().parents[2]

if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("Name the folders of IDRiD and of the refined masks: python book/make/refined.py IDRID MARKS")
    compare_marks(open_dataset(sys.argv[1]), sys.argv[2], ROOT / "maa/pretrained", ROOT / "results/refined")
