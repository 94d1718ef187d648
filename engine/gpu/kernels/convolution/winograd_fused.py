"""Host of winograd_fused.wgsl: F(2x2, 3x3) on matrix units whose transforms and products are one kernel.

Where winograd.py writes transformed inputs and products, and reads them again, this keeps them in workgroup memory: it
is for layers of many pixels and few channels, whose transforms are most of their memory traffic.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from engine.caps import Caps
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.tiled import load_layout
from engine.gpu.kernels.convolution.winograd import fragments
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import Dispatch, Operand, Span
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node

POSITIONS = 16
"""Products of a tile: those of 4x4 transformed pixels."""


@dataclass(frozen=True, slots=True)
class FusedTile:
    """Tiles of 2x2 outputs and channels of a workgroup, its subgroups, channels of an invocation's loads, and elements
    between the tiles in workgroup memory, so that they begin in different banks."""

    height: int
    width: int
    outputs: int
    subgroups: int
    x_vec: int
    gap: int

    def fits(self, caps: Caps, *, split: bool) -> bool:
        """Whether a device has matrix units whose fragments fill the tile, and room for it."""
        units, tiles = caps.matrix_units, self.height * self.width
        if units is None or tiles % units.m or self.outputs % units.n or units.k % self.x_vec:
            return False
        invocations, items = self.subgroups * units.lanes, units.k // self.x_vec
        nbytes = POSITIONS * (2 * (2 if split else 1) * tiles * (units.k + self.gap) + 4 * units.m * units.n)
        return (
            tiles * items % invocations == 0
            and invocations <= caps.limits["max-compute-invocations-per-workgroup"]
            and nbytes <= caps.limits["max-compute-workgroup-storage-size"]
        )


def supports(layer: Layer, caps: Caps, *, tile: FusedTile) -> bool:
    """3x3 with stride 1, no dilation, constant weights without extremes, channels in fours, one group."""
    window = layer.window
    return (
        window.kernel == (3, 3)
        and window.strides == (1, 1)
        and window.dilations == (1, 1)
        and not layer.integer
        and not layer.deform_inputs
        and layer.groups == 1
        and layer.x_vec == 4
        and layer.x.dtype in ("f16", "f32")
        and layer.has_constant_weights
        and layer.node.output.type.size > 0
        and tile.fits(caps, split=layer.x.dtype == "f32")
        and not layer.has_extremes()
    )


def emit(layer: Layer, lowering: Lowering, tree: Tree, last: Node, *, tile: FusedTile, scale: float = 1.0) -> None:
    """Add the dispatch of a layer, with the element-wise chain up to ``last`` in its epilogue."""
    units, window = lowering.caps.matrix_units, layer.window
    assert units is not None
    x, parts = load_layout(layer, lowering), 1 if layer.x.dtype == "f16" else 2
    k_padded = -(-layer.channels // units.k) * units.k
    n_padded = -(-layer.outputs // tile.outputs) * tile.outputs
    w, unscale = fragments(layer, lowering, units, size=4, scale=scale, parts=parts, padded=(k_padded, n_padded))
    epilogue, y, target = layer.epilogue(lowering, tree, last, inputs=[x, w, unscale], groups=1)
    out_height, out_width = window.out
    lines, workgroups_a_line = -(-out_height // (2 * tile.height)), -(-out_width // (2 * tile.width))

    def by_line(operand: Operand) -> Operand:
        """An operand whose span counts pixels, by lines of workgroups."""
        pixel_span = operand.span
        if pixel_span is None:
            return operand

        def pixel(line: int) -> int:
            return (line // lines * out_height + min(line % lines * 2 * tile.height, out_height)) * out_width

        return replace(operand, span=lambda first, last: pixel_span(pixel(first), pixel(last)))

    lowering.dispatch(
        Dispatch(
            kernel="winograd_fused",
            params={**asdict(tile), **epilogue.params, "matrix": asdict(units), "parts": parts},
            reads=[
                Operand("x", x, _input_span(layer, x, tile, lines), tile.x_vec),
                Operand("w", w),
                Operand("unscale", unscale, None, 4),
                *map(by_line, epilogue.reads),
            ],
            writes=[by_line(write) for write in epilogue.writes],
            rows=x.shape[0] * lines,
            grid=lambda rows: (n_padded // tile.outputs, rows * workgroups_a_line, 1),
            uniforms={
                "lines": lines,
                "workgroups_a_line": workgroups_a_line,
                "n": layer.outputs,
                "k_fragments": k_padded // units.k,
                "n_fragments": n_padded // units.n,
                "channel_items": layer.channels // tile.x_vec,
                "scale": int(np.float32(scale).view(np.int32)),
                "pad_y": window.begin[0],
                "pad_x": window.begin[1],
                "height": x.shape[2],
                "width": x.shape[3],
                "x_image": x.strides[0] // tile.x_vec,
                "x_row": x.strides[2] // tile.x_vec,
                "x_column": x.strides[3] // tile.x_vec,
                "out_height": out_height,
                "out_width": out_width,
                **({"w_low": w.strides[0]} if parts == 2 else {}),
                **epilogue.uniforms,
            },
            flops=2 * layer.pixels * layer.outputs * 9 * layer.channels,
        )
    )
    if target is not None:
        lowering.copy(y, target)


def _input_span(layer: Layer, x: Tensor, tile: FusedTile, lines: int) -> Span:
    """The span of x by lines of workgroups: the rows of one image under their windows, or whole images."""
    window = layer.window

    def span(first: int, last: int) -> tuple[int, int]:
        image, end = first // lines, -(-last // lines)
        part = x.slice(0, image, end - image)
        if end - image == 1:
            begin, stop = first % lines, (last - 1) % lines + 1
            rows = begin * 2 * tile.height, min(stop * 2 * tile.height, window.out[0])
            top, bottom = window.input_rows(*rows, x.shape[2])
            part = part.slice(2, min(top, x.shape[2] - 1), max(1, bottom - top))
        return part.span()

    return span
