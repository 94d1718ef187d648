"""Convolutions that no tile suits: depthwise ones, three spatial axes, weights that are no constants."""

from __future__ import annotations

from math import prod

from engine.gpu.kernels.convolution.layer import Layer, axis_uniforms
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, linear_grid
from engine.gpu.program.tensor import span_of
from engine.graph.ir import Node


def emit(layer: Layer, lowering: Lowering, tree: Tree, last: Node) -> None:
    """Add the convolution with the chain up to ``last`` in its epilogue, one invocation an output element."""
    node, window = layer.node, layer.window
    x, w, x_zero = layer.x, lowering.factor(node, 1), layer.zero
    w_zero = lowering.optional(node, 3) if layer.integer else None
    zeros = [Operand(name, zero) for name, zero in (("x_zero", x_zero), ("w_zero", w_zero)) if zero is not None]
    inputs = [x, w, *(operand.tensor for operand in zeros)]
    epilogue, y, target = layer.epilogue(lowering, tree, last, inputs=inputs, groups=node.output.shape[1])
    pixels = prod(window.out) * node.output.shape[0]
    flops = 2 * node.output.type.size * layer.channels * window.taps
    plane = prod(window.out)

    def span(first: int, last_pixel: int) -> tuple[int, int]:
        image, end = first // plane, -(-last_pixel // plane)
        return span_of(x.offset + image * x.strides[0], (end - image, *x.shape[1:]), x.strides)

    lowering.dispatch(
        Dispatch(
            kernel="conv_direct",
            params={
                **epilogue.params,
                "integer": layer.integer,
                "kernel": window.kernel,
                "depthwise": layer.channels == 1,
                "has_x_zero": x_zero is not None,
                "has_w_zero": w_zero is not None,
                "invocations": INVOCATIONS,
            },
            reads=[Operand("x", x, span), Operand("w", w), *zeros, *epilogue.reads],
            writes=epilogue.writes,
            rows=pixels,
            grid=linear_grid(node.output.shape[1]),
            uniforms={
                "n": 1,
                "channels_out": node.output.shape[1],
                "channels": layer.channels,
                "outputs": layer.outputs,
                "w_zero_step": 0 if w_zero is None or w_zero.size == 1 else 1,
                **axis_uniforms("out", window.out),
                **axis_uniforms("stride", window.strides),
                **axis_uniforms("dilation", window.dilations),
                **axis_uniforms("begin", window.begin),
                **axis_uniforms("extent", x.shape[2:]),
                **axis_uniforms("x_step", x.strides),
                **axis_uniforms("w_step", w.strides),
                **epilogue.uniforms,
            },
            flops=flops,
        )
    )
    if target is not None:
        lowering.copy(y, target)
