"""GridSample, the host of grid_sample.wgsl: an input at fractional positions, over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.tensor import channels_last
from engine.graph.ir import Node
from engine.ops.grid_sample import CUBIC_A, MODES
from engine.ops.resize import SUPPORT


def sampler(
    extents: Sequence[int | str],
    steps: Sequence[int | str],
    mode: str = "linear",
    padding: str = "zeros",
    align: bool = True,
    keeps_nan: bool = False,
) -> dict[str, Any]:
    """The template parameters of ``parts/sample.wgsl``: the extents of the sampled axes of x, and their strides.

    Both are numbers or WGSL. ``keeps_nan`` is ``Lowering.keeps_nan``.
    """
    return {
        "extents": extents,
        "steps": steps,
        "mode": mode,
        "padding": padding,
        "align": align,
        "support": SUPPORT.get(mode, 0),
        "cubic_a": CUBIC_A,
        "keeps_nan": keeps_nan,
    }


@lowers("GridSample")
def lower_grid_sample(node: Node, lowering: Lowering) -> None:
    x, grid, mode = lowering.input(node, 0), lowering.input(node, 1), node.attr("mode", "linear")
    y = lowering.output(node, order=channels_last(x.rank), reads=[x, grid])
    elements, rank = ElementGrid(y), x.rank - 2
    image, channel, *out = elements.positions
    axes = [0, *range(2, x.rank)]
    extents = [elements.numbers.integer(f"x_extent{axis}", x.shape[axis]) for axis in range(2, x.rank)]
    steps = [elements.numbers.integer(f"x_step{axis}", x.strides[axis]) for axis in range(2, x.rank)]
    padding, align = node.attr("padding_mode", "zeros"), bool(node.attr("align_corners", 0))
    # a condition is true where any of it is, as NumPy casts
    result = "select(0u, 1u, !(value == 0.0))" if node.output.dtype == np.bool_ else f"{y.dtype}(value)"
    lowering.dispatch(
        elements.dispatch(
            "grid_sample",
            params={
                **sampler(
                    extents,
                    steps,
                    mode=MODES.get(mode, mode),
                    padding=padding,
                    align=align,
                    keeps_nan=lowering.keeps_nan,
                ),
                # the grid holds the last axis first
                "points": [elements.value_of("grid", grid, [image, *out, str(axis)]) for axis in reversed(range(rank))],
                "result": result,
                "origin": elements.numbers.index("x", x.strides[:2], [image, channel]),
            },
            reads=[
                elements.mapped_operand("x", x, [0, 1, *(None,) * rank]),
                elements.mapped_operand("grid", grid, [*axes, None]),
            ],
        )
    )
