"""WindowAttention: the attention of a Swin block, by the implementation that the table has for it."""

from __future__ import annotations

from math import prod

from engine.caps import Caps
from engine.gpu.kernels.attention.layer import Attention, piece_tokens
from engine.gpu.kernels.attention.matrix import emit_matrix, takes_matrix_units
from engine.gpu.kernels.attention.portable import bytes_for_keys, bytes_of_key, emit_portable
from engine.gpu.kernels.attention.tiled import emit_tiled, fills_tiles, takes_tiles
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.lowering.refusals import refuses
from engine.gpu.lowering.table import Implementation, Table, always
from engine.gpu.program.tensor import ITEM_BYTES
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.window_attention import window_grid

LARGEST_HEAD = 128
"""Channels of a head at the most: an invocation holds four times as many, of its query, its sums, a key and a value."""

MAX_PIECES = 5
"""Parts of the projections at the most, which leaves bindings for the bias, the padding and the result."""


@refuses("WindowAttention", domain=INTERNAL_DOMAIN)
def refuse_window_attention(node: Node, caps: Caps, half: bool) -> str | None:
    """What the kernel has no room for: heads, windows of which it holds no four keys, projections in many bindings."""
    x, grid, heads = node.input(0), window_grid(node), node.attributes["heads"]
    *_, tokens, channels = x.shape
    size, limit, item = channels // 3 // heads, caps.binding_limit, ITEM_BYTES["f16" if half else "f32"]
    if size % 4 or size > LARGEST_HEAD:
        return f"heads of {size} channels; backend 'webgpu' has multiples of 4 up to {LARGEST_HEAD}"
    if bytes_for_keys(grid.area) < 4 * bytes_of_key(size):
        return f"windows of {grid.window} x {grid.window} tokens leave no workgroup memory for heads of {size} channels"
    nbytes, bias = x.type.size * item, node.input(1).type.size * ITEM_BYTES["f32"]
    pieces = -(-tokens // piece_tokens(nbytes, tokens, limit)) if prod(x.shape[:-2]) == 1 else 1
    if pieces > MAX_PIECES or (pieces == 1 and nbytes > limit):
        room = (MAX_PIECES if pieces > 1 else 1) * limit
        return f"projections of {nbytes:,} bytes; an adapter that binds {limit:,} at a time takes {room:,}"
    if max(nbytes // 3, bias) > limit:
        return f"a result of {nbytes // 3:,} and a bias of {bias:,} bytes; the adapter binds {limit:,} at a time"
    return None


WINDOW_ATTENTION: Table[Attention] = Table(
    "window-attention",
    (
        Implementation(
            "matrix",
            "Both products of a head on matrix units, many times faster than shaders multiply.",
            supports=takes_matrix_units,
            emit=emit_matrix,
        ),
        Implementation(
            "tiled",
            "Both products of a head in register tiles, which share what they load; for windows that fill them.",
            supports=takes_tiles,
            emit=emit_tiled,
            suits=fills_tiles,
        ),
        Implementation(
            "portable",
            "Other heads and windows, a bias of the run, and where few programs are called for: they differ in tiles.",
            supports=always,
            emit=emit_portable,
        ),
    ),
    lambda attention: attention.key,
)


@lowers("WindowAttention", domain=INTERNAL_DOMAIN)
def lower_window_attention(node: Node, lowering: Lowering) -> None:
    x, padding = lowering.dense(lowering.input(node, 0)), lowering.optional(node, 2)
    *_, tokens, channels = x.shape
    x = lowering.reshape(x, (prod(x.shape[:-2]), tokens, channels))
    grid = window_grid(node)
    inputs = [x, lowering.input(node, 1), *([] if padding is None else [padding])]
    output = lowering.output(node, reads=inputs)
    y = output.reshape((*x.shape[:2], channels // 3))
    if y is None or y.strides[2] != 1 or y.offset % 4 or any(stride % 4 for stride in y.strides[:2]):
        y = lowering.scratch((*x.shape[:2], channels // 3), output.dtype, f"{node.output.name}:dense")
    attention = Attention(node, grid, x, padding if grid.is_padded else None, y)
    lowering.choose(WINDOW_ATTENTION, attention).emit(attention, lowering)
    if y.slot is not output.slot:
        lowering.copy(lowering.reshape(y, output.shape), output)
