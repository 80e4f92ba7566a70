"""The grid: the runs of a replication that do not wait for one another, wherever `maa.parallel.spread` lets them be trained."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from maa.data.idrid import Dataset
from maa.parallel import each
from maa.provenance import PathLike, fingerprint
from maa.replication.ablations import DECISIVE, FIRST_STAGE_QUESTIONS, QUESTIONS, further
from maa.replication.beyond import MEMBERS, long
from maa.replication.profiles import Profile
from maa.replication.reproduce import REFINEMENTS
from maa.replication.study import Study

#: A method of `Study`, the seed, and what else it is given.
Run = tuple[str, int, dict[str, Any]]


def grid(profile: Profile, everything: bool = False) -> tuple[list[Run], list[Run]]:
    """The first stages, and the refinement networks, which need those; with `everything` of the questions and the U-Nets too."""
    first: list[Run] = [("hgn", seed, {"scale": scale}) for seed in profile.seeds for scale in (1.0, 0.5)]
    second: list[Run] = [("prn", seed, changes) for seed in profile.seeds for changes in REFINEMENTS.values()]
    if everything:
        start = profile.seeds[0]
        first += [("unet", member, {}) for member in MEMBERS]
        first += [("hgn", start, changes) for changes in long(profile).values()]
        for scales, answers in FIRST_STAGE_QUESTIONS.values():
            first += [("hgn", start, {"scale": scale, **changes}) for scale in scales for changes in answers.values()]
        for question, asked in (QUESTIONS | further(profile)).items():
            seeds = profile.seeds if question in DECISIVE else (start,)
            second += [("prn", seed, changes) for seed in seeds for changes in asked.values()]
    return _once(first), _once(second)


def _once(runs: list[Run]) -> list[Run]:
    return list({fingerprint(run): run for run in runs}.values())


def train(dataset: Dataset, profile: Profile, out: PathLike, everything: bool = False) -> None:
    """Train the runs of `grid` into the folder where `maa.replication.reproduce.reproduce` finds them.

    To the bit the same as one process would, where each has as many threads (``OMP_NUM_THREADS``) and the same kind of machine.
    """
    folder = Path(out).absolute() / "runs"
    _ = Study(dataset, profile, folder).train  # normalised once, before several would do it
    for runs in grid(profile, everything):
        for _ in each(_train, [(dataset, profile, folder, run) for run in runs], "Training the grid"):
            pass


def _train(dataset: Dataset, profile: Profile, folder: Path, run: Run) -> None:
    method, seed, changes = run
    getattr(Study(dataset, profile, folder), method)(seed=seed, **changes)
