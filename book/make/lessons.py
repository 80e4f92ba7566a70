"""Train the networks of the lessons anew, on phantoms, and put them where they ship: `maa/pretrained/lessons`.

``python book/make/lessons.py``, after a recipe version or the profile `LESSON` has changed (some minutes).  Refinement networks are kept in
half precision, which their two classes do not notice; the others, from which training goes on, as they are.
"""

import os
import shutil

from maa.models.weights import save_weights
from maa.replication.records import Trained
from maa.replication.reproduce import REFINEMENTS
from maa.replication.study import LESSONS, Study, lesson


def networks(study: Study) -> list[Trained]:
    """What the chapters ask for that are not about how it is trained."""
    first = [*study.first_stage().values()]
    changes = [*REFINEMENTS.values(), {"mining": "batch-hard"}]
    return first + [study.prn(**each) for each in changes] + [study.prn(seed=1)]


if __name__ == "__main__":
    os.environ.pop("MAA_IDRID", None)
    shutil.rmtree(LESSONS, ignore_errors=True)
    for trained in networks(lesson(anew=True)):
        folder = LESSONS / trained.path.parent.name
        folder.mkdir(parents=True)
        save_weights(trained.model, folder / "weights.safetensors", half=trained.record.family == "prn")
        shutil.copy(trained.path.with_name("run.json"), folder)
        print(folder.name, f"{trained.record.seconds:.0f} s")
