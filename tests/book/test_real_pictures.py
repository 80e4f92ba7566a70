"""What the chapters show of real photographs is small, credited and whole."""

import base64
import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maa.inference import FIRST_STAGE, FULL_SYSTEM

FOLDER = Path(__file__).resolve().parents[2] / "results/idrid-full"


def picture(text: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


@pytest.mark.parametrize("name", ["crop", "embedding"])
def test_a_file_is_small_and_says_whose_the_photographs_are(name):
    path = FOLDER / f"{name}.json"
    assert path.stat().st_size < 300_000
    attribution = json.loads(path.read_text())["attribution"]
    assert "IDRiD" in attribution and "CC BY 4.0" in attribution and "10.3390/data3030025" in attribution


def test_the_crop_holds_the_annotation_and_all_four_maps():
    crop = json.loads((FOLDER / "crop.json").read_text())
    image, truth = picture(crop["image"]), picture(crop["truth"])
    assert image.shape == (*truth.shape, 3) == (crop["side"], crop["side"], 3) and truth.any() and truth.dtype == bool
    assert set(crop["square_roots"]) == set(crop["thresholds"]) == {*FIRST_STAGE, FULL_SYSTEM}
    for row, root in crop["square_roots"].items():
        probability = (picture(root) / 255) ** 2
        assert probability.shape == truth.shape
        assert probability[truth].mean() > 2 * probability[~truth].mean(), f"{row} should see something of the lesions"


def test_every_patch_has_its_place():
    real = json.loads((FOLDER / "embedding.json").read_text())
    count, side, across = len(real["kinds"]), real["side"], real["patches_in_a_row"]
    sheet = picture(real["sheet"])
    assert sheet.shape == (-(-count // across) * side, across * side, 3)
    assert len(real["probability"]) == len(real["photographs"]) == len(real["rows"]) == len(real["columns"]) == count
    z = np.frombuffer(base64.b64decode(real["embedding_float16"]), "<f2").reshape(count, -1).astype(float)
    assert np.allclose(np.linalg.norm(z, axis=1), 1, atol=0.01)
    assert len(np.frombuffer(base64.b64decode(real["umap_float16"]), "<f2")) == 2 * count
    assert real["kinds"][0] == "microaneurysm" and len(set(real["kinds"])) == 5
