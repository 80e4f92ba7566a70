"""A data set that is silently wrong: what is read all the same, what is refused, and what is named.

The kinds of trouble are from bug reports of other tools; the photographs are drawn.
"""

import csv
import io
import shutil
import zipfile

import numpy as np
import pytest
from PIL import Image

from maa import cli
from maa.data import idrid, layout, verification
from maa.errors import MaaError
from maa.phantom import PhantomConfig, write_dataset

pytestmark = pytest.mark.slow

SEGMENTATION, GRADING = "A. Segmentation", "B. Disease Grading"
ORIGINALS, TRUTHS = "1. Original Images", "2. All Segmentation Groundtruths"
TRAIN, TEST = "a. Training Set", "b. Testing Set"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    """4 photographs for training, of which one validates, 2 for testing, 2 and 1 healthy; every one with microaneurysms' masks."""
    config = PhantomConfig(size=256, field_degrees=8, lesion_density=8)
    return write_dataset(tmp_path_factory.mktemp("drawn") / "idrid", 4, 3, seed=1, n_test=2, config=config)


@pytest.fixture
def root(drawn, tmp_path):
    return shutil.copytree(drawn, tmp_path / "idrid")


def photograph(root, number):
    return next(root.rglob(f"IDRiD_{number:02d}.jpg"))


def mask(root, number, kind="MA"):
    return next(root.rglob(f"IDRiD_{number:02d}_{kind}.tif"))


def labels(root):
    return next(root.rglob("*Labels.csv"))


def counts(root):
    dataset = idrid.open_dataset(root)
    return [len(dataset.select(split, diseased)) for diseased in (True, False) for split in idrid.SPLITS]


def sentences(root, misleads=None):
    findings = idrid.inspect_dataset(root)[1]
    return [finding.sentence for finding in findings if misleads in (None, finding.misleads)]


def refused(root, *words):
    """The one sentence of the refusal holds every word, and is the first that the inspection finds."""
    with pytest.raises(MaaError) as error:
        idrid.open_dataset(root)
    sentence = str(error.value)
    assert "\n" not in sentence and sentence.endswith(".") and not sentence.endswith("..")
    for word in words:
        assert str(word) in sentence, (word, sentence)
    return sentence


COMPLETE = [3, 1, 2, 2, 1, 0]


def test_nothing_is_said_of_a_sound_data_set(root):
    assert counts(root) == COMPLETE and sentences(root) == []


# --- other names and leftovers that are read ------------------------------------------------------


def rename(root, names):
    for path in sorted(root.rglob("*"), reverse=True):
        if path.is_dir() and path.name in names:
            path.rename(path.with_name(names[path.name]))


@pytest.mark.parametrize(
    "names",
    [
        {TRAIN: "train", TEST: "test"},
        {TRAIN: "TRAINING", TEST: "TESTING_SET"},
        {TRAIN: "a. Trainingsdaten", TEST: "b. Testdaten", ORIGINALS: "1. Originalbilder", TRUTHS: "2. Segmentierungen"},
        {SEGMENTATION: "A. Segmentación", GRADING: "B. Grados", ORIGINALS: "imágenes", TRUTHS: "verdad", TRAIN: "entrenamiento", TEST: "prueba"},
        {TRAIN: "Ensemble d’entraînement", TEST: "Ensemble de test", ORIGINALS: "originales", TRUTHS: "annotées"},
        {TRAIN: "训练集", TEST: "测试集", ORIGINALS: "原图", TRUTHS: "标注"},
        {"1. Microaneurysms": "1. Microaneurismas", "2. Haemorrhages": "hemorragias", ORIGINALS: "images", TRUTHS: "masks"},
    ],
    ids=["lower case", "upper case", "German", "Spanish", "French", "Chinese", "kinds"],
)  # fmt: skip
def test_translated_and_renamed_folders_are_read(root, names):
    before = idrid.open_dataset(root).fingerprint
    rename(root, names)
    dataset = idrid.open_dataset(root)
    assert dataset.fingerprint == before and sentences(root) == []


def test_splits_above_images_and_masks_are_read(root):
    before = idrid.open_dataset(root).fingerprint
    other = root / "by split"
    for split, name in ((TRAIN, "train"), (TEST, "test")):
        (other / name).mkdir(parents=True)
        (root / SEGMENTATION / ORIGINALS / split).rename(other / name / "images")
        (root / SEGMENTATION / TRUTHS / split).rename(other / name / "masks")
    shutil.rmtree(root / SEGMENTATION)
    assert idrid.open_dataset(root).fingerprint == before


