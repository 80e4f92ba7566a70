"""The files around the package agree with one another, and none says what it must not."""

import ast
import contextlib
import functools
import operator
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
IMPORTED_AS = {"pillow": "PIL", "scikit-image": "skimage", "scikit-learn": "sklearn", "umap-learn": "umap"}


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def name_of(requirement: str) -> str:
    return re.match(r"[A-Za-z0-9._-]+", requirement)[0].lower().replace("_", "-")


def imports_of(path: Path) -> set[str]:
    """Top-level names of the packages that a Python file imports, wherever in the file it does."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names.add(node.module.split(".")[0])
    return names


@pytest.fixture(scope="module")
def tracked() -> list[Path]:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listing.stdout.split("\0") if name and (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def texts(tracked) -> dict[str, str]:
    found = {}
    for path in tracked:
        with contextlib.suppress(UnicodeDecodeError):
            found[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    return found


def test_what_is_settled_is_not_called_open(texts):
    """A value without a source is quoted nowhere, and no page doubts that the photographs' quality is the official release's."""
    pages = {name: text for name, text in texts.items() if name.endswith((".md", ".ipynb", ".json", ".py"))}
    untraced = re.compile(r"(?<![\d.])0\.56" + r"46(?!\d)")  # and not among the digits of a measure
    assert not [name for name, text in pages.items() if untraced.search(text)]
    doubts = re.compile(r"(?:release|quality|original)[^.]{0,80}could\s+not\s+be\s+" + "settled")
    assert not [name for name, text in pages.items() if doubts.search(text)]


def test_environment_yml_installs_what_make_does():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    extras = re.search(r"--editable '\.\[([a-z,]+)\]'", (ROOT / "Makefile").read_text())[1]
    python = next(d for d in environment["dependencies"] if isinstance(d, str) and d.startswith("python"))
    pip = next(d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert project()["requires-python"] in python
    assert pip == ["--constraint constraints.txt", f"--editable .[{extras}]"]
    assert set(extras.split(",")) <= set(project()["optional-dependencies"])


def test_binder_starts_with_pytorch_and_a_python_that_maa_takes():
    lines = yaml.safe_load((ROOT / ".binder" / "environment.yml").read_text())["dependencies"]
    (python,) = (line.removeprefix("python=") for line in lines if line.startswith("python="))
    least = project()["requires-python"].removeprefix(">=")
    assert [int(n) for n in python.split(".")] >= [int(n) for n in least.split(".")]
    assert "pytorch-cpu" in lines and os.access(ROOT / ".binder" / "postBuild", os.X_OK)


def test_constraints_pin_every_requirement_exactly_and_name_no_host():
    text = (ROOT / "constraints.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    for line in lines:
        assert re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.!]+", line), f"not an exact version: {line}"
    pinned = {name_of(line) for line in lines}
    required = project()["dependencies"] + functools.reduce(operator.iadd, project()["optional-dependencies"].values(), [])
    assert {name_of(r) for r in required} <= pinned


def test_what_the_package_imports_is_declared_and_what_is_declared_is_imported():
    imported = set().union(*(imports_of(path) for path in (ROOT / "maa").rglob("*.py")))
    third_party = (
        imported - sys.stdlib_module_names - {"maa", "IPython", "matplotlib_inline", "myst_nb"}
    )  # ipywidgets brings two, the book one
    names = {name_of(r) for r in project()["dependencies"]}
    extras = project()["optional-dependencies"]
    optional = {name_of(r) for extra in ("cluster", "data", "devices") for r in extras[extra]}
    assert third_party <= {IMPORTED_AS.get(n, n) for n in names | optional}
    unused = {n for n in names if IMPORTED_AS.get(n, n) not in imported}
    notebooks = "".join(p.read_text() for p in (ROOT / "notebooks").glob("*.ipynb"))
    imports = " ".join(re.findall(r"(?:import|from) ([^\\\"]*)", notebooks))
    assert not {n for n in unused if not re.search(rf"\b{IMPORTED_AS.get(n, n)}\b", imports)}


def test_one_address_of_the_repository():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())
    address = config["sphinx"]["config"]["html_theme_options"]["repository_url"]
    owner_and_name = address.removeprefix("https://github.com/")
    places = ["README.md", "CONTRIBUTING.md", "CITATION.cff", "book/how_to_read.md", "pyproject.toml"]
    places += [str(p.relative_to(ROOT)) for p in sorted((ROOT / "notebooks").glob("*.ipynb"))]
    for place in places:
        found = set(re.findall(r"(?:github(?:\.com)?|/gh)/([\w-]+/maa)\b", (ROOT / place).read_text()))
        assert found == {owner_and_name}, f"{place} names {found or 'no repository'}, _config.yml {owner_and_name}"


def test_the_readme_opens_every_chapter_on_colab_and_binder():
    config = yaml.safe_load((ROOT / "_config.yml").read_text())["sphinx"]["config"]["html_theme_options"]
    repository, branch = config["repository_url"].removeprefix("https://github.com/"), config["repository_branch"]
    readme = (ROOT / "README.md").read_text()
    assert branch == "editions", "the sources are MyST, which Colab shows raw"
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        chapter = f"notebooks/{path.name}"
        assert f"(https://colab.research.google.com/github/{repository}/blob/{branch}/{chapter})" in readme
        assert f"(https://mybinder.org/v2/gh/{repository}/{branch}?urlpath=lab/tree/{chapter})" in readme


def test_no_tracked_file_names_a_path_of_one_machine_or_a_private_registry(texts):
    machine = re.compile(r"(?<![\w.~/:<-])/(?:root|work|home|Users|opt|farm|tmp)/\w")
    registry = re.compile(r"file:///|--(?:extra-)?index-url|--find-links|[a-z]+\.internal\b")
    for name, text in texts.items():
        for number, line in enumerate(text.splitlines(), 1):
            if name == "tests/book/test_project.py":
                continue
            assert not machine.search(line), f"{name}:{number} names a path of one machine: {line.strip()[:120]}"
            assert not registry.search(line), f"{name}:{number} names a registry: {line.strip()[:120]}"


def test_no_photograph_of_a_patient_and_no_large_file_is_tracked(tracked):
    photograph = re.compile(r"IDRiD_\d+([_-](MA|HE|EX|SE|OD))?\.(jpe?g|tiff?|png|npy)$", re.IGNORECASE)
    for path in tracked:
        assert not photograph.search(path.name), f"{path.name} looks like a photograph or mask of IDRiD"
        assert path.stat().st_size <= 4 * 2**20, f"{path.name} is larger than 4 MB"


def test_every_room_has_its_tests():
    rooms = {path.name for path in (ROOT / "maa").iterdir() if (path / "__init__.py").is_file()}
    assert rooms <= {path.parent.name for path in (ROOT / "tests").glob("*/test_*.py")}
    alone = {path.stem for path in (ROOT / "maa").glob("[a-z]*.py")} - {"errors"}  # nothing in it to go wrong
    assert alone <= {path.stem.removeprefix("test_") for path in (ROOT / "tests").glob("test_*.py")}


def test_no_file_of_the_package_is_too_long_to_hold_in_mind():
    for path in (ROOT / "maa").rglob("*.py"):
        assert len(path.read_text().splitlines()) < 450, f"{path.name} has become two files: part them"


def test_the_sections_that_docstrings_name_are_in_the_book():
    """By label, which stays when a chapter moves, and never by number."""
    pages = [*(ROOT / "notebooks").glob("*.ipynb"), *(ROOT / "book").glob("*.md")]
    labels = set(re.findall(r"\((ch:[\w-]+|sec:[\w-]+)\)=", "".join(path.read_text(encoding="utf-8") for path in pages)))
    for path in (ROOT / "maa").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert set(re.findall(r"\b(?:ch|sec):[a-z-]+", text)) <= labels, path.name
        assert not re.search(r"[Cc]hapter \d", text), f"{path.name} names a chapter by its number"
