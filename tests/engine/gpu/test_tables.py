"""Every implementation of every table, forced, against the reference; which is taken where; and how one is forced."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest

from engine.caps import PORTABLE, PORTABLE_LIMITS, Caps
from engine.errors import InputError, UnsupportedError
from engine.gpu import kernels  # noqa: F401 (registers them)
from engine.gpu.kernels.convolution.matrix_tiles import MATRIX_TILES
from engine.gpu.kernels.convolution.patch_tiles import PATCH_TILES
from engine.gpu.lowering.lowering import Lowering
from engine.gpu.lowering.table import TABLES
from tests.engine.gpu.gpu import compare
from tests.engine.gpu.plans import UNITS
from tests.engine.models import load_graph, model, node

RANDOM = np.random.default_rng(1)

ON_MATRIX_UNITS = {("convolution", tile.name) for tile in (*MATRIX_TILES, *PATCH_TILES)} | {
    ("convolution", name) for name in ("winograd-4x4-split", "winograd-2x2-split")
}
"""Rows that no software adapter runs: what they plan is checked here, what they compute by tools/birefnet_check.py."""

BY_THEIR_OWN_TESTS = {("window-attention", name) for name in ("matrix", "tiled", "portable")}
"""Rows of nodes that no ONNX file has: test_window_attention.py runs each of them."""


def weights(*shape: int) -> np.ndarray:
    return (RANDOM.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def conv(channels: int, outputs: int, group: int = 1, **attributes: Any) -> onnx.ModelProto:
    constants = {"w": weights(outputs, channels // group, 3, 3), "b": weights(outputs)}
    nodes = [node("Conv", "x w b", "c", group=group, pads=[1] * 4, **attributes), node("Relu", "c", "y")]
    return model(nodes, {"x": [2, channels, 9, 11]}, "y", constants)


def deformable(outputs: int) -> onnx.ModelProto:
    shapes = {"x": [1, 8, 9, 7], "offset": [1, 18, 9, 7]}
    constants = {"w": weights(outputs, 8, 3, 3)}
    return model([node("DeformConv", "x w offset", "y", pads=[1] * 4)], shapes, "y", constants, opset=19)


def product(m: int, k: int, n: int) -> onnx.ModelProto:
    nodes = [node("MatMul", "a b", "p"), node("Relu", "p", "y")]
    return model(nodes, {"a": [2, m, k], "b": [2, k, n]}, "y")


def integers() -> onnx.ModelProto:
    b = RANDOM.integers(-128, 128, (24, 20)).astype(np.int8)
    return model([node("MatMulInteger", "a b", "y")], {"a": (np.uint8, [9, 24])}, "y", {"b": b})


def linear() -> onnx.ModelProto:
    return model([node("MatMul", "a b", "p"), node("Relu", "p", "y")], {"a": [3, 20, 36]}, "y", {"b": weights(36, 40)})


CASES: dict[tuple[str, str], list[onnx.ModelProto]] = {
    ("convolution", "tiled-deformable"): [deformable(72), conv(8, 20)],
    ("convolution", "tiled-scalar"): [conv(3, 20), conv(8, 20), linear()],
    ("convolution", "few-inputs"): [conv(3, 20)],
    ("convolution", "few-outputs"): [conv(8, 3)],
    ("convolution", "winograd-4x4"): [conv(8, 70)],
    ("convolution", "winograd-2x2"): [conv(8, 20, dilations=[2, 2])],
    ("convolution", "tiled-teams"): [conv(8, 70), conv(12, 12, group=3)],
    ("convolution", "tiled-tall"): [conv(8, 70), linear()],
    ("convolution", "tiled-wide"): [conv(6, 12, group=2), conv(8, 70), linear()],
    ("convolution", "tiled-middle"): [conv(3, 40), conv(8, 70)],
    ("convolution", "tiled-narrow"): [conv(12, 12, group=12), conv(8, 20)],
    ("convolution", "direct"): [conv(8, 20), conv(12, 12, group=12), conv(4, 6, group=2, dilations=[2, 2])],
    ("deformable-convolution", "moved-taps"): [deformable(8)],
    ("deformable-convolution", "columns"): [deformable(8)],
    ("matmul", "linear"): [linear()],
    ("matmul", "packed"): [integers()],
    ("matmul", "strided"): [linear(), integers(), product(5, 6, 7)],
    ("product-tile", "flat"): [product(3, 20, 40), product(40, 20, 36)],
    ("product-tile", "wide"): [product(3, 20, 40), product(40, 21, 37)],
    ("product-tile", "small"): [product(3, 20, 40), product(70, 20, 66)],
}


def test_every_row_has_a_case() -> None:
    rows = {(family, row.name) for family, table in TABLES.items() for row in table.rows}
    assert rows == CASES.keys() | ON_MATRIX_UNITS | BY_THEIR_OWN_TESTS


@pytest.mark.parametrize(("family", "name"), CASES, ids=str)
def test_a_forced_row_computes_what_the_reference_does(family: str, name: str) -> None:
    for proto in CASES[family, name]:
        assert chosen(proto, choices={family: name})[family] == name
        compare(proto, rtol=1e-4, atol=1e-5, choices={family: name})


def chosen(
    proto: onnx.ModelProto, caps: Caps = PORTABLE, *, half: bool = False, choices: dict[str, str] | None = None
) -> dict[str, str]:
    """The row that the layers of each family got, which must be one."""
    lowering = Recorder(load_graph(proto), caps, half=half, outside=(), choices=choices)
    lowering.run()
    return lowering.rows


class Recorder(Lowering):
    """A lowering that notes the rows it takes, and the keys."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.rows: dict[str, str] = {}
        self.keys: dict[str, str] = {}

    def choose(self, table: Any, layer: Any) -> Any:
        row = super().choose(table, layer)
        assert self.rows.setdefault(table.family, row.name) == row.name
        self.keys[table.family] = table.key(layer)
        return row


