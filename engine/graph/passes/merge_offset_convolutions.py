"""Make one convolution of those that compute the offsets and masks of deformable convolutions of one tensor."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np

from engine.graph.ir import INTERNAL_DOMAIN, Graph, Node, Value
from engine.graph.passes.match import Matcher, new_node
from engine.graph.target import ANY, Target

OFFSET, MASK = 2, 4
"""Inputs of a DeformConv."""

ACTIVATION = ("activation", "activation_version", "activation_attributes")
"""The attributes of a FusedConv that are not those of its Conv."""

SPLIT_VERSION = 13


def merge_offset_convolutions(graph: Graph, target: Target = ANY) -> int:
    """Merge convolutions of one tensor and one window that DeformConvs alone read, as offsets or masks.

    Each is a few channels wide, and reads all of the tensor: together they read it once. The result is split again.
    Those with an activation come last, and all of these have the same one. Returns how many convolutions went.
    """
    matcher = Matcher(graph, target)
    groups: dict[Hashable, list[Node]] = {}
    for node in matcher.nodes():
        if _is_mergeable(matcher, node):
            groups.setdefault(_key(node), []).append(node)
    count = 0
    for nodes in groups.values():
        plain = [node for node in nodes if not node.domain]
        activated = [node for node in nodes if node.domain]
        if activated:
            kind = _activation(activated[0])
            activated = [node for node in activated if _activation(node) == kind]
        members = [*plain, *activated]
        if len(members) > 1 and _merge(matcher, members, len(plain)):
            count += len(members) - 1
    matcher.finish()
    return count


def _is_mergeable(matcher: Matcher, node: Node) -> bool:
    """Whether the node is a convolution with constant parameters that DeformConvs alone read, as offset or mask."""
    is_conv = (node.op == "Conv" and not node.domain) or (node.op == "FusedConv" and node.domain == INTERNAL_DOMAIN)
    if not is_conv or node.attr("group", 1) != 1 or "activated_from" in node.attributes:
        return False
    if not all(value is None or value.is_constant for value in node.inputs[1:]):
        return False
    readers = matcher.readers.get(node.output, ())
    return node.output not in matcher.outputs and bool(readers) and all(_samples(reader, node) for reader in readers)


def _samples(reader: Node, node: Node) -> bool:
    """Whether a reader of the node's output is a DeformConv that takes it for its offset or its mask."""
    if reader.op != "DeformConv" or reader.domain:
        return False
    return all(value is not node.output or index in (OFFSET, MASK) for index, value in enumerate(reader.inputs))


def _activation(node: Node) -> list[Any]:
    return [node.attributes[name] for name in ACTIVATION]


def _key(node: Node) -> Hashable:
    """What members of a group have in common: the input, the window, and the type."""
    attributes = {name: value for name, value in node.attributes.items() if name not in ACTIVATION}
    w = node.input(1)
    return node.input(0), w.shape[1:], w.dtype.name, repr(sorted(attributes.items())), node.output.shape[2:]


def _merge(matcher: Matcher, members: Sequence[Node], first_activated: int) -> bool:
    """Put a convolution and a Split where the first member stood. Returns whether the target takes them."""
    first = min(members, key=matcher.graph.nodes.index)
    name = f"{first.name}:merged"
    widths = [member.output.shape[1] for member in members]
    w = np.concatenate([member.input(1).data for member in members])
    inputs: list[Value | None] = [first.input(0), Value.constant(f"{name}:weights", w)]
    if any(member.optional_input(2) is not None for member in members):
        biases = [
            np.zeros(width, w.dtype) if bias is None else bias
            for width, bias in zip(widths, (member.constant(2) for member in members), strict=True)
        ]
        inputs.append(Value.constant(f"{name}:bias", np.concatenate(biases)))
    last = members[-1]
    attributes = dict(last.attributes)
    if last.domain:
        attributes["activated_from"] = sum(widths[:first_activated])
    conv = new_node(last.op, inputs, name, attributes=attributes, version=last.version, domain=last.domain)
    sizes = Value.constant(f"{name}:sizes", np.array(widths, np.int64))
    split = Node(
        "Split",
        [conv.output, sizes],
        [member.output for member in members],
        {"axis": 1},
        version=SPLIT_VERSION,
        name=f"{name}:parts",
    )
    return matcher.replace(first, [conv, split], [member for member in members if member is not first])
