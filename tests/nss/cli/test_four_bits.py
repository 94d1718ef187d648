"""A model file whose weights are 4-bit tensors of ONNX, as its quantisers write them, and types that stay refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto
from PIL import Image

from nss.cli.main import main
from tests.engine.four_bits import OPSET, four_bit_tensor
from tests.engine.models import model, node
from tests.nss.tiny_models import SIDE

UNIT = np.eye(SIDE, dtype=int)


def save(path: Path, kind: int | None) -> Path:
    """A network of a convolution and a product, the same in floats (None) and in 4 bits of that kind."""
    nodes = [
        node("Conv", "x w", "c"),
        node("MatMul", "c m", "logits"),
        node("Sigmoid", "logits", "y"),
    ]
    constants = {"w": np.full((1, 3, 1, 1), 1.5, np.float32), "m": UNIT.astype(np.float32)}
    if kind is not None:
        first = [
            node("DequantizeLinear", "w4 half", "w"),
            node("DequantizeLinear", "m4 ones", "m", axis=0, block_size=16),
        ]
        nodes = first + nodes
        constants = {"half": np.array(0.5, np.float32), "ones": np.ones((2, SIDE), np.float32)}
    proto = model(nodes, {"x": [1, 3, SIDE, SIDE]}, "y", constants, opset=OPSET)
    if kind is not None:
        integers = {"w4": np.full((1, 3, 1, 1), 3), "m4": UNIT}
        proto.graph.initializer.extend(four_bit_tensor(name, kind, array) for name, array in integers.items())
    onnx.save(proto, path)
    return path


def test_remove_takes_them(photo: Path, tmp_path: Path) -> None:
    masks = []
    for name, kind in {"wide": None, "int4": TensorProto.INT4, "uint4": TensorProto.UINT4}.items():
        file, out = save(tmp_path / f"{name}.onnx", kind), tmp_path / f"{name}.png"
        arguments = ["remove", photo, "--model", file, "-o", out, "--mask-only", "--backend", "numpy"]
        assert main(list(map(str, arguments))) == 0
        masks.append(np.asarray(Image.open(out)))
    assert masks[0].std() > 1
    for mask in masks[1:]:
        assert np.abs(mask.astype(int) - masks[0]).max() <= 1


def test_other_narrow_types_are_one_line(photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = save(tmp_path / "float8.onnx", TensorProto.INT4)
    proto = onnx.load(file)
    next(tensor for tensor in proto.graph.initializer if tensor.name == "m4").data_type = TensorProto.FLOAT8E4M3FN
    onnx.save(proto, file)
    assert main(["remove", str(photo), "--model", str(file), "--backend", "numpy"]) == 3
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "guessed" not in line]
    assert line.endswith("float8.onnx: tensor 'm4' has tensor type float8e4m3fn, which the engine does not hold")
