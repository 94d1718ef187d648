"""Host of window_attention_tiled.wgsl: the attention of a Swin block as two matrix products, in float32."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import gcd, prod

import numpy as np

from engine.caps import Caps
from engine.gpu.kernels.attention.layer import Attention, dispatch
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.tensor import ITEM_BYTES
from engine.graph.ir import TensorType

KEY_GROUPS = 16
"""Invocations that share out the keys of a query."""

QUERY_FOURS = 2
"""Fours of queries that an invocation has, of the scores and of the sums."""

QUERY_GROUPS = (6, 5, 4, 7, 8)
"""Invocations that may share out the queries of a workgroup, preferred ones first."""

MAX_OWN_KEYS = 9
"""Keys of an invocation at the most: with eight queries each that is 72 scores in registers."""

MAX_CHUNK = 3
"""Keys of an invocation that go through workgroup memory at a time at the most: with more, fewer workgroups fit."""


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """Where in workgroup memory things lie, and how far apart their rows begin, in items of four f32.

    Eight items are all banks. Rows of queries and of keys, which neighbours store by slices, are so far apart that no
    two of these meet in a bank; all others have an odd number of items. ``items`` are what the largest step takes.
    """

    query_row: int
    key_row: int
    keys_at: int
    extremes_row: int
    weights_row: int
    values_at: int
    sums_row: int
    items: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """How a workgroup shares out its queries and all keys of a window.

    ``slice`` fours of channels and ``chunk`` keys of each invocation are in workgroup memory at a time. ``parts``
    invocations have the sums of the same queries and channels, each over other keys.
    """

    query_groups: int
    own_keys: int
    slice: int
    chunk: int
    parts: int

    @staticmethod
    def of(attention: Attention, caps: Caps) -> Geometry | None:
        """The geometry of a layer: the fewest queries beyond the window, the largest chunk that has room; or None."""
        area, fours = attention.grid.area, attention.size // 4
        own_keys = -(-area // KEY_GROUPS)
        # the sums take as many invocations as the scores
        parts, rest = divmod(KEY_GROUPS, fours)
        if rest or parts == 0 or own_keys > MAX_OWN_KEYS:
            return None
        room = caps.limits["max-compute-workgroup-storage-size"]
        chunks = (chunk for chunk in range(MAX_CHUNK, 0, -1) if own_keys % chunk == 0)
        geometries = (Geometry(_query_groups(area), own_keys, gcd(fours, 4), chunk, parts) for chunk in chunks)
        return next((each for each in geometries if each.workgroup_bytes(attention) <= room), None)

    @property
    def queries(self) -> int:
        """Queries of a workgroup."""
        return 4 * QUERY_FOURS * self.query_groups

    @property
    def keys(self) -> int:
        """Keys of a window, up to as many for each invocation."""
        return KEY_GROUPS * self.own_keys

    def blocks(self, attention: Attention) -> int:
        """Workgroups of a head of a window."""
        return -(-attention.grid.area // self.queries)

    def bias_shape(self, attention: Attention) -> tuple[int, int, int]:
        """The shape of the bias up to whole workgroups: heads, queries, keys."""
        return attention.heads, self.blocks(attention) * self.queries, self.keys

    @property
    def memory(self) -> MemoryLayout:
        """What the steps have in workgroup memory, each in its turn."""
        rows, chunk_keys = QUERY_FOURS * self.query_groups, KEY_GROUPS * self.chunk
        apart = 8 // self.slice
        query_row, key_row = (places + (apart - places) % 8 for places in (self.queries, self.keys))
        extremes_row, weights_row, sums_row = rows | 1, chunk_keys | 1, self.queries + 1
        keys_at, values_at = self.slice * query_row, rows * weights_row
        # KEY_GROUPS are the parts of all fours of channels
        values, sums = chunk_keys * KEY_GROUPS // self.parts, KEY_GROUPS * sums_row
        steps = keys_at + self.slice * key_row, KEY_GROUPS * extremes_row, values_at + values, sums
        return MemoryLayout(
            query_row=query_row,
            key_row=key_row,
            keys_at=keys_at,
            extremes_row=extremes_row,
            weights_row=weights_row,
            values_at=values_at,
            sums_row=sums_row,
            items=max(steps),
        )

    def workgroup_bytes(self, attention: Attention) -> int:
        """Bytes of workgroup memory: that of the steps, a token a place, and a number a query."""
        return 16 * self.memory.items + 4 * (attention.grid.area + self.queries)


def _query_groups(area: int) -> int:
    """Invocations that share out the queries of a workgroup: those that compute the fewest beyond a window."""
    return min(QUERY_GROUPS, key=lambda count: -(-area // (4 * QUERY_FOURS * count)) * count)


def takes_tiles(attention: Attention, caps: Caps) -> bool:
    """Whether few programs are not called for, the bias is constant, and tiles fit a head, registers and memory."""
    geometry = Geometry.of(attention, caps)
    return (
        geometry is not None
        and not caps.compact
        and attention.node.input(1).is_constant
        and prod(geometry.bias_shape(attention)) * ITEM_BYTES["f32"] <= caps.binding_limit
    )


def fills_tiles(attention: Attention) -> bool:
    """Whether three quarters of what tiles compute are of the window: with full ones an H200 takes 0.6 of the time."""
    area, count = attention.grid.area, 4 * QUERY_FOURS * _query_groups(attention.grid.area)
    computed = -(-area // count) * count * -(-area // KEY_GROUPS) * KEY_GROUPS
    return 4 * area**2 >= 3 * computed


def emit_tiled(attention: Attention, lowering: Lowering) -> None:
    """Add the dispatch of a layer."""
    value = attention.node.input(1)
    geometry, data = Geometry.of(attention, lowering.caps), value.data
    assert geometry is not None
    assert data is not None
    shape, blocks = geometry.bias_shape(attention), geometry.blocks(attention)

    def tiled() -> np.ndarray:
        bias = np.zeros(shape, np.float32)
        bias[:, :, data.shape[2] :] = -np.inf
        bias[:, : data.shape[1], : data.shape[2]] = data
        split = bias.reshape(-1, blocks, QUERY_FOURS, geometry.query_groups, 4, geometry.own_keys, KEY_GROUPS)
        return split.transpose(0, 1, 5, 2, 3, 6, 4).reshape(shape)

    kind = TensorType(np.dtype(np.float32), shape)
    form = f"in tiles of {geometry.queries} queries"
    bias = lowering.derived_constant(value, form, tiled, dtype="f32", kind=kind)
    parameters = asdict(geometry) | {
        "key_groups": KEY_GROUPS,
        "query_fours": QUERY_FOURS,
        "invocations": geometry.query_groups * KEY_GROUPS,
        "layout": asdict(geometry.memory),
    }
    dispatch(
        "window_attention_tiled", attention, lowering, bias, blocks=blocks, x_vec=4, bias_vec=4, geometry=parameters
    )
