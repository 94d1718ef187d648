"""The tiles of conv_patch.wgsl, and which layers each is for: a rule of what was measured on a large GPU."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.patch import PatchTile

LARGEST_PATCH = 4.0
"""Pixels that a tile loads for each that it computes, at most: with a larger halo the implicit product is faster."""


@dataclass(frozen=True, slots=True)
class Preference:
    """The layers that a tile is for: of ``least_outputs`` to ``most_outputs`` output channels and ``channels`` input
    channels a group and ``taps`` at the least, which it cuts into ``workgroups`` at the least, in one of ``dtypes``."""

    tile: PatchTile
    workgroups: int = 1
    least_outputs: int = 1
    most_outputs: int | None = None
    channels: int = 1
    dtypes: tuple[str, ...] = ("f16", "f32")
    taps: int = 2

    def suits(self, layer: Layer) -> bool:
        """Whether the layer is among them, has several taps, and its dilation makes no halo that costs too much."""
        tile, window = self.tile, layer.window
        pixels = layer.node.output.type.size // (layer.outputs * layer.groups)
        workgroups = -(-pixels // (tile.height * tile.width)) * -(-layer.outputs // tile.outputs) * layer.groups
        most_outputs = self.most_outputs or layer.outputs
        return (
            layer.x.dtype in self.dtypes
            and window.taps >= self.taps
            and self.least_outputs <= layer.outputs <= most_outputs
            and layer.channels >= self.channels
            and workgroups >= self.workgroups
            and prod(tile.patch(window)) <= LARGEST_PATCH * prod(window.strides) * tile.height * tile.width
        )


def _weights(tile: PatchTile) -> PatchTile:
    """The tile with weights that go by way of workgroup memory."""
    return replace(tile, weights_in_workgroup=True)


PREFERENCES = (
    # offsets and masks of a deformable convolution, 147 for 7x7 taps: in tiles of 64 a quarter would be empty
    Preference(PatchTile(8, 16, 160, 16, 2, 5), workgroups=128, least_outputs=129, most_outputs=160, dtypes=("f32",)),
    Preference(PatchTile(8, 16, 64, 16, 2, 2), workgroups=512, least_outputs=33, dtypes=("f32",)),
    Preference(PatchTile(8, 16, 64, 16, 2, 2), workgroups=128, least_outputs=33, dtypes=("f16",), taps=25),
    Preference(_weights(PatchTile(16, 16, 16, 16, 4)), workgroups=64, most_outputs=16, dtypes=("f32",)),
    # up to 32 output channels; all tiles can write the max-pool of their output, too
    Preference(_weights(PatchTile(16, 16, 16, 16, 4)), workgroups=256, most_outputs=16, dtypes=("f16",)),
    Preference(
        _weights(PatchTile(16, 16, 32, 16, 4, 2)), workgroups=256, least_outputs=17, most_outputs=32, dtypes=("f16",)
    ),
    Preference(
        _weights(PatchTile(8, 16, 32, 16, 2, 2)), workgroups=128, least_outputs=17, most_outputs=32, dtypes=("f16",)
    ),
    Preference(_weights(PatchTile(8, 16, 32, 16, 2, 2)), workgroups=64, least_outputs=17, dtypes=("f32",)),
    Preference(PatchTile(8, 16, 16, 32, 4), workgroups=64, most_outputs=32, dtypes=("f32",)),
    Preference(_weights(PatchTile(4, 16, 16, 32, 2, 1, 2)), most_outputs=32, dtypes=("f16",)),
    # more
    Preference(_weights(PatchTile(16, 16, 64, 16, 4, 2)), workgroups=128, least_outputs=33, dtypes=("f16",)),
    Preference(_weights(PatchTile(8, 16, 64, 16, 2, 2)), workgroups=128, least_outputs=33, dtypes=("f16",)),
    Preference(PatchTile(4, 16, 32, 64, 1, 1, 4), workgroups=256, least_outputs=33),
    Preference(_weights(PatchTile(4, 16, 32, 32, 2, 2, 2)), workgroups=64, least_outputs=33, dtypes=("f16",)),
    Preference(_weights(PatchTile(4, 16, 16, 64, 2, 1, 4)), least_outputs=33, dtypes=("f16",)),
    # any
    Preference(PatchTile(2, 16, 16, 64, 1, 1, 4)),
)
"""In order of preference: few workgroups keep no large GPU busy, so that smaller tiles follow larger ones."""

FOR_TUNING = (
    PatchTile(16, 16, 64, 16, 4, 2),
    PatchTile(16, 16, 32, 16, 4, 2),
    PatchTile(16, 16, 160, 16, 4, 5),
    PatchTile(8, 16, 32, 16, 2, 2),
)
"""Tiles that a tuning may choose, for windows whose weights workgroup memory cannot hold, and for outputs that leave
half of another tile empty."""

PATCH_TILES = tuple(dict.fromkeys((*(preference.tile for preference in PREFERENCES), *FOR_TUNING)))


def suits(tile: PatchTile, layer: Layer) -> bool:
    """Whether the tile is for layers like this one."""
    return any(preference.suits(layer) for preference in PREFERENCES if preference.tile == tile)
