"""Figures that a reader can move, in a page that no Python stands behind.

A built book has no kernel, so a callback never runs there.  What does run is what the browser can do by itself: a slider whose
``index`` is linked (`ipywidgets.jsdlink`) to the ``selected_index`` of a ``Stack`` of pictures drawn beforehand.  Every
explorer is such a pair, and behaves alike in a notebook and in the page.

A frame is an ``<img>`` in an ``HTML`` widget and no ``Image`` widget, because the latter cannot carry the alternative text that
a screen reader reads.  Frames are WebP: an eighth of the size of a palette PNG for a photograph (27 kB against 223).

Above the widget stands a static picture with a few of the positions side by side, for readers whose browser runs no scripts,
for print, and for when no kernel and no script draws the widget.  On the site `book/_static/explorers.js` draws it from its saved state.

`patch_map` needs no widget: it is a drawing (SVG) and forty lines of script that the page carries itself.

Arguments that are not explained here are those of `maa.figures`, and so are the errors: ``ValueError`` for what does not fit.
"""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from PIL import Image

from maa.evaluation.curves import operating_points
from maa.figures import embedding, style
from maa.figures.maps import draw_heat, error_colours, error_legend, map_row
from maa.figures.style import Maps, Window


def as_webp(picture: Image.Image, quality: int = 80) -> bytes:
    out = io.BytesIO()
    picture.save(out, "webp", quality=quality, method=4)
    return out.getvalue()


def data_url(webp: bytes) -> str:
    return "data:image/webp;base64," + base64.b64encode(webp).decode("ascii")


def _encode(figure: Figure) -> bytes:
    """A figure as WebP at the style's resolution: lossy, because most of the frame is photograph."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=style.STYLE["figure.dpi"])
    return as_webp(Image.open(buffer).convert("RGB"))


@dataclass(frozen=True, eq=False)
class Frame:
    """One position of an explorer."""

    label: str  # what the control shows at this position
    alt: str  # the picture in words, with its numbers
    webp: bytes

    @property
    def html(self) -> str:
        """The frame as an ``<img>`` element that carries its own data and shrinks with the page."""
        look = "max-width: 100%; height: auto; display: block"
        return f'<img alt="{html.escape(self.alt, quote=True)}" src="{data_url(self.webp)}" style="{look}">'


@dataclass(frozen=True, eq=False)
class Explorer:
    """A static picture and a widget over the same frames; the last expression of a cell shows both.

    Explained in "How to read this book".
    """

    frames: tuple[Frame, ...]  # all positions, in the order of the control
    static: Frame  # some of them side by side
    widget: widgets.VBox  # the control above the stack

    def _ipython_display_(self) -> None:
        from IPython.display import HTML, display

        for part in (HTML(self.static.html), self.widget):  # type: ignore[no-untyped-call]  # of another package
            display(part)  # type: ignore[no-untyped-call]


def _assemble(frames: Sequence[Frame], static: Frame, what: str, start: int = 0, buttons: bool = False) -> Explorer:
    """Link a slider or a row of buttons, called `what`, to a stack of the frames.

    There is no `Play` button: the book's theme turns its ``<i>`` icons into ``<svg>``, on which the widget's script stops.
    ipywidgets 7, which some notebook services still run, has no `Stack`; its `Tab` has a ``selected_index`` as well, so there
    the frames are tabs and the control turns them.
    """
    control = {"options": [frame.label for frame in frames], "index": start, "description": what}
    if buttons:
        mover = widgets.ToggleButtons(**control, style={"button_width": "auto", "description_width": "initial"})
    else:
        size = widgets.Layout(width="24em", max_width="100%")
        mover = widgets.SelectionSlider(**control, style={"description_width": "initial"}, layout=size)
    layout = widgets.Layout(max_width="100%", overflow="hidden")
    pictures = [widgets.HTML(frame.html, layout=layout) for frame in frames]
    stack = getattr(widgets, "Stack", widgets.Tab)(pictures, selected_index=start, layout=layout)
    if isinstance(stack, widgets.Tab):
        for position, frame in enumerate(frames):
            stack.set_title(position, frame.label)
    widgets.jsdlink((mover, "index"), (stack, "selected_index"))
    return Explorer(tuple(frames), static, widgets.VBox([mover, stack], layout=layout))


def _some(count: int) -> list[int]:
    """At most three positions out of `count`, evenly, both ends among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, 3))})


