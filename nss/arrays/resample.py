"""Resampling: one separable resampler, whose kernels have half-pixel centres, in float32.

With antialias a kernel widens by the scale of a reduction, as Pillow's BILINEAR, BICUBIC (a = -0.5) and LANCZOS (a = 3)
do, and torchvision's ``antialias=True``. Without, "bilinear" is two taps an axis, as in ONNX Resize (version 11 and
later, mode "linear", "half_pixel"), and "nearest" one, as Pillow's NEAREST. Bilinear with and without agree when
enlarging.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

import engine
from nss.arrays.filters import Filter
from nss.arrays.tiles import Area, bands, parallel

# Source lines per block: with fewer, BLAS is not busy; with more, most weights of a block are zeros.
_LINES = 64

# Rows at a time where columns are gathered.
_ROWS = 128

# At work at a time: of 12 megapixels each holds up to 10 MB, and more wait for memory and the interpreter lock anyway.
_THREADS = 16


def _box(distance: np.ndarray) -> np.ndarray:
    return ((distance > -0.5) & (distance <= 0.5)).astype(np.float64)


def _triangle(distance: np.ndarray) -> np.ndarray:
    weights = 1 - np.abs(distance)
    return np.maximum(weights, 0, out=weights)


def _cubic(distance: np.ndarray) -> np.ndarray:
    """Keys' cubic convolution with a = -0.5."""
    t = np.minimum(np.abs(distance), 2)
    return np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, ((-0.5 * t + 2.5) * t - 4) * t + 2)


def _lanczos(distance: np.ndarray) -> np.ndarray:
    """The sinc of three lobes a side."""
    return np.where(np.abs(distance) < 3, np.sinc(distance) * np.sinc(distance / 3), 0)


@dataclass(frozen=True)
class _Kernel:
    """Weights by the signed distance of an input pixel's centre, which are 0 beyond ``support``."""

    weights: Callable[[np.ndarray], np.ndarray]
    support: float
    antialias: bool


_KERNELS: dict[Filter, _Kernel] = {
    "nearest": _Kernel(_box, 0.5, antialias=False),
    "bilinear": _Kernel(_triangle, 1, antialias=False),
    "bilinear-antialias": _Kernel(_triangle, 1, antialias=True),
    "bicubic-antialias": _Kernel(_cubic, 2, antialias=True),
    "lanczos-antialias": _Kernel(_lanczos, 3, antialias=True),
}


def resize_bilinear(x: np.ndarray, size: tuple[int, int], *, antialias: bool) -> np.ndarray:
    """`resize` with "bilinear-antialias" or "bilinear"."""
    return resize(x, size, "bilinear-antialias" if antialias else "bilinear")


def resize(x: np.ndarray, size: tuple[int, int], method: Filter) -> np.ndarray:
    """Resample uint8 or float32 HxW or HxWxC to float32 of ``size`` = (height, width), values unscaled.

    Separable: one axis at a time, each as products of small blocks of the weight matrix with the lines that they read,
    converted to float as they are read. Largest relative error against Pillow's mode "F": about 1e-6.
    """
    out = np.empty((*size, *x.shape[2:]), np.float32)

    def put(area: Area, values: np.ndarray) -> None:
        out[area] = values

    map_resized(x, size, method, put)
    return out


def map_resized(
    x: np.ndarray, size: tuple[int, int], method: Filter, receive: Callable[[Area, np.ndarray], None]
) -> None:
    """`resize`, given block by block, over all cores, so that the result need not be held.

    Args:
        x: as `resize` takes it.
        size: the height and width of the result.
        method: the filter.
        receive: is called once for each block, in any order and by several threads, with its rows and columns in the
            result and its values, float32 hxw or hxwxC, which are its own to change.
    """
    (height, width), (h, w), kernel = x.shape[:2], size, _KERNELS[method]
    first, second = ((0, h), (1, w)) if h * width <= height * w else ((1, w), (0, h))
    # The products are too small for threads to pay, and how BLAS splits them would show in the last bits.
    with engine.single_threaded_blas():
        if x.shape[first[0]] != first[1]:
            between = np.empty((h, width, *x.shape[2:]) if first[0] == 0 else (height, w, *x.shape[2:]), np.float32)

            def put(area: Area, values: np.ndarray) -> None:
                between[area] = values

            _map_axis(x, *first, kernel, put)
            x = between
        _map_axis(x, *second, kernel, receive)


def widens(method: Filter) -> bool:
    """Whether the filter takes more pixels the more it reduces: it has antialias."""
    return _KERNELS[method].antialias


