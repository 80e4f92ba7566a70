"""Equations that ask nobody else: MathJax from the site itself, and MathML where no script runs.

The files of MathJax come with the package sphinx-mathjax-offline.  Of its 24 MB the site gets what a reader's browser can ask for.
The MathML stands in a ``<noscript>`` beside each equation's TeX, so a browser that runs scripts does not even parse it.
"""

import re
from html import unescape
from importlib.util import find_spec
from pathlib import Path

import latex2mathml.converter
from docutils import nodes
from sphinx.util import logging
from sphinx.util.fileutil import copy_asset

logger = logging.getLogger(__name__)
CDN = "https://cdn.jsdelivr.net/npm/mathjax@3.2.2/es5/tex-chtml.js"
#: What tex-chtml.js loads by itself, when an equation or the menu of an equation wants it.
PARTS = (
    "tex-chtml.js",
    "output/chtml/fonts/woff-v2",
    "input/tex/extensions",
    "a11y",
    "sre/mathmaps/base.json",
    "sre/mathmaps/en.json",
)
WITHOUT_SCRIPTS = (
    "<noscript><style>.math > .tex { display: none !important; } div.math > noscript { flex-grow: 1; min-width: 0; overflow-x: auto; } "
    "div.math math { width: max-content; margin: auto; }</style></noscript>"
)


def mathjax_folder() -> Path | None:
    """Where the files of MathJax are on this machine."""
    package = find_spec("sphinx-mathjax-offline")  # a name that no import statement can say
    return Path(package.origin).parent / "static" / "mathjax" if package else None


def choose_mathjax(app, config):
    config.mathjax_path = "mathjax/tex-chtml.js" if mathjax_folder() else CDN
    if config.mathjax_path == CDN:
        logger.info("sphinx-mathjax-offline is not installed, so the pages ask a CDN for MathJax; `make setup` installs it")


def copy_mathjax(app, error):
    folder = mathjax_folder()
    if error is None and app.builder.format == "html" and folder:
        for part in PARTS:
            target = app.outdir / "_static" / "mathjax" / part
            copy_asset(folder / part, target if (folder / part).is_dir() else target.parent)


def mathml(tex: str, macros: dict[str, str], display: str) -> str:
    """TeX as a ``<math>`` element; `macros` are those of the settings, none of which has arguments."""
    names = "|".join(map(re.escape, macros))
    if names:
        tex = re.sub(rf"\\({names})(?![A-Za-z])", lambda m: macros[m[1]], tex)
    # Of a letter without braces the converter makes an attribute that no browser heeds any more, of one in braces the right character.
    tex = re.sub(r"\\(mathcal|mathbb)\s+(\w)", r"\\\1{\2}", tex)
    return latex2mathml.converter.convert(tex, display=display)


def with_mathml(visit, display: str):
    """What Sphinx writes for an equation, with its TeX in a span of its own and MathML after it."""

    def visit_equation(self, node):
        start = len(self.body)
        try:
            visit(self, node)
        except nodes.SkipNode:
            written = "".join(self.body[start:])
            opening, tex, closing = re.fullmatch(
                r"(\s*<(?:span|div)[^>]*>\s*(?:<span class=\"eqno\">.*?</span>)?)(.*)(</(?:span|div)>\s*)", written, re.DOTALL
            ).groups()
            macros = (self.config.mathjax3_config or {}).get("tex", {}).get("macros", {})
            bare = re.sub(r"^\\[(\[]|\\[)\]]$", "", unescape(tex.strip()))  # without its delimiters
            plain = mathml(bare, macros, display)
            self.body[start:] = [opening, f'<span class="tex">{tex}</span><noscript>{plain}</noscript>', closing]
            raise

    return visit_equation


def wrap_renderers(app):
    """Around the renderers under the name of MathJax, because Sphinx puts its script on a page for this name only."""
    kinds = {"inline": app.registry.html_inline_math_renderers, "block": app.registry.html_block_math_renderers}
    for display, renderers in kinds.items():
        visit, depart = renderers["mathjax"]
        renderers["mathjax"] = (with_mathml(visit, display), depart)


def hide_tex_without_scripts(app, pagename, templatename, context, doctree):
    if '<span class="tex">' in context.get("body", ""):
        context["metatags"] = context.get("metatags", "") + WITHOUT_SCRIPTS


def setup(app):
    app.connect("config-inited", choose_mathjax)
    app.connect("builder-inited", wrap_renderers, priority=900)  # after MyST has put its own there
    app.connect("html-page-context", hide_tex_without_scripts, priority=900)
    app.connect("build-finished", copy_mathjax)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
