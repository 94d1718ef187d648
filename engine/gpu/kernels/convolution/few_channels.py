"""Hosts of conv_few_inputs.wgsl and conv_few_outputs.wgsl: the first and last layers of networks.

A tile of a matrix product would multiply zeros there, or be split along its long axis. Both kernels compute squares of
pixels, and read each pixel under one about once.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from engine.caps import Caps
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.tiled import load_layout
from engine.gpu.lowering.epilogue import Epilogue
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import Dispatch, Operand, Span
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, TensorType

MOST_INPUTS = 4
"""Input channels that are few."""

MOST_OUTPUTS = 8
"""Output channels that are few."""

MOST_TAPS = 64
"""Taps of the windows of either kernel, whose source has a statement for each."""

PATCH_BYTES = 16 << 10
"""Bytes of workgroup memory that every adapter has."""


@dataclass(frozen=True, slots=True)
class InputsTile:
    """``lanes`` fours of output channels, and ``groups`` of ``pixels`` side by side, in ``tile_height`` lines."""

    lanes: int
    groups: int
    pixels: int
    tile_height: int

    @property
    def columns(self) -> int:
        return self.groups * self.pixels // self.tile_height


@dataclass(frozen=True, slots=True)
class OutputsTile:
    """``lanes`` invocations share the channels of a pixel; each has ``tile_y`` x ``tile_x`` pixels."""

    lanes: int
    patches_y: int
    patches_x: int
    tile_y: int
    tile_x: int


def inputs_tile(layer: Layer) -> InputsTile:
    """The tile of a layer of few inputs: wide ones for more than 32 output channels."""
    lanes = 16 if layer.outputs > 32 else 8
    return InputsTile(
        lanes=lanes, groups=256 // lanes, pixels=8 if layer.window.strides == (1, 1) else 4, tile_height=4
    )


def outputs_tile(layer: Layer) -> OutputsTile:
    """The tile of a layer of few outputs: 8 to 16 sums an invocation, as many as 16 KiB hold of 256 invocations."""
    lanes = next(lanes for lanes in (4, 8, 16) if lanes * 4 >= layer.channels or lanes == 16)
    patches_y, patches_x = {4: (8, 8), 8: (4, 8), 16: (4, 4)}[lanes]
    tile_y, tile_x = {1: (2, 4), 2: (2, 2), 3: (2, 2), 4: (2, 2)}.get(layer.outputs, (1, 2))
    return OutputsTile(lanes, patches_y, patches_x, tile_y, tile_x)


def _is_plain(layer: Layer) -> bool:
    window = layer.window
    return (
        not layer.integer
        and not layer.deform_inputs
        and layer.groups == 1
        and layer.node.op != "MatMul"
        and layer.x.rank == 4
        and layer.has_constant_weights
        and window.dilations == (1, 1)
        and window.taps <= MOST_TAPS
        and layer.node.output.type.size > 0
    )


def supports_inputs(layer: Layer, _: Caps) -> bool:
    """Up to four input channels, no dilation, and a window whose pixels fit workgroup memory."""
    if layer.channels > MOST_INPUTS or not _is_plain(layer):
        return False
    tile, window = inputs_tile(layer), layer.window
    height = (tile.tile_height - 1) * window.strides[0] + window.kernel[0]
    width = (tile.columns - 1) * window.strides[1] + window.kernel[1]
    return 4 * layer.channels * height * width <= PATCH_BYTES


def supports_outputs(layer: Layer, _: Caps) -> bool:
    """Up to eight output channels of a window with stride 1 and no dilation, input channels in fours."""
    few = layer.outputs <= MOST_OUTPUTS and layer.outputs * layer.window.taps <= MOST_TAPS
    return few and layer.x_vec == 4 and layer.window.strides == (1, 1) and _is_plain(layer)


def emit_inputs(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, tile: InputsTile | None = None) -> None:
    """Add the dispatch of a layer of few input channels, with the chain up to ``last`` in its epilogue."""
    tile = tile or inputs_tile(layer)
    window, n = layer.window, layer.outputs
    blocks_n = -(-n // (4 * tile.lanes))
    n_padded = blocks_n * 4 * tile.lanes
    packed_type = TensorType(layer.node.input(1).dtype, (window.kernel[0], layer.channels, window.kernel[1], n_padded))

    def pack_weights() -> np.ndarray:
        padded = np.zeros(packed_type.shape, packed_type.dtype)
        padded[..., :n] = layer.weights()[0].transpose(0, 2, 1, 3)
        return padded

    form = f"rows of taps by {4 * tile.lanes}"
    w = lowering.derived_constant(layer.node.input(1), form, pack_weights, dtype=layer.weight_type, kind=packed_type)
    x = layer.x
    epilogue, y, target = layer.epilogue(lowering, tree, last, inputs=[x, w], groups=1)
    tiles_y, tiles_x = -(-window.out[0] // tile.tile_height), -(-window.out[1] // tile.columns)
    lowering.dispatch(
        _dispatch(
            "conv_few_inputs",
            layer,
            x=Operand("x", x, _tile_span(layer, x, tile.tile_height, tiles_y)),
            w=Operand("w", w, None, 4),
            epilogue=epilogue,
            lines=tile.tile_height,
            tiles_y=tiles_y,
            params={
                **asdict(tile),
                "channels": layer.channels,
                "stride_y": window.strides[0],
                "stride_x": window.strides[1],
            },
            workgroups_per_row=tiles_x * blocks_n,
            uniforms={
                "tiles_x": tiles_x,
                "blocks_n": blocks_n,
                "n": n,
                "w_row": n_padded // 4,
                "x_channel": x.strides[1],
            },
        )
    )
    if target is not None:
        lowering.copy(y, target)


def emit_outputs(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, tile: OutputsTile | None = None) -> None:
    """Add the dispatch of a layer of few output channels, with the chain up to ``last`` in its epilogue."""
    tile = tile or outputs_tile(layer)
    window, n, fours = layer.window, layer.outputs, layer.channels // 4
    packed_type = TensorType(layer.node.input(1).dtype, (fours, n, *window.kernel, 4))

    def pack_weights() -> np.ndarray:
        taps = layer.weights()[0].reshape(*window.kernel, fours, 4, n)
        return np.ascontiguousarray(taps.transpose(2, 4, 0, 1, 3))

    w = lowering.derived_constant(
        layer.node.input(1), "fours of channels", pack_weights, dtype=layer.weight_type, kind=packed_type
    )
    x = load_layout(layer, lowering)
    epilogue, y, target = layer.epilogue(lowering, tree, last, inputs=[x, w], groups=n)
    lines, columns = tile.patches_y * tile.tile_y, tile.patches_x * tile.tile_x
    tiles_y, tiles_x = -(-window.out[0] // lines), -(-window.out[1] // columns)
    lowering.dispatch(
        _dispatch(
            "conv_few_outputs",
            layer,
            x=Operand("x", x, _tile_span(layer, x, lines, tiles_y), 4),
            w=Operand("w", w, None, 4),
            epilogue=epilogue,
            lines=lines,
            tiles_y=tiles_y,
            params={**asdict(tile), "outputs": n},
            workgroups_per_row=tiles_x,
            uniforms={"tiles_x": tiles_x, "n": 1, "channel_items": fours},
        )
    )
    if target is not None:
        lowering.copy(y, target)


def _dispatch(
    kernel: str,
    layer: Layer,
    *,
    x: Operand,
    w: Operand,
    epilogue: Epilogue,
    lines: int,
    tiles_y: int,
    params: dict[str, int],
    workgroups_per_row: int,
    uniforms: dict[str, int],
) -> Dispatch:
    """What both kernels have in common; a row of the dispatch is a row of tiles of ``lines`` lines."""
    window, images = layer.window, layer.x.shape[0]

    def by_rows(operand: Operand) -> Operand:
        pixel_span = operand.span
        if pixel_span is None:
            return operand

        def span(first: int, last: int) -> tuple[int, int]:
            image, end, top, bottom = _out_lines(first, last, lines, tiles_y)
            height, width = window.out
            if end - image == 1:
                return pixel_span((image * height + top) * width, (image * height + min(bottom, height)) * width)
            return pixel_span(image * height * width, end * height * width)

        return replace(operand, span=span)

    return Dispatch(
        kernel=kernel,
        params={**epilogue.params, **params, "kernel_y": window.kernel[0], "kernel_x": window.kernel[1]},
        reads=[x, w, *map(by_rows, epilogue.reads)],
        writes=[by_rows(write) for write in epilogue.writes],
        rows=images * tiles_y,
        grid=lambda rows: rows * workgroups_per_row,
        uniforms={
            **uniforms,
            "tiles_y": tiles_y,
            "pad_y": window.begin[0],
            "pad_x": window.begin[1],
            "height": x.tensor.shape[2],
            "width": x.tensor.shape[3],
            "out_height": window.out[0],
            "out_width": window.out[1],
            "x_image": x.tensor.strides[0] // x.vec,
            "x_row": x.tensor.strides[2] // x.vec,
            "x_column": x.tensor.strides[3] // x.vec,
            **epilogue.uniforms,
        },
        flops=2 * layer.node.output.type.size * layer.channels * window.taps,
    )


def _out_lines(first: int, last: int, lines: int, tiles_y: int) -> tuple[int, int, int, int]:
    """The images [a, b) of the rows [first, last) of tiles, and in the first of one image the lines [c, d)."""
    image, end = first // tiles_y, -(-last // tiles_y)
    if end - image != 1:
        return image, end, 0, tiles_y * lines
    return image, end, (first - image * tiles_y) * lines, (last - image * tiles_y) * lines


def _tile_span(layer: Layer, x: Tensor, lines: int, tiles_y: int) -> Span:
    """The span of x by rows of tiles: the pixels under them in one image, or whole images."""
    window = layer.window

    def span(first: int, last: int) -> tuple[int, int]:
        image, end, top, bottom = _out_lines(first, last, lines, tiles_y)
        part = x.slice(0, image, end - image)
        if end - image == 1:
            top, bottom = window.input_rows(top, min(bottom, window.out[0]), x.shape[2])
            part = part.slice(2, min(top, x.shape[2] - 1), max(1, bottom - top))
        return part.span()

    return span
