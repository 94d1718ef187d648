"""What a graph may ask for: the rule that every tensor and attribute passes before memory is allocated.

What no machine could hold or run is a ModelError, what this one has not the memory for a TooLargeError.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from engine.errors import ModelError, TooLargeError
from engine.graph.ir import Graph, Node, TensorType
from engine.memory import machine_memory

ADDRESSABLE = 2**47
"""Bytes that one process can address on today's 64-bit processors."""

MOST_AXES = 32
"""Axes of a tensor. NumPy ends at 64, and operators put in as many again as there are."""

LARGEST_STEP = 2**20
"""What moves or measures a window, in positions of an axis: beyond the side of any picture."""

GEOMETRY = {
    *("kernel_shape", "strides", "dilations", "pads", "output_padding"),
    *("blocksize", "block_size", "size", "sampling_ratio"),
}
"""Attributes that move or measure a window or a block."""

LARGEST_WEIGHT = 1e12
"""Magnitude of a weight beyond which arithmetic that is equal on paper gives other results: trained ones are below."""

LARGEST_HALF = 65504.0
"""The largest number of float16."""

PRODUCTS = {
    *("BatchNormalization", "Conv", "ConvTranspose", "DeformConv", "FusedConv", "Gemm", "MatMul"),
    *("MatMulNBits", "MatMulBnb4"),
}
"""Operators that multiply by weights, or by the scales of packed ones."""

ALWAYS_AVAILABLE = 64 << 20
"""Bytes that any machine has: smaller sizes are not compared with its memory."""


def check_tensor(kind: TensorType, what: str) -> None:
    """Raise ModelError or TooLargeError for a tensor that breaks the rule; ``what`` names it."""
    if len(kind.shape) > MOST_AXES:
        raise ModelError(f"{what} has {len(kind.shape)} axes, and a tensor at most {MOST_AXES}; the file is damaged")
    if min(kind.shape, default=0) < 0:
        raise ModelError(f"{what} is {kind}, which has a negative extent; the file is damaged")
    # NumPy limits the other extents of a tensor without elements as well
    span_bytes = prod([extent or 1 for extent in kind.shape]) * kind.dtype.itemsize
    if span_bytes > ALWAYS_AVAILABLE:
        require(span_bytes if span_bytes > ADDRESSABLE else kind.nbytes, f"{what}, {kind},")


def check_attributes(node: Node) -> None:
    """Raise ModelError for an attribute of GEOMETRY beyond LARGEST_STEP."""
    for name in GEOMETRY & node.attributes.keys():
        value = node.attributes[name]
        for number in value if isinstance(value, tuple) else (value,):
            if isinstance(number, int) and abs(number) > LARGEST_STEP:
                raise ModelError(
                    f"{node.label}: {name} of {number:,} is beyond {LARGEST_STEP:,} positions; the file is damaged"
                )


def is_extreme(weights: np.ndarray) -> bool:
    """Whether a float weight is beyond LARGEST_WEIGHT, infinite or NaN."""
    if weights.dtype.kind != "f" or not weights.size:
        return False
    with np.errstate(invalid="ignore"):  # a NaN that signals
        return not (float(weights.min()) >= -LARGEST_WEIGHT and float(weights.max()) <= LARGEST_WEIGHT)


def has_extremes(node: Node) -> bool:
    """Whether a constant input of the node holds an extreme weight."""
    return any(value.data is not None and is_extreme(value.data) for value in node.used_inputs())


def needs_direct(graph: Graph) -> bool:
    """Whether a layer has extreme weights.

    What comes out of it can be so large in any layer behind that sums overflow which only a fast algorithm forms, and
    an infinity spreads to its neighbours. Such a model runs by the definitions, more slowly.
    """
    return any(node.op in PRODUCTS and has_extremes(node) for node in graph.nodes)


def require(nbytes: int, what: str) -> None:
    """ModelError where no machine has that many bytes, TooLargeError where this one has not; ``what`` takes them."""
    if nbytes > ADDRESSABLE:
        raise ModelError(
            f"{what} takes {nbytes:,} bytes, more than any machine can address; the file is damaged, or bound to a "
            "shape that it is not for"
        )
    if nbytes > ALWAYS_AVAILABLE and nbytes > (memory := machine_memory()):
        raise TooLargeError(
            f"{what} takes {nbytes:,} bytes, and this machine has {memory:,}; "
            "use a smaller input shape, a smaller model or a machine with more memory"
        )


class Budget:
    """The memory for the constants that are computed at load.

    ``constant_bytes`` is what those before take, in bytes.
    """

    def __init__(self) -> None:
        self.constant_bytes = 0
        self._available = ALWAYS_AVAILABLE

    def evaluate(self, node: Node, needed_bytes: int) -> None:
        """TooLargeError where ``node`` cannot be evaluated in ``needed_bytes`` beside what is held."""
        nbytes = self.constant_bytes + needed_bytes
        if nbytes > self._available:
            require(nbytes, f"{node.label}: what is computed before a run")
            # asking takes 0.1 ms, and a transformer has ten thousand nodes to fold
            self._available = machine_memory()

    def add(self, array: np.ndarray, sources: Iterable[np.ndarray | None]) -> None:
        """Count a result, unless it is a view of one of ``sources``."""
        if not any(source is not None and np.may_share_memory(array, source) for source in sources):
            self.constant_bytes += array.nbytes
