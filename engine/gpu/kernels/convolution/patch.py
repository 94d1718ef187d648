"""Host of conv_patch.wgsl: a convolution on matrix units whose workgroups load their pixels once for all taps.

It takes float16, and float32 in split operands: each number as two float16, three products a multiplication.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from math import prod

import numpy as np

from engine.caps import Caps, MatrixUnits
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.pooled import pooled_output, pooling_reader
from engine.gpu.kernels.convolution.split import ACTIVATION_SCALE, PRODUCTS, halves, split_unscales, weight_scales
from engine.gpu.kernels.convolution.tiled import load_layout
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import Dispatch, Operand, Span
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node, TensorType
from engine.ops.window import Window

GAP = 8
"""Elements between rows of workgroup memory, so that they begin in different banks."""


@dataclass(frozen=True, slots=True)
class PatchTile:
    """A workgroup's pixels and channels, and how its subgroups share them.

    ``block`` are the input channels that are in workgroup memory at a time. The subgroups divide the tile by pixels,
    by output channels, and by input channels, where they add their sums at the end. ``weights_in_workgroup`` has
    weights go by way of workgroup memory.
    """

    height: int
    width: int
    outputs: int
    block: int
    across_pixels: int = 1
    across_outputs: int = 1
    across_channels: int = 1
    weights_in_workgroup: bool = False

    @property
    def name(self) -> str:
        """The name of its row: "patch-16x16x64" are pixels and channels, and what else tells it from others."""
        subgroups = f"{self.across_pixels}{self.across_outputs}{self.across_channels}"
        weights = "-weights" if self.weights_in_workgroup else ""
        return f"patch-{self.height}x{self.width}x{self.outputs}-{self.block}-{subgroups}{weights}"

    def spread(self, window: Window) -> int:
        """How far apart the rows of the tile lie: a dilation apart, so that their taps share rows of the patch."""
        return window.dilations[0] if window.strides[0] == 1 else 1

    def patch(self, window: Window) -> tuple[int, int]:
        """Height and width of the pixels that the tile reads."""
        spread = self.spread(window)
        height = ((self.height - 1) * window.strides[0] * spread + window.extents[0] - 1) // spread + 1
        return height, (self.width - 1) * window.strides[1] + window.extents[1]

    def workgroup_bytes(self, window: Window, units: MatrixUnits, *, split: bool) -> int:
        """Bytes of workgroup memory: the patch in float16 and weights where they go there, and then a row of sums."""
        parts = 2 if split else 1
        operands = prod(self.patch(window)) * (self.block + GAP)
        if self.weights_in_workgroup:
            operands += window.taps * self.block * self.outputs // units.k * (units.k + GAP)
        across = self.across_pixels * self.across_channels
        sums = across * units.m * (self.outputs + self.across_outputs * GAP)
        return max(2 * parts * operands, 4 * sums)

    def pools(self, units: MatrixUnits) -> bool:
        """Whether each subgroup has whole squares of two pixels: an even number of lines, of one fragment each."""
        rows = self.height * (self.width // units.m) // self.across_pixels
        return self.width == units.m and units.m % 2 == 0 and rows % 2 == 0 and self.outputs % 4 == 0

    def supports(self, layer: Layer, caps: Caps) -> bool:
        """Whether a device has matrix units whose fragments fill the tile, and room for it, and the layer fits."""
        units = caps.matrix_units
        return units is not None and _takes_patches(layer) and self._fits(layer, units, caps)

    def _fits(self, layer: Layer, units: MatrixUnits, caps: Caps) -> bool:
        fragments_a_line = self.width // units.m
        wholes = (
            (self.width, units.m),
            (self.height * fragments_a_line, self.across_pixels),
            (self.outputs, units.n * self.across_outputs),
            (self.block, units.k * self.across_channels),
        )
        invocations = self.across_pixels * self.across_outputs * self.across_channels * units.lanes
        return (
            all(extent > 0 and extent % part == 0 for extent, part in wholes)
            and self.block % 8 == 0
            and invocations % (self.block // 8) == 0
            and self.across_channels * units.lanes % (self.outputs // self.across_outputs // 4) == 0
            and layer.groups <= caps.limits["max-compute-workgroups-per-dimension"]
            and invocations <= caps.limits["max-compute-invocations-per-workgroup"]
            and self.workgroup_bytes(layer.window, units, split=layer.x.dtype == "f32")
            <= caps.limits["max-compute-workgroup-storage-size"]
        )


def _takes_patches(layer: Layer) -> bool:
    """Two spatial axes, channels in fours, and constant weights of the type of the pixels."""
    return (
        layer.x.rank == 4
        and layer.x_vec == 4
        and layer.x.dtype in ("f16", "f32")
        and layer.weight_type == layer.x.dtype
        and layer.has_constant_weights
        and layer.node.op != "MatMul"
        and not layer.deform_inputs
        and not layer.is_thin
        and layer.node.output.type.size > 0
    )


def emit_patch(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, tile: PatchTile) -> None:
    """Add the dispatch of a tile, with the element-wise chain up to ``last`` in its epilogue."""
    units, window = lowering.caps.matrix_units, layer.window
    assert units is not None
    x = load_layout(layer, lowering)
    split = x.dtype == "f32"
    x_vec = 8 if not split and _has_eights(x, layer.channels) else 4
    w, unscale = _weights(layer, lowering, tile, units, split=split)
    reads = [Operand("x", x, None, x_vec), Operand("w", w, None, 8)]
    reads += [] if unscale is None else [Operand("unscale", unscale, None, 4)]
    epilogue, y, target = layer.epilogue(
        lowering, tree, last, inputs=[operand.tensor for operand in reads], groups=layer.groups
    )
    out_height, out_width = window.out
    spread = tile.spread(window)
    line_height = tile.height * spread
    lines, tiles_a_line = -(-out_height // line_height), -(-out_width // tile.width)
    plane = out_height * out_width

    def pixel(line: int) -> int:
        """The first pixel of a line of tiles."""
        return line // lines * plane + min(line % lines * line_height, out_height) * out_width

    pools = spread == 1 and tile.pools(units)
    pooling = pooling_reader(last.output, lowering, epilogue, len(reads)) if pools else None

    def by_line(span: Span | None) -> Span | None:
        """A span by pixels as one by lines of tiles."""
        return span and (lambda first, last: span(pixel(first), pixel(last)))

    reads[0] = replace(reads[0], span=_line_span(layer, x, line_height, lines))
    pool_writes, pool_params, pool_uniforms = pooled_output(
        pooling, layer.node, lowering, epilogue, lines=lines, height=tile.height
    )
    patch_height, patch_width = tile.patch(window)
    n_tiles, blocks = w.shape[2:4]
    lowering.dispatch(
        Dispatch(
            kernel="conv_patch",
            params={
                **asdict(tile),
                **epilogue.params,
                **pool_params,
                "matrix": asdict(units),
                "split": split,
                "x_vec": x_vec,
                "patch_height": patch_height,
                "patch_width": patch_width,
                "taps": window.taps,
                "spread": spread,
                **{
                    f"{name}_{axis}": number
                    for name, numbers in (
                        ("kernel", window.kernel),
                        ("stride", window.strides),
                        ("dilation", window.dilations),
                    )
                    for axis, number in zip("yx", numbers, strict=True)
                },
            },
            reads=[*reads, *(replace(operand, span=by_line(operand.span)) for operand in epilogue.reads)],
            writes=[replace(operand, span=by_line(operand.span)) for operand in epilogue.writes] + pool_writes,
            rows=x.shape[0] * lines,
            grid=lambda rows: (n_tiles, rows * spread * tiles_a_line, layer.groups),
            uniforms={
                "lines": lines,
                "tiles_a_line": tiles_a_line,
                "out_height": out_height,
                "out_width": out_width,
                "height": x.shape[2],
                "width": x.shape[3],
                "x_image": x.strides[0] // x_vec,
                "x_row": x.strides[2] // x_vec,
                "x_column": x.strides[3] // x_vec,
                "channels": layer.channels,
                "blocks": blocks,
                "pad_y": window.begin[0],
                "pad_x": window.begin[1],
                "n_tiles": n_tiles,
                "n": layer.outputs,
                **(
                    {"w_low": w.strides[0] // 8, "scale": int(np.float32(ACTIVATION_SCALE).view(np.int32))}
                    if split
                    else {}
                ),
                **epilogue.uniforms,
                **pool_uniforms,
            },
            flops=2 * x.shape[0] * plane * layer.outputs * window.taps * layer.channels * layer.groups,
        )
    )
    if target is not None:
        lowering.copy(y, target)


def _has_eights(x: Tensor, channels: int) -> bool:
    """Whether the channels of every pixel and group lie in aligned eights."""
    return not (channels % 8 or x.offset % 8 or any(x.strides[axis] % 8 for axis in (0, 2, 3)))


def _weights(
    layer: Layer, lowering: Lowering, tile: PatchTile, units: MatrixUnits, *, split: bool
) -> tuple[Tensor, Tensor | None]:
    """Weights in fragments, ``[parts, groups, n tiles, k blocks, taps, k, n, units.n, units.k]``, padded with zeros;
    for split operands also what the sums of each output channel are multiplied by, ``[groups, n]``."""
    blocks, n_tiles = -(-layer.channels // tile.block), -(-layer.outputs // tile.outputs)
    value, taps = layer.node.input(1), layer.window.taps
    k, n = tile.block // units.k, tile.outputs // units.n
    shape = (2 if split else 1, layer.groups, n_tiles, blocks, taps, k, n, units.n, units.k)

    def padded() -> np.ndarray:
        """[groups, taps, channels, outputs]"""
        weights = np.zeros((layer.groups, taps, blocks * tile.block, n_tiles * tile.outputs), np.float32)
        part = layer.weights().reshape(layer.groups, taps, layer.channels, layer.outputs)
        weights[:, :, : layer.channels, : layer.outputs] = part
        return weights

    def packed() -> np.ndarray:
        weights = padded()
        if split:
            weights = np.stack(halves(weights * weight_scales(weights)[:, None, None]))
        else:
            weights = weights[None].astype(np.float16)
        fragments = weights.reshape(*shape[:2], taps, blocks, k, units.k, n_tiles, n, units.n)
        return np.ascontiguousarray(fragments.transpose(0, 1, 6, 3, 2, 4, 7, 8, 5))

    form = f"fragments {'split ' if split else ''}{shape}"
    kind = TensorType(np.dtype(np.float16), shape)
    w = lowering.derived_constant(value, form, packed, dtype="f16", kind=kind)
    if not split:
        return w, None

    def unscales() -> np.ndarray:
        weights = padded()
        additions = PRODUCTS * taps * layer.channels / units.k / tile.across_channels
        return split_unscales(weights, units, scale=ACTIVATION_SCALE, additions=additions)

    scale_kind = TensorType(np.dtype(np.float32), (layer.groups, n_tiles * tile.outputs))
    return w, lowering.derived_constant(value, f"unscale {form}", unscales, dtype="f32", kind=scale_kind)


def _line_span(layer: Layer, x: Tensor, line_height: int, lines: int) -> Span:
    """The span of x by lines of tiles: the rows of one image under their windows, or whole images."""
    window = layer.window

    def span(first: int, last: int) -> tuple[int, int]:
        image, end = first // lines, -(-last // lines)
        part = x.slice(0, image, max(0, end - image))
        if end - image == 1:
            begin, stop = first % lines, (last - 1) % lines + 1
            rows = begin * line_height, min(stop * line_height, window.out[0])
            top, bottom = window.input_rows(*rows, x.shape[2])
            part = part.slice(2, top, max(1, bottom - top)) if bottom > top else part.slice(2, 0, 1)
        return part.span()

    return span
