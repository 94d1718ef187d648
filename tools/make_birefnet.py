"""Write an ONNX file with the structure of the published BiRefNet exports (RMBG-2.0 among them) and random weights.

    python tools/make_birefnet.py --size swin-l --form opset14 birefnet.onnx

Sizes: swin-l (RMBG-2.0), swin-t (BiRefNet lite), tiny (for tests). Forms, as three generations of exporters write it:

- opset14: height and width symbolic, though only the exported size runs; LayerNorm as nine operators, deformable
  convolution as GatherND of four corners, attention masks filled in at run time.
- opset17: the same, static, with LayerNormalization and the masks as constants.
- opset20: static, with LayerNormalization, Gelu and DeformConv, patches by one transposition, scaled q and k.

Weights are seeded, and scaled so that activations keep their size and offsets move by about a pixel.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import numpy as np
import onnx

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.birefnet_layers import Map, Size  # noqa: E402 (the path comes first)
from tools.birefnet_swin import Swin  # noqa: E402

FORMS = ("opset14", "opset17", "opset20")
SIZES = {
    "swin-l": Size(192, (2, 2, 18, 2), (6, 12, 24, 48), 12),
    "swin-t": Size(96, (2, 2, 6, 2), (3, 6, 12, 24), 7),
    "tiny": Size(32, (2, 2, 2, 2), (1, 2, 4, 8), 5, image=128, inner=8, branch=16),
}


class BiRefNet(Swin):
    """Builds the graph; methods follow the modules of the public source."""

    def model(self) -> onnx.ModelProto:
        """The whole network: ``pixel_values`` [1, 3, H, W] to ``alphas`` [1, 1, H, W], a sigmoid inside."""
        side = self.size.image
        dims = (1, 3, "height", "width") if self.g.symbolic else (1, 3, side, side)
        mask = self.g.op("Sigmoid", self.network(Map("pixel_values", 3, side)).name)
        return self.g.model({"pixel_values": dims}, {"alphas": (mask, (1, 1, *dims[2:]))})

    def network(self, image: Map) -> Map:
        with self.g.scope("bb"):
            full = self.swin(image)
        half = self.resize(image, image.side // 2)
        with self.g.scope("bb_1"):
            small = self.swin(half)
        x1, x2, x3, x4 = (
            self.concat([large, self.resize(other, large.side)]) for large, other in zip(full, small, strict=True)
        )
        context = [self.resize(x, x4.side) for x in (x1, x2, x3)]
        x4 = self.block("squeeze_module.0", self.concat([*context, x4]), x4.channels)
        with self.g.scope("decoder"):
            return self.decoder(image, x1, x2=x2, x3=x3, x4=x4)

    def decoder(self, image: Map, x1: Map, x2: Map, x3: Map, x4: Map) -> Map:
        widths = [x4.channels, x3.channels, x2.channels, x1.channels]
        first = self.g.op("Gather", image.name, self.g.constant(0), axis=0) if self.opset < 20 else image.name
        p, laterals = x4, (x3, x2, x1)
        for level in range(4):
            number = 4 - level
            patches = self.patches(
                image, first, side=p.side, name=f"ipt_blk{number + 1}", width=max(1, widths[max(level - 1, 0)] // 8)
            )
            width = widths[level + 1] if level < 3 else widths[3] // 2
            p = self.block(f"decoder_block{number}", self.concat([p, patches]), width)
            if level < 3:
                p = self.resize(self.gate(number, p), laterals[level].side)
                lateral = self.conv(f"decoder.lateral_block{number}.conv", laterals[level], width, 1)
                p = Map(self.g.op("Add", p.name, lateral.name), width, p.side)
        p = self.resize(p, image.side)
        patches = self.patches(image, first, side=image.side, name="ipt_blk1", width=widths[3] // 8)
        return self.conv("decoder.conv_out1.0", self.concat([p, patches]), 1, 1, gain=2.0)

    def gate(self, number: int, p: Map) -> Map:
        """The gradient attention: each pixel scaled by what two convolutions make of its surroundings."""
        small = self.conv(f"decoder.gdt_convs_{number}.0", p, 16, 3)
        small = Map(self.g.op("Relu", small.name), 16, p.side)
        attention = self.conv(f"decoder.gdt_convs_attn_{number}.0", small, 1, 1)
        return Map(self.g.op("Mul", p.name, self.g.op("Sigmoid", attention.name)), p.channels, p.side)

    def patches(self, image: Map, first: str, side: int, name: str, width: int) -> Map:
        """The image cut into patches of ``side`` pixels, which become channels, behind two convolutions."""
        g, grid = self.g, image.side // side
        channels = 3 * grid * grid
        if self.opset < 20:
            sizes = g.constant([side] * grid)
            columns = g.op("Split", first, sizes, outputs=grid, axis=-1)
            parts = []
            for column in [columns] if grid == 1 else columns:
                rows = g.op("Split", column, g.constant([side] * grid), outputs=grid, axis=-2)
                parts += [g.unsqueeze(row, 0) for row in ([rows] if grid == 1 else rows)]
            x = g.op("Concat", g.op("Concat", *parts, axis=1), axis=0)
        else:
            x = g.reshape(first, [1, 3, grid, side, grid, side])
            x = g.reshape(g.transpose(x, 0, 1, 2, 4, 3, 5), [1, channels, side, side])
        x = self.resize(Map(x, channels, side), side, as_exported=True)
        hidden = self.conv(f"decoder.{name}.conv1", x, self.size.inner, 3, gain=1.0)
        return self.conv(f"decoder.{name}.conv_out", hidden, width, 3, gain=1.0)

    def block(self, name: str, x: Map, width: int) -> Map:
        """``BasicDecBlk``: two convolutions around a pyramid of deformable ones."""
        with self.g.scope(name):
            inner = self.conv(f"{name}.conv_in", x, self.size.inner, 3)
            inner = Map(self.g.op("Relu", inner.name), inner.channels, x.side)
            with self.g.scope("dec_att"):
                inner = self.pyramid(f"{name}.dec_att", inner)
            return self.conv(f"{name}.conv_out", inner, width, 3)

    def pyramid(self, name: str, x: Map) -> Map:
        """``ASPPDeformable``."""
        g, branch = self.g, self.size.branch
        branches = []
        for part, kernel in (("aspp1", 1), ("aspp_deforms.0", 1), ("aspp_deforms.1", 3), ("aspp_deforms.2", 7)):
            with g.scope(part):
                branches.append(self.deformable(f"{name}.{part}", x, kernel))
        if self.opset < 18:
            mean = g.op("GlobalAveragePool", x.name)
        else:
            mean = g.op("ReduceMean", x.name, g.constant([2, 3]), keepdims=1, noop_with_empty_axes=0)
        pooled = self.conv(f"{name}.global_avg_pool.1", Map(mean, x.channels, 1), branch, 1)
        branches.append(self.resize(Map(g.op("Relu", pooled.name), branch, 1), x.side))
        y = self.conv(f"{name}.conv1", self.concat(branches), x.channels, 1)
        return Map(g.op("Relu", y.name), x.channels, x.side)

    def deformable(self, name: str, x: Map, kernel: int) -> Map:
        """One branch: a modulated deformable convolution (arXiv:1811.11168), batch norm, ReLU."""
        g, branch, taps = self.g, self.size.branch, kernel * kernel
        offset = self.conv(f"{name}.offset_conv", x, 2 * taps, kernel, gain=1.0)
        modulator = self.conv(f"{name}.modulator_conv", x, taps, kernel, gain=1.0)
        mask = g.op("Mul", g.op("Sigmoid", modulator.name), g.constant(2.0, np.float32))
        scale = np.sqrt(2 / (taps * x.channels))
        weights = self.w.normal(f"{name}.regular_conv.weight", (branch, x.channels, kernel, kernel), scale)
        if self.opset >= 20:
            y = g.op(
                "DeformConv", x.name, weights, offset.name, "", mask,
                kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, strides=[1, 1], dilations=[1, 1], group=1,
                offset_group=1,
            )  # fmt: skip
        else:
            y = self.gathered(name, x, weights=weights, offset=offset.name, mask=mask, kernel=kernel)
        statistics = [
            self.w.normal(f"{name}.bn.weight", (branch,), 0.1, 1.0),
            self.w.normal(f"{name}.bn.bias", (branch,), 0.1),
            self.w.normal(f"{name}.bn.running_mean", (branch,), 0.1),
            self.w.variance(f"{name}.bn.running_var", branch),
        ]
        y = g.op("BatchNormalization", y, *statistics, epsilon=1e-5, momentum=0.9)
        return Map(g.op("Relu", y), branch, x.side)

    def gathered(self, name: str, x: Map, weights: str, offset: str, mask: str, kernel: int) -> str:
        """A deformable convolution as deform_conv2d_onnx_exporter writes it: four corners by GatherND."""
        g, taps, side = self.g, kernel * kernel, x.side
        pad = max(kernel // 2, 1)
        padded = side + 2 * pad
        dims = [1, 1, taps, 2, side, side]
        p = g.op("Add", g.weight(f"{name}.grid", _grid(kernel, side)), g.reshape(offset, dims))
        floor = g.op("Floor", p)
        whole = g.op("Cast", floor, to=onnx.TensorProto.INT64)
        top, left = g.slice(whole, 3, 0, 1), g.slice(whole, 3, 1, 2)
        bottom, right = (g.op("Add", edge, g.constant(1)) for edge in (top, left))
        top, left, bottom, right = (
            g.op("Clip", edge, g.constant(0), g.constant(padded - 1)) for edge in (top, left, bottom, right)
        )
        part = g.op("Sub", p, floor)
        dy, dx = g.slice(part, 3, 0, 1), g.slice(part, 3, 1, 2)
        one = g.constant(1.0, np.float32)
        uy, ux = g.op("Sub", one, dy), g.op("Sub", one, dx)
        factors = [g.op("Mul", ux, uy), g.op("Mul", dx, dy), g.op("Mul", ux, dy), g.op("Mul", dx, uy)]
        factors = [g.reshape(factor, [1, 1, 1, taps, side, side]) for factor in factors]
        data = g.op("Pad", x.name, g.constant([0, 0, pad, pad, 0, 0, pad, pad]), mode="constant")
        data = g.reshape(data, [1, 1, x.channels, padded, padded])
        corners = []
        for factor, row, column in zip(factors, (top, bottom, bottom, top), (left, right, left, right), strict=True):
            flat = [g.reshape(edge, [1, 1, taps * side * side, 1]) for edge in (row, column)]
            index = g.op("Concat", *flat, axis=3)
            corner = g.op("GatherND", g.transpose(data, 0, 1, 3, 4, 2), index, batch_dims=2)
            corner = g.reshape(g.transpose(corner, 0, 1, 3, 2), [1, 1, x.channels, taps, side, side])
            corners.append(g.op("Mul", factor, corner))
        y = g.op("Mul", g.op("Sum", *corners), g.reshape(mask, [1, 1, 1, taps, side, side]))
        y = g.reshape(y, [1, x.channels, kernel, kernel, side, side])
        y = g.reshape(g.transpose(y, 0, 1, 4, 2, 5, 3), [1, x.channels, side * kernel, side * kernel])
        y = g.op("Conv", y, weights, group=1, kernel_shape=[kernel] * 2, strides=[kernel] * 2)
        return g.op("Add", y, g.weight(f"{name}.zeros", np.zeros((1, self.size.branch, 1, 1), np.float32)))


def _grid(kernel: int, side: int) -> np.ndarray:
    """Where each tap of each output stands on the padded input, ``[1, 1, taps, 2, side, side]``, y before x.

    A kernel of 1 has no padding of its own, and gets one pixel: its taps stand one further in.
    """
    taps = np.arange(kernel, dtype=np.float32) + (1 if kernel == 1 else 0)
    starts = np.arange(side, dtype=np.float32)
    axis = taps[:, None] + starts
    grid = np.empty((kernel, kernel, 2, side, side), np.float32)
    grid[:, :, 0] = axis[:, None, :, None]
    grid[:, :, 1] = axis[None, :, None, :]
    return grid.reshape(1, 1, kernel * kernel, 2, side, side)


def make_birefnet(
    size: str, form: str, *, image: int | None = None, seed: int = 0, weights_file: Path | None = None
) -> onnx.ModelProto:
    """The model of that size and form; ``image`` overrides the side of its input in pixels, a multiple of 64.

    With ``weights_file`` larger weights are zeros, external data in this sparse file, beside which the model must be
    saved: a model that can be planned without its memory. What the graph's structure hangs on is as it should be.
    """
    numbers = SIZES[size]
    if image is not None:
        numbers = Size(**{**vars(numbers), "image": image})
    return BiRefNet(numbers, form, seed, weights_file).model()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("output", type=Path)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--form", choices=FORMS, default="opset14")
    parser.add_argument("--image", type=int, help="side of the input in pixels, a multiple of 64")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    model = make_birefnet(arguments.size, arguments.form, image=arguments.image, seed=arguments.seed)
    onnx.save(model, arguments.output)
    print(f"{arguments.output}: {len(model.graph.node):,} nodes, {arguments.output.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
