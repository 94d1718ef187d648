"""Float32 ONNX models as float16 ones, as onnxconverter-common's float16 writes them with keep_io_types."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

FLOAT, HALF = TensorProto.FLOAT, TensorProto.FLOAT16

FLOAT32_OPERATORS = ("CumSum", "Max", "Min", "NonMaxSuppression", "Range", "Resize", "RoiAlign", "TopK", "Upsample")
"""Operators that stay float32, between Casts: of that package's list those that a vision model may hold."""

SMALLEST, LARGEST = 1e-7, 1e4
"""Magnitudes that weights other than 0 are moved to, as that package does."""


def narrow(model: onnx.ModelProto, types: dict[str, int]) -> onnx.ModelProto:
    """A copy of ``model`` whose float32 tensors are float16, with Casts at its inputs and outputs and around
    FLOAT32_OPERATORS.

    ``types`` are the element types of its values (``element_types``). Raises ValueError for a model with subgraphs,
    whose values are not looked into.
    """
    half = onnx.ModelProto()
    half.CopyFrom(model)
    graph = half.graph
    stored = {tensor.name for tensor in graph.initializer}
    ends = {entry.name for entry in (*graph.input, *graph.output)} - stored
    inputs = [entry.name for entry in graph.input if entry.name not in stored and types.get(entry.name) == FLOAT]

    # inputs and outputs keep their names in float32, all else in float16
    def narrow_name(name: str) -> str:
        return f"{name}:f16" if name in ends else name

    def wide_name(name: str) -> str:
        return name if name in ends else f"{name}:f32"

    nodes = [_cast(name, narrow_name(name), HALF) for name in inputs]
    wide = ends | {wide_name(name) for name in stored}
    for node in graph.node:
        if any(entry.type in (entry.GRAPH, entry.GRAPHS) for entry in node.attribute):
            raise ValueError(f"{node.op_type} '{node.name}' holds a subgraph; narrow a model without control flow")
        stays_wide = node.op_type in FLOAT32_OPERATORS and not node.domain
        float_inputs, float_outputs = (
            [name for name in names if types.get(name) == FLOAT] for names in (node.input, node.output)
        )
        if stays_wide:
            missing = [name for name in dict.fromkeys(float_inputs) if wide_name(name) not in wide]
            nodes += [_cast(narrow_name(name), wide_name(name), FLOAT) for name in missing]
            wide |= {wide_name(name) for name in (*missing, *float_outputs)}
        else:
            _narrow_attributes(node)
        rename = wide_name if stays_wide else narrow_name
        for names in (node.input, node.output):
            names[:] = [rename(name) if types.get(name) == FLOAT else name for name in names]
        nodes.append(node)
        if stays_wide:
            nodes += [_cast(wide_name(name), narrow_name(name), HALF) for name in float_outputs]
        else:
            nodes += [_cast(narrow_name(name), name, FLOAT) for name in float_outputs if name in ends]
    input_names = {name for node in nodes for name in node.input}
    tensors = list(_tensors(graph, input_names))
    del graph.node[:], graph.initializer[:], graph.value_info[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)
    return half


def element_types(model: onnx.ModelProto) -> dict[str, int]:
    """The element type of every value that has a known one."""
    graph = onnx.shape_inference.infer_shapes(model).graph
    values = (*graph.input, *graph.output, *graph.value_info)
    types = {value.name: value.type.tensor_type.elem_type for value in values}
    return types | {tensor.name: tensor.data_type for tensor in graph.initializer}


def _cast(source: str, target: str, to: int) -> NodeProto:
    return helper.make_node("Cast", [source], [target], f"{target}:cast", to=to)


def _narrow_attributes(node: NodeProto) -> None:
    for entry in node.attribute:
        if entry.type == entry.TENSOR and entry.t.data_type == FLOAT:
            entry.t.CopyFrom(_narrow_tensor(entry.t))
        elif entry.name == "to" and node.op_type == "Cast" and entry.i == FLOAT:
            entry.i = HALF


def _tensors(graph: onnx.GraphProto, input_names: set[str]) -> list[TensorProto]:
    """The weights in the types that they are read in, which may be both."""
    tensors = []
    for tensor in graph.initializer:
        if tensor.data_type != FLOAT:
            tensors.append(tensor)
            continue
        if tensor.name in input_names:
            tensors.append(_narrow_tensor(tensor))
        if f"{tensor.name}:f32" in input_names:
            tensors.append(numpy_helper.from_array(numpy_helper.to_array(tensor), f"{tensor.name}:f32"))
    return tensors


def _narrow_tensor(tensor: TensorProto) -> TensorProto:
    array = numpy_helper.to_array(tensor)
    size = np.where(np.isfinite(array), np.clip(np.abs(array), SMALLEST, LARGEST), np.abs(array))
    magnitudes = np.where(array == 0, array, np.copysign(size, array))
    return numpy_helper.from_array(np.asarray(magnitudes, np.float16), tensor.name)
