"""A model with one operator of each family of kernels, independent of one another, and what they give."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx

from tests.engine.models import interpret, load_graph, model, node
from tests.web.models import onnxruntime_outputs

RANDOM = np.random.default_rng(16)


def deviates(*shape: int) -> np.ndarray:
    """Normal deviates, float32."""
    return RANDOM.standard_normal(shape).astype(np.float32)


@dataclass(frozen=True)
class Case:
    """A node of ``op`` from ``inputs`` and ``constants``, in that order.

    ``outside`` says whether ONNX Runtime has it, and is the oracle.
    """

    op: str
    inputs: Mapping[str, np.ndarray]
    constants: Mapping[str, np.ndarray] = field(default_factory=dict)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    domain: str = ""
    outside: bool = True


def _image(*shape: int) -> dict[str, np.ndarray]:
    return {"x": deviates(*shape)}


def _bytes(*shape: int) -> np.ndarray:
    return RANDOM.integers(0, 255, shape).astype(np.uint8)


QUANTIZED = {
    "x_scale": np.float32(0.02),
    "x_zero": np.uint8(120),
    "w": _bytes(4, 3, 3, 3),
    "w_scale": np.float32(0.01),
    "w_zero": np.uint8(128),
    "y_scale": np.float32(0.5),
    "y_zero": np.uint8(110),
}

FAMILIES: Mapping[str, Mapping[str, Case]] = {
    "convolution": {
        "conv": Case("Conv", _image(1, 16, 9, 9), {"w": deviates(32, 16, 3, 3), "b": deviates(32)}, {"pads": [1] * 4}),
        "depthwise": Case("Conv", _image(1, 8, 9, 9), {"w": deviates(8, 1, 3, 3)}, {"group": 8}),
        "transposed": Case("ConvTranspose", _image(1, 4, 5, 5), {"w": deviates(4, 6, 2, 2)}, {"strides": [2, 2]}),
        "deformable": Case(
            "DeformConv",
            {**_image(1, 3, 6, 6)},
            {"w": deviates(4, 3, 3, 3), "offset": deviates(1, 18, 4, 4)},
            outside=False,
        ),
        "qlinear_conv": Case("QLinearConv", {"x": _bytes(1, 3, 6, 6)}, QUANTIZED),
        "col2im": Case("Col2Im", _image(1, 8, 9), {"image": np.array([4, 4]), "block": np.array([2, 2])}),
    },
    "product": {
        "packed": Case(
            "MatMulNBits",
            {"x": deviates(5, 32)},
            {"b": _bytes(8, 2, 8), "scales": RANDOM.uniform(0.02, 0.1, 16).astype(np.float32)},
            {"K": 32, "N": 8, "bits": 4, "block_size": 16},
            domain="com.microsoft",
        ),
    },
    "reduction": {
        "normalize": Case("LayerNormalization", _image(3, 20), {"scale": deviates(20), "bias": deviates(20)}),
        "softmax": Case("Softmax", _image(3, 20)),
        "reduce": Case("ReduceMax", _image(2, 30), {"axes": np.array([1])}, {"keepdims": 0}),
        "cumulative": Case("CumSum", _image(2, 12), {"axis": np.array(1)}),
    },
    "layout": {
        "pad": Case("Pad", _image(3, 4), {"pads": np.array([1, 0, 2, 3])}, {"mode": "edge"}),
    },
    "matmul": {
        "matmul": Case("MatMul", {"a": deviates(2, 7, 5), "b": deviates(2, 5, 6)}),
        "linear": Case("Gemm", {"x": deviates(9, 20)}, {"w": deviates(20, 12), "b": deviates(12)}),
    },
    "sampling": {
        "pool": Case("MaxPool", _image(1, 4, 8, 8), {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
        "resize": Case(
            "Resize",
            _image(1, 2, 5, 5),
            {"roi": np.zeros(0, np.float32), "scales": np.float32([1, 1, 2, 2])},
            {"mode": "linear"},
        ),
        "grid_sample": Case(
            "GridSample", {**_image(1, 2, 5, 5), "grid": RANDOM.uniform(-1, 1, (1, 4, 4, 2)).astype(np.float32)}
        ),
        "roi_align": Case(
            "RoiAlign",
            _image(1, 2, 8, 8),
            {"rois": np.float32([[0, 0, 5, 5], [1, 2, 7, 6]]), "batch": np.array([0, 0])},
            {"output_height": 3, "output_width": 3, "coordinate_transformation_mode": "half_pixel"},
        ),
        "max_unpool": Case(
            "MaxUnpool",
            _image(1, 1, 2, 2),
            {"indices": np.array([[[[0, 3], [8, 10]]]])},
            {"kernel_shape": [2, 2], "strides": [2, 2]},
        ),
    },
    "indexing": {
        "gather": Case("Gather", {**_image(6, 4), "indices": np.array([5, 0, 3])}),
        "scatter": Case(
            "ScatterElements", {**_image(4, 3), "indices": np.array([[0, 2, 1]]), "updates": deviates(1, 3)}
        ),
    },
    "elementwise": {
        "erf": Case("Erf", _image(40)),
        "quantize": Case("QuantizeLinear", _image(10), {"scale": np.float32(0.03), "zero": np.uint8(128)}),
        "long": Case("Mul", {"a": np.arange(-5, 5), "b": np.arange(10) * 1000}),
        "boolean": Case("And", {"a": np.arange(5) % 2 == 0, "b": np.arange(5) > 1}),
        "half": Case("Add", {"a": deviates(7).astype(np.float16), "b": np.float16([0.5, 1, 2, -4, 6e-8, 300, 7])}),
    },
}
"""By the folder of engine/gpu/kernels; attention has no operator of ONNX, and is built apart."""

CASES = {name: case for cases in FAMILIES.values() for name, case in cases.items()}


def build(cases: Mapping[str, Case]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """One model of all cases, whose outputs have their names, and its inputs."""
    nodes, inputs, constants = [], {}, {}
    for name, case in cases.items():
        operands = [f"{name}.{operand}" for operand in (*case.inputs, *case.constants)]
        attributes = dict(case.attributes)
        nodes.append(node(case.op, " ".join(operands), name, domain=case.domain, name=name, **attributes))
        inputs |= {f"{name}.{operand}": array for operand, array in case.inputs.items()}
        constants |= {f"{name}.{operand}": array for operand, array in case.constants.items()}
    specs = {name: (array.dtype.type, list(array.shape)) for name, array in inputs.items()}
    domains = {"com.microsoft": 1} if any(case.domain for case in cases.values()) else None
    return model(nodes, specs, " ".join(cases), constants, opset=20, domains=domains), inputs


def expected(cases: Mapping[str, Case]) -> dict[str, np.ndarray]:
    """What each case gives: by ONNX Runtime, or by the engine's reference where ONNX Runtime has no such operator."""
    outside, inputs = build({name: case for name, case in cases.items() if case.outside})
    outputs = onnxruntime_outputs(outside.SerializeToString(), inputs)
    proto, inputs = build({name: case for name, case in cases.items() if not case.outside})
    graph = load_graph(proto)
    results = interpret(graph, [inputs[value.name] for value in graph.inputs])
    return outputs | dict(zip((value.name for value in graph.outputs), results, strict=True))
