"""Conv, FusedConv, ConvInteger and DeformConv: which kernel a layer gets, its operands and its geometry.

With weights that are known at load, one or two spatial axes and enough channels for a tile: the implicit matrix product
of conv.wgsl. Depthwise convolutions, three spatial axes and weights that only a run knows: conv_direct.wgsl.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod
from typing import Any

import numpy as np

from engine.gpu.dispatch import INVOCATIONS, Dispatch, Operand, Span, affine_span, linear_grid
from engine.gpu.kernels import conv_direct
from engine.gpu.kernels.elementwise import Tree
from engine.gpu.kernels.epilogue import PRODUCTS, Epilogue, lower_product, pixel_stride, prepare
from engine.gpu.kernels.rules import expression
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import Tensor, channels_last
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.conv import conv_window
from engine.ops.fused_conv import activation_of
from engine.ops.window import Window


@dataclass(frozen=True, slots=True)
class Tile:
    """Pixels and channels of a workgroup, step along k, pixels and channels of an invocation, and tiles in flight.

    Workgroup memory is 4 (bm + bn) bk bytes for each of ``buffers``, 16 KiB at most; invocations are
    (bm / tm) (bn / tn), 256 at most, and each loads at least one item of both operands.
    """

    bm: int
    bn: int
    bk: int
    tm: int
    tn: int
    buffers: int


WIDE = Tile(64, 64, 16, 8, 8, 1)
MIDDLE = Tile(128, 32, 16, 8, 4, 1)
NARROW = Tile(64, 16, 16, 4, 4, 1)

SCALAR = Tile(64, 64, 16, 4, 4, 1)
"""Where channels are loaded one by one, as in a network's first layer: few loads an invocation, since each is long."""

MOVED = Tile(64, 128, 16, 8, 8, 1)
"""Where taps are moved, since each load reads four pixels: as many channels as can share it."""

TILES = (WIDE, MIDDLE, NARROW, SCALAR, MOVED)
"""All that ``tile_for`` chooses among."""


@dataclass(frozen=True, slots=True)
class MatrixTile:
    """Pixels and channels of a workgroup, step along k, pixels and channels of a subgroup."""

    bm: int
    bn: int
    bk: int
    sm: int
    sn: int


FEWEST_MATRIX_CHANNELS = 33
"""Output channels of a group from which on half a tile of matrix units beats the other kernel."""


def matrix_tile_for(channels: int) -> MatrixTile:
    """The tile on matrix units for that many output channels in a group."""
    return MatrixTile(128, 128 if channels > 64 else 64, 32, 64, 32)


FULL = 1024
"""Workgroups that keep a large GPU busy: fewer, and the k axis is cut."""

FULL_MATRIX = 264
"""The same, for workgroups of matrix tiles, which are larger."""

MOST_TILES = 65535
"""Workgroups along one dimension of a grid, on every implementation."""

FEWEST_STEPS = 8
"""Steps along k that a part keeps: it pays for writing and adding its sums."""


def tile_for(channels: int, x_vec: int) -> Tile:
    """The tile of a layer with that many output channels in a group, of whose input a load takes ``x_vec`` channels."""
    if x_vec == 1:
        return SCALAR
    if channels > 32:
        return WIDE
    return MIDDLE if channels > 16 else NARROW


