"""Normalisations: the distance of an element from the mean of its row, over the standard deviation, and the like.

A row is a set of elements that are normalised together. The variance is the mean squared distance from the mean, never
a difference of squares, which would cancel.
"""

from __future__ import annotations

import numpy as np

from engine.gpu.kernels.convolution.normalized import wait_for_product
from engine.gpu.kernels.reduction.row_reduction import RowLayout, Statistic, normalize
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.chain import Tree
from engine.gpu.program.expressions import literal
from engine.gpu.program.numbers import Numbers
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.normalization import EPSILON, trailing
from engine.ops.types import normalize_axes, normalize_axis


def mean(length: int) -> Statistic:
    """The mean of x, by a division as in IEEE 754: that of equal elements is exact, and their distance from it 0."""
    numbers = Numbers()
    result = f"divided(total, {numbers.scalar('elements', max(1, length))})"
    return Statistic("mean", "x", join="sum", neutral=literal(0), result=result, uniforms=numbers.uniforms)


def inverse_deviation(length: int, epsilon: float, term: str = "(x - mean) * (x - mean)") -> Statistic:
    """1 over the root of the mean of ``term`` plus ``epsilon``: not by inverseSqrt, which may round twice."""
    numbers = Numbers()
    variance = f"total * {numbers.scalar('share', 1 / max(1, length))} + {numbers.scalar('epsilon', epsilon)}"
    result = f"F(1.0) / sqrt({variance})"
    return Statistic("inverse", term, join="sum", neutral=literal(0), result=result, uniforms=numbers.uniforms)


STANDARD = "(x - mean) * inverse"


@lowers("InstanceNormalization")
def lower_instance_normalization(node: Node, lowering: Lowering) -> None:
    x, scale, b = (lowering.input(node, index) for index in range(3))
    y = lowering.output(node, order=x.order(), reads=[x, scale, b])
    _standardize(
        node, lowering, x, y, axes=tuple(range(2, x.rank)), scale=_per_channel(scale, x.rank), b=_per_channel(b, x.rank)
    )


