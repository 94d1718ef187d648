"""Host of conv.wgsl: a convolution as an implicit matrix product in tiles.

It takes layers with constant weights, one or two spatial axes and enough channels for a tile.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np

from engine.caps import Caps
from engine.gpu.kernels.convolution.byte_weights import ByteWeights
from engine.gpu.kernels.convolution.layer import Layer, fits_tiles
from engine.gpu.kernels.product.dynamic_quantization import AS_BYTE
from engine.gpu.lowering.epilogue import Epilogue, pixel_stride
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, Span, affine_span, linear_grid
from engine.gpu.program.expressions import functions_in
from engine.gpu.program.tensor import Tensor, channels_last
from engine.gpu.program.tile import Tile
from engine.graph.ir import Node, TensorType

WIDE = Tile(bm=64, bn=64, bk=16, tm=8, tn=8)
TALL = Tile(bm=128, bn=64, bk=16, tm=8, tn=8)
MIDDLE = Tile(bm=128, bn=32, bk=16, tm=8, tn=4)
NARROW = Tile(bm=64, bn=16, bk=16, tm=4, tn=4)

SCALAR = Tile(bm=64, bn=64, bk=16, tm=4, tn=4)
"""For channels that are loaded one by one, as in a network's first layer: few loads an invocation, as each is long."""

DEFORMABLE = Tile(bm=64, bn=128, bk=16, tm=8, tn=8)
"""For DeformConv, where each load reads four pixels: as many channels as can share a load."""


@dataclass(frozen=True, slots=True)
class TeamTile(Tile):
    """A tile that ``k_parts`` teams of invocations share, each with a part of the k axis and 4 (bm + bn) bk bytes.

    Its bn is 2 bk at the most, so that the sums of half of the teams fit the memory of the left operands.
    """

    k_parts: int


TEAMS = TeamTile(bm=16, bn=32, bk=16, tm=4, tn=4, k_parts=4)
"""For layers with too few tiles to fill a GPU."""


BUSY_WORKGROUPS = 1024
"""Workgroups that keep a large GPU busy; where there are fewer, the k axis is split."""

MIN_STEPS = 8
"""Steps along k of a part at the least: fewer do not pay for writing and adding its sums."""


