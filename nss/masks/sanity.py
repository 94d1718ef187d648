"""What a mask says of its photo as a whole: nothing was found in it, or the network could make nothing of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from nss.errors import ImageError

if TYPE_CHECKING:
    from nss.masks.photo_mask import PhotoMask

THRESHOLD = 0.5
"""The least maximum of a mask in which something is found.

With U²-Netp on 600 x 400 pixels: at most 0.06 on one colour, noise and gradients, 0.26 on clouds of colour, and at
least 0.7 for a person of 16 pixels, 0.9 for a dot of 10.
"""

SLACK = 0.01
"""How far a mask may leave 0..1 by rounding; what goes further is no mask."""

NOTHING = "nothing was found in this photo"
"""How the note on such a mask begins."""

_ONE_LEVEL = 0.5 / 255
"""What the values of a mask must differ by to differ in a file of 8 bits."""


def check_numbers(output: np.ndarray, name: str) -> None:
    """Raise ImageError where a network's output for the photo ``name`` holds NaN or infinite values."""
    if not np.isfinite(output).all():
        raise ImageError(
            f"{name}: the network gave NaN or infinite values for this photo; a photo of one colour can do that"
        )


def check_structure(mask: np.ndarray, name: str) -> None:
    """Raise ImageError where the mask of the photo ``name``, HxW, is of one value between 0 and 1.

    One that is 0 or 1 throughout is a mask: it says nothing, or all.
    """
    minimum, maximum = float(mask.min()), float(mask.max())
    if maximum - minimum < _ONE_LEVEL and maximum > _ONE_LEVEL and minimum < 1 - _ONE_LEVEL:
        raise ImageError(f"{name}: the network found no structure in this photo: its mask is {maximum:.3g} everywhere")


def nothing_found(mask: PhotoMask, own_alpha: np.ndarray | None) -> str | None:
    """The note on a mask in which nothing is found, before it was stretched; None where something is.

    Args:
        mask: the photo's.
        own_alpha: the photo's own alpha, uint8 HxW, or None; what it hides cannot be found.
    """
    if own_alpha is None or own_alpha.all():
        if mask.surely_reaches(THRESHOLD):
            return None
        largest = mask.largest()
    elif not own_alpha.any():
        return f"{NOTHING}: it is wholly transparent"
    else:
        largest = mask.largest(own_alpha)
    return None if largest >= THRESHOLD else f"{NOTHING}: the largest mask value is {largest:.3f}"
