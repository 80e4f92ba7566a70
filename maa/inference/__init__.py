"""Inference: from a photograph to a probability map, in the paper's two stages.

    photograph -> HGN at 1x and at 0.5x -> fused map -> candidates -> PRN -> refined map

Maps are uint16, probability times 65535 rounded: half the memory of float32, and what makes the evaluation's histogram exact.
"""

from maa.inference.beyond import BEYOND_ROWS, FOLDER, LAST, OWN, PRN_FILE, UNET_TILE, Beyond, mirrored_map
from maa.inference.candidates import SEPARATION, Hypotheses, hypotheses, refine, score_hypotheses, score_patches
from maa.inference.fusion import fuse, mean_log_odds
from maa.inference.maps import FULL_SCALE, TILE, dense_map, log_odds, to_map, upsample
from maa.inference.system import (
    FILES,
    FIRST_STAGE,
    FULL_SYSTEM,
    ROWS,
    SECOND_STAGE,
    SETTINGS,
    AnySystem,
    Settings,
    System,
    field_of,
    image_of,
    read_settings,
    write_settings,
)

__all__ = [
    "AnySystem",
    "BEYOND_ROWS",
    "Beyond",
    "FILES",
    "FIRST_STAGE",
    "FOLDER",
    "FULL_SCALE",
    "FULL_SYSTEM",
    "Hypotheses",
    "LAST",
    "OWN",
    "PRN_FILE",
    "ROWS",
    "SECOND_STAGE",
    "SEPARATION",
    "SETTINGS",
    "Settings",
    "System",
    "TILE",
    "UNET_TILE",
    "dense_map",
    "field_of",
    "fuse",
    "hypotheses",
    "image_of",
    "log_odds",
    "mean_log_odds",
    "mirrored_map",
    "read_settings",
    "refine",
    "score_hypotheses",
    "score_patches",
    "to_map",
    "upsample",
    "write_settings",
]
