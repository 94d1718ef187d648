"""A saved model runs without the engine, and a shader that reads elsewhere gets what its own buffers hold, or 0."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engine.compiled.writer import save_compiled
from tests.engine.compiled.models import ELEMENTS, SHARD, content, gpu_model
from tests.engine.compiled.replay import replay
from tests.engine.gpu.gpu import device

X = np.random.default_rng(3).standard_normal((1, ELEMENTS)).astype(np.float32)
W = np.frombuffer(content(gpu_model())[0], np.float32)[:ELEMENTS]


def wgpu_adapter() -> Any:
    """The adapter of tests, as wgpu has it."""
    adapter = device().adapter
    if adapter.implementation != "wgpu":
        pytest.skip(f"the replayer runs on wgpu, and tests on {adapter}: REPLAYING IS NOT TESTED HERE")
    return adapter.handle


def test_a_saved_model_is_run_by_what_the_page_says(tmp_path: Path) -> None:
    save_compiled(gpu_model(), tmp_path / "a", shard=SHARD)
    outputs = replay(tmp_path / "a", {"x": X}, wgpu_adapter())
    assert list(outputs) == ["y"]
    np.testing.assert_array_equal(outputs["y"], X * W)


@pytest.mark.parametrize("far", [100, ELEMENTS, 1 << 28, 2**32 - ELEMENTS])
def test_a_shader_that_reads_elsewhere_gets_what_its_buffer_holds(far: int, tmp_path: Path) -> None:
    save_compiled(gpu_model(far), tmp_path / "a", shard=SHARD)
    y = replay(tmp_path / "a", {"x": X}, wgpu_adapter())["y"]
    possible = X[0][:, None] * np.append(W, np.float32(0))
    assert (y[0][:, None] == possible).any(axis=1).all()
