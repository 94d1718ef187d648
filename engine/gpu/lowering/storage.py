"""What is stored as float16 in half precision: by the role of a tensor, not by its size.

Activations and the weights of products are float16. What is read per channel or repeated stays float32, a constant or
made by the run: biases, statistics, norm and quantisation parameters. They weigh nothing, and an error in one is one in
all that it touches. Other constants stay float32 too: with position biases of a deviation of 4 in float16, attention is
off by 5.5e-3 at the most, and by 1e-3 without.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from engine.gpu.program.rules import RULES
from engine.graph.bounds import LARGEST_HALF
from engine.graph.ir import Graph, Node, Value

CHUNK = 1 << 20
"""Elements of weights that are looked at together."""

PARAMETER_INPUTS: Mapping[str, int] = {
    "Conv": 2,
    "ConvTranspose": 2,
    "FusedConv": 2,
    "Gemm": 2,
    "BatchNormalization": 1,
    "InstanceNormalization": 1,
    "LayerNormalization": 1,
    "RMSNormalization": 1,
    "GroupNormalization": 1,
    "QLinearConv": 1,
    "QLinearMatMul": 1,
    "ConvInteger": 2,
    "MatMulInteger": 2,
}
"""The index from which on the inputs of an operator are read per channel, or one for all."""

RELABELLINGS = {"Reshape", "Squeeze", "Unsqueeze", "Flatten", "Transpose", "Identity"}
"""Operators whose output has the role that its readers give it."""


def parameters(graph: Graph) -> set[Value]:
    """The floats that a run makes and that every reader takes as a parameter, or repeats."""
    readers = graph.consumers()
    result: set[Value] = set()

    def is_parameter_of(value: Value, node: Node) -> bool:
        first = PARAMETER_INPUTS.get(node.op)
        if first is not None:
            return value not in node.inputs[:first]
        if node.domain or (node.op not in RELABELLINGS and node.op not in RULES):
            return False
        return value.type.size < node.output.type.size or node.output in result

    outputs = set(graph.outputs)
    for node in reversed(graph.nodes):
        for value in node.used_outputs():
            is_read = value.dtype.kind == "f" and value in readers and value not in outputs
            if is_read and all(is_parameter_of(value, reader) for reader in readers[value]):
                result.add(value)
    return result


def fits_half(array: np.ndarray) -> bool:
    """Whether float16 holds every finite number of the array: none becomes infinite."""
    flat = array.reshape(-1)
    for first in range(0, flat.size, CHUNK):
        chunk = flat[first : first + CHUNK]
        # false for NaN too, which the second look leaves out
        if not (chunk.min() >= -LARGEST_HALF and chunk.max() <= LARGEST_HALF):
            finite = chunk[np.isfinite(chunk)]
            if finite.size and np.abs(finite).max() > LARGEST_HALF:
                return False
    return True
