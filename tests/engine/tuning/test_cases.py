"""The layers of a model as cases: which there are, that each computes its layer alone, and that it can fail."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
import pytest

from engine.caps import PORTABLE
from engine.errors import UnsupportedError
from engine.gpu.device.device import Device
from engine.gpu.kernels.convolution.table import CONVOLUTION
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.plan.target import WebgpuTarget
from engine.graph.passes import optimize
from engine.tuning.cases import Case, cases
from engine.tuning.timing import Trial
from tests.engine.gpu.gpu import device
from tests.engine.models import load_graph
from tests.engine.tuning.networks import network


def layers(precision: Literal["f32", "f16"] = "f32", proto: onnx.ModelProto | None = None) -> dict[str, Case]:
    caps = device().caps if precision == "f16" else PORTABLE
    return {case.key: case for case in cases((proto or network()).SerializeToString(), caps, precision)}


def test_each_distinct_layer_is_a_case() -> None:
    found = layers()
    assert [(case.family, case.node.op, case.row, case.count) for case in found.values()] == [
        ("convolution", "FusedConv", "tiled-scalar", 1),
        ("convolution", "Conv", "tiled-teams", 2),
        ("matmul", "MatMul", "linear", 1),
        ("convolution", "MatMul", "tiled-middle", 1),
        ("matmul", "MatMul", "strided", 1),
        ("product-tile", "MatMul", "flat", 1),
    ]
    assert list(found.values())[2].rows == ("linear", "strided")
    # channels lie side by side, as in the plan
    assert list(found.values())[1].graph.inputs[0].shape == (1, 9, 11, 20)


@pytest.mark.parametrize("precision", ["f32", "f16"])
def test_every_case_is_right_with_its_row_and_the_last(precision: Literal["f32", "f16"]) -> None:
    gpu = device()
    if precision == "f16" and not gpu.f16:
        pytest.skip("the adapter has no float16")
    for case in layers(precision).values():
        for row in {case.row, case.rows[-1]}:
            with Trial(gpu, case, row) as trial:
                assert trial.check(seed=1) <= case.tolerance, (case.key, row)
                assert trial.flops > 0
                assert trial.kernels[0].startswith(("conv", "matmul", "copy"))


def test_a_row_is_timed() -> None:
    gpu = device()
    if not gpu.timestamps:
        pytest.skip("the adapter has no timestamps")
    case = next(iter(layers().values()))
    with Trial(gpu, case, "direct") as trial:
        trial.check()
        timing = trial.timing(trial.sample())
    assert timing.seconds > 0
    assert timing.is_right
    assert (timing.row, timing.kernels, timing.dispatches) == ("direct", ("conv_direct",), 1)
    # 99 pixels, 20 channels, 45 products and as many additions each
    assert timing.flops == 99 * 20 * 45 * 2


def test_wrong_results_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other weights than the oracle's, and a kernel that does not run."""
    case = next(iter(layers().values()))
    with Trial(device(), case, case.row) as trial:
        trial.case = next(iter(layers(proto=network()).values()))
        assert trial.check() > 100 * case.tolerance
        trial.case = case
        assert trial.check() <= case.tolerance
    with Trial(device(), case, case.row) as trial:
        monkeypatch.setattr(Device, "replay", lambda *_, **__: None)
        assert trial.check() == np.inf


def test_a_row_that_does_not_support_the_layer_is_refused() -> None:
    case, row = next(iter(layers().values())), CONVOLUTION.rows[0].name
    assert row not in case.rows
    with pytest.raises(UnsupportedError, match=f"'{row}' does not support"):
        case.compile(row)


def decisions(proto: onnx.ModelProto, **options: Any) -> Lowering:
    graph = load_graph(proto)
    optimize(graph, WebgpuTarget())
    lowering = Lowering(graph, **options)
    lowering.run()
    return lowering


def test_a_decision_says_what_else_there_was() -> None:
    lowering = decisions(network())
    first, second = lowering.decisions[0], lowering.decisions[2]
    assert first.node.op == "FusedConv"
    *others, last = first.passed_over.items()
    assert last == ("tiled-deformable", "is not meant for such a layer")
    assert {name.split("-")[0] for name, _ in others} == {"few", "winograd", "patch", "matrix"}
    assert {reason for _, reason in others} == {"does not support the layer"}
    assert first.alternatives[-2:] == ["tiled-narrow", "direct"]
    assert not first.forced
    # the chain's last node is an Add, and the layer the convolution under it
    assert (second.node.op, lowering.dispatches[2].op) == ("Conv", "Add")
    assert [each.op for each in lowering.nodes if each.op == "Conv"] == ["Conv", "Conv"]


def test_a_forced_decision_says_so() -> None:
    lowering = decisions(network(), choices={"convolution": "direct"})
    first = lowering.decisions[0]
    assert first.forced
    assert first.row.name == "direct"
    assert first.passed_over["tiled-scalar"] == "another was asked for"
    # a row that the family's name asks for, and that a layer has no use for, is not taken
    assert not lowering.decisions[4].forced
