"""Straight alpha, rounded once, with the photo's own alpha in it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from nss.compose import Cutout, RunInfo
from nss.errors import UsageError


def cutout(mask: np.ndarray, rgb: np.ndarray, own: np.ndarray | None = None, path: Path | None = None) -> Cutout:
    return Cutout(mask.astype(np.float32), rgb, own, None, path, (), RunInfo("m", "0" * 64, "numpy", "cpu"))


def test_rgb_is_untouched_and_alpha_is_the_rounded_mask(rgb: np.ndarray) -> None:
    mask = np.random.default_rng(0).random(rgb.shape[:2])
    mask[0, :5] = [0, 1, 0.5, 0.4 / 255, 0.6 / 255]
    rgba = cutout(mask, rgb).rgba
    assert rgba.dtype == np.uint8
    assert np.array_equal(rgba[..., :3], rgb)
    assert np.array_equal(rgba[..., 3], np.rint(mask.astype(np.float32) * 255))
    assert rgba[0, :5, 3].tolist() == [0, 255, 128, 0, 1]


def test_own_alpha_is_multiplied() -> None:
    mask = np.array([[1, 0.5, 0.5, 0]])
    own = np.array([[200, 255, 101, 255]], np.uint8)
    assert cutout(mask, np.zeros((1, 4, 3), np.uint8), own).rgba[0, :, 3].tolist() == [200, 128, 50, 0]


def test_save_writes_the_rgba_and_times_it(rgb: np.ndarray, tmp_path: Path) -> None:
    made = cutout(np.full(rgb.shape[:2], 0.5), rgb)
    assert made.save(tmp_path / "out.png") == tmp_path / "out.png"
    assert np.array_equal(np.asarray(Image.open(tmp_path / "out.png")), made.rgba)
    assert made.info.milliseconds["encode"] > 0


def test_save_never_overwrites_the_photo(rgb: np.ndarray, photo: Path) -> None:
    before = photo.read_bytes()
    with pytest.raises(UsageError, match="is the input itself"):
        cutout(np.ones(rgb.shape[:2]), rgb, path=photo).save(photo, overwrite=True)
    assert photo.read_bytes() == before
