"""What follows the sums of a convolution before they are stored: bias, activation, element-wise nodes behind it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from engine.cpu.chain import Chain, is_chain
from engine.cpu.kernel import Tensors
from engine.cpu.threads import Do, call
from engine.graph.ir import Node, Value
from engine.ops.fused_conv import activated_from, activation_of

Block = tuple[slice, slice]
"""Output channels and output rows of one image."""


class Epilogue:
    """Bias of a convolution, and the chain of its activation and of the element-wise nodes behind it.

    ``step`` is the node as it runs: the convolution itself, or the chain that begins with it. ``bias`` is the input of
    the convolution that is its bias. With ``scales`` the sums are to be ``scale`` times those of the convolution, as
    the bias is here.
    """

    def __init__(self, step: Node, bias: int = 2, *, scales: bool = False) -> None:
        conv, *followers = step.attributes["nodes"] if is_chain(step) else [step]
        self.convolution = conv
        by_output = conv.constant(bias)
        self.bias = None if by_output is None else by_output.astype(np.float32).reshape(-1, 1)
        self._first = activated_from(conv)
        if "activation" in conv.attributes:
            followers.insert(0, activation_of(conv))
        scales = scales and not self._first
        self.chain = Chain(followers, conv.output, scales_root=scales) if followers else None
        self.scale = self.chain.root_scale if self.chain else 1.0
        if self.bias is not None and self.scale != 1:
            self.bias = self.bias * np.float32(self.scale)
        self._given = [_source(value, step) for value in self.chain.given] if self.chain else []
        self.registers = self.chain.registers if self.chain else 0
        self.nanoseconds = self.chain.nanoseconds if self.chain else 0.0
        """What the chain takes for each element."""

    def given(self, inputs: Tensors, y: np.ndarray) -> Sequence[np.ndarray]:
        """What the chain reads beside the sums, as images of the shape of the output ``y`` ``[N, M, H, W]``."""
        arrays = [inputs[source] if isinstance(source, int) else source for source in self._given]
        return [np.broadcast_to(array, y.shape) for array in arrays if array is not None]

    def add_bias(self, y: np.ndarray, do: Do = call) -> None:
        """Add to ``y`` ``[..., M, n]`` the bias of each output channel."""
        if self.bias is not None:
            do(np.add, y, self.bias, y)

    def finish(
        self,
        sums: np.ndarray,
        out: np.ndarray,
        given: Sequence[np.ndarray],
        scratch: np.ndarray,
        do: Do = call,
    ) -> None:
        """Store in ``out`` what the chain makes of ``sums``, which has the same shape and may be the same array.

        ``given`` are those parts of what `given` returned; ``scratch`` has ``registers`` times as many elements. Where
        the convolution activates some channels only, both are ``[..., M, rows, columns]`` with all of them.
        """
        if self._first:
            if out is not sums:
                do(np.copyto, out[..., : self._first, :, :], sums[..., : self._first, :, :])
            sums, out = sums[..., self._first :, :, :], out[..., self._first :, :, :]
        if self.chain is not None:
            self.chain.run(given, sums, out, scratch, do)
        elif out is not sums:
            do(np.copyto, out, sums)


def _source(value: Value, step: Node) -> int | np.ndarray:
    """Which input of the step it is, or what it is: constants may be among those that the kernel keeps packed."""
    return step.inputs.index(value) if value.data is None else np.require(value.data, requirements="A")
