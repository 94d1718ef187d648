"""Dynamically quantised ONNX models as float32 ones: the same weights, and no rounding of activations.

A stand-in for a float32 file where only the int8 one, a quarter of its size, can be carried along.
"""

from __future__ import annotations

import numpy as np
import onnx
from onnx import NodeProto, helper, numpy_helper


def dequantize(model: onnx.ModelProto) -> onnx.ModelProto:
    """A copy of ``model`` in which each quantised convolution is a Conv with the weights that its integers stand for.

    The pattern is ONNX Runtime's dynamic quantisation: DynamicQuantizeLinear, ConvInteger, Cast, and a Mul with the
    product of both scales. ValueError where a ConvInteger is not part of it.
    """
    wide = onnx.ModelProto()
    wide.CopyFrom(model)
    graph = wide.graph
    constants = {tensor.name: tensor for tensor in graph.initializer}
    producers = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    replacements: dict[str, NodeProto] = {}
    for node in graph.node:
        if node.op_type == "ConvInteger":
            scaled, conv, weights = _convolution(node, constants, producers, readers)
            graph.initializer.append(weights)
            replacements[scaled.output[0]] = conv
    nodes = [replacements.get(node.output[0], node) for node in graph.node]
    live = _live_values(nodes, [output.name for output in graph.output])
    del graph.node[:]
    graph.node.extend(node for node in nodes if node.output[0] in live)
    names = {name for node in graph.node for name in node.input}
    tensors = [tensor for tensor in graph.initializer if tensor.name in names]
    del graph.initializer[:]
    graph.initializer.extend(tensors)
    return wide


def _convolution(
    node: NodeProto,
    constants: dict[str, onnx.TensorProto],
    producers: dict[str, NodeProto],
    readers: dict[str, list[NodeProto]],
) -> tuple[NodeProto, NodeProto, onnx.TensorProto]:
    """The Mul that ends the pattern around a ConvInteger, the Conv to put in its place, and its weights."""
    try:
        quantize = producers[node.input[0]]
        (cast,) = readers[node.output[0]]
        (scaled,) = readers[cast.output[0]]
        (other,) = (name for name in scaled.input if name != cast.output[0])
        (scale,) = (constants[name] for name in producers[other].input if name in constants)
        w = numpy_helper.to_array(constants[node.input[1]]).astype(np.float32)
        zero = numpy_helper.to_array(constants[node.input[3]]).astype(np.float32) if len(node.input) > 3 else 0
    except (KeyError, ValueError) as error:
        raise ValueError(f"ConvInteger '{node.name}' is not quantised dynamically: {error}") from error
    column = (-1, *(1,) * (w.ndim - 1))
    w = (w - np.reshape(zero, column)) * numpy_helper.to_array(scale).reshape(column)
    weights = numpy_helper.from_array(w, f"{node.input[1]}:f32")
    conv = helper.make_node("Conv", [quantize.input[0], weights.name], [scaled.output[0]], node.name)
    conv.attribute.extend(node.attribute)
    return scaled, conv, weights


def _live_values(nodes: list[NodeProto], outputs: list[str]) -> set[str]:
    """The first outputs of the nodes that ``outputs`` depend on."""
    reachable, live = set(outputs), set()
    for node in reversed(nodes):
        if reachable & set(node.output):
            live.add(node.output[0])
            reachable |= set(node.input)
    return live
