"""Segmentation of one's own photographs: from files of any camera to maps, masks, overlays and a table of lesions.

In Python::

    from maa import load_system, segment

    system = load_system()                # the weights that come with maa; load_system(track="beyond") has more networks
    result = segment("eye.jpg", system)   # Segmentation
    result.lesions                        # DataFrame: image, row, column, area, score
    result.probability                    # ndarray, (H, W), uint16: probability times 65535
    result.mask                           # ndarray, (H, W), bool
    result.overlay                        # ndarray, (H, W, 3), uint8
    result.warnings                       # tuple of str: what would mislead, such as a photograph out of focus

On the command line: ``maa segment photographs --out found``.  Explained in ch:yours.
"""

from maa.segmentation.inputs import photographs_of
from maa.segmentation.many import TABLES, Report, segment_files
from maa.segmentation.one import (
    COLUMNS,
    MAPS,
    MAX_WORKING_PIXELS,
    OUTLINE,
    TRACKS,
    UNCHOSEN_THRESHOLD,
    Segmentation,
    check,
    default_weights,
    load_system,
    output_files,
    segment,
    uploaded,
    write_together,
)
from maa.segmentation.scale import FIELD_DEGREES, TOLERANCE, field_diameter, resize_factor, resized
from maa.segmentation.summary import (
    CROP_SIDE,
    CROPS,
    FEW,
    Entry,
    contact_sheet,
    entry,
    fitting,
    font,
    heading,
    jpeg,
    page,
    plural,
    ringed,
    sizes,
)

__all__ = [
    "COLUMNS",
    "CROPS",
    "CROP_SIDE",
    "Entry",
    "FEW",
    "FIELD_DEGREES",
    "MAPS",
    "MAX_WORKING_PIXELS",
    "OUTLINE",
    "Report",
    "Segmentation",
    "TABLES",
    "TOLERANCE",
    "TRACKS",
    "UNCHOSEN_THRESHOLD",
    "check",
    "contact_sheet",
    "default_weights",
    "entry",
    "field_diameter",
    "fitting",
    "font",
    "heading",
    "jpeg",
    "load_system",
    "output_files",
    "page",
    "photographs_of",
    "plural",
    "resize_factor",
    "resized",
    "ringed",
    "segment",
    "segment_files",
    "sizes",
    "uploaded",
    "write_together",
]
