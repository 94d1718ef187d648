"""The fused attention equals a Swin block as three exporters write it; and what is not quite one stays."""

from __future__ import annotations

import sys
from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from engine.graph.ir import INTERNAL_DOMAIN, Graph
from engine.graph.passes.fuse_window_attention import fuse_window_attention
from engine.ops.window_attention import WindowGrid, window_grid
from tests.engine.attention import swin_blocks
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import node
from tools.make_birefnet import FORMS, BiRefNet, Map, Size

TOLERANCE = {"rtol": 5e-6, "atol": 5e-6}
"""Measured on these shapes: 7.6e-7."""

HEADS, CHANNELS = 2, 8


def blocks(form: str, side: int, *shifts: int, window: int = 3) -> onnx.ModelProto:
    """Swin blocks in turn, over a grid of ``side`` tokens a side."""
    return swin_blocks(form, side, *shifts, window=window, heads=HEADS, channels=CHANNELS)


def by_op(proto: onnx.ModelProto, op: str) -> list[onnx.NodeProto]:
    return [node for node in proto.graph.node if node.op_type == op]


def constant(proto: onnx.ModelProto, name: str) -> np.ndarray | None:
    """The initializer of that name."""
    tensors = [tensor for tensor in proto.graph.initializer if tensor.name == name]
    return numpy_helper.to_array(tensors[0]) if tensors else None


def add_constant(proto: onnx.ModelProto, name: str, value: np.ndarray) -> str:
    proto.graph.initializer.append(numpy_helper.from_array(value, name))
    return name


def make_input(proto: onnx.ModelProto, name: str) -> None:
    """Leave the initializer of that name to the run."""
    (tensor,) = (tensor for tensor in proto.graph.initializer if tensor.name == name)
    proto.graph.input.append(onnx.helper.make_tensor_value_info(name, tensor.data_type, list(tensor.dims)))
    proto.graph.initializer.remove(tensor)


def insert_between(proto: onnx.ModelProto, reader: onnx.NodeProto, index: int, op: onnx.NodeProto) -> None:
    """Let ``op`` change what input ``index`` of ``reader`` reads; its first input and its output are set here."""
    op.input[0], op.output[0] = reader.input[index], f"{reader.input[index]}/changed"
    reader.input[index] = op.output[0]
    proto.graph.node.insert(list(proto.graph.node).index(reader), op)


