"""Only what no output needs goes."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Graph, Node, TensorType, Value
from engine.graph.passes.dead_code import remove_dead_code
from tests.engine.models import load_graph, model, node

F32 = np.dtype(np.float32)


def chain(outputs: int) -> Graph:
    """x → a → b → c, of which the first ``outputs`` of [c, a] are graph outputs; d is read by nobody."""
    x, a, b, c, d = (Value(name, TensorType(F32, (2,))) for name in "xabcd")
    nodes = [Node("Relu", [x], [a]), Node("Neg", [a], [b]), Node("Exp", [a], [d]), Node("Tanh", [b], [c])]
    return Graph([x], [c, a][:outputs], nodes)


def test_what_nothing_needs_goes() -> None:
    graph = chain(1)
    assert remove_dead_code(graph) == 1
    assert [node.op for node in graph.nodes] == ["Relu", "Neg", "Tanh"]
    assert remove_dead_code(graph) == 0


def test_a_chain_that_nothing_needs_goes_whole() -> None:
    graph = chain(2)
    graph.outputs = graph.outputs[1:]
    assert remove_dead_code(graph) == 3
    assert [node.op for node in graph.nodes] == ["Relu"]


def test_intermediate_outputs_stay() -> None:
    assert remove_dead_code(chain(2)) == 1


def test_one_used_output_of_several_is_enough() -> None:
    proto = model([node("Split", "x", "a b", axis=0), node("Relu", "b", "y")], {"x": [4]}, "y", opset=13)
    graph = load_graph(proto)
    assert remove_dead_code(graph) == 0
    assert graph.histogram() == {"Split": 1, "Relu": 1}


def test_producer_of_a_constant_goes() -> None:
    graph = chain(1)
    graph.outputs[0].data = np.zeros(2, np.float32)
    assert remove_dead_code(graph) == 4


def test_loader_prunes_what_folding_left_without_readers() -> None:
    # Shape reads no elements: the Relu before it is needed for its shape alone
    proto = model([node("Relu", "x", "r"), node("Shape", "r", "y")], {"x": [2, 3]}, "y")
    assert load_graph(proto).nodes == []
