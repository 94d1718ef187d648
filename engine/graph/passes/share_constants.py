"""Hold equal constants once: exporters repeat masks, grids and scalars, and passes make the same weights twice."""

from __future__ import annotations

import hashlib

import numpy as np

from engine.graph.ir import Graph, Value
from engine.graph.target import ANY, Target

SAMPLE = 64
"""Bytes at either end that are compared before the whole is: most weights differ in them, and are not read here."""


def share_constants(graph: Graph, _: Target = ANY) -> int:
    """Let all readers of equal constants read one of them. Returns how many went; outputs stay what they are."""
    alike: dict[tuple[object, ...], list[Value]] = {}
    for value in graph.constants():
        if value not in graph.outputs:
            content = _bytes(value)
            ends = content[:SAMPLE].tobytes(), content[-SAMPLE:].tobytes()
            alike.setdefault((value.dtype, value.shape, *ends), []).append(value)
    replacement: dict[Value, Value] = {}
    for values in alike.values():
        if len(values) > 1:
            by_digest: dict[bytes, Value] = {}
            for value in values:
                first = by_digest.setdefault(hashlib.sha256(_bytes(value).data).digest(), value)
                if first is not value:
                    replacement[value] = first
    graph.replace_values(replacement)
    return len(replacement)


def _bytes(value: Value) -> np.ndarray:
    """The constant's elements as bytes: a NaN equals itself in them, and -0 is not 0."""
    return np.ascontiguousarray(value.data).reshape(-1).view(np.uint8)
