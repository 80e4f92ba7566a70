"""What every test shares: where the repository is, where real data are, and runs that repeat."""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("MPLBACKEND", "Agg")

import hypothesis
import numpy as np
import pytest
import torch

from maa.data import Fundus

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


@dataclass(frozen=True)
class Drawn:
    """A record whose photograph is in memory already."""

    fundus: Fundus

    def load(self) -> Fundus:
        return self.fundus


def draw_records() -> list[Drawn]:
    """Five small photographs of different sizes, some odd: dark dots in three of them, two without any."""
    rng = np.random.default_rng(5)
    records = []
    for index, (height, width) in enumerate([(151, 170), (160, 133), (149, 181), (150, 150), (131, 164)]):
        rows, columns = np.ogrid[:height, :width]
        fov = np.hypot((rows - height / 2) / height, (columns - width / 2) / width) < 0.55  # all but the corners
        image = np.array([170.0, 90.0, 40.0]) + 0.1 * columns[..., None] + rng.normal(0, 4, (height, width, 3))
        ma, he = np.zeros((height, width), bool), np.zeros((height, width), bool)
        if index < 3:
            for row, column in rng.integers(30, [height - 30, width - 30], (5, 2)):
                ma |= np.hypot(rows - row, columns - column) <= rng.uniform(2.5, 5)
            ma[:3, :3] = True  # annotated outside the field of view, as a slip of the hand is
            he = np.hypot(rows - height + 22, columns - width // 2) <= 8
        image[ma] -= (15, 45, 20)
        image[he] -= (20, 40, 10)
        image = np.where(fov[..., None], image, 3).clip(0, 255).astype(np.uint8)
        lesions = {"MA": ma, "HE": he} if index < 3 else {}
        records.append(Drawn(Fundus(f"drawn_{index}", image, fov, lesions, index < 3, "train")))
    return records


@pytest.fixture(scope="session")
def drawn_records() -> list[Drawn]:
    """What `draw_records` draws."""
    return draw_records()


@pytest.fixture(scope="session")
def drawn_stacks(drawn_records, tmp_path_factory):
    """The drawn photographs, normalised, at 1x and 0.5x."""
    from maa.data import build_stacks

    return build_stacks(drawn_records, tmp_path_factory.mktemp("drawn") / "stack")


@pytest.fixture(scope="session")
def tiny_phantom(tmp_path_factory) -> Path:
    """A data set of phantoms of 288 pixels: 3 + 1 diseased and 1 + 1 healthy patients, and 1 for testing."""
    from maa.phantom import PhantomConfig, write_dataset

    config = PhantomConfig(size=288, field_degrees=8.0, lesion_density=6.0)
    return write_dataset(tmp_path_factory.mktemp("tiny") / "phantom", 4, 2, seed=3, n_test=1, config=config)


@pytest.fixture(scope="session")
def seasoned():
    """Gives the batch norms of a fresh model statistics as unlike their first ones as training would."""

    def season(model, seed=0):
        generator = torch.Generator().manual_seed(seed)

        def uniform(like, low, high):
            return torch.rand(like.shape, generator=generator) * (high - low) + low

        with torch.no_grad():
            for module in model.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.running_mean.copy_(uniform(module.running_mean, -0.5, 0.5))
                    module.running_var.copy_(uniform(module.running_var, 0.3, 3))
                    module.weight.copy_(uniform(module.weight, 0.5, 1.5))
                    module.bias.copy_(uniform(module.bias, -0.2, 0.4))
                if isinstance(module, torch.nn.Conv2d) and module.kernel_size == (3, 3):
                    module.bias.copy_(uniform(module.bias, -0.2, 0.2))
        return model.eval()

    return season


@pytest.fixture
def float32(monkeypatch):
    """Whole precision on every machine, for tests that compare numbers computed in two ways."""
    import contextlib

    monkeypatch.setattr("maa.training.loop.device", lambda: torch.device("cpu"))
    for module in ("maa.inference.maps", "maa.inference.candidates", "maa.training.loop", "maa.training.probe"):
        monkeypatch.setattr(f"{module}.mixed_precision", lambda device: contextlib.nullcontext())
