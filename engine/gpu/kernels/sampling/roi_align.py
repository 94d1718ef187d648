"""RoiAlign, the host of roi_align.wgsl: regions of a feature map, resampled to one size."""

from __future__ import annotations

from engine.gpu.lowering.lowering import Lowering, lowers
from engine.gpu.program.addressing import ElementGrid
from engine.gpu.program.tensor import channels_last
from engine.graph.ir import Node


@lowers("RoiAlign")
def lower_roi_align(node: Node, lowering: Lowering) -> None:
    x, rois, batch = (lowering.input(node, index) for index in range(3))
    y = lowering.output(node, order=channels_last(4), reads=[x, rois, batch])
    elements = ElementGrid(y)
    region, channel, bin_row, bin_column = elements.positions
    ratio = node.attr("sampling_ratio", 0)
    default = "half_pixel" if node.version >= 16 else "output_half_pixel"
    lowering.dispatch(
        elements.dispatch(
            "roi_align",
            params={
                "rois": [elements.value_of("rois", rois, [region, str(side)]) for side in range(4)],
                "image": elements.clamped_index(elements.address("batch", batch, [region]), "images", x.shape[0]),
                "channel": channel,
                "bin_row": bin_row,
                "bin_column": bin_column,
                "bins": [elements.extent(2), elements.extent(3)],
                "height": elements.numbers.integer("height", x.shape[2]),
                "width": elements.numbers.integer("width", x.shape[3]),
                "x_strides": [
                    elements.numbers.integer(f"x_stride{axis}", stride) for axis, stride in enumerate(x.strides)
                ],
                "scale": elements.numbers.scalar("scale", node.attr("spatial_scale", 1.0)),
                "ratio": elements.numbers.integer("ratio", ratio) if ratio > 0 else "",
                "half_pixel": node.attr("coordinate_transformation_mode", default) == "half_pixel",
                "largest": node.attr("mode", "avg") == "max",
            },
            reads=[
                elements.mapped_operand("x", x, [None, 1, None, None]),
                elements.mapped_operand("rois", rois, [0, None]),
                elements.mapped_operand("batch", batch, [0]),
            ],
        )
    )
