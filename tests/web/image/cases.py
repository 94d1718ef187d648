"""Cases that nss has computed, written for JavaScript to compare its own results with: a JSON list and one binary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


class Cases:
    """Cases by name, each a JSON object whose arrays stand in ``data.bin``; `tests/web/image/cases.mjs` reads them."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._cases: list[dict[str, Any]] = []
        self._data = bytearray()

    def add(self, kind: str, name: str, **values: Any) -> None:
        """A case of a kind; arrays of NumPy among its values become ``{"at", "dtype", "shape"}``."""
        self._cases.append({"kind": kind, "name": name, **{key: self._plain(value) for key, value in values.items()}})

    def write(self) -> Path:
        """Write what was added; the folder."""
        (self.folder / "cases.json").write_text(json.dumps(self._cases), encoding="utf-8")
        (self.folder / "data.bin").write_bytes(self._data)
        return self.folder

    def _plain(self, value: Any) -> Any:
        if isinstance(value, np.generic):
            return value.item()
        if not isinstance(value, np.ndarray):
            return value
        if value.dtype == bool:
            value = value.astype(np.uint8)
        self._data.extend(bytes(-len(self._data) % 16))
        at = len(self._data)
        self._data += np.ascontiguousarray(value).tobytes()
        return {"at": at, "dtype": value.dtype.name, "shape": list(value.shape)}


def photo(rng: np.random.Generator, height: int, width: int, *, alpha: str = "none") -> np.ndarray:
    """uint8 HxWx4 with patches, gradients and noise; its alpha is 255 ("none"), "soft", or "mostly hidden"."""
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (3 + 5 * c) + c) * np.cos(columns / (4 + 3 * c)) for c in range(3)]
    rgba = np.empty((height, width, 4), np.uint8)
    rgba[..., :3] = np.clip(np.stack(waves, axis=-1) * 90 + 128 + rng.normal(0, 12, (height, width, 3)), 0, 255)
    rgba[..., 3] = 255
    if alpha == "soft":
        rgba[..., 3] = np.clip(np.hypot(rows - height / 2, columns - width / 2) * 300 / max(height, width), 0, 255)
    elif alpha == "mostly hidden":
        rgba[..., 3] = np.where(rng.random((height, width)) < 0.9, 0, rng.integers(0, 256, (height, width)))
    return rgba


def mask(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
    """float32 HxW in 0..1: discs with soft and hard edges, specks, holes, and haze."""
    rows, columns = np.mgrid[0:height, 0:width]
    out = np.zeros((height, width), np.float32)
    for _ in range(4):
        y, x = rng.uniform(0, height), rng.uniform(0, width)
        radius, softness = rng.uniform(0.1, 0.35) * max(height, width), rng.choice([0.5, 2, 8])
        disc = np.clip((radius - np.hypot(rows - y, columns - x)) / softness + 0.5, 0, 1)
        out = np.maximum(out, disc.astype(np.float32))
    specks = rng.random((height, width))
    out = np.where(specks < 0.004, rng.random((height, width), np.float32), out)
    return np.where(specks > 0.997, np.float32(0), out).astype(np.float32)
