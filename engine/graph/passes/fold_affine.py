"""Fold an Add or Mul of one constant number for each channel into the bias and weights of the convolution before it."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import has_extremes, is_extreme
from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher
from engine.graph.target import ANY, Target

BIAS = {"Conv": 2, "ConvTranspose": 2, "DeformConv": 3}
"""Where each operator has its bias."""


def fold_affine(graph: Graph, target: Target = ANY) -> int:
    """Let the convolutions that only such an Add or Mul reads add or multiply themselves. Returns how many went.

    Products are formed in float64. What overflows before a factor need not behind it, so extremes stay apart; and
    weights of bytes stay bytes, and are not multiplied.
    """
    matcher = Matcher(graph, target)
    count = 0
    for node in list(matcher.nodes()):
        if node.op not in ("Add", "Mul") or node.domain:
            continue
        for value, constant in (node.inputs, node.inputs[::-1]):
            conv = matcher.private(value, *BIAS)
            if conv is None or constant is None or constant.data is None or conv.output.type != node.output.type:
                continue
            numbers = by_channel(constant.data, conv.output.shape)
            bias = conv.optional_input(BIAS[conv.op])
            if numbers is None or (bias is not None and bias.data is None):
                continue
            folded = _with_bias(conv, numbers, node) if node.op == "Add" else _scaled(conv, numbers, node)
            if folded is not None:
                count += matcher.replace(node, [folded], [conv])
                break
    matcher.finish()
    return count


def by_channel(constant: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """One number for each channel of ``shape`` ``[N, M, *spatial]``, as broadcasting ``constant`` adds them."""
    if constant.ndim > len(shape):
        return None
    whole = constant.reshape((1,) * (len(shape) - constant.ndim) + constant.shape)
    if any(extent != 1 for axis, extent in enumerate(whole.shape) if axis != 1):
        return None
    return np.ascontiguousarray(np.broadcast_to(whole.reshape(-1), (shape[1],)))


def _with_bias(conv: Node, addend: np.ndarray, last: Node) -> Node:
    bias = conv.constant(BIAS[conv.op])
    return _replaced(conv, {BIAS[conv.op]: addend if bias is None else bias + addend}, last)


def _scaled(conv: Node, factors: np.ndarray, last: Node) -> Node | None:
    """The convolution times a factor for each output channel, where its weights are known numbers."""
    w, bias = conv.constant(1), conv.constant(BIAS[conv.op])
    if w is None or conv.input(1).quantized is not None or has_extremes(conv) or is_extreme(factors):
        return None
    wide = factors.astype(np.float64)
    if conv.op == "ConvTranspose":
        # weights [C, M/group, ...]: output channel g * M/group + m belongs to input block g
        blocks = w.reshape(conv.attr("group", 1), -1, *w.shape[1:])
        scaled = blocks * wide.reshape(len(blocks), 1, w.shape[1], *(1,) * (w.ndim - 2))
    else:
        scaled = w * wide.reshape(-1, *(1,) * (w.ndim - 1))
    constants = {1: scaled.reshape(w.shape).astype(w.dtype)}
    if bias is not None:
        constants[BIAS[conv.op]] = (bias * wide).astype(bias.dtype)
    return _replaced(conv, constants, last)


def _replaced(conv: Node, constants: dict[int, np.ndarray], last: Node) -> Node:
    """The convolution with other constants among its inputs, making what ``last`` makes."""
    inputs = [*conv.inputs, *[None] * (max(constants) + 1 - len(conv.inputs))]
    for index, data in constants.items():
        inputs[index] = Value.constant(f"{last.name}:{'bias' if index == BIAS[conv.op] else 'w'}", data)
    return Node(
        conv.op,
        inputs,
        list(last.outputs),
        attributes=conv.attributes,
        domain=conv.domain,
        version=conv.version,
        name=conv.name,
    )
