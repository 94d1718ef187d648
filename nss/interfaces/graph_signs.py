"""What the graph of a network says of its interface: how it wants its photo, what its output is, which network it is.

Nothing is run here, and nothing guessed: what does not stand in the graph is left open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from math import inf, isclose
from typing import Any, Literal

import numpy as np
import onnx
from onnx import numpy_helper

import engine
from nss.interfaces.interface import Description

Family = Literal["IS-Net", "U²-Net", "U²-Netp", "BiRefNet"]
Shapes = Counter[tuple[int, ...]]
"""How often each shape occurs among the weights of convolutions."""

# What a photo may pass through before it is normalised, without a change of its values.
_PASSES = {
    *("Identity", "Cast", "Transpose", "Resize", "Upsample", "Reshape", "Squeeze", "Unsqueeze", "Pad", "Slice"),
    *("Gather", "QuantizeLinear", "DequantizeLinear"),
}
_AFFINE = {"Add", "Sub", "Mul", "Div"}
# What a mask may pass through behind its activation, or behind the product that gives logits.
_MOVES = _PASSES | {"Flatten", "Concat", "DepthToSpace", "Split", "ReduceMean"}
_WEIGHTS = {"Conv": 1, "ConvInteger": 1, "ConvTranspose": 1, "QLinearConv": 3}
"""Which input of a convolution its weights are."""

_LEAST_INPUTS = {
    **dict.fromkeys(("Conv", "ConvInteger", "ConvTranspose", *_AFFINE), 2),
    "QLinearConv": 8,
    "BatchNormalization": 5,
    "Constant": 0,
}
"""How many inputs an operator needs, where it is not 1."""

LARGEST_NORMALISED = 8.0
"""A network's first layer sees a few units, positive or negative; pixels count to 255."""


