"""Small ONNX models and graphs for tests, made in a line or two."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import NodeProto, helper, numpy_helper

from engine.cpu.compiled import compile_numpy, open_numpy
from engine.cpu.interpreter import ReferenceExecutor
from engine.graph.ir import Graph
from engine.graph.load import load
from tests.project import ROOT

IR_VERSION = 10

U2NETP = ROOT / "nss" / "models" / "weights" / "u2netp.onnx"
"""The real model that is in the repository; its input is 320 pixels a side."""

Dims = list[Any]
Spec = Dims | tuple[Any, Dims]
"""The declared shape of a float32 input as a list, or a tuple (dtype, shape)."""


def node(op: str, inputs: str, outputs: str, *, domain: str = "", name: str = "", **attributes: Any) -> NodeProto:
    """A node whose inputs and outputs are given by name, separated by blanks; ``-`` is one left out."""
    names = [["" if word == "-" else word for word in text.split()] for text in (inputs, outputs)]
    return helper.make_node(op, *names, name=name, domain=domain, **attributes)


def need_opset(opset: int) -> None:
    """Skip the test where the installed onnx does not know the operator set."""
    if opset > (newest := onnx.defs.onnx_opset_version()):
        pytest.skip(f"onnx {onnx.__version__} ends at operator set {newest}, and this needs {opset}")


def model(
    nodes: Sequence[NodeProto],
    inputs: Mapping[str, Spec],
    outputs: str,
    constants: Mapping[str, Any] | None = None,
    *,
    opset: int = 17,
    ir_version: int = IR_VERSION,
    domains: Mapping[str, int] | None = None,
    functions: Sequence[onnx.FunctionProto] = (),
) -> onnx.ModelProto:
    """A model; ``outputs`` are names separated by blanks, declared without type. Skips as ``need_opset`` does."""
    need_opset(opset)
    input_infos = []
    for name, spec in inputs.items():
        dtype, dims = spec if isinstance(spec, tuple) else (np.float32, spec)
        input_infos.append(helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), dims))
    graph = helper.make_graph(
        nodes,
        "test",
        input_infos,
        [helper.make_empty_tensor_value_info(name) for name in outputs.split()],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in (constants or {}).items()],
    )
    imports = [helper.make_opsetid(domain, version) for domain, version in {"": opset, **(domains or {})}.items()]
    return helper.make_model(graph, opset_imports=imports, ir_version=ir_version, functions=functions)


def branch(nodes: Sequence[NodeProto], outputs: str, constants: Mapping[str, Any] | None = None) -> onnx.GraphProto:
    """A subgraph without inputs, as an If has it."""
    return model(nodes, {}, outputs, constants).graph


def with_image_side(path: Path, side: int) -> bytes:
    """A model with one image input of fixed size, for images of another; the sizes inside follow from the input's."""
    proto = onnx.load(path)
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_value = side
    return proto.SerializeToString()


def load_graph(proto: onnx.ModelProto, **options: Any) -> Graph:
    """The graph of a model; every output is kept unless ``outputs`` says otherwise."""
    return load(proto.SerializeToString(), **{"outputs": "all", **options})


def feeds(graph: Graph, seed: int = 0) -> list[np.ndarray]:
    """An array for each input of the graph: normal deviates, or integers from 0 to 9."""
    random = np.random.default_rng(seed)
    return [
        np.asarray(
            random.standard_normal(value.shape) if value.dtype.kind == "f" else random.integers(0, 10, value.shape)
        ).astype(value.dtype)
        for value in graph.inputs
    ]


def interpret(graph: Graph, inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
    """The outputs under the reference executor."""
    return ReferenceExecutor(graph).run(inputs)


def execute(graph: Graph, inputs: Sequence[np.ndarray], threads: int = 2) -> list[np.ndarray]:
    """The outputs under the NumPy executor, of the graph compiled and opened as sessions have it."""
    executor = open_numpy(compile_numpy(graph), threads)
    try:
        return executor.run(inputs)
    finally:
        executor.close()
