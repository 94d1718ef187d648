"""The oracle frees what it can, states its peak, and leaves the arrays of others alone."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any
from unittest import mock

import numpy as np

from engine.cpu import interpreter
from engine.cpu.interpreter import ReferenceExecutor
from engine.graph.ir import Node
from tests.engine.models import load_graph, model, node


def test_results_by_hand() -> None:
    graph = load_graph(
        model([node("Add", "x w", "a"), node("Mul", "a a", "y")], {"x": [2]}, "y a", {"w": np.float32([1, 2])})
    )
    y, a = ReferenceExecutor(graph).run([np.array([3, 4], np.float32)])
    np.testing.assert_array_equal(y, [16, 36])
    np.testing.assert_array_equal(a, [4, 6])


def test_activations_are_freed_after_their_last_reader() -> None:
    nodes = [node("Exp", "x", "a"), node("Neg", "a", "b"), node("Abs", "b", "c"), node("Add", "c x", "y")]
    graph = load_graph(model(nodes, {"x": [1000]}, "y"))
    outputs: list[weakref.ref[np.ndarray]] = []
    alive: list[int] = []
    evaluate = interpreter.evaluate

    def counting_evaluate(step: Node, arrays: Sequence[Any]) -> tuple[np.ndarray, ...]:
        results = evaluate(step, arrays)
        outputs.extend(weakref.ref(result) for result in results)
        alive.append(sum(reference() is not None for reference in outputs))
        return results

    with mock.patch.object(interpreter, "evaluate", counting_evaluate):
        ReferenceExecutor(graph).run([np.zeros(1000, np.float32)])
    assert max(alive) == 2  # what is read and what is made
    assert ReferenceExecutor(graph).activation_bytes == 3 * 4000  # and x


def test_peak_of_branches() -> None:
    # at the Concat its two inputs, its output and x are alive
    nodes = [node("Exp", "x", "a"), node("Neg", "x", "b"), node("Concat", "a b", "c", axis=0), node("Relu", "c", "y")]
    graph = load_graph(model(nodes, {"x": [10]}, "y"))
    assert ReferenceExecutor(graph).activation_bytes == (10 + 10 + 20) * 4
    assert ReferenceExecutor(graph).scratch_bytes == 0


def test_outputs_are_copies() -> None:
    graph = load_graph(model([node("Identity", "x", "y")], {"x": [2]}, "y x w", {"w": np.ones(2, np.float32)}))
    x = np.zeros(2, np.float32)
    for _ in range(2):
        for result, expected in zip(ReferenceExecutor(graph).run([x]), (0, 0, 1), strict=True):
            np.testing.assert_array_equal(result, expected)
            result[...] = 9
    np.testing.assert_array_equal(x, 0)


def test_outputs_and_steps_left_out() -> None:
    proto = model([node("TopK", "x k", "- i")], {"x": [5]}, "i", {"k": np.array([2])})
    (indices,) = ReferenceExecutor(load_graph(proto)).run([np.array([3, 1, 4, 1, 5], np.float32)])
    np.testing.assert_array_equal(indices, [4, 2])


def test_observer() -> None:
    graph = load_graph(model([node("Exp", "x", "a", name="first"), node("Neg", "a", "y")], {"x": [2]}, "y"))
    steps: list[tuple[str, str, float]] = []
    ReferenceExecutor(graph).run([np.zeros(2, np.float32)], lambda *step: steps.append(step))
    assert [step[:2] for step in steps] == [("Exp", "first"), ("Neg", "y")]