class Signs:
    """The graph of a file, with the producer and the readers of each value.

    Nodes that no valid graph holds, such as a circle of them, are none here: the engine refuses them.
    """

    def __init__(self, file: engine.ModelFile) -> None:
        graph = file.proto.graph
        self._initializers = {tensor.name: tensor for tensor in graph.initializer}
        self._nodes: list[onnx.NodeProto] = []
        self._producers: dict[str, onnx.NodeProto] = {}
        self._readers: dict[str, list[onnx.NodeProto]] = {}
        names = {"", *self._initializers, *(value.name for value in graph.input)}
        waiting: dict[str, list[onnx.NodeProto]] = {}
        for first in graph.node:  # files in use are not always in running order
            ready = [first]
            while ready:
                node = ready.pop()
                if (missing := next((name for name in node.input if name not in names), None)) is not None:
                    waiting.setdefault(missing, []).append(node)
                    continue
                outputs = [name for name in node.output if name]
                enough = len(node.input) >= _LEAST_INPUTS.get(node.op_type, 1)
                if not (outputs and enough and names.isdisjoint(outputs)):
                    continue
                names.update(outputs)
                self._nodes.append(node)
                self._producers.update(dict.fromkeys(outputs, node))
                for name in node.input:
                    self._readers.setdefault(name, []).append(node)
                for name in outputs:
                    ready += waiting.pop(name, [])

    @np.errstate(all="ignore")
    def normalisation(self, image: str) -> Description:
        """The scale, mean and deviation that are left to do where the graph normalises the photo itself, else nothing.

        Subtractions, products and batch normalisations by constants directly behind the input are normalisation. Which
        of 0..255 and 0..1 they take to a few units around 0 is what they want.
        """
        gain, offset = np.ones(1), np.zeros(1)
        for node, name in self._chain(image):
            if node.op_type in _AFFINE:
                other = self._constant(node.input[1] if node.input[0] == name else node.input[0])
                if other is None or other.size not in (1, 3, 4):
                    break
                constant = other.reshape(-1).astype(float)
                gain, offset = _compose_affine(node, name == node.input[0], constant, gain=gain, offset=offset)
            elif node.op_type == "BatchNormalization":
                parameters = [self._constant(part) for part in node.input[1:5]]
                if any(part is None or part.size not in (1, 3, 4) for part in parameters):
                    break
                scale, bias, mean, variance = (np.asarray(part, float).reshape(-1) for part in parameters)
                factor = scale / np.sqrt(variance + _attribute(node, "epsilon", 1e-5))
                gain, offset = gain * factor, (offset - mean) * factor + bias
            elif node.op_type not in _PASSES:
                break
        whole = _white_level(gain, offset)
        return {} if whole is None else {"scale": whole / 255, "mean": (0.0,), "std": (1.0,)}

    def transposes(self, image: str) -> bool:
        """Whether the graph moves the input's last axis to the second place: it takes NHWC."""
        return any(
            node.op_type == "Transpose" and list(_attribute(node, "perm", [])) == [0, 3, 1, 2]
            for node, _ in self._chain(image)
        )

    def channels(self, image: str) -> int | None:
        """How many channels the first convolution behind the input takes; None where none is found."""
        ahead, visited = [image], {image}
        while ahead:
            name = ahead.pop(0)
            for node in self._readers.get(name, []):
                if node.op_type == "Conv" and node.input[0] == name and (shape := self._weights(node)) is not None:
                    return shape[1] * int(_attribute(node, "group", 1))
                if node.op_type in _PASSES | _AFFINE | {"BatchNormalization"}:
                    ahead += [output for output in node.output if output not in visited]
                    visited.update(node.output)
        return None

    def ending(self, output: str) -> Description:
        """The activation and the range of an output whose last bounded operator says so, else nothing.

        Behind a Sigmoid, a Softmax or a Clip to 0..1 stand only moves and a factor of 255.
        """
        name, scale = output, 1.0
        while (node := self._producers.get(name)) is not None:
            if node.op_type in ("Sigmoid", "HardSigmoid", "Softmax"):
                return {"activation": "none", "range": scale}
            if node.op_type == "Clip" and self._bounds(node) in ((0.0, 1.0), (0.0, 255.0)):
                return {"activation": "none", "range": scale * self._bounds(node)[1]}
            if node.op_type in ("Mul", "Div"):
                factor = self._constant(node.input[1])
                name = node.input[0]
                if factor is None and node.op_type == "Mul":
                    factor, name = self._constant(node.input[0]), node.input[1]
                if factor is None or factor.size != 1 or not factor.any():
                    return {}
                scale *= float(factor.reshape(-1)[0]) ** (1 if node.op_type == "Mul" else -1)
                if not (isclose(scale, 1, rel_tol=1e-3) or isclose(scale, 255, rel_tol=1e-3)):
                    return {}
                scale = float(round(scale))
            elif node.op_type in _MOVES - {"Concat", "Pad"} or node.op_type in ("Round", "Floor"):
                name = node.input[0]
            else:
                return {}
        return {}

    def votes(self, output: str) -> tuple[str, int] | None:
        """What an output of classes is the ArgMax of, and along which axis; None for an output of another kind."""
        while (node := self._producers.get(output)) is not None and node.op_type in _MOVES - {"Concat"}:
            output = node.input[0]
        if node is None or node.op_type != "ArgMax":
            return None
        return node.input[0], int(_attribute(node, "axis", 0))

    def family(self) -> Family | None:
        """Which published network it is, under any names and in any precision; None for all others.

        Known by the weights' shapes: those of U²-Net and IS-Net but for the heads, which exports leave out; and those
        that BiRefNet's deformable pyramids find their offsets with.
        """
        shapes: Shapes = Counter(shape for node in self._nodes if (shape := self._weights(node)) is not None)
        for family, trunk in TRUNKS.items():
            if Counter({shape: n for shape, n in shapes.items() if shape[0] != 1}) == trunk:
                return family
        offsets = sum(n for shape, n in shapes.items() if shape[0] == 98 and shape[2:] == (7, 7))
        modulators = sum(n for shape, n in shapes.items() if shape[0] == 49 and shape[2:] == (7, 7))
        return "BiRefNet" if offsets == modulators == 5 else None

    def _weights(self, node: onnx.NodeProto) -> tuple[int, ...] | None:
        """The shape of a convolution's weights; None for other nodes."""
        place = _WEIGHTS.get(node.op_type)
        shape = None if place is None else self._shape(node.input[place])
        return None if shape is None or len(shape) < 3 else shape

    def _shape(self, name: str) -> tuple[int, ...] | None:
        """The shape of a weight, through what unpacks it."""
        while name not in self._initializers:
            node = self._producers.get(name)
            if node is None:
                return None
            if node.op_type == "Constant":
                tensor = next((entry.t for entry in node.attribute if entry.name == "value"), None)
                return None if tensor is None else tuple(tensor.dims)
            if node.op_type not in ("Identity", "Cast", "DequantizeLinear"):
                return None
            name = node.input[0]
        return tuple(self._initializers[name].dims)

    def _chain(self, name: str) -> Iterator[tuple[onnx.NodeProto, str]]:
        """The nodes behind an input, each with what it reads of it, as long as one alone reads the values."""
        while True:
            readers = [node for node in self._readers.get(name, []) if node.op_type != "Shape"]
            if len(readers) != 1:
                return
            yield readers[0], name
            name = next(name for name in readers[0].output if name)

    def _constant(self, name: str) -> np.ndarray | None:
        """The small constant of that name; None where it is none."""
        tensor = self._initializers.get(name)
        if tensor is None:
            node = self._producers.get(name)
            if node is None or node.op_type not in ("Constant", "Identity", "Cast"):
                return None
            if node.op_type != "Constant":
                return self._constant(node.input[0])
            tensor = next((entry.t for entry in node.attribute if entry.name == "value"), None)
            if tensor is None:
                numbers = [entry.f for entry in node.attribute if entry.name == "value_float"]
                return np.asarray(numbers) if numbers else None
        if tensor.HasField("segment") or tensor.external_data:
            return None  # not small
        try:
            return numpy_helper.to_array(tensor)
        except (TypeError, ValueError):  # the engine says what is wrong with it
            return None

    def _bounds(self, node: onnx.NodeProto) -> tuple[float, float]:
        """Least and greatest of a Clip; infinite where it has none, or only a run knows them."""
        bounds = [float(_attribute(node, "min", -inf)), float(_attribute(node, "max", inf))]
        for place, name in enumerate(node.input[1:3]):
            number = self._constant(name) if name else None
            if number is not None and number.size == 1:
                bounds[place] = float(number.reshape(-1)[0])
        return bounds[0], bounds[1]


