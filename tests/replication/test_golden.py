"""Guards the versions of maa.replication.recipes: code may change as it likes as long as these numbers do not."""

import json

import numpy as np
import pytest
from golden import FILE, golden

from maa.replication.recipes import RECIPES, recipe

#: Relative.  Another processor sums in another order; three steps amplify that, but not beyond this.
TOLERANCE = {"losses": 2e-3, "weights": 1e-3, "sum": 1e-2, "column": 5e-2, "channels": 1e-4, "lesions": 2e-2}
#: The weights of a U-Net nearly cancel in their sum, so that this moves more than their norm.
OF_FAMILY = {(family, "weights"): np.array([5e-3, 1e-3]) for family in ("unet", "decoder")}


@pytest.fixture(scope="module")
def today(drawn_stacks):
    return golden(drawn_stacks)


def test_every_family_has_its_golden_numbers():
    assert json.loads(FILE.read_text()).keys() == RECIPES.keys()


@pytest.mark.parametrize("family", RECIPES)
def test_a_recipe_gives_the_numbers_that_it_gave(today, family):
    stored = json.loads(FILE.read_text())[family]
    assert today[family].keys() == stored.keys()
    for name, numbers in stored.items():
        tolerance = OF_FAMILY.get((family, name), TOLERANCE.get(name, 0))
        assert np.allclose(today[family][name], numbers, rtol=tolerance, atol=0), (
            f"{family}: {name} is {today[family][name]} and was {numbers}.  If that is meant, results that were made before must not be "
            f"taken for new ones: raise RECIPES[{family!r}], and write the numbers anew with python tests/replication/golden.py."
        )


def test_a_recipe_names_the_versions_that_a_result_depends_on(monkeypatch):
    monkeypatch.setitem(RECIPES, "hgn", 7)
    assert recipe("hgn", "maps") == {"hgn": 7, "maps": RECIPES["maps"]}
