"""A map of patches to point at."""

from __future__ import annotations

import hashlib
import html
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from PIL import Image

from maa.figures import style
from maa.figures.explorers import as_webp, data_url

# Outlines of the marks, around (0, 0): triangle, disc, square, saltire, cross.  The first is for MA.
_SOLID = ("M-6,5 L6,5 L0,-6 Z", "M-4,0 a4,4 0 1,0 8,0 a4,4 0 1,0 -8,0")
_MARKS = (*_SOLID, "M-4,-4 H4 V4 H-4 Z", "M-5,-5 L5,5 M-5,5 L5,-5", "M-6,0 H6 M0,-6 V6")
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

    Explained in ch:embedding.
    """

    html: str  # the drawing, the patches and the script, whole: it needs no file, no network and no kernel
    alt: str  # what the drawing shows, in words

    def _repr_html_(self) -> str:
        return self.html


def patch_map(
    points: np.ndarray, kinds: Sequence[str], thumbnails: np.ndarray, probability: ArrayLike, alt: str = ""
) -> PatchMap:
    """A map of an embedding, and beside it the patch that the pointer or a slider points to.  Explained in ch:embedding.

    The drawing is an SVG and shows without any script; the patches need one.  A slider, which keyboard and finger reach, walks
    through the patches from the lowest probability to the highest.

    Parameters
    ----------
    points, probability : ndarray, shape (N, 2), float, and shape (N,), float in 0..1
        Coordinates of the patches, and what the network says of them.
    kinds : sequence of N str
        What each patch is.  At most five kinds; the first to appear is drawn as MA, the others in the colour of healthy ground,
        told apart by their marks.
    thumbnails : ndarray, shape (N, S, S, 3), uint8
        The patches.
    alt : str
        The picture in words; the kinds and their numbers are added.
    """
    points, thumbnails = style.checked_points(points), style.checked_patches(thumbnails, "thumbnails")
    sorts = style.checked_vector(list(kinds), "kinds", len(points))
    probability = style.checked_vector(probability, "probability", len(points)).astype(float)
    style.checked_vector(np.arange(len(thumbnails)), "thumbnails", len(points))
    counts = {name: int((sorts == name).sum()) for name in dict.fromkeys(sorts.tolist())}
    if len(counts) > len(_MARKS):
        raise ValueError(f"kinds may name {len(_MARKS)} kinds at most, one mark each, but name {len(counts)}.")
    low, high = points.min(axis=0), points.max(axis=0)
    place = np.round((points - low) / np.maximum(high - low, 1e-9) * [600, -440] + [20, 460], 1)  # up is up
    words = [f"{kind}: the network gives {p:.2g}" for kind, p in zip(sorts, probability)]
    alt = f"{alt} Marks: {', '.join(f'{count} {name}' for name, count in counts.items())}.".strip()
    marks: dict[str, str] = {}
    for name, outline in zip(counts, _MARKS):
        colour = style.PALETTE["healthy" if marks else "MA"]
        ink = f'fill="{colour}"' if outline in _SOLID else f'fill="none" stroke="{colour}" stroke-width="1.6"'
        marks[name] = f'<path d="{outline}" {ink} opacity=".8" '
    drawn = [
        f'{marks[kind]}transform="translate({x},{y})"><title>{html.escape(text)}</title></path>'
        for kind, (x, y), text in zip(sorts, place.tolist(), words)
    ]
    small = '<svg width="16" height="16" viewBox="-8 -8 16 16" aria-hidden="true">'
    legend = "<br>".join(f"{small}{marks[name]}/></svg> {html.escape(name)} ({count})" for name, count in counts.items())
    columns, side = 20, thumbnails.shape[1]
    sheet = np.zeros((-(-len(points) // columns) * side, columns * side, 3), np.uint8)
    for n, patch in enumerate(thumbnails):
        sheet[n // columns * side :, n % columns * side :][:side, :side] = patch
    order = np.argsort(probability, kind="stable").tolist()
    content = {"points": place.tolist(), "words": words, "columns": columns, "order": order}
    data = json.dumps(content | {"sheet": data_url(as_webp(Image.fromarray(sheet), 75))})
    name, last = "patches-" + hashlib.sha256(data.encode()).hexdigest()[:8], len(points) - 1
    texts = {"alt": html.escape(alt, quote=True), "data": data.replace("</", "<\\/"), "points": "\n".join(drawn)}
    return PatchMap(_PATCH_MAP.format(id=name, legend=legend, shown=144, last=last, **texts), alt)
