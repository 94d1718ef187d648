"""The contact sheet shows what it says, where it says it."""

from __future__ import annotations

import numpy as np
import pytest

from nss.cutouts.compose import Cutout
from nss.cutouts.preview import COLUMNS, LABEL, MARGIN, sheet
from nss.cutouts.run_info import RunInfo
from nss.masks.photo_mask import PhotoMask


@pytest.mark.parametrize("longest", [40, 80, 640])
def test_five_pictures(longest: int) -> None:
    rgb = np.full((60, 80, 3), (200, 30, 40), np.uint8)
    mask = np.zeros((60, 80), np.float32)
    mask[:, 40:] = 1
    info = RunInfo("m", "0" * 64, "numpy", "cpu")
    cutout = Cutout(PhotoMask.of_array(mask), rgb, own_alpha=None, icc=None, path=None, notes=(), info=info)
    picture = sheet(cutout, longest)
    pixels = picture.picture.pixels
    height, width = (60, 80) if longest >= 80 else (30, 40)
    assert pixels.shape == (2 * (height + LABEL + MARGIN) + MARGIN, COLUMNS * (width + MARGIN) + MARGIN, 3)

    def halves(number: int) -> tuple[np.ndarray, np.ndarray]:
        row, column = divmod(number, COLUMNS)
        top, left = MARGIN + row * (height + LABEL + MARGIN) + LABEL, MARGIN + column * (width + MARGIN)
        panel = pixels[top : top + height, left : left + width]
        return panel[:, : width // 2 - 1], panel[:, width // 2 + 1 :]

    for number, (background, subject) in enumerate(
        [
            ((200, 30, 40), (200, 30, 40)),
            (0, 255),
            (None, (200, 30, 40)),
            (0, (200, 30, 40)),
            (255, (200, 30, 40)),
        ]
    ):
        left, right = halves(number)
        assert (right == subject).all(), number
        if background is None:
            assert set(np.unique(left)) == {205, 255}
        else:
            assert (left == background).all(), number
