"""Rewrites of the graph, one per file; ``ORDER`` is the order they run in.

A pass takes the graph and the backend that will run it, changes the graph in place, keeps what the outputs mean, and
returns how often it fired. It makes no node that the backend refuses (engine/graph/target.py).
"""

from __future__ import annotations

from typing import Protocol

from engine.graph.ir import Graph
from engine.graph.passes.broadcast_resize import broadcast_resize
from engine.graph.passes.commute_resize import commute_resize
from engine.graph.passes.compose_convolutions import compose_convolutions
from engine.graph.passes.dead_code import remove_dead_code
from engine.graph.passes.drop_identities import drop_identities
from engine.graph.passes.fold_affine import fold_affine
from engine.graph.passes.fold_batch_norm import fold_batch_norm
from engine.graph.passes.fold_constants import fold_constants, fold_large_sums
from engine.graph.passes.fold_gathered import fold_gathered
from engine.graph.passes.fold_mask_scale import fold_mask_scale
from engine.graph.passes.fuse_activation import fuse_activation
from engine.graph.passes.fuse_deform_conv import fuse_deform_conv
from engine.graph.passes.fuse_dynamic_quantization import fuse_dynamic_quantization
from engine.graph.passes.fuse_gelu import fuse_gelu
from engine.graph.passes.fuse_hard_swish import fuse_hard_swish
from engine.graph.passes.fuse_layer_norm import fuse_layer_norm
from engine.graph.passes.fuse_patch_merging import fuse_patch_merging
from engine.graph.passes.fuse_patches import fuse_patches
from engine.graph.passes.fuse_window_attention import fuse_window_attention
from engine.graph.passes.gather_one_hot import gather_one_hot
from engine.graph.passes.merge_offset_convolutions import merge_offset_convolutions
from engine.graph.passes.order_nodes import order_nodes
from engine.graph.passes.pack_products import pack_products
from engine.graph.passes.share_constants import share_constants
from engine.graph.passes.split_concat_convolution import split_concat_convolution
from engine.graph.passes.widen_f16 import widen_f16
from engine.graph.target import ANY, Target


class Pass(Protocol):
    """One rewrite."""

    __name__: str

    def __call__(self, graph: Graph, target: Target = ..., /) -> int: ...


ORDER: tuple[Pass, ...] = (
    widen_f16,  # before the folding, which then sees float32 constants alone
    pack_products,  # before the folding, which dequantises the weights of all others
    fold_constants,
    drop_identities,  # before the fusions, which look for direct neighbours
    fuse_patches,
    fuse_patch_merging,
    fuse_deform_conv,
    fuse_window_attention,
    fold_large_sums,  # behind the attention, which takes them apart
    fold_affine,  # with the batch norm behind it, an exporter's sum of a convolution and zeros
    fold_batch_norm,
    fold_mask_scale,
    fuse_layer_norm,
    gather_one_hot,
    fold_gathered,  # of these, too
    fuse_gelu,
    fuse_hard_swish,  # before the activations go into convolutions
    broadcast_resize,
    split_concat_convolution,  # makes neighbours of a Resize or a Conv and the 1x1 Conv behind a Concat of it
    commute_resize,
    compose_convolutions,
    fuse_activation,
    merge_offset_convolutions,  # with the activation of the masks
    fuse_dynamic_quantization,
    remove_dead_code,
    order_nodes,  # of what is left
    share_constants,  # last: fusions make constants anew
)


def optimize(graph: Graph, target: Target = ANY, *, order: tuple[Pass, ...] = ORDER) -> dict[str, int]:
    """Run the passes over ``graph`` for a backend. Returns how often each fired, by name."""
    return {rewrite.__name__: rewrite(graph, target) for rewrite in order}
