"""What every test shares: where the repository is, where real data are, and runs that repeat."""

import os
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import pytest

ROOT = Path(__file__).resolve().parent.parent

# Shared machines are slow at times, which is no failure; and a test that fails must fail again.
hypothesis.settings.register_profile("maa", deadline=None, derandomize=True)
hypothesis.settings.load_profile("maa")


@pytest.fixture(scope="session")
def root() -> Path:
    """The root of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def real_idrid() -> Path:
    """The folder of the real IDRiD, beside the repository or named by MAA_TEST_IDRID; skips where there is none."""
    folder = Path(os.environ.get("MAA_TEST_IDRID", ROOT.parent / "shared" / "data" / "idrid"))
    if not folder.is_dir():
        pytest.skip(f"the real IDRiD is not at {folder}")
    return folder


@pytest.fixture(autouse=True)
def no_data_of_the_person_at_the_keyboard(monkeypatch):
    """No test finds data by accident: one that wants MAA_IDRID sets it."""
    monkeypatch.delenv("MAA_IDRID", raising=False)
