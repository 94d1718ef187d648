"""Host of conv_matrix.wgsl: a convolution as an implicit matrix product on matrix units.

It takes float16, and float32 in split operands: each number as two float16, three products a multiplication.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.row_moments import moments_input, moments_output
from engine.gpu.kernels.convolution.split import ACTIVATION_SCALE, PRODUCTS, halves, split_unscales, weight_scales
from engine.gpu.kernels.convolution.tiled import Loader, load_layout, loads_rows
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import Dispatch, Operand
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, TensorType

LONGEST_SUM = 4096
"""Summands up to which the products of low parts go into the sums of high parts: each addition cuts something off, and
the error, 4e-6 of the largest result for 1,000 summands, grows with them."""

NORMALIZED_SCALE = 1.0
"""ACTIVATION_SCALE of what is not normalised yet: residuals may be large, and are as good as their deviation needs."""


LONG_ROW = 768
MANY_ELEMENTS = 3 << 19
"""Channels, and elements in all, from which a product in float16 that has no moments at hand normalises what it loads
as fast as another kernel: each tile of channels takes the statistics anew. Below that layers of Swin-L took 10 to 60 µs
longer on an H200."""


def _is_large(layer: Layer) -> bool:
    return layer.channels >= LONG_ROW and layer.pixels * layer.channels >= MANY_ELEMENTS


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

    def workgroup_bytes(self, units: MatrixUnits, *, split: bool, normalized: bool = False) -> int:
        """Bytes of workgroup memory: operands, or a row of sums where that is more; rows have gaps. Statistics of rows
        stand beside them where x is ``normalized``."""
        weights = self.bk * (self.bn // 8 + 1) if self.weights_in_workgroup else 0
        operands = (2 if split else 1) * (self.bm * (self.bk // 8 + 1) + weights)
        sums = (2 if split else 1) * self.subgroups * units.m * (self.sn // 4 + 2)
        statistics = 8 * self.bm if normalized else 0
        return 16 * max(operands, sums) + statistics

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

    def normalizes(self, layer: Layer, caps: Caps) -> bool:
        """Whether the kernel can compute a LayerNormalization of the layer's input: it loads whole rows as they lie."""
        units = caps.matrix_units
        has_moments = layer.normalization is not None and layer.normalization.moments is not None
        return (
            units is not None
            and layer.node.op == "MatMul"
            and loads_rows(layer, self.bk)
            and (has_moments or layer.x.dtype == "f32" or _is_large(layer))
            and self.workgroup_bytes(units, split=layer.x.dtype == "f32", normalized=True)
            <= caps.limits["max-compute-workgroup-storage-size"]
        )

    def moment_lanes(self, caps: Caps, *, split: bool, normalized: bool) -> int:
        """Invocations side by side that have four channels each of one row's sums, and may join their moments: a power
        of two. 0 where there is no room for these, or some invocations have no sums in the last turn."""
        units = caps.matrix_units
        assert units is not None
        fours = self.sn // 4
        lanes = min(fours & -fours, units.lanes)
        moments = 16 * self.bm * (self.bn // (4 * lanes))
        # what goes by way of memory where subgroups exchange nothing themselves
        exchanged = 8 * self.subgroups * units.lanes
        nbytes = self.workgroup_bytes(units, split=split, normalized=normalized) + moments + exchanged
        has_room = nbytes <= caps.limits["max-compute-workgroup-storage-size"]
        return lanes if has_room and units.m * fours % (self.across_k * units.lanes) == 0 else 0

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
    weights = _Weights(layer, lowering, tile, units, split=split)
    w, factors = weights.tensor(), weights.factors()
    k_padded, n_padded = tile.padded(layer)
    loader = Loader.of(layer, x, tile.bk, wide=not split, keeps_nan=lowering.keeps_nan)
    reads = [*loader.reads, Operand("w", w, None, 8)]
    normalization = layer.normalization
    reads += [] if factors is None else [Operand("unscale" if normalization is None else "factors", factors, None, 4)]
    moments_reads, moments_uniforms = moments_input(None if normalization is None else normalization.moments)
    reads += moments_reads
    epilogue, y, target = layer.epilogue(
        lowering, tree, last, inputs=[operand.tensor for operand in reads], groups=layer.groups
    )
    lanes = tile.moment_lanes(lowering.caps, split=split, normalized=normalization is not None)
    moments_writes, moments_params = moments_output(
        layer, lowering, last, epilogue, width=tile.bn, lanes=lanes, reads=len(reads)
    )
    scale: dict[str, int] = {}
    if split:
        # where the low parts begin, in items
        scale["w_low"] = w.size // 16
        scale["scale"] = int(np.float32(weights.activation_scale).view(np.int32))
    if normalization is not None:
        scale["epsilon"] = int(np.float32(normalization.epsilon).view(np.int32))
    lowering.dispatch(
        Dispatch(
            kernel="conv_matrix",
            params={
                **asdict(tile),
                **loader.params,
                **epilogue.params,
                "matrix": asdict(units),
                "split": split,
                "low_apart": weights.low_apart,
                "normalized": normalization is not None,
                "x_moments": bool(moments_reads),
                **moments_params,
                "even": layer.channels % 8 == 0,
            },
            reads=[*reads, *epilogue.reads],
            writes=[*epilogue.writes, *moments_writes],
            rows=layer.pixels,
            grid=lambda rows: (-(-rows // tile.bm), n_padded // tile.bn, layer.groups),
            uniforms={
                "n": layer.outputs,
                "n_padded": n_padded,
                "steps": k_padded // tile.bk,
                **loader.uniforms,
                **moments_uniforms,
                **scale,
                **epilogue.uniforms,
            },
            # multiplications and additions of the direct algorithm
            flops=2 * layer.pixels * layer.outputs * layer.window.taps * layer.channels * layer.groups,
        )
    )
    if target is not None:
        lowering.copy(y, target)


@dataclass(frozen=True, slots=True)
class _Weights:
    """The weights of a layer as a tile reads them, and what its sums are multiplied by."""

    layer: Layer
    lowering: Lowering
    tile: MatrixTile
    units: MatrixUnits
    split: bool

    @property
    def activation_scale(self) -> float:
        """What activations are multiplied by before they are split."""
        if not self.split:
            return 1.0
        return ACTIVATION_SCALE if self.layer.normalization is None else NORMALIZED_SCALE

    @property
    def low_apart(self) -> bool:
        """Whether the products of low parts have sums of their own."""
        return self.split and self._summands > LONGEST_SUM

    @property
    def _summands(self) -> int:
        return self.layer.window.taps * self.layer.channels

    @property
    def _is_scaled(self) -> bool:
        """Whether each output channel has a scale of its own: scaled by a LayerNormalization, they could be small."""
        return self.split or self.layer.normalization is not None

    @property
    def _shape(self) -> tuple[int, ...]:
        k_padded, n_padded = self.tile.padded(self.layer)
        parts, groups, units = 2 if self.split else 1, self.layer.groups, self.units
        if self.tile.weights_in_workgroup:
            return parts, groups, k_padded, n_padded
        return parts, groups, n_padded // units.n, k_padded // units.k, units.k, units.n

    @property
    def _form(self) -> str:
        normalization = self.layer.normalization
        start = "" if normalization is None else f"{normalization.key}, "
        return f"{start}{'split, ' if self.split else ''}{'x'.join(map(str, self._shape))}"

    def tensor(self) -> Tensor:
        """Weights ``[parts, groups, K, N]`` in float16, padded with zeros to whole tiles, or their fragments, ``[parts,
        groups, N / units.n, K / units.k, units.k, units.n]``."""
        kind = TensorType(np.dtype(np.float16), self._shape)
        return self.lowering.derived_constant(
            self.layer.node.input(1), self._form, self._packed, dtype="f16", kind=kind
        )

    def factors(self) -> Tensor | None:
        """What the sums of each output channel are multiplied by, float32 ``[groups, N]``, where that is not 1.

        For a normalised input ``[3, N]``: that, the sum of the channel's weights, and what is added at the end.
        """
        if not self._is_scaled:
            return None
        layer, n_padded = self.layer, self.tile.padded(self.layer)[1]
        count = layer.groups if layer.normalization is None else 3
        kind = TensorType(np.dtype(np.float32), (count, n_padded))
        compute = (lambda: self._unscales(self._padded())) if layer.normalization is None else self._normalizing
        return self.lowering.derived_constant(
            layer.node.input(1), f"factors {self._form}", compute, dtype="f32", kind=kind
        )

    def _padded(self) -> np.ndarray:
        """float ``[groups, K, N]``"""
        layer, k = self.layer, self._summands
        k_padded, n_padded = self.tile.padded(layer)
        values = layer.weights().reshape(layer.groups, k, layer.outputs)
        if layer.normalization is not None:
            values = layer.normalization.scaled(values[0])[None]
        weights = np.zeros((layer.groups, k_padded, n_padded), values.dtype)
        weights[:, :k, : layer.outputs] = values
        return weights

    def _parts(self, weights: np.ndarray) -> list[np.ndarray]:
        """Padded weights as float16 ``[groups, K, N]``, scaled: one array, or the high and the low part."""
        if self._is_scaled:
            weights = weights * weight_scales(weights[:, None])[:, None]
        return list(halves(weights)) if self.split else [weights.astype(np.float16)]

    def _packed(self) -> np.ndarray:
        parts, shape, units = np.stack(self._parts(self._padded())), self._shape, self.units
        if self.tile.weights_in_workgroup:
            return parts
        by_fragment = parts.reshape(*shape[:2], shape[3], units.k, shape[2], units.n)
        return np.ascontiguousarray(by_fragment.transpose(0, 1, 4, 2, 3, 5))

    def _unscales(self, weights: np.ndarray) -> np.ndarray:
        products = 0 if not self.split else 1 if self.low_apart else PRODUCTS
        additions = products * self._summands / self.units.k / self.tile.across_k
        return split_unscales(weights[:, None], self.units, scale=self.activation_scale, additions=additions)

    def _normalizing(self) -> np.ndarray:
        normalization, layer = self.layer.normalization, self.layer
        assert normalization is not None
        weights = self._padded()
        unscale = self._unscales(weights)[0]
        # of the weights as they are multiplied: what they are rounded by must not leave a mean behind
        sums = np.sum([part[0].sum(0, dtype=np.float64) for part in self._parts(weights)], axis=0)
        shift = np.zeros_like(unscale)
        shift[: layer.outputs] = normalization.shift(layer.weights().reshape(layer.channels, layer.outputs))
        sums /= weight_scales(weights[:, None])[0]
        return np.stack([unscale, sums.astype(np.float32), shift])
