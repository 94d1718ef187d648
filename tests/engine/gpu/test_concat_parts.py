"""Parts of a Concat that the kernel of another part reads: written twice by their producer, and never copied."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

from tests.engine.gpu.gpu import compare, device, run
from tests.engine.gpu.plans import plan_case
from tests.engine.models import feeds, interpret, load_graph, model, node

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def copies(proto: onnx.ModelProto, *, half: bool = False) -> int:
    """The dispatches that copy parts of a Concat into its output."""
    return sum(command.op == "Concat" for command in plan_case(load_graph(proto), half=half).data.commands)


def chain(
    channels: int,
    *nodes: onnx.NodeProto,
    outputs: str = "y",
    shape: Sequence[int] = (2, 6, 9),
    **constants: np.ndarray,
) -> onnx.ModelProto:
    """a = Conv(x), b = Relu(Conv(a)), then ``nodes``, by default y = Concat(b, a); x is [2, channels, 6, 9]."""
    random = np.random.default_rng(channels)
    images, *spatial = shape
    weights = {
        name: (random.standard_normal((channels, channels, 3, 3)) / np.sqrt(9 * channels)).astype(np.float32)
        for name in ("v", "w")
    }
    convolutions = [
        node("Conv", "x v", "a", pads=[1] * 4),
        node("Conv", "a w", "c", pads=[1] * 4),
        node("Relu", "c", "b"),
    ]
    joins = nodes or (node("Concat", "b a", "y", axis=1),)
    return model([*convolutions, *joins], {"x": [images, channels, *spatial]}, outputs, {**weights, **constants})


@pytest.mark.parametrize("channels", [4, 5, 96])
def test_is_written_twice_and_not_copied(channels: int) -> None:
    # 96 channels are summed in parts, which another kernel adds and writes
    assert copies(chain(channels)) == 0
    compare(chain(channels), **TOLERANCE)


def test_in_half_precision() -> None:
    adapter = device().adapter
    if not adapter.f16:
        pytest.skip(f"{adapter} has no shader-f16")
    proto = chain(8, node("Concat", "b a", "j", axis=1), node("Relu", "j", "y"))
    assert copies(proto, half=True) == 0
    (expected,) = interpret(load_graph(proto), feeds(load_graph(proto)))
    (result,), _ = run(load_graph(proto), feeds(load_graph(proto)), half=True)
    np.testing.assert_allclose(result, expected, 0, 4e-3)


def test_what_a_part_is_a_view_of_counts() -> None:
    cut = {"first": np.array([0]), "last": np.array([1]), "images": np.array([0])}
    nodes = [
        node("Slice", "a first last images", "s"),
        node("Conv", "s w", "d", pads=[1] * 4),
        node("Concat", "d a", "y", axis=1),
    ]
    proto = chain(4, *nodes, outputs="y b", shape=(1, 6, 9), **cut)
    assert copies(proto) == 0
    compare(proto, **TOLERANCE)


def test_in_a_concat_of_a_concat() -> None:
    nodes = [
        node("Neg", "a", "n"),
        node("Concat", "b n", "inner", axis=1),
        node("Concat", "inner a", "y", axis=1),
    ]
    assert copies(chain(4, *nodes)) == 0
    compare(chain(4, *nodes), **TOLERANCE)


def test_an_axis_that_no_kernel_writes_evenly_is_copied() -> None:
    proto = chain(4, node("Concat", "b a", "y", axis=3))
    assert copies(proto) == 2
    compare(proto, **TOLERANCE)


def test_a_residual_beside_it() -> None:
    proto = chain(8, node("Add", "c a", "r"), node("Concat", "a r", "y", axis=1), outputs="y b")
    assert copies(proto) == 0
    compare(proto, **TOLERANCE)


def test_other_kernels_with_an_epilogue() -> None:
    random = np.random.default_rng(0)
    weights = {
        "v": random.standard_normal((6, 1, 3, 3)).astype(np.float32),
        "w": random.standard_normal((6, 6, 1, 1)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x v", "a", pads=[1] * 4, group=6),
        node("ConvTranspose", "a w", "b"),
        node("Sigmoid", "b", "d"),
        node("Conv", "d v", "c", pads=[1] * 4, group=6),
        node("Concat", "a d c", "y", axis=1),
    ]
    proto = model(nodes, {"x": [1, 6, 5, 7]}, "y", weights)
    assert copies(proto) == 0
    compare(proto, **TOLERANCE)


def test_in_ranges_of_rows() -> None:
    compare(chain(8, shape=(1, 80, 16)), limits={"max-storage-buffer-binding-size": 16384}, **TOLERANCE)


@pytest.mark.parametrize("axis", [1, 3])
def test_a_part_under_another_label(axis: int) -> None:
    """Tokens that are normalised, and joined as pictures: the kernel writes them there."""
    shape = {"square": np.array([2, 3, 4, 8]), "vector": np.linspace(0.5, 2, 8, dtype=np.float32)}
    nodes = [
        node("LayerNormalization", "x vector vector", "n"),
        node("Reshape", "n square", "s"),
        node("Transpose", "s", "t", perm=[0, 3, 1, 2]),
        node("Sigmoid", "z", "g"),
        node("Concat", "g t" if axis == 1 else "t g", "j", axis=axis),
        node("MaxPool", "j", "y", kernel_shape=[2, 2]),
    ]
    other = [2, 4, 3, 4] if axis == 1 else [2, 8, 3, 1]
    proto = model(nodes, {"x": [2, 12, 8], "z": other}, "y n", shape)
    # the copy is that of z, which is row-major, beside channels; else that of t, whose channels lie side by side
    assert copies(proto) == 1
    compare(proto, **TOLERANCE)
