"""Refuse at load, naming everything that has no kernel: one error lists each operator."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping

from engine.errors import UnsupportedError
from engine.gpu.lowering import KERNELS, STORAGE
from engine.graph.ir import Graph

NOT_TAKEN: Mapping[tuple[str, int], str] = {("QuantizeLinear", 1): "iu"}
"""Kinds of dtypes that an operator takes for an input, by its index, and its kernel does not."""


def check(graph: Graph) -> None:
    """Raise UnsupportedError listing every operator without a kernel and every dtype that it or WGSL does not have."""
    missing: Counter[str] = Counter()
    for node in graph.nodes:
        if (node.domain, node.op) not in KERNELS:
            missing[f"{node.domain or 'ai.onnx'}.{node.op}"] += 1
    types: Counter[str] = Counter()
    for node in graph.nodes:
        for value in (*node.used_inputs(), *node.used_outputs()):
            if value.dtype.name not in STORAGE:
                types[f"{value.dtype.name} in {node.op}"] += 1
        for index, given in enumerate(node.inputs):
            if given is not None and not node.domain and given.dtype.kind in NOT_TAKEN.get((node.op, index), ""):
                types[f"{given.dtype.name} as input {index} of {node.op}"] += 1
    listed = [f"{name} ({count} node{'s' * (count > 1)})" for name, count in sorted(missing.items())]
    listed += [f"{name}" for name in sorted(types)]
    if listed:
        raise UnsupportedError(f"backend 'webgpu' cannot run {'; '.join(listed)}; use backend 'numpy'")
