"""A dilation moves every edge by the radius, whatever its direction, and invents nothing."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nss.arrays.dilation import dilate, reach
from tests.nss.discs import edge_radii, hard_disc, sector_radii, soft_disc

MASKS = arrays(
    np.float32,
    st.tuples(st.integers(1, 30), st.integers(1, 30)),
    elements=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32)),
)
RADII = st.one_of(st.floats(0, 3), st.floats(3, 25), st.integers(0, 12).map(float))


@pytest.mark.parametrize("radius", [1.0, 2.0, 2.5, 5.0, 9.0])
def test_it_holds_every_pixel_of_the_disc(radius: float) -> None:
    rng = np.random.default_rng(0)
    mask = (rng.random((40, 50)) > 0.99) * rng.random((40, 50), np.float32)
    y, x = np.mgrid[-10:11, -10:11]
    # the disc less what is allowed for hard edges off the axes
    inside = (np.hypot(y, x) <= radius - 0.04) | ((np.minimum(abs(y), abs(x)) == 0) & (np.hypot(y, x) <= radius))
    padded = np.pad(mask, 10)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (21, 21))
    largest = np.where(inside, windows, 0).max(axis=(2, 3))
    dilated = dilate(mask.astype(np.float32), radius)
    assert (dilated >= largest.astype(np.float32)).all()
    # and nothing from beyond the rim and the pixels that the surface hangs on
    beyond = np.where(np.hypot(y, x) < radius + 1.5, windows, 0).max(axis=(2, 3))
    assert (dilated <= beyond.astype(np.float32)).all()


@given(radius=st.floats(0.1, 20), down=st.floats(-0.5, 0.5), right=st.floats(-0.5, 0.5))
@settings(max_examples=25, deadline=None)
def test_an_edge_moves_by_the_radius_at_any_angle(radius: float, down: float, right: float) -> None:
    centre = (64 + down, 64 + right)
    disc = soft_disc(130, centre, 36)
    before = edge_radii(disc, centre)
    wider = dilate(disc, radius)
    narrower = 1 - dilate(1 - disc, radius)
    back = 1 - dilate(1 - wider, radius)
    # measured: from -0.07 to 0.02
    assert np.abs(edge_radii(wider, centre) - before - radius).max() < 0.1
    assert np.abs(edge_radii(narrower, centre) - before + radius).max() < 0.1
    assert np.abs(edge_radii(back, centre) - before).max() < 0.1


@pytest.mark.parametrize("radius", [0.1, 0.5, 1.0, 2.0, 3.3, 5.0, 10.0, 20.0])
def test_a_hard_edge_moves_by_the_radius_too(radius: float) -> None:
    centre = (84.6, 85.3)
    disc = hard_disc(170, centre, 60)
    before = sector_radii(disc, centre)
    back = 1 - dilate(1 - dilate(disc, radius), radius)
    assert np.abs(sector_radii(dilate(disc, radius), centre) - before - radius).max() < 0.1
    assert np.abs(sector_radii(back, centre) - before).max() < 0.1
    # the sharper the curve, the more of a hard edge lies on the rim at once: 0.116 at 20 pixels, below 0.1 to 15
    contracted = sector_radii(1 - dilate(1 - disc, radius), centre) - before + radius
    assert np.abs(contracted).max() < (0.1 if radius <= 15 else 0.12)


def test_a_straight_edge_on_an_axis_moves_exactly() -> None:
    edge = np.zeros((40, 60), np.float32)
    edge[:, 20] = 0.25
    edge[:, 21:] = 1
    for mask, axis in ((edge, 1), (edge.T, 0)):
        for radius in (0.5, 1.0, 2.75, 7.0):
            shift = dilate(mask, radius).sum(axis=axis) - mask.sum(axis=axis)
            assert np.allclose(shift, radius, atol=1e-5)


def test_a_hair_becomes_wider_by_the_radius_on_both_sides() -> None:
    for axis in (0, 1):
        hair = np.zeros((41, 41), np.float32)
        hair.swapaxes(0, axis)[20] = 0.8
        wide = dilate(hair, 3).swapaxes(0, axis)
        assert (wide[17:24] == np.float32(0.8)).all()
        assert wide[:17].max() == wide[24:].max() == 0
    slanted = np.clip(1 - np.abs(np.add.outer(np.arange(60), -np.arange(60))) / np.sqrt(2), 0, 1).astype(np.float32)
    # a row crosses it at 45 degrees
    growth = (dilate(slanted, 3)[30].sum() - slanted[30].sum()) / np.sqrt(2)
    assert abs(growth - 6) < 0.3


@given(mask=MASKS, radius=RADII)
@settings(max_examples=80, deadline=None)
def test_it_raises_within_the_range_and_mirrors_agree(mask: np.ndarray, radius: float) -> None:
    before = mask.copy()
    dilated = dilate(mask, radius)
    assert np.array_equal(mask, before)
    assert dilated.dtype == np.float32
    assert (dilated >= mask).all()
    assert dilated.max() <= mask.max()
    assert np.array_equal(dilate(np.full_like(mask, mask[0, 0]), radius), np.full_like(mask, mask[0, 0]))
    for turn in (np.flipud, np.fliplr):
        assert np.array_equal(turn(dilated), dilate(turn(mask), radius))
    assert np.abs(dilated.T - dilate(mask.T, radius)).max() < 1e-6


@given(first=st.floats(0, 20), more=st.floats(0, 5))
@settings(max_examples=25, deadline=None)
def test_a_larger_radius_gives_no_less(first: float, more: float) -> None:
    disc = soft_disc(90, (44.3, 45.1), 20)
    # between two points of the rim the surface is not looked at: an edge may be 0.03 pixels behind, 0.013 of this slope
    assert (dilate(disc, first + more) - dilate(disc, first)).min() > -0.013


def test_zero_changes_nothing_and_looks_nowhere() -> None:
    mask = np.random.default_rng(1).random((20, 30), np.float32)
    assert np.array_equal(dilate(mask, 0), mask)
    assert (reach(0), reach(0.1), reach(3), reach(3.2)) == (0, 1, 3, 4)