def test_a_word_above_the_root_says_nothing(root):
    """Folders of tests are full of the word test."""
    root = root.rename(root.with_name("test data"))
    assert counts(root) == COMPLETE


def test_archives_within_archives_and_leftovers_are_read(root):
    before = idrid.open_dataset(root).fingerprint
    inner = root / "A.%20Segmentation"
    inner.mkdir()
    (root / SEGMENTATION).rename(inner / SEGMENTATION)
    (root / "A. Segmentation.zip").write_bytes(b"the archive that was unpacked")
    for path in [path for path in root.rglob("*") if path.is_file()]:
        shadow = root / "__MACOSX" / path.relative_to(root).with_name("._" + path.name)
        shadow.parent.mkdir(parents=True, exist_ok=True)
        shadow.write_bytes(b"\0\x05\x16\x07")
        path.with_name("._" + path.name).write_bytes(b"\0\x05\x16\x07")
        for name in ("Thumbs.db", "desktop.ini", ".DS_Store"):
            path.with_name(name).write_bytes(b"left")
    assert idrid.open_dataset(root).fingerprint == before and sentences(root) == []


@pytest.mark.parametrize(
    "name",
    ["IDRID_02_MA.TIF", "idrid_02_ma.tif", "IDRiD_002_MA.tif", "IDRiD_02-MA.tif", "IDRiD_02 MA.tiff", "IDRiD_02.tif", "IDRiD_02_MA.tif.tif"],
)  # fmt: skip
def test_masks_are_matched_whatever_case_zeros_and_separator(root, name):
    path, kinds = mask(root, 2), idrid.open_dataset(root).records[1].mask_paths.keys()
    path.rename(path.with_name(name))
    record = idrid.open_dataset(root).records[1]
    assert record.mask_paths["MA"].name == name and record.mask_paths.keys() == kinds and sentences(root) == []


@pytest.mark.parametrize("ending", [".gif", ".png", ".bmp"])
def test_masks_of_other_formats_are_read(root, ending):
    before = {record.name: record.load().ma for record in idrid.open_dataset(root).select(diseased=True)}
    for path in root.rglob("*.tif"):
        Image.open(path).save(path.with_suffix(ending))
        path.unlink()
    after = {record.name: record.load().ma for record in idrid.open_dataset(root).select(diseased=True)}
    assert after.keys() == before.keys() and all(np.array_equal(after[name], before[name]) for name in before)


def test_links_in_a_circle_end(root):
    (root / SEGMENTATION / "again").symlink_to(root, target_is_directory=True)
    assert counts(root) == COMPLETE


def test_a_part_that_is_a_link_is_read(root, tmp_path):
    (root / SEGMENTATION).rename(tmp_path / "elsewhere")
    (root / SEGMENTATION).symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    assert counts(root) == COMPLETE


# --- the file of grades ---------------------------------------------------------------------------


def semicolons(text):
    return text.replace(",", ";").encode()


def floats(text):
    rows = [row.split(",") for row in text.splitlines()]
    return "\n".join([",".join(rows[0]), *(f"{name},{grade}.0,{risk}.0" for name, grade, risk in rows[1:])]).encode()


def german_floats(text):
    rows = [row.split(",") for row in text.splitlines()]
    return "\r\n".join([";".join(rows[0]), *(f"{name};{grade},0;{risk},0" for name, grade, risk in rows[1:])]).encode()


def pandas_index(text):
    head, *rows = text.splitlines()
    return "\n".join([f",{head}", *(f"{i},{row}" for i, row in enumerate(rows))]).encode()


def other_columns(text):
    rows = [row.split(",") for row in text.splitlines()]
    return "\n".join(f"{name},{risk},{grade}" for name, grade, risk in rows).encode()


def quoted_rows(text):
    return "\n".join(f'"{row}"' for row in text.splitlines()).encode()


RESAVED = {
    "Excel, German": semicolons,
    "Excel, with its own line": lambda text: b"sep=;\r\n" + semicolons(text),
    "Excel, Unicode text": lambda text: text.replace(",", "\t").encode("utf-16"),
    "UTF-8 with a mark": lambda text: text.encode("utf-8-sig"),
    "pandas, floats": floats,
    "decimal commas": german_floats,
    "pandas, with its index": pandas_index,
    "columns in another order": other_columns,
    "rows in quotation marks": quoted_rows,
    "names with endings": lambda text: text.replace(",0,", ".jpg,0,").encode(),
    "names in capitals": lambda text: text.replace("IDRiD", "IDRID").encode(),
    "no head": lambda text: "\n".join(text.splitlines()[1:]).encode(),
    "translated head": lambda text: text.replace("Image name,Retinopathy grade", "Bildname,Retinopathiegrad").encode(),
}


