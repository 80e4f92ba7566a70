"""Measure where the warnings of maa.data.quality lie, and what they warn of: ``python book/make/quality.py IDRID``.

The photographs of IDRiD as they are, spoiled copies of some of them, and pictures that show no retina go through
`maa.data.quality.measure`; and the system that ships segments windows of validation photographs, as they are and spoiled, for
what the spoiling costs.  Writes results/quality/results.json.  Some 20 minutes on two cores.
"""

import io
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import skimage
import sklearn
from PIL import Image
from scipy import ndimage

from maa import evaluation
from maa.data import field_of_view, open_dataset, quality, read_image, stack_photograph
from maa.phantom import make_phantom
from maa.progress import track
from maa.provenance import environment, write_json
from maa.segmentation import load_system, resize_factor

OUT = Path(__file__).resolve().parents[2] / "results/quality/results.json"

#: The limits of `maa.data.quality`.
LIMITS = ("RETINA_COLOUR", "RETINA_EVEN", "FOCUS", "DARK", "GLARE", "BLOCKS", "COARSE")

#: Every so many photographs one is spoiled.
EVERY = 24

#: Photographs and side of the windows in which the loss of average precision is measured.
WINDOWS, SIDE = 3, 1200


def blurred(image: np.ndarray, sigma: float) -> np.ndarray:
    """Out of focus: a Gaussian of so many pixels of IDRiD's."""
    return np.stack([ndimage.gaussian_filter(image[..., c], sigma, truncate=3) for c in range(3)], axis=2)


def exposed(image: np.ndarray, times: float) -> np.ndarray:
    """Light times a factor, as a camera without gamma would record it."""
    return (image * times).clip(0, 255).astype(np.uint8)


