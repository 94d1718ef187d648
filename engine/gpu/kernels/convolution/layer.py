"""A convolution as kernels see it: its input, its window, its weights and the start of its epilogue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.gpu.lowering.epilogue import pixel_stride
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.rules import expression
from engine.gpu.program.tensor import Tensor, channels_last
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.conv import conv_window
from engine.ops.fused_conv import activation_of
from engine.ops.window import Window

MAX_TILES = 65535
"""Workgroups along one dimension of a grid at the most, on every implementation."""

WIDEST_TILE = 64
"""Output channels of the widest tile of conv.wgsl that every layer fits."""


def fits_tiles(outputs: int, groups: int = 1) -> bool:
    """Whether the grid of a tiled kernel holds all groups, of ``outputs`` output channels each, along y and z."""
    return max(-(-outputs // WIDEST_TILE), groups) <= MAX_TILES


def axis_uniforms(name: str, numbers: Sequence[int]) -> dict[str, int]:
    """One uniform for each axis: ``name`` and the number of the axis."""
    return {f"{name}{axis}": number for axis, number in enumerate(numbers)}


@dataclass(frozen=True, slots=True)
class Layer:
    """One convolution: its node, its input as ``[N, C, *spatial]``, its window, and the start of its epilogue.

    ``outputs`` are the output channels of a group, on ``channel_axis`` of the node's output. The WGSL statements
    ``prelude`` compute ``root`` from ``raw`` and the names of ``channel_vectors``, such as a bias.
    """

    node: Node
    x: Tensor
    window: Window
    outputs: int
    groups: int
    integer: bool
    prelude: tuple[str, ...]
    channel_vectors: dict[str, tuple[Tensor, np.dtype[Any]]]
    zero: Tensor | None
    deform_inputs: dict[str, Tensor]
    """``offset`` and ``mask`` of a DeformConv, which move and weigh the taps pixel by pixel."""
    channel_axis: int = 1

    @staticmethod
    def of(node: Node, lowering: Lowering) -> Layer:
        """The layer of a Conv, FusedConv, ConvInteger or DeformConv node."""
        x, window = lowering.input(node, 0), conv_window(node, node.input(0).shape, node.input(1).shape)
        integer, deformable = node.op == "ConvInteger", node.op == "DeformConv"
        channel_vectors: dict[str, tuple[Tensor, np.dtype[Any]]] = {}
        prelude, root = [], "raw"
        bias = None if integer else node.optional_input(3 if deformable else 2)
        if bias is not None:
            column = lowering.tensor(bias).reshape((1, bias.shape[0], *(1,) * (x.rank - 2)))
            assert column is not None
            channel_vectors["bias"] = column, bias.dtype
            prelude.append("let biased = raw + bias;")
            root = "biased"
        if node.domain == INTERNAL_DOMAIN:
            root = expression(activation_of(node), [root])
        prelude.append(f"let root = {root};")
        zero = lowering.optional(node, 2) if integer else None
        indices = (("offset", 2), ("mask", 4)) if deformable else ()
        optional_inputs = [(name, lowering.optional(node, index)) for name, index in indices]
        deform_inputs = {
            name: _evenly_spaced(tensor, lowering) for name, tensor in optional_inputs if tensor is not None
        }
        groups = node.attr("group", 1)
        outputs = node.output.shape[1] // groups
        return Layer(
            node,
            x,
            window,
            outputs=outputs,
            groups=groups,
            integer=integer,
            prelude=tuple(prelude),
            channel_vectors=channel_vectors,
            zero=zero,
            deform_inputs=deform_inputs,
        )

    @property
    def channels(self) -> int:
        """Input channels of a group."""
        return self.x.shape[1] // self.groups

    @property
    def is_direct(self) -> bool:
        """Whether conv_direct.wgsl computes it, as no tile suits it."""
        inputs = list(self.node.used_inputs())
        constant = inputs[1].is_constant and (not self.integer or len(inputs) < 4 or inputs[3].is_constant)
        depthwise = self.groups > 1 and (self.outputs < 8 or self.channels < 4)
        fits = fits_tiles(self.outputs, self.groups)
        return not constant or self.x.rank > 4 or depthwise or not fits or self.node.output.type.size == 0

    def weights(self) -> np.ndarray:
        """The weights ``[groups, kh, kw, C, N]``; those of integers as int32, less their zero point."""
        w = self.node.constant(1)
        assert w is not None
        if self.node.op == "MatMul":
            return w.reshape(1, 1, 1, *w.shape)
        if self.integer:
            zero = self.node.constant(3)
            w = w.astype(np.int32)
            if zero is not None:
                w = w - zero.astype(np.int32).reshape(-1, *(1,) * (w.ndim - 1))
        if w.ndim == 3:
            w = w[:, :, None]
        return w.reshape(self.groups, self.outputs, *w.shape[1:]).transpose(0, 3, 4, 2, 1)


def _evenly_spaced(tensor: Tensor, lowering: Lowering) -> Tensor:
    """``tensor`` ``[N, C, *spatial]`` if its pixels are evenly spaced, else a copy of which they are."""
    return tensor if pixel_stride(tensor) is not None else lowering.dense_copy(tensor, channels_last(tensor.rank))
