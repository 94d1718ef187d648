"""Every form of doing nothing goes; what only looks like it stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from engine.graph.passes.drop_identities import drop_identities
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

SHAPE = [2, 3, 4, 4]
Constants = dict[str, Any]


def between(middle: onnx.NodeProto, constants: Constants | None = None, **options: Any) -> onnx.ModelProto:
    """x → Relu → ``middle`` (a to b) → Neg → y."""
    return model([node("Relu", "x", "a"), middle, node("Neg", "b", "y")], {"x": SHAPE}, "y", constants, **options)


IDENTITIES: list[tuple[onnx.NodeProto, Constants]] = [
    (node("Identity", "a", "b"), {}),
    (node("Dropout", "a", "b"), {}),
    (node("Cast", "a", "b", to=TensorProto.FLOAT), {}),
    (node("CastLike", "a w", "b"), {"w": np.ones(1, np.float32)}),
    (node("Reshape", "a w", "b"), {"w": np.array([0, 3, 4, -1])}),
    (node("Expand", "a w", "b"), {"w": np.array([3, 1, 1])}),
    (node("Tile", "a w", "b"), {"w": np.array([1, 1, 1, 1])}),
    (node("Concat", "a", "b", axis=1), {}),
    (node("Sum", "a", "b"), {}),
    (node("Max", "a", "b"), {}),
    (node("Split", "a w", "b", axis=1), {"w": np.array([3])}),
    (node("Pad", "a w", "b"), {"w": np.zeros(8, np.int64)}),
    (node("Slice", "a w v", "b"), {"w": np.zeros(1, np.int64), "v": np.array([99])}),
    (node("Slice", "a w v z o", "b"), {"w": np.array([0]), "v": np.array([4]), "z": np.array([2]), "o": np.array([1])}),
    (node("Transpose", "a", "b", perm=[0, 1, 2, 3]), {}),
    (node("Clip", "a", "b"), {}),
    (node("Resize", "a - w", "b"), {"w": np.ones(4, np.float32)}),
    (node("Resize", "a - - w", "b", mode="linear"), {"w": np.array(SHAPE)}),
]


@pytest.mark.parametrize(("middle", "constants"), IDENTITIES, ids=lambda value: getattr(value, "op_type", ""))
def test_fires(middle: onnx.NodeProto, constants: Constants) -> None:
    graph = rewrite(between(middle, constants), drop_identities, 1)
    assert [node.op for node in graph.nodes] == ["Relu", "Neg"]


OTHERS: list[tuple[onnx.NodeProto, Constants]] = [
    (node("Cast", "a", "b", to=TensorProto.DOUBLE), {}),
    (node("Reshape", "a w", "b"), {"w": np.array([2, 3, 16])}),
    (node("Expand", "a w", "b"), {"w": np.array([1, 2, 1, 1, 1])}),
    (node("Concat", "a a", "b", axis=1), {}),
    (node("Sum", "a a", "b"), {}),
    (node("Split", "a", "b c", axis=0), {}),
    # the same shape, other contents
    (node("Pad", "a w", "b"), {"w": np.array([0, 0, 1, 0, 0, 0, -1, 0])}),
    (
        node("Slice", "a w v z o", "b"),
        {"w": np.array([3]), "v": np.array([-99]), "z": np.array([2]), "o": np.array([-1])},
    ),
    (node("Transpose", "a", "b", perm=[0, 1, 3, 2]), {}),
    (node("Clip", "a - w", "b"), {"w": np.array(0.5, np.float32)}),
    (node("Max", "a w", "b"), {"w": np.array(0.5, np.float32)}),
    (node("Relu", "a", "b"), {}),
    (
        node("Resize", "a w v", "b", coordinate_transformation_mode="tf_crop_and_resize"),
        {"w": np.array([0, 0, 0.25, 0, 1, 1, 1, 1], np.float32), "v": np.ones(4, np.float32)},
    ),
]


@pytest.mark.parametrize(("middle", "constants"), OTHERS, ids=lambda value: getattr(value, "op_type", ""))
def test_does_not_fire(middle: onnx.NodeProto, constants: Constants) -> None:
    rewrite(between(middle, constants), drop_identities, 0)


def test_attribute_forms_of_older_versions() -> None:
    rewrite(between(node("Pad", "a", "b", pads=[0] * 8), opset=10), drop_identities, 1)
    rewrite(between(node("Pad", "a", "b", pads=[0, 0, 1, 0, 0, 0, -1, 0]), opset=10), drop_identities, 0)
    rewrite(between(node("Clip", "a", "b", max=0.5), opset=10), drop_identities, 0)
    rewrite(between(node("Slice", "a", "b", starts=[0], ends=[9]), opset=9), drop_identities, 1)
    rewrite(between(node("Upsample", "a w", "b"), {"w": np.ones(4, np.float32)}, opset=9), drop_identities, 1)


def test_mask_of_a_dropout_is_wanted() -> None:
    proto = model([node("Dropout", "x", "y mask")], {"x": [2]}, "y mask")
    rewrite(proto, drop_identities, 0)


def test_chain_from_an_input_to_an_output() -> None:
    proto = model([node("Identity", "x", "a"), node("Identity", "a", "b"), node("Identity", "b", "y")], {"x": [2]}, "y")
    graph = rewrite(proto, drop_identities, 3)
    assert graph.outputs == graph.inputs


def test_every_reader_is_redirected() -> None:
    proto = model(
        [node("Relu", "x", "r"), node("Identity", "r", "i"), node("Add", "i r", "s"), node("Mul", "i i", "m")],
        {"x": [3]},
        "s m i",
    )
    rewrite(proto, drop_identities, 1)
