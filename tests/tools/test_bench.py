"""The benchmark: a fair clock, figures that mean what their heads say, and a limit that is enforced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.engine.models import model, node
from tests.project import ROOT
from tools import bench, timing
from tools.fixtures import NETWORKS
from tools.layers import LAYERS, Layer

SMALL = Layer(8, 4, 12, stride=2)


class Clock:
    """Time that passes only when a contender takes it."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: list[str] = []

    def contender(self, name: str, *seconds: float) -> object:
        remaining = iter(seconds)

        def call() -> None:
            self.calls.append(name)
            self.now += next(remaining)

        return call


def test_contenders_take_turns_and_the_first_call_does_not_count() -> None:
    clock = Clock()
    ours, theirs = clock.contender("a", 100, 3, 1, 8), clock.contender("b", 100, 2, 2, 2)
    a, b = timing.alternate([ours, theirs], 3, lambda: clock.now)
    assert clock.calls == ["a", "b", "a", "b", "a", "b", "a", "b"]
    assert (a.seconds, b.seconds) == ((3, 1, 8), (2, 2, 2))
    assert (a.median, a.least) == (3000, 1000)


def test_a_table_lines_up() -> None:
    assert timing.table("Title", ["case", "ms"], [["U²-Netp", "1.5"], ["b", "1000.0"]]).splitlines() == [
        "Title",
        "",
        "| case    |     ms |",
        "| ------- | -----: |",
        "| U²-Netp |    1.5 |",
        "| b       | 1000.0 |",
    ]


def test_a_layer_is_the_convolution_that_its_name_says() -> None:
    assert SMALL.name == "8 → 4 at 12², stride 2"
    assert SMALL.flop == 2 * 8 * 4 * 9 * 6 * 6
    with bench.Session(SMALL.model()) as session:
        assert session.outputs[0].shape == (1, 4, 6, 6)
        assert session.inputs[0].shape == SMALL.input().shape
    assert len({layer.name for layer in LAYERS}) == len(LAYERS)


def test_a_layer_is_measured_and_compared() -> None:
    (record,) = bench.layer_records([SMALL], 5)
    assert record["case"] == SMALL.name
    assert record["within_limits"] is True
    assert 0 <= float(str(record["largest_difference"])) < bench.LAYER_LIMIT
    ours, theirs = float(str(record["ours_ms"])), float(str(record["onnxruntime_ms"]))
    assert record["ratio"] == ours / theirs
    assert record["ours_gflops"] == pytest.approx(SMALL.flop / (ours * 1e-3) / 1e9)
    text = bench.report("layers", [record])
    assert "GFLOP/s" in text
    assert SMALL.name in text


@pytest.fixture
def detector(tmp_path: Path) -> Path:
    """A file whose height is open, and whose outputs are sigmoids of numbers around -8."""
    proto = model(
        [node("Conv", "x w b", "c", pads=[1, 1, 1, 1]), node("Sigmoid", "c", "y")],
        {"x": [1, 2, 6, 6]},
        "y",
        {"w": np.full((1, 2, 3, 3), 0.1, np.float32), "b": np.array([-8], np.float32)},
    )
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    onnx.save(proto, tmp_path / "detector.onnx")
    return tmp_path / "detector.onnx"


