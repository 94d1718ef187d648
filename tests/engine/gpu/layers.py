"""Weights and inputs of layers that tests make."""

from __future__ import annotations

import numpy as np


def constant_weights(shapes: dict[str, list[int]]) -> dict[str, np.ndarray]:
    """The weights of a layer, float32 of the shape of its input "w", which is taken out of ``shapes``."""
    return {"w": np.random.default_rng(0).standard_normal(shapes.pop("w")).astype(np.float32)}


def integers(random: np.random.Generator, *shape: int) -> np.ndarray:
    """float32 of a few bits: products and their sums are exact in any order, and float16 holds the factors."""
    return (random.integers(-8, 9, shape) / 8).astype(np.float32)
