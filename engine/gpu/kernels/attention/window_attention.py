"""Host of window_attention.wgsl: the attention of a Swin block, which never writes its scores to memory."""

from __future__ import annotations

from math import prod

from engine.caps import PORTABLE_LIMITS, Caps
from engine.compiled.model import ALIGNMENT
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.lowering.refusals import refuses
from engine.gpu.program.dispatch import Dispatch, Operand
from engine.gpu.program.numbers import Numbers
from engine.gpu.program.tensor import ITEM_BYTES, Tensor
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.window_attention import window_grid

WORKGROUP_BYTES = PORTABLE_LIMITS["max-compute-workgroup-storage-size"]

LARGEST_HEAD = 128
"""Channels of a head at the most: an invocation holds four times as many, of its query, its sums, a key and a value."""

MAX_PIECES = 5
"""Parts of the projections at the most, which leaves bindings for the bias, the padding and the result."""

FEW_WORKGROUPS = 1024
"""Workgroups below which a GPU is short of work, so that an invocation has one query, not two."""


def _bytes_of_key(size: int) -> int:
    """Bytes of workgroup memory of a key and its value."""
    return 2 * size * ITEM_BYTES["f32"]


def _bytes_for_keys(area: int) -> int:
    """Bytes of workgroup memory beside the token and the region of each place of a window."""
    return WORKGROUP_BYTES - 2 * ITEM_BYTES["i32"] * area


@refuses("WindowAttention", domain=INTERNAL_DOMAIN)
def refuse_window_attention(node: Node, caps: Caps, half: bool) -> str | None:
    """What the kernel has no room for: heads, windows of which it holds no four keys, projections in many bindings."""
    x, grid, heads = node.input(0), window_grid(node), node.attributes["heads"]
    *_, tokens, channels = x.shape
    size, limit, item = channels // 3 // heads, caps.binding_limit, ITEM_BYTES["f16" if half else "f32"]
    if size % 4 or size > LARGEST_HEAD:
        return f"heads of {size} channels; backend 'webgpu' has multiples of 4 up to {LARGEST_HEAD}"
    if _bytes_for_keys(grid.area) < 4 * _bytes_of_key(size):
        return f"windows of {grid.window} x {grid.window} tokens leave no workgroup memory for heads of {size} channels"
    nbytes, bias = x.type.size * item, node.input(1).type.size * ITEM_BYTES["f32"]
    pieces = -(-tokens // _piece_tokens(nbytes, tokens, limit)) if prod(x.shape[:-2]) == 1 else 1
    if pieces > MAX_PIECES or (pieces == 1 and nbytes > limit):
        room = (MAX_PIECES if pieces > 1 else 1) * limit
        return f"projections of {nbytes:,} bytes; an adapter that binds {limit:,} at a time takes {room:,}"
    if max(nbytes // 3, bias) > limit:
        return f"a result of {nbytes // 3:,} and a bias of {bias:,} bytes; the adapter binds {limit:,} at a time"
    return None


@lowers("WindowAttention", domain=INTERNAL_DOMAIN)
def lower_window_attention(node: Node, lowering: Lowering) -> None:
    x, bias, padding = lowering.dense(lowering.input(node, 0)), lowering.input(node, 1), lowering.optional(node, 2)
    grid, heads = window_grid(node), node.attributes["heads"]
    *_, tokens, channels = x.shape
    size = channels // 3 // heads
    x = lowering.reshape(x, (prod(x.shape[:-2]), tokens, channels))
    bias = lowering.dense(_key_major_bias(node, lowering, bias))
    inputs = [x, bias, *([] if padding is None else [padding])]
    output = lowering.output(node, reads=inputs)
    y = output.reshape((*x.shape[:2], channels // 3))
    if y is None or y.strides[2] != 1 or y.offset % 4 or any(stride % 4 for stride in y.strides[:2]):
        y = lowering.scratch((*x.shape[:2], channels // 3), output.dtype, f"{node.output.name}:dense")
    pieces = _pieces(x, lowering.binding_limit)
    queries = 2 if x.shape[0] * grid.count * heads >= FEW_WORKGROUPS else 1
    blocks = -(-grid.area // (queries * 128))
    invocations = -(-grid.area // (blocks * queries))
    bytes_of_key, available_bytes = _bytes_of_key(size), _bytes_for_keys(grid.area)
    steps = -(-grid.area * bytes_of_key // available_bytes)
    keys = min(-(-grid.area // (4 * steps)), available_bytes // (4 * bytes_of_key)) * 4

    numbers = Numbers()
    mask_value = float(node.attributes["mask_value"])

    def workgroups(rows: int) -> int:
        return rows * heads * blocks

    lowering.dispatch(
        Dispatch(
            kernel="window_attention",
            params={
                "window": grid.window,
                "size": size,
                "scale": numbers.scalar("scale", node.attributes["scale"]),
                # no score is near this number, and with infinity a difference of two would be NaN
                "mask_value": numbers.scalar("mask_value", max(-1e30, mask_value)) if mask_value else "",
                "has_padding": padding is not None and grid.is_padded,
                "queries": queries,
                "blocks": blocks,
                "invocations": invocations,
                "keys": keys,
                "pieces": len(pieces),
                "item": "vec4<f16>" if y.dtype == "f16" else "vec4<f32>",
            },
            reads=[
                *(Operand(f"x{index}", piece, vec=4) for index, piece in enumerate(pieces)),
                Operand("bias", bias),
                *([Operand("padding", padding, vec=4)] if padding is not None and grid.is_padded else []),
            ],
            writes=[Operand("y", y, vec=4)],
            rows=x.shape[0] * grid.count,
            grid=workgroups,
            uniforms={
                **numbers.uniforms,
                "height": grid.height,
                "width": grid.width,
                "padded_height": grid.down * grid.window,
                "padded_width": grid.across * grid.window,
                "across": grid.across,
                "windows": grid.count,
                "shift": grid.shift,
                "heads": heads,
                "channels": channels // 3,
                "piece_tokens": pieces[0].shape[1],
                "x_image": x.strides[0],
                "x_token": x.strides[1],
                "y_image": y.strides[0],
                "y_token": y.strides[1],
            },
            flops=4 * x.shape[0] * grid.count * heads * grid.area**2 * size,
        )
    )
    if y.slot is not output.slot:
        lowering.copy(lowering.reshape(y, output.shape), output)


def _key_major_bias(node: Node, lowering: Lowering, bias: Tensor) -> Tensor:
    """The bias as ``[heads, keys, queries]``."""
    value = node.input(1)
    if value.data is not None:
        data = value.data
        return lowering.derived_constant(value, "turned", lambda: data.swapaxes(1, 2))
    return bias.transpose((0, 2, 1))


def _piece_tokens(nbytes: int, tokens: int, limit: int) -> int:
    """Tokens of a piece of the projections of one image, which take ``nbytes``."""
    if nbytes <= limit:
        return tokens
    # a binding begins at its first token, rounded down to the alignment
    max_tokens = max(1, (limit - ALIGNMENT) * tokens // nbytes)
    return -(-tokens // -(-tokens // max_tokens))


def _pieces(x: Tensor, limit: int) -> list[Tensor]:
    """x as the fewest equal runs of tokens that fit a binding each; one run where there are several images."""
    tokens = x.shape[1] if x.shape[0] > 1 else _piece_tokens(x.nbytes, x.shape[1], limit)
    return [x.slice(1, first, min(tokens, x.shape[1] - first)) for first in range(0, x.shape[1], tokens)]
