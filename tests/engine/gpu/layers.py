"""Layers that hypothesis draws, as models."""

from __future__ import annotations

import numpy as np


def constant_weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """The weights of a layer, float32 of the shape of its input "w", which is taken out of ``shapes``."""
    return {"w": np.random.default_rng(0).standard_normal(shapes.pop("w")).astype(np.float32)}
