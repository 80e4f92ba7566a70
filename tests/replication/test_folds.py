"""Tests of maa.replication.folds: every photograph is validated on once, and never in its own training."""

import pytest

from maa.data.idrid import open_dataset
from maa.replication.folds import folds


@pytest.mark.parametrize("count", [2, 3])
def test_every_photograph_is_for_validation_once(tiny_phantom, count):
    dataset = open_dataset(tiny_phantom)
    parts = folds(dataset, count)
    usable = {record.name for record in dataset.records if record.split != "test"}
    for diseased in (True, False):
        validated = [record.name for part in parts for record in part.select("validation", diseased)]
        assert sorted(validated) == sorted(r.name for r in dataset.select(diseased=diseased) if r.split != "test")
    for part in parts:
        train, validation = ({record.name for record in part.select(split)} for split in ("train", "validation"))
        assert not train & validation and train | validation == usable and not part.select("test")


def test_parts_are_even_and_depend_on_the_seed(tiny_phantom):
    dataset = open_dataset(tiny_phantom)
    sizes = [len(part.select("validation", True)) for part in folds(dataset, 2)]
    assert max(sizes) - min(sizes) <= 1
    names = lambda seed: [record.name for record in folds(dataset, 2, seed)[0].select("validation")]
    assert names(0) == names(0) and len({tuple(names(seed)) for seed in range(8)}) > 1
    assert len({part.fingerprint for part in folds(dataset, 2)}) == 2
