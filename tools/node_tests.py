"""The ONNX backend node tests, run through sessions; the machinery of test_conformance and of tools/conformance.py.

A node test is a model of one operator (or of the function that the specification expands it to), inputs and expected
outputs. What only a run can know in the test may be what the engine needs at load, such as the target of a Reshape that
is an input of the model: of these the fewest that let the model load are bound to their values.
"""

from __future__ import annotations

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper
from onnx.backend.test.case.node import collect_testcases

from engine import EngineError, Session
from engine.graph.model_file import ModelFile
from engine.graph.unsupported_operators import normalize_domain
from engine.ops import lookup

BACKENDS = ("reference", "numpy", "webgpu")

RTOL = 1e-5
"""For float32 and float64 results, with the test's own absolute tolerance; the tests themselves allow 1e-3."""

FOUR_DECIMALS = {
    "test_averagepool_2d_ceil_last_window_starts_on_pad",
    "test_gridsample_bicubic",
    "test_roialign_aligned_false",
    "test_roialign_aligned_true",
}
"""Tests whose expected values are written with four decimals; the relative tolerance is the test's own."""


@dataclass(frozen=True, slots=True)
class NodeTest:
    """One node test: a model, its inputs and the outputs that the specification's generator computed, by name."""

    name: str
    model: onnx.ModelProto
    inputs: dict[str, np.ndarray]
    expected: dict[str, np.ndarray]
    rtol: float
    atol: float


@cache
def all_tests() -> dict[str, Any]:
    """Every node test of the installed onnx package, as it makes them, by name."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        return {case.name: case for case in collect_testcases(None)}


@cache
def missing_operators() -> dict[str, tuple[str, ...]]:
    """For each node test, the operators that the engine does not have: none for one that should run."""
    return {name: tuple(sorted(set(_missing(case.model)))) for name, case in all_tests().items()}


def runnable_tests() -> list[str]:
    """The names of the node tests that use only operators that the engine has, in one order for every process."""
    return sorted(name for name, missing in missing_operators().items() if not missing)


def missing_operator_counts() -> Counter[str]:
    """For each operator that the engine does not have, how many node tests use it."""
    return Counter(op for missing in missing_operators().values() for op in missing)


def node_test(name: str) -> NodeTest:
    """The node test of that name."""
    case = all_tests()[name]
    ((inputs, outputs),) = case.data_sets
    graph = case.model.graph
    return NodeTest(
        name,
        case.model,
        inputs={info.name: _array(value) for info, value in zip(graph.input, inputs, strict=True)},
        expected={info.name: _array(value) for info, value in zip(graph.output, outputs, strict=True)},
        rtol=case.rtol,
        atol=case.atol,
    )


_BOUND: dict[str, tuple[str, ...]] = {}
"""The inputs that must be bound, by the name of the test, once a backend has asked for them."""


def open_session(test: NodeTest, backend: str) -> tuple[Session, dict[str, np.ndarray]]:
    """A session of the test's model, and the inputs that remain for its run."""
    file = ModelFile.read(test.model.SerializeToString())

    def attempt(input_values: dict[str, np.ndarray], backend: str = "reference") -> Session:
        shapes = {name: array.shape for name, array in test.inputs.items() if name not in input_values}
        adapter = os.environ.get("NSS_TEST_ADAPTER", "0") if backend == "webgpu" else None
        return Session(
            file,
            backend=backend,
            outputs="all",
            input_shapes=shapes,
            input_values=input_values,
            adapter=adapter,
        )

    # what to bind is for the loader to say: a backend that refuses the test must not have it folded away
    if test.name not in _BOUND:
        _BOUND[test.name] = tuple(_fewest_input_values(test, attempt))
    input_values = {name: test.inputs[name] for name in _BOUND[test.name]}
    session = attempt(input_values, backend)
    return session, {name: array for name, array in test.inputs.items() if name not in input_values}


def _fewest_input_values(test: NodeTest, attempt: Callable[[dict[str, np.ndarray]], Session]) -> dict[str, np.ndarray]:
    """The fewest inputs, by name, that must be bound to their values for the test's model to load."""
    try:
        attempt({}).close()
    except EngineError:
        input_values = dict(test.inputs)
    else:
        return {}
    # floats first: what decides a shape is an integer, mostly
    for name in sorted(input_values, key=lambda name: (input_values[name].dtype.kind != "f", -input_values[name].ndim)):
        fewer = {key: array for key, array in input_values.items() if key != name}
        try:
            attempt(fewer).close()
        except EngineError:
            continue
        input_values = fewer
    return input_values


def check(name: str, backend: str) -> bool:
    """Run a node test. Returns whether a run had anything left to compute.

    Raises AssertionError where a result differs: in name, dtype, shape, in an integer at all, in a float by more than
    the tolerance; EngineError where the model does not load.
    """
    test = node_test(name)
    session, inputs = open_session(test, backend)
    with session:
        results = session.run(inputs, allow_nan=True)
        has_nodes = session.info.nodes_loaded > 0
    assert list(results) == list(test.expected)
    for key, expected in test.expected.items():
        result = results[key]
        assert (result.dtype, result.shape) == (expected.dtype, expected.shape), key
        if expected.dtype.kind != "f":
            np.testing.assert_array_equal(result, expected, key)
            continue
        coarse = expected.dtype == np.float16 or name in FOUR_DECIMALS
        np.testing.assert_allclose(result, expected, test.rtol if coarse else RTOL, test.atol, err_msg=key)
    return has_nodes


def _array(value: Any) -> np.ndarray:
    """A tensor as an array; what is no tensor becomes an array of objects, of a model that the engine refuses.

    Sessions take and give 4-bit integers as bytes.
    """
    if isinstance(value, onnx.TensorProto):
        array = numpy_helper.to_array(value)
        if value.data_type in (onnx.TensorProto.INT4, onnx.TensorProto.UINT4):
            return array.astype(np.int8 if value.data_type == onnx.TensorProto.INT4 else np.uint8)
        return array
    return value if isinstance(value, np.ndarray) else np.asarray(value)


def _missing(model: onnx.ModelProto) -> Iterator[str]:
    versions = {normalize_domain(entry.domain): entry.version for entry in model.opset_import}
    for node in _nodes(model.graph):
        domain = normalize_domain(node.domain)
        if (domain, node.op_type) == ("", "If"):
            continue
        if domain not in versions or lookup(domain, node.op_type, versions[domain]) is None:
            yield f"{domain or 'ai.onnx'}.{node.op_type}"


def _nodes(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """The nodes of the graph and of every subgraph in it."""
    for node in graph.node:
        yield node
        for entry in node.attribute:
            if entry.type == onnx.AttributeProto.GRAPH:
                yield from _nodes(entry.g)
