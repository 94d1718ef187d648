"""Models compiled without a device: alike in every process, holding nothing that a run does not need, and run."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tracemalloc
import weakref
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import engine
from engine import BackendError, Caps, InputError, ModelFile, Session, TooLargeError
from engine.caps import PORTABLE_LIMITS, MatrixUnits
from engine.compiled.model import GpuPlan
from engine.gpu.device.device import Device
from engine.gpu.plan.compile_graph import compile_graph
from engine.gpu.plan.limits import check_needs
from engine.gpu.run.executor import GpuExecutor
from engine.graph.ir import Node
from engine.graph.passes import optimize
from tests.engine.gpu.gpu import device
from tests.engine.models import U2NETP, load_graph, model, node
from tests.project import ROOT

WEIGHTS = np.random.default_rng(1).standard_normal((24, 8, 3, 3)).astype(np.float32)
SMALL = model(
    [
        node("Conv", "x w", "a", name="first", pads=[1] * 4),
        node("Relu", "a", "b"),
        node("Add", "b x2", "c", name="sum"),
        node("Identity", "c", "y"),
        node("ArgMax", "b", "z", axis=1),
    ],
    {"x": [1, 8, 20, 20], "x2": [1, 24, 20, 20]},
    "y z",
    {"w": WEIGHTS},
).SerializeToString()


def feeds(session: Session) -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    return {info.name: random.standard_normal(info.shape).astype(info.dtype) for info in session.inputs}


def open_on_device(model: Any, **options: Any) -> Session:
    return Session(model, backend="webgpu", adapter=device().adapter.index, **options)


DIGEST = """
import hashlib, sys, engine
for path in sys.argv[1:]:
    model = engine.compile(path, outputs="all", caps=engine.Caps(features=("shader-f16",)), precision="f16")
    sha = hashlib.sha256(repr((model.plan, model.inputs, model.outputs, model.counts)).encode())
    for piece in model.weights.pieces():
        sha.update(repr((piece.buffer, piece.offset)).encode() + piece.data.tobytes())
    print(sha.hexdigest())
print(*(name for name in ("wgpu", "wgpudawn", "engine.gpu.device") if name in sys.modules))
"""


def test_two_processes_make_the_same_bytes_and_open_no_device(tmp_path: Any) -> None:
    small = tmp_path / "small.onnx"
    small.write_bytes(SMALL)
    lines = []
    for seed in ("1", "2"):
        process = subprocess.run(
            [sys.executable, "-c", DIGEST, small, U2NETP],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        lines.append(process.stdout.splitlines())
    assert lines[0] == lines[1]
    assert len(set(lines[0])) == 3
    assert lines[0][2] == ""


def test_what_is_compiled_says_what_the_session_would() -> None:
    compiled = engine.compile(SMALL, outputs="all", metadata={"kind": "test"})
    assert (compiled.backend, compiled.precision, compiled.metadata) == ("webgpu", "f32", {"kind": "test"})
    places = [(place.name, place.dtype, place.shape, place.storage) for place in (*compiled.inputs, *compiled.outputs)]
    assert places == [
        ("x", "float32", (1, 8, 20, 20), "f32"),
        ("x2", "float32", (1, 24, 20, 20), "f32"),
        ("y", "float32", (1, 24, 20, 20), "f32"),
        ("z", "int64", (1, 1, 20, 20), "i32"),
    ]
    with Session(SMALL, outputs="all") as session:
        assert compiled.counts.in_file == session.info.nodes_in_file == 5
        assert compiled.counts.loaded == session.info.nodes_loaded
        assert compiled.counts.planned == session.info.nodes_planned
        assert dict(compiled.counts.passes) == session.info.passes


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_a_compiled_model_runs_as_its_file_does(precision: Any) -> None:
    gpu = device()
    if precision == "f16" and not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: f16 IS NOT TESTED")
    caps = Caps(features=("shader-f16",)) if precision == "f16" else Caps()
    compiled = engine.compile(SMALL, outputs="all", precision=precision, caps=caps)
    with open_on_device(SMALL, outputs="all", precision=precision) as session:
        inputs = feeds(session)
        expected, info = session.run(inputs), session.info
    for options in ({}, {"precision": precision}):
        with open_on_device(compiled, **options) as session:
            assert list(session.run(inputs)) == ["y", "z"]
            for name, array in session.run(inputs).items():
                np.testing.assert_array_equal(array, expected[name])
            assert session.info.precision == precision
            assert session.info.matrix_units is False
            assert session.info.tuning == ""  # of what was compiled for other devices
            same = replace(info, activation_buffer_bytes=0, tuning="")
            assert replace(session.info, activation_buffer_bytes=0) == same


RUN = """
import sys, numpy, engine
from engine.compiled.model import *
class NoWeights(Weights):
    def pieces(self): return iter(())
    def verify(self): pass
