"""Measure where the warnings of maa.data.quality lie, and what they warn of: ``python book/make/quality.py IDRID [PART ...]``.

The photographs of IDRiD as they are, spoiled copies of some of them, and pictures that show no retina go through
`maa.data.quality.measure`; some are put into frames and surrounds of other cameras, for `maa.data.field_of_view`; and the system
that ships segments windows of validation photographs, as they are and spoiled, for what the spoiling costs.  Writes
results/quality/results.json; with parts named, only these are measured again ("fields", "loss" and so on).  Some 30 minutes on two
cores.
"""

import io
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path

import matplotlib
import numpy as np
import skimage
import sklearn
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

from maa import evaluation
from maa.data import field_of_view, open_dataset, quality, read_image, stack_photograph
from maa.errors import MaaError
from maa.phantom import PhantomConfig, make_phantom
from maa.progress import track
from maa.provenance import environment, write_json
from maa.segmentation import load_system, resize_factor

OUT = Path(__file__).resolve().parents[2] / "results/quality/results.json"

#: The limits of `maa.data.quality`.
LIMITS = (
    *(
        "RETINA_COLOUR",
        "RETINA_EVEN",
        "NO_COLOUR",
        "NO_EVEN",
        "FOCUS",
        "DARK",
        "GLARE",
        "FLARE",
        "SECOND",
        "SQUASHED",
        "BLOCKS",
    ),
    "COARSE",
)

#: Every so many photographs one is spoiled.
EVERY = 24

#: Overlap with the true field above which a field counts as right.
RIGHT = 0.97

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


def flared(image: np.ndarray, share: float, strength: float = 0.6) -> np.ndarray:
    """White light over a share of the width of what is not black, soft at its edge."""
    columns = np.flatnonzero((image.max(axis=2) > 20).any(axis=0))
    across = (np.arange(image.shape[1]) - columns[0]) / np.ptp(columns)
    light = strength * np.clip((share + 0.1 - across) / 0.1, 0, 1)[None, :, None] * (image.max(axis=2, keepdims=True) > 20)
    return (image + (255.0 - image) * light).astype(np.uint8)


def cast(image: np.ndarray) -> np.ndarray:
    """The colours of a lamp and a sensor that know less red."""
    return (image * np.array([0.8, 1.15, 1.2])).clip(0, 255).astype(np.uint8)


