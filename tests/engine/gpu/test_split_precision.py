"""Precision "f32" on matrix units, which plain WGSL stands in for: what overflows there is computed once more."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

import engine
from engine.caps import Caps
from engine.gpu.device import capabilities
from engine.gpu.device.adapters import Adapter
from engine.overflow import SplitOverflowError
from tests.engine.gpu.gpu import device
from tests.engine.gpu.plans import EMULATED, ROOM
from tests.engine.models import model, node

TOO_LARGE = np.float32(3e4)
"""Float16 holds it, and not scaled; the products of it with the weights are far from float32's end."""


@pytest.fixture(autouse=True)
def emulated_matrix_units(monkeypatch: pytest.MonkeyPatch) -> None:
    gpu = device()
    if not gpu.adapter.f16:
        pytest.skip(f"{gpu.adapter} HAS NO FLOAT16, which emulated matrix units take")
    caps_of = capabilities.caps_of

    def with_units(adapter: Adapter, *, matrix_units: bool = True) -> Caps:
        caps = caps_of(adapter, matrix_units=False)
        limits = {**caps.limits, **ROOM}
        return Caps(limits, caps.features, EMULATED if matrix_units else None, caps.subgroup)

    monkeypatch.setattr(capabilities, "caps_of", with_units)


def network() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {"w": random.standard_normal((16, 16, 3, 3)).astype(np.float32)}
    nodes = [node("Conv", "x w", "c", pads=[1] * 4), node("Relu", "c", "y")]
    return model(nodes, {"x": [1, 16, 16, 16]}, "y", weights)


def picture(largest: float = 1.0) -> dict[str, np.ndarray]:
    x = np.random.default_rng(1).standard_normal((1, 16, 16, 16)).astype(np.float32)
    x[0, 3, 5, 7] = largest
    return {"x": x}


def session(file: bytes | Path, precision: str = "f32") -> engine.Session:
    return engine.Session(file, backend="webgpu", adapter=device().adapter.index, precision=precision)


def test_a_run_that_overflows_is_computed_once_more_and_no_other() -> None:
    file = network().SerializeToString()
    with session(file) as split, session(file, "f32-strict") as strict:
        assert split.info.precision == "f32-split"
        assert strict.info.precision == "f32"
        for largest, repeated in ((1.0, False), (TOO_LARGE, True), (2.0, False)):
            expected = strict.run(picture(largest))["y"]
            handle = split.submit(picture(largest))
            y = handle.result()["y"]
            assert handle.repeated == repeated
            if repeated:
                np.testing.assert_array_equal(y, expected)
            else:
                np.testing.assert_allclose(y, expected, rtol=0, atol=3e-5 * np.abs(expected).max())
        np.testing.assert_array_equal(split.run(picture(TOO_LARGE))["y"], strict.run(picture(TOO_LARGE))["y"])


HIDING = {
    "ArgMax": [node("ArgMax", "c", "y", axis=1)],
    "a comparison": [node("Greater", "c zero", "m"), node("Where", "m c zero", "y")],
    "a quantisation": [node("QuantizeLinear", "c scale", "q"), node("DequantizeLinear", "q scale", "y")],
    "Hardmax": [node("Hardmax", "c", "y", axis=1)],
    "ThresholdedRelu": [node("ThresholdedRelu", "c", "y")],
}
"""What may give a number where it reads NaN."""


def followed_by(nodes: list[onnx.NodeProto]) -> bytes:
    weights = {"w": np.random.default_rng(0).standard_normal((16, 16, 3, 3)).astype(np.float32)}
    constants = {"zero": np.zeros((), np.float32), "scale": np.ones((), np.float32)}
    used = {name: array for name, array in constants.items() if any(name in each.input for each in nodes)}
    convolution = node("Conv", "x w", "c", pads=[1] * 4)
    return model([convolution, *nodes], {"x": [1, 16, 16, 16]}, "y", weights | used).SerializeToString()


@pytest.mark.parametrize("case", HIDING)
def test_a_model_that_would_hide_an_overflow_keeps_off_matrix_units(case: str) -> None:
    with session(followed_by(HIDING[case])) as checked:
        assert checked.info.precision == "f32"
        if case == "ArgMax":
            (run,) = checked.run(picture(TOO_LARGE)).values()
            (expected,) = engine.Session(followed_by(HIDING[case]), backend="numpy").run(picture(TOO_LARGE)).values()
            np.testing.assert_array_equal(run, expected)


def test_indices_that_nobody_reads_hide_nothing() -> None:
    with session(followed_by([node("MaxPool", "c", "y indices", kernel_shape=[2, 2])])) as pooled:
        assert pooled.info.precision == "f32-split"


def test_nan_of_the_inputs_is_no_overflow() -> None:
    with session(network().SerializeToString()) as split:
        handle = split.submit(picture(np.nan), allow_nan=True)
        assert np.isnan(handle.result()["y"]).any()
        assert not handle.repeated


def test_a_compiled_model_alone_says_what_to_do() -> None:
    file = network().SerializeToString()
    with engine.Session(file, backend="webgpu", adapter=device().adapter.index, keep_compiled=True) as first:
        compiled = first.compiled
    assert compiled is not None
    assert compiled.precision == "f32-split"
    with engine.Session(compiled, adapter=device().adapter.index) as alone:
        with pytest.raises(SplitOverflowError, match="use precision 'f32-strict'"):
            alone.run(picture(TOO_LARGE))
        assert np.isfinite(alone.run(picture())["y"]).all()
    with pytest.raises(engine.BackendError, match="is compiled in 'f32-split', not in 'f32-strict'"):
        engine.Session(compiled, adapter=device().adapter.index, precision="f32-strict")


def test_a_file_that_has_changed_is_not_taken_for_the_first(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(network().SerializeToString())
    with session(file) as split:
        (tmp_path / "other").write_bytes(b"")
        (tmp_path / "other").replace(file)
        with pytest.raises(engine.BackendError, match=r"model\.onnx has changed since it was opened"):
            split.run(picture(TOO_LARGE))
