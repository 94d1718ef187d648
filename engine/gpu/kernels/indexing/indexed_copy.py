"""Host of indexed_copy.wgsl: each element of the result is one element of a tensor, or the fill value."""

from __future__ import annotations

from collections.abc import Sequence

from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.dispatch import Operand

ZERO = {"f32": "0.0", "f16": "0.0", "i32": "0", "u32": "0u"}
"""Zero of each storage type in the type that kernels compute in."""


def indexed_copy(
    lowering: Lowering,
    elements: ElementGrid,
    x: Operand,
    positions: Sequence[str],
    *,
    lines: Sequence[str] = (),
    reads: Sequence[Operand] = (),
    inside: str = "",
    fill: str = "",
) -> None:
    """Add the dispatch ``y[i] = x[positions]``.

    ``positions`` are WGSL expressions, one for each axis of x, of the position i0, i1, … in y and of the variables that
    ``lines`` compute from it and from ``reads``. Elements for which the condition ``inside`` is false are ``fill``.
    """
    y = elements.y
    if not y.size:
        return
    lowering.dispatch(
        elements.dispatch(
            "indexed_copy",
            params={
                "lines": lines,
                "source": elements.value_of(x.name, x.tensor, positions),
                "inside": inside,
                "fill": fill,
            },
            reads=[x, *reads],
        )
    )
