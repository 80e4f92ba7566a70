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
import hashlib
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ipywidgets as widgets
import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from maa import figures


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
        return (f'<img alt="{html.escape(self.alt, quote=True)}" src="data:image/webp;base64,{data}" '
                'style="max-width: 100%; height: auto; display: block">')


@dataclass(frozen=True, eq=False)
class Explorer:
    """A static picture and a widget over the same frames; the last expression of a cell shows both.

    Attributes
    ----------
    frames : tuple of Frame
        All positions, in the order of the control.
    static : Frame
        Some of them side by side.
    widget : ipywidgets.VBox
        Control above stack.

    Notes
    -----
    Explained in "How to read this book".
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
    figure.savefig(buffer, format="png", dpi=figures.STYLE["figure.dpi"])
    buffer.seek(0)
    out = io.BytesIO()
    Image.open(buffer).convert("RGB").save(out, "webp", quality=quality, method=4)
    return out.getvalue()


def _assemble(control, frames: Sequence[Frame], static: Frame, start: int) -> Explorer:
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
    return widgets.SelectionSlider(options=list(labels), index=start, description=description,
                                   continuous_update=True, style={"description_width": "initial"},
                                   layout=widgets.Layout(width="24em", max_width="100%"))


def _some(count: int, most: int) -> list[int]:
    """At most `most` positions out of `count`, evenly, both ends among them."""
    return sorted({round(i) for i in np.linspace(0, count - 1, min(count, most))})


def _window(image, window) -> tuple[slice, slice]:
    if window is None:
        return slice(None), slice(None)
    row, column, side = window
    height, width = image.shape[:2]
    if not (0 <= row and 0 <= column and 0 < side and row + side <= height and column + side <= width):
        raise ValueError(
            f"window is (row, column, side) within the image of {height} x {width} pixels, but is {tuple(window)}."
        )
    return slice(row, row + side), slice(column, column + side)


# -- threshold -------------------------------------------------------------------------------------------------


def operating_points(probability, truth, thresholds, fov=None) -> tuple[np.ndarray, np.ndarray]:
    """Precision and recall of ``probability >= threshold`` at each threshold, over the pixels of one picture.

    Parameters
    ----------
    probability : (H, W) float in 0..1
        Probability that a pixel is MA.
    truth : (H, W) bool
        Annotated MA.
    thresholds : (T,) float
        Rising thresholds.
    fov : (H, W) bool, optional
        Pixels that count; all when absent.

    Returns
    -------
    precision, recall : (T,) float
        Precision is NaN where no pixel reaches the threshold.

    Raises
    ------
    ValueError
        When nothing is annotated inside the field of view, so that recall has no meaning.

    Notes
    -----
    Explained in chapter 4.
    """
    inside = np.ones(truth.shape, bool) if fov is None else np.asarray(fov, bool)
    scores, positive = np.asarray(probability)[inside], np.asarray(truth, bool)[inside]
    if not positive.any():
        raise ValueError("truth has no annotated pixel inside the field of view: recall needs at least one.")
    found = len(scores) - np.searchsorted(np.sort(scores), thresholds, side="left")
    hits = positive.sum() - np.searchsorted(np.sort(scores[positive]), thresholds, side="left")
    with np.errstate(invalid="ignore", divide="ignore"):
        return hits / found, hits / positive.sum()


def threshold_explorer(image, probability, truth, fov=None, window: tuple[int, int, int] | None = None,
                       thresholds=None) -> Explorer:
    """Move the threshold; see the mask, the precision and the recall move.

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

    Notes
    -----
    Explained in chapter 4.
    """
    image = figures._rgb(image)
    probability = figures._plane(probability, image, "probability")
    truth = figures._plane(truth, image, "truth").astype(bool)
    fov = np.ones(truth.shape, bool) if fov is None else figures._plane(fov, image, "fov").astype(bool)
    view = _window(image, window)
    if not (truth & fov).any():
        raise ValueError("truth has no annotated pixel inside the field of view: recall needs at least one.")
    if thresholds is None:
        wanted = np.quantile(probability[truth & fov], np.linspace(0.1, 0.95, 15))
        # Rounded to what the slider prints, so that the picture is the one of the number read.
        # None is zero, at which every pixel is called.
        thresholds = np.unique([float(f"{t:.2g}") for t in wanted if t > 0])
    thresholds = figures._vector(thresholds, "thresholds").astype(float)
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
    static = Frame("", "Error maps at " + "; ".join(
        f"threshold {thresholds[i]:g} (precision {precision[i]:.2f}, recall {recall[i]:.2f})" for i in some) + ".",
        _encode(_threshold_row(shown, thresholds, precision, recall, some)))
    start = int(np.nanargmax(np.nan_to_num(2 * precision * recall / np.maximum(precision + recall, 1e-12))))
    return _assemble(_slider([f.label for f in frames], "threshold", start), frames, static, start)


def _threshold_picture(shown, threshold, point, curve) -> Figure:
    image, probability, truth = shown
    with mpl.rc_context(figures.STYLE):
        figure = figures._figure(height=3.9)
        left, right = figure.subplots(1, 2)
        left.imshow(figures.error_colours(image, probability >= threshold, truth))
        figures._bare(left)
        right.plot(curve[1], curve[0], color=figures.PALETTE["paper"], marker=".", ms=4, lw=1.2)
        right.plot(point[1], point[0], marker="o", ms=11, color=figures.PALETTE["MA"], mec="white", clip_on=False)
        right.set(xlim=(0, 1), ylim=(0, 1), xlabel="recall", ylabel="precision", box_aspect=1)
        right.set_title(f"precision {point[0]:.2f}   recall {point[1]:.2f}")
        left.set_title(f"threshold {threshold:g}")
        _error_legend(figure)
    return figure


def _threshold_row(shown, thresholds, precision, recall, some) -> Figure:
    image, probability, truth = shown
    with mpl.rc_context(figures.STYLE):
        figure = figures._figure(height=figures._WIDTH / len(some) * image.shape[0] / image.shape[1] + 1.15)
        for ax, i in zip(figure.subplots(1, len(some), squeeze=False)[0], some):
            ax.imshow(figures.error_colours(image, probability >= thresholds[i], truth))
            figures._bare(ax)
            ax.set_title(f"threshold {thresholds[i]:g}\nprecision {precision[i]:.2f}\nrecall {recall[i]:.2f}")
        _error_legend(figure)
    return figure


def _error_legend(figure) -> None:
    figures._legend(figure, [mpl.lines.Line2D([], [], color=c, marker="s", ls="none", label=n)
                             for n, c in figures.ERROR_INK.items()])


# -- scales ----------------------------------------------------------------------------------------------------


def scale_explorer(image, maps: Mapping[str, np.ndarray], truth=None, window: tuple[int, int, int] | None = None,
                   gain: float = 0.3) -> Explorer:
    """Switch between the photograph and the maps over it: 1x, 0.5x, fused, refined.

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

    Notes
    -----
    Explained in chapter 4.
    """
    image = figures._rgb(image)
    maps = {name: figures._plane(m, image, f"the map {name}") for name, m in maps.items()}
    truth = None if truth is None else figures._plane(truth, image, "truth").astype(bool)
    view = _window(image, window)
    crop = image[view]
    maps = {name: m[view] for name, m in maps.items()}
    outline = None if truth is None else truth[view]
    static = figures.map_row(crop, maps, outline, gain)
    frames = []
    for name in ("photograph", *maps):
        with mpl.rc_context(figures.STYLE):
            figure = figures._figure(4.6, 4.6 * crop.shape[0] / crop.shape[1] + 0.3)
            ax = figure.subplots()
            if name == "photograph":
                ax.imshow(crop)
            else:
                figures._heat(ax, crop, maps[name], 1, gain)
            if outline is not None:
                figures._outline(ax, outline, figures.LESION_INK["MA"][0])
            figures._bare(ax)
            ax.set_title(name)
            words = "The photograph" if name == "photograph" else f"Probability of MA over the photograph: {name}"
            frames.append(Frame(name, words + (", annotated MA outlined." if outline is not None else "."), _encode(figure)))
    control = widgets.ToggleButtons(options=[f.label for f in frames], index=0, description="map over the photograph",
                                    style={"button_width": "auto", "description_width": "initial"})
    still = Frame("", "The photograph and its probability maps side by side: " + ", ".join(maps) + ".", _encode(static))
    return _assemble(control, frames, still, 0)


# -- training --------------------------------------------------------------------------------------------------


def training_scrubber(embeddings, labels, epochs=None, captions: Sequence[str] | None = None,
                      circle: bool = False, unit: str = "epoch") -> Explorer:
    """Scrub through the training of an embedding.

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

    Notes
    -----
    Explained in chapters 5 (on the circle) and 6.
    """
    embeddings = np.asarray(embeddings, dtype=float)
    if embeddings.ndim != 3 or embeddings.shape[2] != 2 or 0 in embeddings.shape:
        raise ValueError(f"embeddings must be a (T, N, 2) array, but have shape {embeddings.shape}.")
    moments, count, _ = embeddings.shape
    labels = figures._vector(labels, "labels", count)
    epochs = np.arange(moments) if epochs is None else figures._vector(epochs, "epochs", moments)
    captions = [""] * moments if captions is None else figures._vector(captions, "captions", moments)
    low, high = embeddings.min(axis=(0, 1)), embeddings.max(axis=(0, 1))
    margin = 0.06 * np.maximum(high - low, 1e-9)
    limits = np.stack([low - margin, high + margin], axis=1)  # (x or y, low or high): the same in all frames

    def scene(ax, i):
        figures._classes(ax, embeddings[i], labels, size=26 if count <= 300 else 12, alpha=0.75)
        if circle:
            figures._circle(ax)
        else:
            ax.set(xlim=limits[0], ylim=limits[1])
            figures._bare(ax)
        ax.set_title(f"{unit} {epochs[i]}" + (f"\n{captions[i]}" if captions[i] else ""))

    def picture(positions):
        with mpl.rc_context(figures.STYLE):
            width = 4.4 if len(positions) == 1 else figures._WIDTH
            figure = figures._figure(width, width / len(positions) * (1 if circle else 0.85) + (0.75 if any(captions) else 0.55))
            axes = figure.subplots(1, len(positions), squeeze=False)[0]
            for ax, i in zip(axes, positions):
                scene(ax, i)
            figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower left", ncols=2)
        return _encode(figure)

    def words(i):
        return f"{unit} {epochs[i]}" + (f", {captions[i]}" if captions[i] else "")

    frames = [Frame(str(epochs[i]), f"Embedding of {count} patches at {words(i)}.", picture([i])) for i in range(moments)]
    some = _some(moments, 3)
    static = Frame("", f"Embedding of {count} patches at " + "; ".join(map(words, some)) + ".", picture(some))
    control = _slider([f.label for f in frames], unit, 0)
    return _assemble(control, frames, static, 0)


# -- the patches of an embedding -------------------------------------------------------------------------------

_MARKS = ("M-6,5 L6,5 L0,-6 Z", "M-4,0 a4,4 0 1,0 8,0 a4,4 0 1,0 -8,0", "M-4,-4 H4 V4 H-4 Z", "M-5,-5 L5,5 M-5,5 L5,-5",
          "M-6,0 H6 M0,-6 V6")
"""Outlines of the marks, around (0, 0): triangle, disc, square, saltire, cross.  The first is for MA."""

_PATCH_MAP = """
<div id="{id}" style="background:#fff;color:#222;padding:.6rem;border-radius:4px;display:flex;flex-wrap:wrap;gap:.8rem">
<svg viewBox="0 0 640 480" role="img" aria-label="{alt}" style="flex:1 1 22rem;max-width:100%;height:auto;touch-action:manipulation">
{points}
<circle class="ring" r="11" fill="none" stroke="#000" stroke-width="2.5" visibility="hidden"/></svg>
<div style="flex:1 1 9rem;min-width:9rem">
<div class="picture" style="width:{shown}px;height:{shown}px;max-width:100%;display:none"></div>
<p class="words" aria-live="polite" style="margin:.4rem 0;min-height:3em;display:none"></p>
<label class="step" style="display:none">patch, in the order of the network's probability<br>
<input type="range" min="0" max="{last}" value="{last}" style="width:100%"></label>
<p style="margin:.4rem 0;line-height:1.6">{legend}</p></div></div>
<script>
(function () {{
  var box = document.getElementById("{id}"), data = {data};
  var svg = box.querySelector("svg"), ring = box.querySelector(".ring"), picture = box.querySelector(".picture");
  var words = box.querySelector(".words"), slider = box.querySelector("input");
  [picture, words, box.querySelector(".step")].forEach(function (part) {{ part.style.display = "block"; }});
  picture.style.background = "url(" + data.sheet + ") 0 0 / " + data.columns * {shown} + "px auto";
  function show(n) {{
    var i = data.order[n], point = data.points[i];
    ring.setAttribute("cx", point[0]); ring.setAttribute("cy", point[1]); ring.setAttribute("visibility", "visible");
    picture.style.backgroundPosition =
      -(i % data.columns) * {shown} + "px " + -Math.floor(i / data.columns) * {shown} + "px";
    words.textContent = data.words[i]; slider.value = n; slider.setAttribute("aria-valuetext", data.words[i]);
  }}
  function nearest(event) {{
    var frame = svg.getBoundingClientRect(), best = 0, least = Infinity;
    var x = (event.clientX - frame.left) * 640 / frame.width, y = (event.clientY - frame.top) * 480 / frame.height;
    data.order.forEach(function (i, n) {{
      var distance = Math.hypot(data.points[i][0] - x, data.points[i][1] - y);
      if (distance < least) {{ least = distance; best = n; }}
    }});
    show(best);
  }}
  svg.addEventListener("pointermove", nearest); svg.addEventListener("click", nearest);
  slider.addEventListener("input", function () {{ show(+slider.value); }});
  show({last});
}})();
</script>"""


@dataclass(frozen=True, eq=False)
class PatchMap:
    """A drawing of an embedding whose patches can be looked at; the last expression of a cell shows it.

    Attributes
    ----------
    html : str
        The drawing, the patches and the script, whole: it needs no file, no network and no kernel.
    alt : str
        What the drawing shows, in words.

    Notes
    -----
    Explained in chapter 6.
    """

    html: str
    alt: str

    def _repr_html_(self) -> str:
        return self.html


def patch_map(points, kinds: Sequence[str], thumbnails, probability, alt: str = "", quality: int = 75) -> PatchMap:
    """A map of an embedding, and beside it the patch that the pointer or a slider points to.

    The drawing is an SVG and shows without any script; the patches need one.  A slider, which keyboard and finger reach, walks
    through the patches from the lowest probability to the highest.

    Parameters
    ----------
    points : (N, 2) float
        Coordinates.
    kinds : sequence of N str
        What each patch is.  At most five kinds; the first to appear is drawn as MA, the others in the colour of healthy ground,
        told apart by their marks.
    thumbnails : (N, S, S, 3) uint8
        The patches.
    probability : (N,) float in 0..1
        What the network says of them.
    alt : str
        The picture in words; the kinds and their numbers are added.
    quality : int in 1..100
        Of the patches' WebP compression.

    Returns
    -------
    PatchMap

    Raises
    ------
    ValueError
        When lengths differ or there are more than five kinds.

    Notes
    -----
    Explained in chapter 6.
    """
    points, thumbnails = figures._points(points), figures._patches(thumbnails, "thumbnails")
    kinds = figures._vector(list(kinds), "kinds", len(points))
    probability = figures._vector(probability, "probability", len(points)).astype(float)
    figures._vector(np.arange(len(thumbnails)), "thumbnails", len(points))
    names = list(dict.fromkeys(kinds.tolist()))
    if len(names) > len(_MARKS):
        raise ValueError(f"kinds may name {len(_MARKS)} kinds at most, one mark each, but name {len(names)}.")
    low, high = points.min(axis=0), points.max(axis=0)
    place = (points - low) / np.maximum(high - low, 1e-9) * [600, -440] + [20, 460]  # up is up
    place = np.round(place, 1)
    words = [f"{kind}: the network gives {p:.2g}" for kind, p in zip(kinds, probability)]
    counts = {name: int((kinds == name).sum()) for name in names}
    alt = " ".join([alt, "Marks: " + ", ".join(f"{count} {name}" for name, count in counts.items()) + "."]).strip()

    def mark(name, where=""):
        n = names.index(name)
        colour = figures.PALETTE["MA" if n == 0 else "healthy"]
        ink = f'fill="none" stroke="{colour}" stroke-width="1.6"' if n > 1 else f'fill="{colour}"'
        return f'<path d="{_MARKS[n]}" {ink} opacity=".8" {where}'

    drawn = [mark(kind, f'transform="translate({x},{y})">') + f"<title>{html.escape(text)}</title></path>"
             for kind, (x, y), text in zip(kinds, place.tolist(), words)]
    legend = "<br>".join(f'<svg width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true">{mark(name)}/></svg> '
                         f"{html.escape(name)} ({count})" for name, count in counts.items())
    columns, side = 20, thumbnails.shape[1]
    sheet = np.zeros((-(-len(points) // columns) * side, columns * side, 3), np.uint8)
    for n, patch in enumerate(thumbnails):
        sheet[n // columns * side :, n % columns * side :][:side, :side] = patch
    buffer = io.BytesIO()
    Image.fromarray(sheet).save(buffer, "webp", quality=quality, method=4)
    data = json.dumps({"points": place.tolist(), "words": words, "columns": columns,
                       "order": np.argsort(probability, kind="stable").tolist(),
                       "sheet": "data:image/webp;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")})
    name = "patches-" + hashlib.sha256(data.encode()).hexdigest()[:8]
    page = _PATCH_MAP.format(id=name, alt=html.escape(alt, quote=True), points="\n".join(drawn), legend=legend, shown=144,
                             last=len(points) - 1, data=data.replace("</", "<\\/"))
    return PatchMap(page, alt)
