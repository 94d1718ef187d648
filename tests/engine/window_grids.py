"""Grids of tokens in windows, for the tests of WindowAttention on every backend."""

from __future__ import annotations

from engine.ops.window_attention import WindowGrid

GRIDS = [
    WindowGrid(6, 9, 3, 0),
    WindowGrid(6, 9, 3, 1),
    WindowGrid(7, 8, 3, 0),
    WindowGrid(8, 7, 3, 1),
    WindowGrid(4, 4, 4, 2),
    WindowGrid(2, 5, 4, 2),
]
"""Whole windows and padded ones, rolled and not, one window alone, and a grid smaller than a window."""
