"""Normalisations: an element's distance from the mean of its row, over the deviation of that, and the like.

A row is what is normalised together. The variance is the mean squared distance from the mean, never a difference of
squares, which would cancel.
"""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.elementwise import Tree, emit
from engine.gpu.kernels.expressions import literal
from engine.gpu.kernels.row_reduction import Rows, Statistic, normalize
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.normalization import EPSILON, trailing
from engine.ops.types import normalize_axes, normalize_axis


def mean(length: int) -> Statistic:
    """The mean of x, divided as IEEE 754 has it: of equal elements it is each of them, and what is left of them 0."""
    return Statistic("mean", "x", "sum", literal(0), f"divided(total, {literal(max(1, length))})")


def inverse_deviation(length: int, epsilon: float, term: str = "(x - mean) * (x - mean)") -> Statistic:
    """1 over the root of the mean ``term`` plus ``epsilon``: without rounding twice, as inverseSqrt may."""
    variance = f"total * {literal(1 / max(1, length))} + {literal(epsilon)}"
    return Statistic("inverse", term, "sum", literal(0), f"F(1.0) / sqrt({variance})")


STANDARD = "(x - mean) * inverse"


@lowers("InstanceNormalization")
def lower_instance_normalization(node: Node, low: Lowering) -> None:
    x, scale, b = (low.input(node, index) for index in range(3))
    y = low.output(node, order=x.order(), reads=[x, scale, b])
    _standardize(node, low, x, y, tuple(range(2, x.rank)), _per_channel(scale, x.rank), _per_channel(b, x.rank))


@lowers("GroupNormalization")
def lower_group_normalization(node: Node, low: Lowering) -> None:
    x, scale, b = (low.input(node, index) for index in range(3))
    y = low.output(node, order=x.order(), reads=[x, scale, b])
    groups = node.attr("num_groups")

    def grouped(tensor: Tensor, axis: int) -> Tensor:
        """The channels, on ``axis``, cut into groups."""
        lead, rest = tensor.shape[:axis], tensor.shape[axis + 1 :]
        view = tensor.reshape((*lead, groups, tensor.shape[axis] // groups, *rest))
        assert view is not None  # cutting one axis takes nothing but strides
        return view

    x, y = grouped(x, 1), grouped(y, 1)
    # version 18 has one scale for a group
    scale, b = (_per_channel(grouped(parameter, 0), x.rank) for parameter in (scale, b))
    _standardize(node, low, x, y, tuple(range(2, x.rank)), scale, b)


def _per_channel(parameter: Tensor, rank: int) -> Tensor:
    """A parameter ``[C, ...]`` that broadcasts to ``[N, C, *spatial]`` of ``rank`` axes."""
    view = parameter.reshape((*parameter.shape, *(1,) * (rank - 1 - parameter.rank)))
    assert view is not None
    return view


def _standardize(
    node: Node, low: Lowering, x: Tensor, y: Tensor, axes: tuple[int, ...], scale: Tensor, b: Tensor | None
) -> None:
    reads = {"x": x, "scale": scale.broadcast_to(x.shape)}
    reads |= {} if b is None else {"b": b.broadcast_to(x.shape)}
    rows = Rows(reads, axes)
    numbers = [
        (low.output(node, index, reads=list(reads.values())), name)
        for index, name in ((1, "mean"), (2, "inverse"))
        if low.wanted(node, index)
    ]
    statistics = [mean(rows.length), inverse_deviation(rows.length, node.attr("epsilon", EPSILON))]
    normalize(low, rows, statistics, y, f"{STANDARD} * scale{'' if b is None else ' + b'}", numbers)


@lowers("LayerNormalization")
def lower_layer_normalization(node: Node, low: Lowering) -> None:
    x, scale, b = low.input(node, 0), low.input(node, 1), low.optional(node, 2)
    y = low.output(node, order=x.order(), reads=[x, scale, *([] if b is None else [b])])
    _standardize(node, low, x, y, trailing(node, x.shape), scale, b)


@lowers("RMSNormalization")
def lower_rms_normalization(node: Node, low: Lowering) -> None:
    x, scale = low.input(node, 0), low.input(node, 1)
    y = low.output(node, order=x.order(), reads=[x, scale])
    rows = Rows({"x": x, "scale": scale.broadcast_to(x.shape)}, trailing(node, x.shape))
    inverse = inverse_deviation(rows.length, node.attr("epsilon", EPSILON), "x * x")
    normalize(low, rows, [inverse], y, "x * inverse * scale")


@lowers("MeanVarianceNormalization")
def lower_mean_variance_normalization(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    y = low.output(node, order=x.order(), reads=[x])
    rows = Rows({"x": x}, normalize_axes(node.attr("axes", (0, 2, 3)), x.rank))
    deviation = f"sqrt(total * {literal(1 / max(1, rows.length))})"
    inverse = Statistic(
        "inverse", "(x - mean) * (x - mean)", "sum", literal(0), f"F(1.0) / ({deviation} + {literal(1e-9)})"
    )
    normalize(low, rows, [mean(rows.length), inverse], y, STANDARD)


@lowers("LpNormalization")
def lower_lp_normalization(node: Node, low: Lowering) -> None:
    x = low.input(node, 0)
    y = low.output(node, order=x.order(), reads=[x])
    squares = node.attr("p", 2) == 2
    rows = Rows({"x": x}, (normalize_axis(node.attr("axis", -1), x.rank),))
    norm = "sqrt(total)" if squares else "total"
    # a row of zeros stays as it is
    inverse = f"select(F(1.0) / {norm}, F(0.0), (total == F(0.0)) & !is_nan(total))"
    term = "x * x" if squares else "abs(x)"
    normalize(low, rows, [Statistic("inverse", term, "sum", literal(0), inverse)], y, "x * inverse")


@lowers("BatchNormalization")
def lower_batch_normalization(node: Node, low: Lowering) -> None:
    x, dtype, epsilon = low.input(node, 0), node.output.dtype, node.attr("epsilon", EPSILON)
    known = [node.constant(index) for index in range(1, 5)]
    arrays = [np.asarray(array, np.float64) for array in known if array is not None]
    if len(arrays) == 4:
        scale, b, centre, variance = arrays
        folded = {"mean": centre, "scale": scale / np.sqrt(variance + epsilon), "b": b}
        tensors = [
            low.constant(array.astype(np.float32), f"{node.output.name}:{name}") for name, array in folded.items()
        ]
        value = "(a0 - a1) * a2 + a3"
    else:
        tensors = [low.input(node, index) for index in (3, 1, 2, 4)]
        value = f"(a0 - a1) / sqrt(a4 + {literal(epsilon)}) * a2 + a3"
    y = low.output(node, order=x.order(), reads=[x, *tensors])
    parameters = [x, *(_per_channel(tensor, max(x.rank, 2)) for tensor in tensors)]
    tree = Tree(lines=[f"let value = {value};"], result="value")
    emit(tree, [(f"a{index}", tensor, dtype) for index, tensor in enumerate(parameters)], y, dtype, low)
