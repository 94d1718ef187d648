"""Kernels of products with packed or integer weights against the reference: any shape, whole and finely cut."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.cpu.exact_winograd import EXACT
from engine.cpu.executor import NumpyExecutor
from engine.cpu.lower import lower
from engine.cpu.matmul_integer import MatMulIntegerKernel
from tests.engine.cpu.kernels import THREADS, compare, small_strips
from tests.engine.models import execute, interpret, load_graph, model, node
from tests.engine.packed import bnb4, nbits

CLOSE: dict[str, Any] = {"rtol": 1e-5, "atol": 2e-5}

shapes = st.tuples(st.lists(st.integers(1, 5), min_size=1, max_size=2), st.integers(1, 150)).map(
    lambda sizes: [*sizes[0], sizes[1]]
)


@settings(max_examples=40, deadline=None)
@given(
    shapes,
    st.integers(1, 40),
    st.sampled_from([4, 8]),
    st.sampled_from([16, 32, 128]),
    st.sampled_from(["", "packed", "float"]),
    st.booleans(),
)
def test_nbits(shape: list[int], n: int, bits: int, block: int, zero: str, bias: bool) -> None:
    proto = nbits(shape, n, bits=bits, block=block, zero=zero, bias=bias)
    compare(proto, kernel="MatMulNBitsKernel", **CLOSE)


@settings(max_examples=40, deadline=None)
@given(shapes, st.integers(1, 40), st.sampled_from([16, 64]), st.sampled_from([0, 1]))
def test_bnb4(shape: list[int], n: int, block: int, kind: int) -> None:
    compare(bnb4(shape, n, block=block, kind=kind), kernel="MatMulBnb4Kernel", **CLOSE)


def test_half_precision_runs_by_the_reference() -> None:
    compare(nbits([3, 40], 5, dtype=np.float16), kernel="ReferenceKernel")


def test_weights_stay_packed() -> None:
    """Four bits a weight and a little scratch, whatever the weights take as float32."""
    graph = load_graph(nbits([4, 4096], 4096, block=32))
    executor = NumpyExecutor(graph, 1)
    try:
        packed = graph.nodes[0].constant(1)
        assert packed is not None
        assert packed.nbytes == 4096 * 4096 // 2
        assert executor.scratch_bytes < packed.nbytes
    finally:
        executor.close()


def integers(
    shape: list[int],
    b: np.ndarray,
    a_dtype: Any = np.uint8,
    a_zero: np.ndarray | None = None,
    b_zero: np.ndarray | None = None,
    *,
    constant: bool = True,
) -> Any:
    """a → MatMulInteger → y; a's zero point is an input of the run, b and its zero point unless ``constant``."""
    inputs = {"a": (a_dtype, shape)}
    constants: dict[str, Any] = {}
    names = ["a"]
    for name, array, is_constant in (("b", b, constant), ("a_zero", a_zero, False), ("b_zero", b_zero, constant)):
        names.append("-" if array is None else name)
        if array is not None and is_constant:
            constants[name] = array
        elif array is not None:
            inputs[name] = (array.dtype, list(array.shape))
    return model([node("MatMulInteger", " ".join(names), "y")], inputs, "y", constants)


def exact(proto: Any, *inputs: np.ndarray) -> None:
    """The executor gives what the reference gives, on one thread and finely cut."""
    graph = load_graph(proto)
    assert isinstance(lower(graph.nodes[0]), MatMulIntegerKernel)
    (expected,) = interpret(graph, inputs)
    np.testing.assert_array_equal(execute(graph, inputs, 1)[0], expected)
    with small_strips():
        np.testing.assert_array_equal(execute(graph, inputs, THREADS)[0], expected)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_random_integers(data: st.DataObject) -> None:
    random = np.random.default_rng(data.draw(st.integers(0, 99), "seed"))

    def random_integers(shape: list[int], dtype: Any) -> np.ndarray:
        limits = np.iinfo(dtype)
        return random.integers(limits.min, limits.max, shape, endpoint=True).astype(dtype)

    a_dtype, b_dtype = (data.draw(st.sampled_from([np.uint8, np.int8]), "dtype") for _ in range(2))
    shape, n = data.draw(shapes, "shape"), data.draw(st.integers(1, 40), "n")
    b = random_integers([shape[-1], n], b_dtype)
    a_zero = {"none": None, "one": random_integers([], a_dtype), "rows": random_integers([shape[-2]], a_dtype)}
    b_zero = {"none": None, "one": random_integers([], b_dtype), "columns": random_integers([n], b_dtype)}
    points = [choices[data.draw(st.sampled_from(sorted(choices)))] for choices in (a_zero, b_zero)]
    constant = data.draw(st.booleans(), "constant")
    proto = integers(shape, b, a_dtype, *points, constant=constant)
    arrays = [random_integers(shape, a_dtype), *([] if constant else [b]), points[0], None if constant else points[1]]
    exact(proto, *(array for array in arrays if array is not None))


@pytest.mark.parametrize(("k", "runs"), [(256, 1), (259, 2), (600, 3)])
@pytest.mark.parametrize("constant", [True, False])
def test_sums_beyond_what_float32_holds(k: int, runs: int, constant: bool) -> None:
    """The largest factors: 258 products stay below 2^24, and steps of 32 make it 256."""
    b = np.full((k, 3), 255, np.uint8)
    b[:, 1] = 254
    proto = integers([5, k], b, constant=constant)
    kernel = lower(load_graph(proto).nodes[0])
    assert isinstance(kernel, MatMulIntegerKernel)
    assert len(kernel.runs) == runs
    assert max(run.stop - run.start for run in kernel.runs) * 255 * 255 < EXACT
    a = np.full((5, k), 255, np.uint8)
    a[1, ::2] = 253  # odd sums, which float32 would round
    exact(proto, a, *([] if constant else [b]))


def test_light_weights_are_summed_in_one_run() -> None:
    kernel = lower(load_graph(integers([5, 4096], np.ones((4096, 3), np.int8))).nodes[0])
    assert isinstance(kernel, MatMulIntegerKernel)
    assert len(kernel.runs) == 1


def test_nothing_to_sum_gives_zeros() -> None:
    exact(integers([3, 0], np.zeros((0, 4), np.int8)), np.zeros((3, 0), np.uint8))


def test_stacks_of_matrices_on_the_right_run_by_the_reference() -> None:
    compare(integers([2, 3, 5], np.ones((2, 5, 4), np.int8)), kernel="ReferenceKernel")
