"""What the tests of kernels share: small steps cut as finely as large ones, and comparison with the reference."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from unittest import mock

import numpy as np
import onnx

import engine.cpu
from engine.cpu import threads
from engine.cpu.lower import lower
from engine.graph.ir import Graph
from tests.engine.models import execute, feeds, interpret, load_graph

THREADS = 3


@contextmanager
def small_strips(strip_bytes: int = 1 << 11) -> Iterator[None]:
    """Within it, kernels share out the smallest step, hold strips of no more than a few rows, and call none short."""
    names = [entry.name for entry in pkgutil.iter_modules(engine.cpu.__path__)]
    modules = [importlib.import_module(f"engine.cpu.{name}") for name in names]
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(threads, "WAKE_NS", 0))
        for module in modules:
            if hasattr(module, "STRIP_BYTES"):
                stack.enter_context(mock.patch.object(module, "STRIP_BYTES", strip_bytes))
            if hasattr(module, "SHORT"):
                stack.enter_context(mock.patch.object(module, "SHORT", 0))
        yield


def compare(proto: onnx.ModelProto, *, rtol: float = 0, atol: float = 0, kernel: str | None = None) -> Graph:
    """Assert that the NumPy executor gives the reference's outputs; return the graph.

    Runs whole and finely cut, on one thread and on several. Integers and, with tolerances of 0, floats must be equal.
    ``kernel`` is the name of the class that must run one of the nodes, or several of which one must, with "|" between.
    """
    graph = load_graph(proto)
    compare_graph(graph, rtol=rtol, atol=atol, kernel=kernel)
    return graph


def compare_graph(
    graph: Graph, *arrays: np.ndarray, rtol: float = 0, atol: float = 0, kernel: str | None = None
) -> None:
    """``compare`` of a graph, on those inputs or on some."""
    if kernel is not None:
        assert set(kernel.split("|")) & {type(lower(node)).__name__ for node in graph.nodes}
    inputs = list(arrays) or feeds(graph)
    expected = interpret(graph, inputs)
    results = [execute(graph, inputs, 1)]
    with small_strips():
        results.append(execute(graph, inputs, THREADS))
    for outputs in results:
        for result, reference in zip(outputs, expected, strict=True):
            assert (result.dtype, result.shape) == (reference.dtype, reference.shape)
            np.testing.assert_allclose(result, reference, rtol, atol)
