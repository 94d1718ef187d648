"""What can be done to a mask at the photo's size: each step a pure function, the identity at 0.

Masks are float32 HxW in 0..1, lengths are in pixels of the photo. Where a mask is constant as far as a step looks, it
stays as it is to the bit, and takes no time.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from nss.arrays import dilation, gaussian
from nss.arrays.tiles import TILE, Tile, map_tiles, parallel, tiles
from nss.errors import UsageError, check_number
from nss.timing import stage

LONGEST = 1000.0
"""The largest radius in pixels."""

FARTHEST = 200.0
"""How far a contour can be moved, in pixels."""

LARGEST_TILE = 2048
"""The largest side of a tile in pixels: it bounds the memory that wide steps take."""


@dataclass(frozen=True)
class Refinement:
    """The steps between the network's mask and the cut-out, in the order in which they are done.

    Edges are found again first, by the mask that the network gave; tones are cut before areas are counted, since haze
    joins a speck to its neighbours; areas go before contours move, since an expanded speck is larger; and softening
    comes last, since the steps before it depend on how steep an edge is.

    Attributes:
        guided: radius of the guided filter that moves edges to the photo's (``nss.masks.guided``).
        black: values up to this become 0.
        white: values from this on become 1. At ``black`` it is a threshold.
        drop_islands: islands of fewer square pixels go (``nss.masks.areas``).
        fill_holes: holes of fewer square pixels are filled.
        smooth: scale of the contour's smoothing.
        expand: by how much contours move outwards; a negative number contracts.
        feather: standard deviation of the blur that softens edges.

    Raises:
        UsageError: a value is out of its range.
    """

    guided: float = 0.0
    black: float = 0.0
    white: float = 1.0
    drop_islands: float = 0.0
    fill_holes: float = 0.0
    smooth: float = 0.0
    expand: float = 0.0
    feather: float = 0.0

    def __post_init__(self) -> None:
        for name in ("guided", "smooth", "feather"):
            _check(name, getattr(self, name), lower=0, upper=LONGEST, unit="pixels")
        _check("expand", self.expand, lower=-FARTHEST, upper=FARTHEST, unit="pixels")
        for name in ("drop_islands", "fill_holes"):
            _check(name, getattr(self, name), lower=0, upper=math.inf, unit="square pixels")
        _check_levels(self.black, self.white)

    @classmethod
    def with_threshold(cls, threshold: float | None = None, **settings: float) -> Refinement:
        """The steps of ``settings``, with ``threshold`` for both the black and the white point; None leaves these.

        Raises:
            UsageError: a value is out of its range, or the threshold stands beside one of the two points.
        """
        if threshold is not None:
            if (settings.get("black", 0), settings.get("white", 1)) != (0, 1):
                raise UsageError("'threshold' is 'black' and 'white' in one; leave the others out")
            _check("threshold", threshold, lower=0, upper=1)
            settings |= {"black": threshold, "white": threshold}
        return cls(**settings)

    def apply(self, mask: np.ndarray, rgb: np.ndarray, times: dict[str, float] | None = None) -> np.ndarray:
        """The refined mask.

        Args:
            mask: float32 HxW in 0..1.
            rgb: uint8 HxWx3, the photo.
            times: receives the wall time of each step that is done, in milliseconds, by its name.

        Returns:
            float32 HxW in 0..1; ``mask`` itself where nothing is to be done.
        """
        from nss.masks.areas import drop_islands, fill_holes
        from nss.masks.guided import guided

        milliseconds: dict[str, float] = {} if times is None else times
        steps: tuple[tuple[str, bool, Callable[[np.ndarray], np.ndarray]], ...] = (
            ("guided", self.guided > 0, lambda m: guided(m, rgb, self.guided)),
            ("levels", (self.black, self.white) != (0, 1), lambda m: levels(m, self.black, self.white)),
            ("drop_islands", self.drop_islands > 0, lambda m: drop_islands(m, self.drop_islands)),
            ("fill_holes", self.fill_holes > 0, lambda m: fill_holes(m, self.fill_holes)),
            ("smooth", self.smooth > 0, lambda m: smooth(m, self.smooth)),
            ("expand", self.expand != 0, lambda m: expand(m, self.expand)),
            ("feather", self.feather > 0, lambda m: feather(m, self.feather)),
        )
        for name, applies, step in steps:
            if applies:
                with stage(milliseconds, name):
                    mask = step(mask)
        return mask

    @property
    def is_identity(self) -> bool:
        """Whether ``apply`` gives back the mask itself."""
        return not self.settings()

    @property
    def steps(self) -> tuple[str, ...]:
        """The steps that are done, in their order, by the names that ``apply`` times them under."""
        changed = self.settings()
        order = ("guided", "levels", "drop_islands", "fill_holes", "smooth", "expand", "feather")
        return tuple(
            name for name in order if name in changed or (name == "levels" and {"black", "white"} & set(changed))
        )

    def settings(self) -> dict[str, Any]:
        """The fields that differ from their defaults."""
        return {f.name: value for f in fields(self) if (value := getattr(self, f.name)) != f.default}


def feather(mask: np.ndarray, radius: float) -> np.ndarray:
    """Soften edges: a Gaussian blur of standard deviation ``radius``, as Pillow's ``GaussianBlur(radius)``.

    Args:
        mask: float32 HxW in 0..1.
        radius: in pixels, 0 or more.
    """
    if radius <= 0:
        return mask
    return _map(lambda window: gaussian.blur(window, radius), mask, gaussian.reach(radius), 4)


def smooth(mask: np.ndarray, radius: float) -> np.ndarray:
    """Smooth the contour at the scale of ``radius``, with its edge as soft as it was.

    The mask is blurred, and its edge made as narrow again as it had been. How wide an edge is shows in m * (1 - m),
    summed across it: for the profile of a Gaussian of width s that is s / sqrt(pi), and how jagged the contour is does
    not change it. So the sums around each place, of the mask and of the blurred one, give the ratio of the two widths.
    Straight edges keep their width from 10 to 90 % to within 5 % (a ramp of one pixel: 14 %); hard edges and steps
    get a width of about 1.3 pixels. A disc of radius R loses about radius**2 / (2 R) of it. What is finer than
    ``radius``, hair for instance, goes, and where much around is half transparent it is a blur.

    Args:
        mask: float32 HxW in 0..1.
        radius: in pixels, 0 or more.
    """
    if radius <= 0:
        return mask
    around = 3 * radius
    sharpest = SHARPEST / math.hypot(SHARPEST, radius)

    def narrow(window: np.ndarray) -> np.ndarray:
        smooth_window = gaussian.blur(window, radius)
        before, after = (gaussian.blur(x - x * x, around) for x in (window, smooth_window))
        ratio = np.divide(before, after, out=np.ones_like(before), where=after > 0)
        np.clip(ratio, sharpest, 1, out=ratio)
        # On the logistic curve widths scale by a power of the odds. The blurred profile is nearly a Gaussian, and with
        # this power the point that must come to 90 % does, to within 0.1 %.
        power = (1.0743 - 0.0743 * ratio * ratio) / ratio
        with np.errstate(divide="ignore", over="ignore", under="ignore"):
            odds = (1 - smooth_window) / smooth_window
            np.power(odds, power, out=odds)
        odds += 1
        return np.reciprocal(odds, out=odds)

    return _map(narrow, mask, gaussian.reach(radius) + gaussian.reach(around), 4)


SHARPEST = 0.29
"""Standard deviation of a ramp one pixel wide: an edge that is sharper shows steps."""


def expand(mask: np.ndarray, pixels: float) -> np.ndarray:
    """Move every contour outwards by ``pixels``, or inwards by a negative number: by a disc, not a square.

    Soft edges keep their profile, and hair becomes wider instead of being lost (see ``nss.arrays.dilation``).

    Args:
        mask: float32 HxW in 0..1.
        pixels: any number, whole or not.
    """
    if pixels == 0:
        return mask
    radius = abs(pixels)
    if pixels > 0:
        return _map(lambda window: dilation.dilate(window, radius), mask, dilation.reach(radius), 3)
    return _map(lambda window: 1 - dilation.dilate(1 - window, radius), mask, dilation.reach(radius), 3)


def _map(function: Callable[[np.ndarray], np.ndarray], mask: np.ndarray, halo: int, halos: int) -> np.ndarray:
    """``map_tiles`` with tiles as large as the halo asks for, which is computed and dropped.

    ``halos`` is how many times as wide as the halo a tile is at least: smaller tiles repeat more of each other's work,
    larger ones fit no cache and hold more that need not be looked at.
    """
    return map_tiles(function, mask, halo=halo, side=min(max(TILE, halos * halo), LARGEST_TILE))


def levels(mask: np.ndarray, black: float = 0.0, white: float = 1.0) -> np.ndarray:
    """Stretch what lies between the black and the white point to 0..1; where they are one it is a threshold.

    Args:
        mask: float32 HxW in 0..1.
        black: values up to this become 0.
        white: values from this on become 1.

    Raises:
        UsageError: they are not in order, or leave 0..1.
    """
    _check_levels(black, white)
    if (black, white) == (0, 1):
        return mask
    lower, upper = np.float32(black), np.float32(white)
    out = np.empty_like(mask)

    def work(tile: Tile) -> None:
        if lower == upper:
            out[tile.core] = mask[tile.core] >= upper
        else:
            # divided, so that the white point gives 1 to the bit
            values = (mask[tile.core] - lower) / (upper - lower)
            np.clip(values, 0, 1, out=out[tile.core])

    parallel(work, tiles((mask.shape[0], mask.shape[1])))
    return out


def _check(name: str, value: float, *, lower: float, upper: float, unit: str = "") -> None:
    check_number(name, value)
    if not lower <= value <= upper or math.isinf(value):
        span = f"from {lower:g} to {upper:g}" if math.isfinite(upper) else f"of {lower:g} or more"
        raise UsageError(f"'{name}' {value:g}: a number {f'{span} {unit}'.rstrip()} is possible")


def _check_levels(black: float, white: float) -> None:
    for name, value in (("black", black), ("white", white)):
        check_number(name, value)
    if not 0 <= black <= white <= 1:
        raise UsageError(f"'black' {black:g}, 'white' {white:g}: 0 <= black <= white <= 1 must hold")
