"""The authors' premise on real marks: what three other ophthalmologists made of IDRiD's.

Healthy patches from diseased photographs hold lesions that the annotators left out: that is why the authors take them from
healthy patients only.  The "Refined IDRiD" (Data 11(2):30, 2026) holds a revision of the microaneurysms of the same 54
photographs.  It is a revision of the official marks, no independent reading; so it says little of what all of them overlooked,
but it says what others added, what they took away, and how far two sets of marks agree at all.

Its masks have a frame of their own.  Marks are counted there; maps are measured at the photograph's own size, against the
revised marks brought back to it.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy import ndimage

from maa import evaluation
from maa.data.idrid import Dataset
from maa.data.photograph import read_mask
from maa.data.stacks import FOV, MA
from maa.errors import MaaError
from maa.inference.system import ROWS, System, image_of
from maa.models.weights import network_fingerprint
from maa.progress import track
from maa.provenance import Json, PathLike, environment, fingerprint, write_json
from maa.replication.profiles import FULL
from maa.replication.scores import with_intervals
from maa.replication.study import Study

#: Side of a refined mask in pixels.
SIDE = 1024
#: Columns by which its frame is wider than our field of view, to the left and to the right: fitted, the marks then agree best.
WIDER = 2, 1
#: Marks meet that are at most so many pixels of the refined mask apart (one is about 3.33 of the photograph's).
TOLERANCE = 2
#: The marks that a map is measured against: the official ones; the same after a journey through the frame of the refined ones, which
#: tells what its coarser grain does; and the refined ones.
RULERS = ("official", "official, coarse", "refined")


class Frame:
    """The square in which the marks of a photograph were refined: its field of view, full height, padded and shrunk.

    Parameters
    ----------
    fov : (H, W) bool array
        Field of view, wider than high.
    """

    def __init__(self, fov: np.ndarray) -> None:
        columns = np.flatnonzero(fov.any(0))
        self.shape = fov.shape
        self.left, right = columns[0] - WIDER[0], columns[-1] + 1 + WIDER[1]
        self.width = int(right - self.left)
        self.top = -((self.width - fov.shape[0]) // 2)  # of the square; above the photograph

    def shrink(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the photograph, shape (H, W), bool, as the refined ones are: (1024, 1024), the nearest pixel of each."""
        looked = np.floor((np.arange(SIDE) + 0.5) * self.width / SIDE).astype(int)
        return _taken(mask, looked + self.top, looked + self.left)

    def enlarge(self, mask: np.ndarray) -> np.ndarray:
        """A mask of the square, shape (1024, 1024), bool, at the photograph's size, (H, W): what lies outside is False."""
        rows, columns = (
            np.floor((np.arange(length) - start + 0.5) * SIDE / self.width).astype(int)
            for length, start in zip(self.shape, (self.top, self.left))
        )
        return _taken(mask, rows, columns)


