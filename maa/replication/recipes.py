"""Recipes: which version of what is done to the data a result was made by.

What was trained or mapped once is kept, and found again by its key: the complete configuration, the data, the photographs, the
machine's arithmetic and the versions below.  A version is raised by hand whenever the code of its family gives other numbers, and at
no other time: tests/replication/test_golden.py holds the numbers that it gives today, and says so when they move.
"""

from __future__ import annotations

#: By family.  "photographs": what reading and normalising makes of them; "maps": how a network is run on a whole photograph.
RECIPES = {
    "photographs": 1,
    "hgn": 1,
    "windows": 1,
    "decoder": 1,
    "prn": 1,
    "candidates": 1,
    "unet": 1,
    "maps": 1,
    "phantom": 1,
}


def recipe(*families: str) -> dict[str, int]:
    """The versions that a result of some families depends on, for its key."""
    return {family: RECIPES[family] for family in families}
