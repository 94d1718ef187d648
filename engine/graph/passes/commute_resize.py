"""Let a 1x1 convolution that narrows the channels run before the resampling that enlarges what it reads."""

from __future__ import annotations

import numpy as np

from engine.graph.ir import Graph, Node, Value
from engine.graph.passes.match import Matcher, is_pointwise, new_node, resampling
from engine.graph.target import ANY, Target
from engine.ops.types import normalize_axes

SIZES = 3
"""The input of a Resize that holds the sizes."""


def commute_resize(graph: Graph, target: Target = ANY) -> int:
    """Put each 1x1 Conv with fewer outputs than inputs before the growing Resizes it alone reads. Returns how many.

    Both are linear, one mixes channels and the other positions; the bias passes since the weights sum to one.
    """
    matcher = Matcher(graph, target)
    count = 0
    for conv in matcher.nodes():
        if not is_pointwise(conv) or conv.output.shape[1] >= conv.input(0).shape[1]:
            continue
        x, resizes = conv.input(0), []
        while (resize := matcher.private(x, "Resize", "Upsample")) is not None and _commutes(resize):
            x = resize.input(0)
            resizes.append(resize)
        if not resizes:
            continue
        nodes = [new_node("Conv", [x, *conv.inputs[1:]], conv.name, attributes=conv.attributes, version=conv.version)]
        for resize in reversed(resizes):
            output = conv.output if resize is resizes[0] else None
            nodes.append(_resample(resize, nodes[-1].output, output))
        count += matcher.replace(resizes[0], nodes, [conv, *resizes[1:]])
    matcher.finish()
    return count


def _commutes(resize: Node) -> bool:
    """Whether it enlarges nothing but spatial axes, and leaves what is the same everywhere as it is."""
    return resize.attr("keep_aspect_ratio_policy", "stretch") == "stretch" and all(
        axis > 1 and len(table.indices) > resize.input(0).shape[axis] and table.keeps_constants
        for axis, table in resampling(resize)
    )


def _resample(resize: Node, x: Value, output: Value | None) -> Node:
    """The same resampling of ``x``, which has another number of channels."""
    inputs = [x, *resize.inputs[1:]]
    sizes = resize.constant(SIZES)
    if sizes is not None and sizes.size:
        rank = len(x.shape)
        axes = normalize_axes(resize.attr("axes") or range(rank), rank)
        new_sizes = [x.shape[1] if axis == 1 else size for axis, size in zip(axes, sizes, strict=True)]
        inputs[SIZES] = Value.constant(f"{resize.name}:sizes", np.array(new_sizes, np.int64))
    return new_node(resize.op, inputs, resize.name, attributes=resize.attributes, version=resize.version, output=output)
