"""Models with ONNX's 4-bit weights, compiled: packed in memory and in files, and the same numbers out of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import engine
from engine.graph.bounds import needs_direct
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.four_bits import KINDS, OPSET, four_bit_tensor, product
from tests.engine.gpu.gpu import device
from tests.engine.models import feeds, interpret, load_graph, model, node

K, N = 512, 384
PACKED = K * N // 2 + K // 32 * N * 4
"""Bytes of the integers and scales."""


@pytest.mark.parametrize("backend", ["numpy", "webgpu"])
@pytest.mark.parametrize("weights", ["f32", "f16"])
def test_files(backend: Any, weights: Any, tmp_path: Path) -> None:
    """Narrower weights make scales narrower, and leave integers what they are."""
    proto = product(K, N, zero=True)
    model = proto.SerializeToString()
    compiled = engine.compile(model, backend=backend)
    zero_points = K // 32 * N * (4 if backend == "webgpu" else 0.5)
    assert sum(compiled.plan.constant_sizes) <= PACKED + zero_points + 1024
    engine.save_compiled(compiled, tmp_path / "model", weights=weights)
    stored = sum(path.stat().st_size for path in (tmp_path / "model").glob("*.bin"))
    assert stored <= PACKED + zero_points + 1024
    assert stored > K * N // 2
    again = engine.load_compiled(tmp_path / "model")
    graph = load_graph(proto)
    inputs = feeds(graph)
    (expected,) = interpret(graph, inputs)
    if backend == "numpy":
        with engine.Session(again) as session:
            (result,) = session.run({"a": inputs[0]}).values()
            assert session.info.weight_bytes <= PACKED + zero_points + 1024
        np.testing.assert_allclose(result, expected, 1e-5, 1e-4 if weights == "f32" else 2e-2)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("backend", ["numpy", "webgpu"])
def test_constants_of_a_run(backend: Any, kind: int, tmp_path: Path) -> None:
    """Zero points that a QuantizeLinear reads as it runs, and a tensor that leaves the graph as it is."""
    nodes = [node("QuantizeLinear", "x s z", "q"), node("DequantizeLinear", "q s z", "y"), node("Identity", "z", "w")]
    proto = model(nodes, {"x": [4, 3]}, "y w", {"s": np.array([0.1, 0.2, 0.5], np.float32)}, opset=OPSET)
    proto.graph.initializer.append(four_bit_tensor("z", kind, np.array([1, 2, 7])))
    compiled = engine.compile(proto.SerializeToString(), backend=backend, outputs="all")
    engine.save_compiled(compiled, tmp_path / "model")
    (inputs,) = feeds(load_graph(proto))
    number = device().adapter.index if backend == "webgpu" else None
    with engine.Session(engine.load_compiled(tmp_path / "model"), adapter=number) as session:
        results = session.run({"x": inputs})
    expected, points = interpret(load_graph(proto), [inputs])
    np.testing.assert_allclose(results["y"], expected, 1e-6)
    assert results["w"].dtype == points.dtype
    np.testing.assert_array_equal(results["w"], [1, 2, 7])


def test_scales_that_are_extreme_are_summed_by_the_definition() -> None:
    """As float weights are: what comes out of them may overflow where only a fast algorithm adds it up."""
    proto = product(K, N)
    scales = next(entry for entry in proto.graph.initializer if entry.name == "s")
    for factor in (1, 1e14):
        array = onnx.numpy_helper.to_array(scales) * np.float32(factor)
        scales.CopyFrom(onnx.numpy_helper.from_array(array, "s"))
        graph = load_graph(proto)
        assert optimize(graph)["pack_products"] == 1
        assert needs_direct(graph) == (factor > 1)


@pytest.mark.parametrize("external", [False, True])
def test_what_load_holds_are_the_bytes_of_the_file(external: bool, tmp_path: Path) -> None:
    """Mapped, not copied; packing them anew takes as many, and nothing of the file's order is left then."""
    proto = product(K, N)
    tensor = next(entry for entry in proto.graph.initializer if entry.name == "q")
    raw = tensor.raw_data
    if external:
        (tmp_path / "w.bin").write_bytes(b"12345" + raw)
        tensor.ClearField("raw_data")
        tensor.data_location = tensor.EXTERNAL
        for key, value in {"location": "w.bin", "offset": "5", "length": str(len(raw))}.items():
            tensor.external_data.add(key=key, value=value)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    graph = load(tmp_path / "model.onnx")
    packed = next(value for value in graph.constants() if value.dtype == np.uint8)
    assert packed.data is not None
    assert packed.data.tobytes() == raw
    assert not packed.data.flags.owndata
    assert sum(value.type.nbytes for value in graph.constants()) == PACKED
    assert optimize(graph)["pack_products"] == 1
    assert packed not in graph.constants()
    assert sum(value.type.nbytes for value in graph.constants()) == PACKED
