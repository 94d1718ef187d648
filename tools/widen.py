"""Float16 ONNX models as float32 ones: what a float16 file computes when nothing is rounded on the way."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper

from tools.narrow import element_types

FLOATS = (TensorProto.FLOAT, TensorProto.FLOAT16)


def widen(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` with every float16 tensor, input and output made float32, and the Casts between the two gone.

    Inputs and outputs keep their names; a Cast that changes integers or booleans stays, to float32 where it was
    float16. Raises ValueError for a model with subgraphs, whose values are not looked into.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    types = element_types(model)
    nodes: list[NodeProto] = []
    replacements: dict[str, str] = {}
    for node in graph.node:
        if any(entry.type in (entry.GRAPH, entry.GRAPHS) for entry in node.attribute):
            raise ValueError(f"{node.op_type} '{node.name}' holds a subgraph; widen a model without control flow")
        if node.op_type == "Cast" and types.get(node.input[0]) in FLOATS and types.get(node.output[0]) in FLOATS:
            replacements[node.output[0]] = replacements.get(node.input[0], node.input[0])
        else:
            nodes.append(node)
    for node in nodes:
        node.input[:] = [replacements.get(name, name) for name in node.input]
        _widen_attributes(node)
    _restore_outputs(graph, nodes, replacements)
    for tensor in graph.initializer:
        _widen_tensor(tensor)
    for value in (*graph.input, *graph.output):
        if value.type.tensor_type.elem_type == TensorProto.FLOAT16:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    del graph.value_info[:]
    del graph.node[:]
    graph.node.extend(nodes)
    return wide


def _restore_outputs(graph: onnx.GraphProto, nodes: list[NodeProto], replacements: dict[str, str]) -> None:
    """Give the graph's outputs that came from a dropped Cast their names back."""
    names = {output.name for output in graph.output}
    producers = {name: node for node in nodes for name in node.output}
    for output in graph.output:
        source = replacements.get(output.name)
        if source is None:
            continue
        if source not in producers or source in names:
            # the model hands out an input, or one value under two names
            nodes.append(helper.make_node("Identity", [source], [output.name]))
            continue
        for node in nodes:
            node.input[:] = [output.name if name == source else name for name in node.input]
        producer = producers.pop(source)
        producer.output[:] = [output.name if name == source else name for name in producer.output]
        producers[output.name] = producer
        renamed = [name for name, old in replacements.items() if old == source and name != output.name]
        replacements.update(dict.fromkeys(renamed, output.name))


def _widen_attributes(node: NodeProto) -> None:
    for entry in node.attribute:
        if entry.type == entry.TENSOR:
            _widen_tensor(entry.t)
        elif entry.name == "to" and node.op_type == "Cast" and entry.i == TensorProto.FLOAT16:
            entry.i = TensorProto.FLOAT


def _widen_tensor(tensor: TensorProto) -> None:
    if tensor.data_type == TensorProto.FLOAT16:
        wide = numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float32), tensor.name)
        tensor.CopyFrom(wide)
