"""Of each chapter a runnable edition, which Colab, JupyterLab and GitHub show as the site shows the page.

The sources of the chapters are MyST: their roles, directives and numbers mean something to this build only, and Colab shows them raw.
Here the page that Sphinx has resolved, with its references, citations, numbers of equations and figures and the values that the
prose takes from the cells, is written anew as plain Markdown and LaTeX, with the source's code cells between.  Editions lie in
`editions/` of the built site; .github/workflows/book.yml publishes them to a branch of their own, where Colab and Binder find them.

No builder that we found does this: sphinx-tojupyter (1.0) and sphinx-markdown-builder (0.6) drop the numbers of equations, the captions
of cells' figures and the glued values, or know nothing of exercises.
"""

import re
from itertools import groupby
from pathlib import Path
from urllib.parse import urljoin

import nbformat
from docutils import nodes
from sphinx.errors import ExtensionError

FOLDER = "editions"
SIGNS = {"<": r"\lt ", ">": r"\gt ", "|": r"\vert ", r"\|": r"\Vert "}  # HTML's and those of tables, in mathematics
SILENT = (nodes.target, nodes.comment, nodes.substitution_definition, nodes.colspec)


class Edition:
    """A resolved page as Markdown.

    Parameters
    ----------
    app : sphinx.application.Sphinx
        The build, once the page is written: numbers stand, and pictures have their places in the site.
    page : str
        The name of the page, such as ``notebooks/01_the_retina``.
    """

    def __init__(self, app, page: str):
        self.env, self.config, self.page = app.env, app.config, page
        self.address = urljoin(app.config.html_baseurl, app.builder.get_target_uri(page))
        self.macros = app.config.mathjax3_config["tex"]["macros"]

    # -- what stands in a line ------------------------------------------------------------------------------------

    def inline(self, node: nodes.Node) -> str:
        """A node within a paragraph, or all that a node holds, in one line."""
        if isinstance(node, nodes.Text):
            return re.sub(r"\s+", " ", escaped(node.astext()))
        if isinstance(node, nodes.math):
            return f"${self.latex(node.astext())}$"
        if isinstance(node, nodes.literal):
            code = " ".join(node.astext().split())
            return f"`` {code} ``" if "`" in code else f"`{code}`"
        inside = "".join(map(self.inline, node.children))
        if isinstance(node, nodes.reference):
            return f"[{inside}]({urljoin(self.address, node.get('refuri') or '#' + node.get('refid', ''))})"
        if isinstance(node, nodes.emphasis):
            return f"*{inside}*"
        if isinstance(node, nodes.strong):
            return f"**{inside}**"
        if isinstance(node, nodes.abbreviation):
            return f"{inside} ({escaped(node['explanation'])})"
        if isinstance(node, SILENT):
            return ""
        if isinstance(node, nodes.inline | nodes.TextElement) and not isinstance(node, nodes.raw | nodes.math_block):
            return inside
        raise ExtensionError(
            f"{self.page}: an edition has no Markdown for {node.tagname} in a line; teach it to book/_ext/editions.py"
        )

    def latex(self, text: str) -> str:
        """Mathematics on one line, which survives block quotes, with the book's macros written out and no sign of HTML's or a table's."""
        for name, meaning in self.macros.items():
            text = re.sub(rf"\\{name}(?![A-Za-z])", lambda _, meaning=meaning: meaning, text)
        return " ".join(re.sub(r"\\\\|\\\||[|<>]", lambda sign: SIGNS.get(sign[0], sign[0]), text).split())

    # -- what stands by itself ------------------------------------------------------------------------------------

    def blocks(self, node: nodes.Element, level: int = 0) -> list[str | int]:
        """What a node holds: blocks of Markdown, and the indices of the source's code cells."""
        return [block for child in node.children for block in self.block(child, level)]

    def block(self, node: nodes.Node, level: int) -> list[str | int]:
        if isinstance(node, SILENT):
            return []
        if node.get("nb_element") == "cell_code":
            return [node["cell_index"], *(self.caption(figure) for figure in node.findall(nodes.figure))]
        write = getattr(self, f"block_{node.tagname}", None)
        if write is None:
            raise ExtensionError(
                f"{self.page}: an edition has no Markdown for {node.tagname}; teach it to book/_ext/editions.py"
            )
        return write(node, level)

    def block_section(self, node, level):
        return self.blocks(node, level + isinstance(node[0], nodes.title))

    def block_title(self, node, level):
        numbers = self.env.toc_secnumbers.get(self.page, {})
        anchors = [""] if level == 1 else [f"#{name}" for name in node.parent["ids"]]
        number = next((numbers[anchor] for anchor in anchors if anchor in numbers), None)
        return [f"{'#' * level} {'.'.join(map(str, number)) + '. ' if number else ''}{self.inline(node)}"]

    def block_paragraph(self, node, level):
        # What would begin a list, a heading or a quotation is text here.
        return [
            re.sub(r"^(\d+)([.)] )|^([-+#>] )", lambda m: rf"{m[1]}\{m[2]}" if m[1] else rf"\{m[3]}", self.inline(node).strip())
        ]

    def block_math_block(self, node, level):
        text = node.astext().strip()
        if r"\\" in text and not node["nowrap"]:
            text = rf"\begin{{split}}{text}\end{{split}}"  # as Sphinx's own MathJax writer has it
        tag = ""
        if node["number"]:
            tag = rf" \tag{{{self.number('displaymath', node)}}}"
        return [f"$$ {self.latex(text)}{tag} $$"]

    def block_literal_block(self, node, level):
        return [f"```{node.get('language', '')}\n{node.astext()}\n```"]

    def block_bullet_list(self, node, level):
        items = []
        for number, item in enumerate(node.children, node.get("start", 1)):
            mark = "- " if node.tagname == "bullet_list" else f"{number}. "
            items.append(mark + "\n\n".join(self.blocks(item, level)).replace("\n", "\n" + " " * len(mark)))
        return ["\n".join(items)]

    block_enumerated_list = block_bullet_list

    def block_sidebar(self, node, level):
        """Margin notes and admonitions: a quotation under a title in bold type."""
        title, *rest = node.children
        blocks = [f"**{self.inline(title)}**", *(block for child in rest for block in self.block(child, level))]
        return ["\n>\n".join("> " + block.replace("\n", "\n> ") for block in blocks)]

    block_admonition = block_sidebar

    def block_figure(self, node, level):
        image = next(node.findall(nodes.image))
        address = urljoin(self.address, image["uri"])  # the page's writer has put the picture's place there
        return [f"![{escaped(image['alt'])}]({address})", self.caption(node)]

    def block_table(self, node, level):
        rows = [
            [" ".join(map(self.inline, entry.children)).replace("|", r"\|") for entry in row.children]
            for row in node.findall(nodes.row)
        ]
        rows.insert(1, ["---"] * len(rows[0]))
        return ["\n".join(f"| {' | '.join(row)} |" for row in rows)]

    def block_exercise_enumerable_node(self, node, level):
        title, *rest = node.children
        heading = f"{'#' * (level + 1)} {self.numbered('exercise', node)} {self.inline(title).strip()}".strip()
        return [heading, *(block for child in rest for block in self.block(child, level))]

    def block_solution_node(self, node, level):
        """The words of a solution folded; its code between them stays a cell that runs."""
        title, *rest = node.children
        summary, written = self.inline(title).strip(), []
        parts = groupby(
            (block for child in rest for block in self.block(child, level)), key=lambda block: isinstance(block, int)
        )
        for is_code, blocks in parts:
            if is_code:
                written += [] if written else [f"**{summary}**: the cell below."]
                written += blocks
            else:
                text = "\n\n".join(blocks)
                more = " in words" if written else ""
                written.append(f"<details><summary>{summary}{more}</summary>\n\n{text}\n\n</details>")
        return written

    def caption(self, figure: nodes.figure) -> str:
        """The caption of a figure, whose number leads to the picture on the site."""
        (caption,) = figure.findall(nodes.caption)
        return f"**[{self.numbered('figure', figure)}]({self.address}#{figure['ids'][0]})** {self.inline(caption)}"

    def numbered(self, kind: str, node: nodes.Element) -> str:
        """What the page writes before the title of a thing that is numbered."""
        return self.config.numfig_format[kind] % self.number(kind, node)

    def number(self, kind: str, node: nodes.Element) -> str:
        """The number itself, such as 5.2."""
        return ".".join(map(str, self.env.toc_fignumbers[self.page][kind][node["ids"][0]]))


