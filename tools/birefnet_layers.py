"""The layers that BiRefNet is built of, as each generation of exporters writes them, and their seeded weights."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tools.graph_builder import GraphBuilder

SMALLEST_HOLLOW = 1024
"""Bytes beyond which a weight may be hollow."""


@dataclass(frozen=True)
class Size:
    """The numbers of a network; ``image`` is the side of the photo in pixels."""

    embed: int
    depths: tuple[int, ...]
    heads: tuple[int, ...]
    window: int
    image: int = 1024
    inner: int = 64
    """Channels within the decoder's blocks."""
    branch: int = 256
    """Channels of each branch of their pyramids."""


@dataclass(frozen=True)
class Map:
    """A value on its way: its name, channels, and side in pixels or tokens."""

    name: str
    channels: int
    side: int


class Weights:
    """Seeded weights by name: what two passes share is drawn once."""

    def __init__(self, builder: GraphBuilder, seed: int) -> None:
        self.builder, self.random = builder, np.random.default_rng(seed)

    def normal(self, name: str, shape: tuple[int, ...], scale: float, mean: float = 0.0) -> str:
        """Normally distributed weights."""
        if name in self.builder.initializers:
            return name
        if self.builder.weights_file is not None and 4 * np.prod(shape) > SMALLEST_HOLLOW:
            return self.builder.hollow(name, shape)
        deviates = self.random.standard_normal(shape, np.float32)
        return self.builder.weight(name, deviates * np.float32(scale) + np.float32(mean))

    def variance(self, name: str, channels: int) -> str:
        """Variances around 1."""
        values = self.random.uniform(0.7, 1.3, channels)
        return self.builder.weight(name, values.astype(np.float32))


class Layers:
    """Adds layers to a graph; ``form`` says which exporter writes them."""

    def __init__(self, size: Size, form: str, seed: int = 0, weights_file: Path | None = None) -> None:
        self.size, self.form = size, form
        self.opset = int(form.removeprefix("opset"))
        self.g = GraphBuilder(opset=self.opset, symbolic=form == "opset14", weights_file=weights_file)
        self.w = Weights(self.g, seed)
        self.masks: dict[tuple[int, int], str] = {}

    def conv(
        self,
        name: str,
        x: Map,
        outputs: int,
        kernel: int,
        *,
        stride: int = 1,
        pad: int | None = None,
        gain: float = 2.0,
    ) -> Map:
        """A convolution with bias, its batch norm folded; ``gain`` is the power its weights give to what they sum."""
        scale = np.sqrt(gain / (kernel * kernel * x.channels))
        parameters = [
            self.w.normal(f"{name}.weight", (outputs, x.channels, kernel, kernel), scale),
            self.w.normal(f"{name}.bias", (outputs,), 0.05),
        ]
        pads = [kernel // 2 if pad is None else pad] * 4
        y = self.g.op(
            "Conv", x.name, *parameters,
            dilations=[1, 1], group=1, kernel_shape=[kernel] * 2, pads=pads, strides=[stride] * 2,
        )  # fmt: skip
        return Map(y, outputs, x.side // stride)

    def linear(self, name: str, x: str, inputs: int, outputs: int, *, scale: float = 1.0, bias: bool = True) -> str:
        y = self.g.op("MatMul", x, self.w.normal(f"{name}.weight", (inputs, outputs), scale / np.sqrt(inputs)))
        return self.g.op("Add", self.w.normal(f"{name}.bias", (outputs,), 0.05), y) if bias else y

    def layer_norm(self, name: str, x: str, channels: int) -> str:
        g = self.g
        scale = self.w.normal(f"{name}.weight", (channels,), 0.1, 1.0)
        shift = self.w.normal(f"{name}.bias", (channels,), 0.1)
        if self.opset >= 17:
            return g.op("LayerNormalization", x, scale, shift, axis=-1, epsilon=1e-5)
        centred = g.op("Sub", x, g.op("ReduceMean", x, axes=[-1], keepdims=1))
        square = g.op("Pow", centred, g.constant(2.0, np.float32))
        variance = g.op("Add", g.op("ReduceMean", square, axes=[-1], keepdims=1), g.constant(1e-5, np.float32))
        normal = g.op("Div", centred, g.op("Sqrt", variance))
        return g.op("Add", g.op("Mul", normal, scale), shift)

    def gelu(self, x: str) -> str:
        g = self.g
        if self.opset >= 20:
            return g.op("Gelu", x, approximate="none")
        erf = g.op("Erf", g.op("Div", x, g.constant(np.sqrt(2.0), np.float32)))
        y = g.op("Mul", x, g.op("Add", erf, g.constant(1.0, np.float32)))
        return g.op("Mul", y, g.constant(0.5, np.float32))

    def resize(self, x: Map, side: int, *, as_exported: bool = False) -> Map:
        """Bilinear with aligned corners; ``as_exported`` writes it for an unchanged size too."""
        if side == x.side and not as_exported:
            return x
        g = self.g
        sizes = g.constant([1, x.channels, side, side])
        if g.symbolic:
            first = g.op("Slice", g.op("Shape", x.name), g.constant([0]), g.constant([2]), g.constant([0]))
            sizes = g.op("Concat", first, g.constant([side, side]), axis=0)
        y = g.op(
            "Resize", x.name, "", "", sizes,
            coordinate_transformation_mode="align_corners", cubic_coeff_a=-0.75, mode="linear", nearest_mode="floor",
        )  # fmt: skip
        return Map(y, x.channels, side)

    def concat(self, parts: list[Map]) -> Map:
        name = self.g.op("Concat", *(part.name for part in parts), axis=1)
        return Map(name, sum(part.channels for part in parts), parts[0].side)
