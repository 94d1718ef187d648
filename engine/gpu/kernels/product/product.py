"""Host of matmul.wgsl: a batched product of two matrices by strides, with an element-wise chain on its sums.

Batch axes that are nested in every operand become one; where b has none they become rows of a. A product with few
columns is computed transposed, as one with few rows; so is one whose b is larger than a binding.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from math import prod

import numpy as np
from numpy.lib.stride_tricks import as_strided

from engine.gpu.kernels.product.packed import PackedColumns
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.lowering.table import Implementation, Table, always
from engine.gpu.program.chain import PLAIN, ChainInput, Tree, load_expression, store_expression
from engine.gpu.program.dispatch import Dispatch, Operand, Span
from engine.gpu.program.expressions import functions_in, wrap
from engine.gpu.program.tensor import Shape, Tensor, span_of
from engine.gpu.program.tile import Tile


@dataclass(frozen=True, slots=True)
class ProductTile(Tile):
    """A tile of matmul.wgsl, with workgroup memory for ``buffers`` tiles of both operands: the next loads meanwhile."""

    buffers: int


WIDE = ProductTile(bm=64, bn=64, bk=16, tm=8, tn=8, buffers=2)
SMALL = ProductTile(bm=32, bn=32, bk=16, tm=4, tn=4, buffers=2)
FLAT = ProductTile(bm=4, bn=32, bk=64, tm=1, tn=4, buffers=1)

MAX_FLAT_EXTENT = 8
"""Rows or columns up to which they are too few for a square tile."""

MIN_WIDE_EXTENT = 33
"""Rows and columns from which on they fill the wide tile."""

KINDS = {"f": "f32", "i": "i32", "u": "u32"}
"""The WGSL type of the sums for each kind of dtype: floats are added in f32, whatever their storage type."""


@dataclass(frozen=True, slots=True)
class Product:
    """One product: ``y`` = ``a`` ``[*batch, M, K]`` times ``b`` ``[*batch, K, N]``, in ``dtype``;
    ``packed`` is b where its elements are packed."""

    a: Tensor
    b: Tensor
    y: Tensor
    dtype: np.dtype
    packed: PackedColumns | None

    @property
    def m(self) -> int:
        """Rows."""
        return self.y.shape[-2]

    @property
    def n(self) -> int:
        """Columns."""
        return self.y.shape[-1]

    @property
    def k(self) -> int:
        """Summands."""
        return self.a.shape[-1]

    @property
    def key(self) -> str:
        """What decides how fast a product is: types, extents, and along which axes elements lie side by side."""
        kind = self.packed.codes if self.packed else self.b.dtype
        batch = prod(self.y.shape[:-2])
        sides = f"a{int(self.a.strides[-1] == 1)} b{int(self.b.strides[-1] == 1)}"
        return f"{self.a.dtype} {kind} z{batch} m{self.m} n{self.n} k{self.k} {sides}"


def multiply(
    lowering: Lowering,
    a: Tensor,
    b: Tensor | PackedColumns,
    y: Tensor,
    dtype: np.dtype,
    *,
    tree: Tree = PLAIN,
    reads: Sequence[ChainInput] = (),
    prelude: Sequence[str] = ("let root = raw;",),
    result: np.dtype | None = None,
    a_zero: Tensor | None = None,
) -> None:
    """Add the dispatch y ``[*batch, M, N]`` = chain(a ``[*, M, K]`` b ``[*, K, N]``); batches broadcast.

    ``dtype`` is that of the products and their sums. ``prelude`` computes ``root`` from a sum, ``raw``, and ``tree``
    computes the result from ``root``; both may use ``reads``, tensors that broadcast to y. ``result`` is the dtype of
    the chain's result, by default that of the sums. ``a_zero`` is one zero point for all of a, which the loader of a
    packed b subtracts.
    """
    if not y.size:
        return
    batch = y.shape[:-2]
    packed_columns = b if isinstance(b, PackedColumns) else None
    b = b.matrix if isinstance(b, PackedColumns) else b
    if packed_columns is None and b.nbytes > lowering.binding_limit and b.slot.content is not None:
        b = _column_major(lowering, b, b.slot.content())
    a, b = a.broadcast_to((*batch, *a.shape[-2:])), b.broadcast_to((*batch, *b.shape[-2:]))
    leaves = [(name, tensor.broadcast_to(y.shape), kind) for name, tensor, kind in reads]
    a, b, y, *leaf_tensors = _merge_batch_axes(a, b, y, [tensor for _, tensor, _ in leaves])
    if packed_columns is None and _is_transposed(a, b, y, lowering.binding_limit):
        a, b, y, *leaf_tensors = (_transpose_matrices(tensor) for tensor in (b, a, y, *leaf_tensors))
    leaves = [(name, tensor, kind) for (name, _, kind), tensor in zip(leaves, leaf_tensors, strict=True)]
    packed_operand = None if packed_columns is None else _PackedOperand(packed_columns, a_zero)
    product = Product(a, b, y, dtype, packed_columns)
    lowering.dispatch(
        lowering.choose(PRODUCT_TILE, product).emit(
            product,
            tree=tree,
            leaves=leaves,
            prelude=prelude,
            result=dtype if result is None else result,
            packed_operand=packed_operand,
        )
    )


def _is_transposed(a: Tensor, b: Tensor, y: Tensor, limit: int) -> bool:
    """Whether the product is computed transposed: where its columns are few, or must be cut into ranges.

    Ranges are of rows. Each binds the whole of b, or where the product is transposed the whole of a and y.
    """
    if b.nbytes > limit:
        return max(a.nbytes, y.nbytes) <= limit
    return y.shape[-1] <= MAX_FLAT_EXTENT < y.shape[-2] and max(a.nbytes, y.nbytes) <= limit


def _column_major(lowering: Lowering, b: Tensor, data: np.ndarray) -> Tensor:
    """The constant b in column-major order, in which a range of columns is a range of memory."""
    flat = data.reshape(-1)[b.offset :]
    array = as_strided(flat, b.shape, [stride * data.itemsize for stride in b.strides])
    return _transpose_matrices(lowering.constant(np.swapaxes(array, -1, -2), f"{b.slot.label}:columns", b.dtype))


def _transpose_matrices(tensor: Tensor) -> Tensor:
    rank = tensor.rank
    return tensor.transpose([*range(rank - 2), rank - 1, rank - 2])


def _merge_batch_axes(a: Tensor, b: Tensor, y: Tensor, others: Sequence[Tensor]) -> list[Tensor]:
    """a, b, y and other tensors of y's shape with as few batch axes as their strides allow."""
    tensors = [a, b, y, *others]
    axis = 0
    while axis < y.rank - 2:
        extent, inner = y.shape[axis], y.shape[axis + 1]
        into_rows = axis + 1 == y.rank - 2
        # b has no rows: a batch axis becomes rows only where b has stride 0 along it
        steps = [
            (tensor.strides[axis], 0 if into_rows and tensor is b else tensor.strides[axis + 1]) for tensor in tensors
        ]
        repeats = not into_rows or b.strides[axis] == 0
        if extent == 1:
            tensors = [_drop_axis(tensor, axis) for tensor in tensors]
        elif repeats and (inner == 1 or all(outer == step * inner for outer, step in steps)):
            tensors = [_merge_axes(tensor, axis, into_rows and index == 1) for index, tensor in enumerate(tensors)]
        else:
            axis += 1
            continue
        a, b, y = tensors[:3]
        axis = max(0, axis - 1)
    return tensors


