"""Graphs of one WindowAttention, for the kernels of every backend, and models of Swin blocks, for passes."""

from __future__ import annotations

import numpy as np
import onnx

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, TensorType, Value
from engine.ops import infer
from engine.ops.window_attention import WindowGrid
from tools.make_birefnet import BiRefNet, Map, Size


def attention(
    grid: WindowGrid,
    *,
    heads: int = 2,
    size: int = 3,
    batch: tuple[int, ...] = (1,),
    mask_value: float = -100,
    bias_scale: float = 1,
    dtype: type[np.generic] = np.float32,
) -> Graph:
    """A graph of one WindowAttention; ``bias_scale`` scales its bias, ``dtype`` is that of all."""
    random = np.random.default_rng(5)
    x = Value("x", TensorType(np.dtype(dtype), (*batch, grid.height * grid.width, 3 * heads * size)))
    bias = random.standard_normal((heads, grid.area, grid.area)) * bias_scale
    inputs: list[Value | None] = [x, Value.constant("bias", bias.astype(dtype))]
    if grid.is_padded:
        inputs.append(Value.constant("padding", random.standard_normal(3 * heads * size).astype(dtype)))
    attributes = {
        "heads": heads,
        "scale": size**-0.5,
        "mask_value": mask_value,
        "window": grid.window,
        "shift": grid.shift,
    }
    attributes |= {"height": grid.height, "width": grid.width}
    node = Node("WindowAttention", inputs, [], attributes, domain=INTERNAL_DOMAIN)
    y = Value("y", infer(node)[0])
    node.outputs.append(y)
    return Graph([x], [y], [node])


def between_others(graph: Graph) -> Graph:
    """The graph between a Neg in front and one behind: in half precision, inputs and outputs of a graph are float32."""
    (attention_node,) = graph.nodes
    x, y = Value("before", graph.inputs[0].type), Value("after", graph.outputs[0].type)
    first, last = (
        Node("Neg", [x], [attention_node.inputs[0]], version=17),
        Node("Neg", [graph.outputs[0]], [y], version=17),
    )
    return Graph([x], [y], [first, attention_node, last])


def swin_blocks(
    form: str, side: int, *shifts: int, window: int = 3, heads: int = 2, channels: int = 8
) -> onnx.ModelProto:
    """Swin blocks in turn, as that exporter writes them, over a grid of ``side`` tokens a side."""
    maker = BiRefNet(Size(channels, (2,), (heads,), window), form)
    tokens = Map("x", channels, side)
    for number, shift in enumerate(shifts):
        tokens = maker.swin_block(f"block{number}", tokens, heads, shift)
    dims = 1, side * side, channels
    return maker.g.model({"x": dims}, {"y": (tokens.name, dims)})
