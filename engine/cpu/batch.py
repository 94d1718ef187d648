"""A batch cut into parts that run side by side, each the whole network on one thread.

Layers of small images are short, and to hand each of them to the other threads takes longer than it saves. The images
of a batch know nothing of each other, so every thread may go through all layers with images of its own.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from engine.cpu.elementwise import OPERATORS
from engine.errors import ModelError
from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, TensorType, Value
from engine.ops.arguments import ints
from engine.ops.concat import concat_axis
from engine.ops.registry import MISFITS, infer
from engine.ops.resize import taps_of
from engine.ops.types import normalize_axis


def part_of(graph: Graph, parts: int) -> Graph | None:
    """The graph for one of ``parts`` equal parts of the batch, with constants of the same arrays.

    None where there is no batch, where it cannot be cut so, or where a node may look at several images at once.
    """
    counts = {value.shape[:1] for value in (*graph.inputs, *graph.outputs)}
    if parts == 1 or len(counts) != 1 or counts == {()}:
        return None
    ((images,),) = counts
    if images == 0 or images % parts:
        return None
    part = _Part(images, images // parts)
    try:
        inputs = [part.value(value) for value in graph.inputs]
        nodes = [part.node(node) for node in graph.nodes]
        return Graph(inputs, [part.values[value] for value in graph.outputs], nodes, graph.name)
    except (_NotByImageError, KeyError, ModelError, *MISFITS):
        return None


class _NotByImageError(Exception):
    """A node is not known to compute each image by itself."""


class _Part:
    """Values and nodes of a graph for ``size`` of its ``images``."""

    def __init__(self, images: int, size: int) -> None:
        self.images, self.size = images, size
        self.values: dict[Value, Value] = {}

    def value(self, value: Value) -> Value:
        """The value of a part; raises where it is not images along its first axis."""
        if value.shape[:1] != (self.images,):
            raise _NotByImageError
        kind = TensorType(value.dtype, (self.size, *value.shape[1:]))
        self.values[value] = Value(value.name, kind, whole=value.type)
        return self.values[value]

    def node(self, node: Node) -> Node:
        """The node of a part; raises where it may be another one than for all images, or has another result."""
        rule = RULES.get(node.op) if node.domain == "" else None
        if (node.op, node.domain) == ("FusedConv", INTERNAL_DOMAIN):
            rule = _by_image
        # indices that a second output holds count through all images
        if rule is None or len(list(node.used_outputs())) > 1 or not rule(node):
            raise _NotByImageError
        inputs = [value if value is None or value.is_constant else self.values[value] for value in node.inputs]
        sizes = {"Reshape": 1, "Resize": 3}.get(node.op, len(inputs))
        if sizes < len(inputs) and inputs[sizes] is not None and not node.attr("axes", ()):
            shape = np.array([self.size, *node.output.shape[1:]], np.int64)
            inputs[sizes] = Value.constant(node.input(sizes).name, shape)
        outputs = [None if value is None else self.value(value) for value in node.outputs]
        part = Node(node.op, inputs, outputs, node.attributes, node.domain, node.version, node.name)
        if any(value is not None and value.type != kind for value, kind in zip(outputs, infer(part), strict=False)):
            raise _NotByImageError
        return part


def _by_image(node: Node) -> bool:
    """Operators of images and channels: the first input is the images, and all others are constants."""
    inputs = list(node.used_inputs())
    return not inputs[0].is_constant and all(value.is_constant for value in inputs[1:])


def _elementwise(node: Node) -> bool:
    """Operands are images, or constants that are the same for each of them."""
    rank = len(node.output.shape)

    def fits(value: Value) -> bool:
        return len(value.shape) < rank or value.shape[0] == 1 if value.is_constant else len(value.shape) == rank

    return all(fits(value) for value in node.used_inputs())


def _along(axis: Callable[[Node], int]) -> Callable[[Node], bool]:
    """Operators along one axis, which must not be the first; all of their tensors are images."""
    return lambda node: axis(node) > 0 and not any(value.is_constant for value in node.used_inputs())


def _axis(default: int) -> Callable[[Node], int]:
    return lambda node: normalize_axis(node.attr("axis", default), len(node.input(0).shape))


def _softmax_axis(node: Node) -> int:
    return _axis(-1 if node.version >= 13 else 1)(node)


def _matmul(node: Node) -> bool:
    """Images are rows, or matrices of one stack, and what they are multiplied with is one constant matrix."""
    a, b = node.input(0), node.input(1)
    return not a.is_constant and len(a.shape) >= 2 and b.is_constant and len(b.shape) == 2


def _gemm(node: Node) -> bool:
    c = node.optional_input(2)
    return _matmul(node) and not node.attr("transA", 0) and (c is None or (c.is_constant and _same_rows(c)))


def _same_rows(c: Value) -> bool:
    return len(c.shape) < 2 or c.shape[0] == 1


def _reduce(node: Node) -> bool:
    """No axis is the first one."""
    axes = (ints(node.constant(1)) if len(node.inputs) > 1 else node.attr("axes")) or ()
    return _by_image(node) and bool(axes) and 0 not in [axis % len(node.input(0).shape) for axis in axes]


def _layer_norm(node: Node) -> bool:
    return _by_image(node) and _axis(-1)(node) > 0


def _pad(node: Node) -> bool:
    """Nothing is added to the images or taken from them."""
    pads = (ints(node.constant(1)) if node.version >= 11 else tuple(node.attr("pads", ()))) or ()
    return _by_image(node) and bool(pads) and pads[0] == pads[len(pads) // 2] == 0 and node.constant(3) is None


def _slice(node: Node) -> bool:
    axes = ints(node.constant(3))
    rank = len(node.input(0).shape)
    return node.version >= 10 and _by_image(node) and axes is not None and 0 not in [axis % rank for axis in axes]


def _resize(node: Node) -> bool:
    """The images are not resampled; 4 images by 1.1 are 4 images."""
    crops = node.attr("coordinate_transformation_mode", "") == "tf_crop_and_resize"
    return _by_image(node) and not crops and all(axis > 0 for axis, _ in taps_of(node))


RULES: dict[str, Callable[[Node], bool]] = {
    **dict.fromkeys(OPERATORS, _elementwise),
    **dict.fromkeys(
        (
            "AveragePool",
            "BatchNormalization",
            "Conv",
            "ConvTranspose",
            "DepthToSpace",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "InstanceNormalization",
            "MaxPool",
            "SpaceToDepth",
        ),
        _by_image,
    ),
    **dict.fromkeys(("ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum"), _reduce),
    "Concat": _along(lambda node: concat_axis(node, len(node.output.shape))),
    "Flatten": _along(_axis(1)),
    "Gemm": _gemm,
    "LayerNormalization": _layer_norm,
    "LogSoftmax": _along(_softmax_axis),
    "MatMul": _matmul,
    "Pad": _pad,
    "Reshape": _by_image,
    "Resize": _resize,
    "Slice": _slice,
    "Softmax": _along(_softmax_axis),
    "Squeeze": _by_image,
    "Transpose": lambda node: not node.input(0).is_constant and node.attr("perm", (1,))[0] == 0,
    "Unsqueeze": _by_image,
    "Upsample": _resize,
}
"""When an operator computes each image by itself. That its result has one for each image is looked at in any case."""