def escaped(text: str) -> str:
    """Text in which no character is Markdown, HTML or mathematics."""
    return re.sub(r"([\\`*_$~])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))


def notice(app, address: str) -> str:
    """The line at the top: what this is, and where its numbers are from."""
    revision = app.config.html_context.get("revision")
    built = f" from revision {revision}" if revision else ""
    return (
        f"> A runnable edition of [this page]({address}) of [{app.config.html_title}]({app.config.html_baseurl}), written by the book's "
        f"build{built}.  The numbers in its sentences are those of that build; the cells, once they have run, show yours."
    )


def edition(app, page: str, doctree: nodes.document) -> nbformat.NotebookNode:
    """A chapter as a notebook in plain Markdown.

    Parameters
    ----------
    app : sphinx.application.Sphinx
        The build.
    page : str
        The name of the chapter.
    doctree : docutils.nodes.document
        The chapter, resolved.

    Returns
    -------
    nbformat.NotebookNode
        A cell of Markdown for each heading and between code cells; every code cell of the source, in its order, with its tags and
        without outputs.

    Raises
    ------
    sphinx.errors.ExtensionError
        Where the page holds a kind of thing for which there is no Markdown here.
    """
    source = nbformat.read(app.env.doc2path(page), 4)
    writer = Edition(app, page)
    title, *blocks = writer.block(
        next(doctree.findall(nodes.section)), 0
    )  # what lies beside the section is the theme's scripts
    solutions = {
        cell["cell_index"] for node in doctree.findall() if node.tagname == "solution_node" for cell in node.findall(is_cell)
    }
    code = {index: cell for index, cell in enumerate(source.cells) if cell.cell_type == "code"}
    cells, waiting = [], list(code)
    for block in [title, notice(app, writer.address), *blocks, len(source.cells)]:
        if isinstance(block, str):
            if not cells or cells[-1].cell_type == "code" or re.match("#|<details>", block):
                cells.append(nbformat.v4.new_markdown_cell(block, id=f"text-{len(cells):02}"))
            else:
                cells[-1].source += f"\n\n{block}"
            continue
        # A cell that the page does not show runs before the next that it does.
        for index in [index for index in waiting if index <= block]:
            waiting.remove(index)
            tags = code[index].metadata.get("tags", [])
            metadata = {"tags": tags} if tags else {}
            if index != block or index in solutions or "hide-input" in tags:  # folded: in JupyterLab, on Colab
                metadata |= {"jupyter": {"source_hidden": True}, "cellView": "form"}
            cells.append(nbformat.v4.new_code_cell(code[index].source, id=code[index].id, metadata=metadata))
    return nbformat.v4.new_notebook(cells=cells, metadata=source.metadata)


def is_cell(node: nodes.Node) -> bool:
    """Whether a node is a code cell with its outputs."""
    return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"


def write_edition(app, pagename, templatename, context, doctree):
    """Write the edition of a chapter beside its page, and let the page's button download it."""
    if doctree is None or not str(app.env.doc2path(pagename)).endswith(".ipynb"):
        return
    file = Path(app.outdir, FOLDER, f"{Path(pagename).name}.ipynb")
    file.parent.mkdir(exist_ok=True)
    nbformat.write(edition(app, pagename, doctree), file)
    for group in context["header_buttons"]:
        for button in group.get("buttons", []):
            if button.get("label") == "download-source-button":
                button |= {"url": context["pathto"](f"{FOLDER}/{file.name}", 1), "tooltip": "Download the runnable edition"}


def setup(app):
    app.connect("html-page-context", write_edition, priority=900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
