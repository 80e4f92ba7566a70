"""The page that a web server shows for an address that is not there: `404.html`, in the book's own dress.

A server sends it for any address, however deep, so the links in it must not depend on where it is seen.  Sphinx
writes relative ones; they are turned into absolute ones below the path of `html_baseurl` once all pages are written.
"""

import re
from urllib.parse import urlparse

BODY = """
<section id="not-here">
<h1>This page is not here</h1>
<p>It may have moved, or the address may have a slip in it. The search knows every word of the book:</p>
<form class="not-found-search" action="search.html" method="get" role="search">
  <input class="form-control" type="search" name="q" aria-label="Search the book" placeholder="microaneurysm">
  <button class="btn btn-primary" type="submit">Search</button>
</form>
<p>Or begin at <a href="{front}.html">the front page</a>, or look a word up in <a href="book/glossary.html">the glossary</a>.</p>
</section>
"""


def page(app):
    return [("404", {"title": "Page not found", "body": BODY.format(front=app.config.root_doc)}, "page.html")]


def absolute(text: str, root: str) -> str:
    """The page with every relative address in it put below `root`, which ends in a slash."""
    relative = re.compile(r'(\s(?:href|src|action|data-content_root)=")(?:\./)?(?!#|/|[a-z]+:)([^"]*)"')
    return relative.sub(lambda m: f'{m[1]}{root}{m[2]}"', text)


def make_absolute(app, error):
    path = app.outdir / "404.html"
    if error is None and app.builder.format == "html" and path.is_file():
        root = urlparse(app.config.html_baseurl).path.rstrip("/") + "/"
        path.write_text(absolute(path.read_text(encoding="utf-8"), root), encoding="utf-8")


def setup(app):
    app.connect("html-collect-pages", page)
    app.connect("build-finished", make_absolute)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
