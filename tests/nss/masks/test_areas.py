"""Islands and holes against a flood fill, the properties of an opening, and the shapes that are hard to label."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nss.arrays import components
from nss.masks import areas
from nss.masks.areas import LEVELS, drop_islands, fill_holes

Refine = Callable[[np.ndarray, float], np.ndarray]
BOTH = pytest.mark.parametrize("refine", [drop_islands, fill_holes])
SHADES = np.concatenate(([0], LEVELS, [0.6, 0.9, 1])).astype(np.float32)
FOUR_CONNECTED = [(0, 1), (0, -1), (1, 0), (-1, 0)]
EIGHT_CONNECTED = [step for step in product((-1, 0, 1), repeat=2) if step != (0, 0)]
SYMMETRIES = [lambda x, k=k, f=f: np.rot90(x[:, ::-1] if f else x, k) for k in range(4) for f in (False, True)]


def flood(inside: np.ndarray, steps: list[tuple[int, int]]) -> list[list[tuple[int, int]]]:
    """The connected parts of ``inside``, by the neighbourhood ``steps``, by walking from pixel to pixel."""
    remaining = set(map(tuple, np.argwhere(inside).tolist()))
    parts = []
    while remaining:
        part = [remaining.pop()]
        for y, x in part:
            for step in steps:
                near = (y + step[0], x + step[1])
                if near in remaining:
                    remaining.remove(near)
                    part.append(near)
        parts.append(part)
    return parts


def without_islands(mask: np.ndarray, area: float) -> np.ndarray:
    out = mask.copy()
    for level in LEVELS:
        for part in flood(mask >= level, EIGHT_CONNECTED):
            if len(part) < area:
                for pixel in part:
                    out[pixel] = min(out[pixel], 0 if level == LEVELS[0] else level)
    return out


def without_holes(mask: np.ndarray, area: float) -> np.ndarray:
    out = mask.copy()
    end = np.array(mask.shape) - 1
    for level in LEVELS:
        for part in flood(1 - mask >= level, FOUR_CONNECTED):
            inner = all(0 < y < end[0] and 0 < x < end[1] for y, x in part)
            if inner and len(part) < area:
                for pixel in part:
                    out[pixel] = max(out[pixel], 1 if level == LEVELS[0] else 1 - level)
    return out


@st.composite
def masks(draw: st.DrawFn, kind: str = "any") -> np.ndarray:
    """Small masks of noise; two shades make parts of every form, many make rims and plateaus."""
    size = draw(st.integers(1, 14)), draw(st.integers(1, 14))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    kind = draw(st.sampled_from(["binary", "shades", "float"])) if kind == "any" else kind
    if kind == "binary":
        return (rng.random(size) < draw(st.floats(0.2, 0.8))).astype(np.float32)
    if kind == "shades":
        return SHADES[rng.integers(0, SHADES.size, size)]
    return rng.random(size, dtype=np.float32) ** np.float32(draw(st.sampled_from([0.3, 1, 4])))


AREAS = st.sampled_from([0, 0.5, 1, 1.5, 2, 3, 5, 9, 20, 200])


@settings(max_examples=300, deadline=None, derandomize=True)
@given(masks(), AREAS)
def test_both_are_what_a_flood_fill_gives(mask: np.ndarray, area: float) -> None:
    before = mask.copy()
    assert np.array_equal(drop_islands(mask, area), without_islands(mask, area))
    assert np.array_equal(fill_holes(mask, area), without_holes(mask, area))
    assert np.array_equal(mask, before)


@BOTH
@settings(max_examples=150, deadline=None, derandomize=True)
@given(mask=masks(), area=AREAS)
def test_a_second_time_changes_nothing(refine: Refine, mask: np.ndarray, area: float) -> None:
    once = refine(mask, area)
    assert np.array_equal(refine(once, area), once)


@BOTH
@settings(max_examples=200, deadline=None, derandomize=True)
@given(mask=masks("shades"), less=st.integers(0, 2**32), area=AREAS)
def test_more_stays_more(refine: Refine, mask: np.ndarray, less: int, area: float) -> None:
    drop = np.random.default_rng(less).integers(0, 4, mask.shape) == 0
    below = np.where(drop, np.minimum(mask, np.float32(0.25)), mask)
    assert (refine(below, area) <= refine(mask, area)).all()


@settings(max_examples=150, deadline=None, derandomize=True)
@given(masks(), AREAS)
def test_islands_only_lower_and_holes_only_raise(mask: np.ndarray, area: float) -> None:
    dropped, result = drop_islands(mask, area), fill_holes(mask, area)
    assert ((dropped <= mask) & (dropped >= 0)).all()
    assert ((result >= mask) & (result <= 1)).all()
    assert dropped.dtype == result.dtype == np.float32


@BOTH
@settings(max_examples=60, deadline=None, derandomize=True)
@given(mask=masks(), area=AREAS)
def test_turned_and_mirrored_alike(refine: Refine, mask: np.ndarray, area: float) -> None:
    expected = refine(mask, area)
    for turn in SYMMETRIES:
        assert np.array_equal(refine(turn(mask), area), turn(expected))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(masks("shades"))
def test_an_area_above_all_leaves_nothing(mask: np.ndarray) -> None:
    assert not drop_islands(mask, mask.size + 1).any()


@BOTH
def test_nothing_smaller_is_identity(refine: Refine) -> None:
    mask = np.zeros((40, 50), np.float32)
    mask[10:30, 10:40] = 0.7
    mask[15:20, 15:20] = 0
    mask[2:7, 2:7] = 1
    for area in (0, 1, 25):
        assert refine(mask, area) is mask
    assert np.count_nonzero(refine(mask, 26) != mask) == 25


def soft_spot(size: int, centre: tuple[float, float], radius: float) -> np.ndarray:
    y, x = np.mgrid[:size, :size]
    distance = np.hypot(y - centre[0], x - centre[1])
    return np.clip(0.5 + (radius - distance) / 3, 0, 1).astype(np.float32)


def test_the_soft_rim_goes_with_its_island_and_nothing_else_changes() -> None:
    subject, speck = soft_spot(120, (60, 50), 30), soft_spot(120, (60, 105), 5)
    assert np.array_equal(drop_islands(np.maximum(subject, speck), 200), subject)
    pinhole = soft_spot(120, (60, 50), 4)
    assert np.array_equal(fill_holes(np.minimum(subject, 1 - pinhole), 200), subject)


def test_what_stands_on_glass_falls_to_the_glass() -> None:
    glass = np.full((60, 60), 0.3, np.float32)
    out = drop_islands(np.maximum(glass, soft_spot(60, (30, 30), 4)), 200)
    assert (out >= glass).all()
    assert out.max() < 0.3 + 1 / 16  # less than a step above it


def test_a_hole_at_the_border_is_background_and_an_island_there_an_island() -> None:
    for border in [(0, 20), (39, 20), (20, 0), (20, 39)]:
        mask = np.ones((40, 40), np.float32)
        mask[border] = 0
        assert fill_holes(mask, 100) is mask
        assert not drop_islands(1 - mask, 100).any()


def test_corners_join_an_island_and_close_a_hole() -> None:
    diagonal = np.eye(9, dtype=np.float32)
    assert drop_islands(diagonal, 9) is diagonal
    assert not drop_islands(diagonal, 10).any()
    y, x = np.mgrid[-5:6, -5:6]
    ring = (np.abs(y) + np.abs(x) == 4).astype(np.float32)  # touches itself at corners alone
    result = fill_holes(ring, 100)
    assert np.array_equal(result == 1, np.abs(y) + np.abs(x) <= 4)


def spiral(side: int) -> np.ndarray:
    """A path one pixel wide that winds inwards with a gap of one pixel."""
    out = np.zeros((side, side), np.float32)
    low, high = 0, side - 1
    out[0, :] = 1
    while high - low >= 2:
        out[low:, high][: high - low + 1] = 1
        out[high, low : high + 1] = 1
        out[low + 2 : high + 1, low] = 1
        out[low + 2, low : high - 1] = 1
        low, high = low + 2, high - 2
    return out


def comb(side: int) -> np.ndarray:
    """Teeth that hang together at the far end alone, where labels from the near end come together."""
    out = np.zeros((side, side), np.float32)
    out[:, ::2] = 1
    out[-1, :] = 1
    return out


def zigzag(side: int) -> np.ndarray:
    """Teeth joined at the top and at the bottom by turns: one path through all of them, across the rows."""
    out = np.zeros((side, side), np.float32)
    out[:, ::2] = 1
    out[-1, 1::4] = 1
    out[0, 3::4] = 1
    return out


@pytest.mark.parametrize("shape", [spiral, comb, zigzag])
@pytest.mark.parametrize("turn", SYMMETRIES)
def test_paths_that_wind_are_one_part(
    shape: Callable[[int], np.ndarray], turn: Callable[[np.ndarray], np.ndarray]
) -> None:
    mask = turn(shape(201))
    length = int(mask.sum())
    assert drop_islands(mask, length) is mask
    assert not drop_islands(mask, length + 1).any()
    padded = np.pad(1 - mask, 1, constant_values=1)
    result = fill_holes(padded, length)
    assert np.array_equal(result[1:-1, 1:-1][mask == 1], 1 - mask[mask == 1])
    assert (fill_holes(padded, length + 1) == 1).all()


def test_labels_meet_in_few_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A path whose neighbours are in the worst order, a tournament's, still comes together in about log2 rounds."""
    rounds = 0
    roots = components._roots

    def count_calls(parent: np.ndarray) -> np.ndarray:
        nonlocal rounds
        rounds += 1
        return roots(parent)

    monkeypatch.setattr(components, "_roots", count_calls)
    count = 1 << 14
    for order in (np.arange(count), np.random.default_rng(0).permutation(count), bit_reversed(count)):
        rounds = 0
        label = components._unite(np.arange(count), order[:-1], order[1:])
        assert not label.any()
        assert rounds <= 2 * 14


def bit_reversed(count: int) -> np.ndarray:
    order = np.zeros(1, int)
    while order.size < count:
        order = np.concatenate((2 * order, 2 * order + 1))
    return order


def test_bands_are_joined(monkeypatch: pytest.MonkeyPatch) -> None:
    mask = np.random.default_rng(1).random((90, 70), dtype=np.float32)
    expected = [refine(mask, 12) for refine in (drop_islands, fill_holes)]
    monkeypatch.setattr(areas, "_BAND", 1)
    for refine, whole in zip((drop_islands, fill_holes), expected, strict=True):
        assert np.array_equal(refine(mask, 12), whole)
        assert not np.array_equal(whole, mask)


@BOTH
def test_an_empty_mask_comes_back(refine: Refine) -> None:
    empty = np.zeros((0, 5), np.float32)
    assert refine(empty, 9) is empty