def _drop_axis(tensor: Tensor, axis: int) -> Tensor:
    axes = [other for other in range(tensor.rank) if other != axis]
    return tensor.transpose(axes)


def _merge_axes(tensor: Tensor, axis: int, repeats: bool) -> Tensor:
    """``tensor`` with ``axis`` and the next one as one axis; with ``repeats`` it only loses ``axis``."""
    if repeats:
        return _drop_axis(tensor, axis)
    outer, inner = tensor.shape[axis : axis + 2]
    stride = tensor.strides[axis] if inner == 1 else tensor.strides[axis + 1]
    rest = _drop_axis(tensor, axis)
    return Tensor(
        rest.slot,
        rest.dtype,
        (*rest.shape[:axis], outer * inner, *rest.shape[axis + 1 :]),
        strides=(*rest.strides[:axis], stride, *rest.strides[axis + 1 :]),
        offset=rest.offset,
    )


@dataclass(frozen=True, slots=True)
class _TileRows:
    """The rows of the dispatch: rows of tiles, for one batch position after the other."""

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
        """The span of an operand ``[*batch, M, any]``, or without ``has_rows`` of b, whose matrices rows read whole."""

        def span(first: int, last: int) -> tuple[int, int]:
            part = tensor
            ends = np.unravel_index([first, last - 1], (*self.batch, self.tiles))
            # up to the first axis on which both ends differ the range is one box
            for axis, (first_index, last_index) in enumerate(np.array(ends).tolist()):
                if axis < len(self.batch):
                    part = part.slice(axis, first_index, last_index - first_index + 1)
                elif has_rows:
                    part = part.slice(
                        axis, first_index * self.bm, min((last_index + 1) * self.bm, self.m) - first_index * self.bm
                    )
                if first_index != last_index:
                    break
            return span_of(part.offset, part.shape, part.strides)

        return span


