"""Host of grid_sample.wgsl: an input read at fractional positions, over any number of spatial axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from engine.gpu.dispatch import Dispatch
from engine.gpu.kernels.addressing import Walk, address, value_of
from engine.gpu.lowering import Lowering, lowers
from engine.gpu.tensor import channels_last
from engine.graph.ir import Node
from engine.ops.grid_sample import CUBIC_A, MODES
from engine.ops.resize import SUPPORT


def sampler(
    extents: Sequence[int], steps: Sequence[int], mode: str = "linear", padding: str = "zeros", align: bool = True
) -> dict[str, Any]:
    """What ``parts/sample.wgsl`` is given: axes of ``extents`` whose elements lie ``steps`` apart in x."""
    return {
        "extents": extents,
        "steps": steps,
        "mode": mode,
        "padding": padding,
        "align": align,
        "support": SUPPORT.get(mode, 0),
        "cubic_a": CUBIC_A,
    }


@lowers("GridSample")
def lower_grid_sample(node: Node, low: Lowering) -> None:
    x, grid, mode = low.input(node, 0), low.input(node, 1), node.attr("mode", "linear")
    y = low.output(node, order=channels_last(x.rank), reads=[x, grid])
    walk, rank = Walk(y), x.rank - 2
    image, channel, *out = walk.positions
    axes = [0, *range(2, x.rank)]
    padding, align = node.attr("padding_mode", "zeros"), bool(node.attr("align_corners", 0))
    low.dispatch(
        Dispatch(
            kernel="grid_sample",
            params={
                **walk.params(),
                **sampler(x.shape[2:], x.strides[2:], MODES.get(mode, mode), padding, align),
                # the grid holds the last axis first
                "points": [value_of("grid", grid, [image, *out, str(axis)]) for axis in reversed(range(rank))],
                "origin": f"params.base_x + {image} * {x.strides[0]} + {channel} * {x.strides[1]}",
                "target": address("y", y, walk.positions),
                "item": y.dtype,
            },
            reads=[walk.shared("x", x, [0, 1, *(None,) * rank]), walk.shared("grid", grid, [*axes, None])],
            writes=[walk.target()],
            rows=walk.rows,
            grid=walk.grid,
        )
    )
