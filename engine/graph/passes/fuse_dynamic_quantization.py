"""Fuse a dynamically quantised convolution, from the float32 that it quantises to the float32 behind its activation.

As exporters write it::

    q, s, z = DynamicQuantizeLinear(x)
    y = activation(Cast(ConvInteger(q, w, z, w zero)) * (s * w scale) + bias)

Each tensor between is read by its neighbour alone, and as wide as x or y. Fused, they are never whole in memory.
"""

from __future__ import annotations

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, Value
from engine.graph.passes.fold_affine import by_channel
from engine.graph.passes.fuse_activation import ACTIVATIONS, with_activation
from engine.graph.passes.match import Matcher, other_operand
from engine.graph.target import ANY, Target


def fuse_dynamic_quantization(graph: Graph, target: Target = ANY) -> int:
    """Make a DynamicQuantizeConv of each ConvInteger between such neighbours. Returns how many there were."""
    matcher = Matcher(graph, target)
    count = sum(_fuse(matcher, node) for node in list(matcher.nodes()) if node.op == "ConvInteger" and not node.domain)
    matcher.finish()
    return count


def _fuse(matcher: Matcher, conv: Node) -> bool:
    quantize = quantization(matcher, conv)
    cast = matcher.reader(conv.output, "Cast")
    scaled = None if cast is None else matcher.reader(cast.output, "Mul")
    if quantize is None or cast is None or scaled is None or scaled.output.dtype != np.float32:
        return False
    scales = matcher.private(other_operand(scaled, cast.output), "Mul")
    scale = quantize.outputs[1]
    if scales is None or scale is None or scale not in scales.inputs:
        return False
    w_scale = other_operand(scales, scale)
    by_output = _numbers(w_scale, scaled.output.shape)
    if by_output is None:
        return False
    last, attributes, bias = scaled, conv.attributes, None
    add = matcher.reader(last.output, "Add")
    if add is not None and add.output.type == last.output.type:
        constant = other_operand(add, last.output).data
        bias = None if constant is None else by_channel(constant, last.output.shape)
        last = last if bias is None else add
    activation = matcher.reader(last.output, *ACTIVATIONS)
    if activation is not None:
        fused_attributes = with_activation(conv, activation)
        if fused_attributes is not None:
            last, attributes = activation, fused_attributes
    inputs = [quantize.input(0), conv.input(1), conv.optional_input(3), Value.constant(w_scale.name, by_output)]
    if bias is not None:
        inputs.append(Value.constant(f"{conv.name}:bias", bias))
    fused = Node("DynamicQuantizeConv", inputs, [last.output], attributes, domain=INTERNAL_DOMAIN, name=conv.name)
    others = [quantize, scales, conv, cast, scaled, *([] if add is None or bias is None else [add])]
    return matcher.replace(last, [fused], [node for node in others if node is not last])


def quantization(matcher: Matcher, conv: Node) -> Node | None:
    """The DynamicQuantizeLinear of a ConvInteger's input and zero point, if nothing else but one node reads it."""
    quantize = matcher.producers.get(conv.input(0))
    if quantize is None or quantize.op != "DynamicQuantizeLinear" or quantize.domain or None in quantize.outputs:
        return None
    own = quantize.outputs[0] is conv.input(0) and quantize.outputs[2] is conv.optional_input(2)
    return quantize if own and all(matcher.is_private(value) for value in quantize.used_outputs()) else None


def _numbers(scale: Value, shape: tuple[int, ...]) -> np.ndarray | None:
    """The constant scale of weights as one number, or as one for each channel of ``shape``; None for any other."""
    if scale.data is None:
        return None
    if scale.data.size == 1 and scale.data.ndim <= len(shape):
        return scale.data.reshape(1)
    return by_channel(scale.data, shape)
