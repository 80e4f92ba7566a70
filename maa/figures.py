"""Every picture in the book: one style, one palette, one function a plot.

Three decisions hold throughout.

*White ground.*  A raster picture cannot know whether the page around it is light or dark.  Transparent
pictures need ink that reads on both, and no grey has a contrast of 4.5 on white and on near-black at
once with room for colours beside it.  So figures are white cards with dark ink, and colours keep their meaning
in either theme.

*Fixed colours.*  ``PALETTE`` gives each thing one colour in the whole book.  The eight colours differ
by at least 25 CIELAB units from each other for normal, protan, deutan and tritan vision (simulated after
Machado, Oliveira and Fernandes, 2009), and by a contrast of at least 3 from white; the tests measure both.
Curves differ in dash and marker as well, so that a print in grey can be read too.

*Figures, not state.*  Each function takes plain arrays and returns a new ``matplotlib.figure.Figure`` that
pyplot does not know, so a notebook shows it exactly once, as the last expression of a cell, and nothing
has to be closed.  Line plots take ``ax`` to draw into a figure of the caller's instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import matplotlib as mpl
import numpy as np
from matplotlib import patheffects
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.image import AxesImage
from matplotlib.lines import Line2D
from matplotlib.patches import Annulus, Circle, FancyArrowPatch, Rectangle
from matplotlib.offsetbox import AnnotationBbox, OffsetImage
from scipy.ndimage import label as connected, maximum_filter

PALETTE = {
    "MA": "#972D00",
    "healthy": "#25207A",
    "1x": "#4B61D6",
    "0.5x": "#B58E0E",
    "fused": "#1EA760",
    "refined": "#DE65BE",
    "truth": "#000000",
    "paper": "#666666",
}
"""One colour for each thing, in every figure."""

LESION_INK = {
    "MA": ("#00E5FF", "solid", "microaneurysms"),
    "HE": ("#FFFFFF", "solid", "haemorrhages"),
    "EX": ("#FFE14D", (0, (1, 1)), "hard exudates"),
    "SE": ("#FF7BD9", (0, (4, 2)), "soft exudates"),
    "OD": ("#A6FF6B", (0, (5, 1, 1, 1)), "optic disc"),
}
"""Colour, dash and name of an outline drawn on a photograph, where the palette would drown in red."""

ERROR_INK = {"true positive": "#35A7FF", "false positive": "#FFC61A", "false negative": "#FF2E93"}
"""Colours of the three kinds of pixel in an error map, on a darkened grey photograph."""

DASH = {"1x": "solid", "0.5x": (0, (6, 2)), "fused": (0, (3, 1, 1, 1)), "refined": "solid", "paper": (0, (1, 1))}
MARKER = {"1x": "o", "0.5x": "s", "fused": "^", "refined": "D", "paper": "X", "MA": "^", "healthy": "o"}

STYLE = {
    "figure.figsize": (6.4, 4.0),
    "figure.dpi": 120,
    "savefig.dpi": 120,
    "figure.facecolor": "white",
    "axes.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.titlesize": 10,
    "axes.labelsize": 10,
    "xtick.labelsize": 10,
    "ytick.labelsize": 10,
    "legend.fontsize": 10,
    "figure.titlesize": 10,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": "#444444",
    "axes.linewidth": 0.8,
    "lines.linewidth": 1.8,
    "lines.markersize": 6,
    "legend.frameon": True,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.85,
    "axes.prop_cycle": mpl.cycler(color=[PALETTE[k] for k in ("1x", "0.5x", "fused", "refined", "MA", "paper")]),
    "image.interpolation": "nearest",
    "image.cmap": "inferno",
}
"""The matplotlib settings of the whole book: small figures, one font size, white ground."""

_WIDTH = 6.4  # inches: the text column of the page at the style's resolution
_HALO = [patheffects.withStroke(linewidth=2.6, foreground="black", alpha=0.75)]


def use_style() -> None:
    """Make `STYLE` the style of this process and let notebooks show figures that pyplot does not know.

    Call it once, in the first cell.  Explained in "How to read this book".
    """
    mpl.rcParams.update(STYLE)
    try:
        from IPython import get_ipython
    except ImportError:
        return
    shell = get_ipython()
    if shell is not None and hasattr(shell, "kernel"):
        import matplotlib.pyplot as plt

        plt.switch_backend("module://matplotlib_inline.backend_inline")
        # The inline backend registers its PNG formatter for figures on the first `%matplotlib`.
        from matplotlib_inline.backend_inline import set_matplotlib_formats

        set_matplotlib_formats("png")
        mpl.rcParams.update(STYLE)


# -- what the functions ask of their arguments -------------------------------------------------------------


def _rgb(image, what="image") -> np.ndarray:
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(
            f"{what} must be an (H, W, 3) uint8 RGB array, but has shape {image.shape} and type {image.dtype}."
        )
    return image


def _plane(array, image, what) -> np.ndarray:
    array = np.asarray(array)
    if array.shape != image.shape[:2]:
        raise ValueError(f"{what} must have the image's height and width {image.shape[:2]}, but has shape {array.shape}.")
    return array


def _patches(patches, what="patches") -> np.ndarray:
    patches = np.asarray(patches)
    if patches.ndim != 4 or patches.shape[3] != 3 or patches.dtype != np.uint8:
        raise ValueError(
            f"{what} must be an (N, S, S, 3) uint8 array, but has shape {patches.shape} and type {patches.dtype}."
        )
    if len(patches) == 0:
        raise ValueError(f"{what} must hold at least one patch, but is empty.")
    return patches


def _points(points, what="points") -> np.ndarray:
    points = np.asarray(points, dtype=float)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"{what} must be an (N, 2) array, but has shape {points.shape}.")
    return points


def _vector(values, what, length=None) -> np.ndarray:
    values = np.asarray(values)
    if values.ndim != 1:
        raise ValueError(f"{what} must be one-dimensional, but has shape {values.shape}.")
    if length is not None and len(values) != length:
        raise ValueError(f"{what} must have {length} entries, one for each item drawn, but has {len(values)}.")
    return values


def _figure(width=_WIDTH, height=4.0) -> Figure:
    return Figure(figsize=(width, height), dpi=STYLE["figure.dpi"], layout="constrained")


def _axes(ax: Axes | None, height=4.0) -> Axes:
    return ax if ax is not None else _figure(height=height).subplots()


def role_of(name: str) -> str:
    """Which entry of `PALETTE` a system called `name` has: ``"HGN 0.5x"`` -> ``"0.5x"``.

    Parameters
    ----------
    name : str
        The system's name as a table prints it.

    Returns
    -------
    str
        A key of `PALETTE`; names that none of the rules know are "paper", the neutral grey.

    Notes
    -----
    Explained in chapter 4.
    """
    low = name.lower().replace("×", "x")
    rules = (("prn", "refined"), ("refine", "refined"), ("full", "refined"), ("0.5x", "0.5x"), ("geometric", "fused"),
             ("fus", "fused"), ("mean", "fused"), ("maximum", "fused"), ("1x", "1x"))
    return next((role for word, role in rules if word in low), "paper")


# -- photographs ---------------------------------------------------------------------------------------------


def _shrink(array, step, how) -> np.ndarray:
    """Pool `array` over step x step blocks, dropping the ragged edge: a page is 800 pixels wide, a photograph 4288."""
    if step == 1:
        return array
    height, width = (n // step * step for n in array.shape[:2])
    blocks = array[:height, :width].reshape(height // step, step, width // step, step, *array.shape[2:])
    return how(blocks, axis=(1, 3)).astype(array.dtype)


def _fat(mask, step) -> np.ndarray:
    """Thicken a shrunk mask by one pixel of the page: a lesion three pixels wide cannot be told from dust."""
    return maximum_filter(mask, 3) if step > 1 else mask


def _grey(image) -> np.ndarray:
    """The green channel, where lesions have most contrast, dimmed so that colours stand out: (H, W) in 0..0.8."""
    return image[..., 1] / 255 * 0.8


def _bare(ax) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set_visible(False)


def _scale_bar(ax, width, pixels_per_degree) -> None:
    degrees = max((d for d in (0.1, 0.2, 0.5, 1, 2, 5, 10) if d * pixels_per_degree <= 0.3 * width), default=0.1)
    length, height = degrees * pixels_per_degree, ax.get_ylim()[0]
    line = ax.plot([0.04 * width, 0.04 * width + length], [0.95 * height] * 2, color="white", lw=2.5)[0]
    text = ax.text(0.04 * width, 0.92 * height, f"{degrees:g}°", color="white", va="bottom")
    for artist in (line, text):
        artist.set_path_effects(_HALO)


def _with_zooms(image, zooms, draw, pixels_per_degree=None) -> Figure:
    """Lay out the whole picture above its zooms and call ``draw(ax, rows, columns, step)`` for each of them."""
    height, width = image.shape[:2]
    for row, column, side in zooms:
        if not (0 <= row and 0 <= column and 0 < side and row + side <= height and column + side <= width):
            raise ValueError(
                f"each zoom is (row, column, side) within the image of {height} x {width} pixels, but one is "
                f"{(row, column, side)}."
            )
    whole = _WIDTH * height / width
    below = _WIDTH / len(zooms) if zooms else 0
    figure = _figure(height=whole + below + 0.45)
    grid = figure.add_gridspec(2 if zooms else 1, max(1, len(zooms)), height_ratios=[whole, below][: 2 if zooms else 1])
    views = [(figure.add_subplot(grid[0, :]), slice(0, height), slice(0, width), -(-max(height, width) // 1000))]
    for i, (row, column, side) in enumerate(zooms):
        ax = figure.add_subplot(grid[1, i])
        views.append((ax, slice(row, row + side), slice(column, column + side), max(1, side // 500)))
    for i, (ax, rows, columns, step) in enumerate(views):
        draw(ax, rows, columns, step)
        _bare(ax)
        if pixels_per_degree:
            _scale_bar(ax, (columns.stop - columns.start) / step, pixels_per_degree / step)
        if i:
            ax.text(0.03, 0.97, str(i), transform=ax.transAxes, va="top", color="white", path_effects=_HALO)
            main, scale = views[0][0], views[0][3]
            box = Rectangle((columns.start / scale, rows.start / scale), (columns.stop - columns.start) / scale,
                            (rows.stop - rows.start) / scale, fill=False, ec="white", lw=1.2, path_effects=_HALO)
            main.add_patch(box)
            main.text(columns.stop / scale, rows.start / scale, f" {i}", color="white", va="top", path_effects=_HALO)
    return figure


def _outline(ax, mask, colour, dash="solid", width=1.1) -> None:
    if mask.any() and not mask.all():
        limits = ax.get_xlim(), ax.get_ylim()  # the contour's one-pixel apron, which closes lesions at the edge, is not shown
        ax.contour(np.pad(mask, 1), levels=[0.5], colors=[colour], linestyles=[dash], linewidths=width,
                   extent=(-1.5, mask.shape[1] + 0.5, -1.5, mask.shape[0] + 0.5)).set_path_effects(
            [patheffects.withStroke(linewidth=width + 1.0, foreground="black", alpha=0.6)])
        ax.set(xlim=limits[0], ylim=limits[1])


def _legend(figure, handles, columns=3) -> None:
    """Put a legend above the pictures, on a dark chip because outlines are light.

    Constrained layout forgets the titles of axes with a fixed aspect when it makes room for an outside legend, so the room
    is made here.
    """
    if not handles:
        return
    columns = min(columns, len(handles))
    lines = -(-len(handles) // columns)
    room = (0.18 + 0.2 * lines) / figure.get_figheight()
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - room))
    legend = figure.legend(handles=handles, loc="upper left", ncols=columns, facecolor="#3A3A3A", edgecolor="none",
                           framealpha=1, labelcolor="white", handlelength=1.6, columnspacing=1.2, borderpad=0.4,
                           borderaxespad=0.3)
    legend.set_in_layout(False)
    # Notebooks crop a figure to what is in its layout: an empty frame keeps the room for the legend in the picture.
    figure.add_artist(Rectangle((0, 0), 1, 1, transform=figure.transFigure, facecolor="none", edgecolor="none"))


def photograph(image, lesions: Mapping[str, np.ndarray] | None = None, fov=None,
               zooms: Sequence[tuple[int, int, int]] = (), pixels_per_degree: float | None = None) -> Figure:
    """A fundus photograph with its lesions and its field of view outlined, and native-resolution zooms below it.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph.
    lesions : mapping from "MA", "HE", "EX", "SE", "OD" to (H, W) bool, optional
        Annotated masks; the legend gives the number of separate MA lesions drawn.
    fov : (H, W) bool, optional
        Field of view, drawn as a dashed grey line.
    zooms : sequence of (row, column, side)
        Square windows in pixels, drawn in a row below the photograph and numbered.
    pixels_per_degree : float, optional
        Draws a scale bar in degrees of visual angle (IDRiD: 68).

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When an array has another shape than the image, a lesion is unknown or a zoom leaves the image.

    Notes
    -----
    Explained in chapter 1.
    """
    image = _rgb(image)
    lesions = {} if lesions is None else dict(lesions)
    if unknown := set(lesions) - set(LESION_INK):
        raise ValueError(f"lesions are named {', '.join(LESION_INK)}, but one is {sorted(unknown)[0]!r}.")
    lesions = {k: _plane(lesions[k], image, f"the mask of {k}").astype(bool) for k in LESION_INK if k in lesions}
    fov = None if fov is None else _plane(fov, image, "fov").astype(bool)

    def draw(ax, rows, columns, step):
        ax.imshow(_shrink(image[rows, columns], step, np.mean))
        if fov is not None:
            _outline(ax, _shrink(fov[rows, columns], step, np.max), "#BBBBBB", (0, (4, 3)))
        for name, mask in lesions.items():
            colour, dash, _ = LESION_INK[name]
            _outline(ax, _shrink(mask[rows, columns], step, np.max), colour, dash)

    figure = _with_zooms(image, zooms, draw, pixels_per_degree)
    drawn = [(LESION_INK[k][2] + (f" ({_count(m)})" if k == "MA" else ""), *LESION_INK[k][:2])
             for k, m in lesions.items() if m.any()]
    if fov is not None:
        drawn.append(("field of view", "#BBBBBB", (0, (4, 3))))
    _legend(figure, [Line2D([], [], color=c, ls=d, label=n) for n, c, d in drawn])
    return figure


def _count(mask) -> int:
    return int(connected(mask, structure=np.ones((3, 3)))[1])


def _heat(ax, image, probability, step, gain) -> AxesImage:
    """A grey photograph with the probability over it: invisible at 0, opaque from `gain` on."""
    ax.imshow(_shrink(_grey(image), step, np.mean), cmap="gray", vmin=0, vmax=1)
    pooled = _shrink(probability, step, np.max)  # maxima, or a lesion three pixels wide would fade on the page
    return ax.imshow(pooled, vmin=0, vmax=1, cmap="inferno", alpha=np.clip(pooled / gain, 0, 1).astype(float))


def probability_overlay(image, probability, truth=None, zooms: Sequence[tuple[int, int, int]] = (),
                        gain: float = 0.3) -> Figure:
    """A probability map over its photograph, the photograph in grey so that colour means probability only.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph.
    probability : (H, W) float in 0..1
        Probability that a pixel is MA.
    truth : (H, W) bool, optional
        Annotated MA, outlined.
    zooms : sequence of (row, column, side)
        Windows in pixels, drawn below.
    gain : float in (0, 1]
        Probability from which on the map hides the photograph.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When a shape is not the image's or a zoom leaves the image.

    Notes
    -----
    At page size each drawn pixel shows the highest probability of those it stands for.  Explained in chapter 4.
    """
    image = _rgb(image)
    probability = _plane(probability, image, "probability")
    truth = None if truth is None else _plane(truth, image, "truth").astype(bool)
    drawn = []

    def draw(ax, rows, columns, step):
        drawn.append(_heat(ax, image[rows, columns], probability[rows, columns], step, gain))
        if truth is not None:
            _outline(ax, _shrink(truth[rows, columns], step, np.max), LESION_INK["MA"][0], width=0.9)

    figure = _with_zooms(image, zooms, draw)
    # A colour bar of its own, opaque: the picture's alpha belongs to the photograph below it.
    bar = ScalarMappable(norm=drawn[0].norm, cmap=drawn[0].cmap)
    figure.colorbar(bar, ax=figure.axes, location="bottom", shrink=0.6, aspect=40, pad=0.01, label="probability of MA")
    if truth is not None:
        _legend(figure, [Line2D([], [], color=LESION_INK["MA"][0], label="annotated MA")])
    return figure


def map_row(image, maps: Mapping[str, np.ndarray], truth=None, gain: float = 0.3) -> Figure:
    """The same window of a photograph under several probability maps, in a grid of small pictures.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB window.
    maps : mapping from title to (H, W) float in 0..1
        For instance 1x, 0.5x, fused, refined, in this order.
    truth : (H, W) bool, optional
        Annotated MA, outlined in every picture.
    gain : float in (0, 1]
        Probability from which on a map hides the photograph.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When there is no map or a shape is not the image's.

    Notes
    -----
    Explained in chapter 4.
    """
    image = _rgb(image)
    maps = {name: _plane(m, image, f"the map {name}") for name, m in maps.items()}
    if not maps:
        raise ValueError("maps must hold at least one probability map, but is empty.")
    truth = None if truth is None else _plane(truth, image, "truth").astype(bool)
    columns = min(len(maps) + 1, 3)
    lines = -(-(len(maps) + 1) // columns)
    figure = _figure(height=lines * (_WIDTH / columns * image.shape[0] / image.shape[1] + 0.25) + 0.4)
    axes = figure.subplots(lines, columns, squeeze=False).ravel()
    for ax in axes:
        _bare(ax)
        ax.set_visible(False)
    axes[0].imshow(image)
    step = max(1, max(image.shape) // 500)
    for ax, name in zip(axes, ["photograph", *maps]):
        ax.set_visible(True)
        ax.set_title(name)
        if name in maps:
            _heat(ax, image, maps[name], step, gain)
        if truth is not None:
            _outline(ax, truth if ax is axes[0] else _shrink(truth, step, np.max), LESION_INK["MA"][0], width=0.9)
    if truth is not None:
        _legend(figure, [Line2D([], [], color=LESION_INK["MA"][0], label="annotated MA")])
    return figure


def error_colours(image, predicted, truth) -> np.ndarray:
    """The picture of an error map: the photograph in grey, each predicted or annotated pixel in `ERROR_INK`.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph or window.
    predicted, truth : (H, W) bool
        Predicted and annotated MA.

    Returns
    -------
    (H, W, 3) uint8

    Raises
    ------
    ValueError
        When a shape is not the image's.

    Notes
    -----
    Explained in chapter 4.
    """
    image = _rgb(image)
    predicted = _plane(predicted, image, "predicted").astype(bool)
    truth = _plane(truth, image, "truth").astype(bool)
    out = np.repeat((_grey(image) * 0.85 * 255).astype(np.uint8)[..., None], 3, axis=2)
    kinds = (predicted & truth, predicted & ~truth, truth & ~predicted)
    for where, colour in zip(kinds, ERROR_INK.values()):
        out[where] = np.array(to_rgb(colour)) * 255
    return out


def error_map(image, predicted, truth, zooms: Sequence[tuple[int, int, int]] = ()) -> Figure:
    """Which pixels were right, which too many, which missed; the legend counts them.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph or window.
    predicted, truth : (H, W) bool
        Predicted and annotated MA.
    zooms : sequence of (row, column, side)
        Windows in pixels, drawn below.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When a shape is not the image's or a zoom leaves the image.

    Notes
    -----
    Explained in chapter 4.
    """
    image, kinds = _rgb(image), []
    predicted = _plane(predicted, image, "predicted").astype(bool)
    truth = _plane(truth, image, "truth").astype(bool)

    def draw(ax, rows, columns, step):
        ax.imshow(error_colours(_shrink(image[rows, columns], step, np.mean),
                                *(_fat(_shrink(m[rows, columns], step, np.max), step) for m in (predicted, truth))))

    figure = _with_zooms(image, zooms, draw)
    counts = ((predicted & truth).sum(), (predicted & ~truth).sum(), (truth & ~predicted).sum())
    for (name, colour), count in zip(ERROR_INK.items(), counts):
        kinds.append(Line2D([], [], color=colour, marker="s", ls="none", label=f"{name} ({count:,} px)"))
    _legend(figure, kinds)
    return figure


# -- patches -------------------------------------------------------------------------------------------------


def _frame(ax, label) -> None:
    """Border an image by its class: MA solid, healthy dashed, so that colour is not alone in saying it."""
    name = "MA" if label else "healthy"
    ax.spines[:].set(visible=True, color=PALETTE[name], linewidth=2.2, capstyle="butt",
                  linestyle="solid" if label else (0, (2, 1)))


def _class_legend(figure) -> None:
    figure.legend(handles=[Line2D([], [], color=PALETTE["MA"], label="MA"),
                           Line2D([], [], color=PALETTE["healthy"], ls=(0, (2, 1)), label="healthy")],
                  loc="outside upper right", ncols=2)


def patch_grid(patches, labels=None, titles: Sequence[str] | None = None, columns: int = 8) -> Figure:
    """A grid of patches, framed by class.

    Parameters
    ----------
    patches : (N, S, S, 3) uint8
        RGB patches, drawn in reading order.
    labels : (N,) int or bool, optional
        1 for MA, 0 for healthy: colour and dash of the frame.
    titles : sequence of N str, optional
        A short line above each patch.
    columns : int
        Patches in a row.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When the patches have another shape or labels or titles another length.

    Notes
    -----
    Explained in chapter 2.
    """
    patches = _patches(patches)
    labels = None if labels is None else _vector(labels, "labels", len(patches))
    titles = None if titles is None else _vector(titles, "titles", len(patches))
    columns = min(columns, len(patches))
    lines = -(-len(patches) // columns)
    cell = _WIDTH / max(columns, 4)
    figure = _figure(cell * columns, lines * (cell + (0.2 if titles is not None else 0.0)) + (0.3 if labels is not None else 0))
    for i, ax in enumerate(figure.subplots(lines, columns, squeeze=False).ravel()):
        _bare(ax)
        if i >= len(patches):
            ax.set_visible(False)
            continue
        ax.imshow(patches[i])
        if labels is not None:
            _frame(ax, labels[i])
        if titles is not None:
            ax.set_title(str(titles[i]), loc="center", pad=3)
    if labels is not None:
        _class_legend(figure)
    return figure


def patch_at_both_scales(image, truth, half_image, half_truth, centre: tuple[int, int], side: int,
                         receptive_field: int | None = None) -> Figure:
    """What each HGN sees around one pixel: its surroundings, the patch at 1x, the patch at 0.5x.

    Parameters
    ----------
    image, truth : (H, W, 3) uint8 and (H, W) bool
        Photograph at native resolution and its MA.
    half_image, half_truth : (H/2, W/2, 3) uint8 and (H/2, W/2) bool
        The same at half the resolution (`maa.fundus.halve`).
    centre : (row, column)
        In native pixels.
    side : int
        Side of a patch in pixels of its own scale.
    receptive_field : int, optional
        Side of the network's receptive field in pixels of its own scale, drawn as a box where it is below `side`.

    Returns
    -------
    Figure
        Three pictures; the first carries the outlines of the two patches.

    Raises
    ------
    ValueError
        When shapes disagree or a patch leaves the image.

    Notes
    -----
    Explained in chapter 3.
    """
    image, half_image = _rgb(image), _rgb(half_image, "half_image")
    truth, half_truth = _plane(truth, image, "truth"), _plane(half_truth, half_image, "half_truth")
    reach = int(1.5 * side)
    row, column = centre
    if not (reach <= row < image.shape[0] - reach and reach <= column < image.shape[1] - reach):
        raise ValueError(
            f"centre must lie {reach} pixels or more within the image of {image.shape[:2]} pixels, but is {(row, column)}."
        )
    figure = _figure(height=_WIDTH / 3 + 0.55)
    views = (("surroundings", image, truth, reach, centre), ("1x", image, truth, side // 2, centre),
             ("0.5x", half_image, half_truth, side // 2, (row // 2, column // 2)))
    for ax, (name, picture, mask, half, (r, c)) in zip(figure.subplots(1, 3), views):
        window = np.s_[r - half:r - half + (2 * half if half == reach else side),
                       c - half:c - half + (2 * half if half == reach else side)]
        ax.imshow(picture[window])
        _outline(ax, np.asarray(mask[window], dtype=bool), LESION_INK["MA"][0], width=1.4)
        _bare(ax)
        ax.set_title(name if half == reach else f"{name}: {side} x {side} pixels")
        if half == reach:
            for role, size in (("1x", side), ("0.5x", 2 * side)):
                _box(ax, half, size, "white", DASH[role])
                ax.text(half - size / 2, half - size / 2 - 2, role, color="white", va="bottom", path_effects=_HALO)
        else:
            ax.spines[:].set(visible=True, color=PALETTE[name], linewidth=2.5)
            if receptive_field is not None and receptive_field < side:
                _box(ax, half, receptive_field, "white", (0, (2, 2)))
    handles = [Line2D([], [], color=LESION_INK["MA"][0], label="annotated MA")]
    if receptive_field is not None and receptive_field < side:
        handles.append(Line2D([], [], color="white", ls=(0, (2, 2)), label=f"receptive field ({receptive_field} px)"))
    _legend(figure, handles)
    return figure


def _box(ax, centre, side, colour, dash) -> None:
    ax.add_patch(Rectangle((centre - side / 2 - 0.5, centre - side / 2 - 0.5), side, side, fill=False, ec=colour,
                           ls=dash, lw=1.4, path_effects=_HALO))


def lesion_sizes(real_areas=None, phantom_areas=None, reach: Mapping[str, int] | None = None,
                 microns_per_pixel: float | None = None, ax: Axes | None = None) -> Figure:
    """Histogram of lesion sizes, real beside phantom, with the receptive fields marked on the same axis.

    Parameters
    ----------
    real_areas, phantom_areas : (N,) and (M,) float, optional
        Areas of single lesions in native pixels; at least one of the two.
    reach : mapping from "1x", "0.5x" to int, optional
        Side of each network's receptive field in native pixels.
    microns_per_pixel : float, optional
        Adds a second axis in micrometres on the retina.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The horizontal axis is the diameter of the disc of equal area, in native pixels.

    Raises
    ------
    ValueError
        When neither sample is given or an area is not positive.

    Notes
    -----
    Explained in chapters 1 and 3.
    """
    samples = [(n, _vector(a, f"{n} areas"), c, f) for n, a, c, f in
               (("real", real_areas, PALETTE["truth"], False), ("phantom", phantom_areas, PALETTE["0.5x"], True))
               if a is not None]
    if not samples or any(len(a) == 0 or np.min(a) <= 0 for _, a, _, _ in samples):
        raise ValueError("lesion_sizes needs real_areas or phantom_areas, each with at least one area above zero pixels.")
    ax = _axes(ax, 3.4)
    sizes = [2 * np.sqrt(np.asarray(a) / np.pi) for _, a, _, _ in samples]
    bins = np.histogram_bin_edges(np.clip(np.concatenate(sizes), 0, np.percentile(np.concatenate(sizes), 99.5)), 30)
    for (name, areas, colour, fill), size in zip(samples, sizes):
        label = f"{name}: {len(areas):,} lesions, median {np.median(size):.1f} px"
        ax.hist(size, bins, weights=np.full(len(size), 100 / len(size)), histtype="stepfilled" if fill else "step",
                color=colour, alpha=0.45 if fill else 1, lw=1.8, label=label, zorder=1 if fill else 2)
    for name, side in (reach or {}).items():
        ax.axvline(side, color=PALETTE[role_of(name)], ls=DASH[role_of(name)], label=f"receptive field {name}: {side} px")
    ax.set(xlabel="diameter of the disc of equal area (native pixels)", ylabel="lesions (%)", xlim=(0, None))
    ax.legend()
    if microns_per_pixel:
        top = ax.secondary_xaxis("top", functions=(lambda x: x * microns_per_pixel, lambda x: x / microns_per_pixel))
        top.set_xlabel("on the retina (µm)")
    return ax.figure


# -- curves --------------------------------------------------------------------------------------------------


def _thin(x, y, most=1500) -> tuple[np.ndarray, np.ndarray]:
    """At most `most` points of a curve, evenly along x: a curve of ten million points is a curve of a page's width."""
    if len(x) <= most:
        return x, y
    keep = np.unique(np.append(np.searchsorted(x, np.linspace(x[0], x[-1], most)), len(x) - 1))
    return x[keep], y[keep]


