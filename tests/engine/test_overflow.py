"""Numbers beyond float16: an activation that overflows is an error that names f32; such weights stay float32."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from engine import Session
from engine.errors import BackendError
from engine.overflow import check_outputs
from tests.engine.gpu.gpu import device
from tests.engine.models import model, node

INPUT = np.full((1, 8, 6, 6), 100, np.float32)


def session(proto: onnx.ModelProto, precision: str) -> Session:
    gpu = device()
    if not gpu.f16:
        pytest.skip(f"{gpu.adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    return Session(proto.SerializeToString(), backend="webgpu", adapter=str(gpu.adapter.index), precision=precision)


def chain(first: float, second: float, outputs: int = 8) -> onnx.ModelProto:
    """Two 1x1 convolutions with a ReLU between them, of weights that are all alike."""
    weights = {
        "w1": np.full((8, 8, 1, 1), first, np.float32),
        "w2": np.full((outputs, 8, 1, 1), second, np.float32),
    }
    nodes = [node("Conv", "x w1", "a"), node("Relu", "a", "r"), node("Neg", "r", "n"), node("Conv", "n w2", "y")]
    return model(nodes, {"x": [1, 8, 6, 6]}, "y", weights)


def test_an_activation_beyond_float16_names_f32() -> None:
    bait = chain(1e3, 1e-3)  # 800,000 in between, 6,400 in the end
    with session(bait, "f32") as single:
        np.testing.assert_allclose(single.run({"x": INPUT})["y"], -6400, rtol=1e-5)
    with session(bait, "f16") as half:
        with pytest.raises(BackendError, match=r"output 'y' holds NaN or infinite .* use precision 'f32'"):
            half.run({"x": INPUT})
        # the session goes on
        np.testing.assert_allclose(half.run({"x": INPUT / 1e3})["y"], -6.4, rtol=1e-3)


def test_weights_beyond_float16_stay_float32() -> None:
    with session(chain(1e5, 1e-4), "f16") as half:
        np.testing.assert_allclose(half.run({"x": INPUT / 1e5})["y"], -0.64, rtol=1e-3)


def test_infinite_inputs_may_give_what_they_give() -> None:
    infinite = np.array([np.inf, 1], np.float32)
    check_outputs([infinite], {"y": infinite})
    check_outputs([np.ones(2, np.float32)], {"y": np.ones(2, np.float32), "n": np.ones(2, np.int32)})
    with pytest.raises(BackendError, match="output 'y'"):
        check_outputs([np.ones(2, np.float32)], {"x": np.ones(2, np.float32), "y": infinite})
    with pytest.raises(BackendError, match="output 'y'"):
        check_outputs([], {"y": np.full(2, np.nan, np.float32)})
