"""The tiles of conv_matrix.wgsl, and which layers each is for: a rule of what was measured on a large GPU."""

from __future__ import annotations

from dataclasses import dataclass

from engine.caps import Caps
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.matrix import LONGEST_SUM, MatrixTile
from engine.gpu.kernels.convolution.tiled import takes_tiles

LARGEST_WASTE = 1.25
"""The channels that a tile computes for each that the layer has, at most."""

LEAST_OUTPUTS = 17
"""Output channels of a group for which matrix units are faster than conv.wgsl, though half of a tile may be empty."""


@dataclass(frozen=True, slots=True)
class MatrixPreference:
    """The layers that a tile is for: those that it cuts into ``workgroups`` at the least, in one of ``dtypes``, with
    ``summands`` to ``most_summands`` in each sum; or of them only those whose taps are ``moved`` by offsets."""

    tile: MatrixTile
    workgroups: int = 1
    dtypes: tuple[str, ...] = ("f16", "f32")
    moved: bool = False
    summands: int = 1
    most_summands: int | None = None

    def suits(self, layer: Layer) -> bool:
        """Whether the layer is among them, and not too much of the tiles is empty."""
        blocks = -(-layer.outputs // self.tile.bn)
        summands = layer.window.taps * layer.channels
        workgroups = -(-layer.pixels // self.tile.bm) * blocks * layer.groups
        return (
            layer.x.dtype in self.dtypes
            and (bool(layer.deform_inputs) or not self.moved)
            and layer.outputs >= LEAST_OUTPUTS
            and workgroups >= self.workgroups
            and self.summands <= summands <= (self.most_summands or summands)
            and (blocks * self.tile.bn <= LARGEST_WASTE * layer.outputs or self.tile.bn <= SMALLEST_WIDTH)
        )


SMALLEST_WIDTH = 32
"""The width of a tile that takes layers however much of it is empty."""

MATRICES = (
    # a load between four pixels is dear: as many channels as can share it
    MatrixPreference(MatrixTile(64, 256, 32, 64, 64), 256, ("f16",), moved=True),
    MatrixPreference(MatrixTile(64, 256, 32, 64, 32, weights_in_workgroup=False), 256, ("f32",), moved=True),
    # the larger a tile the fewer times rows and columns are loaded, where there are many steps for its longer epilogue
    MatrixPreference(MatrixTile(128, 128, 32, 64, 64), 528, ("f16",), summands=768),
    MatrixPreference(MatrixTile(64, 128, 64, 64, 32, weights_in_workgroup=False), 264, ("f16",)),
    MatrixPreference(
        MatrixTile(128, 128, 32, 128, 32, weights_in_workgroup=False), 768, ("f32",), summands=768, most_summands=1024
    ),
    MatrixPreference(
        MatrixTile(64, 128, 32, 64, 32, weights_in_workgroup=False), 264, ("f32",), most_summands=LONGEST_SUM
    ),
    MatrixPreference(MatrixTile(64, 96, 64, 32, 48), 192, ("f16",)),
    MatrixPreference(MatrixTile(64, 64, 64, 32, 32), 132, ("f16",)),
    # with twice the sums of long ones a subgroup has half the tile
    MatrixPreference(MatrixTile(64, 64, 32, 32, 32), 132, ("f32",)),
    MatrixPreference(MatrixTile(128, 32, 32, 32, 32), 132),
    MatrixPreference(MatrixTile(64, 32, 64, 32, 16), 132),
    MatrixPreference(MatrixTile(32, 32, 64, 32, 32, across_k=4)),
)
"""In order of preference: few workgroups keep no large GPU busy, so that smaller tiles follow larger ones."""

FOR_TUNING = (
    # in the whole of Swin-L in float32 the first one took 0.8 ms more, though it was ahead of the others by itself
    MatrixTile(96, 128, 32, 96, 32, weights_in_workgroup=False),
    MatrixTile(96, 128, 64, 96, 32, weights_in_workgroup=False),
    MatrixTile(64, 192, 64, 64, 48, weights_in_workgroup=False),
    MatrixTile(64, 128, 32, 32, 32),
    MatrixTile(32, 64, 64, 32, 16, weights_in_workgroup=False),
    MatrixTile(64, 128, 64, 32, 64),
    MatrixTile(64, 64, 128, 32, 32),
)
"""Tiles that a tuning may choose, ahead of those above for layers here and there."""

MATRIX_TILES = (*(preference.tile for preference in MATRICES), *FOR_TUNING)


def supports(tile: MatrixTile, layer: Layer, caps: Caps) -> bool:
    """Whether operands are of one float type, channels come in fours, and a device's matrix units hold the tile."""
    return (
        layer.x.dtype == layer.weight_type in ("f16", "f32")
        and layer.x_vec == 4
        and tile.fits(caps, split=layer.x.dtype == "f32")
        and takes_tiles(layer, caps)
    )


def suits(tile: MatrixTile, layer: Layer) -> bool:
    """Whether the tile is for layers like this one."""
    return any(preference.suits(layer) for preference in MATRICES if preference.tile == tile)
