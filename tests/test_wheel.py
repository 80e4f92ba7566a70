"""The wheel holds all that `maa` needs: rooms, templates and weights.

It is built from what git knows, installed into an environment that sees the libraries of this one but not this one's maa, and has to
find a lesion there, in a folder far from the repository and with no network.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from maa.phantom import PhantomConfig, make_phantom

pytestmark = pytest.mark.slow

OFFLINE = {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0", "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONNOUSERSITE": "1"}
OURS = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "MAA_"))} | OFFLINE


def run(*command, cwd: Path) -> str:
    done = subprocess.run([str(word) for word in command], cwd=cwd, env=OURS, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}:\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def tracked(root) -> list[str]:
    """The files that a clone would hold, by their paths."""
    listing = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=root, capture_output=True, text=True
    )
    if listing.returncode:
        pytest.skip("not a git checkout")
    return [name for name in listing.stdout.split("\0") if name and (root / name).is_file()]


@pytest.fixture(scope="module")
def wheel(root, tracked, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("source")
    for name in tracked:
        if name.startswith("maa/") or "/" not in name:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, folder / name)
    out = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-index", "-w", out, folder, cwd=out)
    (file,) = out.iterdir()
    return file


@pytest.fixture(scope="module")
def machine(wheel, tmp_path_factory) -> tuple[Path, Path]:
    """The Python of an environment with the wheel in it, and the folder in which it works."""
    folder = tmp_path_factory.mktemp("machine")
    (folder / "libraries").mkdir()
    for place in {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}:
        for entry in Path(place).iterdir():
            link = folder / "libraries" / entry.name
            if entry.suffix != ".pth" and not entry.name.startswith(("maa", "__editable__")) and not link.exists():
                link.symlink_to(entry)
    environment = folder / "environment"
    venv.create(environment, symlinks=True, with_pip=False)
    packages = Path(sysconfig.get_path("purelib", "venv", {"base": environment, "platbase": environment}))
    (packages / "libraries.pth").write_text(f"{folder / 'libraries'}\n")
    python, work = environment / "bin" / "python", folder / "work"
    work.mkdir()
    run(python, "-m", "pip", "install", "-q", "--no-deps", "--no-index", wheel, cwd=work)
    where = Path(run(python, "-c", "import maa.errors; print(maa.errors.__file__)", cwd=work).strip())
    assert where.is_relative_to(packages)
    return python, work


def test_the_wheel_holds_every_file_of_the_package(wheel, tracked):
    holds = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert holds == {name for name in tracked if name.startswith("maa/")}


def test_it_segments_a_phantom_where_nothing_else_is(machine):
    python, work = machine
    eye = make_phantom(2, config=PhantomConfig(size=544, field_degrees=8.0, lesion_density=6.0)).image  # of IDRiD's scale
    Image.fromarray(eye).save(work / "eye.png")
    run(python, "-m", "maa", "segment", "eye.png", "--degrees", 8, "--out", "found", cwd=work)
    found = work / "found"
    pictures = {"eye_overlay.jpg", "eye_mask.png", "eye_probability.png"}
    tables = {".maa", "contact_sheet.jpg", "index.html", "lesions.csv", "photographs.csv"}
    assert {path.name for path in found.iterdir()} == pictures | tables
    for name in pictures:
        with Image.open(found / name) as picture:
            assert picture.size == eye.shape[1::-1]
    (photograph,) = pd.read_csv(found / "photographs.csv").to_dict("records")
    lesions = pd.read_csv(found / "lesions.csv")
    mask = np.asarray(Image.open(found / "eye_mask.png")) > 0
    assert photograph["image"] == "eye" and photograph["lesions"] == len(lesions) > 0
    assert mask.sum() == lesions["area"].sum()
    assert "lesion" in (found / "index.html").read_text(encoding="utf-8")
