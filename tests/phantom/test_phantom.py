"""The phantom: the same every time, shaped like IDRiD, and as hard as IDRiD where it was measured."""

import csv

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from scipy import ndimage

from maa.data import IDRID_PIXELS_PER_DEGREE
from maa.errors import MaaError
from maa.phantom import CHANNELS, JPEG_QUALITY, LESION_MODELS, PhantomConfig, lesion_statistics, make_phantom, write_dataset

SMALL = PhantomConfig(size=384, field_degrees=384 / IDRID_PIXELS_PER_DEGREE, lesion_density=4)
CROWDED = PhantomConfig(size=768, field_degrees=768 / IDRID_PIXELS_PER_DEGREE, lesion_density=6)


@pytest.fixture(scope="module")
def crowd():
    return [make_phantom(seed, config=CROWDED) for seed in range(8)]


def test_same_seed_same_bytes():
    first, second = make_phantom(3, config=SMALL), make_phantom(3, config=SMALL)
    assert np.array_equal(first.image, second.image)
    assert first.lesions.keys() == second.lesions.keys()
    assert all(np.array_equal(first.lesions[kind], second.lesions[kind]) for kind in first.lesions)


def test_other_seed_other_patient():
    first, second = make_phantom(3, config=SMALL), make_phantom(4, config=SMALL)
    assert not np.array_equal(first.ma, second.ma)
    assert np.abs(first.image.astype(int) - second.image).mean() > 3


def test_shapes_and_scale():
    wide = make_phantom(0, config=PhantomConfig(size=320, height=200, field_degrees=30, aperture_degrees=24))
    assert wide.image.shape == (200, 320, 3) and wide.image.dtype == np.uint8
    assert wide.fov.shape == (200, 320) and wide.fov.dtype == bool
    assert wide.fov[100].sum() == pytest.approx(24 * 320 / 30, abs=2)
    assert PhantomConfig().pixels_per_degree == pytest.approx(51.2)


def test_surround_is_dark_and_retina_is_not(crowd):
    for fundus in crowd:
        assert fundus.image[:20, :20].max() <= 12
        red, green, blue = np.median(fundus.image[fundus.fov], axis=0)
        assert 90 < red < 240 and 0.3 < green / red < 0.65 and blue < green


def test_healthy_patients_have_no_lesion():
    for seed in range(4):
        fundus = make_phantom(seed, diseased=False, config=SMALL)
        assert not fundus.diseased
        assert set(fundus.lesions) <= {"OD"}
        assert not fundus.ma.any()


def test_diseased_patients_have_microaneurysms_inside_the_field_of_view(crowd):
    for fundus in crowd:
        assert fundus.diseased and fundus.ma.any()
        for mask in fundus.lesions.values():
            assert mask.dtype == bool and not (mask & ~fundus.fov).any()


def test_default_photograph_shows_the_disc():
    assert make_phantom(0, diseased=False).lesions["OD"].sum() > 20_000


def test_microaneurysms_have_the_measured_size_and_contrast(crowd):
    found = lesion_statistics(crowd)
    assert len(found) > 60
    # IDRiD: median 235 pixels, quartiles 148 and 377; green contrast -0.096, quartiles -0.123, -0.073.
    assert 180 < found.area.median() < 310
    assert 0.4 < np.log(found.area).std() < 0.9
    assert -0.13 < found.contrast_green.median() < -0.07
    assert -0.05 < found.contrast_red.median() < -0.01
    assert found.contrast_green.quantile(0.75) - found.contrast_green.quantile(0.25) > 0.02


def test_number_of_microaneurysms_follows_the_density():
    model = LESION_MODELS["MA"]
    counts = [len(lesion_statistics(make_phantom(seed, config=SMALL))) for seed in range(10)]
    area = np.pi * (0.97 * SMALL.field_degrees / 2) ** 2
    expected = model.density * area * SMALL.lesion_density
    assert expected / 3 < np.mean(counts) < 3 * expected


