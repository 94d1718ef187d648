"""Conv, FusedConv and ConvInteger, by the implementation that the table has for the layer."""

from __future__ import annotations

from engine.gpu.kernels.convolution.layer import Layer
from engine.gpu.kernels.convolution.table import CONVOLUTION
from engine.gpu.lowering.fusion import fusible
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.program.chain import Tree
from engine.graph.ir import INTERNAL_DOMAIN, Node


@fusible("ConvInteger", reads=4)
@fusible("FusedConv", domain=INTERNAL_DOMAIN, reads=4)
@fusible("Conv", reads=4)
def emit(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    """Add the convolution ``node`` with the element-wise chain up to ``last`` in its epilogue."""
    emit_layer(Layer.of(node, lowering), lowering, tree, last)


def emit_layer(layer: Layer, lowering: Lowering, tree: Tree, last: Node) -> None:
    """Add a layer with the element-wise chain up to ``last`` in its epilogue."""
    lowering.choose(CONVOLUTION, layer).emit(layer, lowering, tree, last)
