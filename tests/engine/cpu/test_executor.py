"""Runs of one executor do not disturb each other, and leave nothing behind."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator

import numpy as np
import onnx
import pytest

from engine import ModelError
from engine.cpu.executor import NumpyExecutor
from engine.graph.ir import Graph
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.models import U2NETP, feeds, interpret, load_graph, model, node, with_image_side


def real_graph() -> Graph:
    graph = load(with_image_side(U2NETP, 96))
    optimize(graph)
    return graph


@pytest.fixture
def executor() -> Iterator[NumpyExecutor]:
    numpy_executor = NumpyExecutor(real_graph(), 2)
    yield numpy_executor
    numpy_executor.close()


def images(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(0).random((count, 1, 3, 96, 96)).astype(np.float32))


def test_real_model_equals_the_reference(executor: NumpyExecutor) -> None:
    (x,) = images(1)
    (expected,) = interpret(load(with_image_side(U2NETP, 96)), [x])
    # measured: 2e-7
    np.testing.assert_allclose(executor.run([x])[0], expected, rtol=0, atol=2e-6)


def test_two_runs_are_identical(executor: NumpyExecutor) -> None:
    first, second = images(2)
    expected = executor.run([first])[0]
    executor.run([second])
    np.testing.assert_array_equal(executor.run([first])[0], expected)


def test_outputs_are_arrays_of_their_own(executor: NumpyExecutor) -> None:
    first, second = images(2)
    result = executor.run([first])[0]
    copy = result.copy()
    executor.run([second])
    np.testing.assert_array_equal(result, copy)
    assert not np.shares_memory(result, executor._memory)
    result[...] = 7
    np.testing.assert_array_equal(executor.run([first])[0], copy)


def test_inputs_are_left_alone(executor: NumpyExecutor) -> None:
    (x,) = images(1)
    copy = x.copy()
    x.flags.writeable = False
    executor.run([x])
    np.testing.assert_array_equal(x, copy)


def test_output_that_is_an_input_is_a_copy() -> None:
    graph = load_graph(model([node("Relu", "x", "y")], {"x": [3]}, "x y"))
    executor = NumpyExecutor(graph, 1)
    x = np.ones(3, np.float32)
    results = executor.run([x])
    results[0][...] = 5
    np.testing.assert_array_equal(x, 1)
    np.testing.assert_array_equal(executor.run([x])[0], 1)


def test_nothing_is_read_before_it_is_written(executor: NumpyExecutor) -> None:
    """Memory and scratch full of NaN, as a first run may find them, change nothing."""
    (x,) = images(1)
    expected = executor.run([x])[0]
    executor._memory.fill(0xFF)
    for worker in range(executor.pool.threads):
        executor.pool.scratch(worker).fill(np.nan)
    np.testing.assert_array_equal(executor.run([x])[0], expected)


@pytest.mark.parametrize("threads", [1, 3])
def test_number_of_threads(threads: int, executor: NumpyExecutor) -> None:
    (x,) = images(1)
    other = NumpyExecutor(real_graph(), threads)
    assert other.pool.threads == threads
    # strips are cut elsewhere, so products are summed in another order; measured: 2e-8
    np.testing.assert_allclose(other.run([x])[0], executor.run([x])[0], rtol=0, atol=2e-7)
    other.close()


def test_runs_from_several_threads_take_turns(executor: NumpyExecutor) -> None:
    inputs = images(4)
    expected = [executor.run([x])[0] for x in inputs]
    results: list[np.ndarray | None] = [None] * len(inputs)
    start = threading.Barrier(len(inputs))

    def run(index: int) -> None:
        start.wait()
        for _ in range(3):
            results[index] = executor.run([inputs[index]])[0]

    callers = [threading.Thread(target=run, args=(index,)) for index in range(len(inputs))]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    for result, reference in zip(results, expected, strict=True):
        np.testing.assert_array_equal(result, reference)


def test_observer_sees_every_step(executor: NumpyExecutor) -> None:
    steps: list[tuple[str, str, float]] = []
    executor.run(images(1), lambda *step: steps.append(step))
    graph = real_graph()
    assert [op for steps_op, _, _ in steps for op in steps_op.split("+")] == [node.op for node in graph.nodes]
    assert {name for _, name, _ in steps} < {node.name for node in graph.nodes}
    assert all(seconds >= 0 for *_, seconds in steps)


def test_views_are_no_steps() -> None:
    proto = model(
        [node("Relu", "x", "a"), node("Reshape", "a s", "b"), node("Exp", "b", "y")], {"x": [4]}, "y", {"s": [2, 2]}
    )
    steps: list[str] = []
    executor = NumpyExecutor(load_graph(proto), 1)
    executor.run([np.ones(4, np.float32)], lambda op, *_: steps.append(op))
    assert steps == ["Relu", "Exp"]


def test_executor_runs_after_a_failed_run() -> None:
    proto = model([node("Gather", "x i", "g"), node("Relu", "g", "y")], {"x": [3], "i": (np.int64, [2])}, "y")
    executor = NumpyExecutor(load_graph(proto), 2)
    x = np.arange(3, dtype=np.float32)
    with pytest.raises(ModelError, match=r"Gather 'g': inputs \(float32\[3\], int64\[2\]\) do not fit the operator"):
        executor.run([x, np.array([0, 9])])
    np.testing.assert_array_equal(executor.run([x, np.array([2, 1])])[0], [2, 1])


NONFINITE = [
    [node("Log", "x", "y")],
    [node("Softmax", "x", "y")],
    [node("Div", "x x", "y")],
    [node("Pow", "x x", "y")],
    [node("Sigmoid", "x", "y")],
    [node("ReduceLogSum", "x", "y")],
    [node("Softplus", "x", "y")],
    [node("Conv", "x w", "c"), node("Sigmoid", "c", "y")],
]


@pytest.mark.parametrize("nodes", NONFINITE, ids=lambda nodes: nodes[-1].op_type)
@pytest.mark.parametrize("threads", [1, 2])
def test_infinities_and_nan_make_no_noise(nodes: list[onnx.NodeProto], threads: int) -> None:
    """They are results, as IEEE 754 has them; NumPy's warnings would reach the user's terminal."""
    shape = [1, 2, 64, 400]
    graph = load_graph(model(nodes, {"x": shape}, "y", {"w": np.ones((3, 2, 1, 1), np.float32)}))
    optimize(graph)
    x = np.resize(np.array([0, -np.inf, np.inf, np.nan, -1, 1e38], np.float32), shape)
    executor = NumpyExecutor(graph, threads)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        results = executor.run([x])
        np.testing.assert_allclose(results[0], interpret(graph, [x])[0], rtol=1e-5, atol=1e-6)
    executor.close()


def test_error_state_of_the_caller_is_left_as_it_is() -> None:
    executor = NumpyExecutor(load_graph(model([node("Log", "x", "y")], {"x": [3]}, "y")), 1)
    with np.errstate(divide="raise"):
        executor.run([np.zeros(3, np.float32)])
        with pytest.raises(FloatingPointError):
            np.log(np.zeros(3))


def test_graph_without_nodes() -> None:
    limits = {"a": np.array(0), "b": np.array(3), "c": np.array(1)}
    graph = load_graph(model([node("Range", "a b c", "y")], {"x": [2]}, "y x", limits))
    result, same = NumpyExecutor(graph, 2).run(feeds(graph))
    np.testing.assert_array_equal(result, [0, 1, 2])
    np.testing.assert_array_equal(same, feeds(graph)[0])


@pytest.mark.parametrize("sizes", [(1, 2, 0, 5), (1, 0, 6, 8), (1, 4, 0, 0)])
def test_what_has_no_elements_is_no_work(sizes: tuple[int, ...]) -> None:
    """The kernel for resampling, for one, cannot cut into parts what has none."""
    nodes = [node("Resize", "x - - sizes", "t", mode="linear"), node("Relu", "t", "y")]
    proto = model(nodes, {"x": [1, 4, 6, 8]}, "y", {"sizes": np.array(sizes, np.int64)}, opset=19)
    graph = load_graph(proto)
    executor, inputs = NumpyExecutor(graph), feeds(graph)
    (result,) = executor.run(inputs)
    executor.close()
    assert result.shape == interpret(graph, inputs)[0].shape == sizes


@pytest.mark.parametrize("execute", [interpret, lambda graph, inputs: NumpyExecutor(graph).run(inputs)])
def test_what_has_no_elements_is_not_computed_on_any_backend(execute: Callable[..., list[np.ndarray]]) -> None:
    """An index that leads nowhere is then nobody's fault."""
    constants = {"i": np.full((1, 1, 2, 2), 99), "shape": np.array([1, 1, 0, 4], np.int64)}
    nodes = [node("MaxUnpool", "x i shape", "y", kernel_shape=[2, 2], strides=[2, 2])]
    graph = load_graph(model(nodes, {"x": [1, 1, 2, 2]}, "y", constants))
    (result,) = execute(graph, feeds(graph))
    assert (result.shape, result.dtype) == ((1, 1, 0, 4), np.float32)
