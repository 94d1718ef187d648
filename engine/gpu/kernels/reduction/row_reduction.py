"""Host of row_reduction.wgsl: statistics over some axes for every position on the others, and results from them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isqrt, prod

import numpy as np

from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree, collapse_axes
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, affine_span
from engine.gpu.program.expressions import functions_in
from engine.gpu.program.numbers import Numbers
from engine.gpu.program.tensor import ITEM_BYTES, Tensor

JOINS = {
    "sum": "{} + {}",
    "product": "{} * {}",
    "largest": "larger({}, {})",
    "smallest": "smaller({}, {})",
}

LONG_LANE = 64
"""Elements of a lane above which a second dispatch is faster, if few workgroups have work."""

FEW_GROUPS = 256
"""Workgroups that keep every processor of a large GPU busy."""

MANY_ROWS = 4096
"""Rows from which on a lane takes several elements of each, as joining more lanes costs more than it saves."""

MAX_CONSTANT_STEPS = 16
"""Elements that a lane takes of a row, whose elements lie side by side, up to which the row's length is a constant, so
that all loads are in flight."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """``name`` = ``result``, an expression of ``total``, which is the ``join`` (a key of JOINS) of every ``term``.

    Terms are expressions of the operands and of earlier statistics, of WGSL type ``type``. ``neutral`` is the neutral
    element of the join. ``uniforms`` are the numbers that ``result`` names.
    """

    name: str
    term: str
    join: str
    neutral: str
    result: str = "total"
    type: str = "f32"
    uniforms: Mapping[str, int] = field(default_factory=dict)

    def join_expression(self, a: str, b: str) -> str:
        """The join of two expressions."""
        form = JOINS[self.join]
        if self.type != "f32":
            form = form.replace("larger", "max").replace("smaller", "min")
        return form.format(a, b)


@dataclass(frozen=True, slots=True)
class RowLayout:
    """Operands of one shape, and the axes that are reduced: the elements along ``axes`` are a row.

    The operands may be broadcast views. An output has their shape, with extent 1 on ``axes`` if it is one number a row.
    """

    reads: dict[str, Tensor]
    axes: tuple[int, ...]

    @property
    def x(self) -> Tensor:
        """The first operand."""
        return next(iter(self.reads.values()))

    @property
    def outer_axes(self) -> tuple[int, ...]:
        """The axes that are not reduced."""
        return tuple(axis for axis in range(self.x.rank) if axis not in self.axes)

    @property
    def length(self) -> int:
        """Elements of a row."""
        return prod(self.x.shape[axis] for axis in self.axes)

    @property
    def count(self) -> int:
        """The number of rows."""
        return prod(self.x.shape[axis] for axis in self.outer_axes)

    @property
    def is_innermost(self) -> bool:
        """Whether the innermost axis in memory is one of a row."""
        axes = [axis for axis in self.x.order() if self.x.shape[axis] > 1 and self.x.strides[axis]]
        return not axes or axes[-1] in self.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of an output of one number a row."""
        return tuple(1 if axis in self.axes else extent for axis, extent in enumerate(self.x.shape))

    def tile(self) -> tuple[int, int]:
        """The rows of a workgroup, and the lanes of each."""
        if self.is_innermost:
            lanes = _power_above(-(-self.length // 8) if self.count >= MANY_ROWS else self.length)
            return INVOCATIONS // lanes, lanes
        columns = min(64, _power_above(self.count))
        lanes = min(INVOCATIONS // columns, _power_above(self.length))
        return INVOCATIONS // lanes, lanes

    def is_long(self, limit: int) -> bool:
        """Whether rows are too long for a workgroup each: too few have work, or a row exceeds ``limit`` bytes."""
        columns, lanes = self.tile()
        if self.length > LONG_LANE * lanes and self.count <= FEW_GROUPS * columns:
            return True
        outer_axes = [axis for axis in self.outer_axes if self.x.shape[axis] > 1]
        outer = min(outer_axes, key=self.x.order().index, default=None)
        row = self.x if outer is None else self.x.slice(outer, 0, 1)
        begin, end = row.span()
        return self.length > 1 and (end - begin) * ITEM_BYTES[row.dtype] > limit


def _power_above(number: int) -> int:
    """The least power of two that is not below ``number``, at most the invocations of a workgroup."""
    return min(INVOCATIONS, 1 << max(0, number - 1).bit_length())


@dataclass(frozen=True, slots=True)
class _TensorAddress:
    """The address of an element, as WGSL, by the position of its row and its position in the row."""

    numbers: Numbers
    name: str
    tensor: Tensor
    row_extents: Sequence[int]
    row_strides: Sequence[int]
    element_extents: Sequence[int]
    element_strides: Sequence[int]

    def item(self) -> str:
        rows, elements = len(self.row_strides), len(self.element_strides)
        positions = [*(f"i{axis}" for axis in range(rows)), *(f"e{axis}" for axis in range(elements))]
        index = self.numbers.index(self.name, [*self.row_strides, *self.element_strides], positions)
        return f"{self.name}[{index}]"

    def load(self, name: str) -> str:
        item = self.item()
        return f"let {name} = {f'f32({item})' if self.tensor.dtype == 'f16' else item};"

    def store(self, value: str) -> str:
        return f"{self.item()} = {f'f16({value})' if self.tensor.dtype == 'f16' else value};"

    def operand(self) -> Operand:
        extents = [*self.row_extents[1:], *self.element_extents]
        strides = [*self.row_strides[1:], *self.element_strides]
        return Operand(self.name, self.tensor, affine_span(self.tensor, self.row_strides[0], extents, strides))


def _addresses(rows: RowLayout, tensors: dict[str, Tensor], numbers: Numbers) -> dict[str, _TensorAddress]:
    row_extents, rows_strides = _collapse([_view_along(tensor, rows.outer_axes) for tensor in tensors.values()])
    element_extents, elements_strides = _collapse([_view_along(tensor, rows.axes) for tensor in tensors.values()])
    strides = zip(rows_strides, elements_strides, strict=True)
    return {
        name: _TensorAddress(
            numbers,
            name,
            tensor,
            row_extents=row_extents,
            row_strides=row_strides,
            element_extents=element_extents,
            element_strides=element_strides,
        )
        for (name, tensor), (row_strides, element_strides) in zip(tensors.items(), strides, strict=True)
    }


def _view_along(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """The view along ``axes`` alone."""
    shape, strides = tuple(tensor.shape[axis] for axis in axes), tuple(tensor.strides[axis] for axis in axes)
    return replace(tensor, shape=shape, strides=strides)


def _collapse(tensors: Sequence[Tensor]) -> tuple[list[int], list[list[int]]]:
    """``collapse_axes`` in the order of the first tensor; with stride 0 where there is at most one element."""
    if tensors[0].size <= 1:
        return [1], [[0] for _ in tensors]
    return collapse_axes(tensors[0], tensors[1:])


def emit_row_reduction(
    lowering: Lowering,
    rows: RowLayout,
    statistics: Sequence[Statistic],
    *,
    row_outputs: Sequence[tuple[Tensor, str]] = (),
    element_outputs: Sequence[tuple[Tensor, str]] = (),
) -> None:
    """Add the dispatch of the statistics. It writes ``row_outputs`` once a row, ``element_outputs`` once an element."""
    if not rows.count:
        return
    writes = [*row_outputs, *element_outputs]
    targets = {f"y{index}": tensor.broadcast_to(rows.x.shape) for index, (tensor, _) in enumerate(writes)}
    numbers = Numbers()
    addresses = _addresses(rows, {f"x_{name}": tensor for name, tensor in rows.reads.items()} | targets, numbers)
    row_constants = [name for name in rows.reads if not any(addresses[f"x_{name}"].element_strides)]
    stores = [addresses[target].store(value) for target, (_, value) in zip(targets, writes, strict=True)]
    columns, lanes = rows.tile()
    first = addresses["x_" + next(iter(rows.reads))]
    row_extents, element_extents = first.row_extents, first.element_extents
    is_constant = len(element_extents) > 1 or (rows.is_innermost and rows.length <= MAX_CONSTANT_STEPS * lanes)

    def loads(texts: Sequence[str]) -> list[str]:
        operand_names = [
            name for name in rows.reads if name not in row_constants and any(_mentions(text, name) for text in texts)
        ]
        return [addresses[f"x_{name}"].load(name) for name in operand_names]

    def grid(count: int) -> int:
        return -(-count * prod(row_extents[1:]) // columns)

    statistic_params = [
        {
            "name": statistic.name,
            "type": statistic.type,
            "neutral": statistic.neutral,
            "lines": loads([statistic.term]),
            "step": statistic.join_expression(f"{statistic.name}_total", f"({statistic.term})"),
            "join": statistic.join_expression("total", "other"),
            "result": re.sub(r"\btotal\b", f"{statistic.name}_total", statistic.result),
        }
        for statistic in statistics
    ]
    texts = [str(text) for statistic in statistic_params for text in statistic.values()]
    operands = {name: address.operand() for name, address in addresses.items()}
    lowering.dispatch(
        Dispatch(
            kernel="row_reduction",
            params={
                "invocations": INVOCATIONS,
                "columns": columns,
                "lanes": lanes,
                "halves": [lanes >> step for step in range(1, lanes.bit_length())],
                "inner": rows.is_innermost,
                "length": str(rows.length) if is_constant else numbers.integer("length", rows.length),
                "elements": [(axis, element_extents[axis]) for axis in range(len(element_extents) - 1, 0, -1)],
                "outer": [
                    (axis, numbers.integer(f"extent{axis}", row_extents[axis]))
                    for axis in range(len(row_extents) - 1, 0, -1)
                ],
                "outer_items": numbers.integer("outer_items", prod(row_extents[1:])),
                "functions": functions_in([*texts, *stores]),
                "row_lines": [addresses[f"x_{name}"].load(name) for name in row_constants],
                "statistics": statistic_params,
                "row_writes": stores[: len(row_outputs)],
                "element_writes": [*loads(stores[len(row_outputs) :]), *stores[len(row_outputs) :]]
                if element_outputs
                else [],
            },
            reads=[operand for name, operand in operands.items() if name not in targets],
            writes=[operand for name, operand in operands.items() if name in targets],
            rows=row_extents[0],
            grid=grid,
            uniforms=numbers.uniforms | {name: number for item in statistics for name, number in item.uniforms.items()},
            flops=rows.x.size * (len(statistics) + len(element_outputs)),
        )
    )


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def emit_statistic(lowering: Lowering, rows: RowLayout, statistic: Statistic, y: Tensor) -> None:
    """Add the dispatches that write ``statistic`` of each row to y, one for each axis where rows are long and few.

    Its term reads the first operand, and operands that are constant along a row; its result reads the latter.
    """
    if rows.is_long(lowering.binding_limit):
        rows, y = _factor_rows(rows, y)
        row_axes = [axis for axis in rows.x.order() if axis in rows.axes and rows.x.shape[axis] > 1]
        if len(row_axes) > 1:
            # the second dispatch reduces the outermost axis
            first = replace(rows, axes=tuple(axis for axis in rows.axes if axis != row_axes[0]))
            parts = lowering.scratch(first.shape, statistic.type, f"{y.slot.label}:{statistic.name}", rows.x.order())
            emit_statistic(lowering, first, replace(statistic, result="total", uniforms={}), parts)
            others = {name: _first_positions(tensor, first.axes) for name, tensor in list(rows.reads.items())[1:]}
            emit_statistic(
                lowering, RowLayout({"part": parts, **others}, rows.axes), replace(statistic, term="part"), y
            )
            return
    emit_row_reduction(lowering, rows, [statistic], row_outputs=[(y, statistic.name)])


def _first_positions(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        tensor = tensor.slice(axis, 0, 1)
    return tensor


def _factor_rows(rows: RowLayout, y: Tensor) -> tuple[RowLayout, Tensor]:
    """``rows`` with its axis split in two, if it has one axis whose extent has factors; and y likewise."""
    row_axes = [axis for axis in rows.axes if rows.x.shape[axis] > 1]
    if len(row_axes) != 1:
        return rows, y
    (axis,) = row_axes
    extent = rows.x.shape[axis]
    part = next(factor for factor in range(isqrt(extent), 0, -1) if extent % factor == 0)
    if part == 1:
        return rows, y

    def split_axis(tensor: Tensor, *extents: int) -> Tensor:
        return tensor.view((*tensor.shape[:axis], *extents, *tensor.shape[axis + 1 :]))

    reads = {name: split_axis(tensor, extent // part, part) for name, tensor in rows.reads.items()}
    axes = (*(other + (other > axis) for other in rows.axes), axis + 1)
    return RowLayout(reads, axes), split_axis(y, 1, 1)


def emit_statistics(
    lowering: Lowering, rows: RowLayout, statistics: Sequence[Statistic], last: Tensor | None = None
) -> dict[str, Tensor]:
    """Add the dispatches that write each statistic, which may use those before it. Returns their tensors by name.

    ``last`` is the tensor of the last one, by default a scratch tensor.
    """
    tensors: dict[str, Tensor] = {}
    (name, x), *_ = rows.reads.items()
    for statistic in statistics:
        earlier = {other: tensor.broadcast_to(rows.x.shape) for other, tensor in tensors.items()}
        target = last if statistic is statistics[-1] else None
        target = target or lowering.scratch(rows.shape, "f32", f"{lowering.node.output.name}:{statistic.name}")
        emit_statistic(lowering, RowLayout({name: x, **earlier}, rows.axes), statistic, target)
        tensors[statistic.name] = target
    return tensors


def reduce(lowering: Lowering, rows: RowLayout, statistics: Sequence[Statistic], y: Tensor) -> None:
    """Add the dispatches that write the last statistic of each row to y, whose extent on the reduced axes is 1."""
    if rows.is_long(lowering.binding_limit):
        emit_statistics(lowering, rows, statistics, y)
    else:
        emit_row_reduction(lowering, rows, statistics, row_outputs=[(y, statistics[-1].name)])


def normalize(
    lowering: Lowering,
    rows: RowLayout,
    statistics: Sequence[Statistic],
    y: Tensor,
    value: str,
    row_outputs: Sequence[tuple[Tensor, str]] = (),
) -> None:
    """Add the dispatches that write ``value``, an expression of operands and statistics, to y, which has their shape.

    ``row_outputs`` are further results, of one number a row: a tensor and the name of a statistic each.
    """
    if not rows.is_long(lowering.binding_limit):
        emit_row_reduction(lowering, rows, statistics, row_outputs=row_outputs, element_outputs=[(y, value)])
        return
    tensors = emit_statistics(lowering, rows, statistics)
    for tensor, name in row_outputs:
        lowering.copy(tensors[name], tensor)
    single = np.dtype(np.float32)
    tree = Tree(lines=[f"let value = {value};"], result="value")
    lowering.elementwise(
        tree, [(name, tensor, single) for name, tensor in (rows.reads | tensors).items()], y, dtype=single
    )
