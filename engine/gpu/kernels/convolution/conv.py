"""Conv, FusedConv and ConvInteger: which kernel computes a layer."""

from __future__ import annotations

from engine.gpu.kernels.convolution import conv_direct
from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.tiled import emit_tiled
from engine.gpu.lowering.fusion import fusible
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.graph.ir import INTERNAL_DOMAIN, Node


@fusible("ConvInteger", reads=4)
@fusible("FusedConv", domain=INTERNAL_DOMAIN, reads=3)
@fusible("Conv", reads=3)
def emit(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    """Add the convolution ``node`` with the element-wise chain up to ``last`` in its epilogue."""
    layer = Layer.of(node, lowering)
    if layer.is_direct:
        conv_direct.emit(layer, lowering, tree, last)
    else:
        emit_tiled(layer, lowering, tree, last)
