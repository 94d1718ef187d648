"""The measures: salient object detection against pysodmetrics, matting against slow code from the definitions."""

from __future__ import annotations

from collections import deque
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from nss.arrays.components import largest
from nss.arrays.nearest import nearest
from nss.evaluation import metrics

binary = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))


def pair(kind: str) -> tuple[np.ndarray, np.ndarray]:
    """A noisy prediction and a soft truth in the steps of a 16-bit file, float64 70x90; no true value is near 1/2."""
    rng = np.random.default_rng(3)
    rows, columns = np.indices((70, 90))
    truth = np.clip(20 - np.hypot(rows - 35, columns - 40) + 4 * np.sin(columns / 3), 0, 5) / 5
    if kind == "two parts":
        truth[:20, 70:] = 1
    if kind == "to the border":
        truth[:, :30] = 1
    truth[np.abs(truth - 0.5) < 0.01] = 0.6
    pred = np.clip(np.roll(truth, 2, axis=1) + rng.normal(0, 0.1, truth.shape), 0, 1)
    if kind == "nothing found":
        pred[:] = 0
    if kind == "no foreground":
        truth[:] = 0
    if kind == "all foreground":
        truth[:] = 1
    return np.rint(pred * 65535) / 65535, np.rint(truth * 65535) / 65535


KINDS = ["plain", "two parts", "to the border", "nothing found", "no foreground", "all foreground"]


@pytest.mark.parametrize("kind", KINDS)
def test_as_pysodmetrics(kind: str) -> None:
    import py_sod_metrics as sod  # slow to import: it brings OpenCV and scikit-image

    pred, truth = pair(kind)
    ours = metrics.scores(pred, truth)

    def theirs(measure: Any, truth: np.ndarray) -> dict[str, Any]:
        # as they are: what it does to 8-bit files, stretching a mask to 0..1, would hide errors
        measure.step(pred, truth, normalize=False)
        return measure.get_results()

    binary = truth > 0.5
    handler = sod.FmeasureHandler(with_dynamic=True, with_adaptive=False, beta=0.3)
    curve = theirs(sod.FmeasureV2({"fm": handler}), binary)
    assert ours.max_f == pytest.approx(np.max(curve["fm"]["dynamic"]), abs=1e-12)
    assert ours.weighted_f == pytest.approx(theirs(sod.WeightedFmeasure(), binary)["wfm"], abs=1e-12)
    assert ours.s_measure == pytest.approx(theirs(sod.Smeasure(), binary)["sm"], abs=1e-12)
    hard = metrics.scores(pred, binary)
    assert hard.mae == pytest.approx(theirs(sod.MAE(), binary)["mae"], abs=1e-12)


def slow_gradient_error(pred: np.ndarray, truth: np.ndarray) -> float:
    """The two-dimensional kernel laid on every pixel."""
    x = np.arange(-4, 5)
    gauss = np.exp(-(x**2) / (2 * 1.4**2)) / (1.4 * np.sqrt(2 * np.pi))
    kernel = gauss[:, None] * (-x * gauss / 1.4**2)
    kernel /= np.sqrt((kernel**2).sum())
    magnitudes = []
    for image in (pred, truth):
        padded = np.pad(image.astype(np.float64), 4, mode="edge")
        squares = np.zeros(image.shape)
        for row, column in np.ndindex(*image.shape):
            window = padded[row : row + 9, column : column + 9]
            squares[row, column] = (window * kernel).sum() ** 2 + (window * kernel.T).sum() ** 2
        magnitudes.append(np.sqrt(squares))
    return float(((magnitudes[0] - magnitudes[1]) ** 2).sum()) / 1000


def slow_largest(members: np.ndarray) -> np.ndarray:
    """Flooding from each pixel in turn."""
    nearest_row, best = np.zeros_like(members), np.zeros_like(members)
    for start in zip(*np.nonzero(members), strict=True):
        part, queue = np.zeros_like(members), deque([start])
        while queue:
            row, column = queue.popleft()
            inside = 0 <= row < members.shape[0] and 0 <= column < members.shape[1]
            if inside and members[row, column] and not nearest_row[row, column]:
                nearest_row[row, column] = part[row, column] = True
                queue.extend([(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)])
        if part.sum() > best.sum():
            best = part
    return best


def slow_connectivity_error(pred: np.ndarray, truth: np.ndarray) -> float:
    """Levels one by one, pixel by pixel."""
    pred, truth = pred.astype(np.float64), truth.astype(np.float64)
    hold = np.full(pred.shape, -1.0)
    for step in range(1, 11):
        source = slow_largest((pred >= step / 10) & (truth >= step / 10))
        hold[(hold == -1) & ~source] = (step - 1) / 10
    hold[hold == -1] = 1
    phi = [1 - (mask - hold) * (mask - hold >= 0.15) for mask in (pred, truth)]
    return float(np.abs(phi[0] - phi[1]).sum()) / 1000