def _iso_f1(ax) -> None:
    for f1 in (0.2, 0.4, 0.6, 0.8):
        recall = np.linspace(f1 / (2 - f1), 1, 100)
        ax.plot(recall, f1 * recall / (2 * recall - f1), color="#C4C4C4", lw=0.8, zorder=0)
        ax.text(1.01, f1 / (2 - f1), f"F1 {f1:g}", color="#666666", va="center")


def precision_recall(curves: Mapping[str, tuple], points: Mapping[str, tuple[float, float]] | None = None,
                     prevalence: float | None = None, ax: Axes | None = None) -> Figure:
    """Precision-recall curves of several systems over lines of equal F1.

    Parameters
    ----------
    curves : mapping from name to (recall, precision, average_precision)
        `recall` and `precision` are (N,) float in 0..1 along the curve, recall rising or falling throughout;
        `average_precision` is the number that the legend prints.  It is not computed here.
    points : mapping from name to (recall, precision), optional
        Operating points.  A name that has a curve takes its colour; any other is drawn in grey with a cross and listed.
    prevalence : float in 0..1, optional
        Share of MA pixels: the precision of a coin, drawn as a dotted line.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When recall and precision differ in length or recall goes back and forth.

    Notes
    -----
    Average precision is a step function's area, so steps are drawn.  Explained in chapters 2 and 4.
    """
    ax = _axes(ax, 4.6)
    _iso_f1(ax)
    for name, (recall, precision, average) in curves.items():
        recall = _vector(recall, f"recall of {name}")
        precision = _vector(precision, f"precision of {name}", len(recall))
        if len(recall) == 0 or np.any(np.diff(recall) < 0) and np.any(np.diff(recall) > 0):
            raise ValueError(f"recall of {name} must rise or fall along the curve, but it is empty or goes back and forth.")
        if recall[0] > recall[-1]:
            recall, precision = recall[::-1], precision[::-1]
        role = role_of(name)
        ax.plot(*_thin(recall, precision), drawstyle="steps-pre", color=PALETTE[role], ls=DASH.get(role, "solid"),
                label=f"{name}: AP {average:.3f}")
    for name, (recall, precision) in (points or {}).items():
        role, known = role_of(name), name in curves
        ax.plot(recall, precision, ls="none", marker=MARKER[role] if known else "X", ms=8, mec="white", zorder=5,
                color=PALETTE[role if known else "paper"], label=None if known else name, clip_on=False)
    if prevalence is not None:
        ax.axhline(prevalence, color=PALETTE["paper"], ls=":", lw=1.2, label=f"chance: AP {prevalence:.4f}")
    ax.set(xlim=(0, 1), ylim=(0, 1.01), xlabel="recall", ylabel="precision", box_aspect=0.75)
    ax.legend(loc="upper right")
    return ax.figure