@pytest.mark.parametrize("how", RESAVED)
def test_grades_that_were_saved_again_are_read(root, how):
    before = idrid.open_dataset(root).fingerprint
    path = labels(root)
    content = RESAVED[how](path.read_text())
    assert content != path.read_bytes()
    path.write_bytes(content)
    assert idrid.open_dataset(root).fingerprint == before and sentences(root) == []


def test_the_grade_is_not_taken_from_the_column_of_the_risk(root):
    path = labels(root)
    rows = list(csv.reader(io.StringIO(path.read_text())))
    path.write_text("\n".join(",".join([name, risk, "2" if i == 1 else grade]) for i, (name, grade, risk) in enumerate(rows)))
    assert counts(root)[3:] == [1, 1, 0]


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda rows: [*rows, "IDRiD_140,none,0"], ["IDRiD_140", '"none"', "row 5"]),
        (lambda rows: [*rows, "IDRiD_140,7,0"], ["IDRiD_140", '"7"', "0 to 4"]),
        (lambda rows: [*rows, "IDRiD_138,2,0"], ["IDRiD_138", "grade 0 and again, in row 5, 2"]),
        (lambda rows: [row.replace("IDRiD_", "eye ") for row in rows], ["names none of the photographs"]),
        (lambda rows: rows[:1], ["holds no rows"]),
    ],
)
def test_grades_that_cannot_be_trusted_are_refused(root, change, words):
    path = labels(root)
    path.write_text("\n".join(change(path.read_text().splitlines())))
    refused(root, path, *words)


def test_a_renamed_file_of_grades_is_known_by_its_columns(root):
    before = idrid.open_dataset(root).fingerprint
    labels(root).rename(labels(root).with_name("grados.csv"))
    assert idrid.open_dataset(root).fingerprint == before


def test_a_workbook_of_grades_is_named(root):
    path = labels(root)
    path.rename(path.with_suffix(".xlsx"))
    refused(root, path.with_suffix(".xlsx"), "save it as CSV")


def test_graded_photographs_without_their_file_are_named(root):
    folder = labels(root).parent
    shutil.rmtree(folder)
    refused(root, root / GRADING / ORIGINALS / TRAIN, "neither masks nor grades", "Training Labels.csv")


def test_a_photograph_without_a_grade_is_named(root):
    path = labels(root)
    path.write_text("\n".join(row for row in path.read_text().splitlines() if "139" not in row))
    assert sentences(root, False) == [
        f"{root / GRADING / ORIGINALS / TRAIN / 'IDRiD_139.jpg'} has no grade in {path}, so it is not used."
    ]
    assert sum(counts(root)[3:]) == 2


def test_two_files_of_grades_of_one_split_are_refused(root):
    shutil.copy(labels(root), labels(root).with_name("IDRiD Grading Training Labels resaved.csv"))
    refused(root, "two files of grades", "resaved.csv")


# --- masks and photographs ------------------------------------------------------------------------


def misname(root):
    path = mask(root, 2)
    path.rename(path.with_name("IDRiD_77_MA.tif"))
    return [path.with_name("IDRiD_77_MA.tif"), "matches no photograph", "IDRiD_77"]


def copy_of_a_mask(root):
    path = mask(root, 2)
    shutil.copy(path, path.with_name("IDRiD_02_MA (1).tif"))
    return [path.with_name("IDRiD_02_MA (1).tif"), "matches no photograph"]


def lose_all_masks(root):
    for path in root.rglob("IDRiD_02_*.tif"):
        path.unlink()
    return [photograph(root, 2), "has no mask of microaneurysms, nor any other", "IDRiD_02_MA.tif"]


def lose_photograph(root):
    photograph(root, 2).unlink()
    return ["IDRiD_02_", "matches no photograph", "more like it"]


def second_mask(root):
    path = mask(root, 2)
    Image.new("1", Image.open(path).size).save(path.with_suffix(".png"))
    return [path, path.with_suffix(".png"), "different masks of one photograph"]


def mask_of_unread_format(root):
    path = mask(root, 2)
    path.rename(path.with_suffix(".npy"))
    return [path.with_suffix(".npy"), ".npy is not read", "TIFF or PNG"]


