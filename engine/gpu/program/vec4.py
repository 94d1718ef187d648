"""Tensors as vec4 items: four channels that are adjacent and aligned in memory are one item of the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from engine.gpu.program.dispatch import Operand, Span
from engine.gpu.program.tensor import Tensor

CHANNELS = 1
"""The axis of ``[N, C, *spatial]`` of which a vec4 item holds four elements."""


def vec4_width(tensors: Sequence[Tensor]) -> int:
    """Channels of an item: 4 where every tensor consists of vec4 items, else 1."""
    return 4 if all(map(_has_vec4_channels, tensors)) else 1


def _has_vec4_channels(tensor: Tensor) -> bool:
    if tensor.rank < 3 or tensor.shape[CHANNELS] % 4 or tensor.strides[CHANNELS] != 1 or tensor.offset % 4:
        return False
    others = zip(tensor.shape, tensor.strides, strict=True)
    return all(stride % 4 == 0 for axis, (extent, stride) in enumerate(others) if extent > 1 and axis != CHANNELS)


def vec4_items(tensor: Tensor, width: int) -> Tensor:
    """``tensor`` as a tensor of items of ``width`` channels: shape, strides and offset count items."""
    if width == 1:
        return tensor
    strides = [
        stride // width if extent > 1 else 0 for extent, stride in zip(tensor.shape, tensor.strides, strict=True)
    ]
    shape = list(tensor.shape)
    shape[CHANNELS] //= width
    strides[CHANNELS] = 1
    return replace(tensor, shape=tuple(shape), strides=tuple(strides), offset=tensor.offset // width)


def vec4_operand(name: str, tensor: Tensor, width: int, span: Span | None) -> Operand:
    """The operand of ``tensor`` in items of ``width``; ``span`` counts items."""
    if span is None or width == 1:
        return Operand(name, tensor, span, width)
    item_span = span

    def element_span(first: int, last: int) -> tuple[int, int]:
        begin, end = item_span(first, last)
        return begin * width, end * width

    return Operand(name, tensor, element_span, width)


def compute_value(item: str, dtype: str) -> str:
    """``item`` of an operand of that storage type in the type that kernels compute in: float16 widens to f32."""
    return f"F({item})" if dtype == "f16" else item


def storage_value(value: str, dtype: str, width: int) -> str:
    """``value`` as an item of an operand of that storage type."""
    if dtype != "f16":
        return value
    return f"f16({value})" if width == 1 else f"vec{width}<f16>({value})"


ALIASES = {"f32": "F", "f16": "F", "i32": "I", "u32": "U"}
"""The alias of parts/types.wgsl in which kernels compute with each storage type."""
