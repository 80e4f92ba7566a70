"""Tests of the score of other methods' maps: what is read, what is measured, and what is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from scipy import ndimage
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import average_precision_score

from maa import evaluation
from maa.data import halve, open_dataset, stack_photograph
from maa.errors import MaaError
from maa.inference import Settings, System, upsample
from maa.models import HGN
from maa.phantom import PhantomConfig, write_dataset
from maa.replication.evaluate import evaluate
from maa.replication.score import compared_with_published, find_maps, read_map, score

pytestmark = pytest.mark.slow


def features(fundus):
    """What the outside method sees of each pixel: how the green channel curves at four scales, and how bright it is."""
    green = fundus.image[..., 1].astype(float)
    curved = [sigma**2 * ndimage.gaussian_laplace(green, sigma) for sigma in (1.5, 2.5, 4, 6)]
    return np.stack([*curved, green - ndimage.gaussian_filter(green, 15)], axis=-1)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    """Phantoms of 288 x 288 pixels: 6 diseased for training, 2 for validation, 1 for testing; 1 healthy for validation."""
    config = PhantomConfig(size=288, field_degrees=8.0, lesion_density=6.0)
    root = write_dataset(tmp_path_factory.mktemp("score") / "set", 8, 2, seed=7, n_test=1, config=config)
    dataset = open_dataset(root)
    names = [record.name for record in dataset.select("train", diseased=True)]
    # Two photographs for validation, since intervals over one say nothing.
    records = tuple(replace(r, split="validation") if r.name == names[-1] else r for r in dataset.records)
    return replace(dataset, records=records)


@pytest.fixture(scope="module")
def maps(dataset):
    """A method that is none of this package: boosted trees of scikit-learn, pixel by pixel.  Float64 maps by photograph."""
    rng, x, y = np.random.default_rng(0), [], []
    for record in dataset.select("train", diseased=True):
        fundus = record.load()
        seen, sampled = features(fundus), fundus.fov & (fundus.ma | (rng.random(fundus.shape) < 0.05))
        x.append(seen[sampled])
        y.append(fundus.ma[sampled])
    model = HistGradientBoostingClassifier(max_iter=40, random_state=0).fit(np.concatenate(x), np.concatenate(y))
    found = {}
    for record in dataset.select("validation"):
        seen = features(record.load())
        found[record.name] = model.predict_proba(seen.reshape(-1, seen.shape[-1]))[:, 1].reshape(seen.shape[:2])
    return found


@pytest.fixture
def write(tmp_path, maps, dataset):
    """Gives a folder with the maps of the diseased validation photographs, each written by a function of path and map."""

    def written(how, name="{}.npy", healthy=False, folder="maps"):
        target = tmp_path / folder
        target.mkdir(exist_ok=True)
        for record in dataset.select("validation", None if healthy else True):
            how(target / name.format(record.name), maps[record.name])
        return target

    return written


def levels_of(map_):
    return np.rint(map_ * 65535).astype(np.uint16)


def pixels(dataset, maps):
    """Scores and truth of the validation photographs' pixels in the field of view, photograph by photograph."""
    loaded = [record.load() for record in dataset.select("validation", diseased=True)]
    return [(maps[f.name][f.fov], f.ma[f.fov]) for f in loaded]


def test_it_equals_scikit_learn_on_the_pixels(dataset, maps, write):
    results = score(write(np.save), dataset)
    row, parts = results["rows"]["maps"], pixels(dataset, maps)
    pooled = average_precision_score(*(np.concatenate(x) for x in reversed(list(zip(*parts)))))
    assert row["average_precision"]["value"] == pytest.approx(pooled, rel=1e-3), "16 bits lose next to nothing"
    assert 0.02 < pooled < 0.9, "the method is neither chance nor perfect"
    quantised = [(levels_of(p), y) for p, y in parts]
    exact = average_precision_score(*(np.concatenate(x) for x in reversed(list(zip(*quantised)))))
    assert row["average_precision"]["value"] == pytest.approx(exact, abs=1e-12)
    own = [average_precision_score(y, p) for p, y in quantised]
    assert list(row["by_image"].values()) == pytest.approx(own) and len(own) == 2
    assert row["intervals"]["per_image_mean"]["value"] == pytest.approx(np.mean(own)) == row["variants"]["per_image_mean"]
    assert row["average_precision"]["low"] < exact < row["average_precision"]["high"]


