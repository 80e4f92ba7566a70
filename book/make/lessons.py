"""Train the networks of the lessons anew, on phantoms, and put them where they ship: `maa/pretrained/lessons`.

``python book/make/lessons.py``, after a recipe version or the profile `LESSON` has changed (some minutes).
"""

import os
import shutil

from maa.replication.records import Trained
from maa.replication.reproduce import REFINEMENTS
from maa.replication.study import LESSONS, Study, lesson


def networks(study: Study) -> list[Trained]:
    """What the chapters ask for that are not about how it is trained."""
    changes = [*REFINEMENTS.values(), {"mining": "batch-hard"}]
    return [*study.first_stage().values(), *(study.prn(**each) for each in changes), study.prn(seed=1)]


if __name__ == "__main__":
    os.environ.pop("MAA_IDRID", None)
    shutil.rmtree(LESSONS, ignore_errors=True)
    for trained in networks(lesson(anew=True)):
        folder = trained.path.parent
        shutil.copytree(folder, LESSONS / folder.name, ignore=lambda _, names: {*names} - {"run.json", "weights.safetensors"})
        print(folder.name, f"{trained.record.seconds:.0f} s")