def _taken(mask: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Rows and columns of a mask, False where they lie outside."""
    inside = [(index >= 0) & (index < length) for index, length in zip((rows, columns), mask.shape)]
    taken = np.zeros((len(rows), len(columns)), bool)
    taken[np.ix_(*inside)] = mask[np.ix_(rows[inside[0]], columns[inside[1]])]
    return taken


def near(mask: np.ndarray) -> np.ndarray:
    """The pixels at most `TOLERANCE` from a mask."""
    return np.asarray(ndimage.distance_transform_edt(~mask) <= TOLERANCE) if mask.any() else mask


def marks_of(mask: np.ndarray, others: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The marks (8-connected components) of a mask, numbered from 1, shape (H, W), and which have a pixel in another, (K,) bool."""
    numbers, count = ndimage.label(mask, np.ones((3, 3)))
    met = np.zeros(count + 1, bool)
    met[numbers[mask & others]] = True
    return numbers, met[1:]


def agreement(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Json:
    """How far two sets of marks agree.

    Parameters
    ----------
    pairs : sequence of pair of (S, S) bool array
        Official and refined, of each photograph, in the square.

    Returns
    -------
    dict
        "f1", "precision" and "recall" of the official pixels where the refined are the truth (F1 of two masks is Dice's coefficient
        too); "official" and "refined", each with its "pixels", "marks", and how many "met" one of the other.
    """
    both = sum(int((a & b).sum()) for a, b in pairs)
    sums: dict[str, dict[str, int]] = {}
    for name, ours, other in (("official", 0, 1), ("refined", 1, 0)):
        met = [marks_of(pair[ours], near(pair[other]))[1] for pair in pairs]
        sums[name] = {
            "pixels": sum(int(pair[ours].sum()) for pair in pairs),
            "marks": sum(map(len, met)),
            "met": int(sum(m.sum() for m in met)),
        }
    official, refined = (sums[name]["pixels"] for name in ("official", "refined"))
    return {
        "photographs": len(pairs),
        "f1": 2 * both / (official + refined),
        "precision": both / official,
        "recall": both / refined,
        **sums,
    }


def read_refined(folder: PathLike, name: str) -> np.ndarray:
    """The refined marks of a photograph, shape (1024, 1024), bool; MaaError where the file is missing, or of another size."""
    path = Path(folder) / f"{name}_MA.png"
    if not path.is_file():
        raise MaaError(f"{path} is not there: name the folder that holds the refined masks, one PNG for each photograph.")
    return read_mask(path, (SIDE, SIDE))


def compare_marks(dataset: Dataset, marks: PathLike, weights: PathLike, out: PathLike) -> Json:
    """Set the official marks, the refined ones and the maps of a system side by side.  Explained in ch:real.

    Parameters
    ----------
    dataset : Dataset
        IDRiD; the diseased photographs of "train" and "validation" take part.
    marks : path-like
        The folder of the refined masks.
    weights : path-like
        Of the system, whose maps of the validation photographs are measured.
    out : path-like
        Where ``results.json`` goes.

    Returns
    -------
    dict
        "agreement" of the marks in all photographs and in those of validation; "rows", for each row of the system its average precision
        and gains by each of `RULERS`, its false alarms and how many of them were marked; "ceiling", what the official marks
        themselves would have by the refined ones.

    Raises
    ------
    MaaError
        When a refined mask is missing or damaged.
    """
    started = time.perf_counter()
    pairs: dict[str, dict[str, tuple[np.ndarray, np.ndarray]]] = {"train": {}, "validation": {}}
    for split, of_split in pairs.items():
        for record in track(dataset.select(split, diseased=True), f"Reading the marks, {split}"):
            fundus = record.load(kinds=("MA",))
            of_split[record.name] = Frame(fundus.fov).shrink(fundus.ma), read_refined(marks, record.name)
    everything = pairs["train"] | pairs["validation"]
    results: Json = {
        "split": "validation",
        "data": dataset.fingerprint,
        "marks": fingerprint({name: np.packbits(refined).tobytes().hex() for name, (_, refined) in everything.items()}),
        "agreement": {"all": agreement([*everything.values()]), "validation": agreement([*pairs["validation"].values()])},
    }
    system = System.load(weights)
    results |= {
        "weights": network_fingerprint(system.networks),
        **_judge(system, Study(dataset, FULL), {name: refined for name, (_, refined) in pairs["validation"].items()}),
        "environment": environment(),
        "seconds": time.perf_counter() - started,
    }
    write_json(Path(out) / "results.json", results)
    return results


def _judge(system: System, study: Study, refined: Mapping[str, np.ndarray]) -> Json:
    """The rows of a system by every ruler, and what was marked among their false alarms, on the validation photographs."""
    stacks, settings = study.validation, system.settings
    scores = {ruler: {row: evaluation.PixelScores() for row in system.rows} for ruler in RULERS}
    ceiling = evaluation.PixelScores()
    counts = {row: dict.fromkeys(COUNTS, 0) for row in system.rows}
    dots: list[Json] = []
    for index in track([stacks[0].names.index(name) for name in refined], "Measuring by either set of marks"):
        name, label = stacks[0].names[index], stacks[0].label(index)
        truth, fov = (label & MA) > 0, (label & FOV) > 0
        frame = Frame(fov)
        small, marked = frame.shrink(truth), refined[name]
        numbers, met = marks_of(marked, near(small))
        added = frame.enlarge(near(np.append(False, ~met)[numbers]))
        truths = dict(zip(RULERS, (truth, frame.enlarge(small), frame.enlarge(marked))))
        official, kept = marks_of(truth, frame.enlarge(near(marked)))
        ceiling.add(name, truth.astype(np.float32), truths["refined"], fov)
        for row, map_ in system.maps(stacks, index).items():
            for ruler, marks in truths.items():
                scores[ruler][row].add(name, map_, marks, fov)
            called = (map_ >= evaluation.first_level(settings.thresholds[row])) & fov
            count_marked(counts[row], called, truth, truths["refined"], added, official, kept)
            if row == system.final:
                breakdown = evaluation.false_positive_breakdown(
                    map_, settings.thresholds[row], label, image_of(stacks[0], index)
                )
                numbers, on_mark = marks_of(called, truths["refined"] | added)
                for dot in breakdown["dark_dots"]:
                    number = numbers[round(dot["row"]), round(dot["column"])]
                    dots.append({"image": name, **dot, "marked": bool(np.append(False, on_mark)[number])})
    rows = {}
    compared = {
        ruler: with_intervals(of_ruler, ("hgn_1x", "control", "prn_cross_entropy")) for ruler, of_ruler in scores.items()
    }
    for row in system.rows:
        by_ruler = {ruler: of_ruler[row] for ruler, of_ruler in compared.items()}
        rows[row] = {"name": ROWS[row], "rulers": by_ruler, "threshold": settings.thresholds[row], **counts[row]}
    return {
        "rows": rows,
        "dark_dots": {"row": system.final, "dots": len(dots), "marked": sum(dot["marked"] for dot in dots), "each": dots},
        "ceiling": evaluation.average_precision(*ceiling.pooled()),
    }


#: What is counted of a row: components of called pixels that touch no official mark, those of them that lie on a refined mark or near an
#: added one; false pixels, those of them that are refined marks; official marks that were kept and that were taken away, and how many of
#: either were found.
COUNTS = (
    "false_alarms",
    "marked_false_alarms",
    "false_pixels",
    "marked_false_pixels",
    "kept_marks",
    "kept_found",
    "dropped_marks",
    "dropped_found",
)


def count_marked(
    counts: dict[str, int],
    called: np.ndarray,
    truth: np.ndarray,
    refined: np.ndarray,
    added: np.ndarray,
    official: np.ndarray,
    kept: np.ndarray,
) -> None:
    """Add a photograph to the `COUNTS` of a row.

    Parameters
    ----------
    counts : dict of str to int
    called, truth, refined, added : (H, W) bool array
        Pixels called a microaneurysm; official marks; refined marks; what is near a refined mark that meets no official one.
    official : (H, W) integer array
        The number of the official mark at each pixel, from 1; 0 where there is none.
    kept : (K,) bool array
        Which of the official marks meet a refined one.
    """
    false = ~marks_of(called, truth)[1]
    marked = marks_of(called, refined | added)[1]
    found = np.isin(np.arange(len(kept)) + 1, official[called])
    false_pixels = called & ~truth
    for key, value in zip(
        COUNTS,
        (
            false.sum(),
            (false & marked).sum(),
            false_pixels.sum(),
            (false_pixels & refined).sum(),
            kept.sum(),
            (kept & found).sum(),
            (~kept).sum(),
            (~kept & found).sum(),
        ),
    ):
        counts[key] += int(value)
