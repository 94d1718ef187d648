"""DeformConv equals the expansion that exporters write, wherever the offsets lead; and what is not quite one stays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.graph.ir import Graph
from engine.graph.passes.fold_affine import fold_affine
from engine.graph.passes.fold_batch_norm import fold_batch_norm
from engine.graph.passes.fuse_deform_conv import fuse_deform_conv
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model as small_model
from tests.engine.models import node
from tools.make_birefnet import BiRefNet, Map, Size

TOLERANCE = {"rtol": 3e-5, "atol": 3e-5}
"""Measured on these shapes: 5.9e-6, of results up to 27."""

CHANNELS, BRANCH = 3, 4


def expansion(form: str, side: int, kernel: int, *, far: float = 1.0) -> onnx.ModelProto:
    """One branch of a pyramid whose offsets are about ``far`` pixels."""
    maker = BiRefNet(Size(8, (2,), (1,), 3, inner=CHANNELS, branch=BRANCH), form)
    maker.w.normal("d.offset_conv.weight", (2 * kernel**2, CHANNELS, kernel, kernel), far / kernel)
    y = maker.deformable("d", Map("x", CHANNELS, side), kernel)
    dims = 1, y.channels, side, side
    return maker.g.model({"x": (1, CHANNELS, side, side)}, {"y": (y.name, dims)})


def deformable(graph: Graph) -> Any:
    (conv,) = (node for node in graph.nodes if node.op == "DeformConv")
    return conv


def by_op(proto: onnx.ModelProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in proto.graph.node if node.op_type == op]


@pytest.mark.parametrize("form", ["opset14", "opset17"])
@pytest.mark.parametrize(("side", "kernel"), [(6, 1), (6, 3), (5, 7), (1, 1), (2, 3)])
@pytest.mark.parametrize("far", [0.0, 1.0, 10.0])
def test_fuses(form: str, side: int, kernel: int, far: float) -> None:
    graph = rewrite(expansion(form, side, kernel, far=far), fuse_deform_conv, 1, **TOLERANCE)
    conv = deformable(graph)
    assert conv.attributes == {
        "kernel_shape": (kernel, kernel),
        "strides": (1, 1),
        "dilations": (1, 1),
        "pads": (kernel // 2,) * 4,
        "group": 1,
        "offset_group": 1,
    }
    x, w, offset, bias, mask = conv.inputs
    assert x is graph.inputs[0]
    assert bias is None
    assert w.shape == (BRANCH, CHANNELS, kernel, kernel)
    assert offset.shape == (1, 2 * kernel**2, side, side)
    assert mask.shape == (1, kernel**2, side, side)
    assert graph.histogram()["Conv"] == 2
    assert not {"GatherND", "Floor", "Clip", "Pad", "Sum", "Cast", "Reshape"} & set(graph.histogram())


def test_the_operator_itself_is_left_alone() -> None:
    rewrite(expansion("opset20", 6, 3), fuse_deform_conv, 0)


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_bias_and_norm_go_into_the_weights(kernel: int) -> None:
    def all_three(graph: Graph) -> int:
        return fuse_deform_conv(graph) + fold_affine(graph) + fold_batch_norm(graph)

    graph = rewrite(expansion("opset17", 6, kernel), all_three, 3, **TOLERANCE)
    conv = deformable(graph)
    assert conv.input(3).shape == (BRANCH,)
    assert not {"Add", "BatchNormalization"} & set(graph.histogram())


def regular_expansion(
    *, stride: tuple[int, int] = (1, 1), dilation: tuple[int, int] = (1, 1), pad: int = 1, start: int = 0
) -> onnx.ModelProto:
    """The expansion of a 2x3 kernel over 7x8 pixels, padded by ``pad``, whose grid begins at ``start``."""
    kernel, extent = (2, 3), (7, 8)
    random = np.random.default_rng(1)
    padded_extents = [size + 2 * pad for size in extent]
    out = [
        (size - 2 * start - (k - 1) * d - 1) // s + 1
        for size, k, d, s in zip(padded_extents, kernel, dilation, stride, strict=True)
    ]
    taps = kernel[0] * kernel[1]
    grid = np.empty((*kernel, 2, *out), np.float32)
    for axis in range(2):
        taps_at = np.arange(kernel[axis]).reshape([-1 if a == axis else 1 for a in range(4)]) * dilation[axis]
        outs_at = np.arange(out[axis]).reshape([-1 if a == axis + 2 else 1 for a in range(4)]) * stride[axis]
        grid[:, :, axis] = start + taps_at + outs_at
    return expansion_over(grid.reshape(1, 1, taps, 2, *out), kernel, extent, pad=pad, random=random)


def expansion_over(
    grid: np.ndarray, kernel: tuple[int, int], extent: tuple[int, int], pad: int, random: np.random.Generator
) -> onnx.ModelProto:
    """The expansion over a grid, its offsets and mask inputs of the graph, the convolution with a bias."""
    taps, out = grid.shape[2], list(grid.shape[4:])
    padded_extents = [size + 2 * pad for size in extent]
    count = taps * out[0] * out[1]
    each = [1, 1, 1, taps, *out]
    nodes = [
        node("Reshape", "offset dims", "o"), node("Add", "grid o", "p"), node("Floor", "p", "f"),
        node("Cast", "f", "i", to=onnx.TensorProto.INT64), node("Sub", "p f", "r"),
        node("Pad", "x pads", "xp"), node("Reshape", "xp five", "x5"),
        node("Transpose", "x5", "last", perm=[0, 1, 3, 4, 2]),
    ]  # fmt: skip
    for axis, (name, start, end) in enumerate((("y", "zero", "one"), ("x", "one", "two"))):
        nodes += [
            node("Slice", f"i {start} {end} three", f"low{name}0"),
            node("Add", f"low{name}0 unit", f"high{name}0"),
            node("Clip", f"low{name}0 floor most{axis}", f"low{name}"),
            node("Clip", f"high{name}0 floor most{axis}", f"high{name}"),
            node("Slice", f"r {start} {end} three", f"high{name}w"),
            node("Sub", f"fone high{name}w", f"low{name}w"),
        ]
    for row in ("low", "high"):
        for column in ("low", "high"):
            at = f"{row}{column}"
            nodes += [
                node("Mul", f"{row}yw {column}xw", f"w{at}0"), node("Reshape", f"w{at}0 each", f"w{at}"),
                node("Reshape", f"{row}y flat", f"{at}r"), node("Reshape", f"{column}x flat", f"{at}c"),
                node("Concat", f"{at}r {at}c", f"{at}i", axis=3),
                node("GatherND", f"last {at}i", f"{at}g", batch_dims=2),
                node("Transpose", f"{at}g", f"{at}t", perm=[0, 1, 3, 2]), node("Reshape", f"{at}t whole", f"{at}v"),
                node("Mul", f"w{at} {at}v", f"term{at}"),
            ]  # fmt: skip
    nodes += [
        node("Sum", "termlowlow termhighhigh termhighlow termlowhigh", "sum"), node("Reshape", "mask each", "m"),
        node("Mul", "sum m", "weighed"), node("Reshape", "weighed six", "w6"),
        node("Transpose", "w6", "laid", perm=[0, 1, 4, 2, 5, 3]), node("Reshape", "laid image", "columns"),
        node("Conv", "columns w b", "z", strides=list(kernel)),
    ]  # fmt: skip
    constants = {
        "grid": grid, "dims": [1, 1, taps, 2, *out], "pads": [0, 0, pad, pad] * 2,
        "five": [1, 1, CHANNELS, *padded_extents],
        "zero": [0], "one": [1], "two": [2], "three": [3], "unit": 1, "floor": 0, "most0": padded_extents[0] - 1,
        "most1": padded_extents[1] - 1, "fone": np.float32(1), "each": each, "flat": [1, 1, count, 1],
        "whole": [1, 1, CHANNELS, taps, *out], "six": [1, CHANNELS, *kernel, *out],
        "image": [1, CHANNELS, kernel[0] * out[0], kernel[1] * out[1]],
        "w": random.standard_normal((BRANCH, CHANNELS, *kernel)).astype(np.float32),
        "b": random.standard_normal(BRANCH).astype(np.float32),
    }  # fmt: skip
    inputs = {"x": [1, CHANNELS, *extent], "offset": [1, 2 * taps, *out], "mask": [1, taps, *out]}
    return small_model(nodes, inputs, "z", constants, opset=14)


@pytest.mark.parametrize(
    ("shape", "strides", "dilations", "pads"),
    [
        ({}, (1, 1), (1, 1), (1, 1, 1, 1)),
        ({"stride": (2, 1)}, (2, 1), (1, 1), (1, 1, 0, 1)),
        ({"dilation": (1, 2)}, (1, 1), (1, 2), (1, 1, 1, 1)),
        ({"stride": (3, 2), "dilation": (2, 1), "pad": 2}, (3, 2), (2, 1), (2, 2, 0, 1)),
        ({"pad": 3, "start": 2}, (1, 1), (1, 1), (1, 1, 1, 1)),
        ({"pad": 1, "start": 1}, (1, 1), (1, 1), (0, 0, 0, 0)),
    ],
    ids=["plain", "strides", "dilations", "both", "padded further", "not padded"],
)
def test_fuses_any_regular_grid(shape: dict[str, Any], strides: Any, dilations: Any, pads: Any) -> None:
    graph = rewrite(regular_expansion(**shape), fuse_deform_conv, 1, **TOLERANCE)
    conv = deformable(graph)
    assert len(graph.nodes) == 1
    assert [value.name for value in conv.inputs] == ["x", "w", "offset", "b", "mask"]
    assert conv.attr("strides") == strides
    assert conv.attr("dilations") == dilations
    # where strides leave a remainder, positions end before the padding does
    assert conv.attr("pads") == pads


# --- what does not fuse -------------------------------------------------------------------------------------------


def change(proto: onnx.ModelProto, name: str, value: Any) -> None:
    """Another content of the initializer of that name."""
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
    dtype = numpy_helper.to_array(tensor).dtype
    tensor.CopyFrom(numpy_helper.from_array(np.asarray(value, dtype), name))


def content(proto: onnx.ModelProto, name: str) -> np.ndarray:
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
    return numpy_helper.to_array(tensor).copy()


def producer(proto: onnx.ModelProto, name: str) -> onnx.NodeProto:
    return next(node for node in proto.graph.node if name in node.output)


def irregular(index: tuple[int | slice, ...], by: float) -> Callable[[onnx.ModelProto], None]:
    def move(proto: onnx.ModelProto) -> None:
        grid = content(proto, "grid")
        grid[index] += by
        change(proto, "grid", grid)

    return move


def reads(name: str, index: int, other: str) -> Callable[[onnx.ModelProto], None]:
    """The node that makes ``name`` reads ``other`` instead."""
    return lambda proto: producer(proto, name).input.__setitem__(index, other)


def swap(first: str, second: str, index: int) -> Callable[[onnx.ModelProto], None]:
    def change_both(proto: onnx.ModelProto) -> None:
        a, b = producer(proto, first), producer(proto, second)
        a.input[index], b.input[index] = b.input[index], a.input[index]

    return change_both


def clip_further(proto: onnx.ModelProto) -> None:
    """Rows end one before the last; the columns as they should."""
    change(proto, "most0", content(proto, "most0") - 1)


def pad_ones(proto: onnx.ModelProto) -> None:
    producer(proto, "xp").input.append("fone")


def pad_edges(proto: onnx.ModelProto) -> None:
    producer(proto, "xp").attribute.append(onnx.helper.make_attribute("mode", "edge"))


def at_run_time(name: str) -> Callable[[onnx.ModelProto], None]:
    def leave(proto: onnx.ModelProto) -> None:
        (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
        proto.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
        proto.graph.initializer.remove(tensor)

    return leave


def lay_out_otherwise(proto: onnx.ModelProto) -> None:
    producer(proto, "w6").input[1] = "six_turned"
    producer(proto, "laid").attribute[0].ints[:] = [0, 1, 4, 3, 5, 2]
    _, channels, rows, columns, *out = content(proto, "six")
    proto.graph.initializer.append(numpy_helper.from_array(np.array([1, channels, columns, rows, *out]), "six_turned"))


def no_strides(proto: onnx.ModelProto) -> None:
    del producer(proto, "z").attribute[:]


CHANGES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "one position of the grid": irregular((0, 0, 3, 1, 2, 2), 1),
    "half a pixel of the grid": irregular((0, 0), 0.5),
    "one tap of the grid": irregular((0, 0, 5), 1),
    "rows of the grid before the padding": irregular((0, 0, slice(None), 0), 2),
    "grid at run time": at_run_time("grid"),
    "weights at run time": at_run_time("w"),
    "corners' weights swapped": swap("termlowhigh", "termhighlow", 0),
    "corners' values swapped": swap("termlowlow", "termhighhigh", 1),
    "weight of the other axis": reads("wlowhigh0", 0, "lowxw"),
    "rest to something else than 1": reads("lowyw", 0, "two_and_a_half"),
    "index of the other edge": reads("lowlowr", 0, "highy"),
    "rows and columns swapped": lambda proto: producer(proto, "lowlowi").input.reverse(),
    "two corners alike": reads("sum", 0, "termhighhigh"),
    "clipped before the last row": clip_further,
    "clipped from another row on": lambda proto: change(proto, "floor", 1),
    "step of two": lambda proto: change(proto, "unit", 2),
    "padding of ones": pad_ones,
    "padding of edges": pad_edges,
    "channels moved": lambda proto: change(proto, "pads", [0, 1, 2, 2, 0, -1, 2, 2]),
    "taps laid out otherwise": lay_out_otherwise,
    "convolution over neighbours": no_strides,
}


@pytest.mark.parametrize("name", CHANGES)
def test_does_not_fuse(name: str) -> None:
    proto = regular_expansion(pad=2, start=1)
    proto.graph.initializer.append(numpy_helper.from_array(np.array(2.5, np.float32), "two_and_a_half"))
    rewrite(proto, fuse_deform_conv, 1, **TOLERANCE)
    CHANGES[name](proto)
    rewrite(proto, fuse_deform_conv, 0)


def test_does_not_fuse_without_zeros_around() -> None:
    """Indices that are clipped to the image itself repeat its edge, where DeformConv reads zeros."""
    rewrite(regular_expansion(pad=0), fuse_deform_conv, 0)


@pytest.mark.parametrize("name", ["p", "i", "xp", "lowlowg", "sum", "columns", "highy"])
@pytest.mark.parametrize("as_output", [True, False])
def test_what_is_read_elsewhere_is_still_made(name: str, as_output: bool) -> None:
    proto = regular_expansion()
    if not as_output:
        proto.graph.node.append(node("Neg", name, "extra"))
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name if as_output else "extra"))
    graph = rewrite(proto, fuse_deform_conv, 1, **TOLERANCE)
    assert deformable(graph)


def quantised(proto: onnx.ModelProto) -> onnx.ModelProto:
    """The expansion as a quantised file has it: the columns as bytes, and their sums scaled."""
    *_, conv = by_op(proto, "Conv")
    (w,) = (tensor for tensor in proto.graph.initializer if tensor.name == conv.input[1])
    scale = np.abs(numpy_helper.to_array(w)).max() / 127
    integers = np.rint(numpy_helper.to_array(w) / scale).astype(np.int8)
    proto.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in (("w8", integers), ("ws", scale.astype(np.float32)))
    )
    attributes = {"kernel_shape": w.dims[2:], "strides": w.dims[2:]}
    tail = [
        node("DynamicQuantizeLinear", conv.input[0], "q s z"),
        node("Mul", "s ws", "sw"),
        node("ConvInteger", "q w8 z", "i", **attributes),
        node("Cast", "i", "f", to=onnx.TensorProto.FLOAT),
        node("Mul", "f sw", conv.output[0]),
    ]
    nodes = list(proto.graph.node)
    at = nodes.index(conv)
    del proto.graph.node[:]
    proto.graph.node.extend([*nodes[:at], *tail, *nodes[at + 1 :]])
    return proto


@pytest.mark.parametrize(("side", "kernel"), [(6, 1), (5, 3), (5, 7)])
def test_fuses_what_is_quantised_behind_it(side: int, kernel: int) -> None:
    """Offsets are whole numbers, so that both forms sample the same numbers."""
    proto = quantised(expansion("opset14", side, kernel, far=0.0))
    graph = rewrite(proto, fuse_deform_conv, 1, **TOLERANCE)
    quantization, product = (node for node in graph.nodes if node.op.startswith("Deform"))
    assert product.inputs[2] is quantization.output
    assert not {"GatherND", "DynamicQuantizeLinear", "ConvInteger"} & set(graph.histogram())


def test_bytes_that_others_read_stay() -> None:
    proto = quantised(expansion("opset14", 5, 3))
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info("q"))
    rewrite(proto, fuse_deform_conv, 0)
