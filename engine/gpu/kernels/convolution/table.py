"""The implementations of a convolution, in order of preference."""

from __future__ import annotations

from functools import partial

from engine.caps import Caps
from engine.gpu.kernels.convolution import conv_direct, few_channels, matrix_tiles, patch_tiles, winograd
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.matrix import emit_matrix
from engine.gpu.kernels.convolution.patch import emit_patch
from engine.gpu.kernels.convolution.tiled import (
    BUSY_WORKGROUPS,
    DEFORMABLE,
    MIDDLE,
    NARROW,
    SCALAR,
    TALL,
    TEAMS,
    WIDE,
    emit_tiled,
    takes_tiles,
)
from engine.gpu.lowering.table import Implementation, Table
from engine.gpu.program.tile import Tile

MAX_TEAM_CHANNELS = 128
"""Input channels up to which teams of a workgroup are enough to share the k axis of a 3x3 layer."""

MAX_TEAM_SUMS = 1 << 18
"""Outputs of a layer up to which larger tiles leave a large GPU idle."""


def _takes_teams(layer: Layer, caps: Caps) -> bool:
    """Channels in fours: with two loads of four channels one by one, SwiftShader's compiler does not come to an end."""
    return layer.x_vec == 4 and not layer.deform_inputs and takes_tiles(layer, caps)


def _suits_teams(layer: Layer) -> bool:
    """Few sums over several taps, of products enough for all teams, and not so many that they must be cut further."""
    sums, products = layer.pixels * layer.outputs * layer.groups, layer.window.taps * layer.channels
    few = sums <= MAX_TEAM_SUMS and layer.channels <= MAX_TEAM_CHANNELS and not layer.compact
    return few and layer.window.taps > 1 and products >= TEAMS.k_parts * TEAMS.bk and not layer.is_thin


