"""Whether a model may compute float32 on matrix units, whose overflow is noticed by the NaN that it leaves."""

from __future__ import annotations

from dataclasses import replace

from engine.caps import Caps, Precision
from engine.graph.ir import Graph, Node, Value

DROPS_NAN = {"Hardmax", "RoiAlign", "ThresholdedRelu"}
"""Operators of floats that may give a number where an operand is NaN: a choice by comparisons, or places by indices."""


def allowed_caps(graph: Graph, caps: Caps, precision: Precision) -> Caps:
    """What of ``caps`` the kernels of a graph may use in that precision.

    "f32-strict" has no matrix units, and "f32" none where NaN might not reach an output: what split operands do not
    hold becomes NaN (shaders/parts/split.wgsl), and a run whose outputs have none is not repeated.
    """
    without = precision == "f32-strict" or (precision == "f32" and _may_drop_nan(graph))
    return replace(caps, matrix_units=None) if without else caps


def _may_drop_nan(graph: Graph) -> bool:
    """Whether a node makes of floats of the run what is no float, as comparisons and quantisations do, or drops NaN."""
    read = {*graph.outputs, *(value for node in graph.nodes for value in node.used_inputs())}
    return any(_takes_floats(node) and (node.op in DROPS_NAN or _gives_others(node, read)) for node in graph.nodes)


def _takes_floats(node: Node) -> bool:
    return any(value.dtype.kind == "f" and not value.is_constant for value in node.used_inputs())


def _gives_others(node: Node, read: set[Value]) -> bool:
    return any(value.dtype.kind != "f" and value in read for value in node.used_outputs())
