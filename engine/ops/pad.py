"""Pad (ONNX versions 2, 11, 13, 18, 19) and CenterCropPad (18): elements added or taken away at the edges."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.graph.ir import Node, TensorType
from engine.ops.arguments import ints, static_ints
from engine.ops.registry import operator
from engine.ops.types import normalize_axes

Ints = tuple[int, ...]


def pad_widths(rank: int, pads: Ints, axes: Ints | None = None) -> list[tuple[int, int]]:
    """(before, after) for each axis, from ONNX's order: all befores, then all afters, of ``axes`` (default: all)."""
    padded_axes = tuple(range(rank)) if axes is None else normalize_axes(axes, rank)
    if len(pads) != 2 * len(padded_axes):
        raise ValueError(f"{len(pads)} pads for {len(padded_axes)} axes")
    widths = [(0, 0)] * rank
    for index, axis in enumerate(padded_axes):
        widths[axis] = pads[index], pads[index + len(padded_axes)]
    return widths


def pad_array(x: np.ndarray, widths: list[tuple[int, int]], mode: str, value: Any) -> np.ndarray:
    """``x`` with its edges moved out by ``widths``, or in where they are negative (those are taken away first).

    ``mode`` is ``constant``, ``reflect``, ``edge`` or ``wrap``, with NumPy's meaning.
    """
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise ValueError(f"mode '{mode}' is not one of constant, reflect, edge, wrap")
    crop = tuple(
        slice(max(-before, 0), extent + min(after, 0)) for (before, after), extent in zip(widths, x.shape, strict=True)
    )
    margins = [(max(before, 0), max(after, 0)) for before, after in widths]
    options: dict[str, Any] = {"constant_values": value} if mode == "constant" else {"mode": mode}
    return np.pad(x[crop], margins, **options)


def _padded_type(x: TensorType, widths: list[tuple[int, int]]) -> TensorType:
    shape = tuple(extent + before + after for extent, (before, after) in zip(x.shape, widths, strict=True))
    if min(shape, default=0) < 0:
        raise ValueError(f"pads {widths} take away more than there is")
    return TensorType(x.dtype, shape)


@operator("Pad", until=10)
class PadAttributes:
    """Pads and value as attributes; modes constant, reflect and edge."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [_padded_type(x.type, pad_widths(len(x.shape), node.attr("pads", ())))]

    @staticmethod
    def reference(node: Node, x: np.ndarray) -> np.ndarray:
        widths = pad_widths(x.ndim, node.attr("pads", ()))
        return pad_array(x, widths, node.attr("mode", "constant"), node.attr("value", 0.0))


@operator("Pad", since=11, static=[1, 3])
class Pad:
    """Pads, value and (version 18) axes as inputs; mode wrap since version 19."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [_padded_type(x.type, pad_widths(len(x.shape), static_ints(node, 1), ints(node.constant(3))))]

    @staticmethod
    def reference(
        node: Node,
        x: np.ndarray,
        pads: np.ndarray,
        value: np.ndarray | None = None,
        axes: np.ndarray | None = None,
    ) -> np.ndarray:
        widths = pad_widths(x.ndim, ints(pads) or (), ints(axes))
        return pad_array(x, widths, node.attr("mode", "constant"), 0 if value is None else value.reshape(()))


def center_widths(node: Node, shape: Ints, target: Ints) -> list[tuple[int, int]]:
    """The pads that bring ``shape`` to ``target``, equal on both sides; an odd one falls at the end."""
    axes = node.attr("axes")
    padded_axes = tuple(range(len(shape))) if axes is None else normalize_axes(axes, len(shape))
    if len(target) != len(padded_axes):
        raise ValueError(f"{len(target)} extents for {len(padded_axes)} axes")
    widths = [(0, 0)] * len(shape)
    for axis, extent in zip(padded_axes, target, strict=True):
        change = extent - shape[axis]
        before = abs(change) // 2 * (1 if change > 0 else -1)
        widths[axis] = before, change - before
    return widths


@operator("CenterCropPad", since=18, static=[1])
class CenterCropPad:
    """x cropped or padded with zeros about its centre."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        x = node.input(0)
        return [_padded_type(x.type, center_widths(node, x.shape, static_ints(node, 1)))]

    @staticmethod
    def reference(node: Node, x: np.ndarray, shape: np.ndarray) -> np.ndarray:
        return pad_array(x, center_widths(node, x.shape, ints(shape) or ()), "constant", 0)
