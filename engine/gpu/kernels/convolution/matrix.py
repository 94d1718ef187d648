"""Host of conv_matrix.wgsl: a convolution as an implicit matrix product on matrix units.

It takes float16, and float32 in split operands: each number as two float16, three products a multiplication.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.patch import ACTIVATION_SCALE, halves, weight_scales
from engine.gpu.kernels.convolution.tiled import Loader, load_layout
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import Dispatch, Operand
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, TensorType


@dataclass(frozen=True, slots=True)
class MatrixTile:
    """Pixels bm and channels bn of a workgroup, step bk along k, pixels sm and channels sn of a subgroup.

    ``across_k`` subgroups have the same pixels and channels, and share each step along k. ``weights_in_workgroup`` has
    weights go by way of workgroup memory; else each subgroup loads its own, so that one has all rows of the tile.
    """

    bm: int
    bn: int
    bk: int
    sm: int
    sn: int
    across_k: int = 1
    weights_in_workgroup: bool = True

    @property
    def name(self) -> str:
        """The name of its row: "matrix-128x128x32-64x64" are the tile and the share of a subgroup."""
        across_k = f"-{self.across_k}" if self.across_k > 1 else ""
        weights = "-weights" if self.weights_in_workgroup else ""
        return f"matrix-{self.bm}x{self.bn}x{self.bk}-{self.sm}x{self.sn}{across_k}{weights}"

    @property
    def subgroups(self) -> int:
        """Subgroups of a workgroup."""
        return (self.bm // self.sm) * (self.bn // self.sn) * self.across_k

    def workgroup_bytes(self, units: MatrixUnits, *, split: bool) -> int:
        """Bytes of workgroup memory: operands, or a row of sums where that is more; rows have gaps."""
        weights = self.bk * (self.bn // 8 + 1) if self.weights_in_workgroup else 0
        operands = (2 if split else 1) * (self.bm * (self.bk // 8 + 1) + weights)
        sums = (2 if split else 1) * self.subgroups * units.m * (self.sn // 4 + 2)
        return 16 * max(operands, sums)

    def fits(self, caps: Caps, *, split: bool) -> bool:
        """Whether a device has matrix units whose fragments fill the tile, and room for it."""
        units = caps.matrix_units
        if units is None or self.sm % units.m or self.sn % units.n or self.bk % (units.k * self.across_k):
            return False
        invocations = self.subgroups * units.lanes
        items = self.bm * self.bk // 8, self.bk * self.bn // 8 if self.weights_in_workgroup else 0
        return (
            units.n % 8 == units.k % 8 == 0
            and invocations <= caps.limits["max-compute-invocations-per-workgroup"]
            and invocations % (self.bk // 8) == 0
            and all(count % invocations == 0 for count in items)
            and self.workgroup_bytes(units, split=split) <= caps.limits["max-compute-workgroup-storage-size"]
        )

    def padded(self, layer: Layer) -> tuple[int, int]:
        """The extents of a layer's weights along k and n in whole tiles."""
        k, n = layer.window.taps * layer.channels, layer.outputs
        return -(-k // self.bk) * self.bk, -(-n // self.bn) * self.bn


def emit_matrix(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, tile: MatrixTile) -> None:
    """Add the dispatch of a tile, with the element-wise chain up to ``last`` in its epilogue."""
    units = lowering.caps.matrix_units
    assert units is not None
    x = load_layout(layer, lowering)
    split = x.dtype == "f32"
    w, unscale = _weights(layer, lowering, tile, units, split=split)
    k_padded, n_padded = tile.padded(layer)
    loader = Loader.of(layer, x, tile.bk, wide=not split)
    reads = [*loader.reads, Operand("w", w, None, 8)]
    reads += [] if unscale is None else [Operand("unscale", unscale, None, 4)]
    epilogue, y, target = layer.epilogue(
        lowering, tree, last, inputs=[operand.tensor for operand in reads], groups=layer.groups
    )
    scale: dict[str, int] = {}
    if split:
        # where the low parts begin, in items
        scale["w_low"] = w.size // 16
        scale["scale"] = int(np.float32(ACTIVATION_SCALE).view(np.int32))
    lowering.dispatch(
        Dispatch(
            kernel="conv_matrix",
            params={
                **asdict(tile),
                **loader.params,
                **epilogue.params,
                "matrix": asdict(units),
                "split": split,
                "even": layer.channels % 8 == 0,
            },
            reads=[*reads, *epilogue.reads],
            writes=epilogue.writes,
            rows=layer.pixels,
            grid=lambda rows: (-(-rows // tile.bm), n_padded // tile.bn, layer.groups),
            uniforms={
                "n": layer.outputs,
                "n_padded": n_padded,
                "steps": k_padded // tile.bk,
                **loader.uniforms,
                **scale,
                **epilogue.uniforms,
            },
            # multiplications and additions of the direct algorithm
            flops=2 * layer.pixels * layer.outputs * layer.window.taps * layer.channels * layer.groups,
        )
    )
    if target is not None:
        lowering.copy(y, target)


def _weights(
    layer: Layer, lowering: Lowering, tile: MatrixTile, units: MatrixUnits, *, split: bool
) -> tuple[Tensor, Tensor | None]:
    """Weights ``[parts, groups, K, N]`` in float16, padded with zeros to whole tiles, or their fragments, ``[parts,
    groups, N / units.n, K / units.k, units.k, units.n]``; for split operands also what the sums of each output channel
    are multiplied by, ``[groups, N]``."""
    k, n = layer.window.taps * layer.channels, layer.outputs
    k_padded, n_padded = tile.padded(layer)
    parts = 2 if split else 1
    shape: tuple[int, ...] = (parts, layer.groups, k_padded, n_padded)
    if not tile.weights_in_workgroup:
        shape = (parts, layer.groups, n_padded // units.n, k_padded // units.k, units.k, units.n)

    def padded() -> np.ndarray:
        weights = np.zeros((layer.groups, k_padded, n_padded), layer.node.input(1).dtype)
        weights[:, :k, :n] = layer.weights().reshape(layer.groups, k, n)
        return weights

    def packed() -> np.ndarray:
        weights = padded()
        halved = halves(weights * weight_scales(weights[:, None])[:, None]) if split else [weights.astype(np.float16)]
        if tile.weights_in_workgroup:
            return np.stack(halved)
        by_fragment = np.stack(halved).reshape(parts, layer.groups, shape[3], units.k, shape[2], units.n)
        return np.ascontiguousarray(by_fragment.transpose(0, 1, 4, 2, 3, 5))

    form = f"{'split, ' if split else ''}{'x'.join(map(str, shape))}"
    kind = TensorType(np.dtype(np.float16), shape)
    w = lowering.derived_constant(layer.node.input(1), form, packed, dtype="f16", kind=kind)
    if not split:
        return w, None

    def unscales() -> np.ndarray:
        return (1 / (weight_scales(padded()[:, None]) * np.float32(ACTIVATION_SCALE))).astype(np.float32)

    scale_kind = TensorType(np.dtype(np.float32), (layer.groups, n_padded))
    return w, lowering.derived_constant(layer.node.input(1), f"unscale {form}", unscales, dtype="f32", kind=scale_kind)
