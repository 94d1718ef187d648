"""Tensors on the GPU: a slot of memory, and the strides by which a logical shape lies in it.

The logical shape is always ONNX's. Strides alone make the result of a convolution channels-last. Transposes, slices,
expansions and most reshapes are therefore views of the same memory, and the producers of a Concat's inputs write into
views of its output.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from math import prod

import numpy as np

from engine.errors import InputError

ITEM_BYTES = {"f32": 4, "f16": 2, "i32": 4, "u32": 4, "u8": 1}
"""Bytes of one element of each storage type. Booleans are u32 0 and 1; narrow and 64-bit integers are widened or
checked to fit 32 bits. "u8" is of uint8 that kernels read and write four at a time, as a word; no input, output or
constant is stored so."""

NUMPY_TYPES = {"f32": np.float32, "f16": np.float16, "i32": np.int32, "u32": np.uint32}

Shape = tuple[int, ...]


def storage_array(array: np.ndarray, dtype: str, label: str) -> np.ndarray:
    """``array`` in a storage type. Raises InputError, which names ``label``, where an integer does not fit 32 bits."""
    if is_wide(array.dtype) and array.size:
        limits = np.iinfo(np.int32 if dtype == "i32" else np.uint32)
        if array.min() < limits.min or array.max() > limits.max:
            raise InputError(
                f"{label} holds an integer outside of 32 bits, which backend 'webgpu' computes in; use 'numpy'"
            )
    with np.errstate(over="ignore"):
        return array.astype(NUMPY_TYPES[dtype], copy=False)


def is_wide(dtype: np.dtype) -> bool:
    """Whether it is an integer type of 64 bits, whose values must be looked at before they are stored."""
    return dtype.itemsize == 8 and dtype.kind in "iu"


@dataclass(eq=False, slots=True)
class Slot:
    """Memory for one tensor, or for the output of a Concat with all its parts; the plan allocates it.

    ``content`` makes that of a constant, in storage order and storage type: a gapless array. It is called when the
    constant is uploaded or saved, and gives the same each time.
    """

    nbytes: int
    label: str
    content: Callable[[], np.ndarray] | None = None

    @property
    def is_constant(self) -> bool:
        return self.content is not None


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
        """Bytes of its elements, without gaps between them."""
        return self.size * ITEM_BYTES[self.dtype]

    def span(self) -> tuple[int, int]:
        """The half-open range of elements of the slot that it touches."""
        return span_of(self.offset, self.shape, self.strides)

    def is_dense(self, order: Sequence[int] | None = None) -> bool:
        """Whether it is one gapless run, its axes from outermost to innermost in ``order`` (default row-major)."""
        expected = strides_of(self.shape, order)
        return all(
            extent == 1 or stride == dense_stride
            for extent, stride, dense_stride in zip(self.shape, self.strides, expected, strict=True)
        )

    def has_order(self, order: Sequence[int]) -> bool:
        """Whether its axes lie from outermost to innermost in ``order``; gaps are allowed."""
        strides = [self.strides[axis] for axis in order if self.shape[axis] > 1]
        return all(outer >= inner for outer, inner in pairwise(strides))

    def order(self) -> tuple[int, ...]:
        """The axes from the largest stride to the smallest; axes of equal strides keep their order."""
        return tuple(sorted(range(self.rank), key=lambda axis: (-abs(self.strides[axis]), axis)))

    def transpose(self, perm: Sequence[int]) -> Tensor:
        """The view whose axis ``i`` is axis ``perm[i]`` of this one."""
        return replace(self, shape=tuple(self.shape[a] for a in perm), strides=tuple(self.strides[a] for a in perm))

    def slice(self, axis: int, start: int, count: int, step: int = 1) -> Tensor:
        """The view of ``count`` positions of ``axis`` from ``start`` on; ``step`` may be negative."""
        return replace(
            self,
            shape=_replace_item(self.shape, axis, count),
            strides=_replace_item(self.strides, axis, self.strides[axis] * step),
            offset=self.offset + start * self.strides[axis],
        )

    def broadcast_to(self, shape: Shape) -> Tensor:
        """The view of ``shape`` under NumPy broadcasting: stride 0 where an axis repeats."""
        lead = len(shape) - self.rank
        strides = [0] * lead + [
            0 if extent == 1 and target_extent != 1 else stride
            for extent, target_extent, stride in zip(self.shape, shape[lead:], self.strides, strict=True)
        ]
        return replace(self, shape=shape, strides=tuple(strides))

    def reshape(self, shape: Shape) -> Tensor | None:
        """The view of the same elements in the same order, or None where no strides express it."""
        strides = _reshaped_strides(self.shape, self.strides, shape)
        return None if strides is None else replace(self, shape=shape, strides=strides)

    def view(self, shape: Shape) -> Tensor:
        """``reshape`` where strides always express it: axes are split, or of extent 1 come and go, and none merge."""
        view = self.reshape(shape)
        assert view is not None
        return view


def _replace_item(items: Shape, axis: int, item: int) -> Shape:
    return (*items[:axis], item, *items[axis + 1 :])


def strides_of(shape: Shape, order: Sequence[int] | None = None) -> Shape:
    """The strides of a gapless tensor whose axes lie from outermost to innermost in ``order``."""
    strides, step = [0] * len(shape), 1
    for axis in reversed(range(len(shape)) if order is None else list(order)):
        strides[axis] = step
        step *= max(1, shape[axis])
    return tuple(strides)


def new_tensor(
    shape: Shape,
    dtype: str,
    label: str,
    *,
    order: Sequence[int] | None = None,
    content: Callable[[], np.ndarray] | None = None,
) -> Tensor:
    """A gapless tensor in a slot of its own, its axes from outermost to innermost in ``order`` (default row-major).

    The slot has whole words, and one at least: bindings and copies are counted in words.
    """
    nbytes = max(4, -(-prod(shape) * ITEM_BYTES[dtype] // 4) * 4)
    return Tensor(Slot(nbytes, label, content), dtype, shape, strides_of(shape, order))


def constant_tensor(compute: Callable[[], np.ndarray], label: str, dtype: str, shape: Shape) -> Tensor:
    """A gapless row-major tensor of what ``compute`` gives when it is uploaded, in the storage type ``dtype``."""

    def content() -> np.ndarray:
        return np.ascontiguousarray(storage_array(compute(), dtype, f"constant '{label}'"))

    return new_tensor(shape, dtype, label, content=content)


def channels_last(rank: int) -> tuple[int, ...]:
    """The order of the axes of ``[N, C, *spatial]`` with C innermost; row-major below three axes."""
    return tuple(range(rank)) if rank < 3 else (0, *range(2, rank), 1)


def span_of(offset: int, shape: Sequence[int], strides: Sequence[int]) -> tuple[int, int]:
    """The half-open range of elements that a view touches, which is empty where the view is."""
    if 0 in shape:
        return offset, offset
    begin = offset + sum((extent - 1) * min(stride, 0) for extent, stride in zip(shape, strides, strict=True))
    end = offset + sum((extent - 1) * max(stride, 0) for extent, stride in zip(shape, strides, strict=True))
    return begin, end + 1


def _reshaped_strides(old: Shape, strides: Shape, new: Shape) -> Shape | None:
    """The strides of ``new``, or None: as in NumPy, a run of nested old axes regroups into a run of new axes."""
    axes = [(extent, stride) for extent, stride in zip(old, strides, strict=True) if extent != 1]
    if 0 in old:
        return strides_of(new)
    result: list[int] = []
    old_axis = 0
    new_axis = 0
    while new_axis < len(new):
        if new[new_axis] == 1:
            result.append(0)
            new_axis += 1
            continue
        # the shortest runs on both sides with the same number of elements
        count_old, count_new, first_old, first_new = 1, 1, old_axis, new_axis
        while count_old != count_new or count_new == 1:
            if count_new <= count_old and new_axis < len(new):
                count_new *= new[new_axis]
                new_axis += 1
            elif old_axis < len(axes):
                count_old *= axes[old_axis][0]
                old_axis += 1
            else:
                return None
        run = axes[first_old:old_axis]
        for (_, outer), (extent, inner) in pairwise(run):
            if outer != extent * inner:
                return None
        step = run[-1][1]
        inner_first: list[int] = []
        for extent in reversed(new[first_new:new_axis]):
            inner_first.append(step)
            step *= extent
        result += inner_first[::-1]
    return tuple(result)
