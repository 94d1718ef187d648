"""Compute a float16 model in float32: weights are widened once, inputs and outputs keep their dtype.

For executors without float16 arithmetic. It is more exact than the model asks for: no intermediate is rounded.
"""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from engine.graph.ir import Graph, Node, TensorType, Value
from engine.graph.target import ANY, Target

F16, F32 = np.dtype(np.float16), np.dtype(np.float32)
DTYPE_ATTRIBUTES = ("to", "dtype", "output_dtype", "precision", "stash_type")


def widen_f16(graph: Graph, _: Target = ANY) -> int:
    """Turn every float16 value into float32, with a Cast at each float16 input and output. Returns how many turned."""
    boundary = {value: _wide(value) for value in graph.inputs if value.dtype == F16}
    outputs = [(index, value) for index, value in enumerate(graph.outputs) if value.dtype == F16]
    count = 0
    graph.replace_values(boundary)
    wide_inputs = set(boundary.values())
    for node in graph.nodes:
        for value in (*node.used_inputs(), *node.used_outputs()):
            if value.dtype == F16 and value not in wide_inputs:
                _widen(value)
                count += 1
        for name in DTYPE_ATTRIBUTES:
            if node.attributes.get(name) == TensorProto.FLOAT16:
                node.attributes[name] = TensorProto.FLOAT
    casts = [_cast(narrow, wide) for narrow, wide in boundary.items()]
    graph.nodes = [*casts, *graph.nodes]
    for index, value in outputs:
        if graph.outputs[index].dtype == F32:
            narrow = Value(value.name, TensorType(F16, value.shape))
            graph.nodes.append(_cast(graph.outputs[index], narrow))
            graph.outputs[index] = narrow
    return count + len(boundary)


def _wide(value: Value) -> Value:
    return Value(f"{value.name}:f32", TensorType(F32, value.shape))


def _widen(value: Value) -> None:
    value.type = TensorType(F32, value.shape)
    if value.data is not None:
        value.data = value.data.astype(np.float32)


def _cast(source: Value, target: Value) -> Node:
    to = TensorProto.FLOAT16 if target.dtype == F16 else TensorProto.FLOAT
    return Node("Cast", [source], [target], {"to": int(to)}, version=13, name=f"{source.name}:cast")
