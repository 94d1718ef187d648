"""Host of the winograd kernels: 3x3 convolutions of stride 1 by transformed tiles (Lavin and Gray, 2015).

Each tile of outputs, 2x2 of F(2x2, 3x3) or 4x4 of F(4x4, 3x3), is ``A^T [(G g G^T) . (B^T d B)] A`` of the pixels ``d``
under it, 4x4 or 6x6 of them. Over all tiles and channels the element-wise product in brackets is a matrix product for
each of the 16 or 36 positions: 2.25 or 4 times fewer multiplications than the definition asks for. A dilation takes the
picture apart into one for each phase of either axis, whose tiles lie side by side.

Three kernels compute it: winograd_input transforms the pixels, winograd_product multiplies, winograd_output transforms
back, with the epilogue. What lies between them takes up to 2.25 times the bytes of input and output: the rows of tiles
are cut into ranges whose workspace has a bound, and each range overwrites that of the one before.

The interpolation points of F(4, 3) are 0, ±sqrt(1/2), ±sqrt(2) and infinity. In float32 its error is 3e-6 of a layer's
largest output over 512 channels, where the definition's sums have 1.5e-6, and 0, ±1, ±2 have 1.6e-5.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import sqrt

import numpy as np

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.patch import halves, weight_scales
from engine.gpu.kernels.convolution.tiled import load_layout
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, Span, linear_grid
from engine.gpu.program.tensor import Tensor
from engine.gpu.program.tile import Tile
from engine.graph.ir import Node, TensorType

WORKSPACE_BYTES = 48 << 20
"""Bytes of transformed inputs and products of one range of tiles, where a row of tiles needs no more. More are faster,
128 MiB by a tenth of IS-Net, but add to what is alive in its largest layers. Half as many where tensors are float16."""

WIDE = Tile(bm=64, bn=64, bk=16, tm=8, tn=8)
TALL = Tile(bm=128, bn=64, bk=16, tm=8, tn=8)
"""For many tiles."""

MIDDLE = Tile(bm=64, bn=32, bk=16, tm=8, tn=4)
"""For up to 32 output channels."""

_ROOT = sqrt(2)
_G = {
    4: np.array([[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]]),
    6: np.array(
        [
            [1, 0, 0],
            [-2 / 3, -_ROOT / 3, -1 / 3],
            [-2 / 3, _ROOT / 3, -1 / 3],
            [1 / 6, _ROOT / 6, 1 / 3],
            [1 / 6, -_ROOT / 6, 1 / 3],
            [0, 0, 1],
        ]
    ),
}
"""The transform of weights along one axis, by the pixels of a tile; the others are in parts/winograd.wgsl."""


@dataclass(frozen=True, slots=True)
class UnitsTile:
    """Tiles and channels of a workgroup's product on matrix units, step along k, tiles and channels of a subgroup, and
    which operands go through workgroup memory: none, the left one, or both."""

    bm: int
    bn: int
    bk: int
    sm: int
    sn: int
    left_in_workgroup: bool = False
    right_in_workgroup: bool = False

    def fits(self, caps: Caps, *, split: bool) -> bool:
        """Whether a device has matrix units whose fragments fill the tile, and room for it."""
        units, parts = caps.matrix_units, 2 if split else 1
        if units is None or self.sm % units.m or self.sn % units.n or self.bk % units.k:
            return False
        invocations = self.bm // self.sm * (self.bn // self.sn) * units.lanes
        rows = ((self.bm * self.bk // units.k, units.k), (self.bn * self.bk // units.n, units.n))
        held = [operand for operand, is_held in zip(rows, self._held, strict=True) if is_held]
        return (
            invocations <= caps.limits["max-compute-invocations-per-workgroup"]
            and all(row % 8 == 0 and parts * count * row // 8 % invocations == 0 for count, row in held)
            and sum(2 * parts * count * (row + 8) for count, row in held)
            <= caps.limits["max-compute-workgroup-storage-size"]
        )

    @property
    def _held(self) -> tuple[bool, bool]:
        return self.left_in_workgroup, self.right_in_workgroup


UNITS_WIDE = UnitsTile(bm=64, bn=64, bk=16, sm=64, sn=16, left_in_workgroup=True)
UNITS_MIDDLE = UnitsTile(bm=64, bn=32, bk=32, sm=32, sn=32, left_in_workgroup=True)
"""For up to 32 output channels."""


@dataclass(frozen=True, slots=True)
class Variant:
    """How a layer is computed: the pixels under a tile on either axis, the tile of the product, channels of an
    invocation of winograd_input, the bound of the workspace in bytes, and what inputs are scaled by on matrix units."""

    size: int
    tile: Tile | UnitsTile
    vec: int = 1
    workspace_bytes: int | None = None
    scale: float = 1.0


def transform_weights(w: np.ndarray, size: int) -> np.ndarray:
    """``G g G^T`` of weights ``[M, C, 3, 3]`` as float32 ``[size * size, C, M]``."""
    both = np.kron(_G[size], _G[size]).astype(np.float32)
    taps = w.astype(np.float32, copy=False).transpose(2, 3, 1, 0)
    return (both @ taps.reshape(9, -1)).reshape(size * size, *taps.shape[2:])


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of a layer: rows of tiles of all images, tiles of a row, and of one image the rows of tiles."""

    size: int
    dilation: int
    images: int
    tiles_y: int
    tiles_x: int

    @staticmethod
    def of(layer: Layer, size: int) -> Tiling:
        dilation, outputs = layer.window.dilations[0], size - 2
        tiles_y, tiles_x = (dilation * -(-extent // (dilation * outputs)) for extent in layer.window.out)
        return Tiling(size, dilation, layer.x.shape[0], tiles_y, tiles_x)

    @property
    def rows(self) -> int:
        return self.images * self.tiles_y

    def out_rows(self, first: int, last: int) -> tuple[int, int, int, int]:
        """The images [a, b) of the rows [first, last) of tiles, and of one image the output rows [c, d)."""
        band = self.dilation * (self.size - 2)
        image, end = first // self.tiles_y, -(-last // self.tiles_y)
        if end - image != 1:
            return image, end, 0, self.tiles_y * (self.size - 2)
        row, last_row = first - image * self.tiles_y, last - 1 - image * self.tiles_y
        return image, end, row // self.dilation * band, (last_row // self.dilation + 1) * band


def supports(size: int, layer: Layer, caps: Caps) -> bool:
    """3x3 with stride 1 and one dilation, constant weights without extremes, channels in fours, one group."""
    return _is_plain(layer) and _has_room(size, layer, caps, _tile(layer, size)) and not layer.has_extremes()


def supports_split(size: int, layer: Layer, caps: Caps) -> bool:
    """The same in float32 on a device with matrix units whose fragments fill the tile."""
    tile = _units_tile(layer)
    if not _is_plain(layer) or layer.x.dtype != "f32" or not tile.fits(caps, split=True):
        return False
    return _has_room(size, layer, caps, tile) and not layer.has_extremes()


def _is_plain(layer: Layer) -> bool:
    window = layer.window
    return (
        window.kernel == (3, 3)
        and window.strides == (1, 1)
        and window.dilations[0] == window.dilations[1]
        and not layer.integer
        and not layer.deform_inputs
        and layer.groups == 1
        and layer.x_vec == 4
        and layer.has_constant_weights
        and layer.node.output.type.size > 0
    )


def _has_room(size: int, layer: Layer, caps: Caps, tile: Tile | UnitsTile) -> bool:
    """Whether a binding holds the weights, and one the workspace of a row of tiles."""
    k, n = -(-layer.channels // tile.bk) * tile.bk, -(-layer.outputs // tile.bn) * tile.bn
    row = 4 * size * size * (Tiling.of(layer, size).tiles_x + tile.bm) * max(k, n)
    return 4 * size * size * k * n <= caps.binding_limit and row <= caps.binding_limit


def suits_large_tiles(layer: Layer) -> bool:
    """Tiles of 4x4 outputs: enough products for their transforms, and 64 x 64 pixels, for fewer do not fill a GPU.

    Their weights are four times the layer's: with few pixels and many channels tiles of 2x2 are as fast. Weights that
    are bytes in the file would take sixteen times as much.
    """
    products = layer.channels * layer.outputs
    if layer.has_byte_weights:
        return False
    return layer.pixels >= 4096 and products >= 1024 and layer.pixels * products >= 1 << 24 and _fills(layer, 6)


def suits_small_tiles(layer: Layer) -> bool:
    """Tiles of 2x2 outputs: down to 32 x 32 pixels, with channels of which not most are summed up; no byte weights."""
    outputs = layer.outputs
    return (
        not layer.has_byte_weights
        and layer.pixels >= 1024
        and outputs >= max(128, layer.channels // 4)
        and _fills(layer, 4)
    )


def _fills(layer: Layer, size: int) -> bool:
    """Whether no third of the outputs of its tiles lies beyond the picture."""
    tiling = Tiling.of(layer, size)
    return tiling.rows * tiling.tiles_x * (size - 2) ** 2 * 2 <= layer.pixels * 3


def _tile(layer: Layer, size: int) -> Tile:
    if layer.outputs <= MIDDLE.bn:
        return MIDDLE
    tiling = Tiling.of(layer, size)
    return TALL if tiling.rows * tiling.tiles_x >= 4096 else WIDE


def _units_tile(layer: Layer) -> UnitsTile:
    return UNITS_MIDDLE if layer.outputs <= UNITS_MIDDLE.bn else UNITS_WIDE


def emit(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, size: int) -> None:
    """Add the dispatches of a layer by tiles of ``size`` x ``size`` pixels, with the chain up to ``last``."""
    emit_variant(layer, lowering, tree, last, variant=Variant(size, _tile(layer, size)))


def emit_split(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, size: int) -> None:
    """``emit`` on matrix units."""
    emit_variant(layer, lowering, tree, last, variant=Variant(size, _units_tile(layer), vec=2))


def emit_variant(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, variant: Variant) -> None:
    """``emit`` with all that may be chosen."""
    size, tile = variant.size, variant.tile
    x, tiling = load_layout(layer, lowering), Tiling.of(layer, size)
    units = lowering.caps.matrix_units if isinstance(tile, UnitsTile) else None
    positions, n = size * size, layer.outputs
    k_padded, n_padded = -(-layer.channels // tile.bk) * tile.bk, -(-n // tile.bn) * tile.bn
    # parts of an operand on matrix units: what is f16 is one
    parts = 0 if units is None else 1 if x.dtype == "f16" else 2
    if units is None:
        assert isinstance(tile, Tile)
        block, w, unscale = tile.bk, _weights(layer, lowering, size, tile), None
    else:
        block = units.k
        w, unscale = fragments(
            layer, lowering, units, size=size, scale=variant.scale, parts=parts, padded=(k_padded, n_padded)
        )

    workspace_bytes = variant.workspace_bytes or (WORKSPACE_BYTES // 2 if x.dtype == "f16" else WORKSPACE_BYTES)
    limit = min(workspace_bytes // (k_padded + n_padded), lowering.binding_limit // max(k_padded, n_padded))
    fitting = max(1, (limit // (4 * positions) // tile.bm * tile.bm) // tiling.tiles_x)
    ranges = -(-tiling.rows // fitting)
    rows = -(-tiling.rows // ranges)
    tiles, label = -(-rows * tiling.tiles_x // tile.bm) * tile.bm, last.output.name
    k_blocks = k_padded // block
    v_shape = (*([parts] if parts else []), positions, k_blocks, tiles, block)
    v = lowering.scratch(v_shape, "f16" if parts else "f32", f"{label}:winograd inputs")
    m = lowering.scratch((positions, tiles, n_padded), "f32", f"{label}:winograd products")
    # no dispatch reads pixels and writes outputs, so that both may be parts of one Concat
    products = [m] if unscale is None else [m, unscale]
    epilogue, y, target = layer.epilogue(lowering, tree, last, inputs=products, groups=1)
    geometry = {"tiles_x": tiling.tiles_x, "tiles_y": tiling.tiles_y, "dilation": tiling.dilation}
    out_height, out_width = layer.window.out
    share = 2 * layer.channels * n * 9 * out_height * out_width * tiling.images / tiling.rows
    input_uniforms = {
        "row_items": tiling.tiles_x * k_padded // variant.vec,
        "k_blocks": k_blocks,
        "channel_items": layer.channels // variant.vec,
        "tiles": tiles,
        "position_items": k_padded * tiles // variant.vec,
        "pad_y": layer.window.begin[0],
        "pad_x": layer.window.begin[1],
        "height": x.shape[2],
        "width": x.shape[3],
        "x_image": x.strides[0] // variant.vec,
        "x_row": x.strides[2] // variant.vec,
        "x_column": x.strides[3] // variant.vec,
        **({"scale": int(np.float32(variant.scale).view(np.int32))} if parts else {}),
        **({"y_low": v.strides[0] // variant.vec} if parts == 2 else {}),
    }
    for first in range(0, tiling.rows, rows):
        count = min(rows, tiling.rows - first)
        place = {"first_row": first, **geometry}
        lowering.dispatch(
            Dispatch(
                kernel="winograd_input",
                params={"size": size, "bk": block, "vec": variant.vec, "parts": parts, "invocations": INVOCATIONS},
                reads=[Operand("x", x, _input_span(layer, x, tiling, first), variant.vec)],
                writes=[Operand("y", v, None, variant.vec)],
                rows=count,
                grid=linear_grid(tiling.tiles_x * k_padded // variant.vec),
                uniforms=place | input_uniforms,
            )
        )
        lowering.dispatch(
            _product(
                v,
                w,
                m,
                tile=tile,
                units=units,
                rows=-(-count * tiling.tiles_x // tile.bm),
                flops=round(share * count),
            )
        )
        lowering.dispatch(
            Dispatch(
                kernel="winograd_output",
                params={"size": size, "scaled": bool(parts), "invocations": INVOCATIONS, **epilogue.params},
                reads=[
                    Operand("x", m, None, 4),
                    *([] if unscale is None else [Operand("unscale", unscale, None, 4)]),
                    *(_by_rows(read, layer, tiling, first) for read in epilogue.reads),
                ],
                writes=[_by_rows(write, layer, tiling, first) for write in epilogue.writes],
                rows=count,
                grid=linear_grid(tiling.tiles_x * -(-n // 4)),
                uniforms=place
                | {
                    "row_items": tiling.tiles_x * -(-n // 4),
                    "n4s": -(-n // 4),
                    "n": n,
                    "tile_items": n_padded // 4,
                    "position_items": tiles * n_padded // 4,
                    "out_height": out_height,
                    "out_width": out_width,
                    **epilogue.uniforms,
                },
            )
        )
    if target is not None:
        lowering.copy(y, target)


def _product(
    v: Tensor, w: Tensor, m: Tensor, *, tile: Tile | UnitsTile, units: MatrixUnits | None, rows: int, flops: int
) -> Dispatch:
    """The products of all positions of a range of tiles: ``rows`` rows of tiles of the product."""
    positions, tiles, n_padded = m.shape
    blocks_n, k_blocks = n_padded // tile.bn, v.shape[-3]
    if units is None:
        params: dict[str, object] = asdict(tile)
        reads = [Operand("x", v, None, 4), Operand("w", w, None, 4)]
        uniforms = {"tiles": tiles, "steps": k_blocks, "blocks_n": blocks_n}
    else:
        assert isinstance(tile, UnitsTile)
        split, x_vec = v.shape[0] == 2, 8 if tile.left_in_workgroup else 1
        w_vec = 8 if tile.right_in_workgroup else 1
        params = {**asdict(tile), "matrix": asdict(units), "split": split}
        reads = [Operand("x", v, None, x_vec), Operand("w", w, None, w_vec)]
        uniforms = {
            "tiles": tiles,
            "k_fragments": k_blocks,
            "n_fragments": n_padded // units.n,
            "n_padded": n_padded,
            **({"x_low": v.strides[0] // x_vec, "w_low": w.strides[0] // w_vec} if split else {}),
        }
    return Dispatch(
        kernel="winograd_product" if units is None else "winograd_product_matrix",
        params=params,
        reads=reads,
        writes=[Operand("y", m, None, 4 if units is None else 1)],
        rows=rows,
        grid=lambda rows: (rows, blocks_n, positions),
        uniforms=uniforms,
        flops=flops,
    )


def _weights(layer: Layer, lowering: Lowering, size: int, tile: Tile) -> Tensor:
    """Transformed weights, float32 ``[positions, steps, n / bn, bk, bn]``, padded with zeros."""
    steps, blocks_n = -(-layer.channels // tile.bk), -(-layer.outputs // tile.bn)
    shape = (size * size, steps, blocks_n, tile.bk, tile.bn)

    def packed() -> np.ndarray:
        padded = _transformed(layer, size, steps * tile.bk, blocks_n * tile.bn)
        blocks = padded.reshape(size * size, steps, tile.bk, blocks_n, tile.bn)
        return np.ascontiguousarray(blocks.transpose(0, 1, 3, 2, 4))

    kind = TensorType(np.dtype(np.float32), shape)
    return lowering.derived_constant(layer.node.input(1), f"winograd {shape}", packed, dtype="f32", kind=kind)


def _transformed(layer: Layer, size: int, k_padded: int, n_padded: int) -> np.ndarray:
    """Transformed weights, float32 ``[positions, k_padded, n_padded]``, padded with zeros."""
    padded = np.zeros((size * size, k_padded, n_padded), np.float32)
    w = layer.node.constant(1)
    assert w is not None
    padded[:, : layer.channels, : layer.outputs] = transform_weights(w, size)
    return padded


def fragments(
    layer: Layer,
    lowering: Lowering,
    units: MatrixUnits,
    *,
    size: int,
    scale: float,
    parts: int,
    padded: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """Transformed weights in fragments of float16, ``[parts, positions, k, n, units.k, units.n]``, and what the sums of
    each channel are multiplied by where inputs are by ``scale``, float32 ``[n]``; k and n are ``padded`` with zeros."""
    positions, value = size * size, layer.node.input(1)
    shape = (parts, positions, padded[0] // units.k, padded[1] // units.n, units.k, units.n)

    def packed() -> np.ndarray:
        w = _transformed(layer, size, *padded)
        w *= weight_scales(w[None])[0]
        blocks = np.stack(halves(w)[:parts]).reshape(*shape[:3], units.k, shape[3], units.n)
        return np.ascontiguousarray(blocks.transpose(0, 1, 2, 4, 3, 5))

    def unscales() -> np.ndarray:
        w = _transformed(layer, size, *padded)
        return (1 / (weight_scales(w[None])[0] * np.float32(scale))).astype(np.float32)

    form, kind = f"winograd fragments {shape}", TensorType(np.dtype(np.float16), shape)
    w = lowering.derived_constant(value, form, packed, dtype="f16", kind=kind)
    kind = TensorType(np.dtype(np.float32), (padded[1],))
    return w, lowering.derived_constant(value, f"unscale {scale} {form}", unscales, dtype="f32", kind=kind)


def _input_span(layer: Layer, x: Tensor, tiling: Tiling, first_row: int) -> Span:
    """The span of x by rows of tiles from ``first_row`` on: the pixels under them in one image, or whole images."""
    window = layer.window

    def span(first: int, last: int) -> tuple[int, int]:
        image, end, top, bottom = tiling.out_rows(first_row + first, first_row + last)
        part = x.slice(0, image, end - image)
        if end - image == 1:
            top, bottom = window.input_rows(top, max(top + 1, min(bottom, window.out[0])), x.shape[2])
            part = part.slice(2, min(top, x.shape[2] - 1), max(1, bottom - top))
        return part.span()

    return span


def _by_rows(operand: Operand, layer: Layer, tiling: Tiling, first_row: int) -> Operand:
    """An operand of the epilogue, whose span counts pixels, by rows of tiles from ``first_row`` on."""
    height, width = layer.window.out
    pixel_span = operand.span
    if pixel_span is None:
        return operand

    def span(first: int, last: int) -> tuple[int, int]:
        image, end, top, bottom = tiling.out_rows(first_row + first, first_row + last)
        if end - image == 1:
            return pixel_span(
                (image * height + min(top, height - 1)) * width, (image * height + min(bottom, height)) * width
            )
        return pixel_span(image * height * width, end * height * width)

    return replace(operand, span=span)