def attentions(graph: Graph) -> list[WindowGrid]:
    return [window_grid(node) for node in graph.nodes if node.domain == INTERNAL_DOMAIN]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    ("side", "shift", "window"),
    [(6, 0, 3), (6, 1, 3), (7, 0, 3), (7, 1, 3), (8, 1, 2), (5, 2, 4), (3, 1, 3), (2, 1, 3), (1, 1, 3)],
)
def test_fuses(form: str, side: int, shift: int, window: int) -> None:
    proto = blocks(form, side, shift, window=window)
    graph = rewrite(proto, fuse_window_attention, 1, **TOLERANCE)
    (at,) = (index for index, node in enumerate(graph.nodes) if node.domain == INTERNAL_DOMAIN)
    qkv, qkv_bias, attention, output_layer, output_bias = graph.nodes[at - 2 : at + 3]
    assert [node.op for node in (qkv, qkv_bias, output_layer, output_bias)] == ["MatMul", "Add"] * 2
    grid = window_grid(attention)
    # one window is what it is with and without a roll
    assert grid == WindowGrid(side, side, window, shift if side > 1 else grid.shift)
    assert attention.attributes["heads"] == HEADS
    assert attention.attributes["scale"] == pytest.approx((CHANNELS // HEADS) ** -0.5, rel=1e-6)
    assert attention.input(0) is qkv_bias.output
    assert qkv.output.shape == (1, side * side, 3 * CHANNELS)
    assert attention.input(1).shape == (HEADS, window**2, window**2)
    assert len(attention.inputs) == (3 if side % window else 2)
    # nothing of the old way is left: projections, norms, two Adds, the MLP and the Identity that names the output
    norm = 1 if form != "opset14" else 9
    gelu = 1 if form == "opset20" else 5
    assert len(graph.nodes) == 5 + 2 * norm + 2 + 4 + gelu + 1
    if shift and side > window:
        assert attention.attributes["mask_value"] == (-np.inf if form == "opset20" else -100)
    if side % window:
        np.testing.assert_array_equal(attention.constant(2), qkv_bias.constant(0))


@pytest.mark.parametrize("form", FORMS)
def test_blocks_in_turn(form: str) -> None:
    graph = rewrite(blocks(form, 7, 0, 1, 0, 1), fuse_window_attention, 4, **TOLERANCE)
    assert attentions(graph) == [WindowGrid(7, 7, 3, shift) for shift in (0, 1, 0, 1)]


def test_a_bias_that_a_mask_was_added_to_is_found_again() -> None:
    graph = rewrite(blocks("opset20", 7, 1), fuse_window_attention, 1, **TOLERANCE)
    (attention,) = (node for node in graph.nodes if node.domain == INTERNAL_DOMAIN)
    proto = blocks("opset20", 7, 1)
    table = constant(proto, "block0.attn.relative_position_bias")
    assert table is not None
    np.testing.assert_array_equal(attention.constant(1), table[0])


@pytest.mark.parametrize("in_another_shape", [False, True])
def test_a_sum_of_bias_and_mask_that_waits_is_taken_apart(
    in_another_shape: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    # the package has the function under the module's name
    module = sys.modules["engine.graph.passes.fold_constants"]
    monkeypatch.setattr(module, "LARGE_SUM", 1)
    monkeypatch.setattr(module, "EXPANSION", 1)
    proto = blocks("opset20", 7, 1)
    if in_another_shape:
        (total,) = (add for add in by_op(proto, "Add") if "block0.attn.relative_position_bias" in add.input)
        reader = next(add for add in by_op(proto, "Add") if total.output[0] in add.input)
        index = list(reader.input).index(total.output[0])
        insert_between(proto, reader, index, node("Unsqueeze", f"x {add_constant(proto, 'zero', np.array([0]))}", "u"))
        shape = add_constant(proto, "windows", np.array([9, HEADS, 9, 9]))
        insert_between(proto, reader, index, node("Reshape", f"u {shape}", "r"))
    graph = rewrite(proto, fuse_window_attention, 1, **TOLERANCE)
    table = constant(proto, "block0.attn.relative_position_bias")
    assert table is not None
    (attention,) = (node for node in graph.nodes if node.domain == INTERNAL_DOMAIN)
    np.testing.assert_allclose(attention.constant(1), table[0], rtol=1e-6)


def test_layers_without_bias() -> None:
    proto = blocks("opset17", 7, 1)
    for name in ("qkv", "proj"):
        (total,) = (node for node in by_op(proto, "Add") if node.input[0] == f"block0.attn.{name}.bias")
        for graph_node in proto.graph.node:
            graph_node.input[:] = [
                total.input[1] if input_name == total.output[0] else input_name for input_name in graph_node.input
            ]
        proto.graph.node.remove(total)
    graph = rewrite(proto, fuse_window_attention, 1, **TOLERANCE)
    (attention,) = (node for node in graph.nodes if node.domain == INTERNAL_DOMAIN)
    np.testing.assert_array_equal(attention.constant(2), np.zeros(3 * CHANNELS))


def test_a_graph_without_any() -> None:
    maker = BiRefNet(Size(CHANNELS, (2,), (HEADS,), 3), "opset17")
    y = maker.patch_merging("merge", Map("x", CHANNELS, 4))
    proto = maker.g.model({"x": (1, 16, CHANNELS)}, {"y": (y.name, (1, 4, 2 * CHANNELS))})
    rewrite(proto, fuse_window_attention, 0)


INTERMEDIATE = ["Softmax", "Gather", "Mul", "Pad", "Concat", "Transpose", "Reshape"]


@pytest.mark.parametrize("op", INTERMEDIATE)
@pytest.mark.parametrize("as_output", [True, False])
def test_what_is_read_elsewhere_is_still_made(op: str, as_output: bool) -> None:
    proto = blocks("opset17", 7, 1)
    # of GELU's Mul, too: what lies behind the attention is no matter
    for index, graph_node in enumerate(by_op(proto, op)):
        name = graph_node.output[0] if as_output else f"extra{index}"
        if not as_output:
            proto.graph.node.append(node("Neg", graph_node.output[0], name))
        proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    graph = rewrite(proto, fuse_window_attention, 1, **TOLERANCE)
    assert len(attentions(graph)) == 1


# --- what does not fuse -------------------------------------------------------------------------------------------


def change_mask(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name.startswith("mask"):
            array = numpy_helper.to_array(tensor).copy()
            array[-1, 3, 2] = -100 - array[-1, 3, 2]
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def weaken_mask(proto: onnx.ModelProto) -> None:
    for tensor in proto.graph.initializer:
        if tensor.name.startswith("mask"):
            array = numpy_helper.to_array(tensor).copy()
            array[2, array[2] != 0] = -50
            tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))


def roll_back_further(proto: onnx.ModelProto) -> None:
    further = add_constant(proto, "further", np.array([-2]))
    count = 0
    for graph_node in by_op(proto, "Slice"):
        for index in (1, 2):
            value = constant(proto, graph_node.input[index])
            if value is not None and value.tolist() == [-1]:
                graph_node.input[index] = further
                count += 1
    assert count == 4


def roll_one_axis_only(proto: onnx.ModelProto) -> None:
    """There; both axes come back."""
    first, _, other, _ = (node for node in by_op(proto, "Concat"))
    del other
    source = next(node for node in by_op(proto, "Slice") if node.output[0] == first.input[0]).input[0]
    for graph_node in proto.graph.node:
        if graph_node is not first:
            graph_node.input[:] = [
                source if input_name == first.output[0] else input_name for input_name in graph_node.input
            ]
    proto.graph.node.remove(first)


def swap(first: int, second: int) -> Callable[[onnx.ModelProto], None]:
    """Two of q, k and v."""

    def change(proto: onnx.ModelProto) -> None:
        parts = by_op(proto, "Gather")
        parts[first].input[1], parts[second].input[1] = parts[second].input[1], parts[first].input[1]

    return change


def copy_first(parts: list[onnx.NodeProto]) -> None:
    parts[1].input[1] = parts[0].input[1]


def reverse_heads(proto: onnx.ModelProto) -> None:
    (join,) = (node for node in by_op(proto, "Transpose") if list(node.attribute[0].ints) == [0, 2, 1, 3])
    order = add_constant(proto, "order", np.arange(HEADS)[::-1].copy())
    insert_between(proto, join, 0, node("Gather", f"- {order}", "-", axis=1))


def scale_at_run_time(proto: onnx.ModelProto) -> None:
    make_input(proto, by_op(proto, "Mul")[0].input[1])


def scale_by_channel(proto: onnx.ModelProto) -> None:
    scale = np.linspace(0.5, 1, CHANNELS // HEADS, dtype=np.float32)
    by_op(proto, "Mul")[0].input[1] = add_constant(proto, "scales", scale)


def scale_values_too(proto: onnx.ModelProto) -> None:
    values = next(node for node in by_op(proto, "MatMul") if node.input[0] == by_op(proto, "Softmax")[0].output[0])
    twice = add_constant(proto, "twice", np.array(2, np.float32))
    insert_between(proto, values, 1, node("Mul", f"- {twice}", "-"))


def softmax_over_queries(proto: onnx.ModelProto) -> None:
    by_op(proto, "Softmax")[0].attribute[0].i = -2


def pad_ones(proto: onnx.ModelProto) -> None:
    by_op(proto, "Pad")[0].input.append(add_constant(proto, "one", np.array(1, np.float32)))


def square(proto: onnx.ModelProto) -> None:
    (join,) = (node for node in by_op(proto, "Transpose") if list(node.attribute[0].ints) == [0, 2, 1, 3])
    insert_between(proto, join, 0, node("Relu", "-", "-"))


def relu_before_projection(proto: onnx.ModelProto) -> None:
    (layer,) = (node for node in by_op(proto, "MatMul") if node.input[1] == "block0.attn.qkv.weight")
    insert_between(proto, layer, 0, node("Relu", "-", "-"))


def bias_by_window(proto: onnx.ModelProto) -> None:
    total = next(node for node in by_op(proto, "Add") if node.input[1] == "block0.attn.relative_position_bias")
    table = np.random.default_rng(0).standard_normal((9, HEADS, 9, 9), np.float32)
    total.input[1] = add_constant(proto, "tables", table)


def at_run_time(name: str) -> Callable[[onnx.ModelProto], None]:
    return lambda proto: make_input(proto, name)


CHANGES: dict[str, Callable[[onnx.ModelProto], None]] = {
    "one element of the mask": change_mask,
    "another mask in one window": weaken_mask,
    "rolled back further": roll_back_further,
    "rolled along one axis only": roll_one_axis_only,
    "q and k swapped": swap(0, 1),
    "k and v swapped": swap(1, 2),
    "q for k as well": lambda proto: copy_first(by_op(proto, "Gather")[:2]),
    "heads in another order": reverse_heads,
    "scale at run time": scale_at_run_time,
    "scale by channel": scale_by_channel,
    "values scaled": scale_values_too,
    "softmax over queries": softmax_over_queries,
    "padding of ones": pad_ones,
    "something before the heads are joined": square,
    "something before the projection": relu_before_projection,
    "a bias for each window": bias_by_window,
    "weights of the projection at run time": at_run_time("block0.attn.qkv.weight"),
    "its bias at run time": at_run_time("block0.attn.qkv.bias"),
    "weights of the last layer at run time": at_run_time("block0.attn.proj.weight"),
    "bias of pairs at run time": at_run_time("block0.attn.relative_position_bias"),
    "mask at run time": at_run_time("mask_9"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_does_not_fuse(change: str) -> None:
    proto = blocks("opset17", 7, 1)
    CHANGES[change](proto)
    rewrite(proto, fuse_window_attention, 0)


def test_one_changed_element_of_a_mask_in_the_bias() -> None:
    """With -inf, and a bias that hides where nothing is masked."""
    proto = blocks("opset20", 7, 1)
    scores = next(node for node in by_op(proto, "Add") if node.output[0] == by_op(proto, "Softmax")[0].input[0])
    for window, query, key, mask_value in ((0, 1, 2, -np.inf), (4, 1, 2, 1.0)):
        term = np.zeros((9, 1, 9, 9), np.float32)
        term[window, 0, query, key] = mask_value
        other = onnx.ModelProto()
        other.CopyFrom(proto)
        other.graph.initializer.append(numpy_helper.from_array(term, "changed"))
        (softmax,) = by_op(other, "Softmax")
        insert_between(other, softmax, 0, node("Add", f"{scores.output[0]} changed", "-"))
        rewrite(other, fuse_window_attention, 0)
