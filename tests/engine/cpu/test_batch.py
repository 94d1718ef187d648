"""A batch whose parts run side by side: what is cut, what is not, and that nothing else changes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest

from engine.cpu.batch import part_of
from engine.cpu.executor import NumpyExecutor
from engine.cpu.row_normalization import SoftmaxKernel
from engine.errors import TooLargeError
from engine.graph.passes import optimize
from tests.engine.models import feeds, interpret, load_graph, model, node

F32 = np.float32
IMAGES = 4


def weights(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.3, shape).astype(F32)


def classifier() -> onnx.ModelProto:
    """Convolutions of every kind, squeeze and excitation, a residual, a pooling, a head of rows."""
    constants = {
        "stem": weights(8, 3, 3, 3),
        "b": weights(8),
        "depth": weights(8, 1, 5, 5),
        "few": weights(2, 8, 1, 1),
        "many": weights(8, 2, 1, 1),
        "square": weights(16, 8, 3, 3),
        "head": weights(48, 5),
        "c": weights(5),
        "flat": np.array([IMAGES, -1]),
        "sizes": np.array([IMAGES, 16, 3, 1]),
    }
    nodes = [
        node("Conv", "x stem b", "a", strides=[2, 2], pads=[1] * 4),
        *[node("HardSigmoid", "a", "h"), node("Mul", "a h", "a1")],
        node("Conv", "a1 depth", "d", group=8, pads=[2] * 4),
        *[node("GlobalAveragePool", "d", "g"), node("Conv", "g few", "s"), node("Relu", "s", "s1")],
        *[
            node("Conv", "s1 many", "s2"),
            node("Sigmoid", "s2", "s3"),
            node("Mul", "d s3", "d1"),
            node("Add", "d1 a", "e"),
        ],
        *[node("Conv", "e square", "f", pads=[1] * 4), node("MaxPool", "f", "m", kernel_shape=[2, 2], strides=[2, 2])],
        *[node("Resize", "m - - sizes", "n", mode="nearest"), node("Reshape", "n flat", "r")],
        *[node("MatMul", "r head", "t"), node("Add", "t c", "u"), node("Softmax", "u", "y")],
    ]
    return model(nodes, {"x": [IMAGES, 3, 22, 26]}, "y", constants)


@pytest.mark.parametrize(("threads", "lanes"), [(1, 1), (2, 2), (3, 1), (4, 4), (8, 1)])
def test_each_thread_computes_images_of_its_own(threads: int, lanes: int) -> None:
    graph = load_graph(classifier())
    plain = load_graph(classifier())
    optimize(graph)
    executor = NumpyExecutor(graph, threads)
    assert len(executor._lanes) == lanes
    for run in range(3):
        x = feeds(plain, run)
        (result,) = executor.run(x)
        np.testing.assert_allclose(result, *interpret(plain, x), rtol=0, atol=1e-5)
        np.testing.assert_array_equal(executor.run(x)[0], result)
        np.testing.assert_array_equal(executor.run(x, lambda *_: None)[0], result)
        assert len(executor.profile(x)) == len(executor._steps)
    executor.close()


def test_memory_is_that_of_the_batch() -> None:
    apart, together = (NumpyExecutor(load_graph(classifier()), threads) for threads in (2, 1))
    assert apart.activation_bytes < together.activation_bytes + 64 * 2 * len(apart._steps)
    apart.close()
    together.close()


CONSTANTS: dict[str, Any] = {
    "row": weights(1, 6, 1),
    "rows": weights(IMAGES, 6, 1),
    "six": weights(6),
    "w": weights(5, 3),
    "one": np.array([1]),
    "none": np.array([0]),
    "two": np.array([2]),
    "last": np.array([-1]),
    "merge": np.array([2, -1]),
    "split": np.array([IMAGES, 3, 2, 5]),
    "inside": np.array([0, 1, 0, 0, 0, 2]),
    "around": np.array([1, 0, 0, 0, 0, 0]),
    "on": np.array([1, 0, 0, -1, 0, 0]),
    "shift": np.array([0, 1, 0, -1]),
    "turned": np.array([1, 0]),
    "zero": np.zeros((), F32),
    "channel": weights(5),
    "axis": np.array(0),
    "w3": weights(IMAGES, 5, 3),
    "more": np.array([1.1, 1, 2], F32),
}

BY_IMAGE = [
    node("Add", "x row", "y"),
    node("PRelu", "x row", "y"),
    node("Reshape", "x split", "y"),
    node("Flatten", "x", "y"),
    node("Softmax", "x", "y", axis=-2),
    node("Concat", "x x", "y", axis=1),
    node("Transpose", "x", "y", perm=[0, 2, 1]),
    node("Slice", "x one two two", "y"),
    node("Pad", "x inside zero", "y"),
    node("ReduceMean", "x", "y", axes=[1]),
    node("ReduceSum", "x last", "y", keepdims=0),
    node("MatMul", "x w", "y"),
    node("Unsqueeze", "x one", "y"),
    node("InstanceNormalization", "x six six", "y"),
    node("BatchNormalization", "x six six six six", "y"),
]
"""Nodes of x ``[4, 6, 5]`` that compute each image by itself."""

NOT_BY_IMAGE = [
    node("Add", "x rows", "y"),
    node("Reshape", "x merge", "y"),
    node("Flatten", "x", "y", axis=2),
    node("Softmax", "x", "y", axis=0),
    node("Concat", "x x", "y", axis=0),
    node("Concat", "x rows", "y", axis=-1),
    node("Transpose", "x", "y", perm=[1, 0, 2]),
    node("Slice", "x one two none", "y"),
    node("Pad", "x around zero", "y"),
    node("Pad", "x on zero", "y"),
    node("Pad", "x shift zero turned", "y"),
    node("LayerNormalization", "x channel channel", "y", axis=0),
    node("ReduceMean", "x", "y", axes=[0]),
    node("ReduceSum", "x", "y"),
    node("ReduceMax", "x", "y", axes=[1, -3]),
    node("MatMul", "x w3", "y"),
    node("Unsqueeze", "x none", "y"),
    node("CumSum", "x axis", "y"),
    node("Resize", "x - more", "y"),
    node("MaxPool", "x", "y indices", kernel_shape=[2]),
]
"""Nodes that look at several images, or may; an index of MaxPool counts through all of them."""


def graph_of(member: onnx.NodeProto) -> onnx.ModelProto:
    names = set(member.input)
    constants = {name: array for name, array in CONSTANTS.items() if name in names}
    if member.op_type == "BatchNormalization":
        constants["six"] = np.abs(constants["six"])
    opset = 18 if "shift" in names else 17  # the first in which a Pad has axes
    return model([member], {"x": [IMAGES, 6, 5]}, " ".join(member.output), constants, opset=opset)


@pytest.mark.parametrize("member", BY_IMAGE, ids=lambda member: member.op_type)
def test_nodes_that_compute_each_image_by_itself(member: onnx.NodeProto) -> None:
    graph = load_graph(graph_of(member))
    executor = NumpyExecutor(graph, 2)
    assert len(executor._lanes) == 2
    for run in range(2):
        x = feeds(graph, run)
        np.testing.assert_allclose(executor.run(x)[0], interpret(graph, x)[0], rtol=0, atol=1e-5)
    executor.close()


@pytest.mark.parametrize("member", NOT_BY_IMAGE, ids=lambda member: member.op_type)
def test_nodes_that_may_look_at_several_images(member: onnx.NodeProto) -> None:
    assert part_of(load_graph(graph_of(member)), 2) is None


@pytest.mark.parametrize(
    ("inputs", "outputs"), [({"x": [3, 6, 5]}, "y"), ({"x": [1, 6, 5]}, "y"), ({"x": [4, 6, 5], "z": [2, 6, 5]}, "y v")]
)
def test_batches_that_are_not_cut(inputs: dict[str, Any], outputs: str) -> None:
    nodes = [node("Relu", name, output) for name, output in zip(inputs, outputs.split(), strict=True)]
    assert part_of(load_graph(model(nodes, inputs, outputs)), 2) is None


def fail(error: Exception) -> Callable[..., Any]:
    def failing(*_: object, **__: object) -> Any:
        raise error

    return failing


@pytest.mark.parametrize("where", ["as it is lowered", "in its kernel", "in its reference"])
def test_errors_name_the_shapes_of_the_whole_batch(monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    """A user knows of no parts. Memory that runs out is no fault of the node, which is why it gets there at all."""
    member = node("Softmax", "x", "y", axis=-1)
    if where == "in its reference":
        member = node("Pad", "x inside", "y", mode="reflect")
        monkeypatch.setattr(np, "pad", fail(MemoryError()))
    else:
        name = "run" if where == "in its kernel" else "__init__"
        monkeypatch.setattr(SoftmaxKernel, name, fail(MemoryError()))
    with pytest.raises(TooLargeError, match=r"^(Softmax|Pad) 'y': inputs \(float32\[4,6,5\]"):
        NumpyExecutor(load_graph(graph_of(member)), 2).run([np.zeros((4, 6, 5), F32)])
