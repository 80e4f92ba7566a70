"""Run again the pages whose numbers or printed source may have changed, and no others.

jupyter-cache keys a page on its own code cells.  What a page shows depends on more: on the modules of `maa` that it
imports, on those that they import, on results files, on the libraries and on the data named.  Of the modules it is what
their code does that counts, so a comment or a docstring runs nothing again; but where a page prints source (it imports
`inspect`), every letter counts of the functions and classes that it names.

A build that is killed leaves half-written pages and pictures which Sphinx and MyST-NB take for whole, so the next one reads and
writes all pages again.  It runs those that had not run.
"""

import ast
import hashlib
import json
import os
import shutil
import sys
from contextlib import suppress
from functools import cache
from pathlib import Path

import nbformat
from IPython.core.inputtransformer2 import TransformerManager
from jupyter_cache import get_cache
from jupyter_cache.cache.db import NbCacheRecord
from myst_nb.core.read import read_myst_markdown_notebook

import maa
from maa.provenance import write_json

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(maa.__file__).parent
UNFINISHED = ".unfinished"  # lies in the folder of the built pages while they are written


def code_of(page: Path) -> str:
    """All code cells of a page, as Python."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        cells = read_myst_markdown_notebook(text).cells if "{code-cell}" in text else []
    else:
        cells = nbformat.reads(text, as_version=4).cells
    return "\n".join(TransformerManager().transform_cell(cell.source) for cell in cells if cell.cell_type == "code")


@cache
def parsed(code: str) -> ast.Module:
    return ast.parse(code)


def file_of(module: str, package: Path) -> Path | None:
    """The file of a module of `maa`, by its name after "maa."; None where there is no such module."""
    path = package.joinpath(*module.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def imports_of(code: str, package: Path) -> set[str]:
    """Names of the modules of `maa` that code imports, anywhere in it."""
    names = set()
    for node in ast.walk(parsed(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    names = {name.removeprefix("maa.") for name in names if name.startswith("maa.")}
    return {name for name in names if file_of(name, package)}


def modules_of(code: str, package: Path) -> set[str]:
    """The modules that code imports, and those that they import, to the end."""
    found, new = set(), imports_of(code, package)
    while new:
        found |= new
        new = set().union(*(imports_of(file_of(name, package).read_text(), package) for name in new)) - found
    return found


def printable(code: str, package: Path, modules: set[str]) -> list[str]:
    """The source of all functions and classes of the modules whose names occur in code."""
    named = {getattr(node, "id", getattr(node, "attr", None)) for node in ast.walk(parsed(code))}
    found = []
    for module in sorted(modules):
        text = file_of(module, package).read_text()
        for node in ast.walk(parsed(text)):
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name in named:
                found.append("\n".join(text.split("\n")[node.lineno - 1 : node.end_lineno]))
    return found


def what_it_does(code: str) -> str:
    """Code without comments, docstrings and layout, none of which changes what it does."""
    tree = ast.parse(code)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            # A string that stands alone is a docstring or a note on the name above it.
            node.body = [line for line in body if not (isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant))]
    return ast.dump(tree)


def inputs(page: Path, root: Path = ROOT, package: Path = PACKAGE) -> str:
    """A fingerprint of all that decides what a page shows, but for its own text."""
    code = code_of(page)
    modules = modules_of(code, package)
    files = [root / "constraints.txt"]
    if modules:
        files += (path for path in package.rglob("*") if path.is_file() and {"pretrained", "templates"} & set(path.parts))
    if "published" in code or "verdict" in code:
        files += (root / "results").glob("*/*.json")
    source = printable(code, package, modules) if "inspect" in code or "show(" in code else []
    named = [os.environ.get(name) for name in ("MAA_IDRID", "MAA_RESULTS")]
    digest = hashlib.sha256(repr([sys.version, named, source]).encode())
    for module in sorted(modules):
        digest.update(f"{module}:{what_it_does(file_of(module, package).read_text())}\n".encode())
    for path in sorted(files):
        digest.update(path.name.encode() + hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


def known(env) -> Path:
    """Where the inputs are kept with which each page ran: beside its outputs, so that both go together."""
    return Path(env.mystnb_config.execution_cache_path) / "inputs.json"


def known_inputs(env):
    with suppress(OSError, ValueError, TypeError):  # without them, every page is stale
        return dict(json.loads(known(env).read_text()))
    return {}


def begin(app):
    """Mark the built pages as unfinished; where an earlier build left them so, remove them, but for the mark."""
    mark = Path(app.outdir, UNFINISHED)
    mark.parent.mkdir(parents=True, exist_ok=True)
    app.maa_interrupted = mark.exists()
    for path in Path(app.outdir).iterdir() if app.maa_interrupted else ():
        if path.is_dir():
            shutil.rmtree(path)
        elif path != mark:
            path.unlink()
    mark.touch()


def finish(app, error):
    if error is None:
        Path(app.outdir, UNFINISHED).unlink(missing_ok=True)


def forget_stale_pages(app, env, added, changed, removed):
    """Drop the outputs of pages whose inputs are not what they were, and have Sphinx read these pages again."""
    before = known_inputs(env)
    env.maa_inputs = {page: inputs(Path(env.doc2path(page))) for page in env.found_docs if code_of(Path(env.doc2path(page)))}
    stale = {page for page, now in env.maa_inputs.items() if before.get(page) != now}
    sources = {str(env.doc2path(page)) for page in stale}
    cache = get_cache(env.mystnb_config.execution_cache_path)
    remove_half_written(cache)
    for record in cache.list_cache_records():
        if record.uri in sources:
            cache.remove_cache(record.pk)
    if app.maa_interrupted:
        shutil.rmtree(env.mystnb_config.output_folder, ignore_errors=True)  # a picture that is there is never written again
        return sorted(env.found_docs)
    return sorted(stale)


def remove_half_written(cache):
    """Drop what a killed build left of outputs in the cache: a record without its notebook, and the other way round."""
    whole = set()
    for record in cache.list_cache_records():
        try:
            cache.get_cache_bundle(record.pk)
            whole.add(record.hashkey)
        except Exception:  # there is no notebook, or half of one
            NbCacheRecord.remove_record(record.pk, cache.db)
    for folder in cache.path.glob("executed/*"):
        if folder.name not in whole:
            shutil.rmtree(folder)


def remember(env, page):
    """Note the inputs of a page once it has run.  A build that stops before leaves it stale, which is safe."""
    inputs = getattr(env, "maa_inputs", {})
    if page in inputs:
        before = known_inputs(env)
        write_json(known(env), before | {page: inputs[page]})


def setup(app):
    begin(app)  # now, since others write there before the first event
    app.connect("env-get-outdated", forget_stale_pages)
    app.connect("doctree-read", lambda app, doctree: remember(app.env, app.env.docname))
    app.connect("build-finished", finish)
    return {"version": "1", "parallel_read_safe": False}
