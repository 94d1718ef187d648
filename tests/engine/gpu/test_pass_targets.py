"""No pass makes a node that a backend then refuses: heads and windows of any size are planned and computed."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.caps import PORTABLE, Caps
from engine.errors import UnsupportedError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.lowering.missing_kernels import check
from engine.gpu.plan.plan import Plan, make_plan
from engine.gpu.plan.target import WebgpuTarget
from engine.graph.ir import Graph, Node, Value
from engine.graph.load import load
from engine.graph.passes import (
    ORDER,
    broadcast_resize,
    fold_affine,
    fuse_activation,
    fuse_deform_conv,
    fuse_gelu,
    fuse_layer_norm,
    fuse_patches,
    fuse_window_attention,
    optimize,
)
from engine.ops.window_attention import WindowGrid
from tests.engine.attention import attention, swin_blocks
from tests.engine.gpu.gpu import run
from tests.engine.models import U2NETP, execute, feeds, interpret, load_graph
from tests.project import ROOT
from tools.make_birefnet import make_birefnet


def planned(graph: Graph, caps: Caps = PORTABLE, *, half: bool = False) -> Plan:
    """The plan of a graph after the passes, made without an adapter."""
    optimize(graph, WebgpuTarget(caps, half))
    check(graph, caps, half=half)
    lowering = Lowering(graph, caps, half=half)
    return make_plan(lowering.dispatches, *lowering.run(), caps.limits)


def is_fused(graph: Graph) -> bool:
    return any(node.op == "WindowAttention" for node in graph.nodes)


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_heads_and_windows_of_any_size_are_planned(data: st.DataObject) -> None:
    size, window = data.draw(st.integers(8, 160), "size"), data.draw(st.integers(2, 24), "window")
    side = data.draw(st.integers(max(2, window - 2), window + 3), "side")
    shift = data.draw(st.sampled_from([0, window // 2]), "shift")
    graph = load_graph(swin_blocks("opset17", side, shift, window=window, heads=1, channels=size))
    assert planned(graph, half=data.draw(st.booleans(), "half")).data.commands
    assert not is_fused(graph) or (size % 4 == 0 and size <= 128)


@pytest.mark.parametrize(
    ("size", "window", "fused"),
    [(32, 12, True), (32, 43, True), (32, 44, False), (8, 44, True), (8, 45, False), (8, 60, False), (128, 39, True)],
)
def test_windows_are_fused_as_far_as_workgroup_memory_goes(size: int, window: int, fused: bool) -> None:
    graph = load_graph(swin_blocks("opset17", window, 0, window=window, heads=1, channels=size))
    assert planned(graph).data.commands
    assert is_fused(graph) == fused


@pytest.mark.parametrize("size", [30, 160])
def test_what_webgpu_does_not_fuse_is_computed_by_all(size: int) -> None:
    proto = swin_blocks("opset14", 5, 1, window=3, heads=2, channels=2 * size)
    inputs = feeds(load_graph(proto))
    (expected,) = interpret(load_graph(proto), inputs)
    for_gpu, for_numpy = load_graph(proto), load_graph(proto)
    (y,), _ = run(for_gpu, inputs)
    optimize(for_numpy)
    assert (is_fused(for_gpu), is_fused(for_numpy)) == (False, True)
    np.testing.assert_allclose(y, expected, 1e-4, 1e-4)
    np.testing.assert_allclose(execute(for_numpy, inputs)[0], expected, 1e-4, 1e-4)


@pytest.mark.parametrize(
    "grid", [WindowGrid(45, 45, 45, 0), WindowGrid(46, 46, 46, 0), WindowGrid(60, 60, 60, 0)], ids=str
)
def test_a_window_without_room_is_refused_by_name(grid: WindowGrid) -> None:
    with pytest.raises(
        UnsupportedError,
        match=r"WindowAttention: windows of .* leave no workgroup memory for heads of 32 channels; use backend 'nu",
    ):
        check(attention(grid, heads=1, size=32))


def test_bindings_bound_what_is_fused() -> None:
    proto = swin_blocks("opset17", 16, 0, window=4, heads=2, channels=64)
    small = Caps({"max-storage-buffer-binding-size": 16 << 10})
    graph = load_graph(proto)
    optimize(graph, WebgpuTarget(small))
    assert not is_fused(graph)
    optimize(graph, WebgpuTarget(PORTABLE))
    assert is_fused(graph)


def test_the_first_model_of_a_process_gets_all_passes() -> None:
    """Kernels register themselves when they are imported: whoever asks for them has them."""
    script = (
        "from engine.gpu.plan.target import WebgpuTarget\n"
        "from engine.graph.load import load\n"
        "from engine.graph.passes import optimize\n"
        f"print(optimize(load({str(U2NETP)!r}), WebgpuTarget())['fuse_activation'])\n"
    )
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert int(process.stdout) > 50


class NothingNew:
    """A backend that takes no node that a pass makes."""

    def supports(self, _: Node) -> bool:
        return False


MAKERS = {
    fuse_patches,
    fuse_deform_conv,
    fuse_window_attention,
    fold_affine,
    fuse_layer_norm,
    fuse_gelu,
    broadcast_resize,
    fuse_activation,
}
"""Passes that make nodes, and fire on a BiRefNet."""


def structure(graph: Graph) -> list[tuple[str, str, list[Value | None], list[Value | None]]]:
    return [(node.domain, node.op, list(node.inputs), list(node.outputs)) for node in graph.nodes]


def test_a_pass_whose_product_is_refused_leaves_the_graph_as_it_was() -> None:
    proto = make_birefnet("tiny", "opset14", image=64).SerializeToString()
    refused, fired = (load(proto, input_shapes={"pixel_values": (1, 3, 64, 64)}) for _ in range(2))
    for rewrite in ORDER:
        if rewrite in MAKERS:
            before = structure(refused)
            assert rewrite(refused, NothingNew()) == 0, rewrite.__name__
            assert structure(refused) == before, rewrite.__name__
        else:
            rewrite(refused)
        assert rewrite(fired) or rewrite not in MAKERS, rewrite.__name__
