"""What networks and operators give in Chromium, against ONNX Runtime and the engine's references."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

import engine
from engine.compiled.model import CompiledModel, GpuPlan
from engine.gpu import kernels
from engine.gpu.plan.compile_graph import compile_graph
from engine.ops.window_attention import WindowGrid
from tests.engine.attention import attention
from tests.engine.models import feeds, interpret, model, node
from tests.web.conftest import Node
from tests.web.models import SIDE, onnxruntime_outputs, write_small_u2netp
from tests.web.runner import families
from tests.web.runner.data import save, write_json
from tools.make_birefnet import FORMS, SIZES, make_birefnet

HERE = Path(__file__).parent
EXACT = ("pad", "pool", "gather", "scatter", "max_unpool", "quantize", "long", "boolean")
LIMITS = {
    "*": 1.2e-6,  # ten times the distance of float32 at 1
    "conv": 3e-5,
    "linear": 7e-6,
    "y": 3e-6,  # of attention
    **dict.fromkeys(("depthwise", "deformable"), 4e-6),
    **dict.fromkeys(("transposed", "roi_align", "packed"), 2e-6),
    **dict.fromkeys(EXACT, 0),
}
"""The largest difference of each output, absolute below 1 and relative above it: ten times what SwiftShader has."""


def add(
    folder: Path,
    compiled: CompiledModel,
    inputs: Mapping[str, np.ndarray],
    expected: Mapping[str, np.ndarray],
    *,
    weights: str = "f32",
) -> None:
    """A model with inputs, and the outputs that they must give, for outputs.test.mjs."""
    folder.mkdir()
    save(compiled, folder / "model", weights=weights)
    write_json(folder / "inputs.json", inputs)
    write_json(folder / "expected.json", expected)


def test_every_family_of_kernels_gives_what_it_should(tmp_path: Path, run_node: Node) -> None:
    proto, inputs = families.build(families.CASES)
    add(
        tmp_path / "operators",
        engine.compile(proto.SerializeToString(), outputs="all"),
        inputs,
        families.expected(families.CASES),
    )
    graph = attention(WindowGrid(height=5, width=7, window=3, shift=1), size=4)
    given = feeds(graph)
    wanted = {"y": interpret(graph, given)[0]}
    add(tmp_path / "attention", compile_graph(graph), {"x": given[0]}, wanted)
    run_node(HERE / "outputs.test.mjs", MODELS=tmp_path, NAMES="operators attention", LIMITS=json.dumps(LIMITS))


def test_every_family_is_among_them() -> None:
    (folder,) = kernels.__path__
    names = {path.name for path in Path(folder).iterdir() if path.is_dir() and not path.name.startswith("__")}
    assert {*families.FAMILIES, "attention"} == names


def _u2netp(folder: Path, side: int) -> tuple[Path, dict[str, np.ndarray]]:
    path = write_small_u2netp(folder / "u2netp.onnx", side)
    values = np.random.default_rng(3).standard_normal((1, 3, side, side)).astype(np.float32)
    return path, {"input.1": values}


def test_a_network_gives_what_onnx_runtime_does(tmp_path: Path, run_node: Node) -> None:
    path, inputs = _u2netp(tmp_path, SIDE)
    compiled = engine.compile(path)
    expected = {place.name: onnxruntime_outputs(path, inputs)[place.name] for place in compiled.outputs}
    add(tmp_path / "u2netp", compiled, inputs, expected)
    run_node(HERE / "outputs.test.mjs", MODELS=tmp_path, NAMES="u2netp", LIMITS=json.dumps({"*": 8e-6}))


def _constant(array: np.ndarray) -> tuple[CompiledModel, dict[str, np.ndarray]]:
    """A model that puts rows of a constant behind its input, unchanged, and an input."""
    proto = model([node("Concat", "x c", "y", axis=0)], {"x": [3, array.shape[1]]}, "y", {"c": array})
    return engine.compile(proto.SerializeToString()), {"x": np.ones((3, array.shape[1]), np.float32)}


def _read_back(folder: Path, inputs: Mapping[str, np.ndarray], rows: int) -> np.ndarray:
    """The constant that the engine itself reads out of the saved model."""
    narrow = engine.load_compiled(folder)
    assert isinstance(narrow.plan, GpuPlan)
    size = narrow.plan.buffers[0]
    values = narrow.weights.array(0, 0, size).view(np.float32)
    return values[: rows * inputs["x"].shape[1]].reshape(rows, -1)


def test_float16_weights_are_widened_to_the_same_bits(tmp_path: Path, run_node: Node) -> None:
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    halves = halves[np.isfinite(halves)].astype(np.float32).reshape(-1, 64)
    compiled, inputs = _constant(halves)
    add(tmp_path / "f16", compiled, inputs, {"y": np.concatenate([inputs["x"], halves])}, weights="f16")
    assert sum(file.stat().st_size for file in (tmp_path / "f16" / "model").glob("*.bin")) < halves.nbytes * 0.6
    # a number of 64 units that the shards cut, scales from 1e-30 to 1e30
    wide = np.random.default_rng(8).standard_normal((2048, 64)) * np.logspace(-30, 30, 2048)[:, None]
    compiled, inputs = _constant(wide.astype(np.float32))
    folder = tmp_path / "q8"
    add(folder, compiled, inputs, {}, weights="int8")
    widened = _read_back(folder / "model", inputs, 2048)
    assert np.all(np.abs(widened - wide) <= np.abs(wide).max(1, keepdims=True) / 253)
    write_json(folder / "expected.json", {"y": np.concatenate([inputs["x"], widened])})
    run_node(HERE / "outputs.test.mjs", MODELS=tmp_path, NAMES="f16 q8", LIMITS=json.dumps({"*": 0}))


@pytest.mark.long(reason="SwiftShader compiles U²-Netp's shaders four times")
@pytest.mark.parametrize("weights", ["f16", "int8"])
def test_a_network_with_narrow_weights_is_one_with_these_weights_as_float32(
    weights: str, tmp_path: Path, run_node: Node
) -> None:
    path, inputs = _u2netp(tmp_path, SIDE)
    add(tmp_path / "narrow", engine.compile(path), inputs, {}, weights=weights)
    widened = tmp_path / "widened"
    add(widened, engine.load_compiled(tmp_path / "narrow" / "model"), inputs, {})
    run_node(HERE / "equal.test.mjs", MODELS=tmp_path, NAMES="narrow widened")


@pytest.mark.long(reason="SwiftShader compiles the 128 shaders of a small BiRefNet for two minutes")
@pytest.mark.parametrize("form", FORMS)
def test_birefnet_gives_what_onnx_runtime_does(form: str, tmp_path: Path, run_node: Node) -> None:
    proto = make_birefnet("tiny", form).SerializeToString()
    side = SIZES["tiny"].image
    inputs = {"pixel_values": np.random.default_rng(1).standard_normal((1, 3, side, side)).astype(np.float32)}
    compiled = engine.compile(proto, input_shapes={"pixel_values": (1, 3, side, side)})
    add(tmp_path / "birefnet", compiled, inputs, onnxruntime_outputs(proto, inputs))
    run_node(HERE / "outputs.test.mjs", MODELS=tmp_path, NAMES="birefnet", LIMITS=json.dumps({"*": 8.5e-5}))


@pytest.mark.long(reason="U²-Netp with 320 pixels a side takes SwiftShader a minute")
def test_a_network_of_its_own_size_gives_what_onnx_runtime_does(tmp_path: Path, run_node: Node) -> None:
    path, inputs = _u2netp(tmp_path, 320)
    compiled = engine.compile(path)
    expected = {place.name: onnxruntime_outputs(path, inputs)[place.name] for place in compiled.outputs}
    add(tmp_path / "u2netp", compiled, inputs, expected)
    run_node(HERE / "outputs.test.mjs", MODELS=tmp_path, NAMES="u2netp", LIMITS=json.dumps({"*": 7e-5}))
