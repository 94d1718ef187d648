"""What goes wrong in a page with the runner, in Chromium."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import engine
from tests.engine.models import model, node
from tests.web.conftest import Node
from tests.web.models import onnxruntime_outputs
from tests.web.runner.data import change, save, write_json

HERE = Path(__file__).parent


def test_faults(tmp_path: Path, run_node: Node) -> None:
    random = np.random.default_rng(4)
    weights = random.standard_normal((512, 64)).astype(np.float32)
    proto = model([node("Add", "x w", "y")], {"x": [1, 64]}, "y", {"w": weights}).SerializeToString()
    inputs = {"x": random.standard_normal((1, 64)).astype(np.float32)}
    origin = engine.ModelOrigin("a test", "", "CC0-1.0")
    folder = save(engine.compile(proto, origin=origin, metadata={"title": "a test"}), tmp_path / "model")
    write_json(tmp_path / "inputs.json", inputs)
    write_json(tmp_path / "expected.json", onnxruntime_outputs(proto, inputs))

    def break_shader(document: dict[str, Any]) -> None:
        document["plan"]["programs"][0]["wgsl"] += "\nfn broken() -> f32 { return true; }"

    def be_huge(document: dict[str, Any]) -> None:
        document["plan"]["needs"]["limits"]["max-buffer-size"] = 1 << 40

    change(folder, tmp_path / "shader", break_shader)
    change(folder, tmp_path / "huge", be_huge)
    run_node(HERE / "faults.test.mjs", MODELS=tmp_path)