def around(image: np.ndarray, fov: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Another surround than black."""
    noise = np.random.default_rng(0).normal(level, 2, (*fov.shape, 1)).clip(0, 255) * np.ones(3)
    return np.where(fov[..., None], image, noise).astype(np.uint8), fov


def hazy(image: np.ndarray, fov: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """Half the contrast, above stray light."""
    return (image * 0.5 + level).astype(np.uint8), fov


def framed(image: np.ndarray, fov: np.ndarray, level: int) -> tuple[np.ndarray, np.ndarray]:
    """A frame around the photograph's own."""
    sides = [(side // 10, side // 8) for side in fov.shape]
    return np.pad(image, [*sides, (0, 0)], constant_values=level), np.pad(fov, sides)


def labelled(image: np.ndarray, fov: np.ndarray, level: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Text in the corners, and a strip of data below, which hides the last rows; without a strip where the level is None."""
    height, width = fov.shape
    image = np.pad(image, [(0, height // 8), (0, 0), (0, 0)])
    fov = np.pad(fov, [(0, height // 8), (0, 0)])
    picture, face = Image.fromarray(image), ImageFont.load_default(width / 30)
    pen = ImageDraw.Draw(picture)
    pen.text((8, 6), "OD  50°\n2024-01-01\n10:22:31", font=face, fill=(235, 235, 235))
    pen.text((0.88 * width, 6), "R T", font=face, fill=(255, 255, 0))
    if level is not None:
        first = height - height // 30
        pen.rectangle((0, first, width, 2 * height), fill=(level,) * 3)
        pen.text((20, height), "ID 000000   Phantom, Test   F3.8  ISO 400  1/60", font=face, fill=(20, 20, 20))
        fov[first:] = False
    return np.asarray(picture), fov


def squeezed(image: np.ndarray, fov: np.ndarray, times: float) -> tuple[np.ndarray, np.ndarray]:
    """Another width."""
    size = (round(fov.shape[1] * times), fov.shape[0])
    return np.asarray(Image.fromarray(image).resize(size)), np.asarray(Image.fromarray(fov).resize(size))


def doubled(image: np.ndarray, fov: np.ndarray, gap: int) -> tuple[np.ndarray, np.ndarray]:
    """The other eye beside the first, and a little darker."""
    columns = np.flatnonzero(fov.any(axis=0))
    eye, field = (plane[:, columns[0] : columns[-1] + 1] for plane in (image, fov))
    other = (eye[:, ::-1] * 0.93).astype(np.uint8)
    pair = np.concatenate([np.pad(one, [(0, 0), (gap, gap), (0, 0)]) for one in (eye, other)], axis=1)
    return pair, np.concatenate([np.pad(one, [(0, 0), (gap, gap)]) for one in (field, field & False)], axis=1)


def darkened(image: np.ndarray, fov: np.ndarray, times: float) -> tuple[np.ndarray, np.ndarray]:
    """Almost black."""
    return exposed(image, times), fov


def masked(image: np.ndarray, fov: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
    """A share of the field's height cut off in straight lines above and below, inside the frame."""
    rows = np.flatnonzero(fov.any(axis=1))
    cut = round(share * np.ptp(rows))
    inside = np.zeros_like(fov)
    inside[rows[0] + cut : rows[-1] - cut] = True
    return np.where(inside[..., None], image, 2).astype(np.uint8), fov & inside


def notched(image: np.ndarray, fov: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The mark by which cameras tell up from down, outside the disc."""
    columns = np.flatnonzero(fov.any(axis=0))
    radius = np.ptp(columns) / 2
    row, column = fov.shape[0] / 2 - 0.55 * radius, columns.mean() + 0.85 * radius
    picture = Image.fromarray(image)
    ImageDraw.Draw(picture).rectangle((column, row, column + 0.1 * radius, row + 0.08 * radius), fill=(170, 90, 40))
    return np.asarray(picture), fov


#: Frames and surrounds of other cameras: from a photograph and its field to those of the copy.
FRAMES: dict[str, Callable] = {
    "as it is": lambda image, fov: (image, fov),
    **{f"surround at {level}": partial(around, level=level) for level in (46, 128, 253)},
    **{f"haze at {level}": partial(hazy, level=level) for level in (30, 60)},
    "text": partial(labelled, level=None),
    **{f"text and a strip at {level}": partial(labelled, level=level) for level in (205, 255)},
    **{f"frame at {level}": partial(framed, level=level) for level in (190, 255)},
    **{f"width x {times}": partial(squeezed, times=times) for times in (0.75, 1.18)},
    **{f"second eye, gap {gap}": partial(doubled, gap=gap) for gap in (30, 1)},
    **{f"light x {times}": partial(darkened, times=times) for times in (0.08, 0.05)},
    **{f"cut above and below, {share}": partial(masked, share=share) for share in (0.08, 0.15)},
    "notch": notched,
}

CASES: dict[str, tuple[Callable, float]] = {
    **{f"blurred, sigma {sigma}": (partial(blurred, sigma=sigma), 1.0) for sigma in (2, 4, 6, 8)},
    **{f"light x {times}": (partial(exposed, times=times), 1.0) for times in (0.5, 0.25, 0.12, 2.5, 4)},
    **{f"JPEG of quality {q}": (partial(compressed, quality=q), 1.0) for q in (50, 30, 20, 15, 8)},
    **{f"light x {times}, then x 0.9": (lambda image, t=times: exposed(exposed(image, t), 0.9), 1.0) for times in (2.5, 4)},
    **{f"flare over {share}": (partial(flared, share=share), 1.0) for share in (0.2, 0.33)},
    "colour cast": (cast, 1.0),
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


def fields(records) -> dict:
    """How well the field of view is found in copies with the frames and surrounds of other cameras, and what is said of them.

    Of phantoms and of photographs of IDRiD at a quarter of the width: intersection over union with the true field.
    """
    drawn = [make_phantom(seed, config=PhantomConfig(size=600)) for seed in range(4)]
    images = [one.image for one in drawn] + [shrunk(read_image(record.image_path), 4) for record in records[:: 2 * EVERY]]
    found = {}
    for name, put in FRAMES.items():
        overlap, measured = [], []
        for image in track(images, f"Fields of view, {name}"):
            copy, truth = put(image, field_of_view(image))
            fov = field_of_view(copy, name)
            # Which of two eyes is taken is not prescribed.
            either = [one for one in (truth, truth[:, ::-1]) if "second" in name or one is truth]
            overlap.append(float(max((fov & one).sum() / (fov | one).sum() for one in either)))
            measured.append(quality.measure(copy, fov))
        found[name] = {"overlap": overlap, "right": sum(one > RIGHT for one in overlap), **described(measured)}
    return found


def phantoms() -> dict:
    """The measures of synthetic photographs."""
    drawn = [make_phantom(seed) for seed in range(6)]
    return described([quality.measure(one.image, one.fov) for one in drawn])


def main(root: Path, *only: str) -> None:
    """Measure everything, or some parts, and write it part by part, so that a run that was stopped leaves what it has."""
    dataset = open_dataset(root)
    records = [record for record in dataset.records if record.split != "test"]
    diseased = sorted(dataset.select("validation", diseased=True), key=lambda record: record.name)[:WINDOWS]
    parts = {
        "no retina": no_retina,
        "phantoms": phantoms,
        "as they are": lambda: as_they_are(records),
        "spoiled": lambda: spoiled(records),
        "fields": lambda: fields(records),
        "loss": lambda: {
            "photographs": [record.name for record in diseased],
            "window": SIDE,
            "cases": loss(diseased, load_system()),
        },
    }
    if wrong := set(only) - set(parts):
        raise MaaError(f"There is no part {', '.join(sorted(wrong))}: choose {', '.join(parts)}.")
    results = json.loads(OUT.read_text()) if only else {}
    results |= {"limits": {name: getattr(quality, name) for name in LIMITS}}
    if not only:
        results["environment"] = environment()
    for name in only or parts:
        results[name] = parts[name]()
        if only:
            results["measured later"] = results.get("measured later", {}) | {name: environment()}
        write_json(OUT, results)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
