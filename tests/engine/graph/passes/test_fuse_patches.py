"""The transposition equals the web of splits and joins that it replaces; and other orders stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import onnx
import pytest

from engine.graph.ir import Graph
from engine.graph.passes.drop_identities import drop_identities
from engine.graph.passes.fuse_patches import fuse_patches
from tests.engine.graph.passes.check import rewrite
from tests.engine.models import model, node
from tools.make_birefnet import BiRefNet, Map, Size

COLUMNS_FIRST, CHANNELS_FIRST = (3, 1, 0, 2, 4), (0, 1, 3, 2, 4)


def export(form: str, image: int, *sides: int) -> onnx.ModelProto:
    """Patches of these sides, and the two convolutions behind each."""
    maker = BiRefNet(Size(8, (2,), (1,), 3, image=image, inner=4), form)
    first = maker.g.op("Gather", "x", maker.g.constant(0), axis=0) if maker.opset < 20 else "x"
    maps = [maker.patches(Map("x", 3, image), first, side=side, name=f"ipt{side}", width=2) for side in sides]
    outputs = {f"y{index}": (y.name, (1, y.channels, y.side, y.side)) for index, y in enumerate(maps)}
    return maker.g.model({"x": (1, 3, image, image)}, outputs)


def patches(
    order: Sequence[int], *, channels: int = 3, down: int = 2, across: int = 3, h: int = 4, w: int = 2
) -> onnx.ModelProto:
    """An image cut into patches by Splits and stacked by channels (0), rows (1) and columns (3), outermost first."""
    shape = [1, channels, down * h, across * w]
    rows = [f"r{i}" for i in range(down)]
    nodes = [node("Split", "x", " ".join(rows), axis=-2)]
    parts: dict[tuple[int, ...], str] = {}
    for i, row in enumerate(rows):
        columns = [f"c{i}_{j}" for j in range(across)]
        nodes.append(node("Split", row, " ".join(columns), axis=3))
        for j, column in enumerate(columns):
            planes = [f"p{i}_{j}_{c}" for c in range(channels)]
            nodes.append(node("Split", column, " ".join(planes), axis=1))
            parts |= {(c, i, 0, j): plane for c, plane in enumerate(planes)}
    extents = channels, down, 1, across
    positions = sorted(parts, key=lambda at: [at[axis] for axis in order[:3]])
    assert len(positions) == np.prod(extents)
    nodes += [node("Concat", " ".join(parts[at] for at in positions), "y", axis=1), node("Relu", "y", "z")]
    return model(nodes, {"x": shape}, "z", opset=14 if down == 2 and across < 4 else 13)


def is_rearrangement(graph: Graph, perm: tuple[int, ...], shape: tuple[int, ...]) -> None:
    """Assert that the graph begins with one rearrangement of its input and has no part of a web."""
    split, transpose, join = graph.nodes[:3]
    assert [node.op for node in (split, transpose, join)] == ["Reshape", "Transpose", "Reshape"]
    assert (split.output.shape, tuple(transpose.attr("perm"))) == (shape, perm)
    assert split.input(0) is graph.inputs[0]
    # exporters end in a join of one part, which is no matter of this pass
    assert not [node for node in graph.nodes if node.op == "Split" or (node.op == "Concat" and len(node.inputs) > 1)]


@pytest.mark.parametrize("form", ["opset14", "opset17"])
@pytest.mark.parametrize("side", [8, 4, 2])
def test_fuses_what_exporters_write(form: str, side: int) -> None:
    graph = rewrite(export(form, 16, side), fuse_patches, 1)
    grid = 16 // side
    is_rearrangement(graph, COLUMNS_FIRST, (3, grid, side, grid, side))


def test_fuses_each_of_several_cuts_of_one_image() -> None:
    graph = rewrite(export("opset14", 16, 2, 4, 8, 16), fuse_patches, 3)
    assert graph.histogram()["Transpose"] == 3


def test_fuses_after_relabellings_are_gone() -> None:
    def both(graph: Graph) -> int:
        drop_identities(graph)
        return fuse_patches(graph)

    graph = rewrite(export("opset14", 16, 4), both, 1)
    is_rearrangement(graph, COLUMNS_FIRST, (3, 4, 4, 4, 4))


def test_one_transposition_is_left_alone() -> None:
    rewrite(export("opset20", 16, 4, 8), fuse_patches, 0)


@pytest.mark.parametrize("order", [COLUMNS_FIRST, CHANNELS_FIRST])
@pytest.mark.parametrize(
    "extents", [{}, {"channels": 1}, {"down": 1}, {"across": 1}, {"channels": 5, "down": 4, "h": 1, "w": 7}]
)
def test_fuses_the_orders_that_networks_have(order: tuple[int, ...], extents: dict[str, int]) -> None:
    whole = {"channels": 3, "down": 2, "across": 3, "h": 4, "w": 2} | extents
    graph = rewrite(patches(order, **extents), fuse_patches, 1)
    shape = tuple(whole[name] for name in ("channels", "down", "h", "across", "w"))
    # where an extent is 1 both orders may be the same
    perm = tuple(graph.nodes[1].attr("perm"))
    is_rearrangement(graph, order if 1 not in shape[:1] + shape[1::2] else perm, shape)


def with_readers(op: str, as_output: bool) -> onnx.ModelProto:
    """Patches whose parts are read elsewhere too."""
    proto = export("opset17", 16, 4)
    part = next(node for node in proto.graph.node if node.op_type == op).output[-1]
    name = part if as_output else "extra"
    if not as_output:
        proto.graph.node.append(node("Relu", part, name))
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info(name))
    return proto


@pytest.mark.parametrize("op", ["Split", "Unsqueeze", "Concat"])
@pytest.mark.parametrize("as_output", [True, False])
def test_parts_that_are_read_elsewhere_are_still_made(op: str, as_output: bool) -> None:
    graph = rewrite(with_readers(op, as_output), fuse_patches, 1)
    assert graph.histogram()["Transpose"] == 1


def test_a_value_that_several_read_is_made_once() -> None:
    proto = patches(COLUMNS_FIRST)
    proto.graph.node.append(node("Exp", "y", "more"))
    proto.graph.output.append(onnx.helper.make_empty_tensor_value_info("more"))
    graph = rewrite(proto, fuse_patches, 1)
    assert graph.histogram() == {"Reshape": 2, "Transpose": 1, "Relu": 1, "Exp": 1}


def swap_parts(proto: onnx.ModelProto) -> None:
    join = next(node for node in proto.graph.node if node.op_type == "Concat")
    join.input[1], join.input[2] = join.input[2], join.input[1]


def repeat_a_part(proto: onnx.ModelProto) -> None:
    join = next(node for node in proto.graph.node if node.op_type == "Concat")
    join.input[1] = join.input[0]


def join_another_image(proto: onnx.ModelProto) -> None:
    join = next(node for node in proto.graph.node if node.op_type == "Concat")
    proto.graph.node.insert(list(proto.graph.node).index(join), node("Neg", join.input[0], "negative"))
    join.input[0] = "negative"


@pytest.mark.parametrize("change", [swap_parts, repeat_a_part, join_another_image])
def test_does_not_fuse_a_changed_web(change: Callable[[onnx.ModelProto], None]) -> None:
    proto = export("opset17", 16, 4)
    change(proto)
    rewrite(proto, fuse_patches, 0)


@pytest.mark.parametrize("order", [(1, 3, 0), (1, 0, 3), (3, 0, 1), (0, 3, 1)])
def test_does_not_fuse_another_order(order: tuple[int, ...]) -> None:
    rewrite(patches(order), fuse_patches, 0)


@pytest.mark.parametrize(
    "proto",
    [
        model(
            [node("Split", "x", "a b c", axis=1), node("Concat", "a c b", "y", axis=1), node("Relu", "y", "z")],
            {"x": [1, 6, 4, 4]},
            "z",
        ),
        model(
            [node("Split", "x n", "a b c", axis=3), node("Concat", "a b c", "y", axis=1), node("Relu", "y", "z")],
            {"x": [2, 3, 4, 6]},
            "z",
            {"n": np.array([2, 2, 2])},
        ),
        model(
            [
                node("Split", "x n", "a b c", axis=1),
                node("Concat", "a b c", "y", axis=2),
                node("Relu", "y", "z"),
            ],
            {"x": [1, 3, 4, 6]},
            "z",
            {"n": np.array([1, 1, 1])},
        ),
        model([node("Concat", "x x x", "y", axis=1), node("Relu", "y", "z")], {"x": [1, 1, 4, 4]}, "z"),
    ],
    ids=["channels in another order", "two images", "channels below each other", "one thing thrice"],
)  # fmt: skip
def test_does_not_fuse_other_joins(proto: onnx.ModelProto) -> None:
    rewrite(proto, fuse_patches, 0)