@mpl.rc_context(style.STYLE)
def threshold_explorer(
    image: np.ndarray,
    probability: np.ndarray,
    truth: np.ndarray,
    fov: np.ndarray | None = None,
    window: Window | None = None,
    thresholds: ArrayLike | None = None,
) -> Explorer:
    """Move the threshold; see the mask, the precision and the recall move.  Explained in ch:fusion.

    Parameters
    ----------
    fov : ndarray, shape (H, W), bool, optional
        Pixels that count for precision and recall, at least one of them annotated; all when absent.
    window : (row, column, side), optional
        A side of 200 to 500 pixels is legible.  Precision and recall are of the whole photograph all the same.
    thresholds : ndarray, shape (T,), float, optional
        Rising thresholds, one frame each.  Default: 15 that cut the curve evenly in recall from 0.9 to 0.05, where the
        map has that many distinct ones.
    """
    image = style.checked_rgb(image)
    probability = style.checked_plane(probability, image, "probability")
    truth = style.checked_mask(truth, image, "truth")
    fov = np.ones(truth.shape, bool) if fov is None else style.checked_mask(fov, image, "fov")
    view = style.square_view(window, image, "window")
    if not (truth & fov).any():
        raise ValueError("truth has no annotated pixel inside the field of view: recall needs at least one.")
    if thresholds is None:
        wanted = np.quantile(probability[truth & fov], np.linspace(0.1, 0.95, 15))
        # Rounded to what the slider prints, so that the picture is of the number read; not zero, which calls every pixel.
        thresholds = np.unique([float(f"{t:.2g}") for t in wanted if t > 0])
    levels = style.checked_vector(thresholds, "thresholds").astype(float)
    if len(levels) == 0 or np.any(np.diff(levels) <= 0):
        raise ValueError("thresholds must hold at least one value and rise, but they are empty or do not.")
    precision, recall = operating_points(probability, truth, levels, fov)

    def show_errors(ax: Axes, i: int, *lines: str) -> None:
        ax.imshow(error_colours(image[view], probability[view] >= levels[i], truth[view]))
        style.bare(ax)
        ax.set_title("\n".join((f"threshold {levels[i]:g}", *lines)))

    frames = []
    for i, (t, p, r) in enumerate(zip(levels, precision, recall)):
        figure = style.new_figure(height=3.9)
        left, right = figure.subplots(1, 2)
        show_errors(left, i)
        right.plot(recall, precision, color=style.PALETTE["paper"], marker=".", ms=4, lw=1.2)
        right.plot(r, p, marker="o", ms=11, color=style.PALETTE["MA"], mec="white", clip_on=False)
        right.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", box_aspect=1)
        right.set_title(f"precision {p:.2f}   recall {r:.2f}")
        error_legend(figure)
        words = f"threshold {t:g}: precision {p:.2f}, recall {r:.2f}"
        frames.append(Frame(f"{t:g}", f"Error map and precision-recall curve at {words}.", _encode(figure)))
    some = _some(len(levels))
    rows, columns = image[view].shape[:2]
    figure = style.new_figure(height=style.WIDTH / len(some) * rows / columns + 1.15)
    for ax, i in zip(figure.subplots(1, len(some), squeeze=False)[0], some):
        show_errors(ax, i, f"precision {precision[i]:.2f}", f"recall {recall[i]:.2f}")
    error_legend(figure)
    points = [f"threshold {levels[i]:g} (precision {precision[i]:.2f}, recall {recall[i]:.2f})" for i in some]
    static = Frame("", f"Error maps at {'; '.join(points)}.", _encode(figure))
    f1 = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    return _assemble(frames, static, "threshold", int(np.argmax(np.nan_to_num(f1))))


