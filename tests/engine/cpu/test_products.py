"""Products in pieces are the product, on every kind of processor."""

from __future__ import annotations

import numpy as np
import pytest

from engine.cpu import blas, products
from engine.cpu.products import multiply, transform

SHAPES = [(24, 64, 64, 257), (1, 128, 512, 131), (2, 4, 6, 50_001), (3, 96, 100, 200), (1, 8, 3000, 90)]


def _integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    """Numbers whose products float32 sums exactly in any order."""
    return rng.integers(-8, 9, shape).astype(np.float32)


@pytest.mark.parametrize("small", [False, True])
@pytest.mark.parametrize("compute", [multiply, transform])
@pytest.mark.parametrize(("stack", "m", "k", "n"), SHAPES)
def test_pieces(monkeypatch: pytest.MonkeyPatch, compute, small: bool, stack: int, m: int, k: int, n: int) -> None:
    monkeypatch.setattr(blas, "multiplies_in_place", lambda: small)
    rng = np.random.default_rng(m)
    a, b = _integers(rng, m, k + 1)[:, 1:], _integers(rng, stack, k, n + 3)[..., 2:-1]
    out = np.full((stack, m, n + 1), 7, np.float32)
    compute(a, b, out[..., :n])
    np.testing.assert_array_equal(out[..., :n], a @ b)
    assert (out[..., n] == 7).all()


def test_where_products_are_cut() -> None:
    assert products._pieces(64, 64, 200) is None, "small as a whole"
    assert products._pieces(64, 64, 257) == (64, 144)
    assert products._pieces(128, 512, 4096) is not None
    for m, k, n in ((64, 64, 1000), (128, 512, 4096), (4, 6, 100_000)):
        rows, columns = products._pieces(m, k, n) or (m, n)
        assert rows * columns * k <= products.SMALL
        assert m % rows == 0
    assert products._pieces(512, 2048, 4096) is None, "too deep"