def mask_of_unknown_kind(root):
    path = mask(root, 2)
    (path.parent.parent / "6. Others").mkdir()
    path.rename(path.parent.parent / "6. Others" / "IDRiD_02.tif")
    return [path.parent.parent / "6. Others" / "IDRiD_02.tif", "does not say what it marks", "IDRiD_02_MA.tif"]


def two_of_one_name(root):
    Image.open(photograph(root, 2)).rotate(180).save(photograph(root, 2).with_name("IDRID_002.png"))
    return ["IDRiD_02.jpg", "IDRID_002.png", "two photographs of one name"]


def copy_in_validation(root):
    shutil.copy(photograph(root, 1), photograph(root, 4))
    return [photograph(root, 1), photograph(root, 4), "one for train, one for validation"]


def copy_in_test(root):
    shutil.copy(photograph(root, 6), photograph(root, 2))
    return [photograph(root, 2), photograph(root, 6), "one for train, one for test"]


def healthy_copy_in_validation(root):
    shutil.copy(photograph(root, 138), photograph(root, 140))
    return [photograph(root, 138), photograph(root, 140), "one for train, one for validation"]


def unknown_split(root):
    folder = root / SEGMENTATION / ORIGINALS
    (folder / TRAIN).rename(folder / "first half")
    return [folder / "first half", "a. Training Set"]


def link_to_nothing(root):
    path = photograph(root, 2)
    path.unlink()
    path.symlink_to(root / "never fetched")
    return [path, "link to a file that is not here"]


def mask_link_to_nothing(root):
    path = mask(root, 2)
    path.unlink()
    path.symlink_to(root / "never fetched")
    return [path, "link to a file that is not here"]


@pytest.mark.parametrize(
    "spoil",
    [
        misname, copy_of_a_mask, lose_all_masks, lose_photograph, second_mask, mask_of_unread_format, mask_of_unknown_kind,
        two_of_one_name, copy_in_validation, copy_in_test, healthy_copy_in_validation, unknown_split, link_to_nothing,
        mask_link_to_nothing,
    ],
)  # fmt: skip
def test_what_would_mislead_is_refused_and_named(root, spoil):
    refused(root, *spoil(root))


def test_every_orphan_is_named(root):
    for number in (1, 2, 3):
        mask(root, number).rename(mask(root, number).with_name(f"IDRiD_{number + 70}_MA.tif"))
    orphans = [sentence for sentence in sentences(root, True) if "matches no photograph" in sentence]
    assert len(orphans) == 3 and all(any(f"IDRiD_{number}_MA.tif" in one for one in orphans) for number in (71, 72, 73))
    assert "2 more like it: maa data --verify lists all" in refused(root)


def test_one_lesion_free_photograph_is_named_and_not_refused(root):
    mask(root, 2).unlink()
    assert counts(root) == COMPLETE
    (sentence,) = sentences(root)
    assert str(photograph(root, 2)) in sentence and "has other masks, so it counts as free of them" in sentence


def test_masks_of_a_split_that_was_left_out_are_named_and_not_refused(root):
    shutil.rmtree(root / SEGMENTATION / ORIGINALS / TEST)
    assert counts(root) == [3, 1, 0, 2, 1, 0]
    assert sentences(root, False) and not sentences(root, True)


def test_a_copy_within_a_split_is_named_and_not_refused(root):
    shutil.copy(photograph(root, 1), photograph(root, 2))
    assert counts(root) == COMPLETE
    (sentence,) = sentences(root, False)
    assert str(photograph(root, 1)) in sentence and "both for train" in sentence


def test_photographs_of_no_part_are_named_and_not_refused(root):
    (root / "holiday").mkdir()
    shutil.copy(photograph(root, 1), root / "holiday" / "eye.jpg")
    assert counts(root) == COMPLETE
    assert any(str(root / "holiday") in sentence and "not used" in sentence for sentence in sentences(root, False))


def test_what_is_missing_is_said_where_nothing_is_found(root, tmp_path):
    for folder, word in ((ORIGINALS, "have no photographs near them"), (TRUTHS, "have no masks near them")):
        copy = shutil.copytree(root, tmp_path / word)
        shutil.rmtree(copy / SEGMENTATION / folder)
        shutil.rmtree(copy / GRADING)
        refused(copy, copy, word, folder, "name the folder")
    packed = tmp_path / "packed"
    packed.mkdir()
    with zipfile.ZipFile(packed / "A. Segmentation.zip", "w") as archive:
        archive.write(photograph(root, 1), "IDRiD_01.jpg")
    refused(packed, packed / "A. Segmentation.zip", "unpack it")


