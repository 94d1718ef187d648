"""FusedConv (domain ``engine``): what the pass fuse_activation makes of a Conv and the activation behind it.

``activated_from`` is the first output channel that the activation takes, by default 0: those before it are the sums
alone (the pass merge_offset_convolutions). Where it is given, there is one group.
"""

from __future__ import annotations

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Node, TensorType
from engine.ops.conv import Conv
from engine.ops.registry import operator, operator_of


def activation_of(node: Node) -> Node:
    """The activation alone, as a node over values of the convolution's output type.

    ``activation`` names it, ``activation_version`` is its operator-set version, ``activation_attributes`` is what its
    attributes are.
    """
    y = node.output
    return Node(
        op=node.attributes["activation"],
        inputs=[y],
        outputs=[y],
        attributes=node.attr("activation_attributes", {}),
        version=node.attributes["activation_version"],
        name=node.name,
    )


def activated_from(node: Node) -> int:
    """The first output channel that the activation takes."""
    return int(node.attr("activated_from", 0))


@operator("FusedConv", domain=INTERNAL_DOMAIN)
class FusedConv:
    """activation(X * W + B)."""

    @staticmethod
    def infer(node: Node) -> list[TensorType]:
        return Conv.infer(node)

    @staticmethod
    def workspace(node: Node) -> int:
        return Conv.workspace(node)

    @staticmethod
    def reference(node: Node, x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        activation, first = activation_of(node), activated_from(node)
        sums = Conv.reference(node, x, w, b)
        result = operator_of(activation).reference(activation, sums)
        activated = result[0] if isinstance(result, tuple) else result
        return np.concatenate([sums[:, :first], activated[:, first:]], axis=1) if first else activated
