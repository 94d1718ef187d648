"""Host of matmul.wgsl: a batched product of two matrices by strides, with an element-wise chain on its sums.

Batch axes that lie one in the other in every operand are one; where b has none they become rows of a. Results of few
columns are computed transposed, as those of few rows are, and so are those whose b no binding holds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from engine.gpu.dispatch import Dispatch, Operand, Span
from engine.gpu.kernels.conv import Tile
from engine.gpu.kernels.elementwise import Read, Tree, loaded, stored
from engine.gpu.kernels.epilogue import PLAIN
from engine.gpu.kernels.expressions import functions_in, wrapped
from engine.gpu.kernels.packed import Packed
from engine.gpu.lowering import Lowering
from engine.gpu.tensor import Shape, Tensor, span_of

WIDE = Tile(64, 64, 16, 8, 8, 2)
SMALL = Tile(32, 32, 16, 4, 4, 2)
FLAT = Tile(4, 32, 64, 1, 4, 1)

FEW = 8
"""Rows or columns that are too few for a square tile."""

KINDS = {"f": "f32", "i": "i32", "u": "u32"}
"""The WGSL type of the sums for each kind of dtype: floats add up in f32, whatever they are stored as."""


def tile_for(m: int, n: int) -> Tile:
    """The tile of a product of that many rows and columns."""
    if m <= FEW:
        return FLAT
    return WIDE if min(m, n) > 32 else SMALL


def multiply(
    low: Lowering,
    a: Tensor,
    b: Tensor | Packed,
    y: Tensor,
    dtype: np.dtype,
    *,
    tree: Tree = PLAIN,
    reads: Sequence[Read] = (),
    prelude: Sequence[str] = ("let root = raw;",),
    result: np.dtype | None = None,
    a_zero: Tensor | None = None,
) -> None:
    """Add the dispatch y ``[*batch, M, N]`` = chain(a ``[*, M, K]`` b ``[*, K, N]``); batches broadcast.

    ``dtype`` is that of the products and their sums. ``prelude`` computes ``root`` from a sum, ``raw``; ``tree`` goes
    on from there; both may use ``reads``, tensors that broadcast to y. ``result`` is the dtype of what the chain gives,
    by default that of the sums. ``a_zero`` is a zero point of a, one for all, that a packed b leaves to the loader.
    """
    if not y.size:
        return
    batch = y.shape[:-2]
    packed = b if isinstance(b, Packed) else None
    b = b.matrix if isinstance(b, Packed) else b
    if packed is None and b.nbytes > low.binding_limit and b.slot.data is not None:
        b = _by_column(low, b, b.slot.data)
    a, b = a.broadcast_to((*batch, *a.shape[-2:])), b.broadcast_to((*batch, *b.shape[-2:]))
    leaves = [(name, tensor.broadcast_to(y.shape), kind) for name, tensor, kind in reads]
    a, b, y, *wide = _merged(a, b, y, [tensor for _, tensor, _ in leaves])
    if packed is None and _is_turned(a, b, y, low.binding_limit):
        a, b, y, *wide = (_turned(tensor) for tensor in (b, a, y, *wide))
    leaves = [(name, tensor, kind) for (name, _, kind), tensor in zip(leaves, wide, strict=True)]
    widening = None if packed is None else _Widening(packed, a_zero)
    low.dispatch(_dispatch(a, b, y, dtype, tree, leaves, prelude, dtype if result is None else result, widening))


def _is_turned(a: Tensor, b: Tensor, y: Tensor, limit: int) -> bool:
    """Whether columns take the part of rows: where they are few, or where they must be cut into ranges.

    Ranges are of rows: b is bound whole for each of them, and a and y where columns are the rows.
    """
    if b.nbytes > limit:
        return max(a.nbytes, y.nbytes) <= limit
    return y.shape[-1] <= FEW < y.shape[-2] and max(a.nbytes, y.nbytes) <= limit


def _by_column(low: Lowering, b: Tensor, data: np.ndarray) -> Tensor:
    """A constant with each column in one run, so that a range of columns is one of memory."""
    flat = data.reshape(-1)[b.offset :]
    array = as_strided(flat, b.shape, [stride * data.itemsize for stride in b.strides])
    return _turned(low.constant(np.swapaxes(array, -1, -2), f"{b.slot.label}:columns", b.dtype))


def _turned(tensor: Tensor) -> Tensor:
    rank = tensor.rank
    return tensor.transpose([*range(rank - 2), rank - 1, rank - 2])


def _merged(a: Tensor, b: Tensor, y: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    """a, b, y and the tensors of y's shape over as few batch axes as their strides allow."""
    tensors = [a, b, y, *others]
    axis = 0
    while axis < y.rank - 2:
        extent, inner = y.shape[axis], y.shape[axis + 1]
        into_rows = axis + 1 == y.rank - 2
        # b has no rows of y: its batch may go there only where it repeats
        steps = [
            (tensor.strides[axis], 0 if into_rows and tensor is b else tensor.strides[axis + 1]) for tensor in tensors
        ]
        repeats = not into_rows or b.strides[axis] == 0
        if extent == 1:
            tensors = [_without(tensor, axis) for tensor in tensors]
        elif repeats and (inner == 1 or all(outer == step * inner for outer, step in steps)):
            tensors = [_joined(tensor, axis, into_rows and index == 1) for index, tensor in enumerate(tensors)]
        else:
            axis += 1
            continue
        a, b, y = tensors[:3]
        axis = max(0, axis - 1)
    return tensors