@dataclass(frozen=True, slots=True)
class _PackedOperand:
    """How the loader unpacks elements of b, and subtracts the zero point of a from those of a."""

    b: PackedColumns
    a_zero: Tensor | None

    @property
    def operands(self) -> list[Operand]:
        """The operands that the loader reads, b among them."""
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
        """The strides of the scales in items, or the zero point of b."""
        if self.b.scales is not None:
            blocks, rows, columns = self.b.scales.shape
            return {"scales_k": rows * columns // 4 if blocks > 1 else 0, "scales_row": columns // 4}
        return {} if isinstance(self.b.zero, Tensor) else {"b_zero": self.b.zero}

    @property
    def params(self) -> dict[str, object]:
        """The template parameters."""
        has_scales, has_column_zeros = self.b.scales is not None, isinstance(self.b.zero, Tensor)
        return {
            "codes": self.b.codes,
            "levels": self.b.levels,
            "block": self.b.block,
            "scaled": has_scales,
            "zeros": self.b.scales is not None and self.b.scales.shape[1] == 2,
            "middle": self.b.zero if has_scales else 0,
            "of_columns": has_column_zeros,
            "a_zero": self.a_zero is not None,
        }


NO_PACKED_OPERAND = {"codes": "", "a_zero": False}


def _has_vec4_items(tensor: Tensor, axis: int) -> bool:
    """Whether the elements along ``axis`` are vec4 items, adjacent and aligned."""
    others = [
        stride
        for other, (extent, stride) in enumerate(zip(tensor.shape, tensor.strides, strict=True))
        if extent > 1 and other != axis % tensor.rank
    ]
    is_aligned = tensor.offset % 4 == 0 and all(stride % 4 == 0 for stride in others)
    return tensor.strides[axis] == 1 and tensor.shape[axis] % 4 == 0 and tensor.shape[axis] > 0 and is_aligned


def _product_dispatch(
    product: Product,
    *,
    tile: ProductTile,
    tree: Tree,
    leaves: Sequence[ChainInput],
    prelude: Sequence[str],
    result: np.dtype,
    packed_operand: _PackedOperand | None,
) -> Dispatch:
    a, b, y, dtype = product.a, product.b, product.y, product.dtype
    batch, m, k, n = y.shape[:-2], product.m, product.k, product.n
    rows = _TileRows(batch, m, tile.bm)
    a_vec, b_vec = (4 if _has_vec4_items(tensor, -1) else 1 for tensor in (a, b))
    b_operands = [Operand("b", b, rows.span(b, has_rows=False), b_vec)]
    if packed_operand is not None:
        b_operands = packed_operand.operands
    columns = [tensor for _, tensor, _ in leaves if tensor.strides[-1]]
    vector = all(_has_vec4_items(tensor, -1) for tensor in (y, *columns))
    y_vec = 4 if vector else 1
    operands, lines = [], []
    positions, leaf_steps = [*(f"z{axis}" for axis in range(len(batch))), "m", "n"], {}
    for name, tensor, kind in leaves:
        width = y_vec if tensor.strides[-1] else 1
        operands.append(Operand(f"x_{name}", tensor, rows.span(tensor), width))
        terms = [f"params.base_x_{name}"]
        for position, stride in zip(positions, tensor.strides, strict=True):
            if position == "n" and stride == 1:
                terms.append(f"n / {width}" if width > 1 else "n")
            elif stride:
                leaf_steps[f"x_{name}_{position}"] = stride // width
                terms.append(f"{position} * params.x_{name}_{position}")
        item = f"x_{name}[{' + '.join(terms)}]"
        lines.append(f"let {name} = {load_expression(item, storage=tensor.dtype, dtype=kind, width=width, vec=y_vec)};")
    lines += [*prelude, *tree.lines]
    uniforms = {"m": m, "n": n, "k": k, "tiles_m": rows.tiles, "tiles_n": -(-n // tile.bn)}
    uniforms |= {"a_m": a.strides[-2] // a_vec, "a_k": a.strides[-1], "b_k": b.strides[-2] // b_vec}
    uniforms |= {"b_n": b.strides[-1], "y_m": y.strides[-2] // y_vec, "y_n": y.strides[-1]}
    uniforms |= leaf_steps | ({} if packed_operand is None else packed_operand.uniforms)
    for axis, extent in enumerate(batch):
        uniforms[f"z{axis}"] = extent
        for name, tensor, vec in (("a", a, a_vec), ("b", b, b_vec), ("y", y, y_vec)):
            uniforms[f"{name}_z{axis}"] = tensor.strides[axis] // vec

    def grid(count: int) -> int:
        return count * -(-n // tile.bn)

    return Dispatch(
        kernel="matmul",
        params={
            **asdict(tile),
            "kind": KINDS[dtype.kind],
            "batch": len(batch),
            "a_vec": a_vec,
            "b_vec": b_vec,
            **(NO_PACKED_OPERAND if packed_operand is None else packed_operand.params),
            "a_along_m": a.strides[-1] != 1 and abs(a.strides[-2]) == 1,
            "b_along_k": b.strides[-1] != 1 and abs(b.strides[-2]) == 1,
            "vector": vector,
            "lines": lines,
            "result": store_expression(wrap(tree.result, result), y.dtype, result, y_vec),
            "functions": functions_in([*lines, tree.result]),
        },
        reads=[Operand("a", a, rows.span(a), a_vec), *b_operands, *operands],
        writes=[Operand("y", y, rows.span(y), y_vec)],
        rows=rows.count,
        grid=grid,
        uniforms=uniforms,
        flops=2 * y.size * k,
    )


PRODUCT_TILE: Table[Product] = Table(
    "product-tile",
    (
        Implementation(
            "flat",
            "Few rows: a tile of 4 rows, with many steps along k at a time.",
            supports=always,
            suits=lambda product: product.m <= MAX_FLAT_EXTENT,
            emit=partial(_product_dispatch, tile=FLAT),
        ),
        Implementation(
            "wide",
            "More than 32 rows and columns fill a tile of 64 x 64, which reads each element least often.",
            supports=always,
            suits=lambda product: min(product.m, product.n) >= MIN_WIDE_EXTENT,
            emit=partial(_product_dispatch, tile=WIDE),
        ),
        Implementation(
            "small",
            "Anything between: a tile of 32 x 32.",
            supports=always,
            emit=partial(_product_dispatch, tile=SMALL),
        ),
    ),
    lambda product: product.key,
)
