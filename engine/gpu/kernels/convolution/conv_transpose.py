"""Host of conv_transpose.wgsl: transposed convolutions, one invocation an output element."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from engine.gpu.kernels.convolution.layer import axis_uniforms
from engine.gpu.lowering.epilogue import prepare
from engine.gpu.lowering.fusion import fusible
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, Span, linear_grid
from engine.gpu.program.tensor import Tensor
from engine.graph.ir import Node
from engine.ops.conv_transpose import transposed_window


@fusible("ConvTranspose", reads=3)
def emit(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    x, w = lowering.input(node, 0), _weights(node, lowering)
    window, out = transposed_window(node, x.shape, w.shape)
    groups, outputs = node.attr("group", 1), w.shape[1]
    channel_vectors: dict[str, tuple[Tensor, np.dtype[Any]]] = {}
    prelude = ["let root = raw;"]
    bias = node.optional_input(2)
    if bias is not None:
        channel_vectors["bias"] = (
            lowering.reshape(lowering.tensor(bias), (1, bias.shape[0], *(1,) * len(out))),
            bias.dtype,
        )
        prelude = ["let root = raw + bias;"]
    channels = groups * outputs
    epilogue, y, target = prepare(
        lowering, tree, last, prelude=prelude, channel_vectors=channel_vectors, inputs=[x, w], groups=channels
    )
    lowering.dispatch(
        Dispatch(
            kernel="conv_transpose",
            params={
                **epilogue.params,
                "rank": len(out),
                "windows": [f"params.windows{axis}" for axis in range(len(out))],
                "kernel": window.kernel,
                "strides": window.strides,
                "dilations": window.dilations,
                "invocations": INVOCATIONS,
            },
            reads=[Operand("x", x, _image_span(x, prod(out))), Operand("w", w), *epilogue.reads],
            writes=epilogue.writes,
            rows=x.shape[0] * prod(out),
            grid=linear_grid(channels),
            uniforms={
                "n": 1,
                "channels_out": channels,
                "channels": x.shape[1] // groups,
                "outputs": outputs,
                **axis_uniforms("out", out),
                **axis_uniforms("begin", window.begin),
                **axis_uniforms("windows", window.out),
                **axis_uniforms("x_step", x.strides),
                **axis_uniforms("w_step", w.strides),
                **epilogue.uniforms,
            },
            flops=2 * x.size * outputs * window.taps,
        )
    )
    if target is not None:
        lowering.copy(y, target)


def _weights(node: Node, lowering: Lowering) -> Tensor:
    """The weights, ``[C, M / groups, *kernel]``; constant ones lie tap by tap with the output channels innermost."""
    array = node.constant(1)
    if array is None:
        return lowering.input(node, 1)
    perm = (*range(2, array.ndim), 0, 1)
    packed_weights = lowering.derived_constant(
        node.input(1), "packed", lambda: array.transpose(perm), lowering.weight_storage(node.input(1))
    )
    return packed_weights.transpose((array.ndim - 2, array.ndim - 1, *range(array.ndim - 2)))


def _image_span(x: Tensor, pixels: int) -> Span:
    """The span of x by output pixels, ``pixels`` of which are an image: whole images."""

    def span(first: int, last: int) -> tuple[int, int]:
        image = first // pixels
        return x.slice(0, image, max(0, -(-last // pixels) - image)).span()

    return span
