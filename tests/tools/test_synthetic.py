"""The synthetic set: the same every time, exact, and degraded as promised."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.project import ROOT
from tools import synthetic

SMALL = (96, 144)


def digests(folder: Path) -> dict[str, str]:
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_two_runs_are_the_same_to_the_bit(tmp_path: Path) -> None:
    # one of them in a process of its own, by the command line
    names = synthetic.write(tmp_path / "a", seed=3, count=2, size=SMALL)
    command = [sys.executable, "tools/synthetic.py", tmp_path / "b", "--seed", "3", "--count", "2", "--size", "144x96"]
    subprocess.run(command, check=True, cwd=ROOT, stdout=subprocess.DEVNULL)
    first = digests(tmp_path / "a")
    assert first == digests(tmp_path / "b")
    assert list(first) == sorted(
        f"{folder}/{name}{ending}.png"
        for name in names
        for folder, ending in (
            ("photos", ""),
            ("truth", ""),
            ("truth", ".foreground"),
            ("masks-320", ""),
            ("masks-1024", ""),
        )
    )
    assert digests(tmp_path / "a") != digests_of_seed(tmp_path / "c", 4)


def digests_of_seed(folder: Path, seed: int) -> dict[str, str]:
    synthetic.write(folder, seed=seed, count=2, size=SMALL)
    return digests(folder)


@pytest.mark.parametrize("index", range(5))
def test_a_photo_is_its_parts_within_rounding(index: int) -> None:
    item = synthetic.sample(index, size=SMALL)
    share = item.alpha[..., None] / 65535
    whole = share * item.foreground + (1 - share) * item.background
    # a tie may go either way, by the last bit of the sum
    assert np.abs(item.photo - whole).max() <= 0.5 + 1e-9
    assert len(np.unique(item.alpha)) > 20, "no soft pixels"
    assert (item.alpha == 0).any()
    assert (item.alpha == 65535).any()


def test_files_hold_what_was_made(tmp_path: Path) -> None:
    (name,) = synthetic.write(tmp_path, count=1, size=SMALL)
    item = synthetic.sample(0, size=SMALL)
    for file, pixels in (
        (f"photos/{name}.png", item.photo),
        (f"truth/{name}.png", item.alpha),
        (f"truth/{name}.foreground.png", item.foreground),
    ):
        assert np.array_equal(np.asarray(Image.open(tmp_path / file)), pixels)


def test_the_set_has_every_shape_and_background_and_then_other_pairs() -> None:
    shapes, kinds = list(synthetic.SHAPES), synthetic.BACKGROUNDS
    names = [synthetic.named(index) for index in range(25)]
    assert {name.split("-", 2)[1] for name in names[:5]} == set(shapes)
    assert {name.split("-", 2)[2] for name in names[:5]} == set(kinds)
    assert len({name.split("-", 1)[1] for name in names}) == 25


def test_coverage_of_a_disc_is_that_of_the_circle() -> None:
    canvas = synthetic.Canvas((64, 64))
    canvas.disc(31.3, 33.6, 20.2)
    coverage = canvas.coverage()
    # at eight samples a pixel an edge is off by a sixteenth at most: 2 pi r / 16 = 7.9 square pixels
    assert coverage.sum() == pytest.approx(np.pi * 20.2**2, abs=7.9)
    rows, columns = np.indices((64, 64)) + 0.5
    assert (coverage * (columns - 31.3)).sum() / coverage.sum() == pytest.approx(0, abs=0.1)
    assert (coverage * (rows - 33.6)).sum() / coverage.sum() == pytest.approx(0, abs=0.1)
    assert set(np.unique(coverage * 64) % 1) == {0}


def test_thin_strokes_cover_parts_of_pixels() -> None:
    canvas = synthetic.Canvas((20, 60))
    canvas.stroke(np.array([[5.0, 10.1], [55.0, 10.1]]), np.array([0.5, 0.5]))
    across = canvas.coverage()[:, 20:40].sum(axis=0)
    assert np.abs(across - 0.5).max() <= 1 / 8


@pytest.mark.parametrize("side", [64, 160])
def test_a_degraded_mask_is_soft_specked_and_still_the_subject(side: int) -> None:
    item = synthetic.sample(1, size=(192, 288))
    mask = synthetic.degrade(item.alpha, side, np.random.default_rng(1))
    truth = item.alpha / 65535
    assert mask.dtype == np.float32
    assert mask.shape == truth.shape
    assert mask.min() >= 0
    assert mask.max() <= 1
    assert np.abs(mask - truth).mean() < 0.1
    assert ((mask > 0.2) & (truth == 0)).any(), "no speck"
    assert ((mask < 0.8) & (truth == 1)).any(), "no pinhole"
    assert len(np.unique(mask)) > 3000, "rounded to steps"
    again = synthetic.degrade(item.alpha, side, np.random.default_rng(1))
    assert np.array_equal(mask, again)


def test_a_network_blurs_and_moves_an_edge() -> None:
    alpha = np.zeros((64, 64), np.uint16)
    alpha[:, 32:] = 65535
    mask = synthetic.degrade(alpha, 64, np.random.default_rng(0))
    across = np.median(mask, axis=0)
    assert across[31] == pytest.approx(0.25, abs=0.1)
    assert across[32] == pytest.approx(0.75, abs=0.1)
    assert 0.02 < mask[:, 31].std() < 0.2


def test_specks_stand_where_nothing_was() -> None:
    mask = np.zeros((40, 60))
    mask[:, 30:] = 0.25
    before = mask.copy()
    specked = synthetic.specked(mask, np.random.default_rng(0), 5)
    assert np.array_equal(mask, before)
    assert (specked >= mask).all()
    assert (specked[:, :30] >= 0.5).sum() >= 5
    assert np.array_equal(specked[:, 33:], mask[:, 33:])
    full = np.ones((3, 3))
    assert np.array_equal(synthetic.specked(full, np.random.default_rng(0), 5), full)


def test_a_speck_is_a_disc_cut_at_the_border() -> None:
    mask = np.zeros((30, 30))
    synthetic.speck(mask, np.array([15, 14]), 6, 0.5)
    assert mask.sum() == pytest.approx(0.5 * np.pi * 36, rel=0.02)
    assert mask[15, 14] == mask[15, 19] == 0.5
    assert mask[15, 21] == 0
    corner = np.zeros((30, 30))
    synthetic.speck(corner, np.array([0, 29]), 6)
    assert np.array_equal(corner[:7, 23:], 2 * mask[15:22, 8:15])


def test_a_coarser_network_is_farther_off() -> None:
    item = synthetic.sample(1, size=(192, 288))
    truth = item.alpha / 65535
    coarse, fine = (
        np.abs(synthetic.degrade(item.alpha, side, np.random.default_rng(1)) - truth).mean() for side in (48, 192)
    )
    assert fine < coarse / 2


@pytest.mark.parametrize("text", ["10", "axb", "0x4", "3x4x5"])
def test_a_size_that_is_none(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - argparse makes its own text of it
        synthetic.dimensions(text)
