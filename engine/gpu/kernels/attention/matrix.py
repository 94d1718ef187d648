"""Host of window_attention_matrix.wgsl: the attention of a Swin block on matrix units, in float16."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import lcm, prod

import numpy as np

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.attention.layer import Attention, dispatch
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.tensor import ITEM_BYTES
from engine.graph.ir import TensorType

MAX_SUBGROUPS = 4
"""Subgroups of a workgroup at the most, of which each has a fragment of queries."""

MAX_COLUMNS = 48
"""Columns of scores that go through workgroup memory at a time, at the most."""

BELOW_ALL_SCORES = -1e30
"""The bias of keys behind the last one."""


@dataclass(frozen=True, slots=True)
class MemoryLayout:
    """Where in workgroup memory things lie, and how far apart their rows begin, in items of eight f16 or four f32.

    Rows have an odd number of items, so that they begin in different banks. Weights lie where keys and queries did;
    ``items`` are all.
    """

    row: int
    queries_at: int
    weights_row: int
    values_at: int
    sums_row: int
    sums_at: int
    items: int


@dataclass(frozen=True, slots=True)
class Geometry:
    """Queries of a workgroup, keys up to whole fragments, and columns of scores that go through memory at a time."""

    queries: int
    blocks: int
    keys: int
    columns: int

    @staticmethod
    def of(attention: Attention, caps: Caps) -> Geometry | None:
        """The geometry of a layer, of those that a device has room for the one that loads the fewest rows; or None."""
        units, area = caps.matrix_units, attention.grid.area
        if (
            units is None
            or attention.size % units.n
            or attention.size % units.k
            or units.n % 8
            or units.lanes % units.m
            or units.lanes % (attention.size // 8)
        ):
            return None
        step = lcm(units.n, units.k, 8 * units.lanes // units.m)
        fragments, keys = -(-area // units.m), -(-area // step) * step
        # a row of columns is shared out by eights
        share = 8 * units.lanes // units.m
        columns = [count for count in range(units.n, MAX_COLUMNS + 1, units.n) if not (keys % count or count % share)]
        geometries = [
            Geometry(subgroups * units.m, -(-fragments // subgroups), keys, max(columns, default=keys))
            for subgroups in range(MAX_SUBGROUPS, 0, -1)
        ]
        room = caps.limits["max-compute-workgroup-storage-size"]
        fitting = [each for each in geometries if each.workgroup_bytes(attention, units) <= room]
        return min(fitting, key=lambda each: each.blocks * (each.queries + each.keys), default=None)

    def memory(self, size: int) -> MemoryLayout:
        """What a head of ``size`` channels has in workgroup memory."""
        row, weights_row, sums_row = size // 8 | 1, self.keys // 8 | 1, max(self.columns, size) // 4 + 1
        values_at = max((self.keys + self.queries) * row, self.queries * weights_row)
        sums_at = values_at + self.keys * row
        return MemoryLayout(
            row=row,
            queries_at=self.keys * row,
            weights_row=weights_row,
            values_at=values_at,
            sums_row=sums_row,
            sums_at=sums_at,
            items=sums_at + self.queries * sums_row,
        )

    def workgroup_bytes(self, attention: Attention, units: MatrixUnits) -> int:
        """Bytes of workgroup memory: operands, values and sums, two numbers for each invocation, and regions."""
        items = self.memory(attention.size).items
        return 16 * items + 8 * self.queries // units.m * units.lanes + 4 * attention.grid.area

    def bias_shape(self, attention: Attention) -> tuple[int, int, int]:
        """The shape of the bias up to whole workgroups and fragments: heads, queries, keys."""
        return attention.heads, self.blocks * self.queries, self.keys


def takes_matrix_units(attention: Attention, caps: Caps) -> bool:
    """Whether tensors are float16, the bias is constant, fragments fill a head, and a workgroup has room."""
    geometry = Geometry.of(attention, caps)
    return (
        geometry is not None
        and attention.x.offset % 8 == 0
        and attention.x.dtype == attention.y.dtype == "f16"
        and attention.node.input(1).is_constant
        and prod(geometry.bias_shape(attention)) * ITEM_BYTES["f32"] <= caps.binding_limit
    )


def emit_matrix(attention: Attention, lowering: Lowering) -> None:
    """Add the dispatch of a layer."""
    units, value = lowering.caps.matrix_units, attention.node.input(1)
    geometry, data = Geometry.of(attention, lowering.caps), value.data
    assert units is not None
    assert geometry is not None
    assert data is not None
    shape = geometry.bias_shape(attention)

    def padded() -> np.ndarray:
        bias = np.zeros(shape, np.float32)
        bias[:, :, data.shape[2] :] = BELOW_ALL_SCORES
        bias[:, : data.shape[1], : data.shape[2]] = data
        return bias

    kind = TensorType(np.dtype(np.float32), shape)
    bias = lowering.derived_constant(value, f"padded to {shape}", padded, dtype="f32", kind=kind)
    parameters = asdict(geometry)
    blocks = parameters.pop("blocks")
    parameters |= {
        "matrix": asdict(units),
        "invocations": geometry.queries // units.m * units.lanes,
        "lanes_a_row": units.lanes // units.m,
        "layout": asdict(geometry.memory(attention.size)),
    }
    dispatch("window_attention_matrix", attention, lowering, bias, blocks=blocks, x_vec=8, geometry=parameters)
