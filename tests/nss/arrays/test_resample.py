"""Resampling gives the same bits however it is shared out: those of one axis after the other, as whole arrays."""

from __future__ import annotations

import numpy as np
import pytest

import engine
from nss.arrays import resample
from nss.arrays.filters import Filter
from nss.arrays.tiles import Area
from tests.nss import cores

SIZES = [
    ((1, 1), (1, 1)),
    ((1, 1), (5, 3)),
    ((7, 5), (1, 1)),
    ((320, 320), (301, 433)),
    ((301, 433), (320, 320)),
    ((301, 433), (320, 433)),
    ((33, 200), (33, 61)),
    ((90, 70), (90, 70)),
    ((1200, 40), (11, 50)),
]


def axis_by_axis(x: np.ndarray, size: tuple[int, int], method: Filter) -> np.ndarray:
    """Both axes as whole arrays, one product after the other, in one thread."""
    (height, width), (h, w), kernel = x.shape[:2], size, resample._KERNELS[method]

    def along(x: np.ndarray, axis: int, length: int) -> np.ndarray:
        if x.shape[axis] == length:
            return x.astype(np.float32)
        out = np.empty((*x.shape[:axis], length, *x.shape[axis + 1 :]), np.float32)
        lines, result = (x, out) if axis == 0 else (np.swapaxes(x, 0, 1), np.swapaxes(out, 0, 1))
        for start, stop, inputs, weights in resample._weight_blocks(x.shape[axis], length, kernel):
            block = lines[inputs].astype(np.float32)
            product = weights @ block.reshape(block.shape[0], -1)
            result[start:stop] = product.reshape(stop - start, *block.shape[1:])
        return out

    with engine.single_threaded_blas():
        if h * width <= height * w:
            return along(along(x, 0, h), 1, w)
        return along(along(x, 1, w), 0, h)


@pytest.mark.parametrize("number", cores.CORES)
@pytest.mark.parametrize("method", resample._KERNELS)
def test_the_bits_are_those_of_whole_arrays(number: int, method: Filter, monkeypatch: pytest.MonkeyPatch) -> None:
    cores.use(number, monkeypatch)
    random = np.random.default_rng(number)
    for size, new in SIZES:
        for channels, dtype in (((), np.float32), ((3,), np.uint8), ((), np.uint8), ((3,), np.float32)):
            x = random.integers(0, 256, (*size, *channels)).astype(dtype)
            expected = axis_by_axis(x, new, method)
            result = resample.resize(x, new, method)
            assert result.dtype == np.float32
            assert np.array_equal(result, expected), (size, new, channels, dtype)


@pytest.mark.parametrize(("size", "new"), SIZES)
def test_blocks_cover_the_result_once(size: tuple[int, int], new: tuple[int, int]) -> None:
    x = np.random.default_rng(1).random(size, np.float32)
    counts, values = np.zeros(new, int), np.empty(new, np.float32)

    def receive(area: Area, block: np.ndarray) -> None:
        counts[area] += 1
        values[area] = block
        block[:] = -1  # its own

    resample.map_resized(x, new, "bilinear-antialias", receive)
    assert (counts == 1).all()
    assert np.array_equal(values, resample.resize(x, new, "bilinear-antialias"))
    assert (x >= 0).all()
