"""The encoder of BiRefNet: a Swin transformer (arXiv:2103.14030) as its public source has it, with its feature taps."""

from __future__ import annotations

import numpy as np
import onnx

from tools.birefnet_layers import Layers, Map
from tools.graph_builder import LAST, Dim


class Swin(Layers):
    """Builds the encoder; methods follow the modules of the public source."""

    def swin(self, image: Map) -> list[Map]:
        """The four feature maps of the backbone."""
        g, size = self.g, self.size
        with g.scope("patch_embed"):
            x = self.conv("bb.patch_embed.proj", image, size.embed, 4, stride=4, pad=0)
            tokens = self.to_tokens(x)
            tokens = Map(self.layer_norm("bb.patch_embed.norm", tokens.name, x.channels), x.channels, x.side)
            x = self.to_image(tokens)
        tokens = self.to_tokens(x)
        features = []
        for stage, (depth, heads) in enumerate(zip(size.depths, size.heads, strict=True)):
            with g.scope(f"layers.{stage}"):
                for number in range(depth):
                    with g.scope(f"blocks.{number}"):
                        shift = size.window // 2 if number % 2 else 0
                        tokens = self.swin_block(f"bb.layers.{stage}.blocks.{number}", tokens, heads, shift)
            tap = self.layer_norm(f"bb.norm{stage}", tokens.name, tokens.channels)
            grid = g.reshape(tap, [-1, *self.grid_dims(tokens), tokens.channels])
            features.append(Map(g.transpose(grid, 0, 3, 1, 2), tokens.channels, tokens.side))
            if stage < 3:
                with g.scope(f"layers.{stage}/downsample"):
                    tokens = self.patch_merging(f"bb.layers.{stage}.downsample", tokens)
        return features

    def grid_dims(self, tokens: Map) -> list[Dim | int]:
        """Height and width of a grid of tokens: traced as numbers that follow from the image's."""
        return [tokens.side, tokens.side]

    def to_tokens(self, x: Map) -> Map:
        g = self.g
        flat = g.reshape(x.name, [g.dim(x.name, 0, 1), g.dim(x.name, 1, x.channels), -1])
        return Map(g.transpose(flat, 0, 2, 1), x.channels, x.side)

    def to_image(self, tokens: Map) -> Map:
        turned = self.g.transpose(tokens.name, 0, 2, 1)
        return Map(self.g.reshape(turned, [-1, tokens.channels, *self.grid_dims(tokens)]), tokens.channels, tokens.side)

    def swin_block(self, name: str, tokens: Map, heads: int, shift: int) -> Map:
        g, c, side, window = self.g, tokens.channels, tokens.side, self.size.window
        batch, length = g.dim(tokens.name, 0, 1), g.dim(tokens.name, 1, side * side)
        x = self.layer_norm(f"{name}.norm1", tokens.name, c)
        x = g.reshape(x, [batch, *self.grid_dims(tokens), g.dim(tokens.name, 2, c)])
        missing = [(axis, self.missing(g.dim(x, axis, side))) for axis in (1, 2)]
        padded = side + missing[0][1].size
        x = g.pad_end(x, 4, missing) if padded != side else x
        for axis in (1, 2) if shift else ():
            x = g.roll(x, axis, -shift)
        down, across = (g.arithmetic("Div", g.dim(x, axis, padded), window) for axis in (1, 2))
        channels = g.dim(x, 3, c)
        x = g.reshape(x, [g.dim(x, 0, 1), down, window, across, window, channels])
        x = g.reshape(g.transpose(x, 0, 1, 3, 2, 4, 5), [-1, window, window, channels])
        x = g.reshape(x, [-1, window * window, channels])
        with g.scope("attn"):
            x = self.attention(f"{name}.attn", x, c=c, heads=heads, mask=self.mask(padded, shift))
        x = g.reshape(x, [-1, window, window, c])
        x = g.reshape(x, [batch, down, across, window, window, -1])
        x = g.reshape(g.transpose(x, 0, 1, 3, 2, 4, 5), [batch, *self.padded_dims(down, across), -1])
        for axis in (1, 2) if shift else ():
            x = g.roll(x, axis, shift)
        for axis in (1, 2) if padded != side else ():
            x = g.slice(x, axis, start=0, end=side, step=1)
        x = g.reshape(x, [batch, length, channels])
        x = g.op("Add", tokens.name, x)
        with g.scope("mlp"):
            y = self.linear(f"{name}.mlp.fc1", self.layer_norm(f"{name}.norm2", x, c), c, 4 * c)
            y = self.linear(f"{name}.mlp.fc2", self.gelu(y), 4 * c, c, scale=0.5)
        return Map(g.op("Add", x, y), c, side)

    def missing(self, extent: Dim) -> Dim:
        """What an extent lacks to whole windows."""
        window = self.size.window
        rest = self.g.arithmetic("Mod", extent, window)
        if rest.name is None:
            return Dim(-extent.size % window)
        remainder = Dim(window - rest.size, self.g.op("Sub", self.g.constant(window), rest.name))
        return self.g.arithmetic("Mod", remainder, window)

    def padded_dims(self, down: Dim, across: Dim) -> list[Dim]:
        return [self.g.arithmetic("Mul", extent, self.size.window) for extent in (down, across)]

    def attention(self, name: str, x: str, c: int, heads: int, mask: str | None) -> str:
        g, area, size = self.g, self.size.window**2, c // heads
        count, length = g.dim(x, 0, -1), g.dim(x, 1, area)
        count = Dim(-1) if count.name is None else count
        split = g.arithmetic("Div", g.dim(x, 2, c), heads)
        qkv = self.linear(f"{name}.qkv", x, c, 3 * c)
        qkv = g.transpose(g.reshape(qkv, [count, length, 3, heads, split]), 2, 0, 3, 1, 4)
        bias = self.w.normal(f"{name}.relative_position_bias", (1, heads, area, area), 0.5)
        scale = np.float32(size**-0.5)
        if self.opset >= 20:
            q, k, v = (g.op("Squeeze", g.slice(qkv, 0, part, part + 1), g.constant([0])) for part in range(3))
            root = g.constant(np.sqrt(scale), np.float32)
            scores = g.op("MatMul", g.op("Mul", q, root), g.op("Mul", g.transpose(k, 0, 1, 3, 2), root))
            scores = g.op("Add", scores, bias if mask is None else g.op("Add", bias, g.unsqueeze(mask, 1)))
        else:
            q, k, v = (g.op("Gather", qkv, g.constant(part), axis=0) for part in range(3))
            q = g.op("Mul", q, g.constant(scale, np.float32))
            scores = g.op("Add", g.op("MatMul", q, g.transpose(k, 0, 1, 3, 2)), bias)
            if mask is not None:
                windows = g.dim(mask, 0, self.windows_of(mask))
                outer = g.arithmetic("Div", count, windows) if count.name else Dim(1)
                scores = g.reshape(scores, [outer, windows, heads, length, length])
                scores = g.op("Add", scores, g.unsqueeze(g.unsqueeze(mask, 1), 0))
                scores = g.reshape(scores, [-1, heads, length, length])
        y = g.op("MatMul", g.op("Softmax", scores, axis=-1), v)
        y = g.reshape(g.transpose(y, 0, 2, 1, 3), [count, length, g.dim(x, 2, c)])
        return self.linear(f"{name}.proj", y, c, c, scale=0.5)

    def windows_of(self, mask: str) -> int:
        return next(side // self.size.window for (side, _), other in self.masks.items() if other == mask) ** 2

    def mask(self, side: int, shift: int) -> str | None:
        """What to add to the scores of each window, ``[windows, area, area]``; one for all blocks of a stage."""
        if not shift:
            return None
        if (side, shift) not in self.masks:
            self.masks[side, shift] = self.make_mask(side, shift)
        return self.masks[side, shift]

    def make_mask(self, side: int, shift: int) -> str:
        g, window = self.g, self.size.window
        edges = [0, side - window, side - shift, side]
        masked = -100.0 if self.opset < 20 else -np.inf
        if self.opset == 17:
            bands = np.searchsorted(edges[1:3], np.arange(side), side="right")
            numbered = (bands[:, None] * 3 + bands).reshape(side // window, window, side // window, window)
            regions = numbered.swapaxes(1, 2).reshape(-1, window * window)
            differ = regions[:, None, :] != regions[:, :, None]
            return g.weight(f"mask_{side}", np.where(differ, np.float32(masked), np.float32(0)))
        shape = g.constant([1, side, side, 1])
        image = g.op("ConstantOfShape", shape, value=onnx.helper.make_tensor("value", 1, [1], [0.0]))
        for region in range(9):
            rows, columns = (range(edges[part], edges[part + 1]) for part in divmod(region, 3))
            at = np.stack(np.meshgrid([0], rows, columns, [0], indexing="ij"), -1).reshape(-1, 4)
            if len(at):
                value = g.op("Expand", g.constant(float(region), np.float32), g.constant([len(at)]))
                image = g.op("ScatterND", image, g.constant(at), value)
        cut = g.reshape(image, [1, side // window, window, side // window, window, 1])
        cut = g.reshape(g.transpose(cut, 0, 1, 3, 2, 4, 5), [-1, window * window])
        differ = g.op("Sub", g.unsqueeze(cut, 1), g.unsqueeze(cut, 2))
        zero = g.constant(0.0, np.float32)
        same = g.op("Equal", differ, zero)
        return g.op("Where", g.op("Not", same), g.constant(masked, np.float32), zero)

    def patch_merging(self, name: str, tokens: Map) -> Map:
        g, c, half = self.g, tokens.channels, tokens.side // 2
        x = g.reshape(tokens.name, [g.dim(tokens.name, 0, 1), *self.grid_dims(tokens), c])
        quarters = []
        for row, column in ((0, 0), (1, 0), (0, 1), (1, 1)):
            rows = g.slice(x, 1, start=row, end=LAST, step=2)
            quarters.append(g.slice(rows, 2, start=column, end=LAST, step=2))
        x = g.op("Concat", *quarters, axis=-1)
        x = g.reshape(x, [g.dim(tokens.name, 0, 1), -1, 4 * c])
        x = self.layer_norm(f"{name}.norm", x, 4 * c)
        return Map(self.linear(f"{name}.reduction", x, 4 * c, 2 * c, bias=False), 2 * c, half)
