"""Rewrites of the graph, one per file; ``ORDER`` is the order they run in.

A pass takes the graph, changes it in place, keeps what the outputs mean, and returns how often it fired.
"""

from __future__ import annotations

from collections.abc import Callable

from engine.graph.ir import Graph
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.drop_identities import drop_identities
from engine.graph.passes.fold_batch_norm import fold_batch_norm
from engine.graph.passes.fold_constants import fold_constants
from engine.graph.passes.fuse_activation import fuse_activation
from engine.graph.passes.widen_f16 import widen_f16

Pass = Callable[[Graph], int]

ORDER: tuple[Pass, ...] = (
    widen_f16,  # before the folding, which then sees float32 constants alone
    fold_constants,
    drop_identities,  # before the fusions, which look for direct neighbours
    fold_batch_norm,
    fuse_activation,
    remove_dead_code,
)


def optimize(graph: Graph, order: tuple[Pass, ...] = ORDER) -> dict[str, int]:
    """Run the passes over ``graph``. Returns how often each fired, by name."""
    return {rewrite.__name__: rewrite(graph) for rewrite in order}