@pytest.mark.parametrize(
    ("proto", "expected"),
    [
        (conv(3, 64), "few-inputs"),
        (conv(3, 12), "tiled-scalar"),
        (conv(8, 2), "few-outputs"),
        (conv(64, 20), "tiled-teams"),
        (conv(8, 33), "tiled-teams"),
        (conv(136, 33), "tiled-wide"),
        (conv(136, 32), "tiled-middle"),
        (conv(136, 16), "tiled-narrow"),
        (conv(12, 12, group=12), "direct"),
        (deformable(65), "tiled-deformable"),
        (deformable(64), "tiled-wide"),
    ],
)
def test_which_row_a_convolution_gets(proto: onnx.ModelProto, expected: str) -> None:
    assert chosen(proto)["convolution"] == expected


@pytest.mark.parametrize(
    ("channels", "outputs", "side", "dilation", "expected"),
    [
        (64, 64, 64, 1, "winograd-4x4"),
        (32, 16, 512, 1, "tiled-narrow"),
        (64, 32, 64, 1, "tiled-teams"),
        (512, 256, 32, 8, "winograd-2x2"),
        (5760, 64, 32, 1, "tiled-wide"),
        (512, 512, 16, 1, "tiled-wide"),
        (256, 256, 66, 22, "tiled-wide"),
    ],
)
def test_which_layers_winograd_takes(channels: int, outputs: int, side: int, dilation: int, expected: str) -> None:
    """By products, pixels, and what of their tiles lies beyond the picture."""
    w = np.zeros((outputs, channels, 3, 3), np.float32)
    attributes = {"pads": [dilation] * 4, "dilations": [dilation] * 2}
    nodes = [node("Conv", "x w", "c", **attributes), node("Relu", "c", "y")]
    proto = model(nodes, {"x": [1, channels, side, side]}, "y", {"w": w})
    assert chosen(proto)["convolution"] == expected
    w[0, 0, 0, 0] = 1e13
    proto = model(nodes, {"x": [1, channels, side, side]}, "y", {"w": w})
    assert chosen(proto)["convolution"].startswith("tiled")


@pytest.mark.parametrize(
    ("rows", "outputs", "half", "expected"),
    [
        (65536, 256, True, "matrix-64x128x64-64x32"),
        (65536, 192, True, "matrix-64x96x64-32x48-weights"),
        (1024, 768, True, "matrix-64x64x64-32x32-weights"),
        (65536, 32, True, "matrix-128x32x32-32x32-weights"),
        (65536, 128, False, "matrix-64x128x32-64x32"),
        (1024, 768, False, "matrix-64x64x32-32x32-weights"),
        (64, 16, True, "tiled-narrow"),
    ],
)
def test_which_tile_a_product_on_matrix_units_gets(rows: int, outputs: int, half: bool, expected: str) -> None:
    roomy = {**PORTABLE_LIMITS, "max-compute-workgroup-storage-size": 49152}
    nodes = [node("MatMul", "a b", "p"), node("Relu", "p", "y")]
    proto = model(nodes, {"a": [rows, 64]}, "y", {"b": weights(64, outputs)})
    assert chosen(proto, Caps(roomy, matrix_units=UNITS), half=half)["convolution"] == expected
    assert chosen(proto, Caps(roomy), half=half)["convolution"].startswith("tiled")