def test_the_operating_point_is_the_best_f1_or_the_threshold_that_is_given(dataset, maps, write):
    folder = write(np.save)
    best, given = score(folder, dataset)["rows"]["maps"], score(folder, dataset, threshold=0.5)["rows"]["maps"]
    called, truth = (np.concatenate(x) for x in zip(*((levels_of(p) >= 0.5 * 65535, y) for p, y in pixels(dataset, maps))))
    assert given["threshold"] == 0.5 and given["recall"] == pytest.approx(called[truth].mean())
    assert given["precision"] == pytest.approx(truth[called].mean()) == given["intervals"]["precision"]["value"]
    assert best["f1"] > given["f1"] and best["intervals"]["f1"]["value"] == pytest.approx(best["f1"])
    with pytest.raises(MaaError, match="threshold is 2"):
        score(folder, dataset, threshold=2)


def test_lesions_are_counted_at_the_candidate_threshold(dataset, write):
    folder = write(np.save)
    low, high = (score(folder, dataset, candidate=candidate)["rows"]["maps"] for candidate in (0.02, 0.9))
    for row in (low, high):
        assert row["froc"]["score"] == pytest.approx(row["intervals"]["froc"]["score"]["value"])
    assert high["candidate_share"] < low["candidate_share"] < 1 and high["froc"] != low["froc"]
    records = dataset.select("validation", diseased=True)
    own = evaluation.LesionScores(0.9)
    for record in records:
        fundus = record.load()
        own.add(record.name, read_map(folder / f"{record.name}.npy", fundus.shape), fundus.ma, fundus.fov)
    assert high["froc"]["sensitivity"] == own.froc().summary()


def test_healthy_photographs_count_where_they_are_asked_for(dataset, write):
    folder = write(np.save, healthy=True)
    without, with_ = score(folder, dataset), score(folder, dataset, healthy=True)
    healthy = dataset.select("validation", diseased=False)[0].name
    assert without["surplus"]["maps"] == [f"{healthy}.npy"] and with_["surplus"]["maps"] == []
    one, other = without["rows"]["maps"], with_["rows"]["maps"]
    assert (
        one["variants"]["with_healthy"] is None
        and 0 < other["variants"]["with_healthy"] < other["variants"]["average_precision"]
    )
    assert one["average_precision"] == other["average_precision"] and other["froc"]["sensitivity"]["images"] == 3
    (folder / f"{healthy}.npy").unlink()
    with pytest.raises(MaaError, match=f"lacks the map of 1 of 3 validation photographs .{healthy}."):
        score(folder, dataset, healthy=True)


def test_the_shrunk_variant_is_there_where_the_field_is_large_enough(dataset, write, monkeypatch):
    folder = write(np.save)
    assert score(folder, dataset)["rows"]["maps"]["variants"]["shrunk"] is None
    monkeypatch.setattr(evaluation.shrink, "__defaults__", (96,))
    shrunk = score(folder, dataset)["rows"]["maps"]["variants"]["shrunk"]
    levels, truths = [], []
    for record in dataset.select("validation", diseased=True):
        fundus = record.load()
        small, truth = evaluation.shrink(read_map(folder / f"{record.name}.npy", fundus.shape), fundus.ma, fundus.fov, 96)
        levels.append(small)
        truths.append(truth)
    both = evaluation.PixelScores()
    both.add("both", np.concatenate(levels), np.concatenate(truths))
    assert shrunk == pytest.approx(evaluation.fixed_thresholds(*both.pooled(), 33))


def test_two_methods_are_compared_on_pooled_pixels_and_in_pairs(dataset, maps, write):
    first = write(np.save)
    second = write(lambda path, map_: np.save(path, ndimage.gaussian_filter(map_, 6)), folder="blurred")
    rows = score(first, dataset, against=second)["rows"]
    gain, values = rows["maps"]["gain"], {row: rows[row]["average_precision"]["value"] for row in rows}
    assert rows["maps"]["name"] == "maps" and rows["against"]["name"] == "blurred"
    assert gain["difference"]["value"] == pytest.approx(values["maps"] - values["against"]) and "gain" not in rows["against"]
    assert gain["relative_gain"]["value"] == pytest.approx(values["maps"] / values["against"] - 1)
    same = score(first, dataset, against=first)["rows"]["maps"]["gain"]["difference"]
    assert same["low"] == same["value"] == same["high"] == 0


