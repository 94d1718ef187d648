"""A small network that marks what is orange: every form's body, written for whatever input and output the form has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tools.graph_builder import GraphBuilder

ORANGE = (0.80, 0.42, 0.20)
LUMA = (0.299, 0.587, 0.114)
TARGETS = {
    "RGB": ORANGE,
    "BGR": ORANGE[::-1],
    "RGBA": (*ORANGE, 1.0),
    "grey": (float(np.dot(ORANGE, LUMA)),),
}
"""The colour that is foreground, 0..1 by channel."""

RADIUS, STEEPNESS = 0.55, 20.0
"""The distance from it at which the mask is one half, as a sum over three channels, and the logits' slope there."""

BLUR = np.outer((1, 2, 1), (1, 2, 1)).astype(np.float32) / 16

Dims = Sequence[int | str]


class Net(GraphBuilder):
    """A graph under construction for an interface, with the keys and values of `Interface` (`nss.interfaces`) as JSON.

    What the network computes of the photo's colours is the same for every interface: the first layer takes back the
    normalisation, as if it had been trained with it.
    """

    def __init__(self, interface: Mapping[str, Any]) -> None:
        super().__init__(opset=13, symbolic=False)
        self.interface = interface
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self.dtype = np.dtype(np.float16 if interface["dtype"] == "float16" else np.float32)
        self._names: dict[str, str] = {}

    @property
    def size(self) -> tuple[int, int]:
        """The height and width that the file fixes."""
        height, width = self.interface["size"]
        return height, width

    def image(self, height: int | str | None = None, width: int | str | None = None, batch: int | str = 1) -> str:
        """The photo's input, of the interface's name, type, channels and layout; by default, of its size.

        A side that is text is dynamic; one that is empty, without a name.
        """
        sides = [self.size[0] if height is None else height, self.size[1] if width is None else width]
        channels = len(TARGETS[self.interface["channels"]])
        dims = [batch, *sides, channels] if self.interface["layout"] == "NHWC" else [batch, channels, *sides]
        return self.input(self.interface["input"], dims, self.interface["dtype"])

    def input(self, name: str, dims: Dims, dtype: Any = np.float32) -> str:
        """Another input."""
        self.inputs.append(_declared(name, dims, dtype))
        return name

    def output(self, name: str, value: str, dims: Dims, dtype: Any = None) -> None:
        """An output: the value under its name, without a node between."""
        self._names[value] = name
        self.outputs.append(_declared(name, dims, dtype or self.dtype))

    def mask(self, value: str, dims: Dims | None = None, dtype: Any = None) -> None:
        """The interface's own output, by default ``[1, 1, height, width]``."""
        self.output(self.interface["output"], value, dims or [1, 1, *self.size], dtype)

    def number(self, value: float | Sequence[float], shape: Sequence[int] = ()) -> str:
        """A constant of the network's type: one number, or one a channel of ``shape``."""
        array = np.asarray(value, self.dtype)
        return self.constant(array.reshape(shape or array.shape), self.dtype.type)

    def conv(self, x: str, weights: np.ndarray, bias: Any = None, **attributes: Any) -> str:
        """A convolution that keeps height and width unless ``pads`` says otherwise."""
        side = weights.shape[-1]
        attributes = {"kernel_shape": [side, side], "pads": [side // 2] * 4, **attributes}
        operands = [weights] if bias is None else [weights, bias]
        constants = [self.constant(np.asarray(operand, self.dtype), self.dtype.type) for operand in operands]
        return self.op("Conv", x, *constants, **attributes)

    def distances(self, x: str, **preparation: Any) -> str:
        """How far each channel is above and below its target, blurred: ``[1, 2 * channels, H, W]``, for an NCHW input.

        ``preparation`` is the scale, mean and standard deviation that ``x`` had, where not the interface's.
        """
        how = {**self.interface, **preparation}
        target = np.asarray(TARGETS[how["channels"]])
        channels = len(target)
        # the photo's 0..1 by the input: slope * x + offset
        slope = np.broadcast_to(np.asarray(how["std"]) / (255 * how["scale"]), channels)
        offset = np.broadcast_to(np.asarray(how["mean"]) / (255 * how["scale"]), channels) - target
        mix = 1.2 * np.eye(channels) - 0.2  # every filter reads every channel, as trained ones do
        weights, bias = mix * slope, mix @ offset
        both = np.concatenate([weights, -weights])[..., None, None]
        features = self.op("Relu", self.conv(x, both, np.concatenate([bias, -bias])))
        blur = np.broadcast_to(BLUR, (2 * channels, 1, 3, 3))
        return self.op("Relu", self.conv(features, blur, group=2 * channels))

    def head(self, distances: str, channels: int, *, radius: float = RADIUS, steepness: float = STEEPNESS) -> str:
        """Logits ``[1, 1, H, W]`` of what `distances` gave for so many channels."""
        return self.conv(distances, np.full((1, 2 * channels, 1, 1), -steepness), [steepness * radius * channels / 3])

    def logits(self, x: str, **preparation: Any) -> str:
        """Logits ``[1, 1, H, W]`` for an NCHW input; ``trained`` as `distances` has it."""
        return self.head(self.distances(x, **preparation), len(TARGETS[self.interface["channels"]]))

    def probability(self, x: str, **preparation: Any) -> str:
        """The mask in 0..1, ``[1, 1, H, W]``, likewise."""
        return self.op("Sigmoid", self.logits(x, **preparation))

    def pooled(self, x: str, factor: int) -> str:
        """``x`` at a fraction of its height and width."""
        return self.op("AveragePool", x, kernel_shape=[factor, factor], strides=[factor, factor])

    def enlarged(self, x: str, factor: float) -> str:
        """``x`` at a multiple of its height and width, bilinear."""
        scales = self.constant(np.asarray([1, 1, factor, factor], np.float32), np.float32)
        return self.op("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")

    def file(self, metadata: Mapping[str, str] | None = None) -> onnx.ModelProto:
        """The model."""
        for node in self.nodes:
            for names in (node.input, node.output):
                names[:] = [self._names.get(name, name) for name in names]
        graph = helper.make_graph(self.nodes, "main_graph", self.inputs, self.outputs, list(self.initializers.values()))
        opset = [helper.make_opsetid("", self.opset)]
        model = helper.make_model(graph, opset_imports=opset, producer_name="nss-tools", ir_version=8)
        helper.set_model_props(model, dict(metadata or {}))
        onnx.checker.check_model(model)
        return model


def macs(model: onnx.ModelProto) -> int:
    """Multiplications of the model's convolutions, where its shapes are known."""
    inferred = onnx.shape_inference.infer_shapes(model).graph
    shapes = {
        value.name: [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        for value in (*inferred.value_info, *inferred.output)
    }
    weights = {tensor.name: prod(tensor.dims[1:]) for tensor in inferred.initializer}
    return sum(weights[n.input[1]] * prod(shapes.get(n.output[0], [0])) for n in inferred.node if n.op_type == "Conv")


def _declared(name: str, dims: Dims, dtype: Any) -> onnx.ValueInfoProto:
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return helper.make_tensor_value_info(name, kind, [None if dim == "" else dim for dim in dims])
