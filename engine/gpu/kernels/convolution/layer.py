"""A convolution as kernels see it: its input, its window, its weights and the start of its epilogue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from engine.caps import PORTABLE_LIMITS
from engine.gpu.kernels.convolution.normalized import Normalization
from engine.gpu.lowering.epilogue import Epilogue, pixel_stride, prepare
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.gpu.program.rules import expression
from engine.gpu.program.tensor import Tensor, channels_last
from engine.graph.ir import INTERNAL_DOMAIN, Node, Value
from engine.ops.conv import conv_window
from engine.ops.fused_conv import activated_from, activation_of
from engine.ops.window import Window

MAX_TILES = PORTABLE_LIMITS["max-compute-workgroups-per-dimension"]
"""Workgroups along one dimension of a grid that every implementation allows."""

WIDEST_TILE = 64
"""Output channels of the widest tile of conv.wgsl that every layer fits."""


def fits_tiles(outputs: int, groups: int = 1) -> bool:
    """Whether the grid of a tiled kernel holds all groups, of ``outputs`` output channels each, along y and z."""
    return max(-(-outputs // WIDEST_TILE), groups) <= MAX_TILES


def is_thin(groups: int, outputs: int, channels: int) -> bool:
    """Whether groups of so many channels are too few for a tile, as those of a depthwise layer."""
    return groups > 1 and (outputs < 8 or channels < 4)


def loads_bytes(node: Node, x: Value) -> bool:
    """Whether a ConvInteger has ``x`` for its input, and a tiled kernel that loads uint8 four channels a word."""
    if node.op != "ConvInteger" or node.inputs.index(x) != 0 or x in node.inputs[1:]:
        return False
    w, zero, groups = node.input(1), node.optional_input(3), node.attr("group", 1)
    if not w.is_constant or (zero is not None and not zero.is_constant) or len(w.shape) > 4:
        return False
    outputs, channels = w.shape[0] // groups, w.shape[1]
    fits = channels % 4 == 0 and fits_tiles(outputs, groups) and not is_thin(groups, outputs, channels)
    return fits and node.output.type.size > 0


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
    """The zero point of integers; of those that a deformable layer makes itself, their scale and zero point."""
    weight_type: str
    """The storage type of constant weights."""
    has_extremes: Callable[[], bool]
    """Whether any layer of the graph has extreme weights, behind which only sums by the definition stay finite."""
    deform_inputs: dict[str, Tensor]
    """``offset`` and ``mask`` of a DeformConv, which move and weigh the taps pixel by pixel."""
    channel_axis: int = 1
    compact: bool = False
    """As ``Caps`` has it."""
    normalization: Normalization | None = None
    """The LayerNormalization that the kernel computes of ``x``, which is then what that reads."""

    @staticmethod
    def of(node: Node, lowering: Lowering) -> Layer:
        """The layer of a Conv, FusedConv, ConvInteger, DeformConv or DeformConvInteger node."""
        x, window = lowering.input(node, 0), conv_window(node, node.input(0).shape, node.input(1).shape)
        integer, deformable = node.op in ("ConvInteger", "DeformConvInteger"), node.op.startswith("Deform")
        channel_vectors: dict[str, tuple[Tensor, np.dtype[Any]]] = {}
        prelude, root = [], "raw"
        bias = None if integer else node.optional_input(3 if deformable else 2)
        if bias is not None:
            column = lowering.tensor(bias).view((1, bias.shape[0], *(1,) * (x.rank - 2)))
            channel_vectors["bias"] = column, bias.dtype
            prelude.append("let biased = raw + bias;")
            root = "biased"
        if node.op == "FusedConv" and node.domain == INTERNAL_DOMAIN:
            sums, root = root, expression(activation_of(node), [root])
            first = activated_from(node)
            if first:
                is_activated = np.arange(node.output.shape[1]).reshape(1, -1, *(1,) * (x.rank - 2)) >= first
                channel_vectors["activated"] = (
                    lowering.constant(is_activated, f"{node.name}:activated"),
                    is_activated.dtype,
                )
                root = f"select({sums}, {root}, activated)"
        prelude.append(f"let root = {root};")
        zero = lowering.optional(node, 2) if integer else None
        indices = (("offset", 4), ("mask", 5)) if integer else (("offset", 2), ("mask", 4))
        optional_inputs = [(name, lowering.optional(node, index)) for name, index in indices if deformable]
        deform_inputs = {
            name: evenly_spaced(tensor, lowering) for name, tensor in optional_inputs if tensor is not None
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
            weight_type="i32" if integer else lowering.weight_storage(node.input(1)),
            has_extremes=lowering.has_extremes,
            compact=lowering.caps.compact,
            deform_inputs=deform_inputs,
        )

    @property
    def channels(self) -> int:
        """Input channels of a group."""
        return self.x.shape[1] // self.groups

    @property
    def pixels(self) -> int:
        """Output pixels of all images."""
        return self.node.output.type.size // (self.outputs * self.groups)

    @property
    def x_vec(self) -> int:
        """Channels of a load of a tiled kernel: 4 where vec4 items hold them, else 1."""
        return 1 if self.channels % 4 else 4

    @property
    def has_constant_weights(self) -> bool:
        """Whether the weights, and the zero points of integers, are known at load."""
        zero = self.node.optional_input(3) if self.integer else None
        return self.node.input(1).is_constant and (zero is None or zero.is_constant)

    @property
    def has_byte_weights(self) -> bool:
        """Whether its float weights are bytes in the file, which conv.wgsl can keep."""
        source = self.node.input(1).quantized
        return not self.integer and source is not None and not source.block

    @property
    def is_thin(self) -> bool:
        """Whether its groups have too few channels for a tile, as those of a depthwise layer."""
        return is_thin(self.groups, self.outputs, self.channels) and not self.deform_inputs

    def epilogue(
        self, lowering: Lowering, tree: Tree, last: Node, inputs: Sequence[Tensor], groups: int
    ) -> tuple[Epilogue, Tensor, Tensor | None]:
        """``prepare`` for this layer: the chain up to ``last`` behind a kernel that reads ``inputs``."""
        return prepare(
            lowering,
            tree,
            last,
            prelude=self.prelude,
            channel_vectors=self.channel_vectors,
            inputs=inputs,
            groups=groups,
            channel_axis=self.channel_axis,
        )

    def weights(self) -> np.ndarray:
        """The float weights ``[groups, kh, kw, C, N]``."""
        w = self.node.constant(1)
        assert w is not None
        return self.by_tap(w)

    def by_tap(self, w: np.ndarray) -> np.ndarray:
        """An array in the shape of the node's weights as ``[groups, kh, kw, C, N]``."""
        if self.node.op == "MatMul":
            return w.reshape(1, 1, 1, *w.shape)
        if w.ndim == 3:
            w = w[:, :, None]
        return w.reshape(self.groups, self.outputs, *w.shape[1:]).transpose(0, 3, 4, 2, 1)


def evenly_spaced(tensor: Tensor, lowering: Lowering) -> Tensor:
    """``tensor`` ``[N, C, *spatial]`` if its pixels are evenly spaced, else a copy of which they are."""
    return tensor if pixel_stride(tensor) is not None else lowering.dense_copy(tensor, channels_last(tensor.rank))
