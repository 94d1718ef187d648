"""Integer lists that operators take as an attribute in old versions and as a static input in new ones."""

from __future__ import annotations

import numpy as np

from engine.errors import ModelError
from engine.graph.ir import Node


def ints(array: np.ndarray | None) -> tuple[int, ...] | None:
    """The elements of ``array`` as plain integers, or None for an input that is left out."""
    return None if array is None else tuple(int(element) for element in array.ravel())


def static_array(node: Node, index: int) -> np.ndarray:
    """The array of the static input at ``index``; ModelError where it is left out or only known at run time."""
    value = node.input(index)
    if value.data is None:
        raise ModelError(f"{node.label}: input {index} ('{value.name}') must be known at load; bind it to a value")
    return value.data


def static_ints(node: Node, index: int) -> tuple[int, ...]:
    """The elements of the static input at ``index``; ModelError where it is left out or only known at run time."""
    return tuple(int(element) for element in static_array(node, index).ravel())
