"""What the NumPy executor runs: one kernel for each node, made at load, writing into memory that the plan chose."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from engine.cpu.threads import Do, Pool, Range
from engine.graph.ir import Node
from engine.ops.registry import evaluate

Tensors = Sequence[np.ndarray | None]

Observer = Callable[[str, str, float], None]
"""Called with the operator, the node's name and the seconds it took."""


class Kernel(Protocol):
    """One node's computation over fixed shapes.

    ``scratch`` is the float32 elements each worker needs, ``in_place`` whether the first output may lie in the memory
    of an input of the same type, and ``prepacked`` the constant inputs that the kernel holds in a form of its own.
    ``static`` says that what ``run`` hands to the pool is all that it does, and may be done again for a later run.
    ``nanoseconds`` is what all of it takes about, for all images, on one core; 0 where that is not known.
    """

    scratch: int
    in_place: bool
    static: bool
    nanoseconds: float
    prepacked: tuple[int, ...]

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        """Compute every output that is not None, in place; the inputs are only read.

        That of a static kernel is called once, before its inputs are computed, and its parts are computed in each run
        of the model. Outside of the parts it must read no number of an input and copy none: a reshape that may copy
        goes through ``Pool.reshaped``. With ``each_by_calls`` the same holds between the calls of a part.
        """


class KernelBase:
    """Defaults of a kernel that needs no scratch, does not work in place and reads all its inputs."""

    scratch = 0
    in_place = False
    static = False
    nanoseconds = 0.0
    prepacked: tuple[int, ...] = ()


class ReferenceKernel(KernelBase):
    """The operator's reference, for whatever has no faster algorithm."""

    static = True

    def __init__(self, node: Node) -> None:
        self.node = node

    def run(self, inputs: Tensors, outputs: Tensors, pool: Pool) -> None:
        def whole(_: int, arrays: Tensors) -> None:
            for target, array in zip(outputs, evaluate(self.node, arrays), strict=False):
                if target is not None:
                    np.copyto(target, array)

        pool.each(whole, [inputs])


def present(tensors: Tensors, index: int) -> np.ndarray:
    """The tensor at ``index``, which the operator requires and the loader has checked."""
    tensor = tensors[index]
    assert tensor is not None
    return tensor


class Strip(Protocol):
    """Computes lines of one image."""

    def __call__(
        self, do: Do, x: np.ndarray, y: np.ndarray, given: Sequence[np.ndarray], *, strip: Range, scratch: np.ndarray
    ) -> None:
        """From ``x`` ``[C, ...]`` into ``y`` ``[M, ...]``, by calls alone; ``given`` is what the epilogue reads."""


def run_strips(
    compute: Strip, x: np.ndarray, y: np.ndarray, *, given: Sequence[np.ndarray], strips: Sequence[Range], pool: Pool
) -> None:
    """Compute each strip of each image of ``x``, over the pool's threads."""

    def part(do: Do, worker: int, item: tuple[int, Range]) -> None:
        n, strip = item
        compute(do, x[n], y[n], [array[n] for array in given], strip=strip, scratch=pool.scratch(worker))

    pool.each_by_calls(part, [(n, strip) for n in range(len(x)) for strip in strips])
