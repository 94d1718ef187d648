"""Convolutions that no tile suits: depthwise ones, three spatial axes, weights that are no constants."""

from __future__ import annotations

from math import prod

import numpy as np

from engine.gpu.kernels.convolution.layer import Layer, axis_uniforms
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, linear_grid
from engine.gpu.program.tensor import Shape, Tensor, span_of, strides_of
from engine.graph.ir import Node, TensorType


def emit(layer: Layer, lowering: Lowering, tree: Tree, last: Node) -> None:
    """Add the convolution with the chain up to ``last`` in its epilogue, one invocation an output element."""
    node, window = layer.node, layer.window
    x, x_zero = layer.x, layer.zero
    w, w_steps, byte_type = _weights(layer, lowering)
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
                "bytes": byte_type,
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
                **axis_uniforms("w_step", w_steps),
                **epilogue.uniforms,
            },
            flops=flops,
        )
    )
    if target is not None:
        lowering.copy(y, target)


def _weights(layer: Layer, lowering: Lowering) -> tuple[Tensor, Shape, str]:
    """The weights, their strides in elements, and "i8" or "u8" where four constant integers lie in each word."""
    value = layer.node.input(1)
    data = value.data
    if not layer.integer or data is None:
        w = lowering.factor(layer.node, 1)
        return w, w.strides, ""

    def words() -> np.ndarray:
        flat = data.reshape(-1).view(np.uint8)
        return np.pad(flat, (0, -flat.size % 4)).view("<u4")

    kind = TensorType(np.dtype(np.uint32), (-(-data.size // 4),))
    w = lowering.derived_constant(value, "bytes", words, dtype="u32", kind=kind)
    return w, strides_of(value.shape), "i8" if data.dtype == np.int8 else "u8"