@pytest.mark.parametrize(
    ("side", "outputs", "half", "expected"),
    [
        (512, 64, True, "patch-16x16x64-16-421-weights"),
        (512, 32, True, "patch-16x16x32-16-421-weights"),
        (512, 16, True, "patch-16x16x16-16-411-weights"),
        (128, 64, True, "patch-8x16x64-16-221-weights"),
        (64, 64, True, "patch-4x16x32-32-222-weights"),
        (32, 512, True, "patch-4x16x32-64-114"),
        (16, 512, True, "patch-4x16x32-32-222-weights"),
        (16, 64, True, "patch-4x16x16-64-214-weights"),
        (512, 64, False, "patch-8x16x64-16-221"),
        (512, 32, False, "winograd-4x4-split"),
        (128, 256, False, "winograd-4x4-split"),
        (32, 512, False, "winograd-2x2-split"),
        (512, 8, False, "patch-16x16x16-16-411-weights"),
    ],
)
def test_which_patch_a_convolution_on_matrix_units_gets(side: int, outputs: int, half: bool, expected: str) -> None:
    roomy = {**PORTABLE_LIMITS, "max-compute-workgroup-storage-size": 65536}
    nodes = [node("Conv", "x w", "c", pads=[1] * 4), node("Relu", "c", "y")]
    proto = model(nodes, {"x": [1, 64, side, side]}, "y", {"w": weights(outputs, 64, 3, 3)})
    assert chosen(proto, Caps(roomy, matrix_units=UNITS), half=half)["convolution"] == expected
    assert not {chosen(proto, Caps(roomy), half=half)["convolution"]} & {row for _, row in ON_MATRIX_UNITS}


@pytest.mark.parametrize(
    ("proto", "family", "expected"),
    [
        (linear(), "matmul", "linear"),
        (integers(), "matmul", "packed"),
        (product(5, 6, 7), "matmul", "strided"),
        (product(8, 6, 7), "product-tile", "flat"),
        (product(33, 6, 33), "product-tile", "wide"),
        (product(33, 6, 32), "product-tile", "small"),
    ],
)
def test_which_row_a_product_gets(proto: onnx.ModelProto, family: str, expected: str) -> None:
    assert chosen(proto)[family] == expected


def test_products_of_transposed_squares_have_keys_of_their_own() -> None:
    keys = set()
    for transposed in (0, 1):
        product = node("Gemm", "a b", "p", transB=transposed)
        proto = model([product, node("Relu", "p", "y")], {"a": [8, 8], "b": [8, 8]}, "y")
        lowering = Recorder(load_graph(proto))
        lowering.run()
        keys.add(lowering.keys["matmul"])
    assert keys == {"matmul Gemm float32 a8x8 b8x8 y8x8", "matmul Gemm float32 a8x8 b8x8 transposed y8x8"}


def test_a_key_forces_one_layer_and_a_family_what_it_can() -> None:
    proto = conv(3, 64)
    lowering = Recorder(load_graph(proto))
    lowering.run()
    key = lowering.keys["convolution"]
    assert key == "convolution f32 f32 n2 c3 m64 g1 in9x11 k3x3 s1x1 d1x1 out9x11"
    assert chosen(proto, choices={key: "tiled-narrow"})["convolution"] == "tiled-narrow"
    # no matrix units here: the family goes on without, the key does not
    assert chosen(proto, choices={"convolution": MATRIX_TILES[0].name})["convolution"] == "few-inputs"
    with pytest.raises(UnsupportedError, match=f"implementation '{MATRIX_TILES[0].name}' does not support '{key}'"):
        chosen(proto, choices={key: MATRIX_TILES[0].name})


def test_a_choice_that_does_not_exist_is_refused() -> None:
    graph = load_graph(conv(3, 8))
    with pytest.raises(InputError, match=r"no family 'convolutions' of implementations; there are .*convolution"):
        Lowering(graph, choices={"convolutions f32": "direct"})
    with pytest.raises(
        InputError, match=r"family 'convolution' has no implementation 'tiled'; it has .*, tiled-wide, "
    ):
        Lowering(graph, choices={"convolution": "tiled"})


def test_each_row_says_why_in_a_sentence() -> None:
    for table in TABLES.values():
        assert len({row.name for row in table.rows}) == len(table.rows)
        assert all(row.reason.endswith(".") and row.reason.count(" ") > 4 for row in table.rows)
