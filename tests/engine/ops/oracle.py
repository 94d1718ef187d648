"""One operator, run by the reference and by ONNX Runtime, and compared: the oracle's own oracle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, defs, helper, numpy_helper

from engine import ops
from engine.graph.ir import Node, TensorType, Value
from tests.engine.models import need_opset

Array = np.ndarray
IR_VERSION = 10
"""The IR version the test models carry: old enough for every supported ONNX Runtime."""


def build(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any],
    opset: int,
    *,
    domain: str = "",
    static: Sequence[int] = (),
    outputs: int = 1,
) -> onnx.ModelProto:
    """A model of one node. Inputs are named ``x0``, ``x1`` ..., those in ``static`` initializers; outputs ``y0`` ..."""
    if not domain:
        need_opset(opset)
    schema = defs.get_schema(op, opset, domain)
    names = ["" if array is None else f"x{index}" for index, array in enumerate(inputs)]
    node = helper.make_node(op, names, [f"y{index}" for index in range(outputs)], op, domain=domain)
    for key, value in attributes.items():
        proto_value = numpy_helper.from_array(value) if isinstance(value, np.ndarray) else value
        node.attribute.append(helper.make_attribute(key, proto_value, attr_type=schema.attributes[key].type.value))
    present = [(index, array) for index, array in enumerate(inputs) if array is not None]
    graph = helper.make_graph(
        [node],
        op,
        [
            helper.make_tensor_value_info(names[index], helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for index, array in present
            if index not in static
        ],
        [helper.make_empty_tensor_value_info(name) for name in node.output],
        [numpy_helper.from_array(array, names[index]) for index, array in present if index in static],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid(domain, opset)], ir_version=IR_VERSION)


def run_onnxruntime(model: onnx.ModelProto, inputs: Mapping[str, Array]) -> list[Array]:
    """The outputs of ``model`` under ONNX Runtime on the CPU, with no graph optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return list(session.run(None, dict(inputs)))


def run_reference(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any],
    opset: int,
    *,
    domain: str = "",
    outputs: int = 1,
) -> list[Array]:
    """The outputs under ``ops.infer`` and ``ops.evaluate``, inferred types checked; static inputs are constants."""
    operator = ops.lookup(domain, op, opset)
    assert operator is not None, f"{domain}.{op} version {opset} is not registered"
    values = [
        None
        if array is None
        else Value(f"x{index}", TensorType(array.dtype, array.shape), array if index in operator.static else None)
        for index, array in enumerate(inputs)
    ]
    node = Node(
        op,
        values,
        [],
        attributes={key: _attribute_value(value) for key, value in attributes.items()},
        domain=domain,
        version=opset,
        name=op,
    )
    types = ops.infer(node)
    assert len(types) >= outputs, f"{len(types)} types inferred for {outputs} outputs"
    node.outputs = [Value(f"y{index}", type_) for index, type_ in enumerate(types[:outputs])]
    return list(ops.evaluate(node, inputs)[:outputs])


def check(
    op: str,
    inputs: Sequence[Array | None],
    attributes: Mapping[str, Any] | None = None,
    opset: int = 17,
    *,
    domain: str = "",
    static: Sequence[int] | None = None,
    outputs: int = 1,
    rtol: float = 1e-6,
    atol: float = 1e-6,
) -> list[Array]:
    """Assert that reference and ONNX Runtime agree in number, dtype, shape and value of the outputs; return them.

    ``inputs`` holds None for an omitted input. ``static`` are the inputs that the model for ONNX Runtime holds as
    initializers; by default those that the operator declares. ``outputs`` is how many outputs the node names.
    Integers and booleans must be equal, NaN equals NaN.
    """
    attributes = attributes or {}
    operator = ops.lookup(domain, op, opset)
    assert operator is not None, f"{domain}.{op} version {opset} is not registered"
    constant = operator.static if static is None else tuple(static)
    model = build(op, inputs, attributes, opset, domain=domain, static=constant, outputs=outputs)
    feed = {f"x{i}": array for i, array in enumerate(inputs) if array is not None and i not in constant}
    expected = run_onnxruntime(model, feed)
    results = run_reference(op, inputs, attributes, opset, domain=domain, outputs=outputs)
    assert len(results) == len(expected)
    for index, (ours, theirs) in enumerate(zip(results, expected, strict=True)):
        where = f"{op} version {opset}, output {index}"
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape), where
        if ours.dtype.kind == "f":
            np.testing.assert_allclose(ours, theirs, rtol=rtol, atol=atol, err_msg=where)
        else:
            np.testing.assert_array_equal(ours, theirs, err_msg=where)
    return results


def _attribute_value(value: Any) -> Any:
    """An attribute as the loader hands it to a node: sequences as tuples, tensors as arrays, text as str."""
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return tuple(value) if isinstance(value, list) else value
