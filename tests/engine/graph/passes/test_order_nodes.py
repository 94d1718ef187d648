"""The order of nodes: what needs the input alone is put off, where that holds less, and all else stays."""

from __future__ import annotations

import numpy as np
import onnx

from engine.graph.ir import Graph
from engine.graph.passes.order_nodes import order_nodes
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import load_graph, model, node

DOUBLED = {"s": np.array([1, 2, 2], np.float32)}


def breadth_first(branches: int) -> onnx.ModelProto:
    """Branches that each enlarge x and reduce it to a row, a node of each at a time, and their sum."""
    names = range(branches)
    nodes = [
        *(node("Resize", "x - s", f"a{name}", name=f"a{name}") for name in names),
        *(node("Exp", f"a{name}", f"b{name}", name=f"b{name}") for name in names),
        *(node("ReduceMax", f"b{name}", f"c{name}", keepdims=1, axes=[1, 2], name=f"c{name}") for name in names),
        node("Sum", " ".join(f"c{name}" for name in names), "y", name="y"),
    ]
    return model(nodes, {"x": [1, 8, 8]}, "y", DOUBLED)


def order(graph: Graph) -> list[str]:
    return [each.name for each in graph.nodes]


def test_branches_come_one_after_the_other() -> None:
    graph = rewrite(breadth_first(3), order_nodes, 1)
    assert order(graph) == ["a0", "b0", "c0", "a1", "b1", "c1", "a2", "b2", "c2", "y"]


def test_an_order_that_holds_no_more_stays() -> None:
    assert order(rewrite(breadth_first(1), order_nodes, 0)) == ["a0", "b0", "c0", "y"]


def test_an_enlargement_waits_for_its_reader() -> None:
    """A small result comes first of the deeper branch, and is enlarged behind the other one."""
    nodes = [
        node("Exp", "x", "a", name="a"),
        node("Sin", "a", "b", name="b"),
        node("Resize", "b - s", "c", name="c"),
        node("Resize", "x - t", "d", name="d"),
        node("ReduceMax", "d", "e", axes=[1, 2], name="e"),
        node("Mul", "c e", "y", name="y"),
    ]
    constants = DOUBLED | {"t": np.array([1, 4, 4], np.float32)}
    graph = rewrite(model(nodes, {"x": [8, 8, 8]}, "y", constants), order_nodes, 1)
    assert order(graph) == ["a", "b", "d", "e", "c", "y"]


def test_a_chain_as_long_as_any_takes_no_recursion() -> None:
    nodes = [node("Pad", f"v{step} p", f"v{step + 1}") for step in range(3000)]
    branch = [node("Exp", "v0", "w"), node("ReduceMax", "v3000", "m", keepdims=1), node("Add", "w m", "y")]
    graph = load_graph(model([*nodes, *branch], {"v0": [1]}, "y", {"p": np.array([0, 1])}))
    assert order_nodes(graph) in (0, 1)
