"""Numbers of a dispatch that stand in its uniforms, so that kernels of one structure have one source.

A number stays in the source where it decides the structure: which axes there are, strides of 0 and 1, loops that are
unrolled, sizes of workgroup memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


class Numbers:
    """The uniforms of a dispatch, gathered while its expressions are written.

    Attributes:
        uniforms: the i32 values by name, in the order in which they were first asked for.
    """

    def __init__(self) -> None:
        self.uniforms: dict[str, int] = {}

    def integer(self, name: str, value: int) -> str:
        """The WGSL of an i32. A name stands for one value."""
        assert self.uniforms.setdefault(name, value) == value, name
        return f"params.{name}"

    def scalar(self, name: str, value: float) -> str:
        """The WGSL of an f32, whose bits the uniform holds."""
        return f"bitcast<f32>({self.integer(name, int(np.float32(value).view(np.int32)))})"

    def index(self, name: str, strides: Sequence[int], positions: Sequence[str]) -> str:
        """The index, as WGSL, of the item at ``positions`` in the binding of the operand ``name``, by its strides."""
        terms = [f"params.base_{name}"]
        for axis, (position, stride) in enumerate(zip(positions, strides, strict=True)):
            if stride and position != "0":
                factor = position if position.isalnum() else f"({position})"
                terms.append(factor if stride == 1 else f"{factor} * {self.integer(f'{name}_stride{axis}', stride)}")
        return " + ".join(terms)
