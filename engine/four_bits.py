"""ONNX's 4-bit integers by name, for what knows inputs and no graph: the arrays that hold them, and what fits."""

from __future__ import annotations

import numpy as np

from engine.errors import InputError

ARRAYS = {"int4": "int8", "uint4": "uint8"}
"""The dtypes of arrays that hold them, an element in a byte."""

LIMITS = {"int4": (-8, 7), "uint4": (0, 15)}
"""The smallest and the largest of each."""


def check(array: np.ndarray, limits: tuple[int, int], name: str) -> None:
    """Raise InputError, which names the input, where an integer of ``array`` is beyond ``limits``."""
    least, most = limits
    if array.size and (array.min() < least or array.max() > most):
        beyond = array[(array < least) | (array > most)][0]
        raise InputError(f"input '{name}' takes integers from {least} to {most}; it was given {beyond}")
