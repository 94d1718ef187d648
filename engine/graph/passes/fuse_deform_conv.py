"""Make one DeformConv of the GatherND expansion that deform_conv2d_onnx_exporter writes.

A quantised file has a DynamicQuantizeLinear and a ConvInteger where the expansion ends in a Conv. Its bytes hang on the
extremes of all columns: one node finds the scale and zero point of these, and another one multiplies.

The expansion adds the offsets to a constant grid of positions on the padded input, picks the four corners around each
position, weighs them, scales the sum by the mask, and lays the taps out for a convolution whose kernel is its stride.
Of the grid only where it starts and how it steps matters: DeformConv computes positions itself, in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, Value
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.fuse_dynamic_quantization import quantization
from engine.graph.passes.match import Matcher, is_close, new_node, with_scalar
from engine.graph.rearrangement import RELABELLINGS
from engine.graph.target import ANY, Target

DEFORM_CONV_SINCE = 19

GATHER_VERSION = 13


def fuse_deform_conv(graph: Graph, target: Target = ANY) -> int:
    """Replace each expansion of one image, one group and one group of offsets. Returns how many went."""
    matcher = Matcher(graph, target)
    count = 0
    for node in list(graph.nodes):
        quantize = quantization(matcher, node) if node.op == "ConvInteger" and not node.domain else None
        columns = quantize.input(0) if quantize is not None else node.inputs[0] if node.op == "Conv" else None
        expansion = None if columns is None else _Expansion.ending_in(node, columns, matcher)
        if expansion is not None and quantize is None:
            count += matcher.replace(node, [expansion.node(node)])
        elif expansion is not None and quantize is not None:
            count += expansion.replace_integers(node, quantize, matcher)
    matcher.finish()
    remove_dead_code(graph)
    return count


@dataclass(frozen=True, slots=True)
class _Corner:
    """One corner: what stands there, its rows and columns, and its weight."""

    data: Value
    row: Value
    column: Value
    weight: Value


@dataclass(frozen=True, slots=True)
class _Expansion:
    """A match: the operands and attributes of the DeformConv."""

    x: Value
    weights: Value
    offset: Value
    mask: Value
    bias: Value | None
    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    begin: tuple[int, int]
    end: tuple[int, int]

    @staticmethod
    def ending_in(conv: Node, columns: Value, matcher: Matcher) -> _Expansion | None:
        """The expansion whose last node is the convolution ``conv``, of ``columns`` or of their bytes."""
        if conv.domain or len(conv.output.shape) != 4 or not conv.input(1).is_constant:
            return None
        kernel = conv.input(1).shape[2], conv.input(1).shape[3]
        plain = tuple(conv.attr("strides", (1, 1))) == kernel and not any(conv.attr("pads", ()))
        if not plain or conv.attr("group", 1) != 1 or set(conv.attr("dilations", (1,))) != {1}:
            return None
        count, channels, *_ = columns.shape
        height, width = conv.output.shape[2:]
        taps = kernel[0] * kernel[1]
        layout = _unreshaped(columns, matcher)
        transpose = matcher.producer(layout, "Transpose")
        if count != 1 or transpose is None or tuple(transpose.attr("perm", ())) != (0, 1, 4, 2, 5, 3):
            return None
        if transpose.input(0).shape != (1, channels, *kernel, height, width):
            return None
        product = matcher.producer(_unreshaped(transpose.input(0), matcher), "Mul")
        if product is None:
            return None
        for total, factor in (product.inputs, product.inputs[::-1]):
            corners = _corners(total, matcher, (channels, taps, height, width))
            if corners is None or factor is None or factor.type.size != taps * height * width:
                continue
            mask = _with_shape(factor, (1, taps, height, width), matcher)
            sample = None if mask is None else _bilinear_sample(corners, matcher)
            if mask is None or sample is None:
                continue
            x, pads, grid, offset = sample
            steps = _steps(grid, kernel, (height, width))
            offset_of = _with_shape(offset, (1, 2 * taps, height, width), matcher)
            if steps is None or offset_of is None or x.shape[1] != channels:
                continue
            strides, dilations, start = steps
            begin = pads[0] - start[0], pads[1] - start[1]
            reach = [
                (extent - 1) * stride + (size - 1) * dilation + 1
                for extent, stride, size, dilation in zip((height, width), strides, kernel, dilations, strict=True)
            ]
            end = reach[0] - begin[0] - x.shape[2], reach[1] - begin[1] - x.shape[3]
            if min(*begin, *end) >= 0:
                return _Expansion(
                    x=x,
                    weights=conv.input(1),
                    offset=offset_of,
                    mask=mask,
                    bias=conv.optional_input(2) if conv.op == "Conv" else None,
                    kernel=kernel,
                    strides=strides,
                    dilations=dilations,
                    begin=begin,
                    end=end,
                )
        return None

    @property
    def attributes(self) -> dict[str, Any]:
        """The attributes of a DeformConv."""
        return {
            "kernel_shape": self.kernel,
            "strides": self.strides,
            "dilations": self.dilations,
            "pads": (*self.begin, *self.end),
            "group": 1,
            "offset_group": 1,
        }

    def node(self, conv: Node) -> Node:
        """The operator that takes the place of ``conv``."""
        inputs = [self.x, self.weights, self.offset, self.bias, self.mask]
        return new_node(
            "DeformConv", inputs, conv.name, attributes=self.attributes, version=DEFORM_CONV_SINCE, output=conv.output
        )

    def replace_integers(self, conv: Node, quantize: Node, matcher: Matcher) -> bool:
        """Replace a ConvInteger and the DynamicQuantizeLinear before it. Returns whether the target takes the nodes."""
        common: dict[str, Any] = {"attributes": self.attributes, "version": 1, "domain": INTERNAL_DOMAIN}
        name, w_zero = f"{conv.name}:quantization", conv.optional_input(3)
        parameters = new_node("DeformQuantization", [self.x, self.offset, self.mask], name, **common)
        factors = [self.x, self.weights, parameters.output, w_zero, self.offset, self.mask]
        product = new_node("DeformConvInteger", factors, conv.name, output=conv.output, **common)
        # what scales the sums reads the scale
        first = Value.constant(f"{conv.name}:first", np.array(0))
        scale = new_node(
            "Gather", [parameters.output, first], quantize.name, version=GATHER_VERSION, output=quantize.outputs[1]
        )
        if not matcher.target.supports(product):
            return False
        return matcher.replace(quantize, [parameters, scale]) and matcher.replace(conv, [product])


def _unreshaped(value: Value, matcher: Matcher) -> Value:
    """What ``value`` is but another shape of."""
    while (node := matcher.producer(value, *RELABELLINGS)) is not None:
        value = node.input(0)
    return value


def _with_shape(value: Value, shape: tuple[int, ...], matcher: Matcher) -> Value | None:
    """The value of ``shape`` that ``value`` is but another shape of."""
    while value.shape != shape:
        node = matcher.producer(value, *RELABELLINGS)
        if node is None:
            return None
        value = node.input(0)
    return value


def _corners(total: Value | None, matcher: Matcher, shape: tuple[int, ...]) -> list[_Corner] | None:
    """The four weighted corners that ``total`` is the sum of, each of ``shape`` (channels, taps, height, width)."""
    node = matcher.producer(total, "Sum")
    if node is None or len(node.inputs) != 4:
        return None
    corners = [_corner(matcher.producer(term, "Mul"), matcher, shape) for term in node.used_inputs()]
    matches = [corner for corner in corners if corner is not None]
    return matches if len(matches) == 4 else None


def _corner(product: Node | None, matcher: Matcher, shape: tuple[int, ...]) -> _Corner | None:
    if product is None or product.output.type.size != prod(shape):
        return None
    for weight, value in (product.inputs, product.inputs[::-1]):
        transpose = None if value is None else matcher.producer(_unreshaped(value, matcher), "Transpose")
        gather = None if transpose is None else matcher.producer(transpose.input(0), "GatherND")
        if weight is None or transpose is None or gather is None or tuple(transpose.attr("perm", ())) != (0, 1, 3, 2):
            continue
        index = matcher.producer(gather.input(1), "Concat")
        channels_last = matcher.producer(gather.input(0), "Transpose")
        if index is None or channels_last is None or len(index.inputs) != 2 or gather.attr("batch_dims", 0) != 2:
            continue
        fits = (
            tuple(channels_last.attr("perm", ())) == (0, 1, 3, 4, 2)
            and gather.output.shape == (1, 1, prod(shape[1:]), shape[0])
            and weight.type.size == prod(shape[1:])
            and index.attr("axis") in (3, -1)
        )
        if fits:
            row, column = (_unreshaped(item, matcher) for item in index.used_inputs())
            return _Corner(_unreshaped(channels_last.input(0), matcher), row, column, _unreshaped(weight, matcher))
    return None


@dataclass(frozen=True, slots=True)
class _Edge:
    """One clipped index: of axis 0 or 1, ``step`` 0 or 1 behind the floor of ``position``, at most ``limit``."""

    position: Value
    axis: int
    step: int
    limit: int


def _bilinear_sample(
    corners: Sequence[_Corner], matcher: Matcher
) -> tuple[Value, tuple[int, int], np.ndarray, Value] | None:
    """x, its pads in front, the grid and the offsets; None unless the corners are those of one bilinear sample."""
    data = {corner.data for corner in corners}
    pad = matcher.producer(data.pop(), "Pad")
    if data or pad is None or not _pads_zeros(pad):
        return None
    edges = [(_edge(corner.row, matcher), _edge(corner.column, matcher)) for corner in corners]
    positions, steps = set(), set()
    for corner, (row, column) in zip(corners, edges, strict=True):
        if row is None or column is None or (row.axis, column.axis) != (0, 1) or row.position is not column.position:
            return None
        if (row.limit, column.limit) != (pad.output.shape[2] - 1, pad.output.shape[3] - 1):
            return None
        if not _is_bilinear_weight(corner.weight, row, column, matcher):
            return None
        positions.add(row.position)
        steps.add((row.step, column.step))
    total = matcher.producer(positions.pop(), "Add")
    if positions or len(steps) != 4 or total is None:
        return None
    for grid, offset in (total.inputs, total.inputs[::-1]):
        if grid is not None and grid.data is not None and offset is not None and grid.shape == offset.shape:
            pads = pad.constant(1)
            assert pads is not None
            return pad.input(0), (int(pads[2]), int(pads[3])), grid.data, offset
    return None


def _pads_zeros(pad: Node) -> bool:
    """Whether zeros lie on all sides of the image: indices are clipped to these, which is what lies outside."""
    pads, fill = pad.constant(1), pad.constant(2)
    constant = pad.attr("mode", "constant") == "constant" and len(pad.inputs) <= 3 and len(pad.input(0).shape) == 4
    if not constant or pads is None or (fill is not None and fill.any()):
        return False
    return not pads[[0, 1, 4, 5]].any() and bool(pads[[2, 3, 6, 7]].min() >= 1)


def _edge(value: Value, matcher: Matcher) -> _Edge | None:
    clip = matcher.producer(value, "Clip")
    if clip is None or not is_close(clip.optional_input(1), 0):
        return None
    high = clip.constant(2)
    floor, step = clip.input(0), 0
    unit_addend = with_scalar(matcher.producer(floor, "Add"), 1)
    if unit_addend is not None:
        floor, step = unit_addend, 1
    part = _part(floor, matcher)
    cast = None if part is None else matcher.producer(part[0], "Cast")
    down = None if cast is None else matcher.producer(cast.input(0), "Floor")
    if part is None or down is None or high is None:
        return None
    return _Edge(down.input(0), part[1], step, int(high.item()))


def _part(value: Value, matcher: Matcher) -> tuple[Value, int] | None:
    """What ``value`` is the slice of at one position of axis 3, and that position."""
    node = matcher.producer(value, "Slice")
    if node is None or len(node.input(0).shape) != 6:
        return None
    start, end, axes = (node.constant(index) for index in (1, 2, 3))
    if start is None or end is None or axes is None or axes.tolist() not in ([3], [-3]):
        return None
    first = int(start[0])
    return (node.input(0), first) if int(end[0]) == first + 1 and first in (0, 1) else None


def _is_bilinear_weight(weight: Value, row: _Edge, column: _Edge, matcher: Matcher) -> bool:
    """Whether ``weight`` is the product of what the position is away from the opposite edges."""
    product = matcher.producer(weight, "Mul")
    if product is None:
        return False
    distances = {_distance(factor, row.position, matcher) for factor in product.used_inputs()}
    return distances == {(0, row.step), (1, column.step)}


def _distance(factor: Value, position: Value, matcher: Matcher) -> tuple[int, int] | None:
    """(axis, 1) for the part of ``position`` behind its floor along that axis, (axis, 0) for what is left to 1."""
    step = 1
    rest = matcher.producer(factor, "Sub")
    if rest is not None and is_close(rest.input(0), 1):
        factor, step = rest.input(1), 0
    part = _part(factor, matcher)
    fraction = None if part is None else matcher.producer(part[0], "Sub")
    floor = None if fraction is None else matcher.producer(fraction.input(1), "Floor")
    if part is None or fraction is None or floor is None:
        return None
    return (part[1], step) if fraction.input(0) is position is floor.input(0) else None


def _steps(
    grid: np.ndarray, kernel: tuple[int, int], out: tuple[int, int]
) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None:
    """Strides, dilations and the first position of ``grid``, ``[1, 1, taps, 2, *out]``, along both axes.

    None where it is no regular grid.
    """
    if grid.shape != (1, 1, kernel[0] * kernel[1], 2, *out):
        return None
    by_tap = grid.reshape(*kernel, 2, *out)
    lines = by_tap[:, 0, 0, :, 0], by_tap[0, :, 1, 0, :]
    strides, dilations, start = [], [], []
    for axis, line in enumerate(lines):
        first = float(line[0, 0])
        stride = float(line[0, 1]) - first if out[axis] > 1 else 1.0
        dilation = float(line[1, 0]) - first if kernel[axis] > 1 else 1.0
        if any(number != int(number) for number in (first, stride, dilation)):
            return None
        strides.append(int(stride))
        dilations.append(int(dilation))
        start.append(int(first))
        expected = first + np.arange(kernel[axis])[:, None] * dilation + np.arange(out[axis]) * stride
        positions = by_tap[:, :, axis]
        by_axis = expected[:, None, :, None] if axis == 0 else expected[None, :, None, :]
        if not np.array_equal(positions, np.broadcast_to(by_axis, positions.shape).astype(grid.dtype, copy=False)):
            return None
    return (strides[0], strides[1]), (dilations[0], dilations[1]), (start[0], start[1])
