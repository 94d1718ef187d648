"""Host of row_reduction.wgsl: statistics over some axes, for every position on the others, and what is made of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import isqrt, prod

import numpy as np

from engine.gpu.dispatch import INVOCATIONS, Dispatch, Operand, affine_span
from engine.gpu.kernels.elementwise import Tree, collapsed, copy, emit
from engine.gpu.kernels.expressions import functions_in
from engine.gpu.lowering import Lowering
from engine.gpu.tensor import ITEM_BYTES, Tensor

JOINS = {
    "sum": "{} + {}",
    "product": "{} * {}",
    "largest": "larger({}, {})",
    "smallest": "smaller({}, {})",
}

LONG_LANE = 64
"""Elements of a lane beyond which a second dispatch costs less than they do, if few workgroups have work."""

FEW_GROUPS = 256
"""Workgroups that keep every processor of a large GPU busy."""

MANY_ROWS = 4096
"""Rows from which on a lane takes several elements of each: joining lanes costs more than it saves then."""


@dataclass(frozen=True, slots=True)
class Statistic:
    """``name`` = ``result``, an expression of ``total``, which is the ``join`` (a key of JOINS) of every ``term``.

    Terms are expressions of the operands and of earlier statistics, of WGSL type ``type``; ``neutral`` changes none.
    """

    name: str
    term: str
    join: str
    neutral: str
    result: str = "total"
    type: str = "f32"

    def joined(self, one: str, other: str) -> str:
        """The join of two."""
        form = JOINS[self.join]
        if self.type != "f32":
            form = form.replace("larger", "max").replace("smaller", "min")
        return form.format(one, other)


@dataclass(frozen=True, slots=True)
class Rows:
    """Operands with the shape of the first one, and the axes along which its rows lie.

    The operands may repeat (``broadcast_to``). What is written has their shape too, with extent 1 on the axes of rows
    if it is one number a row.
    """

    reads: dict[str, Tensor]
    axes: tuple[int, ...]

    @property
    def x(self) -> Tensor:
        """The first operand."""
        return next(iter(self.reads.values()))

    @property
    def kept(self) -> tuple[int, ...]:
        """The other axes."""
        return tuple(axis for axis in range(self.x.rank) if axis not in self.axes)

    @property
    def length(self) -> int:
        """Elements of a row."""
        return prod(self.x.shape[axis] for axis in self.axes)

    @property
    def count(self) -> int:
        """The number of rows."""
        return prod(self.x.shape[axis] for axis in self.kept)

    @property
    def inner(self) -> bool:
        """Whether the elements of a row lie closer together than the rows do."""
        places = [axis for axis in self.x.order() if self.x.shape[axis] > 1 and self.x.strides[axis]]
        return not places or places[-1] in self.axes

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of one number a row."""
        return tuple(1 if axis in self.axes else extent for axis, extent in enumerate(self.x.shape))

    def tile(self) -> tuple[int, int]:
        """(rows, lanes of each) of a workgroup."""
        if self.inner:
            lanes = _power_above(-(-self.length // 8) if self.count >= MANY_ROWS else self.length)
            return INVOCATIONS // lanes, lanes
        columns = min(64, _power_above(self.count))
        lanes = min(INVOCATIONS // columns, _power_above(self.length))
        return INVOCATIONS // lanes, lanes

    def is_long(self, limit: int) -> bool:
        """Whether the rows are too long for a workgroup each: too few would have work, or a binding cannot hold one."""
        columns, lanes = self.tile()
        if self.length > LONG_LANE * lanes and self.count <= FEW_GROUPS * columns:
            return True
        part = [axis for axis in self.kept if self.x.shape[axis] > 1]
        outer = min(part, key=self.x.order().index, default=None)
        row = self.x if outer is None else self.x.slice(outer, 0, 1)
        low, high = row.span()
        return self.length > 1 and (high - low) * ITEM_BYTES[row.dtype] > limit


def _power_above(number: int) -> int:
    """The least power of two that is not below ``number``, up to all invocations of a workgroup."""
    return min(INVOCATIONS, 1 << max(0, number - 1).bit_length())


@dataclass(frozen=True, slots=True)
class _Place:
    """How the kernel addresses a tensor: by the position of the row, and of the element in it."""

    name: str
    tensor: Tensor
    outer: Sequence[int]
    of_row: Sequence[int]
    inner: Sequence[int]
    of_element: Sequence[int]

    def item(self) -> str:
        terms = [f"params.base_{self.name}"]
        for letter, strides in (("r", self.of_row), ("e", self.of_element)):
            terms += [f"{letter}{axis} * {stride}" for axis, stride in enumerate(strides) if stride]
        return f"{self.name}[{' + '.join(terms)}]"

    def load(self, name: str) -> str:
        item = self.item()
        return f"let {name} = {f'f32({item})' if self.tensor.dtype == 'f16' else item};"

    def store(self, value: str) -> str:
        return f"{self.item()} = {f'f16({value})' if self.tensor.dtype == 'f16' else value};"

    def operand(self) -> Operand:
        extents, strides = [*self.outer[1:], *self.inner], [*self.of_row[1:], *self.of_element]
        return Operand(self.name, self.tensor, affine_span(self.tensor, self.of_row[0], extents, strides))


def _places(rows: Rows, tensors: dict[str, Tensor]) -> dict[str, _Place]:
    outer, of_rows = _collapsed([_part(tensor, rows.kept) for tensor in tensors.values()])
    inner, of_elements = _collapsed([_part(tensor, rows.axes) for tensor in tensors.values()])
    strides = zip(of_rows, of_elements, strict=True)
    return {
        name: _Place(name, tensor, outer, of_row, inner, of_element)
        for (name, tensor), (of_row, of_element) in zip(tensors.items(), strides, strict=True)
    }


def _part(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    """The view along some axes alone."""
    shape, strides = tuple(tensor.shape[axis] for axis in axes), tuple(tensor.strides[axis] for axis in axes)
    return replace(tensor, shape=shape, strides=strides)


def _collapsed(tensors: Sequence[Tensor]) -> tuple[list[int], list[list[int]]]:
    """``collapsed`` in the order of the first tensor; where there is one element or none, it lies at 0."""
    if tensors[0].size <= 1:
        return [1], [[0] for _ in tensors]
    return collapsed(tensors[0], tensors[1:])


def emit_rows(
    low: Lowering,
    rows: Rows,
    statistics: Sequence[Statistic],
    *,
    numbers: Sequence[tuple[Tensor, str]] = (),
    elements: Sequence[tuple[Tensor, str]] = (),
) -> None:
    """Add the dispatch of the statistics; ``numbers`` are written once a row, ``elements`` once an element."""
    if not rows.count:
        return
    writes = [*numbers, *elements]
    targets = {f"y{index}": tensor.broadcast_to(rows.x.shape) for index, (tensor, _) in enumerate(writes)}
    places = _places(rows, {f"x_{name}": tensor for name, tensor in rows.reads.items()} | targets)
    same = [name for name in rows.reads if not any(places[f"x_{name}"].of_element)]
    stores = [places[target].store(value) for target, (_, value) in zip(targets, writes, strict=True)]
    columns, lanes = rows.tile()
    outer = places["x_" + next(iter(rows.reads))].outer

    def loads(texts: Sequence[str]) -> list[str]:
        used = [name for name in rows.reads if name not in same and any(_mentions(text, name) for text in texts)]
        return [places[f"x_{name}"].load(name) for name in used]

    def grid(count: int) -> int:
        return -(-count * prod(outer[1:]) // columns)

    described = [
        {
            "name": statistic.name,
            "type": statistic.type,
            "neutral": statistic.neutral,
            "lines": loads([statistic.term]),
            "step": statistic.joined(f"{statistic.name}_total", f"({statistic.term})"),
            "join": statistic.joined("total", "other"),
            "result": re.sub(r"\btotal\b", f"{statistic.name}_total", statistic.result),
        }
        for statistic in statistics
    ]
    texts = [str(text) for statistic in described for text in statistic.values()]
    operands = {name: place.operand() for name, place in places.items()}
    low.dispatch(
        Dispatch(
            kernel="row_reduction",
            params={
                "invocations": INVOCATIONS,
                "columns": columns,
                "lanes": lanes,
                "halves": [lanes >> step for step in range(1, lanes.bit_length())],
                "inner": rows.inner,
                "length": rows.length,
                "extents": places["x_" + next(iter(rows.reads))].inner,
                "outer": outer,
                "outer_items": prod(outer[1:]),
                "functions": functions_in([*texts, *stores]),
                "row_lines": [places[f"x_{name}"].load(name) for name in same],
                "statistics": described,
                "row_writes": stores[: len(numbers)],
                "element_writes": [*loads(stores[len(numbers) :]), *stores[len(numbers) :]] if elements else [],
            },
            reads=[operand for name, operand in operands.items() if name not in targets],
            writes=[operand for name, operand in operands.items() if name in targets],
            rows=outer[0],
            grid=grid,
            flops=rows.x.size * (len(statistics) + len(elements)),
        )
    )


def _mentions(text: str, name: str) -> bool:
    return re.search(rf"\b{name}\b", text) is not None


def emit_statistic(low: Lowering, rows: Rows, statistic: Statistic, y: Tensor) -> None:
    """Add the dispatches that write ``statistic`` of each row to y, one for each axis where rows are long and few.

    Its term reads the first operand and such as are the same all along a row; its result reads the latter.
    """
    if rows.is_long(low.binding_limit):
        rows, y = _factored(rows, y)
        wide = [axis for axis in rows.x.order() if axis in rows.axes and rows.x.shape[axis] > 1]
        if len(wide) > 1:
            # the outermost axis stays for the second dispatch
            first = replace(rows, axes=tuple(axis for axis in rows.axes if axis != wide[0]))
            parts = low.scratch(first.shape, statistic.type, f"{y.slot.label}:{statistic.name}", rows.x.order())
            emit_statistic(low, first, replace(statistic, result="total"), parts)
            others = {name: _at_start(tensor, first.axes) for name, tensor in list(rows.reads.items())[1:]}
            emit_statistic(low, Rows({"part": parts, **others}, rows.axes), replace(statistic, term="part"), y)
            return
    emit_rows(low, rows, [statistic], numbers=[(y, statistic.name)])


def _at_start(tensor: Tensor, axes: Sequence[int]) -> Tensor:
    for axis in axes:
        tensor = tensor.slice(axis, 0, 1)
    return tensor


def _factored(rows: Rows, y: Tensor) -> tuple[Rows, Tensor]:
    """The rows, where they lie along one axis, along two that make it up, if its extent has factors; and y likewise."""
    wide = [axis for axis in rows.axes if rows.x.shape[axis] > 1]
    if len(wide) != 1:
        return rows, y
    (axis,) = wide
    extent = rows.x.shape[axis]
    part = next(factor for factor in range(isqrt(extent), 0, -1) if extent % factor == 0)
    if part == 1:
        return rows, y

    def cut(tensor: Tensor, *extents: int) -> Tensor:
        view = tensor.reshape((*tensor.shape[:axis], *extents, *tensor.shape[axis + 1 :]))
        assert view is not None  # cutting one axis takes nothing but strides
        return view

    reads = {name: cut(tensor, extent // part, part) for name, tensor in rows.reads.items()}
    axes = (*(other + (other > axis) for other in rows.axes), axis + 1)
    return Rows(reads, axes), cut(y, 1, 1)


def emit_statistics(
    low: Lowering, rows: Rows, statistics: Sequence[Statistic], last: Tensor | None = None
) -> dict[str, Tensor]:
    """Add the dispatches that write each statistic, which may speak of those before it. Returns them by name.

    ``last``, where given, takes the last one.
    """
    found: dict[str, Tensor] = {}
    (name, x), *_ = rows.reads.items()
    for statistic in statistics:
        known = {other: tensor.broadcast_to(rows.x.shape) for other, tensor in found.items()}
        target = last if statistic is statistics[-1] else None
        target = target or low.scratch(rows.shape, "f32", f"{low.node.output.name}:{statistic.name}")
        emit_statistic(low, Rows({name: x, **known}, rows.axes), statistic, target)
        found[statistic.name] = target
    return found


def reduce(low: Lowering, rows: Rows, statistics: Sequence[Statistic], y: Tensor) -> None:
    """Add the dispatches that write the last statistic of each row to y, which has extent 1 on the axes of rows."""
    if rows.is_long(low.binding_limit):
        emit_statistics(low, rows, statistics, y)
    else:
        emit_rows(low, rows, statistics, numbers=[(y, statistics[-1].name)])


def normalize(
    low: Lowering,
    rows: Rows,
    statistics: Sequence[Statistic],
    y: Tensor,
    value: str,
    numbers: Sequence[tuple[Tensor, str]] = (),
) -> None:
    """Add the dispatches that write ``value``, an expression of operands and statistics, to y, which has their shape.

    ``numbers`` are further results, of the shape of one number a row: the name of a statistic each.
    """
    if not rows.is_long(low.binding_limit):
        emit_rows(low, rows, statistics, numbers=numbers, elements=[(y, value)])
        return
    found = emit_statistics(low, rows, statistics)
    for tensor, name in numbers:
        copy(found[name], tensor, low)
    single = np.dtype(np.float32)
    tree = Tree(lines=[f"let value = {value};"], result="value")
    emit(tree, [(name, tensor, single) for name, tensor in (rows.reads | found).items()], y, single, low)
