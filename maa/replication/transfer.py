"""How real are the phantoms?  A network that has seen nothing else, on real photographs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from maa.data.idrid import Dataset, open_dataset
from maa.inference.system import System
from maa.phantom.config import PhantomConfig
from maa.provenance import Json, PathLike, write_json
from maa.replication.evaluate import choose
from maa.replication.profiles import Profile
from maa.replication.study import Study, phantoms
from maa.training.config import HGNConfig, PRNConfig, Schedule

#: Phantoms at IDRiD's scale, with three times its lesions so that few photographs hold enough of them.
TRANSFER_PHANTOMS = {"n_diseased": 30, "n_healthy": 24, "n_test": 0, "seed": 11}
TRANSFER = Profile(
    "transfer",
    hgn_1x=HGNConfig(1.0, Schedule(steps=1200)),
    hgn_half=HGNConfig(0.5, Schedule(steps=1200)),
    prn=PRNConfig(Schedule(steps=1)),
)


def transfer(dataset: Dataset, out: PathLike) -> Json:
    """How real the phantom is: a network that has seen phantoms only, on real validation photographs.  Explained in ch:retina.

    Parameters
    ----------
    dataset : Dataset
        Real photographs.  None of them is trained on.
    out : path-like
        Where the run and the results (``results.json``) go.

    Returns
    -------
    dict
        The results file, as `evaluate` writes it, for the row "HGN 0.5x".
    """
    root = phantoms(PhantomConfig(size=1368, lesion_density=3.0), **TRANSFER_PHANTOMS)
    trained = Study(open_dataset(root), TRANSFER, Path(out) / "runs").hgn(0.5)
    results = choose(System(hgn_half=trained.model), dataset, healthy=False)
    results |= {"profile": asdict(TRANSFER), "runs": {"hgn_half": trained.record.as_json()}}
    write_json(Path(out) / "results.json", results)
    return results
