"""What the theme leaves to do around each page: honest launch buttons, only scripts that are used, a
description for search and previews, and the revision."""

import re
import subprocess
from html import escape

from docutils import nodes


def keep_launch_buttons_for_notebooks(app, pagename, templatename, context, doctree):
    """Colab opens .ipynb only, so a page that is executed Markdown gets no rocket that would lead nowhere."""
    if doctree is not None and not str(app.env.doc2path(pagename)).endswith(".ipynb"):
        context["header_buttons"] = [b for b in context["header_buttons"] if b.get("label") != "launch-buttons"]


def drop_unused_scripts(app, pagename, templatename, context, doctree):
    """No cell runs in the page through thebe, so its scripts would only load, and declare their constants twice: an error."""
    unused = re.compile(r"sphinx-thebe\.|THEBE_JS_URL")
    for kind in ("script_files", "css_files"):
        context[kind] = [f for f in context[kind] if not unused.search(f"{f.filename} {f.attributes.get('body', '')}")]


def drop_wrong_roles(app, pagename, templatename, context, doctree):
    """A folded cell says "Show code cell source", which MyST-NB's label would hide from a screen reader; and Docutils calls
    the bibliography a list, which its entries, being no list items, are not."""
    body = context.get("body", "").replace(' aria-label="Toggle hidden content"', "")
    context["body"] = body.replace('<div role="list" class="citation-list">', '<div class="citation-list">')


def describe(app, pagename, templatename, context, doctree):
    """Title, first paragraph and logo as Open Graph metadata."""
    if doctree is None:
        return
    first = next((p for p in doctree.findall(nodes.paragraph) if len(p.astext()) > 60), None)
    summary = " ".join(first.astext().split()) if first else app.config.html_title
    summary = summary if len(summary) <= 200 else summary[:200].rsplit(" ", 1)[0] + " ..."
    base = app.config.html_baseurl.rstrip("/")
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": context["title"],
        "og:description": summary,
        "og:url": f"{base}/{pagename}.html",
        "og:image": f"{base}/_static/card.jpg",
        "og:image:alt": "A synthetic fundus photograph beside the title, Seeing the smallest lesion",
    }
    lines = [
        f'<meta name="description" content="{escape(summary)}">',
        '<meta name="twitter:card" content="summary_large_image">',
    ]
    lines += [f'<meta property="{key}" content="{escape(value)}">' for key, value in tags.items()]
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)


def find_revision(app):
    """The commit that the pages are built from, for the footer; nothing where there is no git checkout."""

    def git(*arguments):
        try:
            return subprocess.run(
                ["git", *arguments], cwd=app.srcdir, capture_output=True, text=True, check=True
            ).stdout.strip()
        except (OSError, subprocess.CalledProcessError):
            return ""

    app.config.html_context["revision"] = git("rev-parse", "--short", "HEAD")
    app.config.html_context["revision_changed"] = bool(git("status", "--porcelain", "--untracked-files=no"))


def setup(app):
    app.connect("builder-inited", find_revision)
    app.connect("html-page-context", keep_launch_buttons_for_notebooks, priority=900)
    app.connect("html-page-context", drop_unused_scripts, priority=900)
    app.connect("html-page-context", drop_wrong_roles, priority=900)
    app.connect("html-page-context", describe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
