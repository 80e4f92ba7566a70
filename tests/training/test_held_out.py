"""No pixel of a validation photograph is ever drawn in training: by name, and by what training would have noticed."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from tiny import TINY

from maa.data import ImageStack, idrid
from maa.replication.study import Study
from maa.training.tasks import HGNTask, PRNTask, UNetTask

STEPS = 4


def tasks(study):
    """The three tasks, made as `Study` makes them; their pools are drawn anew."""
    train, validation = study.train, study.validation
    unet = replace(TINY.unet, schedule=replace(TINY.unet.schedule, batch=8))
    return {
        "hgn": HGNTask(train[1], validation[1], TINY.hgn_half),
        "prn": PRNTask(train, replace(TINY.prn, refreshes=2)),
        "unet": UNetTask(train[1], validation[1], unet),
    }


def losses(study, name):
    """The losses of the first steps without a step being taken: they depend on nothing but what is drawn."""
    task = tasks(study)[name]
    torch.manual_seed(0)
    model = task.build().train()
    with torch.no_grad():
        return [float(task.loss(model, step, np.random.default_rng((5, step)))[0]) for step in range(STEPS)]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["hgn", "prn", "unet"])
def test_training_does_not_see_validation_photographs(name, tiny_phantom, tmp_path, monkeypatch):
    drawn = []

    def spied(method):
        def spy(stack, where, size):
            drawn.append({stack.names[index] for index in np.unique(where[:, 0])})
            return method(stack, where, size)

        return spy

    for method in ("gather", "gather_labels"):
        monkeypatch.setattr(ImageStack, method, spied(getattr(ImageStack, method)))

    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "first"))
    dataset = idrid.open_dataset(tiny_phantom)
    before = losses(Study(dataset, TINY), name)
    seen, training = set().union(*drawn), {record.name for record in dataset.select("train")}
    assert seen == training and not seen & {record.name for record in dataset.select("validation") + dataset.select("test")}

    # Validation and testing photographs become others, with other masks: training goes on as it did.
    other = shutil.copytree(tiny_phantom, tmp_path / "other")
    altered = idrid.open_dataset(other)
    for record in altered.select("validation") + altered.select("test"):
        picture = Image.open(record.image_path).convert("RGB").rotate(180).point(lambda value: value * 3 // 4)
        picture.save(record.image_path, quality=80)
        for path in record.mask_paths.values():
            Image.open(path).rotate(180).save(path)
    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "second"))
    altered = idrid.open_dataset(other)
    assert altered.fingerprint != dataset.fingerprint
    assert losses(Study(altered, TINY), name) == before

    # ... and a training photograph that changes is noticed, so that this test could fail.
    for record in altered.select("train"):
        picture = Image.open(record.image_path).convert("RGB").point(lambda value: value * 3 // 4)
        picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(record.image_path, quality=80)
    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "third"))
    assert losses(Study(idrid.open_dataset(other), TINY), name) != before


@pytest.mark.parametrize("train, test, graded", [(6, 3, 7), (1, 0, 0), (54, 27, 134)])
def test_no_photograph_is_in_two_splits(train, test, graded, tmp_path):
    """From the smallest to the official counts, with photographs of a few pixels."""
    rows = ["Image name,Retinopathy grade,Risk of macular edema"]
    for part, folder, count in (("A", "train", train), ("A", "test", test), ("B", "train", graded)):
        for number in range(1 if folder == "train" else train + 1, (count if folder == "train" else train + count) + 1):
            path = tmp_path / part / "images" / folder / f"IDRiD_{number:03d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((2, 2, 3), (number, len(part), 3 if part == "A" else 4), np.uint8)).save(path)
            if part == "A":
                mask = tmp_path / part / "masks" / folder / f"IDRiD_{number:03d}_MA.png"
                mask.parent.mkdir(parents=True, exist_ok=True)
                Image.new("1", (2, 2)).save(mask)
            else:
                rows.append(f"IDRiD_{number:03d},0,0")
    if graded:
        (tmp_path / "B" / "labels.csv").write_text("\n".join(rows))
    dataset = idrid.open_dataset(tmp_path)
    splits = [{record.image_path.read_bytes() for record in dataset.select(split)} for split in idrid.SPLITS]
    assert sum(map(len, splits)) == len(set().union(*splits)) == len(dataset.records)
    assert len(dataset.records) == train + test + graded - (graded >= 118)  # IDRiD_118 is graded wrongly
    assert all(record.split == "test" for record in dataset.records if "test" in record.image_path.parts)
