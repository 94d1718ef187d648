"""ReverseSequence (ONNX version 10): the first steps of each sequence of a batch in reverse."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.registry import operator


@operator("ReverseSequence", since=10)
class ReverseSequence:
    """y[t, b] = x[lengths[b] - 1 - t, b] where t is below lengths[b], x[t, b] from there on."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x, lengths = node.input(0), node.input(1)
        time, batch = node.attr("time_axis", 0), node.attr("batch_axis", 1)
        if {time, batch} != {0, 1} or lengths.shape != (x.shape[batch],):
            raise ValueError(f"time_axis {time}, batch_axis {batch}")
        return [x.type]

    @staticmethod
    def reference(node: Node, x: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        time = node.attr("time_axis", 0)
        steps = np.arange(x.shape[time])[:, None]
        source = np.where(steps < lengths, lengths - 1 - steps, steps)
        if time == 1:
            source = source.T
        return np.take_along_axis(x, source.reshape(source.shape + (1,) * (x.ndim - 2)), axis=time)
