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

from dataclasses import asdict, dataclass

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.patch import MAX_BUFFERS
from engine.gpu.kernels.convolution.pooled import pooled_output, pooling_reader
from engine.gpu.kernels.convolution.tiled import load_layout
from engine.gpu.kernels.convolution.winograd_tiling import Tiling, by_rows, from_row, input_span
from engine.gpu.kernels.convolution.winograd_weights import packed_weights, split_fragments
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, linear_grid
from engine.gpu.program.tensor import Tensor
from engine.gpu.program.tile import Tile
from engine.graph.ir import Node

LEAST_WORKSPACE, MOST_WORKSPACE = 12 << 20, 32 << 20
"""Elements of transformed inputs and products of one range of tiles: fewer make dispatches that leave a GPU idle, and
more gain nothing. A row of tiles may need more."""

WIDE = Tile(bm=64, bn=64, bk=16, tm=8, tn=8)
TALL = Tile(bm=128, bn=64, bk=16, tm=8, tn=8)
"""For many tiles."""

MIDDLE = Tile(bm=64, bn=32, bk=16, tm=8, tn=4)
"""For up to 32 output channels."""


@dataclass(frozen=True, slots=True)
class UnitsTile:
    """Tiles and channels of a workgroup's product on matrix units, step along k, tiles and channels of a subgroup."""

    bm: int
    bn: int
    bk: int
    sm: int
    sn: int

    def fits(self, caps: Caps) -> bool:
        """Whether a device has matrix units whose fragments fill the tile, and room for both parts of x."""
        units = caps.matrix_units
        if units is None or self.sm % units.m or self.sn % units.n or self.bk % units.k or units.k % 8:
            return False
        invocations = self.bm // self.sm * (self.bn // self.sn) * units.lanes
        nbytes = 4 * self.bm * self.bk // units.k * (units.k + 8)
        return (
            invocations <= caps.limits["max-compute-invocations-per-workgroup"]
            and self.bm * self.bk // 4 % invocations == 0
            and nbytes <= caps.limits["max-compute-workgroup-storage-size"]
        )


UNITS_WIDE = UnitsTile(bm=64, bn=64, bk=16, sm=64, sn=16)
UNITS_MIDDLE = UnitsTile(bm=64, bn=32, bk=32, sm=32, sn=32)
"""For up to 32 output channels."""


def supports(size: int, layer: Layer, caps: Caps) -> bool:
    """3x3 with stride 1 and one dilation, constant weights without extremes, channels in fours, one group."""
    return _is_plain(layer) and _has_room(size, layer, caps, _tile(layer, size)) and not layer.has_extremes()


