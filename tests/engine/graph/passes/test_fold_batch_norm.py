"""The folded convolution equals convolution and batch norm in turn, whatever the grouping; and what is not folded."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.graph.passes.fold_batch_norm import fold_batch_norm
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node

TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}
"""Measured on these shapes: 1e-6."""


def statistics(channels: int, name: str = "n") -> dict[str, np.ndarray]:
    """Scale, shift, mean and variance of a batch norm called ``name``."""
    random = np.random.default_rng(channels)
    scale, shift, mean = random.standard_normal((3, channels)).astype(np.float32)
    return {f"{name}s": scale, f"{name}b": shift, f"{name}m": mean, f"{name}v": scale**2 + np.float32(0.1)}


def conv_norm(
    op: str = "Conv",
    *,
    channels: int = 4,
    outputs: int = 6,
    group: int = 1,
    bias: bool = True,
    kernel: tuple[int, ...] = (3, 3),
    attributes: dict[str, Any] | None = None,
    epsilon: float = 1e-5,
    model_outputs: str = "y",
    extra: list[onnx.NodeProto] | None = None,
) -> onnx.ModelProto:
    """x → convolution → c → BatchNormalization → y, over as many spatial axes of 5 as ``kernel`` has."""
    random = np.random.default_rng(outputs)
    shape = (outputs, channels // group) if op == "Conv" else (channels, outputs // group)
    constants = {
        "w": random.standard_normal((*shape, *kernel)).astype(np.float32),
        **({"b": random.standard_normal(outputs).astype(np.float32)} if bias else {}),
        **statistics(outputs),
    }
    nodes = [
        node(op, "x w b" if bias else "x w", "c", group=group, **(attributes or {})),
        node("BatchNormalization", "c ns nb nm nv", "y", epsilon=epsilon),
        *(extra or []),
    ]
    return model(nodes, {"x": [2, channels, *(5,) * len(kernel)]}, model_outputs, constants)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_folds(data: st.DataObject) -> None:
    group = data.draw(st.integers(1, 3), "group")
    proto = conv_norm(
        data.draw(st.sampled_from(["Conv", "ConvTranspose"]), "op"),
        channels=group * data.draw(st.integers(1, 3), "channels of a group"),
        outputs=group * data.draw(st.integers(1, 3), "outputs of a group"),
        group=group,
        bias=data.draw(st.booleans(), "bias"),
        kernel=data.draw(st.sampled_from([(3,), (1, 1), (3, 2), (1, 2, 2)]), "kernel"),
        epsilon=data.draw(st.sampled_from([1e-5, 1e-2]), "epsilon"),
    )
    graph = rewrite(proto, fold_batch_norm, 1, **TOLERANCE)
    assert len(graph.nodes) == 1
    assert len(graph.nodes[0].inputs) == 3


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_strides_pads_and_dilations_stay(op: str) -> None:
    attributes = {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2]}
    rewrite(conv_norm(op, attributes=attributes), fold_batch_norm, 1, **TOLERANCE)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("mask", [True, False])
def test_deformable(bias: bool, mask: bool) -> None:
    random = np.random.default_rng(3)
    names = " ".join(["x w offset", "b" if bias else "-", "mask" if mask else "-"])
    nodes = [node("DeformConv", names, "c", pads=[1, 1, 1, 1]), node("BatchNormalization", "c ns nb nm nv", "y")]
    inputs = {"x": [2, 4, 5, 5], "offset": [2, 18, 5, 5], **({"mask": [2, 9, 5, 5]} if mask else {})}
    constants = {"w": random.standard_normal((6, 4, 3, 3)).astype(np.float32), **statistics(6)}
    if bias:
        constants["b"] = random.standard_normal(6).astype(np.float32)
    graph = rewrite(model(nodes, inputs, "y", constants, opset=19), fold_batch_norm, 1, **TOLERANCE)
    (conv,) = graph.nodes
    assert conv.input(3).shape == (6,)
    assert (conv.optional_input(4) is None) != mask


def test_two_norms_in_turn() -> None:
    again = node("BatchNormalization", "y ns nb nm nv", "z")
    graph = rewrite(conv_norm(model_outputs="z", extra=[again]), fold_batch_norm, 2, **TOLERANCE)
    assert [node.op for node in graph.nodes] == ["Conv"]


def test_two_convolutions_of_one_set_of_weights() -> None:
    extra = [node("Conv", "x w b", "d"), node("Add", "y d", "z")]
    rewrite(conv_norm(model_outputs="z", extra=extra), fold_batch_norm, 1, **TOLERANCE)


def test_float64_model() -> None:
    proto = conv_norm()
    for tensor in proto.graph.initializer:
        tensor.CopyFrom(
            onnx.numpy_helper.from_array(onnx.numpy_helper.to_array(tensor).astype(np.float64), tensor.name)
        )
    proto.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.DOUBLE
    rewrite(proto, fold_batch_norm, 1, rtol=2e-14, atol=2e-14)


@pytest.mark.parametrize(
    "proto",
    [
        conv_norm(model_outputs="z", extra=[node("Add", "y c", "z")]),
        conv_norm(model_outputs="y c"),
        model(
            [node("Relu", "x", "c"), node("BatchNormalization", "c ns nb nm nv", "y")],
            {"x": [1, 4, 3, 3]},
            "y",
            statistics(4),
        ),
        model(
            [node("Conv", "x w", "c"), node("BatchNormalization", "c ns nb nm nv", "y")],
            {"x": [1, 4, 3, 3], "w": [4, 4, 1, 1]},
            "y",
            statistics(4),
        ),
        model(
            [node("Conv", "x w", "c"), node("BatchNormalization", "c ns mean nm nv", "y")],
            {"x": [1, 4, 3, 3], "mean": [4]},
            "y",
            {"w": np.ones((4, 4, 1, 1), np.float32), **statistics(4)},
        ),
        model(
            [node("Conv", "x w", "c"), node("BatchNormalization", "c ns nb nm nv", "y", spatial=0)],
            {"x": [1, 2, 2, 2]},
            "y",
            {
                "w": np.ones((2, 2, 1, 1), np.float32),
                **{key: np.linspace(1, 2, 8, dtype=np.float32).reshape(2, 2, 2) for key in ("ns", "nb", "nm", "nv")},
            },
            opset=7,
        ),
    ],
    ids=["second reader", "graph output", "no convolution", "weights at run time", "statistics at run time", "spatial"],
)
def test_does_not_fold(proto: onnx.ModelProto) -> None:
    rewrite(proto, fold_batch_norm, 0)
