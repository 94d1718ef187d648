"""The stand-ins for the BiRefNet exports: valid, seeded, of the structure that they promise, hollow on demand."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from engine.graph.load import load
from tests.project import ROOT
from tools.make_birefnet import FORMS, SIZES, BiRefNet, Size, make_birefnet

NODES = {"opset14": 11398, "opset17": 3951, "opset20": 1286}
"""Nodes of the tiny file in each form."""


@cache
def tiny(form: str) -> onnx.ModelProto:
    return make_birefnet("tiny", form)


def inputs() -> dict[str, np.ndarray]:
    return {"pixel_values": np.random.default_rng(3).standard_normal((1, 3, 128, 128)).astype(np.float32)}


@cache
def run(form: str) -> np.ndarray:
    """What ONNX Runtime makes of the tiny file in that form."""
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(tiny(form).SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, inputs())[0]


@pytest.mark.parametrize("form", FORMS)
def test_onnxruntime_runs_it(form: str) -> None:
    proto = tiny(form)
    onnx.checker.check_model(proto)
    (alphas,) = (output for output in proto.graph.output)
    assert alphas.name == "alphas"
    y = run(form)
    assert y.shape == (1, 1, 128, 128)
    # neither constant nor saturated: a fault anywhere would show
    assert 0 < y.min() < y.max() < 1
    assert y.std() > 0.01


def test_forms_that_share_weights_agree() -> None:
    """The first two differ in nothing but how they are written; both draw the same weights in the same order."""
    np.testing.assert_allclose(run("opset17"), run("opset14"), rtol=0, atol=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_structure(form: str) -> None:
    proto = tiny(form)
    ops = Counter(node.op_type for node in proto.graph.node)
    assert len(proto.graph.node) == NODES[form]
    assert ops["Softmax"] == 16  # eight blocks, in two passes
    assert ops["Erf"] + ops["Gelu"] == 16
    assert ops["DeformConv"] + ops["GatherND"] / 4 == 20
    assert ops["LayerNormalization"] + ops["Sqrt"] == 16 * 2 + 2 * (1 + 3 + 4)
    assert (ops["DeformConv"], ops["Gelu"]) == ((20, 16) if form == "opset20" else (0, 0))
    dims = [dim.dim_param or dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    assert dims == [1, 3, *(["height", "width"] if form == "opset14" else [128, 128])]
    # symbolic shapes are arithmetic in the file
    assert (ops["Shape"] > 200) == (form == "opset14")


def test_seeds() -> None:
    small = Size(8, (1, 1, 1, 1), (1, 1, 1, 1), 3, image=64, inner=4, branch=4)

    def weights(seed: int) -> bytes:
        return BiRefNet(small, "opset20", seed).model().SerializeToString()

    assert weights(1) == weights(1)
    assert weights(1) != weights(2)


def test_command(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    command = [sys.executable, "tools/make_birefnet.py", str(path), "--form", "opset20", "--image", "64", "--seed", "5"]
    output = subprocess.run(command, check=True, cwd=ROOT, capture_output=True, text=True).stdout
    assert onnx.load(path) == make_birefnet("tiny", "opset20", image=64, seed=5)
    assert f"{path.stat().st_size:,} bytes" in output


def test_hollow_weights_take_no_room(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    hollow = make_birefnet("tiny", "opset14", weights_file=weights)
    full = tiny("opset14")
    assert [node.SerializeToString() for node in hollow.graph.node] == [
        node.SerializeToString() for node in full.graph.node
    ]
    placed = {}
    for tensor, whole in zip(hollow.graph.initializer, full.graph.initializer, strict=True):
        assert (tensor.name, tensor.dims) == (whole.name, whole.dims)
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            entries = {entry.key: entry.value for entry in tensor.external_data}
            assert entries["location"] == weights.name
            placed[int(entries["offset"])] = int(entries["length"])
            assert int(entries["length"]) == len(whole.raw_data) > 1024
        else:
            # grids and small weights are as they were, but for the order of the draws
            assert tensor.name.endswith("grid") or len(tensor.raw_data) <= 1024
            assert len(tensor.raw_data) == len(whole.raw_data)
    # each has a range of its own
    ends = [start + length for start, length in sorted(placed.items())]
    assert sorted(placed) == [0, *ends[:-1]]
    assert weights.stat().st_size == ends[-1] > 5e6
    assert weights.stat().st_blocks * 512 < 1e5
    onnx.save(hollow, tmp_path / "model.onnx")
    graph = load(tmp_path / "model.onnx", input_shapes={"pixel_values": [1, 3, 128, 128]})
    assert len(graph.nodes) > 1000


def test_sizes_are_those_of_the_published_networks() -> None:
    assert (SIZES["swin-l"].embed, SIZES["swin-l"].window, sum(SIZES["swin-l"].depths)) == (192, 12, 24)
    assert (SIZES["swin-t"].embed, SIZES["swin-t"].window, sum(SIZES["swin-t"].depths)) == (96, 7, 12)
