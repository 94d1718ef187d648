"""The implementations of a convolution, in order of preference."""

from __future__ import annotations

from functools import partial

from engine.caps import Caps
from engine.gpu.kernels.convolution import conv_direct
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.matrix import emit_matrix
from engine.gpu.kernels.convolution.matrix_tiles import MATRICES
from engine.gpu.kernels.convolution.patch import emit_patch
from engine.gpu.kernels.convolution.patch_tiles import PATCH_TILES, suits
from engine.gpu.kernels.convolution.tiled import (
    BUSY_WORKGROUPS,
    DEFORMABLE,
    MIDDLE,
    NARROW,
    SCALAR,
    TALL,
    WIDE,
    emit_tiled,
    takes_tiles,
)
from engine.gpu.lowering.table import Implementation, Table
from engine.gpu.program.tile import Tile


def _is_large(layer: Layer, tile: Tile) -> bool:
    """Whether a layer has so many tiles that its k axis need not be split."""
    return -(-layer.pixels // tile.bm) * -(-layer.outputs // tile.bn) * layer.groups >= BUSY_WORKGROUPS // 2


def _takes_one_invocation_an_element(layer: Layer, _: Caps) -> bool:
    return not layer.deform_inputs and layer.node.op != "MatMul"


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
    return f"{kind}{x.dtype} {layer.weight_type} " + " ".join(f"{name}{number}" for name, number in numbers.items())


CONVOLUTION: Table[Layer] = Table(
    "convolution",
    (
        *(
            Implementation(
                patch.name,
                "Matrix units, and pixels that are loaded once for all taps of the window.",
                supports=patch.supports,
                suits=partial(suits, patch),
                emit=partial(emit_patch, tile=patch),
            )
            for patch in PATCH_TILES
        ),
        *(
            Implementation(
                matrix.tile.name,
                "Matrix units multiply many times faster than shaders do: the largest tile that keeps them busy.",
                supports=matrix.supports,
                suits=matrix.suits,
                emit=partial(emit_matrix, tile=matrix.tile),
            )
            for matrix in MATRICES
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
