"""Each page links each term of the glossary where it first uses it, without anybody having to remember it.

A first use is one in running text: headings, code, mathematics, figures and what cells print are left alone.  Where the author made
the link, that link stays.  A term is found in any number ("microaneurysms", "hypotheses") and, unless it is an abbreviation, at the
beginning of a sentence too.
"""

import re
from pathlib import Path

from docutils import nodes
from sphinx import addnodes

#: Words that pages use in their everyday sense as well: linked by hand, where the sense is the glossary's.
BY_HAND = {"control", "margin", "rim", "double", "grade", "test", "1x, 0.5x", "anchor, positive, negative"}
PAGES_WITHOUT = {"book/glossary", "book/references"}
NO_PROSE = (nodes.title, nodes.literal, nodes.literal_block, nodes.math, nodes.math_block, nodes.reference, nodes.figure, nodes.raw,
            nodes.comment, nodes.rubric, nodes.citation, nodes.term, nodes.table, nodes.footnote_reference, addnodes.pending_xref, addnodes.glossary)  # fmt: skip


def terms_of(glossary: str) -> list[str]:
    """The terms that a glossary's Markdown defines, in its order."""
    inside = re.search(r"```\{glossary\}\n(.*?)```", glossary, re.DOTALL)[1]
    return [line.strip() for line in inside.splitlines() if line.strip() and not line.startswith((" ", ":"))]


def pattern_of(term: str) -> re.Pattern:
    """What a use of a term looks like, in singular and plural."""
    stem, end = next(
        ((term[: -len(old)], new) for old, new in (("sis", "s[ie]s"), ("y", "(?:y|ies)")) if term.endswith(old)),
        (term, "(?:s|es)?"),
    )
    words = r"\s+".join(re.escape(word) for word in stem.split())
    if not any(c.isupper() or c.isdigit() for c in term):
        words = f"[{term[0]}{term[0].upper()}]{words[1:]}"
    return re.compile(rf"(?<![\w/.-]){words}{end}(?![\w/-]|\.\w)")


def is_prose(text: nodes.Text) -> bool:
    """Whether a piece of text is running text of the page's author."""
    node = text.parent
    while node is not None:
        if isinstance(node, NO_PROSE) or "cell" in node.get("classes", ()):
            return False
        node = node.parent
    return True


def link_first_uses(doctree: nodes.document, docname: str, terms: list[str]) -> None:
    """Turn the first use of each term into a cross-reference; where the author linked it earlier, leave the page as it is."""
    open_terms = {term: pattern_of(term) for term in sorted(terms, key=len, reverse=True) if term not in BY_HAND}
    for node in list(doctree.findall(lambda n: isinstance(n, nodes.Text | addnodes.pending_xref))):
        if isinstance(node, addnodes.pending_xref):
            if node.get("reftype") == "term":
                open_terms = {t: p for t, p in open_terms.items() if t.lower() != node["reftarget"].lower()}
            continue
        if not is_prose(node):
            continue
        uses, text = [], node.astext()
        for term, pattern in open_terms.items():
            use = pattern.search(text)
            if use and all(use.end() <= start or end <= use.start() for start, end, _ in uses):
                uses.append((*use.span(), term))
        for *_, term in uses:
            del open_terms[term]
        if uses:
            node.parent.replace(node, list(pieces(text, sorted(uses), docname)))


def pieces(text: str, uses: list, docname: str):
    """The text with its uses as cross-references, and what lies between them."""
    last = 0
    for start, end, term in uses:
        if text[last:start]:
            yield nodes.Text(text[last:start])
        shown = nodes.inline(text[start:end], text[start:end], classes=["xref", "std", "std-term"])
        yield addnodes.pending_xref(
            "", shown, refdomain="std", reftype="term", reftarget=term, refexplicit=True, refdoc=docname, refwarn=True
        )
        last = end
    if text[last:]:
        yield nodes.Text(text[last:])


def on_read(app, doctree):
    if app.env.docname not in PAGES_WITHOUT:
        glossary = Path(app.srcdir) / "book/glossary.md"
        app.env.note_dependency(str(glossary))
        link_first_uses(doctree, app.env.docname, terms_of(glossary.read_text(encoding="utf-8")))


def setup(app):
    app.connect("doctree-read", on_read)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