plan, inputs, outputs, counts = eval(sys.stdin.read())
model = CompiledModel("webgpu", "f32", inputs, outputs, plan, NoWeights(), counts)
with engine.Session(model, adapter=int(sys.argv[1])) as session:
    (y,) = session.run({"x": numpy.ones(4, numpy.float32)}).values()
print(*y, *(name for name in ("onnx", "jinja2", "engine.graph", "engine.ops", "engine.cpu") if name in sys.modules))
"""


def test_a_compiled_model_is_data_that_runs_without_what_reads_files() -> None:
    compiled = engine.compile(model([node("Neg", "x", "y")], {"x": [4]}, "y").SerializeToString())
    process = subprocess.run(
        [sys.executable, "-c", RUN, str(device().adapter.index)],
        cwd=ROOT,
        input=repr((compiled.plan, compiled.inputs, compiled.outputs, compiled.counts)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert process.stdout.split() == ["-1.0"] * 4


class TracedNode(Node):
    """A node that can be referred to weakly."""


def test_the_graph_and_its_weights_go_once_they_are_uploaded() -> None:
    proto = model([node("Conv", "x w", "a"), node("Relu", "a", "y")], {"x": [1, 8, 9, 9]}, "y", {"w": WEIGHTS})
    graph = load_graph(proto)
    optimize(graph)
    (layer,) = graph.nodes
    graph.nodes = [TracedNode(layer.op, layer.inputs, layer.outputs, layer.attributes, layer.domain, layer.version)]
    traces = [weakref.ref(graph.nodes[0]), weakref.ref(layer.input(1).data)]
    compiled = compile_graph(graph)
    del graph, layer
    plan = compiled.plan
    executor = GpuExecutor(compiled, device())
    gc.collect()
    assert all(trace() is not None for trace in traces)  # for the weights
    del compiled
    gc.collect()
    assert all(trace() is None for trace in traces)
    assert plan is executor.plan
    executor.close()


def test_a_session_keeps_what_it_compiled_only_where_it_was_asked_to() -> None:
    with open_on_device(SMALL) as session:
        assert session.compiled is None
    with open_on_device(SMALL, keep_compiled=True) as session:
        compiled = session.compiled
        assert compiled is not None
        inputs = feeds(session)
        expected = session.run(inputs)["y"]
        pieces = list(compiled.weights.pieces())
        assert sum(piece.data.nbytes for piece in pieces) >= WEIGHTS.nbytes
        trace = weakref.ref(compiled.weights)
        session.release_compiled()
        assert session.compiled is None
        with open_on_device(compiled) as other:
            np.testing.assert_array_equal(other.run(inputs)["y"], expected)
        del compiled, other
        gc.collect()
        assert trace() is None
        np.testing.assert_array_equal(session.run(inputs)["y"], expected)


def test_weights_go_up_while_programs_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def note(name: str) -> None:
        method = getattr(Device, name)

        def noted(self: Device, *args: Any, **options: Any) -> Any:
            calls.append(name)
            return method(self, *args, **options)

        monkeypatch.setattr(Device, name, noted)

    for name in ("compile", "upload", "bind_group"):
        note(name)
    compiled = engine.compile(SMALL)
    with open_on_device(compiled):
        pass
    assert isinstance(compiled.plan, GpuPlan)
    programs, commands = len(compiled.plan.programs), len(compiled.plan.commands)
    assert calls == ["compile"] * programs + ["upload"] + ["bind_group"] * commands


def test_a_session_says_whether_matrix_units_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """No software adapter has them: what would run there is no executor of theirs."""
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: WHAT A SESSION SAYS OF MATRIX UNITS IS NOT TESTED")
    roomy = {**PORTABLE_LIMITS, "max-compute-workgroup-storage-size": 32768}
    wide = model(
        [node("Neg", "x", "n"), node("Conv", "n w", "c"), node("Relu", "c", "y")],
        {"x": [1, 64, 32, 32]},
        "y",
        {"w": np.ones((64, 64, 1, 1), np.float32)},
    ).SerializeToString()
    monkeypatch.setattr("engine.gpu.run.executor.check_needs", lambda *_: None)
    monkeypatch.setattr("engine.gpu.run.executor.GpuExecutor._bind", lambda *_: None)
    for units in (None, MatrixUnits(32, m=16, n=16, k=16, spelling="dawn")):
        caps = Caps(limits=roomy, features=("shader-f16",), matrix_units=units)
        with open_on_device(engine.compile(wide, precision="f16", caps=caps)) as session:
            assert session.info.matrix_units == (units is not None)


def test_weights_are_packed_one_at_a_time_and_again() -> None:
    compiled = engine.compile(U2NETP)
    first, second = ([(p.buffer, p.offset, p.data.tobytes()) for p in compiled.weights.pieces()] for _ in range(2))
    assert first == second
    assert isinstance(compiled.plan, GpuPlan)
    assert len(first) > 100
    end = (0, 0)
    for buffer, offset, data in first:
        assert (buffer, offset) >= end
        assert len(data) % 4 == 0
        assert offset + len(data) <= compiled.plan.buffers[buffer]
        end = buffer, offset + len(data)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backend": "numpy"}, BackendError, "the model is compiled for backend 'webgpu', not for 'numpy'"),
        ({"backend": "reference"}, BackendError, "the model is compiled for backend 'webgpu', not for 'reference'"),
        ({"precision": "f16"}, BackendError, "the model is compiled in 'f32', not in 'f16'"),
        ({"outputs": "all"}, InputError, "a compiled model has its input shapes, input values and outputs"),
        ({"input_shapes": {"x": [1]}}, InputError, "a compiled model has its input shapes, input values and outputs"),
    ],
)
def test_a_compiled_model_is_what_it_is(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        Session(engine.compile(SMALL), **options)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"precision": "f16"}, BackendError, "precision 'f16' needs the feature shader-f16, which these caps lack"),
        ({"precision": "int8"}, BackendError, "precision 'int8' is unknown; choose one of f32, f32-strict, f16"),
        ({"backend": "cuda"}, BackendError, "backend 'cuda' compiles no models"),
        ({"caps": Caps(limits={"max-buffer-size": 4096})}, TooLargeError, "largest buffer has 4096"),
    ],
)
def test_what_cannot_be_compiled_says_so(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        engine.compile(SMALL, **options)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"limits": {"max-storage-buffers-per-shader-stage": 4000}},
            r"max-storage-buffers-per-shader-stage of 4,000 \(it",
        ),
        (
            {"features": ("subgroups-of-tomorrow",)},
            "needs subgroups-of-tomorrow, which .* lacks; compile the model for",
        ),
        ({"subgroup_lanes": 1000}, r"matrix units in subgroups of 1000 \(it has \d+\)"),
    ],
)
def test_an_adapter_that_lacks_what_a_compiled_model_needs(change: dict[str, Any], message: str) -> None:
    compiled = engine.compile(SMALL)
    assert isinstance(compiled.plan, GpuPlan)
    needs = replace(compiled.plan.needs, **change)
    with pytest.raises(BackendError, match=message):
        open_on_device(replace(compiled, plan=replace(compiled.plan, needs=needs)))


def test_needs_are_the_least_that_will_do() -> None:
    compiled = engine.compile(SMALL)
    assert isinstance(compiled.plan, GpuPlan)
    needs = compiled.plan.needs
    assert needs.limits["max-storage-buffer-binding-size"] == 24 * 20 * 20 * 4
    assert needs.limits["max-storage-buffers-per-shader-stage"] == 4
    check_needs(needs, Caps(limits=needs.limits), "the device")
    for name, least in needs.limits.items():
        assert 0 < least <= PORTABLE_LIMITS[name]
        with pytest.raises(BackendError, match=f"needs {name} of {least:,} .*, which the device lacks"):
            check_needs(needs, Caps(limits={**needs.limits, name: least - 1}), "the device")


def test_integers_of_64_bits_are_refused_when_a_model_is_compiled() -> None:
    proto = model([node("Add", "i big", "y")], {"i": (np.int64, [2])}, "y", {"big": np.array([1, 1 << 40])})
    with pytest.raises(InputError, match="constant 'big' holds an integer outside of 32 bits"):
        compile_graph(load_graph(proto))


def test_no_more_than_one_layer_is_held_twice() -> None:
    """Of weights that lie in a file nothing is copied when they are compiled, and one layer at a time afterwards."""
    layers, nbytes = 12, 256 * 256 * 9 * 4
    weights = np.random.default_rng(0).standard_normal((256, 256, 3, 3)).astype(np.float32)
    chain = [node("Conv", f"t{index} w{index}", f"t{index + 1}", pads=[1] * 4) for index in range(layers)]
    constants = {f"w{index}": weights + index for index in range(layers)}
    file = ModelFile.read(model(chain, {"t0": [1, 256, 8, 8]}, f"t{layers}", constants).SerializeToString())
    del constants
    tracemalloc.start()
    try:
        compiled = engine.compile(file)
        assert tracemalloc.get_traced_memory()[1] < 2 * nbytes
        tracemalloc.reset_peak()
        assert sum(piece.data.nbytes for piece in compiled.weights.pieces()) >= layers * nbytes
        assert tracemalloc.get_traced_memory()[1] < 4 * nbytes
    finally:
        tracemalloc.stop()
