"""The filters that a photo may be resampled with."""

from __future__ import annotations

from typing import Literal

Filter = Literal["nearest", "bilinear", "bilinear-antialias", "bicubic-antialias", "lanczos-antialias"]
"""Which pixels of the input count for one of the output, and how much: see `nss.arrays.resample`."""