def _attribute(node: onnx.NodeProto, name: str, default: Any) -> Any:
    """The attribute's value; the default where it has none, or one of another type."""
    for entry in node.attribute:
        if entry.name == name and entry.type == _TYPES[type(default)]:
            return onnx.helper.get_attribute_value(entry)
    return default


_TYPES = {int: onnx.AttributeProto.INT, float: onnx.AttributeProto.FLOAT, list: onnx.AttributeProto.INTS}


def _compose_affine(
    node: onnx.NodeProto, first: bool, other: np.ndarray, *, gain: np.ndarray, offset: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """``gain * x + offset`` behind a node that combines it, as its first operand or its second, with ``other``."""
    if node.op_type == "Add":
        return gain, offset + other
    if node.op_type == "Sub":
        return (gain, offset - other) if first else (-gain, other - offset)
    if node.op_type == "Mul":
        return gain * other, offset * other
    if not first or not other.all():
        return gain, offset  # a quotient by the photo is no normalisation
    return gain / other, offset / other


def _white_level(gain: np.ndarray, offset: np.ndarray) -> float | None:
    """255 or 1: the largest value of the photos that are normalised by this; None where it is no normalisation."""
    if not gain.any():
        return None
    size, shift = float(np.abs(gain).mean()), float(np.abs(offset).max())
    if not shift:  # a factor alone says something only where it takes pixels to units
        return 255.0 if 255 * size <= LARGEST_NORMALISED else None
    # how far the middle of the photo's values comes to lie from 0, in units of half their range
    apart = {whole: float(np.abs(offset + whole * gain / 2).max()) / (whole * size / 2) for whole in (1.0, 255.0)}
    best = min(apart, key=lambda whole: apart[whole])
    return best if apart[best] < 0.9 else None


def _rsu(layers: int, inputs: int, middle: int, outputs: int) -> Shapes:
    """The convolutions of U²-Net's residual U-block (arXiv:2005.09007), each 3x3."""
    convolutions = [(outputs, inputs), (middle, outputs), (outputs, 2 * middle)]
    convolutions += [(middle, middle)] * (layers - 1) + [(middle, 2 * middle)] * (layers - 2)
    return Counter((*shape, 3, 3) for shape in convolutions)


def _u_net(first: int, widths: list[tuple[int, int]], last: tuple[int, int]) -> Shapes:
    """U²-Net's eleven blocks: ``widths`` are the middle and output channels of the first six, and of four that follow.

    ``first`` are the channels of what enters, ``last`` the middle and output channels of the last block.
    """
    heights = (7, 6, 5, 4, 4, 4, 4, 4, 5, 6, 7)
    encoder, decoder = widths[:6], [*widths[6:], last]
    enter = [first, *(out for _, out in encoder[:-1])]
    below = [encoder[-1][1], *(out for _, out in decoder[:-1])]
    enter += [out + beside for out, (_, beside) in zip(below, reversed(encoder[:-1]), strict=True)]
    blocks = zip(heights, enter, [*encoder, *decoder], strict=True)
    return sum((_rsu(height, inputs, *width) for height, inputs, width in blocks), Counter())


_FULL = [
    (32, 64),
    (32, 128),
    (64, 256),
    (128, 512),
    (256, 512),
    (256, 512),
    (256, 512),
    (128, 256),
    (64, 128),
    (32, 64),
]
TRUNKS: dict[Family, Shapes] = {
    "IS-Net": Counter({(64, 3, 3, 3): 1}) + _u_net(64, _FULL, (16, 64)),
    "U²-Net": _u_net(3, _FULL, (16, 64)),
    "U²-Netp": _u_net(3, [(16, 64)] * 10, (16, 64)),
}
"""The weights of each network's convolutions but for the one-channel heads: `Signs.family` compares with these."""
