"""Comparing backends: what counts as an error, and that a wrong node is found and named."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import pytest

import engine
from engine import parity
from engine.errors import BackendError
from engine.graph.ir import Graph
from engine.parity import Difference, compare, deviates, difference
from engine.session import Executor, Session
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

R = np.random.default_rng(0)
CHAIN = model(
    [
        node("Conv", "x w", "a", name="first", pads=[1] * 4),
        node("Relu", "a", "b", name="activation"),
        node("MaxPool", "b", "c", name="pool", kernel_shape=[2, 2], strides=[2, 2]),
        node("Conv", "c v", "d", name="second"),
        node("Sigmoid", "d", "y", name="end"),
    ],
    {"x": [1, 3, 16, 16]},
    "y",
    {"w": R.standard_normal((8, 3, 3, 3)).astype("f"), "v": R.standard_normal((2, 8, 1, 1)).astype("f")},
).SerializeToString()


@pytest.mark.parametrize(
    ("result", "reference", "expected"),
    [
        ([1.0, -4.0], [1.5, -4.0], (0.5, 0.125)),
        ([0.0], [0.0], (0, 0)),
        ([1.0], [0.0], (1, np.inf)),
        ([], [], (0, 0)),
        ([np.inf, np.nan, 2], [np.inf, np.nan, 2], (0, 0)),
        ([np.nan, 2], [1, 2], (np.inf, np.inf)),
        ([np.inf, 2], [-np.inf, 2], (np.inf, np.inf)),
        ([1, 2], [1, np.inf], (np.inf, np.inf)),
    ],
)
def test_difference(result: list[float], reference: list[float], expected: tuple[float, float]) -> None:
    assert difference(np.array(result, "f"), np.array(reference, "f")) == Difference(*expected)


def test_difference_of_integers_and_booleans() -> None:
    assert difference(np.array([0, 255], np.uint8), np.array([1, 255], np.uint8)) == Difference(1, 1 / 255)
    assert difference(np.array([True, False]), np.array([True, True])) == Difference(1, 1)


def test_deviates_are_always_the_same() -> None:
    with Session(CHAIN, backend="numpy") as session:
        first, second = deviates(session.inputs), deviates(session.inputs)
    assert np.array_equal(first["x"], second["x"])
    assert first["x"].dtype == np.float32


def names(report: engine.ParityReport) -> list[str]:
    return [item.name for item in report.nodes]


def test_numpy_against_the_reference() -> None:
    report = compare(CHAIN, backend="numpy", per_node=True)
    assert (report.backend, report.against, report.rtol) == ("numpy", "reference", 1e-3)
    assert names(report) == ["first", "pool", "second"]  # the passes have fused the activations
    assert report.first_over is None
    (output,) = report.outputs
    assert output.name == "y"
    for item in report.nodes:
        assert item.drift is not None
        assert item.error.relative < 1e-5
        assert item.drift.relative < 1e-5
    assert report.nodes[-1].drift == output.error


@pytest.mark.parametrize("backend", ["numpy", "webgpu"])
def test_four_bits_between_nodes(backend: str) -> None:
    nodes = [
        node("QuantizeLinear", "x s", "q", output_dtype=onnx.TensorProto.INT4),
        node("Transpose", "q", "t"),
        node("DequantizeLinear", "t s", "y"),
    ]
    proto = model(nodes, {"x": [4, 3]}, "y", {"s": np.float32(0.25)}, opset=21)
    adapter = str(device().adapter.index) if backend == "webgpu" else None
    report = compare(proto.SerializeToString(), backend=backend, adapter=adapter, per_node=True)
    assert [item.op for item in report.nodes] == ["QuantizeLinear", "Transpose", "DequantizeLinear"]
    assert [(item.error.absolute, item.drift) for item in report.nodes] == [(0, Difference(0, 0))] * 3


def test_the_backend_is_the_oracle_itself() -> None:
    report = compare(CHAIN, backend="reference", rtol=0, per_node=True)
    assert report.first_over is None
    assert all(item.error == item.drift == Difference(0, 0) for item in report.nodes)


def spoil(monkeypatch: pytest.MonkeyPatch, name: str, *, by: float) -> None:
    """Let the numpy backend compute the node ``name`` wrong, alone and within the graph."""
    executor_of = Session.executor

    def spoilt(session: Session, part: Graph, whole: Graph) -> Executor:
        executor = executor_of(session, part, whole)
        run = executor.run
        makers = [node.name for value in part.outputs for node in part.nodes if value in node.outputs]

        def wrong(inputs: Sequence[np.ndarray]) -> list[np.ndarray]:
            return [a + np.float32(by) if maker == name else a for maker, a in zip(makers, run(inputs), strict=True)]

        if session.info.backend == "numpy":
            executor.run = wrong  # type: ignore[method-assign, assignment]
        return executor

    monkeypatch.setattr(Session, "executor", spoilt)


def test_the_node_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "pool", by=0.5)
    report = compare(CHAIN, backend="numpy", per_node=True)
    assert report.first_over is not None
    assert report.first_over.name == "pool"
    assert report.first_over.error.absolute == pytest.approx(0.5)
    assert report.nodes[0].error.relative < 1e-5
    assert report.nodes[2].error.relative < 1e-5  # it was fed the oracle's inputs


def test_without_nodes_the_output_is_named() -> None:
    report = compare(CHAIN, backend="numpy", rtol=0)
    assert report.nodes == ()
    assert report.first_over == report.outputs[0]


def test_nan_is_over_any_tolerance(monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(monkeypatch, "second", by=np.nan)
    first_over = compare(CHAIN, backend="numpy", per_node=True, rtol=1e9).first_over
    assert first_over is not None
    assert first_over.name == "second"


def test_drift_in_several_runs_is_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = compare(CHAIN, backend="numpy", per_node=True)
    monkeypatch.setattr(parity, "INTERMEDIATE_BYTES", 1)
    assert compare(CHAIN, backend="numpy", per_node=True) == whole


def test_given_inputs_are_used() -> None:
    zeros = compare(CHAIN, {"x": np.zeros((1, 3, 16, 16), "f")}, backend="numpy", per_node=True)
    assert zeros.nodes[0].error == Difference(0, 0)


def test_no_oracle() -> None:
    with pytest.raises(BackendError, match="'webgpu' is no oracle; compare against reference or numpy"):
        compare(CHAIN, against="webgpu")


@pytest.mark.parametrize("against", ["reference", "numpy"])
def test_webgpu(against: str) -> None:
    adapter = str(device().adapter.index)
    report = compare(CHAIN, backend="webgpu", against=against, adapter=adapter, per_node=True, rtol=1e-5)
    assert report.backend == "webgpu"
    assert names(report) == ["first", "pool", "second"]
    assert report.first_over is None


def test_webgpu_in_half_precision() -> None:
    if not device().f16:
        pytest.skip(f"{device().adapter} has no f16: HALF PRECISION IS NOT TESTED")
    report = compare(CHAIN, adapter=str(device().adapter.index), precision="f16", per_node=True)
    assert report.rtol == 1e-2
    assert report.first_over is None
    assert report.nodes[0].error.relative > 1e-5  # its output is large enough to be kept in half the bytes


@pytest.mark.parametrize("per_node", [False, True])
def test_inputs_may_be_bound_to_constants(per_node: bool) -> None:
    nodes = [node("Mul", "x factor", "a"), node("Relu", "a", "y")]
    proto = model(nodes, {"x": [4], "factor": ["n"]}, "y").SerializeToString()
    for factor in (0.0, 3.0):
        report = compare(
            proto, backend="numpy", per_node=per_node, input_values={"factor": np.full(4, factor, np.float32)}
        )
        assert report.first_over is None
        assert len(report.nodes) <= 2 * per_node
    with pytest.raises(engine.InputError, match="bind its dimensions"):
        compare(proto, backend="numpy")