def test_bright_lesions_are_bright(crowd):
    found = lesion_statistics(crowd, kinds=["EX"])
    assert 0.05 < found.contrast_green.median() < 0.25
    assert found.contrast_blue.median() > 0


def texture(fundus):
    """By channel and sigma, the robust standard deviation, in grey levels, of the difference of Gaussians of sigma and 2 sigma.

    Over the square of at most 1800 pixels inscribed in the field of view: what the phantom's grain was fitted to on IDRiD.
    """
    amplitude = {}
    rows, columns = np.flatnonzero(fundus.fov.any(axis=1)), np.flatnonzero(fundus.fov.any(axis=0))
    half = min(900, int(0.35 * len(rows)), int(0.35 * len(columns)))
    square = tuple(slice(int(side.mean()) - half, int(side.mean()) + half) for side in (rows, columns))
    for index, channel in enumerate(CHANNELS):
        finer = ndimage.gaussian_filter(fundus.image[square][..., index].astype(np.float32), 1)
        for sigma in (1, 2, 4, 8, 16, 32):
            coarser = ndimage.gaussian_filter(finer, np.sqrt(3) * sigma)
            band = (finer - coarser)[::2, ::2]
            amplitude[channel, sigma] = 1.4826 * float(np.median(np.abs(band - np.median(band))))
            finer = coarser
    return amplitude


def test_texture_has_the_measured_amplitude_at_every_scale(crowd):
    found = pd.concat([pd.Series(texture(fundus)) for fundus in crowd[:4]], axis=1).median(axis=1)
    assert found["green"].loc[[1, 2, 4, 8]].between(0.6, 1.6).all()
    assert found["red"].loc[[1, 2, 4, 8]].between(0.6, 1.6).all()
    assert found["blue"].loc[8] < found["green"].loc[8]


def test_unlabelled_lesions_stay_in_the_photograph(crowd):
    seed = int(np.argmax([fundus.ma.sum() for fundus in crowd]))
    full = crowd[seed]
    half = make_phantom(seed, config=PhantomConfig(**{**vars(CROWDED), "unlabelled": 0.5}))
    none = make_phantom(seed, config=PhantomConfig(**{**vars(CROWDED), "unlabelled": 1.0}))
    assert np.array_equal(full.image, half.image) and np.array_equal(full.image, none.image)
    assert 0.15 * full.ma.sum() < half.ma.sum() < 0.85 * full.ma.sum()
    assert not (half.ma & ~full.ma).any()
    assert not none.ma.any()
    others = set(full.lesions) - {"MA"}
    assert others and all(np.array_equal(full.lesions[kind], none.lesions[kind]) for kind in others)


def test_no_lesions_when_the_density_is_zero():
    config = PhantomConfig(**{**vars(SMALL), "lesion_density": 0.0})
    assert set(make_phantom(1, config=config).lesions) <= {"OD"}


def test_statistics_of_no_lesion_are_an_empty_table():
    found = lesion_statistics(make_phantom(0, diseased=False, config=SMALL))
    assert len(found) == 0 and {"area", "contrast_green"} <= set(found.columns)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    calls = []
    root = write_dataset(
        tmp_path_factory.mktemp("phantom") / "set", 2, 3, seed=7, n_test=1, config=SMALL,
        progress=lambda done, total: calls.append((done, total)),
    )  # fmt: skip
    return root, calls


