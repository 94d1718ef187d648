"""DeformConv on the tiled path, whose loader moves the taps, against the reference: shapes, offsets, epilogues."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from engine.caps import Caps
from engine.compiled.model import GpuPlan
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.plan.compile_graph import compile_graph
from tests.engine.gpu.gpu import device, kernels_of, run
from tests.engine.gpu.plans import EMULATED, ROOM
from tests.engine.models import interpret, load_graph, model, node

CLOSE: dict[str, Any] = {"rtol": 8e-6, "atol": 8e-6}
"""Measured: 8.3e-7 on lavapipe."""


def layer(
    *,
    channels: int = 8,
    outputs: int = 20,
    kernel: tuple[int, int] = (3, 3),
    extent: tuple[int, int] = (9, 11),
    count: int = 1,
    mask: bool = True,
    bias: bool = True,
    group: int = 1,
    **attributes: Any,
) -> tuple[Any, dict[str, Any], dict[str, np.ndarray], list[int]]:
    """The node that makes ``c``, shapes of the graph's inputs, its constants, and the shape of ``c``."""
    random = np.random.default_rng(outputs)
    strides, dilations = attributes.get("strides", [1, 1]), attributes.get("dilations", [1, 1])
    pads = attributes.setdefault("pads", [1, 1, 1, 1])
    out = [
        (size + pads[axis] + pads[axis + 2] - (kernel[axis] - 1) * dilations[axis] - 1) // strides[axis] + 1
        for axis, size in enumerate(extent)
    ]
    taps = kernel[0] * kernel[1]
    shapes: dict[str, Any] = {"x": [count, channels * group, *extent], "offset": [count, 2 * taps, *out]}
    constants = {"w": random.standard_normal((outputs * group, channels, *kernel)).astype(np.float32)}
    constants["w"] /= np.float32(np.sqrt(channels * taps))
    if bias:
        constants["b"] = random.standard_normal(outputs * group).astype(np.float32)
    if mask:
        shapes["mask"] = [count, taps, *out]
    names = " ".join(["x w offset", "b" if bias else "-", "mask" if mask else "-"])
    return node("DeformConv", names, "c", group=group, **attributes), shapes, constants, [count, outputs * group, *out]


def arrays(shapes: dict[str, list[int]], far: float = 1.5) -> list[np.ndarray]:
    """Random inputs; offsets of about ``far`` pixels."""
    random = np.random.default_rng(7)
    by_name = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    by_name["offset"] = np.clip(by_name["offset"].astype(np.float64) * far, -3e38, 3e38).astype(np.float32)
    return list(by_name.values())


def compare(
    nodes: list[Any],
    shapes: dict[str, Any],
    constants: dict[str, np.ndarray],
    outputs: str = "c",
    *,
    inputs: list[np.ndarray] | None = None,
    half: bool = False,
    close: dict[str, Any] = CLOSE,
) -> list[str]:
    """Assert that the GPU gives the reference's outputs by the tiled kernel. Returns the kernels that ran."""
    proto = model(nodes, shapes, outputs, constants=constants, opset=19)
    inputs = arrays(shapes) if inputs is None else inputs
    expected = interpret(load_graph(proto), inputs)
    results, kernels = run(load_graph(proto), inputs, half=half)
    assert "conv" in kernels
    assert "deform_columns" not in kernels
    for result, reference in zip(results, expected, strict=True):
        assert (result.dtype, result.shape) == (reference.dtype, reference.shape)
        np.testing.assert_allclose(result, reference, **close)
    return kernels


@pytest.mark.parametrize("mask", [True, False])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("outputs", [5, 24, 72])
def test_operands(mask: bool, bias: bool, outputs: int) -> None:
    deform, shapes, constants, _ = layer(mask=mask, bias=bias, outputs=outputs)
    compare([deform], shapes, constants)


@pytest.mark.parametrize(
    "of",
    [
        {"kernel": (1, 1), "pads": [0] * 4},
        {"kernel": (7, 7), "pads": [3] * 4, "channels": 4},
        {"kernel": (2, 3), "pads": [0, 1, 1, 2]},
        {"strides": [2, 3]},
        {"dilations": [2, 1], "pads": [2, 0, 1, 3]},
        {"strides": [2, 1], "dilations": [1, 3], "pads": [0, 3, 0, 3], "count": 2},
        {"channels": 4, "group": 2, "outputs": 12},
        {"channels": 64, "outputs": 132, "extent": (5, 5)},
        {"extent": (1, 1), "channels": 4},
    ],
    ids=["1x1", "7x7", "2x3", "strides", "dilations", "all of these", "groups", "k is cut", "one pixel"],
)
def test_geometry(of: dict[str, Any]) -> None:
    deform, shapes, constants, _ = layer(**of)
    compare([deform], shapes, constants)


@pytest.mark.parametrize("far", [0.0, 8.0, 1e4, 1e20, 3e38])
def test_offsets_that_lead_far_outside(far: float) -> None:
    deform, shapes, constants, _ = layer()
    compare([deform], shapes, constants, inputs=arrays(shapes, far))


