"""WindowAttention (domain ``engine``): the attention of a Swin transformer block, from projections to joined heads.

arXiv:2103.14030. Tokens lie on a grid, which is padded to whole windows, rolled by ``-shift`` along both axes and cut
into windows; each token attends to those of its window, with a bias for each pair of places in it. Tokens that the roll
brought together from opposite edges get ``mask_value`` added to their score. The result lies where the tokens lay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Node, TensorType
from engine.ops.registry import operator
from engine.ops.types import accumulator


@dataclass(frozen=True, slots=True)
class WindowGrid:
    """A grid of ``height`` x ``width`` tokens, cut into square windows of ``window`` tokens a side after a roll."""

    height: int
    width: int
    window: int
    shift: int

    @property
    def down(self) -> int:
        """Windows along the height."""
        return -(-self.height // self.window)

    @property
    def across(self) -> int:
        """Windows along the width."""
        return -(-self.width // self.window)

    @property
    def count(self) -> int:
        """All windows."""
        return self.down * self.across

    @property
    def area(self) -> int:
        """Tokens of a window."""
        return self.window**2

    @property
    def is_padded(self) -> bool:
        """Whether windows reach beyond the grid."""
        return self.count * self.area != self.height * self.width

    def tokens(self) -> np.ndarray:
        """The token at each place of each window, int32 ``[windows, area]``; -1 where the grid is padded."""
        rows, columns = self._places(self.down), self._places(self.across)
        token = np.where(columns < self.width, rows[:, None] * self.width + columns, -1)
        return self._partition(np.where(rows[:, None] < self.height, token, -1).astype(np.int32))

    def regions(self) -> np.ndarray:
        """A number for each place of each window, ``[windows, area]``; those of one number see each other unmasked."""
        return self._partition(self._bands(self.down)[:, None] * 3 + self._bands(self.across))

    def _places(self, windows: int) -> np.ndarray:
        """Where on the padded grid each place of the rolled one was."""
        return (np.arange(windows * self.window) + self.shift) % (windows * self.window)

    def _bands(self, windows: int) -> np.ndarray:
        """0 for what no edge touches, 1 and 2 for the two halves of the last window of the rolled grid."""
        at, size = np.arange(windows * self.window), windows * self.window
        return (at >= size - self.window).astype(np.int32) + (at >= size - self.shift)

    def _partition(self, grid: np.ndarray) -> np.ndarray:
        windows = grid.reshape(self.down, self.window, self.across, self.window).swapaxes(1, 2)
        return np.ascontiguousarray(windows).reshape(self.count, self.area)


def window_grid(node: Node) -> WindowGrid:
    """The grid that the node's attributes describe."""
    return WindowGrid(*(node.attributes[name] for name in ("height", "width", "window", "shift")))


@operator("WindowAttention", domain=INTERNAL_DOMAIN)
class WindowAttention:
    """softmax(scale q k' + bias + mask) v within each window and head.

    Inputs: the projections ``[B, height * width, 3 C]``, along the last axis q, k and v, each head after head; the bias
    ``[heads, area, area]``; and where the grid is padded the projection of a token outside of it, ``[3 C]``. float16 is
    computed in float32. Attributes: ``heads``, ``scale``, ``mask_value``, and those of ``WindowGrid``.
    """

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, bias, grid, heads = node.input(0), node.input(1), window_grid(node), node.attributes["heads"]
        padding = node.optional_input(2)
        *batch, tokens, channels = x.shape
        if tokens != grid.height * grid.width or channels % (3 * heads):
            raise ValueError(f"{list(x.shape)} are no {grid.height} x {grid.width} tokens of {heads} heads")
        if bias.shape != (heads, grid.area, grid.area):
            raise ValueError(f"the bias is of shape {list(bias.shape)}")
        if grid.is_padded and (padding is None or padding.shape != (channels,)):
            raise ValueError("windows reach beyond the grid, and nothing says what stands there")
        return [TensorType(x.dtype, (*batch, tokens, channels // 3))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, bias: np.ndarray, padding: np.ndarray | None = None) -> np.ndarray:
        grid, heads, wide_dtype = window_grid(node), node.attributes["heads"], accumulator(x.dtype)
        *batch, count, channels = x.shape
        size = channels // 3 // heads
        outside = np.zeros(channels) if padding is None else padding
        y = np.empty((*batch, count, channels // 3), x.dtype)
        separate = grid.regions()[:, :, None] != grid.regions()[:, None, :]
        for at in np.ndindex(*batch):
            with_padding = np.concatenate([x[at], outside[None].astype(x.dtype)]).astype(wide_dtype)
            for tokens, apart in zip(grid.tokens(), separate, strict=True):
                q, k, v = with_padding[tokens].reshape(grid.area, 3, heads, size).transpose(1, 2, 0, 3)
                scores = q @ k.swapaxes(1, 2) * wide_dtype.type(node.attributes["scale"]) + bias.astype(wide_dtype)
                if grid.shift:
                    scores += np.where(apart, wide_dtype.type(node.attributes["mask_value"]), 0)
                scores = np.exp(scores - scores.max(-1, keepdims=True))
                heads_out = (scores / scores.sum(-1, keepdims=True)) @ v
                inside = tokens >= 0
                y[at][tokens[inside]] = heads_out.swapaxes(0, 1).reshape(grid.area, -1)[inside]
        return y