def supports_split(size: int, layer: Layer, caps: Caps) -> bool:
    """The same in float32 on a device with matrix units whose fragments fill the tile."""
    tile = _units_tile(layer)
    if not _is_plain(layer) or layer.x.dtype != "f32" or not tile.fits(caps):
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
    """Whether a binding holds the weights, one the workspace of a row of tiles, and a grid the product of one."""
    k, n = -(-layer.channels // tile.bk) * tile.bk, -(-layer.outputs // tile.bn) * tile.bn
    row = 4 * size * size * (Tiling.of(layer, size).tiles_x + tile.bm) * max(k, n)
    fits_grid = max(size * size, n // tile.bn) <= caps.limits["max-compute-workgroups-per-dimension"]
    return 4 * size * size * k * n <= caps.binding_limit and row <= caps.binding_limit and fits_grid


def suits_large_tiles(layer: Layer) -> bool:
    """Tiles of 4x4 outputs: enough products for their transforms, and 64 x 64 pixels, for fewer do not fill a GPU.

    Their weights are four times the layer's: with few pixels and many channels tiles of 2x2 are as fast. Weights that
    are bytes in the file would take sixteen times as much, and those of a file that is downloaded are to stay small.
    """
    products = layer.channels * layer.outputs
    if layer.has_byte_weights or layer.compact:
        return False
    return layer.pixels >= 4096 and products >= 1024 and layer.pixels * products >= 1 << 24 and _fills(layer, 6)


def suits_small_tiles(layer: Layer) -> bool:
    """Tiles of 2x2 outputs: down to 32 x 32 pixels, with channels of which not most are summed up; no byte weights."""
    outputs = layer.outputs
    return (
        not layer.has_byte_weights
        and not layer.compact
        and layer.pixels >= 1024
        and outputs >= max(128, layer.channels // 4)
        and _fills(layer, 4)
    )


def _fills(layer: Layer, size: int) -> bool:
    """Whether no third of the outputs of its tiles lies beyond the picture."""
    tiling = Tiling.of(layer, size)
    return tiling.rows * tiling.tiles_x * (size - 2) ** 2 * 2 <= layer.pixels * 3


def suits_large_split_tiles(layer: Layer) -> bool:
    """Of those the ones that patches are slower at: of many products a pixel, or large with half a tile of channels."""
    is_narrow = 16 < layer.outputs <= UNITS_MIDDLE.bn and layer.channels >= 64 and layer.pixels >= 1 << 16
    return (is_narrow or layer.channels * layer.outputs > 8192) and suits_large_tiles(layer)


def suits_small_split_tiles(layer: Layer) -> bool:
    """Of those the ones that patches are slower at, and that are not for large tiles."""
    return layer.channels * layer.outputs > 1 << 14 and suits_small_tiles(layer) and not suits_large_tiles(layer)


def _workspace_bytes(layer: Layer, lowering: Lowering) -> int:
    """The bound of a layer's workspace: what the graph's largest convolution, less a fifth, holds beyond this one.

    So the layers that decide how much memory a run needs have small workspaces, and most others need no ranges.
    """

    def elements(node: Node) -> int:
        return node.input(0).type.size + node.output.type.size

    def largest() -> int:
        return max(elements(node) for node in lowering.graph.nodes if node.op in ("Conv", "FusedConv"))

    room = lowering.memoise(("largest convolution",), largest) * 4 // 5 - elements(layer.node)
    return (2 if layer.x.dtype == "f16" else 4) * max(LEAST_WORKSPACE, min(MOST_WORKSPACE, room))


def _tile(layer: Layer, size: int) -> Tile:
    if layer.outputs <= MIDDLE.bn:
        return MIDDLE
    tiling = Tiling.of(layer, size)
    return TALL if tiling.rows * tiling.tiles_x >= 4096 else WIDE


def _units_tile(layer: Layer) -> UnitsTile:
    return UNITS_MIDDLE if layer.outputs <= UNITS_MIDDLE.bn else UNITS_WIDE


def emit(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, size: int) -> None:
    """Add the dispatches of a layer by tiles of ``size`` x ``size`` pixels, with the chain up to ``last``."""
    _emit(layer, lowering, tree, last, size=size, tile=_tile(layer, size))


def emit_split(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, size: int) -> None:
    """``emit`` on matrix units."""
    _emit(layer, lowering, tree, last, size=size, tile=_units_tile(layer))


def _emit(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, size: int, tile: Tile | UnitsTile) -> None:
    x, tiling, positions, n = load_layout(layer, lowering), Tiling.of(layer, size), size * size, layer.outputs
    units = lowering.caps.matrix_units if isinstance(tile, UnitsTile) else None
    k_padded, n_padded = -(-layer.channels // tile.bk) * tile.bk, -(-n // tile.bn) * tile.bn
    # channels of a block of x in the workspace, and of an invocation that writes it
    if units is None:
        assert isinstance(tile, Tile)
        block, vec = tile.bk, 1
        w, unscale = packed_weights(layer, lowering, size, tile), None
    else:
        block, vec = units.k, 2
        w, unscale = split_fragments(layer, lowering, size, units, (k_padded, n_padded))

    limit = min(
        _workspace_bytes(layer, lowering) // (k_padded + n_padded), lowering.binding_limit // max(k_padded, n_padded)
    )
    fitting = max(1, (limit // (4 * positions) // tile.bm * tile.bm) // tiling.tiles_x)
    ranges = -(-tiling.rows // fitting)
    rows = -(-tiling.rows // ranges)
    tiles, label = -(-rows * tiling.tiles_x // tile.bm) * tile.bm, last.output.name
    k_blocks = k_padded // block
    v_shape = (*([] if units is None else [2]), positions, k_blocks, tiles, block)
    v = lowering.scratch(v_shape, "f32" if units is None else "f16", f"{label}:winograd inputs")
    m = lowering.scratch((positions, tiles, n_padded), "f32", f"{label}:winograd products")
    # no dispatch reads pixels and writes outputs, so that both may be parts of one Concat
    products = [m] if unscale is None else [m, unscale]
    epilogue, y, target = layer.epilogue(lowering, tree, last, inputs=products, groups=1)
    # an invocation has four squares of pixels that lie side by side; small tiles have one, and are for small layers,
    # where a pass over the output costs less than a program more
    pools = size == 6 and tiling.dilation == 1 and epilogue.params["vector"]
    pooling = pooling_reader(last.output, lowering) if pools else None
    if len(products) + len(epilogue.reads) + len(epilogue.writes) + 1 > MAX_BUFFERS:
        pooling = None
    if pooling is not None:
        lowering.joined[pooling] = layer.node
    pool_writes, pool_params, pool_uniforms = pooled_output(
        pooling, lowering, epilogue, lines=tiling.tiles_y, height=size - 2
    )
    geometry = {"tiles_x": tiling.tiles_x, "tiles_y": tiling.tiles_y, "dilation": tiling.dilation}
    out_height, out_width = layer.window.out
    share = 2 * layer.channels * n * 9 * out_height * out_width * tiling.images / tiling.rows
    input_uniforms = {
        "row_items": tiling.tiles_x * k_padded // vec,
        "k_blocks": k_blocks,
        "channel_items": layer.channels // vec,
        "tiles": tiles,
        "position_items": k_padded * tiles // vec,
        "pad_y": layer.window.begin[0],
        "pad_x": layer.window.begin[1],
        "height": x.shape[2],
        "width": x.shape[3],
        "x_image": x.strides[0] // vec,
        "x_row": x.strides[2] // vec,
        "x_column": x.strides[3] // vec,
        **({} if units is None else {"y_low": v.strides[0] // vec}),
    }
    for first in range(0, tiling.rows, rows):
        count = min(rows, tiling.rows - first)
        place = {"first_row": first, **geometry}
        lowering.dispatch(
            Dispatch(
                kernel="winograd_input",
                params={"size": size, "bk": block, "vec": vec, "split": units is not None, "invocations": INVOCATIONS},
                reads=[Operand("x", x, input_span(layer, x, tiling, first), vec)],
                writes=[Operand("y", v, None, vec)],
                rows=count,
                grid=linear_grid(tiling.tiles_x * k_padded // vec),
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
                params={
                    "size": size,
                    "scaled": unscale is not None,
                    "invocations": INVOCATIONS,
                    **epilogue.params,
                    **pool_params,
                },
                reads=[
                    Operand("x", m, None, 4),
                    *([] if unscale is None else [Operand("unscale", unscale, None, 4)]),
                    *(by_rows(read, layer, tiling, first) for read in epilogue.reads),
                ],
                writes=[
                    *(by_rows(write, layer, tiling, first) for write in epilogue.writes),
                    *(from_row(write, first) for write in pool_writes),
                ],
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
                    **pool_uniforms,
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
        params = {**asdict(tile), "matrix": asdict(units)}
        reads = [Operand("x", v, None, 8), Operand("w", w)]
        uniforms = {
            "tiles": tiles,
            "k_fragments": k_blocks,
            "n_fragments": n_padded // units.n,
            "n_padded": n_padded,
            "x_low": v.strides[0] // 8,
            "w_low": w.strides[0],
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
