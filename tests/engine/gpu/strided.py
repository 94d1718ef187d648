"""Inputs of any strides: a Transpose and a Slice in front of an operator are views to the GPU."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import NodeProto

from tests.engine.models import node

STEPS = (1, 1, 2, -1, -2)


@st.composite
def shapes(draw: st.DrawFn, least: int = 1, most: int = 4, extent: int = 5) -> tuple[int, ...]:
    """A small shape without empty axes."""
    return tuple(draw(st.lists(st.integers(1, extent), min_size=least, max_size=most)))


@st.composite
def views(draw: st.DrawFn, shape: Sequence[int], name: str = "v") -> tuple[list[NodeProto], list[int], dict[str, Any]]:
    """Nodes that make ``name`` of that shape from the input ``name``_in, that input's shape, and their constants."""
    perm = draw(st.permutations(range(len(shape))))
    steps = [draw(st.sampled_from(STEPS)) for _ in shape]
    wide = [extent * abs(step) for extent, step in zip(shape, steps, strict=True)]
    input_shape = [0] * len(shape)
    for axis, source in enumerate(perm):
        input_shape[source] = wide[axis]
    if not shape:
        return [node("Identity", f"{name}_in", name)], [], {}
    constants = {
        f"{name}_starts": np.array([0 if step > 0 else -1 for step in steps]),
        f"{name}_ends": np.array([2**62 if step > 0 else -(2**62) for step in steps]),
        f"{name}_axes": np.arange(len(shape)),
        f"{name}_steps": np.array(steps),
    }
    nodes = [
        node("Transpose", f"{name}_in", f"{name}_turned", perm=perm),
        node("Slice", " ".join([f"{name}_turned", *constants]), name),
    ]
    return nodes, input_shape, constants
