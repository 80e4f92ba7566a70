"""A brief training on the real IDRiD, where it is found: the whole way from its files to a measured curve."""

import numpy as np
import pytest

from maa import evaluation
from maa.data import MA, idrid
from maa.inference import dense_map, field_of, image_of
from maa.replication.profiles import Profile
from maa.replication.study import Study
from maa.training import HGNConfig, PRNConfig, Schedule

pytestmark = pytest.mark.slow


@pytest.fixture
def study(real_idrid, tmp_path, monkeypatch):
    monkeypatch.setenv("MAA_CACHE", str(tmp_path / "cache"))
    brief = Schedule(steps=60, batch=128, reports=1)
    hgns = [HGNConfig(scale, brief, width=8, pool=20_000) for scale in (1.0, 0.5)]
    profile = Profile("brief", *hgns, PRNConfig(brief), images=3)
    return Study(idrid.open_dataset(real_idrid), profile)


def test_sixty_steps_on_real_photographs_are_far_above_chance(study):
    """Chance is the share of microaneurysm pixels, about 0.001; an image that was not trained on is measured."""
    trained = study.hgn(0.5)
    stack = study.validation[1]
    index = int(np.flatnonzero(stack.diseased)[0])
    truth, fov = (stack.label(index) & MA) > 0, field_of(stack, index)

    # A part of the photograph will do: rows around most of its lesions.
    middle = int(np.median(np.nonzero(truth)[0]))
    part = np.s_[max(0, middle - 300) : middle + 300]
    image, truth, fov = image_of(stack, index)[part], truth[part], fov[part]

    scores = evaluation.PixelScores()
    scores.add(stack.names[index], dense_map(trained.model, image, fov), truth, fov)
    chance = truth[fov].mean()
    precision = evaluation.average_precision(*scores.pooled())
    assert chance < 0.005
    assert precision > max(0.01, 10 * chance), f"average precision {precision:.4f}, chance {chance:.4f}"
    assert trained.record.data == study.dataset.fingerprint
