"""A device as passes see it (engine/graph/target.py)."""

from __future__ import annotations

from dataclasses import dataclass

from engine.caps import PORTABLE, Caps
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import KERNELS
from engine.gpu.lowering.refusals import refusal
from engine.graph.ir import Node


@dataclass(frozen=True, slots=True)
class WebgpuTarget:
    """Devices of those capabilities, in half precision or not."""

    caps: Caps = PORTABLE
    half: bool = False

    def supports(self, node: Node) -> bool:
        """Whether there is a kernel for the operator, and it does not refuse the node."""
        return (node.domain, node.op) in KERNELS and refusal(node, self.caps, self.half) is None
