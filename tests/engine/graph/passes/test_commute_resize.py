"""Convolving first and enlarging then gives the same, whatever the resampling; and which pairs stay as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.passes.commute_resize import commute_resize
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

TOLERANCE = {"rtol": 2e-6, "atol": 2e-6}
"""Measured on these shapes: 7e-7, of results up to 5."""

SIZES = np.array([2, 6, 9, 8])


def resize_conv(
    resize: Sequence[onnx.NodeProto] = (node("Resize", "x - - sizes", "r", mode="linear"),),
    *,
    outputs: int = 3,
    bias: bool = True,
    model_outputs: str = "y",
    extra: Sequence[onnx.NodeProto] = (),
    kernel: tuple[int, int] = (1, 1),
    inputs: dict[str, list[int]] | None = None,
    opset: int = 18,
    **constants: Any,
) -> onnx.ModelProto:
    """x [2, 6, 5, 4] → Resize → r → Conv → y; further names give constants."""
    random = np.random.default_rng(outputs)
    w, b = random.standard_normal((outputs, 6, *kernel)) / 2, random.standard_normal(outputs)
    arrays = {"w": w.astype(np.float32), "b": b.astype(np.float32), "sizes": SIZES, **constants}
    arrays = {name: array for name, array in arrays.items() if name not in (inputs or {})}
    nodes = [*resize, node("Conv", "r w b" if bias else "r w", "y"), *extra]
    return model(nodes, {"x": [2, 6, 5, 4], **(inputs or {})}, model_outputs, arrays, opset=opset)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("coordinates", ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"])
@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_commutes(mode: str, coordinates: str, bias: bool) -> None:
    resize = node("Resize", "x - - sizes", "r", mode=mode, coordinate_transformation_mode=coordinates)
    graph = rewrite(resize_conv([resize], bias=bias), commute_resize, 1, **TOLERANCE)
    assert [node.op for node in graph.nodes] == ["Conv", "Resize"]
    assert graph.nodes[0].output.shape == (2, 3, 5, 4)


SCALES = np.array([1, 1, 2.5, 3], np.float32)


@pytest.mark.parametrize(
    "proto",
    [
        resize_conv([node("Resize", "x - scales", "r", mode="linear")], scales=SCALES),
        resize_conv([node("Resize", "x scales", "r", mode="linear")], scales=SCALES, opset=10),
        resize_conv([node("Upsample", "x scales", "r", mode="linear")], scales=SCALES, opset=9),
        resize_conv([node("Resize", "x - - sizes", "r", axes=[3, 2])], sizes=np.array([7, 9])),
        resize_conv([node("Resize", "x - - sizes", "r", axes=[3, 1])], sizes=np.array([7, 6])),
        resize_conv([node("Resize", "x empty empty sizes", "r", mode="linear")], empty=np.empty(0, np.float32)),
        resize_conv([node("Resize", "x - scales none", "r")], scales=SCALES, none=np.empty(0, np.int64)),
    ],
    ids=["scales", "version 10", "Upsample", "spatial axes", "axes with channels", "empty inputs", "empty sizes"],
)
def test_the_ways_to_give_a_size(proto: onnx.ModelProto) -> None:
    rewrite(proto, commute_resize, 1, **TOLERANCE)


def test_passes_through_two() -> None:
    twice = [
        node("Resize", "x - - between", "q", mode="linear"),
        node("Resize", "q - - sizes", "r", mode="nearest"),
    ]
    graph = rewrite(resize_conv(twice, between=np.array([2, 6, 5, 8])), commute_resize, 1, **TOLERANCE)
    assert [node.op for node in graph.nodes] == ["Conv", "Resize", "Resize"]


def test_two_convolutions_in_turn() -> None:
    v = np.random.default_rng(7).standard_normal((2, 3, 1, 1)).astype(np.float32)
    graph = rewrite(
        resize_conv(extra=[node("Conv", "y v", "z")], model_outputs="z", v=v), commute_resize, 2, **TOLERANCE
    )
    assert [node.op for node in graph.nodes] == ["Conv", "Conv", "Resize"]


@pytest.mark.parametrize(
    "proto",
    [
        resize_conv(extra=[node("Relu", "r", "z")], model_outputs="y z"),
        resize_conv(model_outputs="y r"),
        resize_conv(outputs=6),
        resize_conv(kernel=(3, 3)),
        resize_conv(inputs={"w": [3, 6, 1, 1]}),
        resize_conv(sizes=np.array([2, 6, 3, 2])),
        resize_conv(sizes=np.array([2, 6, 9, 2])),
        resize_conv([node("Resize", "x - - sizes", "r")], inputs={"x": [2, 3, 5, 4]}),
        resize_conv([node("Resize", "x - - sizes", "r")], inputs={"x": [1, 6, 5, 4]}),
        resize_conv(
            [node("Resize", "x - - s", "r", axes=[2, 3], keep_aspect_ratio_policy="not_larger")], s=np.array([9, 8])
        ),
        resize_conv(
            [node("Resize", "x roi - sizes", "r", mode="linear", coordinate_transformation_mode="tf_crop_and_resize")],
            roi=np.array([0, 0, 0, 0, 1, 1, 2, 1], np.float32),
        ),
    ],
    ids=[
        "other reader", "graph output", "as many outputs", "kernel", "weights at run time", "shrinks",
        "shrinks one axis", "channels resized", "images resized", "aspect ratio", "extrapolates",
    ],
)  # fmt: skip
def test_does_not_commute(proto: onnx.ModelProto) -> None:
    rewrite(proto, commute_resize, 0)