@lowers("GroupNormalization")
def lower_group_normalization(node: Node, lowering: Lowering) -> None:
    x, scale, b = (lowering.input(node, index) for index in range(3))
    y = lowering.output(node, order=x.order(), reads=[x, scale, b])
    groups = node.attr("num_groups")

    def split_groups(tensor: Tensor, axis: int) -> Tensor:
        """``tensor`` with its axis of channels, ``axis``, split into groups and channels of a group."""
        lead, rest = tensor.shape[:axis], tensor.shape[axis + 1 :]
        return tensor.view((*lead, groups, tensor.shape[axis] // groups, *rest))

    x, y = split_groups(x, 1), split_groups(y, 1)
    # version 18 has one scale for a group
    scale, b = (_per_channel(split_groups(parameter, 0), x.rank) for parameter in (scale, b))
    _standardize(node, lowering, x, y, axes=tuple(range(2, x.rank)), scale=scale, b=b)


def _per_channel(parameter: Tensor, rank: int) -> Tensor:
    """A parameter ``[C, ...]`` that broadcasts to ``[N, C, *spatial]`` of ``rank`` axes."""
    return parameter.view((*parameter.shape, *(1,) * (rank - 1 - parameter.rank)))


def _standardize(
    node: Node, lowering: Lowering, x: Tensor, y: Tensor, axes: tuple[int, ...], scale: Tensor, b: Tensor | None
) -> None:
    reads = {"x": x, "scale": scale.broadcast_to(x.shape)}
    reads |= {} if b is None else {"b": b.broadcast_to(x.shape)}
    rows = RowLayout(reads, axes)
    row_outputs = [
        (lowering.output(node, index, reads=list(reads.values())), name)
        for index, name in ((1, "mean"), (2, "inverse"))
        if lowering.is_read(node, index)
    ]
    statistics = [mean(rows.length), inverse_deviation(rows.length, node.attr("epsilon", EPSILON))]
    normalize(
        lowering,
        rows,
        statistics,
        y=y,
        value=f"{STANDARD} * scale{'' if b is None else ' + b'}",
        row_outputs=row_outputs,
    )


@lowers("LayerNormalization")
def lower_layer_normalization(node: Node, lowering: Lowering) -> None:
    if not wait_for_product(node, lowering, _emit_layer_normalization):
        _emit_layer_normalization(node, lowering)


def _emit_layer_normalization(node: Node, lowering: Lowering) -> None:
    x, scale, b = lowering.input(node, 0), lowering.input(node, 1), lowering.optional(node, 2)
    y = lowering.output(node, order=x.order(), reads=[x, scale, *([] if b is None else [b])])
    _standardize(node, lowering, x, y, axes=trailing(node, x.shape), scale=scale, b=b)


@lowers("RMSNormalization")
def lower_rms_normalization(node: Node, lowering: Lowering) -> None:
    x, scale = lowering.input(node, 0), lowering.input(node, 1)
    y = lowering.output(node, order=x.order(), reads=[x, scale])
    rows = RowLayout({"x": x, "scale": scale.broadcast_to(x.shape)}, trailing(node, x.shape))
    inverse = inverse_deviation(rows.length, node.attr("epsilon", EPSILON), "x * x")
    normalize(lowering, rows, [inverse], y=y, value="x * inverse * scale")


@lowers("MeanVarianceNormalization")
def lower_mean_variance_normalization(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    y = lowering.output(node, order=x.order(), reads=[x])
    rows = RowLayout({"x": x}, normalize_axes(node.attr("axes", (0, 2, 3)), x.rank))
    numbers = Numbers()
    deviation = f"sqrt(total * {numbers.scalar('share', 1 / max(1, rows.length))})"
    inverse = Statistic(
        "inverse",
        "(x - mean) * (x - mean)",
        join="sum",
        neutral=literal(0),
        result=f"F(1.0) / ({deviation} + {literal(1e-9)})",
        uniforms=numbers.uniforms,
    )
    normalize(lowering, rows, [mean(rows.length), inverse], y=y, value=STANDARD)


@lowers("LpNormalization")
def lower_lp_normalization(node: Node, lowering: Lowering) -> None:
    x = lowering.input(node, 0)
    y = lowering.output(node, order=x.order(), reads=[x])
    squares = node.attr("p", 2) == 2
    rows = RowLayout({"x": x}, (normalize_axis(node.attr("axis", -1), x.rank),))
    norm = "sqrt(total)" if squares else "total"
    # a row of zeros stays as it is
    inverse = f"select(F(1.0) / {norm}, F(0.0), (total == F(0.0)) & !is_nan(total))"
    term = "x * x" if squares else "abs(x)"
    normalize(
        lowering,
        rows,
        [Statistic("inverse", term, join="sum", neutral=literal(0), result=inverse)],
        y=y,
        value="x * inverse",
    )


@lowers("BatchNormalization")
def lower_batch_normalization(node: Node, lowering: Lowering) -> None:
    x, dtype, epsilon = lowering.input(node, 0), node.output.dtype, node.attr("epsilon", EPSILON)
    constants = [node.constant(index) for index in range(1, 5)]
    arrays = [np.asarray(array, np.float64) for array in constants if array is not None]
    if len(arrays) == 4:
        scale, b, centre, variance = arrays
        constant_parameters = {"mean": centre, "scale": scale / np.sqrt(variance + epsilon), "b": b}
        tensors = [
            lowering.constant(array.astype(np.float32), f"{node.output.name}:{name}")
            for name, array in constant_parameters.items()
        ]
        value = "(a0 - a1) * a2 + a3"
    else:
        tensors = [lowering.input(node, index) for index in (3, 1, 2, 4)]
        value = f"(a0 - a1) / sqrt(a4 + {literal(epsilon)}) * a2 + a3"
    y = lowering.output(node, order=x.order(), reads=[x, *tensors])
    parameters = [x, *(_per_channel(tensor, max(x.rank, 2)) for tensor in tensors)]
    tree = Tree(lines=[f"let value = {value};"], result="value")
    lowering.elementwise(
        tree, [(f"a{index}", tensor, dtype) for index, tensor in enumerate(parameters)], y, dtype=dtype
    )
