"""Every chapter runs on a machine that has the libraries but not maa, as Colab does, in an empty folder and with no network.

Such a machine is made here: an environment that sees every library of this one through links, but not this one's maa.
Its PyTorch says that it is another release than the one maa pins, as Colab's is; whatever would touch it fails, for
there is no index to install from.  The chapters find no results of the repository either, so they run without; all but
two, which are about nothing else.
"""

import json
import os
import shutil
import subprocess
import sysconfig
import tomllib
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from maa.provenance import cache_folder

pytestmark = pytest.mark.colab

ROOT = Path(__file__).resolve().parents[2]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
BOOK = os.environ.get("MAA_BOOK")
#: What is opened on Colab: the editions of the chapters, where the book is built; else the sources, whose code is the same.
OPENED = [ROOT / BOOK / "editions" / path.name for path in NOTEBOOKS] if BOOK else NOTEBOOKS
TORCH = "2.1.0+colab"
OF_RESULTS = ("08_the_gain", "10_on_idrid")  # for these chapters they lie where the network would bring them from
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
FIRST = next(c.source for c in nbformat.read(NOTEBOOKS[0], 4).cells if c.cell_type == "code")


@dataclass(frozen=True)
class Machine:
    """An environment without maa, and the variables that its processes see."""

    folder: Path
    environment: dict

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    @property
    def site_packages(self) -> Path:
        return Path(sysconfig.get_path("purelib", "venv", {"base": self.folder, "platbase": self.folder}))

    def installed(self) -> set[str]:
        """What was installed here, not counting what is linked from the environment of the tests."""
        return {path.name for path in self.site_packages.iterdir()} - {"libraries.pth"}

    def run(self, *command, check=True, cwd=None, **variables) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(self.python), *command],
            cwd=cwd or self.folder,
            env=self.environment | variables,
            check=check,
            capture_output=True,
            text=True,
        )


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Path:
    """What a clone of the repository would hold: git's files, and none that it ignores."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    folder = tmp_path_factory.mktemp("checkout")
    for name in filter(None, listing.stdout.split("\0")):
        if (ROOT / name).is_file() and not name.startswith("results/"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def make_machine(folder: Path, checkout: Path, without: tuple[str, ...] = ()) -> Machine:
    """A machine without maa and without the libraries named, by their folders in site-packages."""
    libraries = folder / "libraries"
    libraries.mkdir()
    absent = ("maa", "__editable__", *without)
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            if entry.suffix != ".pth" and not entry.name.startswith(absent) and not (libraries / entry.name).exists():
                (libraries / entry.name).symlink_to(entry)
    (metadata,) = libraries.glob("torch-*.dist-info")
    words = (metadata / "METADATA").read_text()
    metadata.unlink()
    (libraries / f"torch-{TORCH}.dist-info").mkdir()
    (libraries / f"torch-{TORCH}.dist-info" / "METADATA").write_text(
        "\n".join(f"Version: {TORCH}" if line.startswith("Version: ") else line for line in words.split("\n"))
    )

    venv.create(folder / "environment", symlinks=True, with_pip=False)
    # `python -m pip` of the links installs into the environment that runs it, and builds maa with the linked setuptools.
    ours = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME", "MAA_IDRID")}
    machine = Machine(
        folder / "environment",
        ours
        | {
            "MAA_SOURCE": str(checkout),
            "MAA_CACHE": str(cache_folder().resolve()),
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # which pip reads as "no isolation"
            "PYTHONNOUSERSITE": "1",
            "IPYTHONDIR": str(folder / "ipython"),
            "http_proxy": "http://127.0.0.1:9",
            "https_proxy": "http://127.0.0.1:9",  # where nobody answers
            "no_proxy": "localhost,127.0.0.1",
        },
    )
    (machine.site_packages / "libraries.pth").write_text(f"{libraries}\n")
    kernel = folder / "jupyter" / "kernels" / "colab"
    kernel.mkdir(parents=True)
    command = [str(machine.python), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(json.dumps({"argv": command, "display_name": "Colab", "language": "python"}))
    return machine


@pytest.fixture(scope="module")
def colab(tmp_path_factory, checkout) -> Machine:
    return make_machine(tmp_path_factory.mktemp("colab"), checkout)


def test_the_first_cell_installs_maa_alone_and_prints_one_line(colab):
    assert colab.run("-c", "import maa", check=False).returncode, "maa is there before it was installed"
    done = colab.run("-c", FIRST)
    assert done.stdout.split("\n") == [f"maa {VERSION} with torch {TORCH}", ""] and not done.stderr
    assert {name.split("-")[0] for name in colab.installed()} == {"maa"}
    assert colab.run("-c", FIRST).stdout == done.stdout, "a second time it does nothing"
    places = colab.run("-c", "import maa.models.hgn as hgn, torch; print(hgn.__file__, torch.__file__)").stdout.split()
    assert Path(places[0]).is_relative_to(colab.site_packages)
    assert Path(places[1]).is_relative_to(colab.folder.parent / "libraries")


@pytest.mark.parametrize("found", [None, "0.5.1"], ids=["missing", "too old"])
def test_the_first_cell_installs_what_is_missing_or_too_old(tmp_path, checkout, found):
    machine = make_machine(tmp_path, checkout, without=("umap",))
    if found:
        wheel(tmp_path / "old", "umap_learn", found)
        machine.run("-m", "pip", "install", "-qq", "--no-deps", str(*(tmp_path / "old").iterdir()))
    wheel(tmp_path / "index", "umap_learn", "9.0")
    done = machine.run("-c", FIRST, PIP_FIND_LINKS=str(tmp_path / "index"))
    assert len(done.stdout.splitlines()) == 1 and not done.stderr
    assert {name for name in machine.installed() if name.endswith(".dist-info")} == {
        f"maa-{VERSION}.dist-info",
        "umap_learn-9.0.dist-info",
    }


def test_a_clone_in_the_working_folder_is_not_taken_for_an_installed_maa(tmp_path, checkout):
    """After `!git clone` there is a folder maa, which Python imports as a namespace package with nothing in it."""
    machine = make_machine(tmp_path, checkout)
    content = tmp_path / "content"
    (content / "maa" / "maa").mkdir(parents=True)
    (content / "maa" / "maa" / "__init__.py").touch()
    assert machine.run("-c", "import maa; print(maa.__path__)", cwd=content).stdout, "the trap is not set"
    done = machine.run("-c", f"{FIRST}\nimport maa.models.hgn as hgn; print(hgn.__file__)", cwd=content)
    printed, place = done.stdout.splitlines()
    assert printed == f"maa {VERSION} with torch {TORCH}" and Path(place).is_relative_to(machine.site_packages)


@pytest.mark.parametrize("branch", ["main", "editions"])
def test_binder_installs_maa_alone(tmp_path, checkout, branch):
    """The branch of the editions holds chapters and `.binder`, but no package: maa comes from where the first cell has it from."""
    machine = make_machine(tmp_path, checkout)
    path = f"{machine.python.parent}{os.pathsep}{os.environ['PATH']}"
    opened = checkout
    if branch == "editions":
        opened = tmp_path / "opened"
        for name in (".binder", "notebooks"):
            shutil.copytree(checkout / name, opened / name)
    done = subprocess.run(
        [opened / ".binder" / "postBuild"],
        cwd=opened,
        env=machine.environment | {"PATH": path},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout == f"maa {VERSION} with torch {TORCH}\n"
    place = checkout if branch == "main" else machine.site_packages  # as a checkout, editable
    assert machine.run("-c", "import maa.models.hgn as hgn; print(hgn.__file__)").stdout.strip() == str(
        place / "maa" / "models" / "hgn.py"
    )
    assert {name for name in machine.installed() if name.endswith(".dist-info")} == {f"maa-{VERSION}.dist-info"}


def wheel(folder: Path, name: str, version: str) -> None:
    """A wheel with nothing in it but its name."""
    folder.mkdir()
    metadata = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as file:
        file.writestr(f"{metadata}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        file.writestr(f"{metadata}/WHEEL", "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        file.writestr(f"{metadata}/RECORD", "")


@pytest.fixture
def results(colab):
    """The repository's results files, where `published` looks on this machine."""
    link = colab.site_packages / "results"
    link.symlink_to(ROOT / "results")
    yield
    link.unlink()


@pytest.mark.parametrize("path", OPENED, ids=lambda path: path.stem)
def test_a_chapter_runs(colab, tmp_path, monkeypatch, request, path):
    if path.stem in OF_RESULTS:
        request.getfixturevalue("results")
    monkeypatch.setenv("JUPYTER_PATH", str(colab.folder.parent / "jupyter"))  # where its kernel is found
    notebook = nbformat.read(path, 4)
    NotebookClient(notebook, kernel_name="colab", timeout=600, resources={"metadata": {"path": str(tmp_path)}}).execute(
        env=colab.environment
    )
    (printed,) = next(cell.outputs for cell in notebook.cells if cell.cell_type == "code")
    assert printed["text"] == f"maa {VERSION} with torch {TORCH}\n"
