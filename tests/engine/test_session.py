"""What a session says of itself, and what it says of inputs and choices that do not fit."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

import engine
from engine import BackendError, EngineError, InputError, ModelFile, Session, UnsupportedError, opening
from engine.graph.load import load
from engine.kernel_time import KernelTime
from engine.session import Executor
from tests.engine.gpu.gpu import device
from tests.engine.models import U2NETP, model, node

WEIGHTS = np.linspace(-1, 1, 3 * 2 * 9, dtype=np.float32).reshape(3, 2, 3, 3)
SMALL = model(
    [
        node("Conv", "x w", "c"),
        node("Relu", "c", "r"),
        node("Identity", "r", "y"),
        node("Shape", "x", "s"),
        node("Neg", "x", "unused"),
    ],
    {"x": [1, 2, 8, 8]},
    "y",
    {"w": WEIGHTS},
).SerializeToString()
X = np.random.default_rng(0).standard_normal((1, 2, 8, 8)).astype(np.float32)
BACKENDS = ("numpy", "reference")


def test_inputs_and_outputs() -> None:
    for backend in BACKENDS:
        with Session(SMALL, backend=backend) as session:
            assert [(info.name, info.dtype, info.shape) for info in session.inputs] == [
                ("x", np.dtype(np.float32), (1, 2, 8, 8))
            ]
            assert [(info.name, info.dtype, info.shape) for info in session.outputs] == [
                ("y", np.dtype(np.float32), (1, 3, 6, 6))
            ]


def test_info_of_numpy() -> None:
    with Session(SMALL) as session:
        info = session.info
    assert (info.backend, info.precision) == ("numpy", "f32")
    assert (info.nodes_in_file, info.nodes_loaded, info.nodes_planned) == (5, 3, 1)
    assert info.passes["drop_identities"] == 1
    assert info.passes["fuse_activation"] == 1
    assert info.weight_bytes == WEIGHTS.nbytes
    assert info.peak_activation_bytes == X.nbytes + 448  # y takes 432, in steps of 64
    assert info.scratch_bytes > 0
    assert re.fullmatch(r".+, \d+ threads?, .+", info.device)


def test_info_of_the_reference() -> None:
    with Session(SMALL, backend="reference") as session:
        info = session.info
    assert (info.backend, info.precision) == ("reference", "f32")
    assert (info.nodes_in_file, info.nodes_loaded, info.nodes_planned) == (5, 3, 3)
    assert info.passes == {}
    assert info.weight_bytes == WEIGHTS.nbytes
    assert info.peak_activation_bytes == X.nbytes + 432  # at the convolution
    assert info.scratch_bytes == 0
    assert ", 1 thread, " in info.device


def test_auto_is_numpy() -> None:
    with Session(SMALL, backend="auto") as session:
        assert session.info.backend == "numpy"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "cuda"}, "backend 'cuda' is unknown; choose one of auto, webgpu, numpy, reference"),
        (
            {"backend": "numpy", "precision": "f16"},
            "precision 'f16' is not available: the CPU computes in f32; use 'f32'",
        ),
        (
            {"backend": "reference", "precision": "int8"},
            "precision 'int8' is unknown; choose one of f32, f32-strict, f16",
        ),
        ({"backend": "numpy", "adapter": "0"}, "an adapter is for backend 'webgpu'; 'numpy' runs on the processor"),
    ],
)
def test_backend_errors_come_before_the_model_is_read(options: dict[str, str], message: str) -> None:
    with pytest.raises(BackendError) as failure:
        Session("no such file.onnx", **options)
    assert str(failure.value) == message


NAN = X.copy()
NAN[0, 1, 2, 3] = np.nan


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ({}, "input 'x' is missing; it takes float32[1, 2, 8, 8]"),
        ({"x": X, "z": X}, "the model has no input ['z']; its inputs are ['x']"),
        ({"x": X.astype(np.float64)}, "input 'x' takes float32[1, 2, 8, 8]; it was given float64[1, 2, 8, 8]"),
        ({"x": X.astype(np.uint8)}, "input 'x' takes float32[1, 2, 8, 8]; it was given uint8[1, 2, 8, 8]"),
        (
            {"x": X.astype(X.dtype.newbyteorder())},
            "input 'x' takes float32[1, 2, 8, 8]; it was given float32[1, 2, 8, 8] of another byte order",
        ),
        ({"x": X[0]}, "input 'x' takes float32[1, 2, 8, 8]; it was given float32[2, 8, 8]"),
        ({"x": X[:, :1]}, "input 'x' takes float32[1, 2, 8, 8]; it was given float32[1, 1, 8, 8]"),
        ({"x": NAN}, "input 'x' holds NaN"),
    ],
)
def test_inputs_that_do_not_fit(backend: str, inputs: dict[str, Any], message: str) -> None:
    with Session(SMALL, backend=backend) as session:
        with pytest.raises(InputError) as failure:
            session.run(inputs)
        assert str(failure.value) == message
        assert session.run({"x": X})["y"].shape == (1, 3, 6, 6)  # and it still runs


def test_nan_may_be_allowed() -> None:
    with Session(SMALL) as session:
        assert np.isnan(session.run({"x": NAN}, allow_nan=True)["y"]).any()


@pytest.mark.parametrize("backend", BACKENDS)
def test_arrays_in_any_memory_order(backend: str) -> None:
    with Session(SMALL, backend=backend) as session:
        expected = session.run({"x": X})["y"]
        for x in (np.asfortranarray(X), np.repeat(X, 2, axis=3)[..., ::2], X[..., ::-1].copy()[..., ::-1]):
            np.testing.assert_array_equal(session.run({"x": x})["y"], expected)
        byteswapped = X.astype(X.dtype.newbyteorder())
        with pytest.raises(InputError):
            session.run({"x": byteswapped})


def test_scalars_are_arrays_too() -> None:
    proto = model([node("Add", "x z", "y")], {"x": [], "z": []}, "y")
    with Session(proto.SerializeToString()) as session:
        result = session.run({"x": np.float32(1), "z": np.array(2, np.float32)})["y"]
    assert result.shape == ()
    assert result == 3


@pytest.mark.parametrize("backend", BACKENDS)
def test_dtypes_of_the_model_are_kept(backend: str) -> None:
    nodes = [
        node("Add", "h h", "a"),
        node("Cast", "a", "f", to=TensorProto.FLOAT),
        node("Relu", "d", "b"),
        node("Add", "i i", "c"),
        node("Not", "t", "n"),
    ]
    inputs: dict[str, Any] = {
        "h": (np.float16, [2]),
        "d": (np.float64, [2]),
        "i": (np.int64, [2]),
        "t": (np.bool_, [2]),
    }
    with Session(model(nodes, inputs, "a f b c n").SerializeToString(), backend=backend, outputs="all") as session:
        assert [info.dtype for info in session.inputs] == [np.float16, np.float64, np.int64, np.bool_]
        arrays = {info.name: np.ones(info.shape, info.dtype) for info in session.inputs}
        results = session.run(arrays)
        dtypes = [np.float16, np.float32, np.float64, np.int64, np.bool_]
        assert [info.dtype for info in session.outputs] == dtypes
        assert [result.dtype for result in results.values()] == dtypes


def test_order_of_outputs_is_that_asked_for() -> None:
    with Session(SMALL, outputs=["r", "c"]) as session:
        assert list(session.run({"x": X})) == ["r", "c"]


def test_model_read_before() -> None:
    file = ModelFile.read(SMALL)
    first, second = Session(file), Session(file, backend="reference", outputs=["c"])
    np.testing.assert_allclose(first.run({"x": X})["y"], np.maximum(second.run({"x": X})["c"], 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("backend", BACKENDS)
def test_observer(backend: str) -> None:
    steps: list[str] = []
    with Session(SMALL, backend=backend) as session:
        session.run({"x": X}, observe=lambda op, *_: steps.append(op))
    assert steps == {"numpy": ["FusedConv"], "reference": ["Conv", "Relu", "Identity"]}[backend]


def test_close_may_be_called_twice() -> None:
    with Session(SMALL) as session:
        session.run({"x": X})
    session.close()


def test_real_model_binds_no_symbol() -> None:
    assert ModelFile.read(U2NETP).inputs == {"input.1": (1, 3, 320, 320)}


def test_errors_are_one_family_of_single_lines() -> None:
    for name in ("BackendError", "InputError", "ModelError", "UnsupportedError"):
        assert issubclass(getattr(engine, name), EngineError)
    assert issubclass(UnsupportedError, engine.ModelError)
    assert str(EngineError("a\nb\x1b[31m\té")) == r"a\nb\x1b[31m\té"


def test_names_of_the_package() -> None:
    for name in engine.__all__:
        assert getattr(engine, name).__name__ == name
    with pytest.raises(AttributeError, match="module 'engine' has no attribute 'Nothing'"):
        _ = engine.Nothing


@pytest.mark.parametrize("backend", [*BACKENDS, "webgpu"])
def test_what_a_session_runs_is_known_by_what_it_offers(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = str(device().adapter.index) if backend == "webgpu" else None
    graph = load(ModelFile.read(SMALL))
    with Session(SMALL, backend=backend, adapter=adapter) as session:
        executor = session.executor(graph, graph)
        assert isinstance(executor, Executor)
        executor.close()

    class Other:
        """A backend that nobody has heard of."""

        weight_bytes, peak_bytes, activation_bytes, scratch_bytes = 1, 2, 3, 4
        milliseconds: Mapping[str, float] = MappingProxyType({"fetch": 5.0})

        def run(self, inputs: Any, observe: object = None) -> list[np.ndarray]:  # noqa: ARG002 (one signature for all)
            return [np.zeros((1, 3, 6, 6), np.float32)]

        def profile(self, inputs: Any) -> list[KernelTime]:
            return [KernelTime("Conv", "c", "conv_other", 0.25, flops=len(inputs))]

        def gpu_seconds(self, runs: int = 1) -> list[float]:
            return [0.5] * runs

        def close(self) -> None: ...

    monkeypatch.setattr(opening, "executor", lambda *_: (Other(), "another device"))
    with Session(SMALL, backend=backend, adapter=adapter) as session:
        info = session.info
        assert info.device == "another device"
        assert (info.weight_bytes, info.peak_activation_bytes) == (1, 2)
        assert (info.activation_buffer_bytes, info.scratch_bytes) == (3, 4)
        assert session.milliseconds == {"fetch": 5.0}
        assert session.profile({"x": X}) == [KernelTime("Conv", "c", "conv_other", 0.25, flops=1)]
        assert session.gpu_seconds(2) == [0.5, 0.5]


@pytest.mark.parametrize("backend", BACKENDS)
def test_there_is_no_gpu_to_ask_on_the_processor(backend: str) -> None:
    with Session(SMALL, backend=backend) as session:
        assert len(session.profile({"x": X})) == session.info.nodes_planned
        with pytest.raises(BackendError, match=f"backend '{backend}' runs on the processor; there is no GPU to ask"):
            session.gpu_seconds()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_closed_session_says_so(backend: str) -> None:
    session = Session(SMALL, backend=backend)
    session.close()
    with pytest.raises(BackendError, match="the session is closed"):
        session.run({"x": X})


def test_an_input_that_is_no_array() -> None:
    with Session(SMALL) as session, pytest.raises(InputError, match="input 'x' is no array"):
        session.run({"x": [[1, 2], [3]]})  # type: ignore[dict-item]


def test_what_overflows_at_load_is_no_warning(recwarn: pytest.WarningsRecorder) -> None:
    """The scales of a quantised layer meet when its kernel is made."""
    zero, scale = np.array(0, np.uint8), np.array(3e38, np.float32)
    constants = {"s": scale, "z": zero, "w": np.ones((1, 1, 1, 1), np.uint8), "one": np.array(1, np.float32)}
    proto = model([node("QLinearConv", "x s z w s z one z", "y")], {"x": (np.uint8, [1, 1, 4, 4])}, "y", constants)
    with Session(proto.SerializeToString(), backend="webgpu", adapter=device().adapter.index):
        pass
    assert [str(warning.message) for warning in recwarn if warning.category is RuntimeWarning] == []