def test_dataset_has_the_official_layout(dataset):
    root, calls = dataset
    assert calls == [(i, 6) for i in range(1, 7)]
    images = {str(path.relative_to(root)) for path in root.rglob("*.jpg")}
    assert images == {
        "A. Segmentation/1. Original Images/a. Training Set/IDRiD_01.jpg",
        "A. Segmentation/1. Original Images/a. Training Set/IDRiD_02.jpg",
        "A. Segmentation/1. Original Images/b. Testing Set/IDRiD_03.jpg",
        *(f"B. Disease Grading/1. Original Images/a. Training Set/IDRiD_{n}.jpg" for n in (138, 139, 140)),
    }
    truth = root / "A. Segmentation/2. All Segmentation Groundtruths"
    assert (truth / "a. Training Set/1. Microaneurysms/IDRiD_01_MA.tif").is_file()
    assert (truth / "b. Testing Set/1. Microaneurysms/IDRiD_03_MA.tif").is_file()
    with open(root / "B. Disease Grading/2. Groundtruths/a. IDRiD_Disease Grading_Training Labels.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["Image name"] for row in rows] == ["IDRiD_138", "IDRiD_139", "IDRiD_140"]
    assert {row["Retinopathy grade"] for row in rows} == {"0"}


def test_masks_are_palette_images_with_index_one(dataset):
    masks = sorted(dataset[0].rglob("*_MA.tif"))
    assert len(masks) == 3
    for path in masks:
        with Image.open(path) as mask:
            assert mask.mode == "P" and mask.getpalette()[3:6] == [255, 0, 0]
            assert set(np.unique(np.asarray(mask))) == {0, 1}
    for path in dataset[0].rglob("*.tif"):
        with Image.open(path) as mask:
            assert np.asarray(mask).any(), f"{path.name} is empty: an absent lesion has no file"


def test_photographs_are_compressed_as_in_idrid(dataset, tmp_path):
    reference = tmp_path / "reference.jpg"
    Image.new("RGB", (16, 16)).save(reference, quality=JPEG_QUALITY, subsampling="4:2:0")
    with Image.open(reference) as expected:
        tables = expected.quantization
    for path in dataset[0].rglob("*.jpg"):
        with Image.open(path) as photograph:
            assert photograph.quantization == tables
            assert [layer[1:3] for layer in photograph.layer] == [(2, 2), (1, 1), (1, 1)]


def test_dataset_is_the_same_every_time(dataset, tmp_path):
    again = write_dataset(tmp_path / "again", 2, 3, seed=7, n_test=1, config=SMALL)
    files = [path.relative_to(again) for path in again.rglob("*") if path.is_file()]
    assert len(files) > 12
    assert all((again / name).read_bytes() == (dataset[0] / name).read_bytes() for name in files)


def test_a_folder_with_something_in_it_is_left_alone(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(MaaError, match="not an empty folder"):
        write_dataset(tmp_path, 1, 0, config=SMALL)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]


def test_an_empty_folder_is_filled(tmp_path):
    (tmp_path / "new").mkdir()
    assert write_dataset(tmp_path / "new", 1, 0, n_test=0, config=SMALL) == tmp_path / "new"
    assert not list((tmp_path / "new").glob("B*"))


def test_an_interrupted_run_leaves_nothing(tmp_path):
    def interrupt(done, total):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_dataset(tmp_path / "set", 1, 1, config=SMALL, progress=interrupt)
    assert not list(tmp_path.iterdir())


def test_a_negative_seed_is_refused(tmp_path):
    with pytest.raises(MaaError, match="seed"):
        make_phantom(-1, config=SMALL)
    with pytest.raises(MaaError, match="seed"):
        write_dataset(tmp_path / "set", 1, 0, seed=-1, config=SMALL)


@pytest.mark.parametrize("counts", [(0, 1, None), (1, -1, None), (1, 1, -1)])
def test_impossible_counts_are_refused(tmp_path, counts):
    with pytest.raises(MaaError, match="at least one diseased"):
        write_dataset(tmp_path / "set", *counts[:2], n_test=counts[2], config=SMALL)


@pytest.mark.parametrize(
    "wrong", [{"size": 10}, {"field_degrees": 0}, {"unlabelled": 1.5}, {"lesion_density": -1}, {"lookalikes": -1}]
)
def test_impossible_configurations_are_refused(wrong):
    with pytest.raises(MaaError, match=next(iter(wrong))):
        PhantomConfig(**wrong)