def _is_large(layer: Layer, tile: Tile) -> bool:
    """Whether a layer has so many tiles that its k axis need not be split."""
    return -(-layer.pixels // tile.bm) * -(-layer.outputs // tile.bn) * layer.groups >= BUSY_WORKGROUPS // 2


def _takes_one_invocation_an_element(layer: Layer, _: Caps) -> bool:
    return not layer.deform_inputs and layer.node.op != "MatMul" and layer.x.dtype != "u8"


def key(layer: Layer) -> str:
    """What decides how fast a convolution is: types, channels, groups, window and pixels."""
    window, x = layer.window, layer.x
    numbers = {
        "n": x.shape[0],
        "c": layer.channels,
        "m": layer.outputs,
        "g": layer.groups,
        "in": "x".join(map(str, x.shape[2:])),
        "k": "x".join(map(str, window.kernel)),
        "s": "x".join(map(str, window.strides)),
        "d": "x".join(map(str, window.dilations)),
        "out": "x".join(map(str, window.out)),
    }
    kind = "deformable " if layer.deform_inputs else ""
    weight_type = "bytes" if layer.has_byte_weights else layer.weight_type
    # a layer that is tuned reads an input, which is never stored as bytes
    x_type = "u32" if x.dtype == "u8" else x.dtype
    return f"{kind}{x_type} {weight_type} " + " ".join(f"{name}{number}" for name, number in numbers.items())


CONVOLUTION: Table[Layer] = Table(
    "convolution",
    (
        Implementation(
            "few-inputs",
            "Up to four input channels: a product along so short an axis is all loads, which squares of pixels share.",
            supports=few_channels.supports_inputs,
            suits=lambda layer: layer.outputs >= 16 and not layer.compact,
            emit=few_channels.emit_inputs,
        ),
        Implementation(
            "few-outputs",
            "Up to eight output channels: a tile would multiply zeros, so invocations share the channels of a pixel.",
            supports=few_channels.supports_outputs,
            suits=lambda layer: layer.outputs <= 4 and not layer.compact,
            emit=few_channels.emit_outputs,
        ),
        Implementation(
            "winograd-4x4-split",
            "As winograd-4x4, on matrix units: two parts of a float32 are multiplied faster than the number itself.",
            supports=partial(winograd.supports_split, 6),
            suits=winograd.suits_large_split_tiles,
            emit=partial(winograd.emit_split, size=6),
        ),
        Implementation(
            "winograd-2x2-split",
            "As winograd-2x2, for a few tiles, on matrix units.",
            supports=partial(winograd.supports_split, 4),
            suits=winograd.suits_small_split_tiles,
            emit=partial(winograd.emit_split, size=4),
        ),
        *(
            Implementation(
                patch.name,
                "Matrix units, and pixels that are loaded once for all taps of the window.",
                supports=patch.supports,
                suits=partial(patch_tiles.suits, patch),
                emit=partial(emit_patch, tile=patch),
            )
            for patch in patch_tiles.PATCH_TILES
        ),
        *(
            Implementation(
                matrix.name,
                "Matrix units multiply many times faster than shaders do: the largest tile that keeps them busy.",
                supports=partial(matrix_tiles.supports, matrix),
                suits=partial(matrix_tiles.suits, matrix),
                emit=partial(emit_matrix, tile=matrix),
                normalizes=matrix.normalizes,
            )
            for matrix in matrix_tiles.MATRIX_TILES
        ),
        Implementation(
            "winograd-4x4",
            "3x3 with many channels and pixels: a quarter of the multiplications is worth two transforms.",
            supports=partial(winograd.supports, 6),
            suits=winograd.suits_large_tiles,
            emit=partial(winograd.emit, size=6),
        ),
        Implementation(
            "winograd-2x2",
            "The same for a few tiles, with less than half the weights.",
            supports=partial(winograd.supports, 4),
            suits=winograd.suits_small_tiles,
            emit=partial(winograd.emit, size=4),
        ),
        Implementation(
            "tiled-deformable",
            "A load between four pixels is dear, so that as many channels as can share it.",
            supports=takes_tiles,
            suits=lambda layer: bool(layer.deform_inputs) and layer.outputs > WIDE.bn,
            emit=partial(emit_tiled, tile=DEFORMABLE),
        ),
        Implementation(
            "tiled-scalar",
            "Channels that are no multiple of four are loaded one by one: few loads an invocation.",
            supports=takes_tiles,
            suits=lambda layer: layer.x_vec == 1 and not layer.is_thin,
            emit=partial(emit_tiled, tile=SCALAR),
        ),
        Implementation(
            "tiled-teams",
            "Few tiles: four teams of a workgroup share the sums of one, which no second kernel must add.",
            supports=_takes_teams,
            suits=_suits_teams,
            emit=partial(emit_tiled, tile=TEAMS),
        ),
        Implementation(
            "tiled-tall",
            "So many pixels and channels that a tile twice as long still keeps a GPU busy: fewer loads a product.",
            supports=takes_tiles,
            suits=lambda layer: layer.outputs > MIDDLE.bn and _is_large(layer, TALL) and not layer.is_thin,
            emit=partial(emit_tiled, tile=TALL),
        ),
        Implementation(
            "tiled-wide",
            "More than 32 channels fill a tile that reads each pixel once for 64 of them.",
            supports=takes_tiles,
            suits=lambda layer: layer.outputs > MIDDLE.bn and not layer.is_thin,
            emit=partial(emit_tiled, tile=WIDE),
        ),
        Implementation(
            "tiled-middle",
            "17 to 32 channels: a tile half as wide, and twice as long.",
            supports=takes_tiles,
            suits=lambda layer: layer.outputs > NARROW.bn and not layer.is_thin,
            emit=partial(emit_tiled, tile=MIDDLE),
        ),
        Implementation(
            "tiled-narrow",
            "Up to 16 channels: a wider tile would multiply zeros.",
            supports=takes_tiles,
            suits=lambda layer: not layer.is_thin,
            emit=partial(emit_tiled, tile=NARROW),
        ),
        Implementation(
            "direct",
            "Depthwise layers have no product to tile; three axes and weights of the run have no tiled kernel.",
            supports=_takes_one_invocation_an_element,
            emit=conv_direct.emit,
        ),
    ),
    key,
)
