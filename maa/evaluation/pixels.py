"""Pixels: histograms of the scores of lesion pixels and of all others.

Ten images of twelve megapixels do not fit into memory as sorted scores.  They need not: probability maps are quantised to 16 bits when they are made, so a
histogram of 65,536 levels for lesion pixels and another for the rest hold everything that a ranking measure can see, ties included.  The histograms are kept
for each image, so subsets, the mean over images and bootstrap samples of images come from the same pass.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np

from maa.errors import MaaError
from maa.evaluation.shrunk import THRESHOLDS, shrink

LEVELS = 65_536
PROBABILITIES = np.arange(LEVELS) / (LEVELS - 1)
_CHUNK_PIXELS = 1 << 21
#: The lowest level above each threshold of `PixelScores.shrunk`, but for the last, above which there is none; and level 0.
_BINS = np.append(0, np.searchsorted(PROBABILITIES, np.linspace(0, 1, THRESHOLDS)[:-1], side="right"))


def quantise(scores: np.ndarray, name: str = "the score map") -> np.ndarray:
    """Probabilities as 16-bit levels, the form in which every map of this project is stored and measured.  Explained in ch:hgn.

    Parameters
    ----------
    scores : array of uint16 or float, any shape
        uint16 is taken as levels already.  Floats are probabilities in [0, 1], and level = round(65535 * p),
        computed in the array's own precision (float16 in float32).
    name : str
        What to call the array in an error.

    Returns
    -------
    array of uint16, same shape
        Level / 65535 is the probability.

    Raises
    ------
    MaaError
        For another type, a NaN, or a value outside [0, 1].
    """
    scores = np.asarray(scores)
    if scores.dtype == np.uint16:
        return scores
    if not np.issubdtype(scores.dtype, np.floating):
        raise MaaError(f"Scores of {name} are {scores.dtype}; give probabilities as floats in [0, 1], or uint16 levels.")
    if scores.dtype == np.float16:
        scores = scores.astype(np.float32)
    # Written so that a NaN, for which every comparison is false, fails too.
    if scores.size and not (scores.min() >= 0 and scores.max() <= 1):
        raise MaaError(f"Scores of {name} hold NaN or leave [0, 1]; apply the sigmoid before they are measured.")
    return np.rint(scores * scores.dtype.type(LEVELS - 1)).astype(np.uint16)


class PixelScores:
    """Histograms of the scores of lesion pixels and other pixels, for each image, inside and outside the field.

    Explained in ch:hgn.

    Add images one by one; no pixel is kept.  One image takes 1 MiB, whatever its size.

    Examples
    --------
    >>> scores = PixelScores()
    >>> scores.add("a", np.array([[0.9, 0.2], [0.6, 0.1]]), np.array([[True, False], [False, True]]))
    >>> round(average_precision(*scores.pooled()), 3)
    0.75
    """

    def __init__(self) -> None:
        self.names: list[str] = []
        self.diseased: list[bool] = []
        self._counts: list[np.ndarray] = []  # one (2, 2, LEVELS) uint32 array an image: [outside the field?, lesion?, level]
        # One (2, THRESHOLDS) array an image: [lesion?, thresholds below]; zeros where the map was not shrunk.
        self._shrunk: list[np.ndarray] = []

    def __len__(self) -> int:
        return len(self.names)

    def add(
        self, name: str, scores: np.ndarray, truth: np.ndarray, fov: np.ndarray | None = None, diseased: bool = True
    ) -> None:
        """Count the pixels of one image.

        Parameters
        ----------
        name : str
            Unique identifier of the image.
        scores : (H, W) uint16 or float array
            Probability map, see `quantise`.
        truth : (H, W) bool array
            True on annotated lesion pixels.
        fov : (H, W) bool array, optional
            Field of view.  By default the whole image.
        diseased : bool
            False for a photograph of a healthy patient; these count only where a measure asks for them.

        Raises
        ------
        MaaError
            When shapes or types do not fit, scores leave [0, 1], or the name was added before.
        """
        new_name(name, self.names)
        levels, truth, fov = checked_maps(name, scores, truth, fov)
        small = shrink(levels, truth, fov) if diseased and fov is not None else None
        counts = np.zeros(4 * LEVELS, np.int64)
        levels, truth = levels.ravel(), truth.ravel()
        fov = None if fov is None else fov.ravel()
        for start in range(0, levels.size, _CHUNK_PIXELS):
            part = slice(start, start + _CHUNK_PIXELS)
            code = levels[part].astype(np.intp)
            code += LEVELS * truth[part]
            if fov is not None:
                code += 2 * LEVELS * ~fov[part]
            counts += np.bincount(code, minlength=4 * LEVELS)
        self.names.append(str(name))
        self.diseased.append(bool(diseased))
        self._counts.append(counts.astype(np.uint32).reshape(2, 2, LEVELS))
        binned = np.zeros(2 * THRESHOLDS, np.int64)
        if small is not None:
            below = np.searchsorted(_BINS[1:], small[0].ravel(), side="right")
            binned += np.bincount(below + THRESHOLDS * small[1].ravel(), minlength=2 * THRESHOLDS)
        self._shrunk.append(binned.reshape(2, THRESHOLDS))

    def add_hits(self, name: str, levels: np.ndarray, truth: np.ndarray, lesion: int, other: int) -> None:
        """Count the pixels of a diseased image whose map is zero but for a few.

        Parameters
        ----------
        name : str
            Unique identifier of the image.
        levels : (M,) uint16 array
            Of the pixels in the field of view where the map is not zero, or not only there.
        truth : (M,) bool array
            True where these are annotated lesion pixels.
        lesion, other : int
            All pixels in the field of view that are annotated, and that are not: what `levels` leaves out has the level 0.

        Raises
        ------
        MaaError
            When the name was added before, or there are fewer pixels in all than in `levels`.
        """
        new_name(name, self.names)
        counts = np.bincount(levels.astype(np.intp) + LEVELS * truth, minlength=2 * LEVELS).reshape(2, LEVELS)
        rest = np.array([other, lesion]) - counts.sum(axis=1)
        if rest.min() < 0:
            raise MaaError(f"The map of {name} holds more pixels than its field of view; count them where both are true.")
        counts[:, 0] += rest
        self.names.append(str(name))
        self.diseased.append(True)
        self._counts.append(np.stack([counts, np.zeros_like(counts)]).astype(np.uint32))
        self._shrunk.append(np.zeros((2, THRESHOLDS), np.int64))  # where its pixels lie is not known

    def per_image(self, healthy: bool = False, outside_field: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Histograms of each image.

        Parameters
        ----------
        healthy : bool
            Whether images of healthy patients are included.
        outside_field : bool
            Whether pixels outside the field of view are included.

        Returns
        -------
        positives, negatives : (n, 65536) int64 arrays
            Pixels of each level, of lesion and of anything else.

        Raises
        ------
        MaaError
            When no image is left.
        """
        chosen = [c for c, diseased in zip(self._counts, self.diseased) if diseased or healthy]
        if not chosen:
            raise MaaError("There is no image to evaluate; add at least one diseased image before asking for a measure.")
        counts = np.stack([c.sum(0, dtype=np.int64) if outside_field else c[0].astype(np.int64) for c in chosen])
        return counts[:, 1], counts[:, 0]

    def pooled(self, healthy: bool = False, outside_field: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Histograms of the pixels of all images together; parameters and errors as `per_image`.

        Returns
        -------
        positives, negatives : (65536,) int64 arrays
        """
        positives, negatives = self.per_image(healthy, outside_field)
        return positives.sum(0), negatives.sum(0)

    def shrunk(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Histograms, as `pooled`, of all diseased images after `shrink`, as fine as its 33 thresholds ask for.

        Returns
        -------
        positives, negatives : (65536,) int64 arrays
            The ground around the field of view counts.
        None
            In place of both where an image has no field of view as large as the square.
        """
        binned = np.array([s for s, diseased in zip(self._shrunk, self.diseased) if diseased]).reshape(-1, 2, THRESHOLDS)
        if not binned.any((1, 2)).all():
            return None
        pooled = np.zeros((2, LEVELS), np.int64)
        pooled[:, _BINS] = binned.sum(0)
        return pooled[1], pooled[0]

    def subset(self, names: Iterable[str]) -> PixelScores:
        """The same scores for some of the images, in the order given.

        Parameters
        ----------
        names : iterable of str

        Returns
        -------
        PixelScores

        Raises
        ------
        MaaError
            When a name is unknown.
        """
        chosen = PixelScores()
        for name in names:
            if name not in self.names:
                raise MaaError(f"Image {name} is not among these scores; choose from {', '.join(self.names)}.")
            i = self.names.index(name)
            chosen.names.append(name)
            chosen.diseased.append(self.diseased[i])
            chosen._counts.append(self._counts[i])
            chosen._shrunk.append(self._shrunk[i])
        return chosen

    def extend(self, other: PixelScores) -> None:
        """Add the images of other scores; MaaError when one of them is there already."""
        for name, diseased, counts, shrunk in zip(other.names, other.diseased, other._counts, other._shrunk):
            new_name(name, self.names)
            self.names.append(name)
            self.diseased.append(diseased)
            self._counts.append(counts)
            self._shrunk.append(shrunk)

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything, as a dict of str to array, for a file; `from_arrays` takes it back."""
        return {
            "images": np.array(self.names, dtype=np.str_),
            "diseased": np.array(self.diseased, bool),
            "counts": np.array(self._counts, np.uint32).reshape(-1, 2, 2, LEVELS),
            "shrunk": np.array(self._shrunk, np.int64).reshape(-1, 2, THRESHOLDS),
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> PixelScores:
        """What `arrays` gave; KeyError when something is missing."""
        scores = cls()
        scores.names, scores.diseased = arrays["images"].tolist(), arrays["diseased"].tolist()
        scores._counts, scores._shrunk = list(arrays["counts"]), list(arrays["shrunk"])
        return scores


def checked_maps(
    name: str, scores: np.ndarray, truth: np.ndarray, fov: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """The three maps of an image as arrays that fit each other; parameters and errors as `PixelScores.add`.

    Returns
    -------
    levels : (H, W) uint16 array
        See `quantise`.
    truth : (H, W) bool array
    fov : (H, W) bool array or None
    """
    scores, truth = np.asarray(scores), np.asarray(truth)
    if scores.ndim != 2:
        raise MaaError(f"The score map of {name} has the shape {scores.shape}; it must be (height, width).")
    check_mask(name, "truth", truth, scores.shape)
    if fov is not None:
        fov = np.asarray(fov)
        check_mask(name, "field of view", fov, scores.shape)
    return quantise(scores, name), truth, fov


def new_name(name: str, names: Sequence[str]) -> None:
    if name in names:
        raise MaaError(f"Image {name} was already added to these scores; give each image a name of its own.")


def check_mask(name: str, what: str, mask: np.ndarray, shape: tuple[int, ...]) -> None:
    if mask.dtype != bool:
        raise MaaError(f"The {what} of {name} is {mask.dtype}; make it boolean, True where it holds.")
    if mask.ndim != 2 or mask.shape != shape:
        raise MaaError(f"The {what} of {name} has the shape {mask.shape}, not the image's {shape}; bring both to one size.")


def first_level(threshold: float) -> int:
    """The lowest 16-bit level, 0 to 65535, that is at or above a threshold in [0, 1]; MaaError beyond that range."""
    if not 0 <= threshold <= 1:
        raise MaaError(f"The threshold is {threshold}; it must be a probability in [0, 1].")
    return int(np.searchsorted(PROBABILITIES, threshold))
