"""Each step of the refinement does what it says, is the identity at 0, and does not depend on tiles or orientation."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from nss.arrays.gaussian import blur
from nss.errors import UsageError
from nss.masks import refine
from nss.masks.refine import Refinement, expand, feather, levels, smooth
from tests.nss.discs import edge_radii, soft_disc

Step = Callable[[np.ndarray], np.ndarray]

STEPS: dict[str, Step] = {
    "feather 2": lambda m: feather(m, 2),
    "smooth 1.5": lambda m: smooth(m, 1.5),
    "smooth 30": lambda m: smooth(m, 30),
    "expand 2.3": lambda m: expand(m, 2.3),
    "expand -2": lambda m: expand(m, -2),
    "levels": lambda m: levels(m, 0.2, 0.7),
    "threshold": lambda m: levels(m, 0.5, 0.5),
}
STEP = pytest.mark.parametrize("step", STEPS.values(), ids=list(STEPS))

MASKS = arrays(
    np.float32,
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    elements=st.one_of(st.sampled_from([0.0, 1.0]), st.floats(0, 1, width=32)),
)


@pytest.fixture
def mask() -> np.ndarray:
    """A soft disc, a hair that leaves it, a hard step, and grey noise, with much that is constant between them."""
    mask = soft_disc(300, (110.3, 120.8), 60)
    mask[100:103, 150:290] = 0.9
    mask[250:, 200:] = 1
    mask[200:230, 20:60] = np.random.default_rng(0).random((30, 40))
    return mask


@STEP
@given(mask=MASKS)
@settings(max_examples=25, deadline=None)
def test_nothing_leaves_the_range_and_the_input_stays(step: Step, mask: np.ndarray) -> None:
    before = mask.copy()
    result = step(mask)
    assert np.array_equal(mask, before)
    assert result.dtype == np.float32
    assert result.shape == mask.shape
    assert result.min() >= 0  # and so no NaN
    assert result.max() <= 1


@pytest.mark.parametrize(
    "identity",
    [lambda m: feather(m, 0), lambda m: smooth(m, 0), lambda m: expand(m, 0), levels, lambda m: levels(m, 0, 1)],
)
def test_nothing_to_do_gives_the_mask_itself(identity: Step, mask: np.ndarray) -> None:
    assert identity(mask) is mask


@STEP
def test_the_result_does_not_depend_on_tiles(step: Step, mask: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    results = []
    for side in (40, 97, 300):
        monkeypatch.setattr(refine, "TILE", side)
        monkeypatch.setattr(refine, "LARGEST_TILE", side)
        results.append(step(mask))
    assert not np.array_equal(results[0], mask)
    for result in results[1:]:
        assert np.abs(result - results[0]).max() < 1.2e-6  # measured: 1.2e-7, and 0 but for feather


@STEP
def test_the_result_does_not_depend_on_orientation(step: Step, mask: np.ndarray) -> None:
    result = step(mask)
    # Measured: 5.4e-7. An edge that 30 pixels have blurred becomes a hundred times as steep, with the rounding of
    # the blur in it: 6.1e-5.
    tolerance = 6e-4 if step is STEPS["smooth 30"] else 5e-6
    for turn in (np.flipud, np.fliplr, np.transpose, np.rot90):
        again = step(np.ascontiguousarray(turn(mask)))
        assert np.abs(turn(result) - again).max() < tolerance


@STEP
def test_what_is_constant_stays_to_the_bit(step: Step, mask: np.ndarray) -> None:
    result = step(mask)
    inside, outside = result[280:, 280:], result[280:, :20]
    if step is STEPS["smooth 30"]:  # looks farther than these places are from an edge
        return
    assert (inside == 1).all()
    assert (outside == 0).all()


def test_feather_is_the_blur_of_the_whole(mask: np.ndarray) -> None:
    for radius in (0.7, 2.0, 5.5):
        assert np.abs(feather(mask, radius) - blur(mask, radius)).max() < 2e-6  # measured: 2.4e-7


def profile(size: int, width: float, angle: float, kind: str) -> np.ndarray:
    """A straight edge through the middle of ``size`` x ``size``: a Gaussian's, of that deviation, or a ramp's."""
    y, x = np.mgrid[:size, :size] - size / 2
    distance = (x - 0.3) * math.cos(angle) + y * math.sin(angle)
    if kind == "ramp":
        return np.clip(distance / width + 0.5, 0, 1).astype(np.float32)
    erf = np.vectorize(math.erf, otypes=[np.float32])
    return 0.5 + 0.5 * erf(distance / (width * math.sqrt(2)))


def width_of(mask: np.ndarray, angle: float) -> float:
    """From 10 to 90 % along a line through the middle, across an edge at that angle."""
    along = np.arange(-len(mask) / 2 + 2, len(mask) / 2 - 2, 0.05)
    y, x = len(mask) / 2 + along * math.sin(angle), len(mask) / 2 + along * math.cos(angle)
    top, left = y.astype(int), x.astype(int)
    down, right = y - top, x - left
    upper = mask[top, left] * (1 - right) + mask[top, left + 1] * right
    lower = mask[top + 1, left] * (1 - right) + mask[top + 1, left + 1] * right
    values = upper * (1 - down) + lower * down
    low, high = np.interp([0.1, 0.9], values, along)
    return float(high - low)


@pytest.mark.parametrize("radius", [1.0, 3.0, 8.0])
@pytest.mark.parametrize("angle", [0.0, 0.5])
@pytest.mark.parametrize(
    ("kind", "width"),
    [("gaussian", 0.5), ("gaussian", 2), ("gaussian", 5), ("gaussian", 20), ("ramp", 3), ("ramp", 10)],
)
def test_smooth_keeps_the_width_of_straight_edges(radius: float, angle: float, kind: str, width: float) -> None:
    edge = profile(160, width, angle, kind)
    before, after = width_of(edge, angle), width_of(smooth(edge, radius), angle)
    assert abs(after / before - 1) < 0.06  # measured: 0.05; a blur of 3 would make 0.5 six times as wide


@pytest.mark.parametrize("softness", [0.05, 1.5])
@pytest.mark.parametrize(("radius", "remainder"), [(1.0, 0.65), (3.0, 0.4), (5.0, 0.33)])
def test_smooth_evens_out_a_jagged_contour(softness: float, radius: float, remainder: float) -> None:
    rows = np.random.default_rng(0).normal(0, 1, 200)
    columns = np.arange(100)
    jagged = np.clip((columns - 50 - rows[:, None]) / (4 * softness) + 0.5, 0, 1).astype(np.float32)
    even = smooth(jagged, radius)

    def roughness(mask: np.ndarray) -> float:
        return float(mask.sum(axis=1)[30:-30].std())

    def width(mask: np.ndarray) -> float:
        return float(np.mean([np.subtract(*np.interp([0.9, 0.1], row, columns)) for row in mask[30:-30]]))

    assert roughness(even) < remainder * roughness(jagged)
    # a blur of 1, 3 and 5 gives edges 3.6, 8 and 13 wide
    assert width(even) < (1.8 if softness < 1 else 1.08 * width(jagged))


def test_smooth_makes_a_disc_smaller_by_its_curvature() -> None:
    centre = (70.4, 69.7)
    disc = soft_disc(140, centre, 50)
    for radius in (1.0, 3.0, 5.0):
        shrinkage = edge_radii(disc, centre) - edge_radii(smooth(disc, radius), centre)
        assert abs(shrinkage.mean() - radius**2 / 100) < 0.02  # measured: 0.003
        assert np.ptp(shrinkage) < 0.1


def test_smooth_leaves_what_is_half_transparent() -> None:
    glass = np.full((90, 90), 0.3, np.float32)
    glass[:, 60:] = 0.4
    # beyond the blur itself
    assert np.abs(smooth(glass, 3)[:, :48] - 0.3).max() < 1e-3  # measured: 2.1e-4
    assert np.abs(smooth(glass, 3)[:, 72:] - 0.4).max() < 1e-3
    glass[:, 60:] = 0
    assert np.abs(smooth(glass, 3) - blur(glass, 3)).max() < 0.02  # near glass it is a blur


@given(pixels=st.floats(-12, 12))
@settings(max_examples=12, deadline=None)
def test_expand_moves_the_edge_both_ways(pixels: float) -> None:
    centre = (64.2, 63.6)
    disc = soft_disc(128, centre, 36)
    result = expand(disc, pixels)
    assert np.abs(edge_radii(result, centre) - edge_radii(disc, centre) - pixels).max() < 0.1
    # what contracts is the dual of what expands
    assert np.abs(1 - expand(1 - disc, -pixels) - result).max() < 1e-6


def test_levels() -> None:
    mask = np.array([[0, 0.1, 0.2, 0.45, 0.7, 0.9, 1]], np.float32)
    assert np.allclose(levels(mask, 0.2, 0.7), [[0, 0, 0, 0.5, 1, 1, 1]], atol=1e-6)
    assert levels(mask, 0.2, 0.7)[0, 4] == 1  # the white point to the bit
    assert levels(mask, 0.45, 0.45).tolist() == [[0, 0, 0, 1, 1, 1, 1]]
    assert levels(mask, 1, 1).tolist() == [[0, 0, 0, 0, 0, 0, 1]]
    assert levels(mask, 0, 0).all()


@pytest.mark.parametrize(("black", "white"), [(0.6, 0.5), (-0.1, 1), (0, 1.1), (math.nan, 1), (0, math.nan)])
def test_levels_out_of_order(black: float, white: float) -> None:
    with pytest.raises(UsageError, match="black <= white"):
        levels(np.zeros((2, 2), np.float32), black, white)
    with pytest.raises(UsageError, match="black <= white"):
        Refinement(black=black, white=white)


@pytest.mark.parametrize("name", [field.name for field in fields(Refinement) if field.name not in ("black", "white")])
@pytest.mark.parametrize("value", [-1001.0, 1001.0, math.inf, math.nan])
def test_values_out_of_range(name: str, value: float) -> None:
    if name in ("drop_islands", "fill_holes") and value == 1001:
        assert getattr(Refinement(**{name: value}), name) == value
        return
    with pytest.raises(UsageError, match=f"^'{name}' "):
        Refinement(**{name: value})


def test_the_steps_run_in_their_order(mask: np.ndarray) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*mask.shape, 3), np.uint8)
    refinement = Refinement(black=0.1, white=0.9, smooth=1, expand=-1.5, feather=0.8)
    times: dict[str, float] = {}
    result = refinement.apply(mask, rgb, times)
    assert list(times) == ["levels", "smooth", "expand", "feather"]
    assert min(times.values()) > 0
    assert np.array_equal(result, feather(expand(smooth(levels(mask, 0.1, 0.9), 1), -1.5), 0.8))


def test_every_step_is_reached(mask: np.ndarray) -> None:
    rgb = np.random.default_rng(1).integers(0, 256, (*mask.shape, 3), np.uint8)
    every = Refinement(
        guided=4, black=0.1, white=0.9, drop_islands=30, fill_holes=30, smooth=1, expand=1, feather=1
    )  # fmt: skip
    times: dict[str, float] = {}
    result = every.apply(mask, rgb, times)
    assert list(times) == ["guided", "levels", "drop_islands", "fill_holes", "smooth", "expand", "feather"]
    assert 0 <= result.min() <= result.max() <= 1


def test_settings_are_what_differs(mask: np.ndarray) -> None:
    nothing = Refinement()
    assert nothing.is_identity
    assert nothing.settings() == {}
    times: dict[str, float] = {}
    assert nothing.apply(mask, np.zeros((*mask.shape, 3), np.uint8), times) is mask
    assert times == {}
    some = Refinement(white=0.9, expand=-2)
    assert not some.is_identity
    assert some.settings() == {"white": 0.9, "expand": -2}
    assert Refinement(**some.settings()) == some


def test_a_threshold_is_both_points_in_one() -> None:
    assert Refinement.with_threshold(0.4, black=0, white=1.0, smooth=2) == Refinement(black=0.4, white=0.4, smooth=2)
    assert Refinement.with_threshold(None, black=0.1) == Refinement(black=0.1)
    assert Refinement.with_threshold() == Refinement()
    for settings_ in ({"black": 0.1}, {"white": 0.9}):
        with pytest.raises(UsageError, match=r"^'threshold' is 'black' and 'white' in one; leave the others out$"):
            Refinement.with_threshold(0.4, **settings_)
    for value in (-7, 1.5, math.nan):
        with pytest.raises(UsageError, match=f"'threshold' {value:g}: a number from 0 to 1 is possible"):
            Refinement.with_threshold(value)