@mpl.rc_context(style.STYLE)
def scale_explorer(
    image: np.ndarray, maps: Maps, truth: np.ndarray | None = None, window: Window | None = None, gain: float = 0.3
) -> Explorer:
    """Switch between the photograph and the maps over it: 1x, 0.5x, fused, refined.  Explained in ch:fusion.

    Parameters
    ----------
    maps : mapping from name to ndarray, shape (H, W), float in 0..1
        Probability maps, at least one, one button each in this order after the photograph's.
    """
    image = style.checked_rgb(image)
    view = style.square_view(window, image, "window")
    maps = {name: style.checked_plane(m, image, f"the map {name}")[view] for name, m in maps.items()}
    outline = None if truth is None else style.checked_mask(truth, image, "truth")[view]
    crop = image[view]
    alt = f"The photograph and its probability maps side by side: {', '.join(maps)}."
    static = Frame("", alt, _encode(map_row(crop, maps, outline, gain)))
    frames = []
    for name in ("photograph", *maps):
        figure = style.new_figure(4.6, 4.6 * crop.shape[0] / crop.shape[1] + 0.3)
        ax = figure.subplots()
        if name == "photograph":
            ax.imshow(crop)
        else:
            draw_heat(ax, style.as_grey(crop), maps[name], gain)
        if outline is not None:
            style.draw_outline(ax, outline, style.LESION_INK["MA"][0])
        style.bare(ax)
        ax.set_title(name)
        words = "The photograph" if name == "photograph" else f"Probability of MA over the photograph: {name}"
        frames.append(Frame(name, words + (", annotated MA outlined." if outline is not None else "."), _encode(figure)))
    return _assemble(frames, static, "map over the photograph", buttons=True)


@mpl.rc_context(style.STYLE)
def training_scrubber(
    embeddings: np.ndarray,
    labels: ArrayLike,
    epochs: ArrayLike | None = None,
    captions: Sequence[str] | None = None,
    circle: bool = False,
    unit: str = "epoch",
) -> Explorer:
    """Scrub through the training of an embedding.  Explained in ch:refinement (on the circle) and ch:embedding.

    Parameters
    ----------
    embeddings : ndarray, shape (T, N, 2), float
        The same N points at T moments, in one coordinate system throughout.
    epochs : ndarray, shape (T,), int, optional
        Their epochs, or what `unit` says; 0, 1, 2, ... when absent.
    captions : sequence of T str, optional
        A line above each frame, such as ``"active 0.41"``; it is read out by screen readers as well.
    circle : bool
        The points lie on the unit circle: draw it.
    """
    embeddings = np.asarray(embeddings, dtype=float)
    if embeddings.ndim != 3 or embeddings.shape[2] != 2 or 0 in embeddings.shape:
        raise ValueError(f"embeddings must be a (T, N, 2) array, but have shape {embeddings.shape}.")
    moments, count, _ = embeddings.shape
    labels = style.checked_vector(labels, "labels", count)
    epochs = np.arange(moments) if epochs is None else style.checked_vector(epochs, "epochs", moments)
    lines = style.checked_vector([""] * moments if captions is None else captions, "captions", moments)
    low, high = embeddings.min(axis=(0, 1)), embeddings.max(axis=(0, 1))
    margin = 0.06 * np.maximum(high - low, 1e-9)
    limits = np.stack([low - margin, high + margin], axis=1)  # (x or y, low or high): the same in all frames

    def words(i: int, between: str = ", ") -> str:
        return between.join([f"{unit} {epochs[i]}", *([lines[i]] if lines[i] else [])])

    def picture(positions: Sequence[int]) -> bytes:
        width = 4.4 if len(positions) == 1 else style.WIDTH
        height = width / len(positions) * (1 if circle else 0.85) + (0.75 if any(lines) else 0.55)
        figure = style.new_figure(width, height)
        axes = figure.subplots(1, len(positions), squeeze=False)[0]
        for ax, i in zip(axes, positions):
            embedding.draw_classes(ax, embeddings[i], labels, size=26 if count <= 300 else 12, alpha=0.75)
            if circle:
                embedding.draw_circle(ax)
            else:
                ax.set(xlim=limits[0], ylim=limits[1])
                style.bare(ax)
            ax.set_title(words(i, "\n"))
        figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
        return _encode(figure)

    frames = [Frame(str(epochs[i]), f"Embedding of {count} patches at {words(i)}.", picture([i])) for i in range(moments)]
    some = _some(moments)
    static = Frame("", f"Embedding of {count} patches at {'; '.join(map(words, some))}.", picture(some))
    return _assemble(frames, static, unit)
