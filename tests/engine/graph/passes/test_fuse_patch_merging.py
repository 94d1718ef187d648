"""The transposition equals the slices and the join that it replaces; and other joins stay as they are."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from engine.graph.passes.fuse_patch_merging import fuse_patch_merging
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

COLUMNS_FIRST = [(0, 0), (1, 0), (0, 1), (1, 1)]
"""Where the parts of a join begin on the two axes, as Swin's patch merging has them."""


def merging(
    starts: Sequence[tuple[int, int]] = COLUMNS_FIRST,
    *,
    side: int = 2,
    shape: Sequence[int] = (2, 4, 6, 3),
    axis: int = -1,
    outputs: str = "y",
) -> onnx.ModelProto:
    """Tokens x [N, H * W, C], cut by slices of every ``side``-th row and column, joined, and read by a Relu."""
    images, height, width, channels = shape
    constants = {"dims": np.array(shape), "step": np.array([side]), "end": np.array([1 << 30])}
    constants |= {f"start{start}": np.array([start]) for start in range(side)}
    constants |= {"rows": np.array([1]), "columns": np.array([2])}
    nodes = [node("Reshape", "x dims", "map")]
    for index, (row, column) in enumerate(starts):
        nodes.append(node("Slice", f"map start{row} end rows step", f"r{index}"))
        nodes.append(node("Slice", f"r{index} start{column} end columns step", f"p{index}"))
    parts = " ".join(f"p{index}" for index in range(len(starts)))
    nodes += [node("Concat", parts, "join", axis=axis), node("Relu", "join", "y")]
    return model(nodes, {"x": [images, height * width, channels]}, outputs, constants)


@pytest.mark.parametrize("starts", [COLUMNS_FIRST, [(0, 0), (0, 1), (1, 0), (1, 1)]])
def test_both_orders(starts: list[tuple[int, int]]) -> None:
    graph = rewrite(merging(starts), fuse_patch_merging, 1)
    assert [each.op for each in graph.nodes] == ["Reshape", "Transpose", "Reshape", "Relu"]


def test_larger_squares() -> None:
    starts = [(row, column) for column in range(3) for row in range(3)]
    rewrite(merging(starts, side=3, shape=(1, 6, 9, 2)), fuse_patch_merging, 1)


@pytest.mark.parametrize(
    "proto",
    [
        merging([(0, 0), (1, 1), (0, 1), (1, 0)]),
        merging([(0, 0), (1, 0), (0, 1), (0, 1)]),
        merging([(0, 0), (1, 0)]),
        merging(axis=1),
        merging(COLUMNS_FIRST * 4, shape=(1, 4, 4, 1)),
    ],
    ids=["another order", "a token twice", "two parts", "rows", "sixteen parts"],
)
def test_stays(proto: onnx.ModelProto) -> None:
    rewrite(proto, fuse_patch_merging, 0)