def test_our_own_maps_give_what_evaluate_gives(dataset, tmp_path, seasoned):
    torch.manual_seed(0)
    model = seasoned(HGN(2))
    with torch.no_grad():
        model.head.bias.add_(5)  # a new network expects next to no lesion
    system = System(hgn_half=model, settings=Settings(thresholds={"hgn_half": 0.4}))
    for record in dataset.select("validation"):
        fundus = record.load()
        found = system.maps(stack_photograph(fundus.image, fundus.fov))["hgn_half"]
        Image.fromarray(found).save(tmp_path / f"{record.name}.png")
    evaluated = evaluate(system, dataset, "validation")["rows"]["hgn_half"]
    scored = score(tmp_path, dataset, threshold=0.4, healthy=True)["rows"]["maps"]
    same = ("average_precision", "threshold", "f1", "precision", "recall", "by_image", "variants", "froc", "calibration_error")
    assert {key: scored[key] for key in same} == {key: evaluated[key] for key in same}


def test_a_results_file_holds_what_it_was_made_from(dataset, write, tmp_path):
    results = score(write(np.save), dataset)
    from maa.provenance import write_json

    write_json(tmp_path / "r.json", results)
    stored = json.loads((tmp_path / "r.json").read_text())
    names = [record.name for record in dataset.select("validation", diseased=True)]
    assert stored["photographs"] == names == list(stored["files"]["maps"]) and stored["data"] == dataset.fingerprint
    assert all(len(file["sha256"]) == 64 for file in stored["files"]["maps"].values())


# --- the rows of this project ------------------------------------------------------------------------


