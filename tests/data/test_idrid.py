"""Tests of maa.data.idrid: the official layout in its variants, the splits, the fingerprint."""

import dataclasses
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from maa.data import LESIONS, idrid, locate
from maa.errors import MaaError

FOLDERS = {
    "MA": "1. Microaneurysms",
    "HE": "2. Haemorrhages",
    "EX": "3. Hard Exudates",
    "SE": "4. Soft Exudates",
    "OD": "5. Optic Disc",
}
SHAPE = (48, 64)


def photograph(path, seed, shape=SHAPE):
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    image = np.zeros((*shape, 3))
    image[np.hypot(rows - shape[0] / 2, columns - shape[1] / 2) < 22] = (180, 95, 40)
    image += np.random.default_rng(seed).normal(0, 4, image.shape)
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(path, quality=90)


def mask_file(path, squares, shape=SHAPE):
    """A palette mask with the given 3 x 3 squares."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mask = np.zeros(shape, np.uint8)
    for row, column in squares:
        mask[row : row + 3, column : column + 3] = 1
    picture = Image.fromarray(mask, mode="P")
    picture.putpalette([0, 0, 0, 255, 0, 0])
    picture.save(path)


def segmentation(root, train=6, test=0, top="A. Segmentation"):
    """The segmentation part; the k-th image has k % 3 + 1 lesions, its other masks now and then."""
    for split, numbers in (("a. Training Set", range(1, train + 1)), ("b. Testing Set", range(train + 1, train + test + 1))):
        for number in numbers:
            name = f"IDRiD_{number:02d}"
            photograph(root / top / "1. Original Images" / split / f"{name}.jpg", number)
            truth = root / top / "2. All Segmentation Groundtruths" / split
            squares = [(10 + 8 * k, 30) for k in range(number % 3 + 1)]
            mask_file(truth / FOLDERS["MA"] / f"{name}_MA.tif", squares)
            if number % 2:
                mask_file(truth / FOLDERS["SE"] / f"{name}_SE.tif", [(20, 20)])


def grading(root, grades, top="B. Disease Grading", copies=None):
    """The grading part; `copies` maps a name to the file that its photograph copies."""
    folder = root / top / "1. Original Images" / "a. Training Set"
    lines = ["Image name,Retinopathy grade,Risk of macular edema ,,,,"]
    for number, grade in grades.items():
        name = f"IDRiD_{number:03d}"
        lines.append(f"{name},{grade},0,,, ,")
        if copies and name in copies:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(copies[name], folder / f"{name}.jpg")
        else:
            photograph(folder / f"{name}.jpg", 1000 + number)
    truth = root / top / "2. Groundtruths"
    truth.mkdir(parents=True)
    # The official file: a blank row at the end and Windows line ends.
    (truth / "a. IDRiD_Disease Grading_Training Labels.csv").write_bytes("\r\n".join([*lines, ",,,,,,", ""]).encode())


def names(records):
    return [record.name for record in records]


def counts(dataset, diseased):
    return [len(dataset.select(split, diseased)) for split in idrid.SPLITS]


@pytest.fixture
def small(tmp_path):
    segmentation(tmp_path / "idrid")
    grading(tmp_path / "idrid", {5: 2, 30: 0, 31: 0, 32: 0, 9: 0})
    return tmp_path / "idrid"


# --- splits ---------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """As many photographs as the official release has, of the kinds that matter."""
    root = tmp_path_factory.mktemp("official")
    segmentation(root, train=54, test=27)
    source = root / "A. Segmentation" / "1. Original Images" / "b. Testing Set" / "IDRiD_55.jpg"
    # 135 grade-0 images, of which one copies a segmentation image, one copies a grade-3 image
    # and one is the known mistake, IDRiD_118, here without its twin: 132 remain.
    grades = {1: 3, 2: 1, **dict.fromkeys(range(100, 235), 0)}
    folder = root / "B. Disease Grading" / "1. Original Images" / "a. Training Set"
    copies = {"IDRiD_120": source, "IDRiD_121": folder / "IDRiD_001.jpg"}
    grading(root, grades, copies=copies)
    return idrid.open_dataset(root)


def test_diseased_splits_are_the_papers(official):
    assert counts(official, True) == [44, 10, 27]
    assert names(official.select("train", True)) == [f"IDRiD_{i:02d}" for i in range(1, 45)]
    assert names(official.select("validation", True)) == [f"IDRiD_{i:02d}" for i in range(45, 55)]


def test_healthy_splits_are_the_papers(official):
    assert counts(official, False) == [80, 9, 132 - 89]
    expected = [f"IDRiD_{i}" for i in range(100, 235) if i not in (118, 120, 121)]
    assert names(official.select(diseased=False)) == expected


def test_no_healthy_photograph_is_graded_or_occurs_twice(official):
    assert not {"IDRiD_001", "IDRiD_002"} & set(names(official.records))
    hashes = [idrid._file_hash(record.image_path) for record in official.records]
    assert len(set(hashes)) == len(hashes)


def test_small_sets_are_split_in_proportion(small):
    dataset = idrid.open_dataset(small)
    assert names(dataset.select("train", True)) == [f"IDRiD_{i:02d}" for i in range(1, 6)]
    assert names(dataset.select("validation", True)) == ["IDRiD_06"]
    assert names(dataset.select("train", False)) == ["IDRiD_009", "IDRiD_030", "IDRiD_031"]
    assert names(dataset.select("validation", False)) == ["IDRiD_032"]
    assert not dataset.select("test")
    assert dataset.select() == list(dataset.records)


def test_numbers_are_sorted_as_numbers(tmp_path):
    segmentation(tmp_path, train=101)
    assert names(idrid.open_dataset(tmp_path).records)[-3:] == ["IDRiD_99", "IDRiD_100", "IDRiD_101"]


def test_testing_images_alone_are_all_for_testing(tmp_path):
    segmentation(tmp_path, train=0, test=3)
    assert counts(idrid.open_dataset(tmp_path), True) == [0, 0, 3]


def test_unknown_split_is_an_error(small):
    with pytest.raises(ValueError, match="split must be one of"):
        idrid.open_dataset(small).select("valid")


# --- layout ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "tops",
    [
        ("A. Segmentation", "B. Disease Grading"),
        ("A.%20Segmentation/A. Segmentation", "B.%20Disease%20Grading/B. Disease Grading"),
        ("mirror/versions/1/A.%20Segmentation", "mirror/versions/1/B.%20Disease%20Grading"),
        ("seg", "healthy ones"),
    ],
)
def test_parts_are_known_by_their_content(tmp_path, tops):
    segmentation(tmp_path, top=tops[0])
    grading(tmp_path, {1: 0, 2: 0}, top=tops[1])
    dataset = idrid.open_dataset(tmp_path)
    assert counts(dataset, True) == [5, 1, 0] and counts(dataset, False) == [1, 1, 0]


def test_url_escapes_are_undone_at_every_level(small):
    for folder in sorted(small.rglob("*"), reverse=True):
        if folder.is_dir():
            folder.rename(folder.with_name(folder.name.replace(" ", "%20")))
    dataset = idrid.open_dataset(small)
    assert counts(dataset, True) == [5, 1, 0] and counts(dataset, False) == [3, 1, 0]


def test_one_part_alone_can_be_named(small):
    dataset = idrid.open_dataset(small / "A. Segmentation")
    assert counts(dataset, True) == [5, 1, 0] and not dataset.select(diseased=False)


def test_localisation_part_and_hidden_files_are_passed_over(small):
    part = small / "C. Localization"
    photograph(part / "1. Original Images" / "a. Training Set" / "IDRiD_001.jpg", 1)
    (part / "2. Groundtruths").mkdir()
    (part / "2. Groundtruths" / "a. IDRiD_OD_Center_Training Set_Markups.csv").write_text("x,y\n")
    images = small / "A. Segmentation" / "1. Original Images" / "a. Training Set"
    (images / "._IDRiD_01.jpg").write_bytes(b"macOS")
    (images / "Thumbs.db").write_bytes(b"Windows")
    dataset = idrid.open_dataset(small)
    assert counts(dataset, True) == [5, 1, 0] and counts(dataset, False) == [3, 1, 0]


def test_graded_photograph_that_was_not_downloaded_is_passed_over(small):
    folder = small / "B. Disease Grading" / "1. Original Images" / "a. Training Set"
    (folder / "IDRiD_009.jpg").unlink()
    assert names(idrid.open_dataset(small).select(diseased=False))[0] == "IDRiD_030"


def test_absent_masks_are_absent_lesions(small):
    records = {record.name: record for record in idrid.open_dataset(small).records}
    assert set(records["IDRiD_01"].mask_paths) == {"MA", "SE"}
    assert set(records["IDRiD_02"].mask_paths) == {"MA"}
    assert not records["IDRiD_030"].mask_paths


def test_two_copies_below_one_folder_are_refused(small):
    shutil.copytree(small / "A. Segmentation", small / "copy" / "A. Segmentation")
    with pytest.raises(MaaError, match="segmentation part of IDRiD twice"):
        idrid.open_dataset(small)


def test_empty_folder_is_refused(tmp_path):
    with pytest.raises(MaaError, match="holds no photographs with microaneurysm masks") as error:
        idrid.open_dataset(tmp_path)
    assert str(tmp_path) in str(error.value)


def test_grading_part_alone_is_refused(tmp_path):
    grading(tmp_path, {1: 0, 2: 0})
    with pytest.raises(MaaError, match="holds no photographs with microaneurysm masks"):
        idrid.open_dataset(tmp_path)


def test_missing_folder_is_refused(tmp_path):
    with pytest.raises(MaaError, match="is not a folder"):
        idrid.open_dataset(tmp_path / "absent")


def test_label_file_without_rows_is_refused(small):
    labels = next((small / "B. Disease Grading" / "2. Groundtruths").iterdir())
    labels.write_text("<html>404</html>")
    with pytest.raises(MaaError, match="holds no rows") as error:
        idrid.open_dataset(small)
    assert str(labels) in str(error.value)


# --- loading and counting -------------------------------------------------------------------------


def test_record_loads_image_field_and_masks(small):
    record = idrid.open_dataset(small).records[0]
    fundus = record.load()
    assert fundus.image.shape == (*SHAPE, 3) and fundus.fov[24, 32] and not fundus.fov[0, 0]
    assert set(fundus.lesions) == {"MA", "SE"}
    assert fundus.ma.sum() == 18 and fundus.ma[10:13, 30:33].all()
    assert (fundus.name, fundus.diseased, fundus.split) == ("IDRiD_01", True, "train")
    assert set(record.load(["MA"]).lesions) == {"MA"}


def test_mask_of_another_size_is_refused(small):
    record = idrid.open_dataset(small).records[0]
    mask_file(record.mask_paths["MA"], [(1, 1)], (SHAPE[0] + 1, SHAPE[1]))
    with pytest.raises(MaaError, match="64 x 49 pixels but its photograph has 64 x 48"):
        record.load()


def test_photograph_without_retina_is_named(small):
    record = idrid.open_dataset(small).records[0]
    Image.new("RGB", (64, 48)).save(record.image_path)
    with pytest.raises(MaaError, match="No field of view was found in .*IDRiD_01.jpg"):
        record.load()


def test_lesions_are_components_joined_at_corners(small):
    record = idrid.open_dataset(small).records[0]
    assert idrid.count_lesions(record) == (18, 2)
    mask_file(record.mask_paths["MA"], [(10, 10), (13, 13), (30, 10)])
    assert idrid.count_lesions(record) == (27, 2)
    assert idrid.count_lesions(record, "HE") == (0, 0)


# --- fingerprint ----------------------------------------------------------------------------------


def test_fingerprint_stays_when_the_folder_moves(small, tmp_path):
    before = idrid.open_dataset(small).fingerprint
    shutil.copytree(small, tmp_path / "elsewhere")
    assert idrid.open_dataset(tmp_path / "elsewhere").fingerprint == before
    assert len(before) == 64


@pytest.mark.parametrize("change", ["image", "mask", "absent mask"])
def test_fingerprint_changes_with_the_data(small, change):
    dataset = idrid.open_dataset(small)
    before, record = dataset.fingerprint, dataset.records[0]
    if change == "image":
        photograph(record.image_path, 777)
    if change == "mask":
        mask_file(record.mask_paths["MA"], [(1, 1)])
    if change == "absent mask":
        record.mask_paths["SE"].unlink()
    assert idrid.open_dataset(small).fingerprint != before


@pytest.mark.parametrize("change", [{"split": "test"}, {"diseased": False}, {"name": "other"}])
def test_fingerprint_changes_with_the_protocol(small, change):
    dataset = idrid.open_dataset(small)
    first, *rest = dataset.records
    changed = idrid.Dataset(small, (dataclasses.replace(first, **change), *rest))
    assert changed.fingerprint != dataset.fingerprint


# --- finding and fetching -------------------------------------------------------------------------


@pytest.fixture
def nowhere(tmp_path, monkeypatch):
    """No environment variable and an empty cache, below tmp_path."""
    monkeypatch.delenv(locate.VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def test_argument_comes_before_variable_before_cache(nowhere, monkeypatch):
    assert locate.find() is None
    cache = nowhere / "cache" / "maa" / "idrid"
    cache.mkdir(parents=True)
    assert locate.find() is None  # an empty cache holds no data
    (cache / "A. Segmentation").mkdir()
    assert locate.find() == cache
    for name in ("variable", "argument"):
        (nowhere / name).mkdir()
    monkeypatch.setenv(locate.VARIABLE, str(nowhere / "variable"))
    assert locate.find() == nowhere / "variable"
    assert locate.find(nowhere / "argument") == nowhere / "argument"


def test_named_folder_that_is_missing_is_never_passed_over(nowhere, monkeypatch):
    (nowhere / "variable").mkdir()
    monkeypatch.setenv(locate.VARIABLE, str(nowhere / "variable"))
    with pytest.raises(MaaError, match="named by --data, does not exist"):
        locate.find(nowhere / "absent")
    (nowhere / "file").write_text("")
    monkeypatch.setenv(locate.VARIABLE, str(nowhere / "file"))
    with pytest.raises(MaaError, match="named by MAA_IDRID, is a file"):
        locate.find()


def test_fetch_without_kagglehub_says_what_to_install(nowhere, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(MaaError, match=r"pip install 'maa\[data\]'"):
        locate.fetch()


def fake_kagglehub(monkeypatch, download):
    monkeypatch.setitem(sys.modules, "kagglehub", types.SimpleNamespace(dataset_download=download))


def test_fetched_data_are_found(nowhere, monkeypatch):
    def download(handle, output_dir):
        assert handle == locate.KAGGLE_HANDLE
        segmentation(Path(output_dir), top="A.%20Segmentation/A. Segmentation")

    fake_kagglehub(monkeypatch, download)
    root = locate.fetch()
    assert locate.find() == root
    assert counts(idrid.open_dataset(root), True) == [5, 1, 0]


def test_download_that_breaks_off_leaves_nothing_to_be_found(nowhere, monkeypatch):
    def download(handle, output_dir):
        (Path(output_dir) / "half").write_text("")
        raise ConnectionError("no route\nto host.")

    fake_kagglehub(monkeypatch, download)
    with pytest.raises(MaaError, match=r"\(no route to host\): check the network"):
        locate.fetch()
    assert locate.find() is None


def test_explanation_names_every_way(nowhere):
    text = locate.explain()
    for word in (locate.KAGGLE_HANDLE, locate.VARIABLE, str(locate.data_cache_folder()), "ieee-dataport"):
        assert word in text


# --- the real data --------------------------------------------------------------------------------


def test_real_data(real_idrid):
    dataset = idrid.open_dataset(real_idrid)
    assert counts(dataset, True)[:2] == [44, 10] and counts(dataset, False)[:2] == [80, 9]
    training = dataset.select("train", True) + dataset.select("validation", True)
    kinds = {kind: sum(kind in record.mask_paths for record in training) for kind in LESIONS}
    assert kinds == {"MA": 54, "HE": 53, "EX": 54, "SE": 26, "OD": 54}
    # The whole count, 704,963 pixels, takes half a minute: maa data prints it.
    validation = [idrid.count_lesions(record) for record in dataset.select("validation", True)]
    assert np.sum(validation, axis=0).tolist() == [133_812, 491]