def training_history(steps, losses: Mapping[str, np.ndarray], metrics: Mapping[str, np.ndarray] | None = None,
                     active=None, xlabel: str = "epoch", metric: str = "metric") -> Figure:
    """How a training went: losses, metrics and the fraction of active triplets, one panel each.

    Parameters
    ----------
    steps : (T,) float
        Epochs or steps.
    losses : mapping from name to (T,) float
        Drawn together; NaN leaves a gap.  A name that `role_of` knows, such as "1x, IDRiD", has the colour of its role.
    metrics : mapping from name to (T,) float in 0..1, optional
        For instance the AUC PR on validation patches.
    active : (T,) float in 0..1, optional
        Fraction of triplets that violate the margin.
    xlabel : str
        What `steps` counts.
    metric : str
        What the second panel is called.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When a column is not as long as `steps`.

    Notes
    -----
    The loss of the active triplets does not fall as training succeeds; their fraction does.  Explained in chapters 2
    and 5.
    """
    steps = _vector(steps, "steps")
    panels = [("loss", losses, None)]
    if metrics:
        panels.append((metric, metrics, (0, 1)))
    if active is not None:
        panels.append(("active triplets", {"active fraction": active}, (0, 1)))
    figure = _figure(height=2.9)
    for ax, (label, columns, limits) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for (name, values), dash in zip(columns.items(), ("solid", (0, (5, 2)), (0, (1, 1)), (0, (3, 1, 1, 1))) * 9):
            role = role_of(name)
            ax.plot(steps, _vector(values, name, len(steps)), ls=dash, label=name,
                    color=None if role == "paper" else PALETTE[role], marker="o" if len(steps) <= 12 else None, ms=4)
        ax.set(xlabel=xlabel, ylim=limits if limits else (None, None))
        ax.set_title(label)
        ax.xaxis.get_major_locator().set_params(integer=True)
        if len(columns) > 1 or columns is metrics:
            ax.legend()
    return figure


