"""Whether two views of a slot may share elements."""

from __future__ import annotations

from math import gcd

from engine.gpu.program.tensor import Tensor


def may_overlap(a: Tensor, b: Tensor) -> bool:
    """False only where no element of ``a`` is one of ``b``: other slots, other spans, or other channels of a pixel."""
    if a.slot is not b.slot or not a.size or not b.size:
        return False
    (begin_a, end_a), (begin_b, end_b) = a.span(), b.span()
    if end_a <= begin_b or end_b <= begin_a:
        return False
    period = gcd(*(stride for tensor in (a, b) for stride in _outer_strides(tensor)))
    if not period:
        return True
    first_a, first_b = begin_a % period, begin_b % period
    last_a, last_b = first_a + _run(a), first_b + _run(b)
    inside = last_a <= period and last_b <= period
    return not (inside and (last_a <= first_b or last_b <= first_a))


def _outer_strides(tensor: Tensor) -> list[int]:
    return [
        stride for extent, stride in zip(tensor.shape, tensor.strides, strict=True) if extent > 1 and abs(stride) != 1
    ]


def _run(tensor: Tensor) -> int:
    """Elements that lie side by side along the axes of stride 1."""
    extents = zip(tensor.shape, tensor.strides, strict=True)
    return 1 + sum(extent - 1 for extent, stride in extents if extent > 1 and abs(stride) == 1)