def test_other_files_are_measured_in_the_shape_that_is_given(
    detector: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert bench.Other.parse(f"{detector}=1x2x9x6").input().shape == (1, 2, 9, 6)
    assert bench.main(["--others", f"{detector}=1x2x9x6", str(detector), "--json"]) == 0
    *cases, mean = json.loads(capsys.readouterr().out)["others"]
    assert [record["case"] for record in cases] == ["detector", "detector"]
    assert mean["ratio"] == pytest.approx(np.sqrt(cases[0]["ratio"] * cases[1]["ratio"]))


@pytest.mark.parametrize(("wrong_by", "status"), [(1e-4, 0), (2e-3, 1)])
def test_sigmoids_are_compared_before_they_are_taken(
    detector: Path, monkeypatch: pytest.MonkeyPatch, wrong_by: float, status: int
) -> None:
    """An error of 1e-4 in a number of -8 is a share of 1.2e-5 of it, and of 1e-4 of its sigmoid."""
    run = bench.Session.run

    def deviate(session: bench.Session, inputs: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        error = {"y": lambda y: y * np.float32(1 + wrong_by), "c": lambda c: c + np.float32(wrong_by)}
        return {name: error[name](array) for name, array in run(session, inputs).items()}

    monkeypatch.setattr(bench.Session, "run", deviate)
    monkeypatch.setattr(bench, "OTHER_LIMIT", 2e-5)
    assert bench.main(["--others", str(detector), "--json"]) == status


def test_what_no_sigmoid_makes_is_compared_as_it_is(tmp_path: Path) -> None:
    onnx.save(model([node("Relu", "x", "y")], {"x": [1, 3]}, "y"), tmp_path / "relu.onnx")
    assert bench.before_sigmoid(tmp_path / "relu.onnx") is None


@pytest.mark.parametrize("limit", [None, -1.0])
def test_the_command_prints_json_and_fails_beyond_a_limit(
    limit: float | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "LAYERS", (SMALL,))
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    if limit is not None:
        monkeypatch.setattr(bench, "LAYER_LIMIT", limit)
    assert bench.main(["--layers", "--json"]) == (0 if limit is None else 1)
    out, err = capsys.readouterr()
    printed = json.loads(out)
    assert [record["case"] for record in printed["layers"]] == [SMALL.name]
    assert printed["machine"]["openblas_environment"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert (SMALL.name in err) == (limit is not None)


def test_the_header_tells_of_forced_blas_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("OPENBLAS_CORETYPE", "OPENBLAS_L2_SIZE"):
        monkeypatch.delenv(name, raising=False)
    plain = bench.header(bench.machine())
    assert np.__version__ in plain
    assert bench.ort.__version__ in plain
    assert "WARNING" not in plain
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    assert "WARNING: OPENBLAS_CORETYPE=Haswell is set" in bench.header(bench.machine())


def test_a_network_that_is_not_here_is_left_out_with_advice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("NSS_TEST_MODELS", str(tmp_path))
    assert bench.main(["--networks", "--only", "isnet_f32"]) == 0
    assert "fetch it with `python tools/fetch_models.py isnet_f32`" in capsys.readouterr().err


def test_fewer_than_five_runs_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as failure:
        bench.main(["--runs", "4"])
    assert failure.value.code == 2
    assert "at least 5" in capsys.readouterr().err


def test_limits_of_a_network() -> None:
    isnet, quantized = NETWORKS["isnet_f32"], NETWORKS["isnet_int8"]
    assert isnet.accepts(np.array([0, 1e-6]))
    assert not isnet.accepts(np.array([0, 1e-3]))
    assert quantized.accepts(np.array([0.5] + [0] * 999))
    assert not quantized.accepts(np.array([0.5] + [0] * 99))


def test_peak_memory_is_that_of_the_process_itself() -> None:
    ballast = np.ones(64 << 20, np.uint8)  # a child started from here must not report it
    script = "from tools.timing import peak_memory; a = bytes(8 << 20); print(peak_memory())"
    process = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True, timeout=60
    )
    own = timing.peak_memory()
    assert own > ballast.nbytes
    assert 8 << 20 < int(process.stdout) < ballast.nbytes


def test_forced_kernels_are_set_aside_and_named() -> None:
    assert bench.without_openblas({"HOME": "/home/me"}) is None
    free = bench.without_openblas({"HOME": "/home/me", "OPENBLAS_CORETYPE": "Haswell", "OPENBLAS_L2_SIZE": "512"})
    assert free == {"HOME": "/home/me", bench.SET_ASIDE: "OPENBLAS_CORETYPE=Haswell OPENBLAS_L2_SIZE=512"}


@pytest.mark.parametrize("keep", [False, True])
def test_the_process_that_measures_has_what_was_asked_for(keep: bool) -> None:
    command = [sys.executable, "tools/bench.py", "--layers", "--only", "no such layer", "--json"]
    process = subprocess.run(
        [*command, *(["--keep-openblas"] if keep else [])],
        cwd=ROOT,
        env={**os.environ, "OPENBLAS_CORETYPE": "Haswell"},
        check=True,
        capture_output=True,
    )
    machine = json.loads(process.stdout)["machine"]
    assert ("OPENBLAS_CORETYPE" in machine["openblas_environment"]) is keep
    assert ("OPENBLAS_CORETYPE=Haswell" in machine["set_aside"]) is not keep
