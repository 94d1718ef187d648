"""Host of window_attention.wgsl: the attention of a Swin block on any device."""

from __future__ import annotations

from engine.caps import PORTABLE_LIMITS
from engine.gpu.kernels.attention.layer import Attention, dispatch
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.tensor import ITEM_BYTES, Tensor
from engine.graph.ir import Node

WORKGROUP_BYTES = PORTABLE_LIMITS["max-compute-workgroup-storage-size"]

FEW_WORKGROUPS = 1024
"""Workgroups below which a GPU is short of work, so that an invocation has one query, not two."""


def bytes_of_key(size: int) -> int:
    """Bytes of workgroup memory of a key and its value."""
    return 2 * size * ITEM_BYTES["f32"]


def bytes_for_keys(area: int) -> int:
    """Bytes of workgroup memory beside the token and the region of each place of a window."""
    return WORKGROUP_BYTES - 2 * ITEM_BYTES["i32"] * area


def emit_portable(attention: Attention, lowering: Lowering) -> None:
    """Add the dispatch of a layer."""
    area = attention.grid.area
    bias = lowering.dense(_key_major_bias(attention.node, lowering, lowering.input(attention.node, 1)))
    queries = 2 if attention.windows * attention.heads >= FEW_WORKGROUPS else 1
    blocks = -(-area // (queries * 128))
    key_bytes, available_bytes = bytes_of_key(attention.size), bytes_for_keys(area)
    steps = -(-area * key_bytes // available_bytes)
    geometry = {
        "queries": queries,
        "invocations": -(-area // (blocks * queries)),
        "keys": min(-(-area // (4 * steps)), available_bytes // (4 * key_bytes)) * 4,
    }
    dispatch("window_attention", attention, lowering, bias, blocks=blocks, x_vec=4, geometry=geometry)


def _key_major_bias(node: Node, lowering: Lowering, bias: Tensor) -> Tensor:
    """The bias as ``[heads, keys, queries]``."""
    value = node.input(1)
    if value.data is not None:
        data = value.data
        return lowering.derived_constant(value, "turned", lambda: data.swapaxes(1, 2))
    return bias.transpose((0, 2, 1))
