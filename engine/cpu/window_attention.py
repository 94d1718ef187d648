"""WindowAttention, a few windows at a time: their scores lie in scratch, and never exist all at once."""

from __future__ import annotations

from itertools import accumulate
from math import prod

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool, Range
from engine.graph.ir import Node
from engine.ops.window_attention import window_grid

STRIP_BYTES = 1 << 21
"""Bytes of the projections, scores and results of the windows that a worker computes together."""

SAFE = 80.0
"""Scores within plus or minus this need no shift before exp: sums of some thousands neither overflow nor vanish."""


def supports(node: Node) -> bool:
    """Whether all is float32."""
    return all(value.dtype == np.float32 for value in node.used_inputs())


class WindowAttentionKernel(KernelBase):
    """softmax(scale q k' + bias + mask) v of every window and head."""

    static = True

    def __init__(self, node: Node) -> None:
        grid, self.heads = window_grid(node), node.attributes["heads"]
        self.area, self.channels = grid.area, node.input(0).shape[-1] // 3
        self.scale = np.float32(node.attributes["scale"])
        self.tokens = grid.tokens().astype(np.intp)
        # a mask that raises scores may take them out of what exp holds
        self.may_be_safe = node.attributes["mask_value"] <= 0
        self.masks = _masks(grid.regions(), node.attributes["mask_value"]) if grid.shift else {}
        self.ones = np.ones(self.area, np.float32)
        self.group = max(1, min(grid.count, STRIP_BYTES // (4 * self._parts(1)[-1])))
        self.scratch = self._parts(self.group)[-1]
        # both products at 50 GFLOP/s, what else is done to a score 1.2 ns, to a token 1 ns a channel
        self.images = prod(node.input(0).shape[:-2])
        rows = self.images * grid.count * self.area
        self.nanoseconds = rows * (self.area * (self.channels * 4 / 50 + self.heads * 1.2) + self.channels * 4)

    def _parts(self, count: int) -> list[int]:
        """End offsets in scratch of the projections, scores, results and sums of ``count`` windows."""
        rows = count * self.area
        scores = rows * self.heads * self.area
        return list(accumulate([3 * rows * self.channels, scores, rows * self.channels, rows * self.heads]))

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x, bias, y = present(inputs, 0), present(inputs, 1), present(outputs, 0)
        padding = inputs[2] if len(inputs) > 2 else None
        for at in np.ndindex(*x.shape[:-2]):

            def part(worker: int, windows: Range, source: np.ndarray = x[at], target: np.ndarray = y[at]) -> None:
                for first in range(windows[0], windows[1], self.group):
                    group = first, min(first + self.group, windows[1])
                    self._attend(source, bias, padding, y=target, windows=group, scratch=pool.scratch(worker))

            pool.each(part, pool.ranges(len(self.tokens), self.nanoseconds / self.images, self.group))

    def _attend(
        self,
        x: np.ndarray,
        bias: np.ndarray,
        padding: np.ndarray | None,
        y: np.ndarray,
        windows: Range,
        scratch: np.ndarray,
    ) -> None:
        """A group of windows: ``x`` ``[tokens, 3 C]`` → ``y`` ``[tokens, C]``."""
        count = windows[1] - windows[0]
        ends = self._parts(count)
        size, tokens = self.channels // self.heads, self.tokens[slice(*windows)].reshape(-1)
        rows = scratch[: ends[0]].reshape(-1, 3 * self.channels)
        np.take(x, tokens, axis=0, out=rows, mode="clip")
        outside = np.flatnonzero(tokens < 0)
        if outside.size:
            rows[outside] = padding
        np.multiply(rows[:, : self.channels], self.scale, out=rows[:, : self.channels])
        q, k, v = rows.reshape(count, self.area, 3, self.heads, size).transpose(2, 0, 3, 1, 4)
        scores = scratch[ends[0] : ends[1]].reshape(count, self.heads, self.area, self.area)
        np.matmul(q, k.swapaxes(2, 3), out=scores)
        np.add(scores, bias, out=scores)
        # before the mask: a place always sees itself unmasked
        is_safe = self.may_be_safe and scores.min() > -SAFE and scores.max() < SAFE
        for window in range(*windows):
            if window in self.masks:
                window_scores = scores[window - windows[0]]
                np.add(window_scores, self.masks[window], out=window_scores)
        if not is_safe:
            np.subtract(scores, scores.max(axis=-1, keepdims=True), out=scores)
        np.exp(scores, out=scores)
        results = scratch[ends[1] : ends[2]].reshape(count, self.area, self.heads, size)
        sums = scratch[ends[2] : ends[3]].reshape(count, self.heads, self.area)
        np.matmul(scores.reshape(-1, self.area), self.ones, out=sums.reshape(-1))
        np.matmul(scores, v, out=results.swapaxes(1, 2))
        # the results are divided, not the scores, which are more
        np.divide(results, sums.swapaxes(1, 2)[..., None], out=results)
        flat = results.reshape(-1, self.channels)
        if outside.size:
            inside = np.flatnonzero(tokens >= 0)
            y[tokens[inside]] = flat[inside]
        else:
            y[tokens] = flat


def _masks(regions: np.ndarray, mask_value: float) -> dict[int, np.ndarray]:
    """What is added to the scores of each window of several regions, ``[area, area]``; equal ones are one array."""
    masks: dict[int, np.ndarray] = {}
    by_pattern: dict[bytes, np.ndarray] = {}
    for window, places in enumerate(regions):
        separate = places[:, None] != places
        if separate.any():
            mask = np.where(separate, np.float32(mask_value), np.float32(0))
            masks[window] = by_pattern.setdefault(separate.tobytes(), mask)
    return masks
