"""Files that ONNX Runtime's static quantisation writes with weights of four bits: held to ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from engine import ModelFile, Session, UnsupportedError
from tests.engine.models import load_graph, model, node
from tests.engine.ops.oracle import run_onnxruntime

RNG = np.random.default_rng(3)
PHOTOS = RNG.standard_normal((3, 1, 3, 8, 8)).astype(np.float32)


def network(opset: int) -> onnx.ModelProto:
    """Two convolutions and two products, each with stored weights."""
    nodes = [
        node("Conv", "x w b", "c", pads=[1, 1, 1, 1]),
        node("Relu", "c", "r"),
        node("Conv", "r w2", "d"),
        node("Reshape", "d s", "f"),
        node("MatMul", "f m", "p"),
        node("Gemm", "p g gb", "y", transB=1),
    ]
    shapes = {"w": (16, 3, 3, 3), "b": (16,), "w2": (8, 16, 1, 1), "m": (64, 32), "g": (10, 32), "gb": (10,)}
    constants: dict[str, Any] = {
        name: (RNG.standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)
        for name, shape in shapes.items()
    }
    proto = model(nodes, {"x": [1, 3, 8, 8]}, "y", {**constants, "s": np.array([8, 64])}, opset=opset)
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", TensorProto.FLOAT, [8, 10]))
    return proto


def quantized(folder: Path, opset: int, kind: str, *, per_channel: bool) -> onnx.ModelProto:
    from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

    class Photos(CalibrationDataReader):
        def __init__(self) -> None:
            self.photos = iter(PHOTOS)

        def get_next(self) -> Any:
            photo = next(self.photos, None)
            return None if photo is None else {"x": photo}

    onnx.save(network(opset), folder / "float.onnx")
    quantize_static(
        folder / "float.onnx",
        folder / "small.onnx",
        Photos(),
        quant_format=QuantFormat.QDQ,
        weight_type=QuantType[kind],
        per_channel=per_channel,
    )
    return onnx.load(folder / "small.onnx")


@pytest.mark.parametrize(
    ("opset", "kind", "per_channel", "domain"),
    [(21, "QInt4", False, ""), (21, "QUInt4", True, ""), (17, "QInt4", True, "com.microsoft")],
)
def test_static_quantisation(opset: int, kind: str, per_channel: bool, domain: str, tmp_path: Path) -> None:
    """Files of older operator sets have the operators of ONNX Runtime's domain, which are ONNX's own."""
    proto = quantized(tmp_path, opset, kind, per_channel=per_channel)
    assert {entry.domain for entry in proto.graph.node if entry.op_type == "DequantizeLinear"} == {domain}
    assert {tensor.data_type for tensor in proto.graph.initializer} & {TensorProto.INT4, TensorProto.UINT4}
    (expected,) = run_onnxruntime(proto, {"x": PHOTOS[0]})
    for backend in ("reference", "numpy"):
        with Session(proto.SerializeToString(), backend=backend) as session:
            (y,) = session.run({"x": PHOTOS[0]}).values()
            assert session.info.passes.get("pack_products", 2) == 2
        # a level of eight bits, where a sum in another order rounds to another
        assert np.abs(y - expected).max() <= 0.02 * np.abs(expected).max()
    assert ModelFile.read(proto.SerializeToString()).lacks_activation("y")


def test_the_domain_must_be_imported() -> None:
    nodes = [node("DequantizeLinear", "x s", "y", domain="com.microsoft")]
    proto = model(nodes, {"x": (np.int16, [4])}, "y", {"s": np.float32(2)}, opset=17, domains={"com.microsoft": 1})
    graph = load_graph(proto)
    assert [(entry.domain, entry.op, entry.version) for entry in graph.nodes] == [("", "DequantizeLinear", 21)]
    del proto.opset_import[1:]
    with pytest.raises(UnsupportedError, match="DequantizeLinear version unknown"):
        load_graph(proto)
