"""Matrix products cut into such pieces as BLAS multiplies fastest.

OpenBLAS packs both operands before it multiplies. For processors with AVX-512 it also has kernels that multiply small
matrices where they lie: 64 x 64 x 128 at 210 GFLOP/s on two cores, against 150 packed, and the 6 x 6 of a Winograd
transform three times as fast. A stack of small products is one call of NumPy, so the pieces cost no calls.
"""

from __future__ import annotations

import numpy as np

from engine.cpu import blas
from engine.cpu.threads import Do, call

SMALL = 1_000_000
"""The extents of a small product, multiplied: OpenBLAS's own limit."""

FEWEST_COLUMNS = 48
"""Narrower pieces are slower than packed operands."""

ALIGNED_COLUMNS = 16
"""float32 of a vector."""


def multiply(a: np.ndarray, b: np.ndarray, out: np.ndarray, do: Do = call) -> None:
    """``a`` ``[..., M, K]`` times ``b`` ``[..., K, N]`` into ``out`` ``[..., M, N]``, float32."""
    (m, k), n = a.shape[-2:], b.shape[-1]
    cut = _pieces(m, k, n) if blas.has_small_products() else None
    if cut is None:
        do(np.matmul, a, b, out)
        return
    rows, columns = cut
    end = n // columns * columns
    lead = out.shape[:-2]
    # a stack over blocks of rows and of columns: views, since an axis that is cut in two stays one
    left = a.reshape(*a.shape[:-2], m // rows, 1, rows, k)
    right = b[..., :end].reshape(*b.shape[:-2], 1, k, -1, columns).swapaxes(-3, -2)
    pieces = out[..., :end].reshape(*lead, m // rows, rows, -1, columns).swapaxes(-3, -2)
    do(np.matmul, left, right, pieces)
    if end < n:
        do(np.matmul, a, b[..., end:], out[..., end:])


def transform(a: np.ndarray, b: np.ndarray, out: np.ndarray, do: Do = call) -> None:
    """As ``multiply``, for ``a`` of a few rows and columns: without small products a row at a time.

    A packed product would pass over ``out`` three times more than it multiplies.
    """
    if blas.has_small_products():
        multiply(a, b, out, do)
    else:
        do(np.matmul, a[..., None, :], b[..., None, :, :], out[..., None, :])


def _pieces(m: int, k: int, n: int) -> tuple[int, int] | None:
    """Rows and columns of small products; None where the whole is one already, or is not worth to be cut."""
    if m * k * n <= SMALL:
        return None
    for rows in (m, m // 2, m // 4):
        most = SMALL // max(1, rows * k) // ALIGNED_COLUMNS * ALIGNED_COLUMNS
        if m % max(1, rows) == 0 and most >= FEWEST_COLUMNS:
            pieces = -(-n // most)
            return rows, min(most, -(-n // (pieces * ALIGNED_COLUMNS)) * ALIGNED_COLUMNS)
    return None
