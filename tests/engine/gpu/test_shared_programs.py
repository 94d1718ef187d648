"""Layers of other sizes have one program: what differs between them are uniforms."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.dispatch import Dispatch
from tests.engine.models import load_graph, model, node


def dispatches(op: str, x: list[int], w: tuple[int, ...], **attributes: Any) -> list[Dispatch]:
    """Those of a layer with a bias, a residual and a ReLU behind it, without copies."""
    constants: dict[str, Any] = {"w": np.ones(w, np.float32)}
    if op == "MatMul":
        constants["b"] = np.ones(w[1], np.float32)
        nodes = [node("MatMul", "x w", "m"), node("Add", "m b", "c")]
    else:
        outputs = w[1] * attributes.get("group", 1) if op == "ConvTranspose" else w[0]
        constants["b"] = np.ones(outputs, np.float32)
        nodes = [node(op, "x w b", "c", **attributes)]
    nodes += [node("Add", "c r", "s"), node("Relu", "s", "y")]
    shape = load_graph(model(nodes[:-2], {"x": x}, "c", constants)).outputs[0].shape
    lowering = Lowering(load_graph(model(nodes, {"x": x, "r": list(shape)}, "y", constants)))
    lowering.run()
    return [dispatch for dispatch in lowering.dispatches if dispatch.kernel != "elementwise"]


def program(dispatch: Dispatch) -> tuple[Any, ...]:
    """All that the WGSL of a dispatch is made of."""
    operands = tuple((operand.name, operand.item) for operand in dispatch.operands)
    params = sorted((name, str(value)) for name, value in dispatch.params.items())
    return dispatch.kernel, operands, tuple(dispatch.uniforms), tuple(params)


@pytest.mark.parametrize(
    ("op", "layers"),
    [
        (
            "Conv",
            [
                ([1, 8, 200, 300], (40, 8, 3, 3), {"pads": [1] * 4}),
                ([2, 64, 110, 120], (72, 32, 1, 3), {"strides": [1, 1], "group": 2}),
                ([1, 12, 256, 256], (48, 12, 3, 5), {"dilations": [2, 1], "strides": [1, 1]}),
            ],
        ),
        (
            "Conv",  # cut along k: parts, and their sum
            [
                ([1, 512, 5, 4], (72, 512, 3, 3), {"pads": [1] * 4}),
                ([1, 576, 9, 9], (256, 144, 3, 3), {"group": 4}),
                ([2, 1024, 8, 8], (64, 1024, 1, 3), {}),
            ],
        ),
        (
            "Conv",  # depthwise
            [
                ([1, 8, 9, 7], (8, 1, 3, 3), {"group": 8}),
                ([2, 12, 20, 30], (12, 1, 3, 3), {"group": 12, "strides": [2, 2], "pads": [1] * 4}),
                ([1, 16, 20, 30], (16, 1, 3, 3), {"group": 16, "dilations": [3, 3]}),
            ],
        ),
        (
            "ConvTranspose",
            [([1, 8, 9, 7], (8, 4, 2, 2), {"strides": [2, 2]}), ([2, 6, 5, 5], (6, 3, 2, 2), {"strides": [2, 2]})],
        ),
        ("MatMul", [([3, 4, 32], (32, 40), {}), ([3, 5, 64], (64, 80), {})]),
    ],
)
def test_layers_share_their_programs(op: str, layers: list[tuple[list[int], tuple[int, ...], dict[str, Any]]]) -> None:
    programs = [[program(dispatch) for dispatch in dispatches(op, x, w, **options)] for x, w, options in layers]
    assert programs[0]
    assert all(other == programs[0] for other in programs)
