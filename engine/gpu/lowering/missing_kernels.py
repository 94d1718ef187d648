"""The check at load for what the GPU has no kernel for, or refuses: one error lists it all."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from engine.caps import PORTABLE, Caps
from engine.errors import UnsupportedError
from engine.gpu.lowering.lowering import KERNELS, STORAGE
from engine.gpu.lowering.refusals import refusal
from engine.graph.dtypes import name_of
from engine.graph.ir import Graph

UNSUPPORTED_KINDS: Mapping[tuple[str, int], str] = {("QuantizeLinear", 1): "iu"}
"""Kinds of dtypes of an input, by operator and index, that ONNX allows and the kernel does not."""


def check(graph: Graph, caps: Caps = PORTABLE, *, half: bool = False) -> None:
    """Raise UnsupportedError that lists every operator without a kernel, every dtype that it or WGSL lacks, and every
    node that its kernel refuses on a device of those capabilities."""
    missing: Counter[str] = Counter()
    for node in graph.nodes:
        if (node.domain, node.op) not in KERNELS:
            missing[f"{node.domain or 'ai.onnx'}.{node.op}"] += 1
    unsupported_types: Counter[str] = Counter()
    for node in graph.nodes:
        for value in (*node.used_inputs(), *node.used_outputs()):
            if name_of(value.dtype) not in STORAGE:
                unsupported_types[f"{name_of(value.dtype)} in {node.op}"] += 1
        for index, input_value in enumerate(node.inputs):
            if (
                input_value is not None
                and not node.domain
                and input_value.dtype.kind in UNSUPPORTED_KINDS.get((node.op, index), "")
            ):
                unsupported_types[f"{input_value.dtype.name} as input {index} of {node.op}"] += 1
    reasons = [f"{name} ({count} node{'s' * (count > 1)})" for name, count in sorted(missing.items())]
    reasons += [f"{name}" for name in sorted(unsupported_types)]
    refusals = ((node, refusal(node, caps, half)) for node in graph.nodes)
    reasons += [f"{node.label}: {reason}" for node, reason in refusals if reason is not None]
    if reasons:
        raise UnsupportedError(f"backend 'webgpu' cannot run {'; '.join(reasons)}; use backend 'numpy'")