def froc(curves: Mapping[str, tuple], ax: Axes | None = None) -> Figure:
    """Free-response ROC: share of lesions found against false detections an image.

    Parameters
    ----------
    curves : mapping from name to (false_positives_per_image, sensitivity)
        Each (N,) float; the first rising and positive or zero, the second in 0..1.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The legend gives the mean sensitivity at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false detections an image, the score
        of the Retinopathy Online Challenge (Niemeijer et al., 2010).

    Raises
    ------
    ValueError
        When lengths differ or false positives do not rise.

    Notes
    -----
    Explained in chapter 8.
    """
    ax = _axes(ax, 3.8)
    stops = 2.0 ** np.arange(-3, 4)
    for name, (false, found) in curves.items():
        false = _vector(false, f"false positives of {name}").astype(float)
        found = _vector(found, f"sensitivity of {name}", len(false)).astype(float)
        if len(false) == 0 or np.any(np.diff(false) < 0):
            raise ValueError(f"false positives of {name} must rise along the curve, but they are empty or fall.")
        # The best operating point with at most that many false detections; none means nothing found.
        at = np.append(0.0, found)[np.searchsorted(false, stops, side="right")]
        role = role_of(name)
        ax.plot(false, found, drawstyle="steps-post", color=PALETTE[role], ls=DASH.get(role, "solid"),
                label=f"{name}: score {at.mean():.3f}")
        ax.plot(stops, at, ls="none", marker=MARKER[role], color=PALETTE[role], ms=4)
    ax.set_xscale("log", base=2)
    ax.set(xlim=(1 / 10, 80), ylim=(0, 1), xlabel="false detections an image", ylabel="lesions found")
    ax.set_xticks([*stops, 16, 32, 64], ["1/8", "1/4", "1/2", "1", "2", "4", "8", "16", "32", "64"])
    ax.grid(axis="both", color="#E5E5E5", lw=0.6)
    ax.legend(loc="upper left")
    return ax.figure


