"""Host of indexed_copy.wgsl: each element of the result is one element of a tensor, or a fill."""

from __future__ import annotations

from collections.abc import Sequence

from engine.gpu.dispatch import Dispatch, Operand
from engine.gpu.kernels.addressing import Walk, address, value_of
from engine.gpu.lowering import Lowering

ZERO = {"f32": "0.0", "f16": "0.0", "i32": "0", "u32": "0u"}
"""Zero of each storage type in the type that kernels compute in."""


def pick(
    low: Lowering,
    walk: Walk,
    x: Operand,
    positions: Sequence[str],
    *,
    lines: Sequence[str] = (),
    reads: Sequence[Operand] = (),
    inside: str = "",
    fill: str = "",
) -> None:
    """Add the dispatch ``y[i] = x[positions]``.

    ``positions`` are WGSL, one for each axis of x: of the position i0, i1, … in y, and of what ``lines`` compute of it
    and from ``reads``. Where the condition ``inside`` is given, what it does not hold for is ``fill``.
    """
    y = walk.y
    if not y.size:
        return
    low.dispatch(
        Dispatch(
            kernel="indexed_copy",
            params={
                **walk.params(),
                "lines": lines,
                "source": value_of(x.name, x.tensor, positions),
                "inside": inside,
                "fill": fill,
                "target": address("y", y, walk.positions),
                "item": y.dtype,
            },
            reads=[x, *reads],
            writes=[walk.target()],
            rows=walk.rows,
            grid=walk.grid,
        )
    )
