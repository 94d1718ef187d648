"""Compiled models and arrays in a folder, for pages that tests serve."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

import engine
from engine.compiled.model import CompiledModel


def write_json(path: Path, arrays: Mapping[str, np.ndarray]) -> None:
    """Write arrays as tests/web/runner/arrays.mjs reads them: dtype, shape and every number."""
    document = {
        name: {"dtype": str(array.dtype), "shape": list(array.shape), "values": array.reshape(-1).tolist()}
        for name, array in arrays.items()
    }
    path.write_text(json.dumps(document), "ascii")


def save(model: CompiledModel, folder: Path, *, weights: Any = "f32") -> Path:
    """Save a model in small shards, so that there are several. The folder."""
    engine.save_compiled(model, folder, shard=1 << 16, weights=weights)
    return folder


def change(folder: Path, to: Path, edit: Callable[[dict[str, Any]], None]) -> None:
    """A copy of a model whose header says something else, and is signed."""
    to.mkdir()
    for file in folder.glob("*.bin"):
        (to / file.name).write_bytes(file.read_bytes())
    document = json.loads((folder / "model.json").read_bytes())
    del document["sha256"]
    edit(document)
    rest = json.dumps(document, sort_keys=True, separators=(",", ":")).encode()[1:]
    (to / "model.json").write_bytes(b'{"sha256":"' + hashlib.sha256(rest).hexdigest().encode() + b'",' + rest)