@pytest.fixture
def repository(tmp_path, monkeypatch, dataset, write):
    """Results files as the repository's, of the phantoms: their one row is a blurred map."""
    blurred = write(lambda path, map_: np.save(path, ndimage.gaussian_filter(map_, 6)), folder="blurred")
    for split, file in (("validation", "idrid-full/frozen.json"), ("test", "test/first.json")):
        row = score(blurred, dataset, "validation")["rows"]["maps"] | {"name": f"blurred, {split}"}
        target = tmp_path / "results" / file
        target.parent.mkdir(parents=True)
        target.write_text(json.dumps({"rows": {"fused": row}}, default=np.ndarray.tolist))
    openings = {"openings": [{"file": "first.json", "frozen": {}}]}
    (tmp_path / "results/test/openings.json").write_text(json.dumps(openings))
    monkeypatch.setenv("MAA_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def test_published_rows_are_compared_by_the_mean_of_the_photographs(dataset, write, repository):
    results = score(write(np.save), dataset)
    ours, other = results["rows"]["maps"], results["published"]["fused"]
    theirs = json.loads((repository / "idrid-full/frozen.json").read_text())["rows"]["fused"]
    differences = [ours["by_image"][name] - theirs["by_image"][name] for name in ours["by_image"]]
    assert other["name"] == "blurred, validation" and other["average_precision"] == theirs["average_precision"]
    assert other["difference"]["value"] == pytest.approx(np.mean(differences))
    # Of two photographs a draw holds one twice, or both.
    assert (other["difference"]["low"], other["difference"]["high"]) == pytest.approx((min(differences), max(differences)))
    assert compared_with_published(ours, "test")["fused"]["name"] == "blurred, test"


@pytest.mark.parametrize("change", ["photographs", "lesions", "field", "no file"])
def test_published_rows_of_other_photographs_or_masks_are_not_compared(dataset, write, repository, change):
    ours = score(write(np.save), dataset)["rows"]["maps"]
    assert compared_with_published(ours, "validation") is not None
    if change == "photographs":
        ours["by_image"] = {f"{name}0": value for name, value in ours["by_image"].items()}
    elif change == "lesions":
        ours["froc"]["sensitivity"]["lesions"] += 1
    elif change == "field":
        ours["calibration"]["pixels"][0] += 1
    else:
        (repository / "idrid-full/frozen.json").unlink()
        (repository / "test/openings.json").unlink()
        assert compared_with_published(ours, "test") is None
    assert compared_with_published(ours, "validation") is None


def test_the_rows_of_the_repository_can_be_compared_with(monkeypatch):
    """Both files hold what a comparison needs, and each row is of one set of photographs, masks and fields."""
    monkeypatch.delenv("MAA_RESULTS", raising=False)
    from maa.replication.published import published
    from maa.replication.verdict import openings

    for split, theirs in (("validation", published("idrid-full", "frozen")), ("test", openings()[-1]["results"])):
        row = next(iter(theirs["rows"].values()))
        compared = compared_with_published(row, split)
        assert compared.keys() == theirs["rows"].keys()
        assert next(iter(compared.values()))["difference"]["value"] == 0


# --- maps of every kind --------------------------------------------------------------------------


def png(array):
    return lambda path: Image.fromarray(array).save(path)


def tiff(array, **options):
    return lambda path: tifffile.imwrite(path, array, **options)


MAP = np.random.default_rng(0).random((40, 57))
EIGHT, SIXTEEN = np.rint(MAP * 255).astype(np.uint8), levels_of(MAP)


@pytest.mark.parametrize(
    ("suffix", "save", "expected"),
    [
        (".png", png(EIGHT), EIGHT * np.uint16(257)),
        (".png", png(SIXTEEN), SIXTEEN),
        (".tif", tiff(EIGHT), EIGHT * np.uint16(257)),
        (".tiff", tiff(SIXTEEN), SIXTEEN),
        (".tif", tiff(SIXTEEN, byteorder=">"), SIXTEEN),
        (".tif", tiff(MAP.astype(np.float32)), levels_of(MAP.astype(np.float32))),
        (".tif", tiff(MAP.astype(">f4"), byteorder=">"), levels_of(MAP.astype(np.float32))),
        (".TIF", tiff(SIXTEEN, compression="zlib"), SIXTEEN),
        (".npy", lambda path: np.save(path, EIGHT), EIGHT * np.uint16(257)),
        (".npy", lambda path: np.save(path, SIXTEEN), SIXTEEN),
        (".npy", lambda path: np.save(path, SIXTEEN.astype(">u2")), SIXTEEN),
        (".npy", lambda path: np.save(path, MAP), levels_of(MAP)),
        (".npy", lambda path: np.save(path, MAP.astype(">f4")), levels_of(MAP.astype(np.float32))),
        (".npy", lambda path: np.save(path, MAP.astype(np.float16)), levels_of(MAP.astype(np.float16).astype(np.float32))),
    ],
)
def test_a_map_is_read_of_any_type(tmp_path, suffix, save, expected):
    path = tmp_path / f"a{suffix}"
    save(path)
    levels = read_map(path, MAP.shape)
    assert levels.dtype == np.uint16 and np.abs(levels.astype(int) - expected).max() <= (
        1 if expected.dtype != np.uint16 else 0
    )


def test_16_bits_in_the_mode_of_older_pillows(tmp_path, monkeypatch):
    picture = Image.fromarray(SIXTEEN.astype(np.int32))
    picture.format = "PNG"
    monkeypatch.setattr(Image, "open", lambda path: picture)
    assert (read_map(tmp_path / "a.png", MAP.shape) == SIXTEEN).all()


def test_smaller_maps_are_doubled_as_ours_are(tmp_path):
    path, shape = tmp_path / "a.npy", (41, 57)
    full = np.pad(EIGHT, ((0, 1), (0, 0)), mode="edge")
    half = halve(full)
    np.save(path, half)
    doubled = upsample(half * np.uint16(257), shape)
    assert half.shape == (21, 29) and (read_map(path, shape) == doubled).all()
    quarter = halve(half)
    np.save(path, quarter)
    assert (read_map(path, shape) == upsample(upsample(quarter * np.uint16(257), half.shape), shape)).all()


@pytest.mark.parametrize("size", [(41, 40), (20, 40), (41, 58), (40, 57, 1), (82, 114), (0, 0)])
def test_other_sizes_are_refused_with_both_sizes(tmp_path, size):
    np.save(tmp_path / "a.npy", np.zeros(size, np.float32))
    with pytest.raises(MaaError) as caught:
        read_map(tmp_path / "a.npy", (41, 57))
    words = [f"shape {size}"] if len(size) == 3 or 0 in size else [f"{size[1]} x {size[0]} pixels", "57 x 41"]
    assert all(word in str(caught.value) for word in ["a.npy", *words]) and sentences(caught.value) == 1


def sentences(error):
    return str(error).count(". ") + str(error).endswith(".") + str(error).count("\n")


def with_value(value):
    array = MAP.copy()
    array[3, 4] = value
    return lambda path: np.save(path, array)


@pytest.mark.parametrize(
    ("name", "save", "words"),
    [
        ("a.npy", with_value(np.nan), "NaN"),
        ("a.npy", with_value(1.5), "to 1.5"),
        ("a.npy", with_value(-0.25), "from -0.25"),
        ("a.npy", with_value(np.inf), "to inf"),
        ("a.npy", lambda path: np.save(path, EIGHT.astype(np.float32)), "to 255"),
        ("a.npy", lambda path: np.save(path, MAP > 0.5), "bool"),
        ("a.npy", lambda path: np.save(path, EIGHT.astype(np.int64)), "int64"),
        ("a.npy", lambda path: np.save(path, np.array(["a"])), "shape (1,)"),
        ("a.npy", lambda path: np.save(path, {"a": 1}, allow_pickle=True), "cannot be read as a map"),
        ("a.npy", lambda path: path.write_bytes(b"\x93NUMPY\x01\x00"), "cannot be read as a map"),
        ("a.npy", lambda path: path.write_bytes(b""), "cannot be read as a map"),
        ("a.png", png(np.dstack([EIGHT] * 3)), "RGB"),
        ("a.png", png(np.dstack([EIGHT] * 4)), "RGBA"),
        ("a.png", png(np.dstack([EIGHT] * 2)), "LA"),
        ("a.png", lambda path: Image.fromarray(EIGHT).convert("P").save(path), "palette"),
        ("a.png", lambda path: Image.fromarray(EIGHT).convert("1").save(path), "1 bit"),
        ("a.png", lambda path: path.write_bytes(b"no picture"), "no picture of a kind"),
        ("a.tif", tiff(EIGHT.astype(np.int32)), "32-bit integers"),
        ("a.tif", tiff(np.stack([EIGHT] * 3), photometric="minisblack"), "3 pictures"),
        ("a.tif", tiff(MAP.astype(np.float16)), "no picture of a kind"),
        ("a.tif", tiff(MAP), "float of 32"),
        ("a.tif", lambda path: (tiff(SIXTEEN)(path), path.write_bytes(path.read_bytes()[:-900])), "cannot be read as a map"),
    ],
)
def test_what_is_no_map_is_refused_in_one_sentence(tmp_path, name, save, words):
    save(tmp_path / name)
    with pytest.raises(MaaError) as caught:
        read_map(tmp_path / name, MAP.shape)
    assert str(tmp_path / name) in str(caught.value) and words in str(caught.value) and sentences(caught.value) == 1


def test_a_map_that_ranks_nothing_is_refused(dataset, write):
    folder = write(lambda path, map_: np.save(path, np.zeros_like(map_)))
    with pytest.raises(MaaError, match="has one value in the whole field of view"):
        score(folder, dataset)
    # What lies outside the field of view makes no ranking.
    record = dataset.select("validation", diseased=True)[0]
    folder = write(lambda path, map_: np.save(path, np.where(record.load().fov, 0.5, 0.1)))
    with pytest.raises(MaaError, match=r"\.npy has one value"):
        score(folder, dataset)


def test_a_healthy_photograph_may_have_an_empty_map(dataset, maps, write):
    folder = write(np.save, healthy=True)
    healthy = dataset.select("validation", diseased=False)[0].name
    np.save(folder / f"{healthy}.npy", np.zeros_like(maps[healthy]))
    assert score(folder, dataset, healthy=True)["rows"]["maps"]["froc"]["sensitivity"]["images"] == 3
    np.save(folder / f"{healthy}.npy", np.ones_like(maps[healthy]))
    with pytest.raises(MaaError, match=f"{healthy}.npy has one value"):
        score(folder, dataset, healthy=True)


@pytest.mark.parametrize("how", ["a mask of 0 and 1 in 8 bits", "8-bit values in 16 bits"])
def test_maps_in_the_range_of_another_type_are_refused(dataset, write, how):
    masks = {
        "a mask of 0 and 1 in 8 bits": lambda map_: (map_ > 0.5).astype(np.uint8),
        "8-bit values in 16 bits": lambda map_: np.rint(map_ * 255).astype(np.uint16),
    }
    folder = write(lambda path, map_: Image.fromarray(masks[how](map_)).save(path), "{}.png")
    with pytest.raises(MaaError, match=f"No map in {folder} goes above a probability of 0.004"):
        score(folder, dataset)


# --- names -----------------------------------------------------------------------------------------


def touch(folder, *names):
    for name in names:
        (folder / name).touch()
    return folder


def test_a_map_is_found_by_the_photographs_name_with_or_without_more_behind_it(tmp_path):
    touch(tmp_path, "IDRiD_5.png", "idrid_55_MA.TIF", "IDRiD_45.jpg.npy", "IDRiD_46-prob.tiff", "IDRiD_450.png", "notes.png")
    touch(tmp_path, ".IDRiD_5.png", "IDRiD_45.txt", "IDRiD_45.jpg", "IDRiD_4a.png")
    (tmp_path / "below").mkdir()
    touch(tmp_path / "below", "IDRiD_45.png")
    found, surplus = find_maps(tmp_path, ["IDRiD_55", "IDRiD_5", "IDRiD_45", "IDRiD_46"])
    assert {name: path.name for name, path in found.items()} == {
        "IDRiD_55": "idrid_55_MA.TIF",
        "IDRiD_5": "IDRiD_5.png",
        "IDRiD_45": "IDRiD_45.jpg.npy",
        "IDRiD_46": "IDRiD_46-prob.tiff",
    }
    assert surplus == ["IDRiD_450.png", "IDRiD_4a.png", "notes.png"]
    # The longest name that fits is meant.
    touch(tmp_path, "eye_1.png", "eye_1_left.png")
    found, _ = find_maps(tmp_path, ["eye_1", "eye_1_left"])
    assert [path.name for path in found.values()] == ["eye_1.png", "eye_1_left.png"]


def test_two_maps_of_a_photograph_are_told_apart_by_their_ending(tmp_path):
    touch(tmp_path, "IDRiD_45_MA.png", "IDRiD_45_HE.png")
    with pytest.raises(MaaError, match=r"two maps of IDRiD_45, IDRiD_45_HE\.png and IDRiD_45_MA\.png: .*--ending"):
        find_maps(tmp_path, ["IDRiD_45"])
    assert find_maps(tmp_path, ["IDRiD_45"], ending="_ma")[0]["IDRiD_45"].name == "IDRiD_45_MA.png"


def test_missing_and_surplus_maps_are_named_in_one_sentence(tmp_path):
    touch(tmp_path, "IDRiD_45.png", "a.png", "b.npy", "c.png", "d.tif")
    names = [f"IDRiD_{number}" for number in range(45, 51)]
    with pytest.raises(MaaError) as caught:
        find_maps(tmp_path, names, "validation")
    assert str(caught.value) == (
        f"{tmp_path} lacks the map of 5 of 6 validation photographs (IDRiD_46, IDRiD_47, IDRiD_48 and 2 more), and holds 4 of no "
        "such photograph (a.png, b.npy, c.png and 1 more): name each map as its photograph, IDRiD_46.png."
    )
    for folder in (tmp_path / "absent", tmp_path / "a.png"):
        with pytest.raises(MaaError, match="is not a folder"):
            find_maps(folder, names)


def test_a_split_without_annotated_photographs_is_refused(dataset, write):
    without = replace(dataset, records=tuple(record for record in dataset.records if record.split != "test"))
    with pytest.raises(MaaError, match="holds no test photographs with annotations"):
        score(write(np.save), without, "test")
