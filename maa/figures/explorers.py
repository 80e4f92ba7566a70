"""Figures that a reader can move, in a page that no Python stands behind.

A built book has no kernel, so a callback never runs there.  What does run is what the browser can do by
itself: a slider whose ``index`` is linked (`ipywidgets.jsdlink`) to the ``selected_index`` of a ``Stack`` of pictures
drawn beforehand.  Every explorer is such a pair, and behaves alike in a notebook and in the page.

A frame is an ``<img>`` in an ``HTML`` widget and no ``Image`` widget, because the latter cannot carry the alternative
text that a screen reader reads.  Frames are WebP: an eighth of the size of a palette PNG for a photograph (27 kB against 223).

Above the widget stands a static picture with a few of the positions side by side, for readers whose
browser runs no scripts, for print, and for when the network that serves the widget scripts is away.

`patch_map` needs no widget: it is a drawing (SVG) and forty lines of script that the page carries itself.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from maa.evaluation.curves import operating_points
from maa.figures import embedding, style
from maa.figures import maps as map_figures


@dataclass(frozen=True, eq=False)
class Frame:
    """One position of an explorer.

    Attributes
    ----------
    label : str
        What the control shows at this position.
    alt : str
        The picture in words, with its numbers.
    webp : bytes
        The picture.
    """

    label: str
    alt: str
    webp: bytes

    @property
    def html(self) -> str:
        """The frame as an ``<img>`` element that carries its own data and shrinks with the page."""
        data = base64.b64encode(self.webp).decode("ascii")
        return (
            f'<img alt="{html.escape(self.alt, quote=True)}" src="data:image/webp;base64,{data}" '
            'style="max-width: 100%; height: auto; display: block">'
        )


@dataclass(frozen=True, eq=False)
class Explorer:
    """A static picture and a widget over the same frames; the last expression of a cell shows both.

    Explained in "How to read this book".

    Attributes
    ----------
    frames : tuple of Frame
        All positions, in the order of the control.
    static : Frame
        Some of them side by side.
    widget : ipywidgets.VBox
        Control above stack.
    """

    frames: tuple[Frame, ...]
    static: Frame
    widget: widgets.VBox

    @property
    def size(self) -> int:
        """Bytes that the explorer adds to a page: all pictures in base64."""
        return sum(len(frame.html) for frame in (*self.frames, self.static))

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        display(HTML(self.static.html))
        display(self.widget)


def _encode(figure: Figure, quality: int = 80) -> bytes:
    """A figure as WebP at the style's resolution: lossy, because most of the frame is photograph."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=style.STYLE["figure.dpi"])
    buffer.seek(0)
    out = io.BytesIO()
    Image.open(buffer).convert("RGB").save(out, "webp", quality=quality, method=4)
    return out.getvalue()


def _assemble(control: widgets.Widget, frames: Sequence[Frame], static: Frame, start: int) -> Explorer:
    """Link a control that has an ``index`` to a stack of the frames.

    There is no `Play` button: the book's theme turns its ``<i>`` icons into ``<svg>``, on which the widget's script stops.
    ipywidgets 7, which some notebook services still run, has no `Stack`; its `Tab` has a ``selected_index`` as well, so there
    the frames are tabs and the control turns them.
    """
    layout = widgets.Layout(max_width="100%", overflow="hidden")
    pictures = [widgets.HTML(frame.html, layout=layout) for frame in frames]
    if hasattr(widgets, "Stack"):
        stack = widgets.Stack(pictures, selected_index=start, layout=layout)
    else:
        stack = widgets.Tab(pictures, selected_index=start, layout=layout)
        for position, frame in enumerate(frames):
            stack.set_title(position, frame.label)
    widgets.jsdlink((control, "index"), (stack, "selected_index"))
    return Explorer(tuple(frames), static, widgets.VBox([control, stack], layout=layout))