@pytest.mark.parametrize("kind", ["plain", "two parts", "no foreground"])
def test_gradient_and_connectivity_as_defined(kind: str) -> None:
    pred, truth = pair(kind)
    ours = metrics.scores(pred, truth)
    assert ours.gradient == pytest.approx(slow_gradient_error(pred, truth), rel=1e-12)
    assert ours.connectivity == pytest.approx(slow_connectivity_error(pred, truth), rel=1e-12)
    assert ours.connectivity > 0


def test_gradient_of_a_ramp_is_known() -> None:
    # on a ramp the derivative's taps add up to slope * sum(x² g) / norm, and the smoothing ones to sum(g) / norm
    x = np.arange(-4, 5)
    gauss = np.exp(-(x**2) / (2 * 1.4**2))
    gain = (x**2 * gauss).sum() / np.linalg.norm(x * gauss) * gauss.sum() / np.linalg.norm(gauss)
    ramp = np.tile(np.arange(100) / 200, (40, 1))
    expected = (0.005 * gain) ** 2 / 1000
    # near the two ends, where the outermost pixels are repeated, the slope is less
    assert 92 * 40 * expected < metrics.gradient_error(ramp, np.zeros_like(ramp)) < 100 * 40 * expected


def test_a_mask_that_is_the_truth() -> None:
    _, truth = pair("plain")
    hard = (truth > 0.5).astype(np.float32)
    assert metrics.scores(hard, hard) == metrics.Scores(
        mae=0, sad=0, mse=0, gradient=0, connectivity=0, max_f=1, weighted_f=1, s_measure=pytest.approx(1, abs=1e-12)
    )


def test_an_8_bit_level_survives_float32() -> None:
    levels = np.arange(256, dtype=np.uint8)[None]
    for pred in (levels * np.float32(1 / 255), levels.astype(np.uint16) * np.uint16(257) * np.float32(1 / 65535)):
        for level in range(1, 256):
            f = metrics.max_f_measure(pred.astype(np.float64), levels >= level)
            assert f == 1


def test_sums_and_means() -> None:
    truth = np.zeros((40, 50), np.float32)
    ours = metrics.scores(np.full_like(truth, 0.25), truth)
    assert (ours.mae, ours.sad, ours.mse) == (0.25, 0.5, 0.0625)
    assert ours.gradient < 1e-30
    # 0.25 is 0.15 and more above the level 0, from which nothing hangs on
    assert ours.connectivity == 0.5


def test_a_part_that_hangs_on_nothing_costs_connectivity() -> None:
    truth = np.zeros((20, 20), np.float32)
    truth[5:15, 2:10] = 1
    pred = truth.copy()
    pred[5:7, 14:16] = 1
    assert metrics.connectivity_error(pred, truth) == 4 / 1000
    truth[5:7, 14:16] = 1  # now both have it, and to both it hangs on nothing
    assert metrics.connectivity_error(pred, truth) == 0


def test_masks_of_two_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(4, 3\)"):
        metrics.scores(np.zeros((3, 4)), np.zeros((4, 3)))


def test_colour_error_is_that_of_soft_pixels_by_their_alpha() -> None:
    foreground = np.full((1, 4, 3), 100, np.uint8)
    rgb = foreground.copy()
    rgb[0, 0], rgb[0, 1], rgb[0, 2], rgb[0, 3] = 0, 255, (110, 90, 100), (130, 100, 100)
    alpha = np.array([[0, 1, 0.75, 0.25]])
    assert metrics.colour_error(rgb, foreground, alpha) == pytest.approx(0.75 * 20 / 3 + 0.25 * 10)
    assert metrics.colour_error(rgb, foreground, np.array([[0, 1, 0, 1]])) is None


@given(binary)
def test_the_nearest_is_exact(members: np.ndarray) -> None:
    if not members.any():
        with pytest.raises(ValueError, match="no pixel"):
            nearest(members)
        return
    rows, columns = nearest(members)
    every = np.argwhere(members)
    # of equally near ones the lowest column, then the lowest row
    every = every[np.lexsort((every[:, 0], every[:, 1]))]
    for place in np.ndindex(*members.shape):
        best = every[((every - place) ** 2).sum(axis=1).argmin()]
        assert (rows[place], columns[place]) == tuple(best)


@given(binary)
def test_the_largest_part(members: np.ndarray) -> None:
    assert np.array_equal(largest(members), slow_largest(members))


@given(st.integers(0, 2**32 - 1))
def test_the_largest_part_of_a_maze(seed: int) -> None:
    # thin walls make parts that meet only far below where they began
    members = np.random.default_rng(seed).random((40, 40)) < 0.62
    assert np.array_equal(largest(members), slow_largest(members))
