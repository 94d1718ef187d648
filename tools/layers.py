"""The convolutions that decide how fast the networks of ``tools.fixtures`` run, each as a model of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 10
"""The IR version that the models carry: old enough for every supported ONNX Runtime."""


@dataclass(frozen=True)
class Layer:
    """A square convolution with bias and ReLU, padded so that stride 1 keeps the size; ``size`` is the input's."""

    channels: int
    outputs: int
    size: int
    kernel: int = 3
    stride: int = 1
    dilation: int = 1

    @property
    def name(self) -> str:
        """Channels in and out, input size, and what is not 3x3, stride 1, dilation 1."""
        extra = [
            f"{self.kernel}x{self.kernel}" if self.kernel != 3 else "",
            f"stride {self.stride}" if self.stride != 1 else "",
            f"dilation {self.dilation}" if self.dilation != 1 else "",
        ]
        return ", ".join([f"{self.channels} → {self.outputs} at {self.size}²", *filter(None, extra)])

    @property
    def flop(self) -> int:
        """Multiplications and additions of the direct algorithm."""
        out = -(-self.size // self.stride)
        return 2 * self.channels * self.outputs * self.kernel**2 * out**2

    def model(self) -> bytes:
        """The ONNX file: input ``x`` [1, channels, size, size], output ``y``; weights drawn so that y is about 1."""
        rng = np.random.default_rng(0)
        scale = np.sqrt(2 / (self.channels * self.kernel**2))
        shape = (self.outputs, self.channels, self.kernel, self.kernel)
        w = (rng.standard_normal(shape) * scale).astype(np.float32)
        b = rng.standard_normal(self.outputs).astype(np.float32)
        pad = self.dilation * (self.kernel - 1) // 2
        conv = helper.make_node(
            "Conv",
            ["x", "w", "b"],
            ["sums"],
            kernel_shape=[self.kernel] * 2,
            pads=[pad] * 4,
            strides=[self.stride] * 2,
            dilations=[self.dilation] * 2,
        )
        graph = helper.make_graph(
            [conv, helper.make_node("Relu", ["sums"], ["y"])],
            "layer",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, self.channels, self.size, self.size])],
            [helper.make_empty_tensor_value_info("y")],
            [numpy_helper.from_array(w, "w"), numpy_helper.from_array(b, "b")],
        )
        opsets = [helper.make_opsetid("", OPSET)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=IR_VERSION).SerializeToString()

    def input(self) -> np.ndarray:
        """Noise for ``x``, float32."""
        shape = (1, self.channels, self.size, self.size)
        return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


LAYERS = (
    # U²-Netp: most of its work is in the first
    Layer(128, 64, 320),
    Layer(32, 64, 320),
    Layer(64, 16, 320),
    Layer(3, 64, 320),
    Layer(64, 1, 320),
    Layer(16, 16, 160),
    Layer(32, 16, 80),
    Layer(128, 64, 40),
    Layer(32, 16, 20, dilation=2),
    # IS-Net: those that take 3 % of it and more, and one of each other kind
    Layer(3, 64, 1024, stride=2),
    Layer(64, 64, 512),
    Layer(128, 64, 512),
    Layer(64, 32, 512),
    Layer(64, 16, 512),
    Layer(256, 64, 256),
    Layer(64, 128, 256),
    Layer(512, 128, 128),
    Layer(128, 256, 128),
    Layer(1024, 256, 64),
    Layer(256, 512, 64),
    Layer(256, 256, 64),
    Layer(1024, 512, 32),
    Layer(512, 256, 32, dilation=4),
    Layer(512, 512, 16),
    Layer(256, 256, 64, kernel=1),
)
