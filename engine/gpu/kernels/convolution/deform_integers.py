"""DeformQuantization and DeformConvInteger: a deformable convolution of a quantised file, without columns in memory.

The taps are moved twice. deform_extremes.wgsl looks for the extremes of what lies under them, from which the scale and
the zero point of DynamicQuantizeLinear follow; the loader of conv.wgsl makes bytes of it and subtracts the zero point.
No table has these: a level that rounds the other way is no error, so that no tuning could hold a row to an oracle.
"""

from __future__ import annotations

from engine.caps import Caps
from engine.gpu.kernels.convolution.deform_conv import takes_moved_taps
from engine.gpu.kernels.convolution.layer import Layer, evenly_spaced
from engine.gpu.kernels.convolution.table import CONVOLUTION
from engine.gpu.kernels.convolution.tiled import Loader, load_layout
from engine.gpu.kernels.product.dynamic_quantization import MAX_PARTS, quantization
from engine.gpu.lowering.fusion import lower_product
from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.lowering.refusals import refuses
from engine.gpu.program.chain import Tree
from engine.gpu.program.dispatch import INVOCATIONS, Dispatch, Operand, Span, affine_span
from engine.graph.ir import INTERNAL_DOMAIN, Node
from engine.ops.deform_conv_integer import column_window

MIN_PART_PIXELS = 4
"""Output pixels of a workgroup that looks for extremes, at the least."""


@refuses("DeformConvInteger", domain=INTERNAL_DOMAIN)
def refuse(node: Node, caps: Caps, _: bool) -> str | None:
    w_zero = node.optional_input(3)
    takes = takes_moved_taps(node, caps) and (w_zero is None or w_zero.is_constant)
    return None if takes else "backend 'webgpu' moves taps in two dimensions, of channels in fours and known weights"


@lowers("DeformQuantization", domain=INTERNAL_DOMAIN)
def lower_quantization(node: Node, lowering: Lowering) -> None:
    x, offset, mask = lowering.input(node, 0), lowering.input(node, 1), lowering.optional(node, 2)
    window, channels = column_window(node), x.shape[1]
    layer = Layer(
        node=node,
        x=x,
        window=window,
        outputs=1,
        groups=1,
        integer=False,
        prelude=(),
        channel_vectors={},
        zero=None,
        weight_type="f32",
        has_extremes=lowering.has_extremes,
        deform_inputs={
            name: evenly_spaced(tensor, lowering)
            for name, tensor in (("offset", offset), ("mask", mask))
            if tensor is not None
        },
    )
    loader = Loader.of(layer, load_layout(layer, lowering), 4)
    pixels = node.input(1).type.size // node.input(1).shape[1]
    part = max(MIN_PART_PIXELS, -(-pixels // MAX_PARTS))
    parts = -(-pixels // part)

    def by_parts(operand: Operand) -> Operand:
        return Operand(operand.name, operand.tensor, _by_parts(operand.span, part, pixels), operand.vec)

    extremes = lowering.scratch((parts * 4, 2), "f32", f"{node.output.name}:extremes")
    lowering.dispatch(
        Dispatch(
            kernel="deform_extremes",
            params={"invocations": INVOCATIONS, **loader.params},
            reads=[by_parts(operand) for operand in loader.reads],
            writes=[Operand("y", extremes, affine_span(extremes, 8, (8,), (1,)))],
            rows=parts,
            grid=lambda parts: parts,
            uniforms={
                **loader.uniforms,
                "part_pixels": part,
                "pixels": pixels,
                "pixel_items": window.taps * channels // 4,
                "channel_items": channels // 4,
            },
            # two for each of four corners, and two for the extremes
            flops=10 * pixels * window.taps * channels,
        )
    )
    parameters = lowering.scratch((2,), "f32", node.output.name)
    quantization(lowering, extremes, parameters)
    lowering.alias(node, parameters)


def _by_parts(span: Span | None, part: int, pixels: int) -> Span | None:
    """A span that counts pixels, by parts of them."""
    return None if span is None else lambda first, end: span(first * part, min(end * part, pixels))


@lowers("DeformConvInteger", domain=INTERNAL_DOMAIN)
def lower_integers(node: Node, lowering: Lowering) -> None:
    w, zero = node.input(1), node.constant(3)
    # x, the weights, the scale and zero point, the offsets, the mask, and zero points that bytes do not hold
    subtracts = w.dtype.kind == "u" or (zero is not None and bool(zero.any()))
    lower_product(node, lowering, _emit, reads=5 + subtracts)


def _emit(node: Node, lowering: Lowering, tree: Tree, last: Node) -> None:
    layer = Layer.of(node, lowering)
    CONVOLUTION.choose(layer, lowering.caps, {}, {}).emit(layer, lowering, tree, last)
