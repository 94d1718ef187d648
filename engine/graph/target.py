"""What passes ask of a backend before they rewrite, so that none makes a node that the backend then refuses."""

from __future__ import annotations

from typing import Protocol

from engine.graph.ir import Node
from engine.ops.registry import lookup


class Target(Protocol):
    """A backend as passes see it. Its answer is about the node as it is: operator, shapes, types, attributes."""

    def supports(self, node: Node) -> bool:
        """Whether the backend runs ``node``. A pass that would make one that it does not leaves the graph as it is."""
        ...


class AnyTarget:
    """A backend that runs every operator that the engine knows, as the NumPy executor and the references do."""

    def supports(self, node: Node) -> bool:
        """Whether the operator is known: what has no kernel of its own runs by its reference."""
        return lookup(node.domain, node.op, node.version) is not None


ANY: Target = AnyTarget()
