"""Data: from the files of a data set to normalised photographs and pools of pixels.

`files` decodes picture files from anybody, `photograph` makes photographs and masks of them, `field` finds the retina in it; `idrid` knows
IDRiD's folders, `layout` what they become in copies, `verification` which pictures cannot be right; `normalisation` evens out illumination and
colour, `stacks` lays photographs one behind the other in one file, `pools` says around which pixels patches may be cut, `quality` measures
what would mislead.
"""

from maa.data.field import BLACK, field_of_view
from maa.data.files import FORMATS, MAX_BYTES, MAX_PIXELS, MAX_SIDE, Decoded, decode
from maa.data.idrid import IDRID_PIXELS_PER_DEGREE, MISGRADED, SPLITS, Dataset, Record, count_lesions, one_line, open_dataset
from maa.data.locate import KAGGLE_HANDLE, VARIABLE, data_cache_folder, explain, fetch, find
from maa.data.normalisation import BACKGROUND_SIGMA, CONTRAST_LEVELS, normalise
from maa.data.photograph import LESIONS, Fundus, halve, read_image, read_mask, read_photograph, rgb
from maa.data.pools import GUARD, RIM, SOURCES, dilate, healthy_pixels, healthy_source, ma_pixels, pixels_of, rim_pixels
from maa.data.stacks import EX, FOV, HE, LESION, MA, MARGIN, OD, SE, ImageStack, build_stacks, gather_scales, stack_photograph

__all__ = [
    "BACKGROUND_SIGMA",
    "BLACK",
    "CONTRAST_LEVELS",
    "Dataset",
    "Decoded",
    "EX",
    "FORMATS",
    "FOV",
    "Fundus",
    "GUARD",
    "HE",
    "IDRID_PIXELS_PER_DEGREE",
    "ImageStack",
    "KAGGLE_HANDLE",
    "LESION",
    "LESIONS",
    "MA",
    "MARGIN",
    "MAX_BYTES",
    "MAX_PIXELS",
    "MAX_SIDE",
    "MISGRADED",
    "OD",
    "RIM",
    "Record",
    "SE",
    "SOURCES",
    "SPLITS",
    "VARIABLE",
    "build_stacks",
    "count_lesions",
    "data_cache_folder",
    "decode",
    "dilate",
    "explain",
    "fetch",
    "field_of_view",
    "find",
    "gather_scales",
    "halve",
    "healthy_pixels",
    "healthy_source",
    "ma_pixels",
    "normalise",
    "one_line",
    "open_dataset",
    "pixels_of",
    "read_image",
    "read_mask",
    "read_photograph",
    "rgb",
    "rim_pixels",
    "stack_photograph",
]
