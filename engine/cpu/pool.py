"""MaxPool as an element-wise maximum over window positions, without a padded copy of the input."""

from __future__ import annotations

import numpy as np

from engine.cpu.kernel import KernelBase, Tensors, present
from engine.cpu.threads import Pool
from engine.graph.ir import Node
from engine.ops.pool import pool_window


def supports(node: Node) -> bool:
    """Whether only the maximum is asked for, not where it stands, of floating-point input."""
    return len(list(node.used_outputs())) == 1 and node.input(0).dtype.kind == "f"


class MaxPoolKernel(KernelBase):
    """The largest input under each window, over any number of spatial axes."""

    def __init__(self, node: Node) -> None:
        x = node.input(0).shape
        self.window = pool_window(node, x)
        self.taps = []
        for offsets in np.ndindex(*self.window.kernel):
            ranges = [self._inside(axis, tap, x[2 + axis]) for axis, tap in enumerate(offsets)]
            if all(out.stop > out.start for out, _ in ranges):
                self.taps.append((tuple(out for out, _ in ranges), tuple(source for _, source in ranges)))
        # a tap that every output sees saves filling the output first
        whole = tuple(slice(0, count) for count in self.window.out)
        self.taps.sort(key=lambda tap: tap[0] != whole)
        self.starts_whole = bool(self.taps) and self.taps[0][0] == whole

    def _inside(self, axis: int, tap: int, extent: int) -> tuple[slice, slice]:
        """The outputs that see the input, not padding, at this window position, and the inputs they see."""
        stride = self.window.strides[axis]
        start = tap * self.window.dilations[axis] - self.window.begin[axis]
        low = max(0, -(start // stride))
        high = min(self.window.out[axis], (extent - 1 - start) // stride + 1)
        return slice(low, high), slice(start + low * stride, max(0, start + (high - 1) * stride + 1), stride)

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        x, y = present(inputs, 0), present(outputs, 0)
        x, y = x.reshape(-1, *x.shape[2:]), y.reshape(-1, *y.shape[2:])

        def part(_: int, rows: tuple[int, int]) -> None:
            source, target = x[slice(*rows)], y[slice(*rows)]
            if not self.starts_whole:
                target.fill(-np.inf)
            for index, (out, taken) in enumerate(self.taps):
                seen = source[(slice(None), *taken)]
                if index == 0 and self.starts_whole:
                    np.copyto(target, seen)
                else:
                    covered = target[(slice(None), *out)]
                    np.maximum(covered, seen, out=covered)

        pool.each(part, pool.ranges(len(y), x.size))
