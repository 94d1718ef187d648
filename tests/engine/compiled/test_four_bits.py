"""Models with ONNX's 4-bit weights, compiled: packed in memory and in files, and the same numbers out of both."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.four_bits import product
from tests.engine.models import feeds, interpret, load_graph

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
