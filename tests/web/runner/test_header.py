"""The runner's checks that need no browser, run by Node."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

import engine
from tests.engine.models import model, node
from tests.web.conftest import Node
from tests.web.runner.data import save

HERE = Path(__file__).parent


def _halves(file: Path) -> None:
    """Every float16 as a number or the string of one, and numbers with the float16 that NumPy rounds them to."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)
    steps = np.arange(0, 1 << 15, 7, dtype=np.uint16).view(np.float16).astype(np.float32)
    steps = steps[np.isfinite(steps)]
    ties = (steps[:-1] + steps[1:]) / 2
    deviates = np.random.default_rng(2).standard_normal(500) * np.logspace(-9, 5, 500)
    numbers = np.concatenate([steps, ties, -ties, deviates, [65519, 65520, -70000, 0, 2.9e-8, 3.0e-8]]).astype(
        np.float32
    )
    with np.errstate(over="ignore"):
        rounded = numbers.astype(np.float16).view(np.uint16)
    document = {
        "halves": [half if np.isfinite(half) else str(half) for half in halves],
        "numbers": numbers.tolist(),
        "rounded": rounded.tolist(),
    }
    file.write_text(json.dumps(document), "ascii")


def test_headers_devices_and_tensors(tmp_path: Path, run_node: Node) -> None:
    random = np.random.default_rng(0)
    weights = random.standard_normal((32, 64, 3, 3)).astype(np.float32)
    proto = model([node("Conv", "x w", "y")], {"x": [1, 64, 5, 5]}, "y", {"w": weights})
    compiled = engine.compile(proto.SerializeToString(), metadata={"title": 'a "conv": it is'})
    wide = save(compiled, tmp_path / "wide")
    narrow = save(compiled, tmp_path / "narrow", weights="int8")
    _halves(tmp_path / "halves.json")
    run_node(
        HERE / "header.test.mjs",
        HEADER=wide / "model.json",
        NARROW=narrow / "model.json",
        HALVES=tmp_path / "halves.json",
    )