def splits_for(tiles: int, steps: int) -> int:
    """The number of parts that the k axis is split into."""
    if tiles >= BUSY_WORKGROUPS // 2 or steps < 2 * MIN_STEPS:
        return 1
    return max(1, min(BUSY_WORKGROUPS // tiles, steps // MIN_STEPS))


def emit_tiled(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, tile: Tile) -> None:
    """Add the dispatches of a tiled kernel, with the element-wise chain up to ``last`` in its epilogue."""
    x = load_layout(layer, lowering)
    k_parts = tile.k_parts if isinstance(tile, TeamTile) else 1
    k, n = layer.window.taps * layer.channels, layer.outputs
    steps, n_padded = -(-k // (tile.bk * k_parts)) * k_parts, -(-n // tile.bn) * tile.bn

    weights = _weights(layer, lowering, k_padded=steps * tile.bk, n_padded=n_padded)
    weight_params, weight_uniforms = _weight_params(weights)
    loader = Loader.of(layer, x, tile.bk, keeps_nan=lowering.keeps_nan)
    reads = [*loader.reads, *weights, *_zero_point(layer)]
    inputs = [operand.tensor for operand in reads]
    epilogue, y, target = layer.epilogue(lowering, tree, last, inputs=inputs, groups=layer.groups)
    pixels = layer.pixels
    tiles = -(-pixels // tile.bm) * (n_padded // tile.bn) * layer.groups
    splits = 1 if k_parts > 1 else splits_for(tiles, steps)
    # multiplications and additions of the direct algorithm
    flops = 2 * pixels * n * k * layer.groups
    no_epilogue: dict[str, Any] = {"vector": False, "lines": (), "result": "", "functions": (), "targets": ()}
    epilogue_params = no_epilogue if splits > 1 else epilogue.params
    quantized = AS_BYTE if layer.integer and layer.deform_inputs else ""
    conv = Dispatch(
        kernel="conv",
        params={
            "integer": layer.integer,
            **asdict(tile),
            **epilogue_params,
            **loader.params,
            "quantized": quantized,
            "functions": list(dict.fromkeys([*functions_in([quantized]), *epilogue_params["functions"]])),
            "partial": splits > 1,
            "has_zero": layer.zero is not None,
            **weight_params,
        },
        reads=reads if splits > 1 else [*reads, *epilogue.reads],
        writes=epilogue.writes,
        rows=pixels,
        grid=lambda rows: (-(-rows // tile.bm), n_padded // tile.bn, layer.groups * splits),
        uniforms={"n": n, "n_padded": n_padded, "steps": steps, **loader.uniforms, **weight_uniforms}
        | ({"groups": layer.groups, "splits": splits} if splits > 1 else epilogue.uniforms),
        flops=flops,
    )
    if splits > 1:
        kind = "i32" if layer.integer else "f32"
        partial_sums = lowering.scratch((pixels, splits, layer.groups, n_padded), kind, f"{last.output.name}:parts")
        row = splits * layer.groups * n_padded
        span = affine_span(partial_sums, row, (row,), (1,))
        conv.writes = [Operand("y", partial_sums, span, 4)]
        lowering.dispatch(conv)
        lowering.dispatch(
            _sum_dispatch(
                layer, partial_sums=partial_sums, span=span, splits=splits, epilogue=epilogue, n=n, n_padded=n_padded
            )
        )
    else:
        lowering.dispatch(conv)
    if target is not None:
        lowering.copy(y, target)


def _weights(layer: Layer, lowering: Lowering, *, k_padded: int, n_padded: int) -> list[Operand]:
    """The weights in whole tiles, the rest zero: bytes where they are such in the file, else as float ``[groups, K,
    N]``."""
    in_bytes = ByteWeights.of(layer)
    if in_bytes is not None:
        return in_bytes.operands(layer, lowering, k_padded=k_padded, n_padded=n_padded)
    k, n = layer.window.taps * layer.channels, layer.outputs
    kind = TensorType(layer.node.input(1).dtype, (layer.groups, k_padded, n_padded))

    def pack() -> np.ndarray:
        padded = np.zeros(kind.shape, kind.dtype)
        padded[:, :k, :n] = layer.weights().reshape(layer.groups, k, n)
        return padded

    form = f"packed for {k_padded} x {n_padded}"
    w = lowering.derived_constant(layer.node.input(1), form, pack, dtype=layer.weight_type, kind=kind)
    return [Operand("w", w, None, 4)]


def _zero_point(layer: Layer) -> list[Operand]:
    """The zero point of the input; behind a scale, where the loader makes bytes of what lies under moved taps."""
    if layer.zero is None:
        return []
    return [Operand("x_quantization" if layer.deform_inputs else "x_zero", layer.zero)]


def _weight_params(weights: list[Operand]) -> tuple[dict[str, object], dict[str, int]]:
    """Parameters and uniforms of conv.wgsl: whether weights are bytes, and what the loader has for their columns."""
    w, *columns = weights
    names = {operand.name for operand in columns}
    # scales, and behind them zero points
    has_both = any(operand.tensor.shape[0] == 2 for operand in columns if operand.name == "w_scale")
    params: dict[str, object] = {
        "bytes": w.tensor.dtype == "u32",
        "w_scales": "w_scale" in names,
        "w_zeros": has_both or "w_zero" in names,
    }
    return params, {"w_zero_row": columns[0].tensor.strides[0] // 4} if has_both else {}


def _sum_dispatch(
    layer: Layer, partial_sums: Tensor, span: Span, splits: int, epilogue: Epilogue, n: int, n_padded: int
) -> Dispatch:
    return Dispatch(
        kernel="conv_sum",
        params={
            "integer": layer.integer,
            "invocations": INVOCATIONS,
            **epilogue.params,
        },
        reads=[Operand("x", partial_sums, span, 4), *epilogue.reads],
        writes=epilogue.writes,
        rows=partial_sums.shape[0],
        grid=linear_grid(layer.groups * n_padded // 4),
        uniforms={"n": n, "n_padded": n_padded, "groups": layer.groups, "splits": splits, **epilogue.uniforms},
        flops=partial_sums.size,
    )


def load_layout(layer: Layer, lowering: Lowering) -> Tensor:
    """The input with two spatial axes, its channels in vec4 items where a load takes four."""
    x = layer.x
    if x.rank == 3:
        x = replace(x, shape=(*x.shape[:2], 1, x.shape[2]), strides=(*x.strides[:2], 0, x.strides[2]))
    if layer.x_vec == 1:
        # a range of rows of a channel-first input spans nearly all of it
        needs_no_copy = x.strides[1] == 1 or x.nbytes <= lowering.binding_limit
        return x if needs_no_copy else lowering.dense_copy(x, channels_last(4))
    if x.strides[1] != 1 or x.offset % 4 or any(x.strides[axis] % 4 for axis in (0, 2, 3) if x.shape[axis] > 1):
        x = lowering.dense_copy(x, channels_last(4))
    return x


def takes_tiles(layer: Layer, _: Caps) -> bool:
    """Weights known at load, one or two spatial axes, and, where taps move, channels in fours."""
    loads = not layer.deform_inputs or layer.x_vec == 4
    return (
        layer.has_constant_weights
        and layer.x.rank <= 4
        and loads
        and fits_tiles(layer.outputs, layer.groups)
        and layer.node.output.type.size > 0
    )


@dataclass(frozen=True, slots=True)
class Loader:
    """How an implicit product reads its pixels: operands, uniforms, and parameters of parts/conv_loader.wgsl."""

    reads: list[Operand]
    uniforms: dict[str, int]
    params: dict[str, object]

    @staticmethod
    def of(layer: Layer, x: Tensor, bk: int, *, wide: bool = False, keeps_nan: bool = False) -> Loader:
        """The loader of a layer whose input lies as ``load_layout`` says, in steps of ``bk`` along k.

        Rows of a matrix may be loaded in items of eight where they are ``wide``, other pixels in fours at the most.
        ``keeps_nan`` is ``Lowering.keeps_nan``.
        """
        x_pixel, x_vec = _matrix_stride(layer, x, bk), layer.x_vec
        if x_pixel is None:
            uniforms = _geometry(layer, x, x_vec)
        else:
            x_vec = 8 if wide and not (bk % 8 or x.offset % 8 or x_pixel % 8) else x_vec
            uniforms = {"channels": layer.channels, "x_pixel": x_pixel // x_vec}
        reads = [Operand("x", x, None if layer.deform_inputs else _window_span(layer, x), x_vec)]
        for operand, tensor in layer.deform_inputs.items():
            pixel, channel = pixel_stride(tensor) or 0, tensor.strides[1]
            uniforms |= {f"{operand}_pixel": pixel, f"{operand}_channel": channel}
            reads.append(Operand(operand, tensor, affine_span(tensor, pixel, (tensor.shape[1],), (channel,))))
        params: dict[str, object] = {
            "x_vec": x_vec,
            "x_bytes": x.dtype == "u8",
            "dense": x_pixel is not None,
            "deformable": bool(layer.deform_inputs),
            "has_mask": "mask" in layer.deform_inputs,
            "keeps_nan": keeps_nan and bool(layer.deform_inputs),
        }
        return Loader(reads, uniforms, params)


def _matrix_stride(layer: Layer, x: Tensor, bk: int) -> int | None:
    """The elements from a pixel of x to the next, where a kernel can load x as a matrix; None where it cannot.

    It can where the window is one pixel that stays where it is, and steps of ``bk`` channels end with the channels.
    """
    window, stride = layer.window, pixel_stride(x)
    moves = window.taps > 1 or {*window.strides} != {1} or any((*window.begin, *window.end)) or layer.deform_inputs
    return None if moves or layer.channels % bk or stride is None or stride % 4 else stride


def loads_rows(layer: Layer, bk: int) -> bool:
    """Whether a kernel loads the input of a layer as a matrix, as it lies, in steps of ``bk``."""
    x = layer.x
    lies_well = layer.x_vec == 4 and x.strides[1] == 1 and x.offset % 4 == 0
    return lies_well and _matrix_stride(layer, x, bk) is not None


def _geometry(layer: Layer, x: Tensor, x_vec: int) -> dict[str, int]:
    """The uniforms of conv.wgsl: extents in elements, strides of x in items."""
    window, extra_axes = layer.window, x.rank - layer.x.rank
    window_2d = [(1,) * extra_axes + values for values in (window.strides, window.dilations, window.kernel, window.out)]
    (stride_y, stride_x), (dilation_y, dilation_x), (kernel_y, kernel_x), (out_height, out_width) = window_2d
    pad_y, pad_x = (0,) * extra_axes + window.begin
    strides = [stride // x_vec for stride in x.strides]
    return {
        "plane": out_height * out_width,
        "out_width": out_width,
        "stride_y": stride_y,
        "stride_x": stride_x,
        "pad_y": pad_y,
        "pad_x": pad_x,
        "dilation_y": dilation_y,
        "dilation_x": dilation_x,
        "kernel_y": kernel_y,
        "kernel_x": kernel_x,
        "channels": layer.channels,
        "height": x.shape[2],
        "width": x.shape[3],
        "x_image": strides[0],
        "x_row": strides[2],
        "x_column": strides[3],
        "x_channel": x.strides[1],
    }


def _window_span(layer: Layer, x: Tensor) -> Span:
    """The span of x by output pixels: the rows of one image under their windows, or whole images."""
    window = layer.window
    width, height = window.out[-1], prod(window.out[:-1])
    plane = width * height

    def span(first: int, last: int) -> tuple[int, int]:
        image, end = first // plane, -(-last // plane)
        part = x.slice(0, image, max(0, end - image))
        if end - image == 1 and layer.x.rank == 4:
            rows = first % plane // width, ((last - 1) % plane) // width + 1
            top, bottom = window.input_rows(*rows, x.shape[2])
            part = part.slice(2, top, max(1, bottom - top)) if bottom > top else part.slice(2, 0, 1)
        return part.span()

    return span