def test_masks_are_not_matched_with_the_grading_set(root):
    """IDRiD_138.jpg of the grading set is another photograph than one of that number in the segmentation set."""
    for number in (1, 2, 3, 4):
        for path in root.rglob(f"IDRiD_{number:02d}_*.tif"):
            path.rename(path.with_name(path.name.replace(f"_{number:02d}_", f"_{137 + number}_")))
    refused(root, "matches no photograph")
    shutil.rmtree(root / SEGMENTATION / ORIGINALS)
    refused(root, "have no photographs near them")


# --- pictures -------------------------------------------------------------------------------------


def verify(root):
    """Sentences of the whole verification."""
    dataset, findings = idrid.inspect_dataset(root)
    examined = [verification.examine(record) for record in dataset.records]
    return [f.sentence for f in findings + verification.same_pictures(examined)] + [p for e in examined for p in e.problems]


ANEW = {
    "encoded": lambda picture: picture,
    "scaled": lambda picture: picture.resize((180, 180)),
    "enlarged": lambda picture: picture.resize((400, 400)),
    "mirrored": lambda picture: picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "upside down": lambda picture: picture.transpose(Image.Transpose.FLIP_TOP_BOTTOM),
    "turned": lambda picture: picture.transpose(Image.Transpose.ROTATE_90),
    "brightened": lambda picture: picture.point(lambda value: min(255, round(value * 1.2))),
}


@pytest.mark.parametrize("how", ANEW)
@pytest.mark.parametrize("pair, splits", [((1, 4), "one for train, one for validation"), ((138, 139), "both for train")])
def test_copies_are_known_by_their_picture(root, how, pair, splits):
    assert verify(root) == []
    one, other = (photograph(root, number) for number in pair)
    copy = ANEW[how](Image.open(one).convert("RGB"))
    for path in root.rglob(f"{other.stem}_*.tif"):  # masks of a size that fits
        Image.open(path).resize(copy.size, Image.Resampling.NEAREST).save(path)
    copy.save(other, quality=70)
    found = [sentence for sentence in verify(root) if "same photograph" in sentence]
    assert len(found) == 1 and str(one) in found[0] and str(other) in found[0] and splits in found[0]


def test_blank_retinas_are_not_copies_of_one_another(root):
    for number in (138, 139):
        path = photograph(root, number)
        picture = np.asarray(Image.open(path)).copy()
        picture[picture.max(axis=2) > 30] = (170, 90, 40)
        Image.fromarray(picture).save(path.with_suffix(".png"))
        path.unlink()
    assert not any("same photograph" in sentence for sentence in verify(root))


def test_masks_that_cannot_be_right_are_named(root):
    inverted, swapped, beside = mask(root, 1), mask(root, 2), mask(root, 3)
    Image.fromarray(np.asarray(Image.open(inverted).convert("L")) == 0).save(inverted)
    shutil.copy(mask(root, 4), swapped)
    corner = np.zeros(Image.open(beside).size[::-1], bool)
    corner[:6, :6] = True
    Image.fromarray(corner).save(beside)
    found = verify(root)
    assert len(found) == 3
    for path, words in ((inverted, "looks inverted"), (swapped, "mark the same"), (beside, "outside the field of view")):
        assert sum(str(path) in sentence and words in sentence for sentence in found) == 1
    assert any(str(mask(root, 4)) in sentence for sentence in found)


def test_the_command_names_each_file_and_ends_with_2(root, capsys, monkeypatch):
    Image.open(photograph(root, 1)).save(photograph(root, 4), quality=60)
    misname(root)
    Image.new("1", (40, 50)).save(mask(root, 3))
    monkeypatch.setattr("sys.argv", ["maa", "data", "--data", str(root), "--verify"])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    printed = capsys.readouterr()
    lines = printed.err.strip().splitlines()
    assert stop.value.code == 2 and "Verified" not in printed.out and len(lines) == 4
    for words in ("IDRiD_77_MA.tif", "same photograph, saved, scaled or mirrored anew", "40 x 50", "IDRiD_02.jpg"):
        assert sum(words in line for line in lines) == 1


def test_the_real_data_set_is_sound(real_idrid):
    dataset, findings = idrid.inspect_dataset(real_idrid)
    assert findings == [] and len(dataset.records) >= 143


def test_names_are_folded_as_numbers_and_not_as_digits():
    assert layout.fold("IDRiD_005") == layout.fold("idrid_5") != layout.fold("IDRiD_50")
    assert layout.fold("IDRiD_100") != layout.fold("IDRiD_1")
