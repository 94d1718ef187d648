"""A factor of a deformable convolution's mask becomes one of its weights."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.graph.passes.fold_mask_scale import fold_mask_scale
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

TWO = np.array(2, np.float32)


def modulated(scale: onnx.NodeProto, *extra: onnx.NodeProto, outputs: str = "y", **constants: Any) -> onnx.ModelProto:
    """y = DeformConv(x, w, offset, mask), where ``scale`` makes the mask of m."""
    w = np.random.default_rng(0).standard_normal((4, 3, 3, 3)).astype(np.float32)
    deform = node("DeformConv", "x w offset - mask", "y", pads=[1] * 4)
    inputs = {"x": [1, 3, 5, 6], "offset": [1, 18, 5, 6], "m": [1, 9, 5, 6]}
    return model([scale, deform, *extra], inputs, outputs, {"w": w, **constants}, opset=19)


@pytest.mark.parametrize("operands", ["m c", "c m"])
@pytest.mark.parametrize("factor", [TWO, np.array([[0.5]], np.float32)])
def test_a_power_of_two_is_folded_exactly(operands: str, factor: np.ndarray) -> None:
    graph = rewrite(modulated(node("Mul", operands, "mask"), c=factor), fold_mask_scale, 1)
    assert [each.op for each in graph.nodes] == ["DeformConv"]


def test_another_number() -> None:
    rewrite(
        modulated(node("Mul", "m c", "mask"), c=np.array(1.7, np.float32)), fold_mask_scale, 1, rtol=1e-6, atol=1e-5
    )


@pytest.mark.parametrize(
    "proto",
    [
        modulated(node("Mul", "m c", "mask"), c=np.full((1, 9, 1, 1), 2, np.float32)),
        modulated(node("Mul", "m m", "mask")),
        modulated(node("Mul", "m c", "mask"), c=np.array(np.inf, np.float32)),
        modulated(node("Add", "m c", "mask"), c=TWO),
        modulated(node("Mul", "m c", "mask"), node("Relu", "mask", "z"), outputs="y z", c=TWO),
        modulated(node("Mul", "m c", "mask"), outputs="y mask", c=TWO),
        modulated(node("Mul", "m c", "mask"), c=TWO, w=np.full((4, 3, 3, 3), 1e20, np.float32)),
    ],
    ids=["by channel", "a square", "infinite", "a sum", "another reader", "an output", "extreme weights"],
)
def test_stays(proto: onnx.ModelProto) -> None:
    rewrite(proto, fold_mask_scale, 0)
