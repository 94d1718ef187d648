"""Convolutions that no tile suits: depthwise ones, three spatial axes, weights that only a run knows."""

from __future__ import annotations

from math import prod
from typing import TYPE_CHECKING

from engine.gpu.dispatch import INVOCATIONS, Dispatch, Operand, linear_grid
from engine.gpu.kernels.elementwise import Tree, copy
from engine.gpu.kernels.epilogue import prepare
from engine.gpu.lowering import Lowering
from engine.gpu.tensor import span_of
from engine.graph.ir import Node

if TYPE_CHECKING:
    from engine.gpu.kernels.conv import Layer


def emit(layer: Layer, low: Lowering, tree: Tree, last: Node) -> None:
    """Add the convolution with the chain up to ``last`` in its epilogue: one invocation an output element."""
    node, window = layer.node, layer.window
    x, w, zero_x = layer.x, low.input(node, 1), layer.zero
    zero_w = low.optional(node, 3) if layer.integer else None
    own = dict(layer.own)
    zeros = [Operand(name, zero) for name, zero in (("x_zero", zero_x), ("w_zero", zero_w)) if zero is not None]
    inputs = [x, w, *(operand.tensor for operand in zeros)]
    epilogue, y, target = prepare(low, tree, last, layer.prelude, own, inputs, groups=node.output.shape[1])
    pixels = prod(window.out) * node.output.shape[0]
    flops = 2 * node.output.type.size * layer.channels * window.taps
    plane = prod(window.out)

    def span(first: int, last_pixel: int) -> tuple[int, int]:
        image, end = first // plane, -(-last_pixel // plane)
        return span_of(x.offset + image * x.strides[0], (end - image, *x.shape[1:]), x.strides)

    low.dispatch(
        Dispatch(
            kernel="conv_direct",
            params={
                **epilogue.params,
                "integer": layer.integer,
                "out": window.out,
                "kernel": window.kernel,
                "window_strides": window.strides,
                "dilations": window.dilations,
                "begin": window.begin,
                "spatial": x.shape[2:],
                "channels": layer.channels,
                "outputs": layer.outputs,
                "x_strides": x.strides,
                "w_strides": w.strides,
                "has_x_zero": zero_x is not None,
                "w_zero_stride": 0 if zero_w is None or zero_w.size == 1 else 1,
                "has_w_zero": zero_w is not None,
                "invocations": INVOCATIONS,
            },
            reads=[Operand("x", x, span), Operand("w", w), *zeros, *epilogue.reads],
            writes=[epilogue.write],
            rows=pixels,
            grid=linear_grid(node.output.shape[1]),
            uniforms={"n": 1, "pixel_y": epilogue.pixel_stride, "pixel_channels": node.output.shape[1]},
            flops=flops,
        )
    )
    if target is not None:
        copy(y, target, low)
