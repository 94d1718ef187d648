"""Graphs of one WindowAttention, for the kernels of every backend."""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, TensorType, Value
from engine.ops import infer
from engine.ops.window_attention import WindowGrid


def attention(
    grid: WindowGrid, *, heads: int = 2, size: int = 3, batch: tuple[int, ...] = (1,), masked: float = -100, **of: Any
) -> Graph:
    """A graph of one WindowAttention; ``loud`` scales its bias, ``dtype`` is that of all."""
    dtype, random = np.dtype(of.get("dtype", np.float32)), np.random.default_rng(5)
    x = Value("x", TensorType(dtype, (*batch, grid.height * grid.width, 3 * heads * size)))
    bias = random.standard_normal((heads, grid.area, grid.area)) * of.get("loud", 1)
    inputs: list[Value | None] = [x, Value.constant("bias", bias.astype(dtype))]
    if grid.is_padded:
        inputs.append(Value.constant("padding", random.standard_normal(3 * heads * size).astype(dtype)))
    attributes = {"heads": heads, "scale": size**-0.5, "masked": masked, "window": grid.window, "shift": grid.shift}
    attributes |= {"height": grid.height, "width": grid.width}
    node = Node("WindowAttention", inputs, [], attributes, INTERNAL_DOMAIN)
    y = Value("y", infer(node)[0])
    node.outputs.append(y)
    return Graph([x], [y], [node])