def _without(tensor: Tensor, axis: int) -> Tensor:
    kept = [other for other in range(tensor.rank) if other != axis]
    return tensor.transpose(kept)


def _joined(tensor: Tensor, axis: int, repeats: bool) -> Tensor:
    """``tensor`` with ``axis`` and the next one as one; with ``repeats`` it only loses the first."""
    if repeats:
        return _without(tensor, axis)
    outer, inner = tensor.shape[axis : axis + 2]
    stride = tensor.strides[axis] if inner == 1 else tensor.strides[axis + 1]
    rest = _without(tensor, axis)
    return Tensor(
        rest.slot,
        rest.dtype,
        (*rest.shape[:axis], outer * inner, *rest.shape[axis + 1 :]),
        (*rest.strides[:axis], stride, *rest.strides[axis + 1 :]),
        rest.offset,
    )


@dataclass(frozen=True, slots=True)
class _Rows:
    """The rows of the dispatch: rows of tiles, those of one batch position after the other."""

    batch: Shape
    m: int
    bm: int

    @property
    def tiles(self) -> int:
        """Rows of tiles of one matrix."""
        return -(-self.m // self.bm)

    @property
    def count(self) -> int:
        """All rows."""
        return prod(self.batch) * self.tiles

    def span(self, tensor: Tensor, *, has_rows: bool = True) -> Span:
        """The span of an operand ``[*batch, M, any]``, or without ``has_rows`` of one that every row reads whole."""

        def span(first: int, last: int) -> tuple[int, int]:
            part = tensor
            ends = np.unravel_index([first, last - 1], (*self.batch, self.tiles))
            # up to the first axis on which the two ends differ the range is one box
            for axis, (low, high) in enumerate(np.array(ends).tolist()):
                if axis < len(self.batch):
                    part = part.slice(axis, low, high - low + 1)
                elif has_rows:
                    part = part.slice(axis, low * self.bm, min((high + 1) * self.bm, self.m) - low * self.bm)
                if low != high:
                    break
            return span_of(part.offset, part.shape, part.strides)

        return span


@dataclass(frozen=True, slots=True)
class _Widening:
    """How the loader makes elements of a packed b, and takes the zero point of a from its own."""

    b: Packed
    a_zero: Tensor | None

    @property
    def operands(self) -> list[Operand]:
        """What it reads, b among it."""
        operands = [Operand("b", self.b.words)]
        if self.b.scales is not None:
            operands.append(Operand("scales", self.b.scales, None, 4))
        if isinstance(self.b.zero, Tensor):
            operands.append(Operand("b_zero", self.b.zero, None, 4))
        if self.a_zero is not None:
            operands.append(Operand("a_zero", self.a_zero))
        return operands

    @property
    def uniforms(self) -> dict[str, int]:
        """Strides of the scales in items, or the zero point of b."""
        if self.b.scales is not None:
            _, rows, columns = self.b.scales.shape
            return {"scales_k": rows * columns // 4, "scales_row": columns // 4}
        return {} if isinstance(self.b.zero, Tensor) else {"b_zero": self.b.zero}

    @property
    def params(self) -> dict[str, object]:
        """The template's parameters."""
        scaled, of_columns = self.b.scales is not None, isinstance(self.b.zero, Tensor)
        return {
            "codes": self.b.codes,
            "levels": self.b.levels,
            "block": self.b.block,
            "scaled": scaled,
            "zeros": self.b.scales is not None and self.b.scales.shape[1] == 2,
            "middle": self.b.zero if scaled else 0,
            "of_columns": of_columns,
            "a_zero": self.a_zero is not None,
        }


NO_WIDENING = {"codes": "", "a_zero": False}


def _in_fours(tensor: Tensor, axis: int) -> bool:
    """Whether elements come in fours, side by side and aligned, along ``axis``."""
    others = [
        stride
        for other, (extent, stride) in enumerate(zip(tensor.shape, tensor.strides, strict=True))
        if extent > 1 and other != axis % tensor.rank
    ]
    aligned = tensor.offset % 4 == 0 and all(stride % 4 == 0 for stride in others)
    return tensor.strides[axis] == 1 and tensor.shape[axis] % 4 == 0 and tensor.shape[axis] > 0 and aligned


def _dispatch(
    a: Tensor,
    b: Tensor,
    y: Tensor,
    dtype: np.dtype,
    tree: Tree,
    leaves: Sequence[Read],
    prelude: Sequence[str],
    result: np.dtype,
    widening: _Widening | None,
) -> Dispatch:
    batch, (m, k), n = y.shape[:-2], a.shape[-2:], y.shape[-1]
    tile = tile_for(m, n)
    rows = _Rows(batch, m, tile.bm)
    a_vec, b_vec = (4 if _in_fours(tensor, -1) else 1 for tensor in (a, b))
    of_b = [Operand("b", b, rows.span(b, has_rows=False), b_vec)] if widening is None else widening.operands
    vector = _in_fours(y, -1) and all(tensor.strides[-1] == 0 or _in_fours(tensor, -1) for _, tensor, _ in leaves)
    y_vec = 4 if vector else 1
    operands, lines = [], []
    for name, tensor, kind in leaves:
        width = y_vec if tensor.strides[-1] else 1
        operands.append(Operand(f"x_{name}", tensor, rows.span(tensor), width))
        positions = [*(f"z{axis}" for axis in range(len(batch))), "m", "n"]
        terms = [f"params.base_x_{name}"]
        terms += [
            f"{at} * {stride // width}" if stride % width == 0 else f"{at} / {width}"
            for at, stride in zip(positions, tensor.strides, strict=True)
            if stride
        ]
        item = f"x_{name}[{' + '.join(terms)}]"
        lines.append(f"let {name} = {loaded(item, tensor.dtype, kind, width, y_vec)};")
    lines += [*prelude, *tree.lines]
    uniforms = {"m": m, "n": n, "k": k, "tiles_m": rows.tiles, "tiles_n": -(-n // tile.bn)}
    uniforms |= {"a_m": a.strides[-2] // a_vec, "a_k": a.strides[-1], "b_k": b.strides[-2] // b_vec}
    uniforms |= {"b_n": b.strides[-1], "y_m": y.strides[-2] // y_vec, "y_n": y.strides[-1]}
    uniforms |= {} if widening is None else widening.uniforms
    for axis, extent in enumerate(batch):
        uniforms[f"z{axis}"] = extent
        for name, tensor, vec in (("a", a, a_vec), ("b", b, b_vec), ("y", y, y_vec)):
            uniforms[f"{name}_z{axis}"] = tensor.strides[axis] // vec

    def grid(count: int) -> int:
        return count * -(-n // tile.bn)

    return Dispatch(
        kernel="matmul",
        params={
            **{name: getattr(tile, name) for name in ("bm", "bn", "bk", "tm", "tn", "buffers")},
            "mix": 8 // (tile.bk // 4),
            "kind": KINDS[dtype.kind],
            "batch": len(batch),
            "a_vec": a_vec,
            "b_vec": b_vec,
            **(NO_WIDENING if widening is None else widening.params),
            "a_along_m": a.strides[-1] != 1 and abs(a.strides[-2]) == 1,
            "b_along_k": b.strides[-1] != 1 and abs(b.strides[-2]) == 1,
            "vector": vector,
            "lines": lines,
            "result": stored(wrapped(tree.result, result), y.dtype, result, y_vec),
            "functions": functions_in([*lines, tree.result]),
        },
        reads=[
            Operand("a", a, rows.span(a), a_vec),
            *of_b,
            *operands,
        ],
        writes=[Operand("y", y, rows.span(y), y_vec)],
        rows=rows.count,
        grid=grid,
        uniforms=uniforms,
        flops=2 * y.size * k,
    )