def reliability(curves: Mapping[str, tuple], ax: Axes | None = None) -> Figure:
    """Reliability diagram: how often a pixel given probability p is MA.

    Parameters
    ----------
    curves : mapping from name to (predicted, observed, counts)
        Each (B,): mean probability in a bin, share of MA in it, number of pixels in it (empty bins are left out).
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The legend gives the expected calibration error, the count-weighted mean of |predicted - observed|.

    Raises
    ------
    ValueError
        When lengths differ or every bin is empty.

    Notes
    -----
    Explained in chapter 8.
    """
    ax = _axes(ax, 4.2)
    ax.plot([0, 1], [0, 1], color=PALETTE["paper"], ls=":", lw=1.2, label="perfect")
    for name, (predicted, observed, counts) in curves.items():
        counts = _vector(counts, f"counts of {name}")
        predicted = _vector(predicted, f"predicted of {name}", len(counts))
        observed = _vector(observed, f"observed of {name}", len(counts))
        full = counts > 0
        if not full.any():
            raise ValueError(f"{name} has no pixel in any bin: give at least one bin with a count above zero.")
        error = np.average(np.abs(predicted - observed)[full], weights=counts[full])
        role = role_of(name)
        ax.plot(predicted[full], observed[full], marker=MARKER[role], ms=5, color=PALETTE[role], ls=DASH.get(role, "solid"),
                label=f"{name}: calibration error {error:.4f}")
    ax.set(xlim=(0, 1), ylim=(0, 1), xlabel="predicted probability of MA", ylabel="share of MA among such pixels", box_aspect=0.85)
    ax.legend(loc="lower right")
    return ax.figure


