"""BiRefNet, as three generations of exporters write it, against ONNX Runtime; and that no pattern of it is missed."""

from __future__ import annotations

from collections import Counter

import onnx
import pytest

from engine import Session
from engine.graph.load import load
from engine.graph.passes import optimize
from tests.engine.birefnet import parity, proto
from tools.make_birefnet import FORMS


@pytest.mark.parametrize("form", FORMS)
def test_tiny_on_numpy(form: str) -> None:
    # measured: 1.1e-5
    parity("tiny", form, 128, 1e-4)


@pytest.mark.parametrize(
    "form",
    [pytest.param("opset17", marks=pytest.mark.long(reason="Swin-T once more; opset20 is run in any case")), "opset20"],
)
def test_swin_t_on_numpy(form: str) -> None:
    # measured: 3.5e-5
    parity("swin-t", form, 256, 3e-4)


NODES = {"opset14": 502, "opset17": 502, "opset20": 503}
"""What is left of each form: a tap of the pyramid is one node more where a ReduceMean makes it."""

FIRES = {
    "opset14": {
        "fuse_patches": 4,
        "fuse_deform_conv": 20,
        "fuse_window_attention": 16,
        "fold_affine": 20,
        "fold_batch_norm": 20,
        "fuse_layer_norm": 48,
        "fuse_gelu": 16,
        "broadcast_resize": 5,
        "fold_mask_scale": 20,
        "merge_offset_convolutions": 25,
        "fuse_patch_merging": 6,
    },
    "opset17": {
        "fuse_patches": 4,
        "fuse_deform_conv": 20,
        "fuse_window_attention": 16,
        "fold_affine": 20,
        "fold_batch_norm": 20,
        "fuse_layer_norm": 0,
        "fuse_gelu": 16,
        "broadcast_resize": 5,
        "fold_mask_scale": 20,
        "merge_offset_convolutions": 25,
        "fuse_patch_merging": 6,
    },
    "opset20": {
        "fuse_patches": 0,
        "fuse_deform_conv": 0,
        "fuse_window_attention": 16,
        "fold_affine": 0,
        "fold_batch_norm": 20,
        "fuse_layer_norm": 0,
        "fuse_gelu": 0,
        "broadcast_resize": 5,
        "fold_mask_scale": 20,
        "merge_offset_convolutions": 25,
        "fuse_patch_merging": 6,
    },
}


@pytest.mark.parametrize("form", FORMS)
def test_every_pattern_is_fused(form: str) -> None:
    graph = load(proto("tiny", form), input_shapes={"pixel_values": (1, 3, 128, 128)})
    rewrites = optimize(graph)
    assert {name: rewrites[name] for name in FIRES[form]} == FIRES[form]
    ops = Counter(node.op for node in graph.nodes)
    counts = {name: ops[name] for name in ("WindowAttention", "DeformConv", "LayerNormalization", "Gelu", "Split")}
    assert counts == {"WindowAttention": 16, "DeformConv": 20, "LayerNormalization": 48, "Gelu": 16, "Split": 15}
    assert not {"Softmax", "GatherND", "Erf", "Pad", "BatchNormalization", "Sqrt"} & set(ops)
    assert len(graph.nodes) == NODES[form]


def test_a_model_of_another_size_than_the_exported_is_refused() -> None:
    """Its shapes are numbers in the file, whatever its inputs declare."""
    assert onnx.load_model_from_string(proto("tiny", "opset14")).graph.input[0].type.tensor_type.shape.dim[2].dim_param
    with pytest.raises(Exception, match="do not fit the operator"):
        Session(proto("tiny", "opset14"), backend="numpy", input_shapes={"pixel_values": (1, 3, 192, 192)})
