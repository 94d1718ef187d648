"""The copies of Transpose, Pad, Slice, Split, Expand and Gather against the reference, whole and finely cut."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import numpy as np
import pytest

from engine.cpu import strided_copy
from engine.cpu.lower import lower
from tests.engine.cpu.kernels import compare
from tests.engine.models import load_graph, model, node


@pytest.mark.parametrize("perm", list(permutations(range(4)))[::2], ids=str)
@pytest.mark.parametrize("dtype", [np.float32, np.uint8])
def test_transpose(perm: tuple[int, ...], dtype: Any) -> None:
    proto = model([node("Transpose", "x", "y", perm=perm)], {"x": (dtype, [5, 7, 9, 11])}, "y")
    compare(proto, kernel="StridedCopyKernel")


@pytest.mark.parametrize(
    ("shape", "perm"),
    [
        ([1, 96, 4096], (0, 2, 1)),
        ([2, 9, 64, 64], (0, 2, 3, 1)),
        ([1, 4096, 96], (0, 2, 1)),
        ([1, 3, 1024], (0, 2, 1)),
        ([1, 200, 1024], (0, 2, 1)),
        ([3, 7, 5, 7, 8], (0, 2, 1, 3, 4)),
        ([4, 1024], (1, 0)),
        ([5], (0,)),
        ([0, 3], (1, 0)),
    ],
    ids=str,
)
def test_transpose_of_many_elements(shape: list[int], perm: tuple[int, ...]) -> None:
    compare(model([node("Transpose", "x", "y", perm=perm)], {"x": shape}, "y"), kernel="StridedCopyKernel")


def test_lines_that_lie_pages_apart_go_through_scratch() -> None:
    def scratch(shape: list[int]) -> int:
        graph = load_graph(model([node("Transpose", "x", "y", perm=[0, 2, 1])], {"x": shape}, "y"))
        return lower(graph.nodes[0]).scratch

    assert scratch([1, 96, 4096]) == strided_copy.STRIP_BYTES // 4 + strided_copy.SKEW * 96
    assert scratch([1, 96, 4095]) == scratch([1, 4096, 96]) == scratch([1, 3, 4096]) == scratch([1, 999, 4096]) == 0


@pytest.mark.parametrize("pads", [[0, 1, 2, 3, 4, 5], [0, 0, -1, 0, 2, 3], [1, -2, 0, -1, 0, -3], [0] * 6], ids=str)
@pytest.mark.parametrize("value", [None, 1.5])
def test_pad(pads: list[int], value: float | None) -> None:
    constants: dict[str, Any] = {"p": np.array(pads)}
    if value is not None:
        constants["v"] = np.array(value, np.float32)
    names = "x p" if value is None else "x p v"
    # another node keeps a Pad of nothing from being dropped as an identity before it comes to its kernel
    proto = model([node("Pad", names, "y"), node("Neg", "y", "z")], {"x": [6, 7, 8]}, "y z", constants)
    compare(proto, kernel="StridedCopyKernel" if any(pads) else None)


def test_pad_of_other_forms() -> None:
    proto = model([node("Pad", "x", "y", pads=[0, 1, 2, 0], value=3.0)], {"x": [5, 6]}, "y", opset=9)
    compare(proto, kernel="StridedCopyKernel")
    constants = {"p": np.array([2, 1]), "a": np.array([-1])}
    compare(
        model([node("Pad", "x p v a", "y")], {"x": [5, 6], "v": []}, "y", constants, opset=18),
        kernel="StridedCopyKernel",
    )
    compare(
        model([node("Pad", "x p", "y")], {"x": (np.int64, [5])}, "y", {"p": np.array([2, 1])}),
        kernel="StridedCopyKernel",
    )
    constants = {"p": np.array([0, 1, 2, 1])}
    compare(model([node("Pad", "x p", "y", mode="reflect")], {"x": [5, 6]}, "y", constants), kernel="ReferenceKernel")


@pytest.mark.parametrize(
    ("starts", "ends", "axes", "steps"),
    [
        ([1], [2**63 - 1], [1], [1]),
        ([-6], [2**63 - 1], [2], [1]),
        ([0, 1], [90, 90], [1, 2], [2, 3]),
        ([-1, -1], [-99, 2], [0, 2], [-1, -2]),
        ([3], [3], [0], [1]),
    ],
    ids=str,
)
def test_slice(starts: list[int], ends: list[int], axes: list[int], steps: list[int]) -> None:
    constants = {"s": np.array(starts), "e": np.array(ends), "a": np.array(axes), "t": np.array(steps)}
    compare(model([node("Slice", "x s e a t", "y")], {"x": [5, 70, 9]}, "y", constants), kernel="StridedCopyKernel")


def test_slice_by_attributes() -> None:
    proto = model([node("Slice", "x", "y", starts=[1, 0], ends=[9, -1], axes=[2, 0])], {"x": [5, 6, 9]}, "y", opset=9)
    compare(proto, kernel="StridedCopyKernel")


@pytest.mark.parametrize("axis", [0, 1, -1])
def test_split(axis: int) -> None:
    constants = {"s": np.array([1, 0, 4, 2])}
    proto = model([node("Split", "x s", "a b c d", axis=axis)], {"x": [7, 7, 7]}, "a b c d", constants)
    compare(proto, kernel="StridedCopyKernel")
    proto = model([node("Split", "x", "a b c", axis=axis, num_outputs=3)], {"x": [7, 7, 7]}, "a c", opset=18)
    compare(proto, kernel="StridedCopyKernel")


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("index", [0, 2, -1])
def test_gather_of_one_slice(axis: int, index: int) -> None:
    proto = model([node("Gather", "x i", "y", axis=axis)], {"x": [3, 40, 5]}, "y", {"i": np.array(index)})
    compare(proto, kernel="StridedCopyKernel")


def test_other_gathers_run_by_the_reference() -> None:
    proto = model([node("Gather", "x i", "y")], {"x": [3, 4]}, "y", {"i": np.array([2, 0])})
    compare(proto, kernel="ReferenceKernel")
    compare(model([node("Gather", "x i", "y")], {"x": [10, 4], "i": (np.int64, [])}, "y"), kernel="ReferenceKernel")


@pytest.mark.parametrize(("shape", "target"), [([3, 1], [2, 3, 600]), ([7, 1, 5], [1, 40, 1]), ([], [4, 4])], ids=str)
def test_expand(shape: list[int], target: list[int]) -> None:
    proto = model([node("Expand", "x s", "y")], {"x": shape}, "y", {"s": np.array(target)})
    compare(proto, kernel="StridedCopyKernel")
