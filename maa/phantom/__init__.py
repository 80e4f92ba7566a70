"""Phantoms: synthetic photographs of the retina whose truth is exact.

`config` says what is drawn, `anatomy` grows disc and vessels, `lesions` places what diabetes does, `camera` photographs it, `dataset` writes a data set
in IDRiD's layout, and `statistics` compares it with photographs.
"""

from maa.phantom.anatomy import ARTERY, VEIN, Eye, draw_vessels, grow_vessels, place_eye, window_around
from maa.phantom.camera import CHANNELS, JPEG_QUALITY, take_photograph
from maa.phantom.config import IDRID_FRAME, LESION_MODELS, LesionModel, PhantomConfig, square_degrees
from maa.phantom.dataset import make_phantom, write_dataset
from maa.phantom.lesions import Spots, draw_lesions, draw_lookalikes
from maa.phantom.statistics import lesion_statistics

__all__ = [
    "ARTERY",
    "CHANNELS",
    "Eye",
    "IDRID_FRAME",
    "JPEG_QUALITY",
    "LESION_MODELS",
    "LesionModel",
    "PhantomConfig",
    "Spots",
    "VEIN",
    "draw_lesions",
    "draw_lookalikes",
    "draw_vessels",
    "grow_vessels",
    "lesion_statistics",
    "make_phantom",
    "place_eye",
    "square_degrees",
    "take_photograph",
    "window_around",
    "write_dataset",
]
