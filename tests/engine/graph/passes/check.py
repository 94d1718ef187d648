"""What every test of a pass asserts: how often it fired, and that the numbers held."""

from __future__ import annotations

import numpy as np
import onnx

from engine.graph.ir import Graph
from engine.graph.passes import Pass
from tests.engine.models import execute, feeds, interpret, load_graph


def rewrite(proto: onnx.ModelProto, pass_: Pass, fires: int, *, rtol: float = 0, atol: float = 0) -> Graph:
    """Apply the pass to the model's graph and return the graph.

    Asserts that it fired that often, that it fires no more when it is run again, and that the rewritten graph gives the
    outputs of the untouched one: names' order, dtypes and shapes alike, numbers within the tolerance (0: bit for bit),
    both interpreted by the reference executor and, within 1e-5, under the NumPy executor.
    """
    graph = load_graph(proto)
    inputs = feeds(graph)
    expected = interpret(load_graph(proto), inputs)
    assert pass_(graph) == fires
    results = interpret(graph, inputs)
    for result, reference in zip(results, expected, strict=True):
        assert (result.dtype, result.shape) == (reference.dtype, reference.shape)
        np.testing.assert_allclose(result, reference, rtol, atol)
    for result, reference in zip(execute(graph, inputs), expected, strict=True):
        np.testing.assert_allclose(result, reference, max(rtol, 2e-6), max(atol, 2e-6))
    assert pass_(graph) == 0
    return graph
