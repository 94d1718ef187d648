"""Fold a BatchNormalization with constant statistics into the weights of the convolution before it."""

from __future__ import annotations

import numpy as np

from engine.graph.bounds import has_extremes
from engine.graph.ir import Graph, Node, Value
from engine.graph.target import ANY, Target

BIAS = {"Conv": 2, "ConvTranspose": 2, "DeformConv": 3}
"""Where each convolution has its bias."""


def fold_batch_norm(graph: Graph, _: Target = ANY) -> int:
    """Scale the weights and shift the bias of each convolution that only a batch norm reads. Returns how many folded.

    BN(Wx + b) = (s W) x + (s (b - mean) + shift) with s = scale / sqrt(variance + epsilon), formed in float64.
    """
    producers, consumers = graph.producers(), graph.consumers()
    norms: set[Node] = set()
    for norm in graph.nodes:
        if norm.op != "BatchNormalization" or norm.domain:
            continue
        conv = producers.get(norm.input(0))
        if conv is None or not _fits(conv, norm) or conv.output in graph.outputs or consumers[conv.output] != [norm]:
            continue
        _fold(conv, norm)
        norms.add(norm)
        producers[norm.output] = conv
    graph.nodes = [node for node in graph.nodes if node not in norms]
    return len(norms)


def _fits(conv: Node, norm: Node) -> bool:
    if conv.op not in BIAS or conv.domain or any(norm.outputs[1:]):
        return False
    statistics = [norm.input(index) for index in range(1, 5)]
    # with spatial = 0, in version 7, each element of a channel has statistics of its own
    # what overflows before the norm need not after it
    if has_extremes(conv) or has_extremes(norm):
        return False
    per_channel = all(len(value.shape) == 1 for value in statistics)
    parameters = [conv.input(1), conv.optional_input(BIAS[conv.op]), *statistics]
    return per_channel and all(value is None or value.is_constant for value in parameters)


def _fold(conv: Node, norm: Node) -> None:
    bias_index = BIAS[conv.op]
    w, bias = conv.input(1), conv.optional_input(bias_index)
    scale, shift, mean, variance = (_float64(norm.input(index)) for index in range(1, 5))
    s = scale / np.sqrt(variance + norm.attr("epsilon", 1e-5))
    weights = _float64(w)
    if conv.op != "ConvTranspose":
        weights *= s.reshape(-1, *(1,) * (weights.ndim - 1))
    else:
        # ConvTranspose keeps its weights [C, M/group, ...]: output channel g * M/group + m belongs to input block g
        group = conv.attr("group", 1)
        blocks = weights.reshape(group, -1, *weights.shape[1:])
        blocks *= s.reshape(group, 1, weights.shape[1], *(1,) * (weights.ndim - 2))
    old_bias = 0 if bias is None else _float64(bias)
    conv.inputs += [None] * (bias_index + 1 - len(conv.inputs))
    conv.inputs[1] = Value.constant(f"{w.name}:bn", weights.astype(w.dtype))
    conv.inputs[bias_index] = Value.constant(f"{norm.name}:bias", (s * (old_bias - mean) + shift).astype(w.dtype))
    conv.outputs = [norm.output]


def _float64(value: Value) -> np.ndarray:
    return np.array(value.data, np.float64)
