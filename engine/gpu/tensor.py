"""Tensors as the GPU sees them: a run of memory, and the strides by which a logical shape lies in it.

The logical shape is always ONNX's. That a convolution's result is channels-last is a matter of its strides alone, so
transposes, slices, expansions and most reshapes are other views of the same memory, and a Concat is made by producers
that write into views of its output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import numpy as np

ITEM_BYTES = {"f32": 4, "f16": 2, "i32": 4, "u32": 4}
"""Bytes of one element of each storage type. Booleans are u32 0 and 1; narrow and 64-bit integers are widened or
checked to fit 32 bits."""

NUMPY_TYPES = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "u32": np.uint32}

Shape = tuple[int, ...]


@dataclass(eq=False, slots=True)
class Slot:
    """Memory for one tensor, or for all that a Concat joins; where it lies is for the plan to say.

    ``data`` is the content of a constant, in storage order and storage type.
    """

    nbytes: int
    label: str
    data: np.ndarray | None = None

    @property
    def is_constant(self) -> bool:
        return self.data is not None


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """A view: element ``i`` lies at ``offset + sum(i[a] * strides[a])`` elements of ``slot``."""

    slot: Slot
    dtype: str
    shape: Shape
    strides: Shape
    offset: int = 0

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)

    @property
    def rank(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Bytes of its elements, without what lies between them."""
        return self.size * ITEM_BYTES[self.dtype]

    def span(self) -> tuple[int, int]:
        """The elements of the slot that it touches: the first, and one past the last."""
        return span_of(self.offset, self.shape, self.strides)

    def is_dense(self, order: Sequence[int] | None = None) -> bool:
        """Whether it is one gapless run, its axes from outermost to innermost in ``order`` (default: as they are)."""
        expected = strides_of(self.shape, order)
        return all(
            extent == 1 or stride == wanted
            for extent, stride, wanted in zip(self.shape, self.strides, expected, strict=True)
        )

    def lies_in(self, order: Sequence[int]) -> bool:
        """Whether its axes lie from outermost to innermost in ``order``, gaps allowed."""
        strides = [self.strides[axis] for axis in order if self.shape[axis] > 1]
        return all(outer >= inner for outer, inner in pairwise(strides))

    def order(self) -> tuple[int, ...]:
        """The axes from the largest stride to the smallest; equal ones stay in place."""
        return tuple(sorted(range(self.rank), key=lambda axis: (-abs(self.strides[axis]), axis)))

    def transpose(self, perm: Sequence[int]) -> Tensor:
        """The view whose axis ``i`` is axis ``perm[i]`` of this one."""
        return replace(self, shape=tuple(self.shape[a] for a in perm), strides=tuple(self.strides[a] for a in perm))

    def slice(self, axis: int, start: int, count: int, step: int = 1) -> Tensor:
        """``count`` positions of ``axis`` from ``start`` on; ``step`` may be negative."""
        return replace(
            self,
            shape=_with(self.shape, axis, count),
            strides=_with(self.strides, axis, self.strides[axis] * step),
            offset=self.offset + start * self.strides[axis],
        )

    def broadcast_to(self, shape: Shape) -> Tensor:
        """The view of ``shape`` under NumPy broadcasting: stride 0 where an axis repeats."""
        lead = len(shape) - self.rank
        strides = [0] * lead + [
            0 if own == 1 and wanted != 1 else stride
            for own, wanted, stride in zip(self.shape, shape[lead:], self.strides, strict=True)
        ]
        return replace(self, shape=shape, strides=tuple(strides))

    def reshape(self, shape: Shape) -> Tensor | None:
        """The view of the same elements in the same order, or None where no strides express it."""
        strides = _reshaped_strides(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=shape, strides=strides)


def _with(items: Shape, axis: int, item: int) -> Shape:
    return (*items[:axis], item, *items[axis + 1 :])


def strides_of(shape: Shape, order: Sequence[int] | None = None) -> Shape:
    """The strides of a gapless tensor whose axes lie from outermost to innermost in ``order``."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(range(len(shape)) if order is None else list(order)):
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)


def channels_last(rank: int) -> tuple[int, ...]:
    """The order of ``[N, C, *spatial]`` with the channels innermost; as it is below three axes."""
    return tuple(range(rank)) if rank < 3 else (0, *range(2, rank), 1)


def span_of(offset: int, shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """The first element that a view touches, and one past the last; empty views touch none."""
    if 0 in shape:
        return offset, offset
    low = offset + sum((extent - 1) * min(stride, 0) for extent, stride in zip(shape, strides, strict=True))
    high = offset + sum((extent - 1) * max(stride, 0) for extent, stride in zip(shape, strides, strict=True))
    return low, high + 1


def _reshaped_strides(old: Shape, strides: Shape, new: Shape) -> Shape | None:
    """NumPy's rule: runs of old axes that lie one in the other regroup into runs of new ones."""
    axes = [(extent, stride) for extent, stride in zip(old, strides, strict=True) if extent != 1]
    if 0 in old:
        return strides_of(new)
    result: list[int] = []
    at = 0
    position = 0
    while position < len(new):
        if new[position] == 1:
            result.append(0)
            position += 1
            continue
        # the shortest runs on both sides with the same number of elements
        count_old, count_new, first_old, first_new = 1, 1, at, position
        while count_old != count_new or count_new == 1:
            if count_new <= count_old and position < len(new):
                count_new *= new[position]
                position += 1
            elif at < len(axes):
                count_old *= axes[at][0]
                at += 1
            else:
                return None
        run = axes[first_old:at]
        for (_, outer), (extent, inner) in pairwise(run):
            if outer != extent * inner:
                return None
        step = run[-1][1]
        inner_first: list[int] = []
        for extent in reversed(new[first_new:position]):
            inner_first.append(step)
            step *= extent
        result += inner_first[::-1]
    return tuple(result)
