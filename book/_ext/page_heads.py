"""What the theme leaves to do at the head of each page: honest launch buttons, and a description for search and previews."""

from html import escape

from docutils import nodes


def keep_launch_buttons_for_notebooks(app, pagename, templatename, context, doctree):
    """Colab opens .ipynb only, so a page that is executed Markdown gets no rocket that would lead nowhere."""
    if doctree is not None and not str(app.env.doc2path(pagename)).endswith(".ipynb"):
        context["header_buttons"] = [b for b in context["header_buttons"] if b.get("label") != "launch-buttons"]


def describe(app, pagename, templatename, context, doctree):
    """Title, first paragraph and logo as Open Graph metadata."""
    if doctree is None:
        return
    first = next((p for p in doctree.findall(nodes.paragraph) if len(p.astext()) > 60), None)
    about = " ".join(first.astext().split()) if first else app.config.html_title
    about = about if len(about) <= 200 else about[:200].rsplit(" ", 1)[0] + " ..."
    base = app.config.html_baseurl.rstrip("/")
    tags = {
        "og:type": "article",
        "og:site_name": app.config.html_title,
        "og:title": context["title"],
        "og:description": about,
        "og:url": f"{base}/{pagename}.html",
        "og:image": f"{base}/_static/card.jpg",
    }
    lines = [f'<meta name="description" content="{escape(about)}">', '<meta name="twitter:card" content="summary_large_image">']
    lines += [f'<meta property="{key}" content="{escape(value)}">' for key, value in tags.items()]
    context["metatags"] = context.get("metatags", "") + "\n".join(lines)


def setup(app):
    app.connect("html-page-context", keep_launch_buttons_for_notebooks, priority=900)
    app.connect("html-page-context", describe, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