def test_offsets_on_the_edge() -> None:
    """Exactly on the last pixel, exactly one beyond, and within the last half pixel on either side."""
    deform, shapes, constants, _ = layer(extent=(4, 4), mask=False)
    inputs = arrays(shapes)
    whole = np.random.default_rng(1).choice([-5, -4, -1.5, -1, -0.5, 0, 0.5, 1, 3, 4, 4.5], inputs[1].shape)
    inputs[1][:] = whole
    compare([deform], shapes, constants, inputs=inputs)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_offsets_that_are_no_numbers_read_zeros(value: float) -> None:
    """Like one that leads outside, whatever the reference does."""
    deform, shapes, constants, _ = layer()
    inputs, outside = arrays(shapes), arrays(shapes)
    places = np.random.default_rng(2).random(inputs[1].shape) < 0.2
    inputs[1][places], outside[1][places] = value, 1e6
    proto = model([deform], shapes, "c", constants=constants, opset=19)
    (expected,) = interpret(load_graph(proto), outside)
    (result,), _ = run(load_graph(proto), inputs)
    np.testing.assert_allclose(result, expected, **CLOSE)


def test_activation_and_residual_run_in_its_epilogue() -> None:
    deform, shapes, constants, shape = layer(outputs=24)
    nodes = [deform, node("Relu", "c", "r"), node("Add", "r other", "y")]
    shapes = {**shapes, "other": shape}
    compare(nodes, shapes, constants, "y")
    graph = load_graph(model(nodes, shapes, "y", constants=constants, opset=19))
    lowering = Lowering(graph)
    lowering.run()
    # a dispatch is called after the last node that it computes
    assert [dispatch.op for dispatch in lowering.dispatches if dispatch.kernel == "conv"] == ["Add"]


@pytest.mark.parametrize("axis", [1, 2])
def test_into_a_concat(axis: int) -> None:
    deform, shapes, constants, shape = layer(outputs=24)
    nodes = [deform, node("Relu", "c", "r"), node("Exp", "other", "e"), node("Concat", "e r", "y", axis=axis)]
    compare(nodes, {**shapes, "other": shape}, constants, "y")


@pytest.mark.parametrize("side", [2, 3])
def test_behind_convolutions_that_make_what_moves_it(side: int) -> None:
    """As networks have it: offset and mask are channels-last, parts of one convolution of 12 or 27 channels."""
    random = np.random.default_rng(4)
    taps, pads = side * side, [side // 2, side // 2, 1, 1]
    deform, shapes, constants, _ = layer(outputs=24, kernel=(side, side), pads=pads)
    nodes = [
        node("Conv", "x wo", "offset", pads=pads),
        node("Conv", "x wm", "m", pads=pads),
        node("Sigmoid", "m", "s"),
        node("Mul", "s two", "mask"),
        deform,
        node("Relu", "c", "y"),
    ]
    constants["wo"] = random.standard_normal((2 * taps, 8, side, side)).astype(np.float32) / 6
    constants["wm"] = random.standard_normal((taps, 8, side, side)).astype(np.float32) / 6
    constants["two"] = np.array(2, np.float32)
    inputs = [random.standard_normal(shapes["x"]).astype(np.float32)]
    kernels = compare(nodes, {"x": shapes["x"]}, constants=constants, outputs="y", inputs=inputs)
    assert kernels.count("conv") == 2


def test_half_storage() -> None:
    if not device().f16:
        pytest.skip(f"{device().adapter} has no shader-f16: HALF PRECISION IS NOT TESTED")
    _, shapes, constants, _ = layer(channels=16, outputs=24, extent=(16, 16))
    constants = {name: array.astype(np.float16).astype(np.float32) for name, array in constants.items()}
    inputs = [array.astype(np.float16).astype(np.float32) for array in arrays(shapes)]
    # inputs and outputs of the graph are float32, what lies between float16
    nodes = [node("Neg", name, f"{name}_half") for name in shapes]
    nodes.append(node("DeformConv", "x_half w offset_half b mask_half", "c", pads=[1, 1, 1, 1]))
    nodes.append(node("MaxPool", "c", "y", kernel_shape=[1, 1]))
    compare(
        nodes, shapes, constants=constants, outputs="y", inputs=inputs, half=True, close={"rtol": 2e-3, "atol": 2e-3}
    )


def test_a_chain_leaves_room_for_what_matrix_units_read() -> None:
    """Of eight tensors that any adapter binds, split operands take one more for the scales of their sums."""
    deform, shapes, constants, shape = layer(outputs=24)
    nodes = [deform, node("Add", "c other", "a"), node("Mul", "a another", "y")]
    proto = model(nodes, {**shapes, "other": shape, "another": shape}, "y", constants=constants, opset=19)
    caps = Caps(ROOM, ("shader-f16",), EMULATED)
    plan = compile_graph(load_graph(proto), caps).plan
    assert isinstance(plan, GpuPlan)
    assert "conv_matrix" in kernels_of(plan)


@pytest.mark.parametrize("kernel", ["conv_matrix", "conv", "deform_columns"])
def test_nan_among_the_offsets_is_kept_beside_matrix_units(kernel: str) -> None:
    """There it tells that split operands overflowed; infinity is outside, as ever."""
    groups = 2 if kernel == "deform_columns" else 1
    deform, shapes, constants, _ = layer(outputs=20, offset_group=groups)
    shapes["offset"][1] *= groups
    shapes["mask"][1] *= groups
    inputs = arrays(shapes)
    inputs[1][0, 3, 2, 4], inputs[1][0, 4, 5, 6] = np.nan, np.inf
    proto = model([deform], shapes, "c", constants=constants, opset=19)
    choices = {"convolution": "tiled-narrow"} if kernel == "conv" else None
    (y,), kernels = run(load_graph(proto), inputs, choices=choices, matrix_units=EMULATED)
    assert kernel in kernels
    lost = np.isnan(y)
    assert lost[:, :, 2, 4].all()
    assert lost.sum() == 20
