"""Folds: cross-validation over all photographs that are not held back for the test."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from maa.data.idrid import Dataset

#: Nine of IDRiD's 54 diseased photographs a fold.
FOLDS = 6


def folds(dataset: Dataset, count: int = FOLDS, seed: int = 0) -> list[Dataset]:
    """The same photographs, dealt again: each data set has another part of them for validation, and the others for training.

    Diseased and healthy photographs are dealt apart, in an order drawn with `seed`, so that the parts are of one size within one.
    Test photographs are left out.  IDRiD does not say which photographs are of one patient, so each counts as a patient.

    Parameters
    ----------
    dataset : Dataset
    count : int
        How many parts, at least 2.
    seed : int

    Returns
    -------
    list of Dataset, of length `count`
    """
    rng = np.random.default_rng(seed)
    part: dict[str, int] = {}
    for diseased in (True, False):
        records = [record for record in dataset.select(diseased=diseased) if record.split != "test"]
        order = rng.permutation(len(records))
        part |= {records[index].name: place % count for place, index in enumerate(order)}
    return [
        Dataset(
            dataset.root,
            tuple(
                replace(record, split="validation" if part[record.name] == fold else "train")
                for record in dataset.records
                if record.name in part
            ),
        )
        for fold in range(count)
    ]