def _slider(labels: Sequence[str], description: str, start: int) -> widgets.SelectionSlider:
    return widgets.SelectionSlider(
        options=list(labels),
        index=start,
        description=description,
        continuous_update=True,
        style={"description_width": "initial"},
        layout=widgets.Layout(width="24em", max_width="100%"),
    )


def _some(count: int, most: int) -> list[int]:
    """At most `most` positions out of `count`, evenly, both ends among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _window(image: np.ndarray, window: tuple[int, int, int] | None) -> tuple[slice, slice]:
    if window is None:
        return slice(None), slice(None)
    row, column, side = window
    height, width = image.shape[:2]
    if not (0 <= row and 0 <= column and 0 < side and row + side <= height and column + side <= width):
        raise ValueError(
            f"window is (row, column, side) within the image of {height} x {width} pixels, but is {tuple(window)}."
        )
    return slice(row, row + side), slice(column, column + side)


def threshold_explorer(
    image: np.ndarray,
    probability: np.ndarray,
    truth: np.ndarray,
    fov: np.ndarray | None = None,
    window: tuple[int, int, int] | None = None,
    thresholds: np.ndarray | None = None,
) -> Explorer:
    """Move the threshold; see the mask, the precision and the recall move.  Explained in ch:fusion.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph.
    probability : (H, W) float in 0..1
        Probability that a pixel is MA.
    truth : (H, W) bool
        Annotated MA.
    fov : (H, W) bool, optional
        Pixels that count for precision and recall; all when absent.
    window : (row, column, side), optional
        The part of the photograph that is shown, in pixels; 200 to 500 a side is legible.  Precision and recall are of the
        whole photograph all the same.
    thresholds : (T,) float, optional
        Rising thresholds, one frame each.  Default: 15 that cut the curve evenly in recall from 0.9 to 0.05, where the
        map has that many distinct ones.

    Returns
    -------
    Explorer

    Raises
    ------
    ValueError
        When shapes differ, nothing is annotated, or the thresholds do not rise.
    """
    image = style.checked_rgb(image)
    probability = style.checked_plane(probability, image, "probability")
    truth = style.checked_plane(truth, image, "truth").astype(bool)
    fov = np.ones(truth.shape, bool) if fov is None else style.checked_plane(fov, image, "fov").astype(bool)
    view = _window(image, window)
    if not (truth & fov).any():
        raise ValueError("truth has no annotated pixel inside the field of view: recall needs at least one.")
    if thresholds is None:
        wanted = np.quantile(probability[truth & fov], np.linspace(0.1, 0.95, 15))
        # Rounded to what the slider prints, so that the picture is the one of the number read.
        # None is zero, at which every pixel is called.
        thresholds = np.unique([float(f"{t:.2g}") for t in wanted if t > 0])
    thresholds = style.checked_vector(thresholds, "thresholds").astype(float)
    if len(thresholds) == 0 or np.any(np.diff(thresholds) <= 0):
        raise ValueError("thresholds must hold at least one value and rise, but they are empty or do not.")
    precision, recall = operating_points(probability, truth, thresholds, fov)
    shown = image[view], probability[view], truth[view]
    frames = []
    for t, p, r in zip(thresholds, precision, recall):
        words = f"threshold {t:g}: precision {p:.2f}, recall {r:.2f}"
        picture = _threshold_picture(shown, t, (p, r), (precision, recall))
        frames.append(Frame(f"{t:g}", f"Error map and precision-recall curve at {words}.", _encode(picture)))
    some = _some(len(thresholds), 3)
    static = Frame(
        "",
        "Error maps at "
        + "; ".join(f"threshold {thresholds[i]:g} (precision {precision[i]:.2f}, recall {recall[i]:.2f})" for i in some)
        + ".",
        _encode(_threshold_row(shown, thresholds, precision, recall, some)),
    )
    start = int(np.nanargmax(np.nan_to_num(2 * precision * recall / np.maximum(precision + recall, 1e-12))))
    return _assemble(_slider([f.label for f in frames], "threshold", start), frames, static, start)


def _threshold_picture(
    shown: tuple[np.ndarray, ...], threshold: float, point: tuple[float, float], curve: tuple[np.ndarray, np.ndarray]
) -> Figure:
    image, probability, truth = shown
    with mpl.rc_context(style.STYLE):
        figure = style.new_figure(height=3.9)
        left, right = figure.subplots(1, 2)
        left.imshow(map_figures.error_colours(image, probability >= threshold, truth))
        style.bare(left)
        right.plot(curve[1], curve[0], color=style.PALETTE["paper"], marker=".", ms=4, lw=1.2)
        right.plot(point[1], point[0], marker="o", ms=11, color=style.PALETTE["MA"], mec="white", clip_on=False)
        right.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", box_aspect=1)
        right.set_title(f"precision {point[0]:.2f}   recall {point[1]:.2f}")
        left.set_title(f"threshold {threshold:g}")
        _error_legend(figure)
    return figure


def _threshold_row(
    shown: tuple[np.ndarray, ...], thresholds: np.ndarray, precision: np.ndarray, recall: np.ndarray, some: Sequence[int]
) -> Figure:
    image, probability, truth = shown
    with mpl.rc_context(style.STYLE):
        figure = style.new_figure(height=style.WIDTH / len(some) * image.shape[0] / image.shape[1] + 1.15)
        for ax, i in zip(figure.subplots(1, len(some), squeeze=False)[0], some):
            ax.imshow(map_figures.error_colours(image, probability >= thresholds[i], truth))
            style.bare(ax)
            ax.set_title(f"threshold {thresholds[i]:g}\nprecision {precision[i]:.2f}\nrecall {recall[i]:.2f}")
        _error_legend(figure)
    return figure


def _error_legend(figure: Figure) -> None:
    style.legend_below(
        figure, [mpl.lines.Line2D([], [], color=c, marker="s", ls="none", label=n) for n, c in style.ERROR_INK.items()]
    )


def scale_explorer(
    image: np.ndarray,
    maps: Mapping[str, np.ndarray],
    truth: np.ndarray | None = None,
    window: tuple[int, int, int] | None = None,
    gain: float = 0.3,
) -> Explorer:
    """Switch between the photograph and the maps over it: 1x, 0.5x, fused, refined.  Explained in ch:fusion.

    Parameters
    ----------
    image : (H, W, 3) uint8
        RGB photograph.
    maps : mapping from name to (H, W) float in 0..1
        Probability maps, one button each, in this order.
    truth : (H, W) bool, optional
        Annotated MA, outlined in every frame.
    window : (row, column, side), optional
        The part that is shown, in pixels.
    gain : float in (0, 1]
        Probability from which on a map hides the photograph.

    Returns
    -------
    Explorer
        The first position is the photograph itself.

    Raises
    ------
    ValueError
        When shapes differ or there is no map.
    """
    image = style.checked_rgb(image)
    maps = {name: style.checked_plane(m, image, f"the map {name}") for name, m in maps.items()}
    truth = None if truth is None else style.checked_plane(truth, image, "truth").astype(bool)
    view = _window(image, window)
    crop = image[view]
    maps = {name: m[view] for name, m in maps.items()}
    outline = None if truth is None else truth[view]
    static = map_figures.map_row(crop, maps, outline, gain)
    frames = []
    for name in ("photograph", *maps):
        with mpl.rc_context(style.STYLE):
            figure = style.new_figure(4.6, 4.6 * crop.shape[0] / crop.shape[1] + 0.3)
            ax = figure.subplots()
            if name == "photograph":
                ax.imshow(crop)
            else:
                map_figures.draw_heat(ax, crop, maps[name], 1, gain)
            if outline is not None:
                style.draw_outline(ax, outline, style.LESION_INK["MA"][0])
            style.bare(ax)
            ax.set_title(name)
            words = "The photograph" if name == "photograph" else f"Probability of MA over the photograph: {name}"
            frames.append(Frame(name, words + (", annotated MA outlined." if outline is not None else "."), _encode(figure)))
    control = widgets.ToggleButtons(
        options=[f.label for f in frames],
        index=0,
        description="map over the photograph",
        style={"button_width": "auto", "description_width": "initial"},
    )
    still = Frame("", "The photograph and its probability maps side by side: " + ", ".join(maps) + ".", _encode(static))
    return _assemble(control, frames, still, 0)


def training_scrubber(
    embeddings: np.ndarray,
    labels: np.ndarray,
    epochs: Sequence[float] | None = None,
    captions: Sequence[str] | None = None,
    circle: bool = False,
    unit: str = "epoch",
) -> Explorer:
    """Scrub through the training of an embedding.  Explained in chapters 5 (on the circle) and 6.

    Parameters
    ----------
    embeddings : (T, N, 2) float
        The same N points at T moments, in one coordinate system throughout.
    labels : (N,) int
        1 for MA, 0 for healthy.
    epochs : (T,) int, optional
        Their epochs; 0, 1, 2, ... when absent.
    captions : sequence of T str, optional
        A line above each frame, such as ``"active 0.41"``; it is read out by screen readers as well.
    circle : bool
        The points lie on the unit circle: draw it.
    unit : str
        What `epochs` counts.

    Returns
    -------
    Explorer

    Raises
    ------
    ValueError
        When shapes or lengths differ.
    """
    embeddings = np.asarray(embeddings, dtype=float)
    if embeddings.ndim != 3 or embeddings.shape[2] != 2 or 0 in embeddings.shape:
        raise ValueError(f"embeddings must be a (T, N, 2) array, but have shape {embeddings.shape}.")
    moments, count, _ = embeddings.shape
    labels = style.checked_vector(labels, "labels", count)
    epochs = np.arange(moments) if epochs is None else style.checked_vector(epochs, "epochs", moments)
    captions = [""] * moments if captions is None else style.checked_vector(captions, "captions", moments)
    low, high = embeddings.min(axis=(0, 1)), embeddings.max(axis=(0, 1))
    margin = 0.06 * np.maximum(high - low, 1e-9)
    limits = np.stack([low - margin, high + margin], axis=1)  # (x or y, low or high): the same in all frames

    def scene(ax: Axes, i: int) -> None:
        embedding.classes(ax, embeddings[i], labels, size=26 if count <= 300 else 12, alpha=0.75)
        if circle:
            embedding.circle(ax)
        else:
            ax.set(xlim=limits[0], ylim=limits[1])
            style.bare(ax)
        ax.set_title(f"{unit} {epochs[i]}" + (f"\n{captions[i]}" if captions[i] else ""))

    def picture(positions: np.ndarray) -> Figure:
        with mpl.rc_context(style.STYLE):
            width = 4.4 if len(positions) == 1 else style.WIDTH
            figure = style.new_figure(
                width, width / len(positions) * (1 if circle else 0.85) + (0.75 if any(captions) else 0.55)
            )
            axes = figure.subplots(1, len(positions), squeeze=False)[0]
            for ax, i in zip(axes, positions):
                scene(ax, i)
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
        return _encode(figure)

    def words(i: int) -> str:
        return f"{unit} {epochs[i]}" + (f", {captions[i]}" if captions[i] else "")

    frames = [Frame(str(epochs[i]), f"Embedding of {count} patches at {words(i)}.", picture([i])) for i in range(moments)]
    some = _some(moments, 3)
    static = Frame("", f"Embedding of {count} patches at " + "; ".join(map(words, some)) + ".", picture(some))
    control = _slider([f.label for f in frames], unit, 0)
    return _assemble(control, frames, static, 0)
