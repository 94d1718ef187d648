"""Numbers in 0..1 as levels of 8 or 16 bits."""

from __future__ import annotations

import numpy as np


def quantise(alpha: np.ndarray, bits: int = 8) -> np.ndarray:
    """Alpha in 0..1 as uint8 or uint16 of the same shape, rounded to nearest (ties to even)."""
    levels = alpha * np.float32(2**bits - 1)
    return np.rint(levels, out=levels).astype(np.uint8 if bits == 8 else np.uint16)