# -- triplets, sampling, embedding ---------------------------------------------------------------------------


def _classes(ax, points, labels, size=26, alpha=0.9) -> None:
    for name, value in (("healthy", 0), ("MA", 1)):
        chosen = points[labels == value]
        ax.scatter(*chosen.T, s=size, marker=MARKER[name], color=PALETTE[name], alpha=alpha, lw=0.5, ec="white",
                   label=f"{name} ({len(chosen)})")


def _circle(ax) -> None:
    angle = np.linspace(0, 2 * np.pi, 200)
    ax.plot(np.cos(angle), np.sin(angle), color="#BBBBBB", lw=0.8, zorder=0)
    ax.set(xlim=(-1.22, 1.22), ylim=(-1.22, 1.22), aspect="equal")
    _bare(ax)


def triplet_geometry(before, after, labels, triplet: tuple[int, int, int], margin: float) -> Figure:
    """What the triplet loss asks, on the unit circle: one triplet before and after training.

    Parameters
    ----------
    before, after : (N, 2) float
        The same points before and after training, on the unit circle.
    labels : (N,) int
        1 for MA, 0 for healthy.
    triplet : (anchor, positive, negative)
        Indices of the triplet whose distances are drawn.
    margin : float
        The loss's margin, in Euclidean distance: drawn as the band around the anchor that is as wide as the margin and
        begins at the positive.  The negative has to be outside it.

    Returns
    -------
    Figure
        Two panels; the line below each gives the two distances and the triplet's loss.

    Raises
    ------
    ValueError
        When shapes differ or the triplet is not (same class, same class, other class).

    Notes
    -----
    Explained in chapter 5.
    """
    before, after = _points(before, "before"), _points(after, "after")
    if before.shape != after.shape:
        raise ValueError(f"before and after must be the same points, but have shapes {before.shape} and {after.shape}.")
    labels = _vector(labels, "labels", len(before))
    anchor, positive, negative = triplet
    if labels[anchor] != labels[positive] or labels[anchor] == labels[negative]:
        raise ValueError("triplet must be (anchor, positive, negative) with the first two of one class and the last of the other.")
    figure = _figure(height=_WIDTH / 2 + 0.75)
    for ax, points, title in zip(figure.subplots(1, 2), (before, after), ("before training", "after training")):
        _circle(ax)
        _classes(ax, points, labels, alpha=0.55)
        a, p, n = points[[anchor, positive, negative]]
        near, far = np.linalg.norm(a - p), np.linalg.norm(a - n)
        band = Annulus(a, near + margin, margin, color="#F2C14E", alpha=0.3, lw=0, zorder=0)
        ax.add_patch(band)
        band.set_clip_path(Circle((0, 0), 1, transform=ax.transData))
        for end, word, role in ((p, "positive", labels[anchor]), (n, "negative", labels[negative])):
            colour = PALETTE["MA" if role else "healthy"]
            ax.add_patch(FancyArrowPatch(a, end, arrowstyle="-|>", mutation_scale=12, color=colour, lw=1.8, zorder=4,
                                         ls="solid" if word == "positive" else (0, (4, 2))))
        _name(ax, a, "anchor"), _name(ax, p, "positive"), _name(ax, n, "negative")
        ax.set_title(title)
        ax.set_xlabel(f"to positive {near:.2f}, to negative {far:.2f}\nloss {max(0.0, near - far + margin):.2f}")
    handles = [*figure.axes[0].get_legend_handles_labels()[0],
               Rectangle((0, 0), 1, 1, color="#F2C14E", alpha=0.5, label=f"margin {margin:g}")]
    figure.legend(handles=handles, loc="outside upper left", ncols=3)
    return figure


