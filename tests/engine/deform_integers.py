"""Graphs of a deformable convolution of a quantised file, as the pass fuse_deform_conv makes it, with exact arithmetic.

Inputs are channels-last, as convolutions write them: whole numbers, offsets of quarters and masks of powers of two, so
that every implementation samples the same numbers, and a byte that differs is an error.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, TensorType, Value
from engine.ops import infer


def deform_graph(
    *,
    channels: int = 8,
    outputs: int = 20,
    kernel: tuple[int, int] = (3, 3),
    extent: tuple[int, int] = (9, 11),
    count: int = 1,
    mask: bool = True,
    unsigned: bool = False,
    zero: Any = None,
    **attributes: Any,
) -> Graph:
    """The graph from x, offsets and mask to the scale, the zero point and the scaled sums."""
    random = np.random.default_rng(outputs)
    attributes = {"pads": tuple(k // 2 for k in kernel) * 2, "kernel_shape": kernel, **attributes}
    w = random.integers(0, 256, (outputs, channels, *kernel)).astype(np.uint8)
    w = w if unsigned else w.view(np.int8)
    out = [
        (size + 2 * (k // 2) - k) // stride + 1
        for size, k, stride in zip(extent, kernel, attributes.get("strides", (1, 1)), strict=True)
    ]
    taps = kernel[0] * kernel[1]
    shapes = [(count, *extent, channels), (count, *out, 2 * taps), (count, *out, taps)][: 2 + mask]
    inputs = [Value(f"input{index}", TensorType(np.dtype(np.float32), shape)) for index, shape in enumerate(shapes)]
    graph = Graph(inputs, [], [])

    def add(op: str, operands: list[Value | None], domain: str = "", version: int = 13, **values: Any) -> Value:
        node = Node(op, operands, [], values, domain=domain, version=version, name=op)
        node.outputs = [Value(f"{op}{len(graph.nodes)}", infer(node)[0])]
        graph.nodes.append(node)
        return node.output

    own: dict[str, Any] = {"domain": INTERNAL_DOMAIN, "version": 1, **attributes}
    x, *moves = (add("Transpose", [value], perm=(0, 3, 1, 2)) for value in inputs)
    points = None if zero is None else Value.constant("zero", np.asarray(zero, w.dtype))
    parameters = add("DeformQuantization", [x, *moves], **own)
    sums = add("DeformConvInteger", [x, Value.constant("w", w), parameters, points, *moves], **own)
    scale = add("Gather", [parameters, Value.constant("first", np.array(0))])
    graph.outputs = [parameters, add("Mul", [add("Cast", [sums], to=1), scale])]
    return graph


def deform_integers(**of: Any) -> tuple[Graph, list[np.ndarray]]:
    """``deform_graph`` and inputs for it."""
    graph, random = deform_graph(**of), np.random.default_rng(3)
    x, offset, *mask = (value.shape for value in graph.inputs)
    arrays = [random.integers(-9, 15, x).astype(np.float32), random.integers(-14, 15, offset).astype(np.float32) / 4]
    return graph, [*arrays, *(2.0 ** random.integers(-2, 2, shape).astype(np.float32) for shape in mask)]


CASES: dict[str, dict[str, Any]] = {
    "one tap": {"kernel": (1, 1), "outputs": 70},
    "odd window": {"kernel": (3, 5), "outputs": 33, "strides": (2, 1), "mask": False},
    "images": {"kernel": (7, 7), "count": 2, "channels": 12, "extent": (6, 5)},
    "unsigned": {"unsigned": True, "zero": 131, "outputs": 7},
    "zero points": {"unsigned": True, "zero": np.arange(20) * 9, "dilations": (1, 1)},
    "long sums": {"channels": 512, "outputs": 4, "extent": (3, 3)},
}
"""Arguments of ``deform_graph``."""