def _map_axis(
    x: np.ndarray, axis: int, length: int, kernel: _Kernel, receive: Callable[[Area, np.ndarray], None]
) -> None:
    """One axis resampled: the areas of the result and their values, over all cores."""
    every = slice(0, x.shape[1 - axis])
    if x.shape[axis] == length:
        parallel(lambda rows: receive((rows, slice(0, x.shape[1])), x[rows].astype(np.float32)), bands(x.shape))
        return
    lines = x if axis == 0 else np.swapaxes(x, 0, 1)

    def work(block: tuple[int, int, slice | np.ndarray, np.ndarray]) -> None:
        start, stop, inputs, weights = block
        part = lines[inputs]
        values = _transposed(part) if axis == 1 and x.ndim == 3 else part.astype(np.float32)
        product = (weights @ values.reshape(values.shape[0], -1)).reshape(stop - start, *values.shape[1:])
        if axis == 0:
            receive((slice(start, stop), every), product)
        else:
            receive((every, slice(start, stop)), np.swapaxes(product, 0, 1))

    parallel(work, _weight_blocks(x.shape[axis], length, kernel), most=_THREADS)


def _transposed(columns: np.ndarray) -> np.ndarray:
    """Columns of an image, wxHxC, as float32 without gaps: channel by channel, and by as many rows as a cache holds."""
    out = np.empty(columns.shape, np.float32)
    for rows in (slice(top, top + _ROWS) for top in range(0, columns.shape[1], _ROWS)):
        for channel in range(columns.shape[2]):
            out[:, rows, channel] = columns[:, rows, channel]
    return out


def _weight_blocks(old: int, new: int, kernel: _Kernel) -> Iterator[tuple[int, int, slice | np.ndarray, np.ndarray]]:
    """For each block of output lines: first, last + 1, the input lines it reads, float32 weights (outputs x inputs)."""
    scale = old / new
    widening = max(scale, 1.0) if kernel.antialias else 1.0
    support = kernel.support * widening
    centre = _running_centres(new, scale) if kernel.weights is _box else (np.arange(new) + 0.5) * scale
    # Pillow's Resample.c: the taps are the input pixels whose centres lie inside the support
    first = np.maximum((centre - support + 0.5).astype(np.int64), 0)
    last = np.minimum((centre + support + 0.5).astype(np.int64), old)
    step = max(1, round(_LINES / scale)) if scale < _LINES else 1
    for start in range(0, new, step):
        stop = min(start + step, new)
        lines = np.arange(first[start], last[stop - 1])
        weights = kernel.weights((lines + 0.5 - centre[start:stop, None]) / widening)
        weights /= weights.sum(axis=1, keepdims=True)
        inputs: slice | np.ndarray = slice(int(lines[0]), int(lines[-1]) + 1)
        has_weight = weights.any(axis=0)
        if not has_weight.all():  # a few taps of a strong reduction: most lines are never looked at
            inputs, weights = lines[has_weight], weights[:, has_weight]
        yield start, stop, inputs, weights.astype(np.float32)


def _running_centres(new: int, scale: float) -> np.ndarray:
    """Where the centres of output pixels lie, summed up as Pillow does: the last bits choose between two neighbours."""
    centre = np.full(new, scale)
    centre[0] *= 0.5
    return np.minimum(np.cumsum(centre), new * scale - 0.5 * min(scale, 1))


def line_weights(old: int, new: int, method: Filter) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The weights by which `resize` makes ``new`` lines of ``old``, as a table.

    Returns:
        For each new line the first old line that has a weight, int32; how many lie from there to the last one, int32;
        and their weights, float32, new lines x the largest number, filled up with 0.
    """
    if old == new:
        return np.arange(new, dtype=np.int32), np.ones(new, np.int32), np.ones((new, 1), np.float32)
    first, counts = np.empty(new, np.int32), np.empty(new, np.int32)
    blocks: list[tuple[slice, np.ndarray, np.ndarray]] = []
    for start, stop, inputs, weights in _weight_blocks(old, new, _KERNELS[method]):
        lines = np.arange(inputs.start, inputs.stop) if isinstance(inputs, slice) else inputs
        has_weight = weights != 0
        part = slice(start, stop)
        first[part] = lines[has_weight.argmax(axis=1)]
        last = lines[len(lines) - 1 - has_weight[:, ::-1].argmax(axis=1)]
        counts[part] = last + 1 - first[part]
        blocks.append((part, lines, weights))
    table = np.zeros((new, int(counts.max())), np.float32)
    for part, lines, weights in blocks:
        taps = lines - first[part, None]
        row, column = np.nonzero((taps >= 0) & (taps < counts[part, None]))
        table[part][row, taps[row, column]] = weights[row, column]
    return first, counts, table