def _name(ax, point, word) -> None:
    out = point * 1.1 / max(np.linalg.norm(point), 1e-9)
    ax.text(*out, word, ha="center" if abs(out[0]) < 0.45 else ("left" if out[0] > 0 else "right"),
            va="bottom" if out[1] > 0.45 else ("top" if out[1] < -0.45 else "center"), zorder=6, clip_on=False,
            path_effects=[patheffects.withStroke(linewidth=2.5, foreground="white")])


def effective_sample_size(probabilities) -> np.ndarray:
    """Kish's effective sample size, 1 / sum(p^2) of each normalised distribution.

    Parameters
    ----------
    probabilities : (..., N) float
        Sampling weights, zero or more, not all zero; normalised here.

    Returns
    -------
    (...,) float
        N when all are alike, 1 when one patch is drawn always.

    Notes
    -----
    Kish, Survey Sampling, 1965.  Explained in chapter 5.
    """
    p = np.asarray(probabilities, dtype=float)
    p = p / p.sum(axis=-1, keepdims=True)
    return 1 / (p**2).sum(axis=-1)


def sampler_concentration(probabilities, epochs=None) -> Figure:
    """How selective sampling concentrates: sorted probabilities, Lorenz curves, effective sample size.

    Parameters
    ----------
    probabilities : (E, N) float
        Sampling probabilities of the N healthy patches at E moments, each row not all zero; normalised here.
    epochs : (E,) int, optional
        Their epochs; 0, 1, 2, ... when absent.

    Returns
    -------
    Figure
        Left, each row sorted, in multiples of uniform sampling; middle, the share of draws that goes to the most drawn
        patches; right, the effective sample size as a share of N.

    Raises
    ------
    ValueError
        When the array is not (E, N), has negative or non-finite entries or a row without weight.

    Notes
    -----
    The first, middle and last row are drawn as curves, all rows in the right panel.  Explained in chapter 5.
    """
    p = np.asarray(probabilities, dtype=float)
    if p.ndim != 2 or 0 in p.shape:
        raise ValueError(f"probabilities must be an (E, N) array, a row for each epoch, but have shape {p.shape}.")
    if not np.isfinite(p).all() or (p < 0).any() or (p.sum(axis=1) <= 0).any():
        raise ValueError("probabilities must be finite and not negative, and each row must have a positive sum.")
    epochs = np.arange(len(p)) if epochs is None else _vector(epochs, "epochs", len(p))
    count = p.shape[1]
    ordered = np.sort(p / p.sum(axis=1, keepdims=True), axis=1)[:, ::-1]
    figure = _figure(height=2.9)
    sorts, lorenz, size = figure.subplots(1, 3)
    share = np.arange(1, count + 1) / count * 100
    for index, dash in zip(sorted({0, len(p) // 2, len(p) - 1}), ("solid", (0, (5, 2)), (0, (1, 1)))):
        style = dict(ls=dash, color=PALETTE["healthy"], label=f"epoch {epochs[index]}")
        sorts.plot(*_thin(share, np.maximum(ordered[index] * count, 1e-4)), **style)
        lorenz.plot(*_thin(np.append(0, share), np.append(0, np.cumsum(ordered[index]) * 100)), **style)
    size.plot(epochs, effective_sample_size(p) / count * 100, color=PALETTE["healthy"], marker="o", ms=4)
    sorts.set(yscale="log", xlabel="patches, sorted (%)", title="times uniform")
    lorenz.set(xlabel="most drawn patches (%)", title="share of draws (%)", xlim=(0, 100), ylim=(0, 101))
    size.set(xlabel="epoch", title="effective size (%)", ylim=(0, 105))
    size.xaxis.get_major_locator().set_params(integer=True)
    lorenz.legend(loc="lower right", handlelength=1.6)
    return figure


def most_drawn(patches, probabilities, count: int = 16) -> Figure:
    """The healthy patches that the sampler now draws most, each with its multiple of uniform sampling.

    Parameters
    ----------
    patches : (N, S, S, 3) uint8
        Healthy patches.
    probabilities : (N,) float
        Their sampling weights; normalised here.
    count : int
        How many to draw.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When lengths differ.

    Notes
    -----
    Explained in chapter 5.
    """
    patches = _patches(patches)
    p = _vector(probabilities, "probabilities", len(patches)).astype(float)
    top = np.argsort(-p, kind="stable")[:count]
    times = p[top] / p.mean()
    return patch_grid(patches[top], titles=[f"{t:.0f}×" if t >= 10 else f"{t:.1f}×" for t in times])


def _spread(points, count) -> list[int]:
    """Indices of `count` points far from one another, greedily: thumbnails that do not cover each other."""
    chosen = [int(np.argmax(np.linalg.norm(points - points.mean(axis=0), axis=1)))]
    distance = np.full(len(points), np.inf)
    while len(chosen) < min(count, len(points)):
        distance = np.minimum(distance, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(np.argmax(distance)))
    return chosen


def embedding_scatter(points, labels, thumbnails=None, wrong=None, title: str = "", ax: Axes | None = None) -> Figure:
    """A map of the embedding: one mark a patch, by class, with some of the patches themselves laid on it.

    Parameters
    ----------
    points : (N, 2) float
        Coordinates (UMAP, or the embedding itself when it is 2-D).  Their unit means nothing and is not printed.
    labels : (N,) int
        1 for MA, 0 for healthy.
    thumbnails : (N, S, S, 3) uint8, optional
        The patches; about two dozen that lie far from one another are drawn, framed by class.
    wrong : (N,) bool, optional
        Patches that the classifier gets wrong: ringed in black.
    title : str
        A line above.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When shapes or lengths differ.

    Notes
    -----
    Explained in chapter 6.
    """
    points = _points(points)
    labels = _vector(labels, "labels", len(points))
    alone = ax is None
    ax = _axes(ax, 5.2 if thumbnails is not None else 4.4)
    _classes(ax, points, labels, size=14 if len(points) > 300 else 26, alpha=0.7)
    if wrong is not None:
        wrong = _vector(wrong, "wrong", len(points)).astype(bool)
        ax.scatter(*points[wrong].T, s=44, facecolor="none", ec=PALETTE["truth"], lw=1, label=f"wrong ({wrong.sum()})")
    if thumbnails is not None:
        thumbnails = _patches(thumbnails, "thumbnails")
        _vector(np.arange(len(thumbnails)), "thumbnails", len(points))
        for i in _spread(points, 24):
            name = "MA" if labels[i] else "healthy"
            box = AnnotationBbox(
                OffsetImage(thumbnails[i], zoom=26 / thumbnails.shape[1]), points[i], pad=0.05,
                bboxprops=dict(ec=PALETTE[name], lw=1.6, ls="solid" if labels[i] else (0, (2, 1))))
            ax.add_artist(box)
    _bare(ax)
    ax.margins(0.06)
    ax.set_title(title)
    if alone:
        ax.figure.legend(*ax.get_legend_handles_labels(), loc="outside lower left", ncols=3)
    else:
        ax.legend()
    return ax.figure


def neighbours(queries, query_labels, found, found_labels, distances) -> Figure:
    """Each query patch with its nearest neighbours in the embedding, framed by class, the distance above.

    Parameters
    ----------
    queries : (Q, S, S, 3) uint8
        Query patches, one a row.
    query_labels : (Q,) int
        1 for MA, 0 for healthy.
    found : (Q, K, S, S, 3) uint8
        Their neighbours, nearest first.
    found_labels : (Q, K) int
        Classes of the neighbours.
    distances : (Q, K) float
        Distances to the query, in the embedding's own unit.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When shapes disagree.

    Notes
    -----
    Explained in chapter 6.
    """
    queries, found = _patches(queries, "queries"), np.asarray(found)
    found_labels, distances = np.asarray(found_labels), np.asarray(distances)
    query_labels = _vector(query_labels, "query_labels", len(queries))
    shape = found.shape[:2]
    if found.ndim != 5 or shape[0] != len(queries) or found_labels.shape != shape or distances.shape != shape:
        raise ValueError(
            f"found must be (Q, K, S, S, 3) with found_labels and distances (Q, K) and Q = {len(queries)}, but they have "
            f"shapes {found.shape}, {found_labels.shape} and {distances.shape}."
        )
    columns = shape[1] + 1
    cell = _WIDTH / columns
    figure = _figure(height=len(queries) * (cell + 0.28) + 0.35)
    axes = figure.subplots(len(queries), columns, squeeze=False)
    for q, row in enumerate(axes):
        for k, ax in enumerate(row):
            ax.imshow(queries[q] if k == 0 else found[q, k - 1])
            _bare(ax)
            _frame(ax, query_labels[q] if k == 0 else found_labels[q, k - 1])
            ax.set_title("query" if k == 0 else f"{distances[q, k - 1]:.2f}", loc="center", pad=5)
    _class_legend(figure)
    return figure


# -- results -------------------------------------------------------------------------------------------------


def table_intervals(rows: Sequence[tuple], xlabel: str = "AUC PR", ax: Axes | None = None) -> Figure:
    """The paper's table beside ours: its value as a cross, ours as a dot with its interval.

    Parameters
    ----------
    rows : sequence of (name, paper, ours, interval)
        `paper` and `ours` are float or None (not read, not run); `interval` is (low, high) or None.
        Drawn top to bottom.
    xlabel : str
        The quantity, with its split.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure
        The right-hand margin prints the numbers.

    Raises
    ------
    ValueError
        When there is no row, or an interval does not hold the value it belongs to.

    Notes
    -----
    Explained in chapter 8.
    """
    if not rows:
        raise ValueError("rows must hold at least one (name, paper, ours, interval), but is empty.")
    ax = _axes(ax, 0.55 * len(rows) + 1.2)
    for y, (name, paper, ours, interval) in enumerate(rows):
        colour = PALETTE[role_of(name)]
        if interval is not None:
            low, high = interval
            if ours is None or not low <= ours <= high:
                raise ValueError(f"the interval of {name} must be (low, high) around its value {ours}, but is {(low, high)}.")
            ax.plot([low, high], [y, y], color=colour, lw=3, alpha=0.55, solid_capstyle="butt")
        if ours is not None:
            ax.plot(ours, y, ls="none", marker=MARKER[role_of(name)], color=colour, ms=8, mec="white", zorder=4)
        if paper is not None:
            ax.plot(paper, y, ls="none", marker="X", color=PALETTE["paper"], ms=9, mec="white", zorder=3)
        text = f"{'not run' if ours is None else f'{ours:.3f}'}  (paper {'not read' if paper is None else f'{paper:.3f}'})"
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center")
    ax.set_yticks(range(len(rows)), [row[0] for row in rows])
    ax.set(ylim=(len(rows) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="x", color="#E5E5E5", lw=0.6)
    ax.tick_params(axis="y", length=0)
    handles = [Line2D([], [], ls="none", marker="X", color=PALETTE["paper"], ms=8, label="paper"),
               Line2D([], [], marker="o", color="#444444", lw=3, label="ours, with its interval")]
    ax.legend(handles=handles, loc="lower left", bbox_to_anchor=(0, 1), ncols=2)
    return ax.figure


def ablation(groups: Mapping[str, np.ndarray], baseline: str, xlabel: str = "AUC PR", ax: Axes | None = None) -> Figure:
    """An ablation: one dot a seed, a bar at the mean, and how far the mean is from the baseline's.

    Parameters
    ----------
    groups : mapping from variant to (K,) float
        The metric of each seed, drawn top to bottom in the order given.
    baseline : str
        The variant that the others are compared with: the dashed line.
    xlabel : str
        The metric, with its split.
    ax : Axes, optional
        Draw here instead of into a new figure.

    Returns
    -------
    Figure

    Raises
    ------
    ValueError
        When the baseline is no variant or a variant has no value.

    Notes
    -----
    Explained in chapter 7.
    """
    if baseline not in groups:
        raise ValueError(f"baseline must be one of {', '.join(map(repr, groups))}, but is {baseline!r}.")
    values = {name: _vector(v, name).astype(float) for name, v in groups.items()}
    if empty := [name for name, v in values.items() if len(v) == 0]:
        raise ValueError(f"each variant needs at least one value, but {empty[0]!r} has none.")
    ax = _axes(ax, 0.42 * len(values) + 1.0)
    reference = values[baseline].mean()
    ax.axvline(reference, color=PALETTE["paper"], ls="--", lw=1, zorder=0)
    for y, (name, v) in enumerate(values.items()):
        colour = PALETTE["paper" if name == baseline else "1x"]
        ax.plot(v, np.full(len(v), y), ls="none", marker="o", ms=6, color=colour, alpha=0.6, mec="white")
        ax.plot([v.mean()] * 2, [y - 0.28, y + 0.28], color="black", lw=2)
        text = f"{v.mean():.3f}" + ("" if name == baseline else f"  ({v.mean() - reference:+.3f})")
        ax.text(1.02, y, text, transform=ax.get_yaxis_transform(), va="center")
    ax.set_yticks(range(len(values)), list(values))
    ax.set(ylim=(len(values) - 0.5, -0.5), xlabel=xlabel)
    ax.grid(axis="x", color="#E5E5E5", lw=0.6)
    ax.tick_params(axis="y", length=0)
    return ax.figure
