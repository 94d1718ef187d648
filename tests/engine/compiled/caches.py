"""What the tests of the cache share: entries, their sizes and times, and a model that takes some room."""

from __future__ import annotations

import dataclasses
import os
import time
from pathlib import Path

import numpy as np

import engine
from engine.compiled.cache import ModelCache
from engine.compiled.model import GpuPlan, Piece
from tests.engine.compiled.models import KEY, ListWeights, gpu_model

OTHER, THIRD = "6b" * 32, "7c" * 32
LARGE = 1 << 30


def entry_of(cache: ModelCache, key: str = KEY) -> Path:
    """The one folder of a key."""
    (path,) = [path for path in cache.folder.iterdir() if path.name.startswith(key)]
    return path


def sizes(folder: Path) -> int:
    """The bytes of all files below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def large_model(nbytes: int = 100 << 10) -> engine.CompiledModel:
    """A model whose weights are noise."""
    noise = np.random.default_rng(9).integers(0, 256, nbytes, np.uint8)
    model = gpu_model()
    assert isinstance(model.plan, GpuPlan)
    plan = dataclasses.replace(model.plan, buffers=(nbytes, 900, 1280, 1024))
    return dataclasses.replace(model, plan=plan, weights=ListWeights([Piece(0, 0, noise)]))


def used(cache: ModelCache, key: str, seconds_ago: float) -> None:
    """Have an entry used last at that time."""
    when = time.time() - seconds_ago
    os.utime(entry_of(cache, key) / "model.json", (when, when))
