"""What follows the sums of a convolution before they are stored: bias, then activation."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.fused_conv import activated_from, activation_of
from engine.ops.registry import operator_of


def relu(y: np.ndarray, out: np.ndarray) -> None:
    """max(y, 0) into ``out``; NaN stays NaN.

    By clip: NumPy's maximum has no vector code for a scalar operand, and takes four times as long.
    """
    np.clip(y, np.float32(0), np.float32(np.inf), out=out)


class Epilogue:
    """Bias and activation of a Conv or FusedConv node."""

    def __init__(self, node: Node) -> None:
        bias = node.constant(2)
        self.bias = None if bias is None else bias.astype(np.float32).reshape(-1, 1)
        self.activation = activation_of(node) if node.domain == INTERNAL_DOMAIN else None
        self.activated_from = activated_from(node)

    def add_bias(self, y: np.ndarray, channels: slice = slice(None)) -> None:
        """Add to ``y`` ``[M, n]`` the bias of those output channels."""
        if self.bias is not None:
            np.add(y, self.bias[channels], out=y)

    def activate(self, y: np.ndarray, out: np.ndarray) -> None:
        """Store the activation of ``y`` in ``out``, which has the same shape and may be the same array.

        Where the node activates some channels only, axis 0 has all of them.
        """
        if self.activated_from:
            if out is not y:
                np.copyto(out[: self.activated_from], y[: self.activated_from])
            y, out = y[self.activated_from :], out[self.activated_from :]
        if self.activation is None:
            if out is not y:
                np.copyto(out, y)
        elif self.activation.op == "Relu":
            relu(y, out)
        else:
            np.copyto(out, operator_of(self.activation).reference(self.activation, y))
