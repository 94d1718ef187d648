"""The plan of BiRefNet (Swin-L at 1024², as RMBG-2.0 is), without a GPU: limits kept, patterns fused, memory shared."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from engine.gpu.lowering.missing_kernels import check
from engine.graph.ir import Graph
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.gpu.plans import MIB, ON_UNITS, SIZES, PlanCase, assert_sound, plan_case
from tools.make_birefnet import make_birefnet

SIDE = 1024
FUSED = {
    "fuse_patches": 4,
    "fuse_deform_conv": 20,
    "fuse_window_attention": 48,
    "fold_affine": 20,
    "fold_batch_norm": 20,
    "fold_mask_scale": 20,
    "merge_offset_convolutions": 25,
    "fuse_patch_merging": 6,
    "fuse_layer_norm": 112,
    "fuse_gelu": 48,
    "broadcast_resize": 5,
}

Optimized = tuple[Graph, dict[str, int]]
Swin = tuple[Graph, dict[str, int], PlanCase]


@pytest.fixture(scope="module")
def hollow() -> Iterator[Path]:
    """The file, whose weights are zeros that take no room on the disk."""
    folder = Path(tempfile.mkdtemp())
    path = folder / "birefnet.onnx"
    onnx.save(make_birefnet("swin-l", "opset14", weights_file=folder / "weights"), path)
    yield path
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def optimized(hollow: Path) -> Optimized:
    """The graph, which is the same for both precisions, and how often each pass fired."""
    graph = load(hollow, input_shapes={"pixel_values": [1, 3, SIDE, SIDE]})
    return graph, optimize(graph)


@pytest.fixture(scope="module", params=["f32", "f16"])
def swin(optimized: Optimized, request: pytest.FixtureRequest) -> Swin:
    graph, rewrites = optimized
    check(graph, half=request.param == "f16")
    return graph, rewrites, plan_case(graph, half=request.param == "f16")


def test_every_pattern_is_fused(swin: Swin) -> None:
    graph, rewrites, plan = swin
    assert {name: rewrites[name] for name in FUSED} == FUSED
    ops = Counter(node.op for node in graph.nodes)
    assert (ops["WindowAttention"], ops["DeformConv"], ops["LayerNormalization"]) == (48, 20, 112)
    assert not {"Softmax", "GatherND", "Erf", "Pad", "BatchNormalization", "Sqrt"} & set(ops)
    assert plan.kernels.count("window_attention_tiled") == 48


def test_the_plan_is_sound(swin: Swin) -> None:
    assert_sound(swin[2])


def test_memory(swin: Swin) -> None:
    data = swin[2].data
    most = 400 if "shader-f16" in data.needs.features else 700
    # measured: 324 and 168 MiB alive at once, in buffers of 548 and 283
    assert data.peak_bytes <= sum(data.buffers[data.constant_buffers :]) <= most * MIB
    assert max(data.buffers) <= SIZES["max-buffer-size"]


def test_dispatches_on_matrix_units(swin: Swin) -> None:
    if "shader-f16" not in swin[2].data.needs.features:
        pytest.skip("float32 is for test_dispatches")
    plan = plan_case(swin[0], **ON_UNITS)
    # the others are computed by the products behind them, most of them by moments that the kernel before wrote
    assert plan.kernels.count("row_reduction") <= 37
    operands = [operand.name for dispatch in plan.dispatches for operand in dispatch.operands]
    assert (operands.count("y_moments"), operands.count("x_moments")) == (80, 80)
    assert "conv_sum" not in plan.kernels
    assert len(plan.kernels) <= 404
    assert_sound(plan)


def test_dispatches(swin: Swin) -> None:
    assert swin[2].layers <= 577
    # measured: 64
    assert len(swin[2].data.programs) <= 70