def fits_tiles(outputs: int, groups: int = 1) -> bool:
    """Whether a tiled kernel has workgroups for all groups of so many output channels, along y and z of its grid."""
    return max(-(-outputs // WIDE.bn), groups) <= MOST_TILES


def splits_for(tiles: int, steps: int, full: int = FULL) -> int:
    """Into how many parts the k axis is cut; ``full`` workgroups keep a GPU busy."""
    if tiles >= full // 2 or steps < 2 * FEWEST_STEPS:
        return 1
    return max(1, min(full // tiles, steps // FEWEST_STEPS))


@lowers("Conv", "ConvInteger")
def _conv(node: Node, low: Lowering) -> None:
    lower_product(node, low)


@lowers("FusedConv", domain=INTERNAL_DOMAIN)
def _fused_conv(node: Node, low: Lowering) -> None:
    lower_product(node, low)


def emit(node: Node, low: Lowering, tree: Tree, last: Node) -> None:
    """Add the convolution ``node`` with the element-wise chain up to ``last`` in its epilogue."""
    layer = Layer.of(node, low)
    if layer.is_direct:
        conv_direct.emit(layer, low, tree, last)
    else:
        emit_tiled(layer, low, tree, last)


PRODUCTS["", "Conv"] = emit, 3
PRODUCTS[INTERNAL_DOMAIN, "FusedConv"] = emit, 3
PRODUCTS["", "ConvInteger"] = emit, 4


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution: its node, its input as ``[N, C, *spatial]``, its window, and what its epilogue begins with.

    ``outputs`` are the output channels of a group, which lie on ``channel_axis`` of the node's output.
    """

    node: Node
    x: Tensor
    window: Window
    outputs: int
    groups: int
    integer: bool
    prelude: tuple[str, ...]
    own: dict[str, tuple[Tensor, np.dtype[Any]]]
    zero: Tensor | None
    moves: dict[str, Tensor]
    """What moves and weighs the taps, pixel by pixel: ``offset`` and ``mask`` of a DeformConv."""
    channel_axis: int = 1

    @staticmethod
    def of(node: Node, low: Lowering) -> Layer:
        """The layer of a Conv, FusedConv, ConvInteger or DeformConv node."""
        x, window = low.input(node, 0), conv_window(node, node.input(0).shape, node.input(1).shape)
        integer, deformable = node.op == "ConvInteger", node.op == "DeformConv"
        own: dict[str, tuple[Tensor, np.dtype[Any]]] = {}
        prelude, root = [], "raw"
        bias = None if integer else node.optional_input(3 if deformable else 2)
        if bias is not None:
            column = low.tensor(bias).reshape((1, bias.shape[0], *(1,) * (x.rank - 2)))
            assert column is not None
            own["bias"] = column, bias.dtype
            prelude.append("let biased = raw + bias;")
            root = "biased"
        if node.domain == INTERNAL_DOMAIN:
            root = expression(activation_of(node), [root])
        prelude.append(f"let root = {root};")
        zero = low.optional(node, 2) if integer else None
        moves = {"offset": low.optional(node, 2), "mask": low.optional(node, 4)} if deformable else {}
        by_pixel = {name: _by_pixel(tensor, low) for name, tensor in moves.items() if tensor is not None}
        groups = node.attr("group", 1)
        outputs = node.output.shape[1] // groups
        return Layer(node, x, window, outputs, groups, integer, tuple(prelude), own, zero, by_pixel)

    @property
    def channels(self) -> int:
        """Input channels of a group."""
        return self.x.shape[1] // self.groups

    @property
    def is_direct(self) -> bool:
        """Whether the tiled kernel has no use for it."""
        inputs = list(self.node.used_inputs())
        constant = inputs[1].is_constant and (not self.integer or len(inputs) < 4 or inputs[3].is_constant)
        depthwise = self.groups > 1 and (self.outputs < 8 or self.channels < 4)
        fits = fits_tiles(self.outputs, self.groups)
        return not constant or self.x.rank > 4 or depthwise or not fits or self.node.output.type.size == 0

    def weights(self) -> np.ndarray:
        """The weights ``[groups, kh, kw, C, N]``, for integers less their zero point as int32."""
        w = self.node.constant(1)
        assert w is not None
        if self.node.op == "MatMul":
            return w.reshape(1, 1, 1, *w.shape)
        if self.integer:
            zero = self.node.constant(3)
            w = w.astype(np.int32)
            if zero is not None:
                w = w - zero.astype(np.int32).reshape(-1, *(1,) * (w.ndim - 1))
        if w.ndim == 3:
            w = w[:, :, None]
        return w.reshape(self.groups, self.outputs, *w.shape[1:]).transpose(0, 3, 4, 2, 1)


def _by_pixel(tensor: Tensor, low: Lowering) -> Tensor:
    """``tensor`` ``[N, C, *spatial]``, or a copy of it, with the pixels evenly apart."""
    return tensor if pixel_stride(tensor) is not None else low.copied(tensor, channels_last(tensor.rank))


def emit_tiled(layer: Layer, low: Lowering, tree: Tree, last: Node) -> None:
    x, x_vec = _loadable(layer, low)
    tile = _tile(layer, x, x_vec, low)
    on_matrix_units = isinstance(tile, MatrixTile)
    k, n = layer.window.taps * layer.channels, layer.outputs
    steps, n_padded = -(-k // tile.bk), -(-n // tile.bn) * tile.bn

    def packed() -> np.ndarray:
        weights = layer.weights()
        whole = np.zeros((layer.groups, steps * tile.bk, n_padded), weights.dtype)
        whole[:, :k, :n] = weights.reshape(layer.groups, k, n)
        return whole

    w = low.derived(layer.node.input(1), f"packed for {tile.bk} x {tile.bn}", packed)
    inputs = [x, w, *([] if layer.zero is None else [layer.zero]), *layer.moves.values()]
    epilogue, y, target = prepare(low, tree, last, layer.prelude, layer.own, inputs, layer.groups, layer.channel_axis)
    pixels = layer.node.output.type.size // (layer.outputs * layer.groups)
    tiles = -(-pixels // tile.bm) * (n_padded // tile.bn) * layer.groups
    splits = splits_for(tiles, steps, FULL_MATRIX if on_matrix_units else FULL)
    geometry = _geometry(layer, x, x_vec) | {"n": n, "n_padded": n_padded, "steps": steps}
    common = {"integer": layer.integer, "groups": layer.groups}
    reads = [Operand("x", x, None if layer.moves else _window_span(layer, x), x_vec), Operand("w", w, None, 4)]
    for operand, tensor in layer.moves.items():
        pixel, channel = pixel_stride(tensor) or 0, tensor.strides[1]
        geometry |= {f"{operand}_pixel": pixel, f"{operand}_channel": channel}
        reads.append(Operand(operand, tensor, affine_span(tensor, pixel, (tensor.shape[1],), (channel,))))
    reads += [Operand("x_zero", layer.zero)] if layer.zero is not None else []
    # multiplications and additions of the direct algorithm
    flops = 2 * pixels * n * k * layer.groups
    plain: dict[str, Any] = {"vector": False, "lines": (), "result": "", "functions": ()}
    conv = Dispatch(
        kernel="conv_matrix" if on_matrix_units else "conv",
        params={
            **common,
            **asdict(tile),
            **({"matrix_units": True, "lanes": low.matrix_lanes} if on_matrix_units else {}),
            **(plain if splits > 1 else epilogue.params),
            "splits": splits if splits > 1 else 0,
            "x_vec": x_vec,
            "has_zero": layer.zero is not None,
            "deformable": bool(layer.moves),
            "has_mask": "mask" in layer.moves,
        },
        reads=reads if splits > 1 else [*reads, *epilogue.reads],
        writes=[epilogue.write],
        rows=pixels,
        grid=lambda rows: (-(-rows // tile.bm), n_padded // tile.bn, layer.groups * splits),
        uniforms=geometry | {"pixel_y": epilogue.pixel_stride},
        flops=flops,
    )
    if splits > 1:
        kind = "i32" if layer.integer else "f32"
        parts = low.scratch((pixels, splits, layer.groups, n_padded), kind, f"{last.output.name}:parts")
        row = splits * layer.groups * n_padded
        span = affine_span(parts, row, (row,), (1,))
        conv.writes = [Operand("y", parts, span, 4)]
        low.dispatch(conv)
        low.dispatch(_sum(layer, parts, span, splits, epilogue, n, n_padded))
    else:
        low.dispatch(conv)
    if target is not None:
        from engine.gpu.kernels.elementwise import copy

        copy(y, target, low)


def _tile(layer: Layer, x: Tensor, x_vec: int, low: Lowering) -> Tile | MatrixTile:
    w = layer.node.input(1)
    halves = x.dtype == "f16" and low.storage(w.dtype, w.type.size) == "f16"
    if low.matrix_lanes and halves and x_vec == 4 and layer.outputs >= FEWEST_MATRIX_CHANNELS:
        return matrix_tile_for(layer.outputs)
    return MOVED if layer.moves and layer.outputs > WIDE.bn else tile_for(layer.outputs, x_vec)


def _sum(layer: Layer, parts: Tensor, span: Span, splits: int, epilogue: Epilogue, n: int, n_padded: int) -> Dispatch:
    return Dispatch(
        kernel="conv_sum",
        params={
            "integer": layer.integer,
            "groups": layer.groups,
            "splits": splits,
            "invocations": INVOCATIONS,
            **epilogue.params,
        },
        reads=[Operand("x", parts, span, 4), *epilogue.reads],
        writes=[epilogue.write],
        rows=parts.shape[0],
        grid=linear_grid(layer.groups * n_padded // 4),
        uniforms={"n": n, "n_padded": n_padded, "pixel_y": epilogue.pixel_stride},
        flops=parts.size,
    )


def _loadable(layer: Layer, low: Lowering) -> tuple[Tensor, int]:
    """The input with two spatial axes, and how many channels a load takes: four where they lie side by side."""
    x = layer.x
    if x.rank == 3:
        view = replace(x, shape=(*x.shape[:2], 1, x.shape[2]), strides=(*x.strides[:2], 0, x.strides[2]))
        x = view
    if layer.channels % 4:
        # a range of rows of a channel-first input spans nearly all of it
        uncut = x.strides[1] == 1 or x.nbytes <= low.binding_limit
        return x if uncut else low.copied(x, channels_last(4)), 1
    if x.strides[1] != 1 or x.offset % 4 or any(x.strides[axis] % 4 for axis in (0, 2, 3)):
        x = low.copied(x, channels_last(4))
    return x, 4


def _geometry(layer: Layer, x: Tensor, x_vec: int) -> dict[str, int]:
    """The uniforms of conv.wgsl: extents in elements, strides of x in items."""
    window, one = layer.window, x.rank - layer.x.rank
    pair = [(1,) * one + values for values in (window.strides, window.dilations, window.kernel, window.out)]
    (stride_y, stride_x), (dilation_y, dilation_x), (kernel_y, kernel_x), (out_height, out_width) = pair
    pad_y, pad_x = (0,) * one + window.begin
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
    """The elements of x under the windows of a range of output pixels: some rows of one image, or whole images."""
    window = layer.window
    width, height = window.out[-1], prod(window.out[:-1])
    plane = width * height

    def span(first: int, last: int) -> tuple[int, int]:
        image, end = first // plane, -(-last // plane)
        part = x.slice(0, image, max(0, end - image))
        if end - image == 1 and layer.x.rank == 4:
            rows = first % plane // width, ((last - 1) % plane) // width + 1
            low, high = window.input_rows(*rows, x.shape[2])
            part = part.slice(2, low, max(1, high - low)) if high > low else part.slice(2, 0, 1)
        return part.span()

    return span