def compressed(image: np.ndarray, quality: int) -> np.ndarray:
    """Once through a JPEG file."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def shrunk(image: np.ndarray, times: float) -> np.ndarray:
    """A copy of a fraction of the width."""
    height, width = image.shape[:2]
    return np.asarray(Image.fromarray(image).resize((round(width / times), round(height / times)), Image.Resampling.BOX))


CASES: dict[str, tuple[Callable, float]] = {
    **{f"blurred, sigma {sigma}": (partial(blurred, sigma=sigma), 1.0) for sigma in (2, 4, 6, 8)},
    **{f"light x {times}": (partial(exposed, times=times), 1.0) for times in (0.5, 0.25, 0.12, 2.5, 4)},
    **{f"JPEG of quality {q}": (partial(compressed, quality=q), 1.0) for q in (50, 30, 20, 15, 8)},
    **{f"width / {times}": (partial(shrunk, times=times), times) for times in (2, 3, 3.5, 5)},
}


def spread(measured: list[quality.Quality]) -> dict:
    """Least, median and largest value of each measure."""
    values = {key: [asdict(one)[key] for one in measured] for key in asdict(measured[0])}
    return {key: [float(np.nanmin(v)), float(np.nanmedian(v)), float(np.nanmax(v))] for key, v in values.items()}


def described(measured: list[quality.Quality], factor: float = 1.0) -> dict:
    """The spread of each measure, and how many photographs got each warning (by its first words)."""
    counted = [sentence.split(":")[0] for one in measured for sentence in quality.warnings(one, factor)]
    return {
        "photographs": len(measured),
        "measures": spread(measured),
        "warned": {one: counted.count(one) for one in sorted(set(counted))},
    }


def no_retina() -> dict:
    """The measures of photographs of other things, which some libraries bring, whole and cut to a disc."""
    folders = [Path(skimage.__file__).parent / "data", Path(sklearn.__file__).parent / "datasets/images"]
    names = [
        "coffee.png",
        "astronaut.png",
        "chelsea.png",
        "rocket.jpg",
        "ihc.png",
        "motorcycle_left.png",
        "flower.jpg",
        "china.jpg",
    ]
    files = [file for folder in folders for name in names if (file := folder / name).exists()]
    files.append(Path(matplotlib.get_data_path()) / "sample_data/grace_hopper.jpg")
    found = {}
    for file in files:
        image = read_image(file)
        height, width = image.shape[:2]
        rows, columns = np.ogrid[:height, :width]
        disc = np.hypot(rows - height / 2, columns - width / 2) < 0.47 * min(height, width)
        for name, shown in ((file.stem, image), (f"{file.stem}, a disc", np.where(disc[..., None], image, 0).astype(np.uint8))):
            one = quality.measure(shown, field_of_view(shown, name), 1.0)
            found[name] = {"colour": one.colour, "unevenness": one.unevenness, "warned": list(quality.warnings(one))}
    return found


def loss(records, system) -> dict:
    """Average precision in windows of validation photographs, as they are and spoiled, and lesions reported in them."""
    threshold = system.settings.thresholds["prn_full"]
    scores = {name: evaluation.PixelScores() for name in ("as it is", *CASES)}
    reported = dict.fromkeys(scores, 0)
    for record in track(records, "Segmenting spoiled windows"):
        eye = record.load(kinds=("MA",))
        middle = np.median(np.argwhere(eye.ma), axis=0).astype(int)
        corner = np.clip(middle - SIDE // 2, 0, np.subtract(eye.shape, SIDE))
        window = tuple(slice(start, start + SIDE) for start in corner)
        only = np.zeros_like(eye.fov)
        only[window] = eye.fov[window]
        for name in scores:
            spoil, factor = CASES.get(name, (lambda image: image, 1.0))
            seen = spoil(eye.image)
            if factor != 1:
                seen = np.asarray(Image.fromarray(seen).resize(eye.fov.shape[::-1], Image.Resampling.BICUBIC))
            found = system.maps(stack_photograph(seen, only, record.name), rows=["prn_full"])["prn_full"]
            scores[name].add(record.name, found[window], eye.ma[window], only[window])
            reported[name] += int(ndimage.label(found >= threshold * 65535, np.ones((3, 3)))[1])
    return {
        name: {"average_precision": float(evaluation.average_precision(*one.pooled())), "lesions_reported": reported[name]}
        for name, one in scores.items()
    }


def as_they_are(records) -> dict:
    """The measures of every photograph."""
    measured = []
    for record in track(records, "Measuring photographs"):
        image = read_image(record.image_path)
        fov = field_of_view(image)
        measured.append(quality.measure(image, fov, resize_factor(fov)[0]))
    return described(measured)


def spoiled(records) -> dict:
    """The measures of spoiled copies of some photographs."""
    measured = {name: [] for name in CASES}
    for record in track(records[::EVERY], "Measuring spoiled copies"):
        image = read_image(record.image_path)
        fov = field_of_view(image)
        for name, (spoil, factor) in CASES.items():
            copy = spoil(image)
            field = fov if factor == 1 else np.asarray(Image.fromarray(fov).resize(copy.shape[1::-1]))
            measured[name].append(quality.measure(copy, field, factor))
    return {name: described(ones, CASES[name][1]) for name, ones in measured.items()}


def phantoms() -> dict:
    """The measures of synthetic photographs."""
    drawn = [make_phantom(seed) for seed in range(6)]
    return described([quality.measure(one.image, one.fov) for one in drawn])


def main(root: Path) -> None:
    """Measure everything, and write it part by part, so that a run that was stopped leaves what it has."""
    dataset = open_dataset(root)
    records = [record for record in dataset.records if record.split != "test"]
    diseased = sorted(dataset.select("validation", diseased=True), key=lambda record: record.name)[:WINDOWS]
    parts = {
        "no retina": no_retina,
        "phantoms": phantoms,
        "as they are": lambda: as_they_are(records),
        "spoiled": lambda: spoiled(records),
        "loss": lambda: {
            "photographs": [record.name for record in diseased],
            "window": SIDE,
            "cases": loss(diseased, load_system()),
        },
    }
    results = {"limits": {name: getattr(quality, name) for name in LIMITS}, "environment": environment()}
    for name, part in parts.items():
        results[name] = part()
        write_json(OUT, results)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
