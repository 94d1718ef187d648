"""Models out of files: the same bits as without a file and by the replayer, near them with narrow weights, and shaders
that are checked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import engine
from engine.compiled.model import CompiledProgram
from engine.compiled.reader import load_compiled
from engine.compiled.writer import save_compiled
from engine.gpu.run.executor import GpuExecutor
from tests.engine.compiled.models import ELEMENTS, content, gpu_model
from tests.engine.compiled.replay import replay
from tests.engine.gpu.gpu import device
from tests.engine.in_threads import IMAGES, SMALL
from tests.engine.models import model, node
from tests.project import ROOT

X = np.random.default_rng(3).standard_normal((1, ELEMENTS)).astype(np.float32)
W = np.frombuffer(content(gpu_model())[0], np.float32)[:ELEMENTS]


class Spy:
    """A device that notes how programs are compiled."""

    def __init__(self) -> None:
        self._device: Any = device()
        self.trusted: list[bool] = []

    def compile(self, program: CompiledProgram, *, trusted: bool) -> object:
        self.trusted.append(trusted)
        return self._device.compile(program, trusted=trusted)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._device, name)


@pytest.mark.parametrize("far", [100, 1 << 28, 2**32 - ELEMENTS])
def test_a_shader_out_of_a_file_that_reads_elsewhere_is_compiled_with_checks(far: int, tmp_path: Path) -> None:
    save_compiled(gpu_model(far), tmp_path / "a")
    spy: Any = Spy()
    executor = GpuExecutor(load_compiled(tmp_path / "a"), spy)
    (y,) = executor.run([X])
    executor.close()
    possible = X[0][:, None] * np.append(W, np.float32(0))
    assert (y[0][:, None] == possible).any(axis=1).all()
    assert spy.trusted == [False]


def test_a_shader_is_compiled_without_checks_where_file_and_maker_are_trusted(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a")
    save_compiled(load_compiled(tmp_path / "a"), tmp_path / "b")  # by one who did not trust it
    for name, trusted in (("a", True), ("b", False)):
        spy: Any = Spy()
        executor = GpuExecutor(load_compiled(tmp_path / name, trust=True), spy)
        np.testing.assert_array_equal(executor.run([X])[0], X * W)
        executor.close()
        assert spy.trusted == [trusted]


def assert_equal_out_of_a_file(network: bytes, image: np.ndarray, folder: Path) -> None:
    """A session, one of the file that is saved of its model, and the replayer give the same bits."""
    adapter = device().adapter
    with engine.Session(network, backend="webgpu", adapter=adapter.index) as session:
        inputs = {session.inputs[0].name: image}
        expected = session.run(inputs)
    compiled = engine.compile(network)
    save_compiled(compiled, folder / "a")
    loaded: Any = load_compiled(folder / "a")
    with engine.Session(loaded, adapter=adapter.index) as session:
        outputs = session.run(inputs)
    if adapter.implementation == "wgpu":
        replayed = replay(folder / "a", inputs, adapter.handle)
    else:
        print(f"tests run on {adapter}, and the replayer on wgpu: IT IS NOT TESTED HERE")
        replayed = expected
    for name, array in expected.items():
        np.testing.assert_array_equal(outputs[name], array)
        np.testing.assert_array_equal(replayed[name], array)


def test_a_network_out_of_a_file_gives_the_same_bits(tmp_path: Path) -> None:
    assert_equal_out_of_a_file(SMALL, IMAGES[0], tmp_path)


@pytest.mark.parametrize(("weights", "tolerance"), [("f16", 1e-3), ("int8", 2e-2)])
def test_a_network_with_narrow_weights_is_near_and_the_same_by_the_page(
    weights: Any, tolerance: float, tmp_path: Path
) -> None:
    rng = np.random.default_rng(4)
    kernels = {name: rng.standard_normal((32, 32, 3, 3)).astype(np.float32) / 17 for name in ("w", "v")}
    nodes = [node("Conv", "x w", "a", pads=[1] * 4), node("Relu", "a", "b"), node("Conv", "b v", "y", pads=[1] * 4)]
    network = model(nodes, {"x": [1, 32, 8, 8]}, "y", kernels).SerializeToString()
    inputs = {"x": rng.standard_normal((1, 32, 8, 8)).astype(np.float32)}
    with engine.Session(network, backend="numpy") as session:
        expected = session.run(inputs)["y"]
    save_compiled(engine.compile(network), tmp_path / "a", weights=weights)
    adapter = device().adapter
    with engine.Session(load_compiled(tmp_path / "a"), adapter=adapter.index) as session:
        y = session.run(inputs)["y"]
    difference = np.abs(y - expected).max()
    assert 0.01 * tolerance < difference / np.abs(expected).max() < tolerance
    if adapter.implementation == "wgpu":
        np.testing.assert_array_equal(replay(tmp_path / "a", inputs, adapter.handle)["y"], y)
    else:
        print(f"tests run on {adapter}, and the replayer on wgpu: IT IS NOT TESTED HERE")


@pytest.mark.long(reason="U²-Netp runs three times on a software adapter, where a small network runs in any case")
def test_u2netp_out_of_a_file_gives_the_same_bits(tmp_path: Path) -> None:
    network = (ROOT / "nss" / "models" / "weights" / "u2netp.onnx").read_bytes()
    image = np.random.default_rng(0).random((1, 3, 320, 320), np.float32)
    assert_equal_out_of_a_file(network, image, tmp_path)


def test_a_session_refuses_weights_that_are_damaged(tmp_path: Path) -> None:
    save_compiled(engine.compile(SMALL), tmp_path / "a")
    (shard,) = (tmp_path / "a").glob("*.bin")
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 1
    shard.write_bytes(data)
    with pytest.raises(engine.ModelError, match="damaged"):
        engine.Session(load_compiled(tmp_path / "a"), adapter=device().adapter.index)
