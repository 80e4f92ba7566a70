"""What is drawn: the settings of a phantom, and the sizes and contrasts of lesions."""

from __future__ import annotations

import math
from dataclasses import dataclass

from maa.data.idrid import IDRID_PIXELS_PER_DEGREE
from maa.errors import MaaError


@dataclass(frozen=True)
class LesionModel:
    """Size, contrast and number of one kind of lesion, as measured on IDRiD."""

    log_area: tuple[float, float]  # mean and standard deviation of ln(area in square degrees)
    log_contrast: tuple[float, float]  # of ln(|relative contrast in green|), mean over the mask
    density: float  # mean number per square degree within 10 degrees of the centre of the photograph
    log_density_spread: float  # standard deviation, between patients, of ln(density)
    colour: tuple[float, float, float]  # contrast in red, green and blue over that in green; negative is darker
    softness: float  # width of the blurred border, in degrees (sigma of the Gaussian)


def square_degrees(log_pixels: float) -> float:
    return log_pixels - 2.0 * math.log(IDRID_PIXELS_PER_DEGREE)


# Quantiles 5/25/50/75/95 % on IDRiD, in pixels:        area               green contrast, %
#   MA (2,394 lesions)                       80/148/235/377/682       -19/-12/-9.6/-7.3/-4.3
#   HE (1,377)                            304/737/1485/3615/13669     -21/-13/-10/-7.6/-4.6
#   EX                                      47/105/218/548/2260        +5/+8/+12/+17/+31
#   SE                                 2329/4745/8490/12310/32513      +9/+11/+15/+23/+43
LESION_MODELS = {
    "MA": LesionModel((square_degrees(5.457), 0.673), (math.log(0.096), 0.33), 0.031, 0.96, (-0.27, -1.0, -0.5), 0.048),
    "HE": LesionModel((square_degrees(7.30), 1.00), (math.log(0.090), 0.38), 0.0148, 1.0, (-0.30, -1.0, -0.2), 0.065),
    "EX": LesionModel((square_degrees(5.55), 1.00), (math.log(0.117), 0.53), 0.178, 1.2, (0.35, 1.0, 1.2), 0.045),
    "SE": LesionModel((square_degrees(8.80), 0.60), (math.log(0.150), 0.45), 0.0012, 1.0, (0.25, 1.0, 1.3), 0.32),
}


@dataclass(frozen=True)
class PhantomConfig:
    """What is drawn, and at which scale; a MaaError when a value is out of range.  Explained in ch:retina.

    Attributes
    ----------
    size : int
        Width of the photograph in pixels, at least 64.
    field_degrees : float
        Angle that the width spans.  ``PhantomConfig(size=1368)`` has IDRiD's scale, 68.4 pixels per degree.
    height : int or None
        Height in pixels; None means a square photograph.
    aperture_degrees : float or None
        Diameter of the circular field of view; None means 97 % of the width.
    disc_fovea_degrees : float
        Distance from the fovea to the centre of the disc: 15.5 degrees on average (Rohrschneider, IOVS 2004).  The disc
        scales with it.  IDRiD's photographs measure about 19 of their nominal degrees.
    lesion_density : float
        Multiplies the number of lesions per area measured on IDRiD; 0 means none.
    unlabelled : float
        Share, 0 to 1, of the microaneurysms that are drawn in the photograph and left out of the mask, as real annotations
        leave some out.  Everything else stays the same to the byte: the same seed with ``unlabelled=0`` gives the full truth.
    lookalikes : float
        Multiplies the number of structures that are mistaken for microaneurysms and are no lesion: pigment spots, dust on the
        lens, vessel stubs.
    """

    size: int = 1024
    field_degrees: float = 20.0
    height: int | None = None
    aperture_degrees: float | None = None
    disc_fovea_degrees: float = 15.5
    lesion_density: float = 1.0
    unlabelled: float = 0.0
    lookalikes: float = 1.0

    def __post_init__(self) -> None:
        wide = self.aperture_degrees is None or self.aperture_degrees > 0.5
        for holds, name, wanted in (
            (64 <= self.size <= 8192, "size", "64 to 8192 pixels"),
            (1.0 <= self.field_degrees <= 120.0, "field_degrees", "1 to 120 degrees"),
            (self.height is None or 64 <= self.height <= 8192, "height", "64 to 8192 pixels, or None"),
            (wide, "aperture_degrees", "more than 0.5, or None"),
            (8.0 <= self.disc_fovea_degrees <= 25.0, "disc_fovea_degrees", "8 to 25 degrees"),
            (0.0 <= self.lesion_density <= 50.0, "lesion_density", "0 to 50"),
            (0.0 <= self.unlabelled <= 1.0, "unlabelled", "a share from 0 to 1"),
            (0.0 <= self.lookalikes <= 50.0, "lookalikes", "0 to 50"),
        ):
            if not holds:
                raise MaaError(f"The phantom's {name} is {getattr(self, name)!r}; choose {wanted}.")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return (self.size if self.height is None else self.height, self.size)

    @property
    def pixels_per_degree(self) -> float:
        """Scale of the photograph; IDRiD's is 68.4."""
        return self.size / self.field_degrees

    @property
    def aperture(self) -> float:
        """Diameter of the field of view, in degrees."""
        return 0.97 * self.field_degrees if self.aperture_degrees is None else self.aperture_degrees


IDRID_FRAME = PhantomConfig(4288, 4288 / IDRID_PIXELS_PER_DEGREE, height=2848, aperture_degrees=50.0, disc_fovea_degrees=19.3)
