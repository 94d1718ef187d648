"""WindowAttention's reference against Swin's own formulation in float64: pad, roll, partition, attend, and back."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine import ops
from engine.errors import ModelError
from engine.graph.ir import INTERNAL_DOMAIN, Node, TensorType, Value
from engine.ops.window_attention import WindowGrid

GRIDS = [
    WindowGrid(6, 9, 3, 0),
    WindowGrid(6, 9, 3, 1),
    WindowGrid(7, 8, 3, 0),
    WindowGrid(8, 7, 3, 1),
    WindowGrid(6, 8, 2, 1),
    WindowGrid(9, 12, 3, 2),
    WindowGrid(4, 4, 4, 2),
    WindowGrid(2, 5, 4, 2),
    WindowGrid(2, 3, 4, 0),
    WindowGrid(1, 1, 2, 1),
    WindowGrid(13, 10, 12, 6),
]
"""Whole windows and padded ones, rolled and not, and grids smaller than a window."""


def attention_node(
    grid: WindowGrid, shapes: list[tuple[int, ...] | None], dtype: Any, *, heads: int, mask_value: float, scale: float
) -> Node:
    """A WindowAttention over inputs of these shapes."""
    kind = np.dtype(dtype)
    inputs = [None if shape is None else Value(str(shape), TensorType(kind, shape)) for shape in shapes]
    attributes = {"heads": heads, "scale": scale, "mask_value": mask_value, "window": grid.window, "shift": grid.shift}
    attributes |= {"height": grid.height, "width": grid.width}
    node = Node("WindowAttention", inputs, [], attributes=attributes, domain=INTERNAL_DOMAIN)
    node.outputs = [Value("y", ops.infer(node)[0])]
    return node


def swin_mask(height: int, width: int, window: int, shift: int, mask_value: float) -> np.ndarray:
    """What Swin adds to the scores of each window, ``[windows, area, area]``: nine slices of an image, numbered."""
    image = np.zeros((height, width))
    slices = slice(0, -window), slice(-window, -shift), slice(-shift, None)
    number = 0
    for rows in slices:
        for columns in slices:
            image[rows, columns] = number
            number += 1
    windows = partition(image[None, :, :, None], window)[..., 0]
    return np.where(windows[:, None, :] != windows[:, :, None], mask_value, 0.0)


def partition(grid: np.ndarray, window: int) -> np.ndarray:
    """``[1, H, W, C]`` as ``[windows, area, C]``."""
    _, height, width, channels = grid.shape
    windows = grid.reshape(height // window, window, width // window, window, channels)
    return windows.transpose(0, 2, 1, 3, 4).reshape(-1, window * window, channels)


def swin(
    grid: WindowGrid, x: np.ndarray, bias: np.ndarray, padding: np.ndarray, heads: int, scale: float, mask_value: float
) -> np.ndarray:
    """The same of one image ``[tokens, 3 C]``, in float64."""
    window, shift, channels = grid.window, grid.shift, x.shape[1] // 3
    image = x.astype(np.float64).reshape(grid.height, grid.width, -1)
    more = [(0, -extent % window) for extent in (grid.height, grid.width)]
    whole = np.pad(image, [*more, (0, 0)])
    whole[grid.height :] = padding
    whole[:, grid.width :] = padding
    height, width = whole.shape[:2]
    rolled_grid = np.roll(whole, (-shift, -shift), (0, 1))
    windows = partition(rolled_grid[None], window)
    q, k, v = windows.reshape(len(windows), window * window, 3, heads, channels // heads).transpose(2, 0, 3, 1, 4)
    scores = np.einsum("whqc,whkc->whqk", q, k) * scale + bias.astype(np.float64)
    if shift:
        scores = scores + swin_mask(height, width, window=window, shift=shift, mask_value=mask_value)[:, None]
    power = np.exp(scores - scores.max(-1, keepdims=True))
    attended = np.einsum("whqk,whkc->wqhc", power / power.sum(-1, keepdims=True), v)
    back = attended.reshape(height // window, width // window, window, window, channels).transpose(0, 2, 1, 3, 4)
    back = np.roll(back.reshape(height, width, channels), (shift, shift), (0, 1))
    return back[: grid.height, : grid.width].reshape(-1, channels)


def operands(grid: WindowGrid, dtype: Any, *, batch: tuple[int, ...], heads: int, size: int) -> list[np.ndarray]:
    """Projections, bias and the projection of padding; that is random too, since a kernel may not take it for zeros."""
    random = np.random.default_rng([grid.height, grid.width, heads])
    shapes = (*batch, grid.height * grid.width, 3 * heads * size), (heads, grid.area, grid.area), (3 * heads * size,)
    return [random.standard_normal(shape).astype(dtype) for shape in shapes]


def check(
    grid: WindowGrid, dtype: Any, tolerance: float, *, batch: tuple[int, ...] = (1,), mask_value: float = -100.0
) -> None:
    heads, size, scale = 2, 3, 0.6
    x, bias, padding = operands(grid, dtype, batch=batch, heads=heads, size=size)
    arrays = [x, bias, *([padding] if grid.is_padded else [])]
    shapes: list[tuple[int, ...] | None] = [array.shape for array in arrays]
    node = attention_node(grid, shapes, dtype, heads=heads, mask_value=mask_value, scale=scale)
    (y,) = ops.evaluate(node, arrays)
    assert (y.dtype, y.shape) == (np.dtype(dtype), (*x.shape[:-1], heads * size))
    for at in np.ndindex(*batch):
        expected = swin(grid, x[at], bias, padding, heads=heads, scale=scale, mask_value=mask_value)
        np.testing.assert_allclose(y[at], expected, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("mask_value", [-100.0, -np.inf])
def test_reference(grid: WindowGrid, mask_value: float) -> None:
    # measured: 2.2e-7
    check(grid, np.float32, 2e-6, mask_value=mask_value)


@pytest.mark.parametrize("grid", GRIDS[2:6], ids=str)
def test_float64(grid: WindowGrid) -> None:
    # measured: 4e-16
    check(grid, np.float64, 4e-15)


@pytest.mark.parametrize("grid", GRIDS[2:6], ids=str)
def test_float16_is_rounded_once(grid: WindowGrid) -> None:
    # half a unit in the last place of float16 is 2**-11 = 4.9e-4
    check(grid, np.float16, 5e-4)


@pytest.mark.parametrize("batch", [(), (2,), (2, 3)], ids=str)
def test_batches(batch: tuple[int, ...]) -> None:
    check(WindowGrid(7, 8, 3, 1), np.float32, 2e-6, batch=batch)


def test_a_mild_mask_is_added_and_does_not_cut_off() -> None:
    check(WindowGrid(7, 8, 3, 1), np.float32, 2e-6, mask_value=-1.5)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_every_token_has_one_place(grid: WindowGrid) -> None:
    tokens = grid.tokens()
    assert tokens.shape == grid.regions().shape == (grid.count, grid.area)
    np.testing.assert_array_equal(np.sort(tokens[tokens >= 0]), np.arange(grid.height * grid.width))
    assert grid.is_padded == bool((tokens < 0).any())


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        ([(1, 41, 12), (2, 9, 9), (12,)], "no 6 x 7 tokens of 2 heads"),
        ([(1, 42, 15), (2, 9, 9), (15,)], "no 6 x 7 tokens of 2 heads"),
        ([(1, 42, 12), (1, 9, 9), (12,)], "the bias is of shape"),
        ([(1, 42, 12), (2, 9, 8), (12,)], "the bias is of shape"),
        ([(1, 42, 12), (9, 9), (12,)], "the bias is of shape"),
        ([(1, 42, 12), (2, 9, 9), (4,)], "nothing says what stands there"),
        ([(1, 42, 12), (2, 9, 9), None], "nothing says what stands there"),
        ([(1, 42, 12), (2, 9, 9)], "nothing says what stands there"),
    ],
    ids=["tokens", "channels", "heads", "area", "rank", "padding", "no padding", "two inputs"],
)
def test_what_does_not_fit_is_refused(shapes: list[tuple[int, ...] | None], message: str) -> None:
    with pytest.raises(ModelError, match=message):
        attention_node(WindowGrid(6, 7, 3, 1), shapes, np.float32, heads=2, mask_value=-100, scale=1)
