"""What a kernel refuses: the one rule that lowering, the check at load and passes ask."""

from __future__ import annotations

from collections.abc import Callable

from engine.caps import PORTABLE, Caps
from engine.graph.ir import Node

Refusal = Callable[[Node, Caps, bool], str | None]
"""Why a device of those capabilities cannot run a node, in half precision or not; None where it can."""

REFUSALS: dict[tuple[str, str], Refusal] = {}


def refuses(*ops: str, domain: str = "") -> Callable[[Refusal], Refusal]:
    """Register the reasons for which a kernel refuses nodes of those operators."""

    def register(refusal: Refusal) -> Refusal:
        for op in ops:
            REFUSALS[domain, op] = refusal
        return refusal

    return register


def refusal(node: Node, caps: Caps = PORTABLE, half: bool = False) -> str | None:
    """Why the GPU cannot run a node that has a kernel, or None: what ``lower``, the check at load and passes ask."""
    reason = REFUSALS.get((node.domain, node.op))
    return None if reason is None else reason(node, caps, half)
