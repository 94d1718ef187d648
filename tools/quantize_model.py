"""Write a float32 ONNX model in one of the smaller forms in which models are published.

    python tools/quantize_model.py model.onnx model_q4.onnx --form q4

- int8, uint8: weights of MatMul and Conv in 8 bits, activations quantised at run time (MatMulInteger, ConvInteger)
- q4: weights of MatMul in blocks of 32 4-bit integers (MatMulNBits); q4f16: the rest in float16
- q4qdq: the same blocks as ONNX's own tensors of 4 bits, with a DequantizeLinear before each product
- bnb4: weights of MatMul in blocks of 64 NF4 codes (MatMulBnb4)
- f16: everything in float16, but for inputs, outputs and Resize

ONNX Runtime quantises; its weights-to-4-bits tool needs a package of its own, so the function behind it is called here.
"""

from __future__ import annotations

import argparse
import logging
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnx
from onnx import NodeProto, TensorProto, helper, numpy_helper, version_converter

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tools.narrow import element_types, narrow  # noqa: E402 (the path comes first)

MICROSOFT = "com.microsoft"
FORMS = ("int8", "uint8", "q4", "q4f16", "q4qdq", "bnb4", "f16")
NBITS_BLOCK, BNB4_BLOCK = 32, 64
QDQ_OPSET, QDQ_IR = 21, 10
"""The first operator set, and version of the format, with 4-bit tensors and with blocks."""


def quantize(model: onnx.ModelProto, form: str) -> onnx.ModelProto:
    """A copy of the float32 ``model`` in one of FORMS; ValueError for another."""
    if form not in FORMS:
        raise ValueError(f"'{form}' is no form of a model; there are {', '.join(FORMS)}")
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    if form in ("int8", "uint8"):
        return _dynamic(copy, form)
    if form == "bnb4":
        return _bnb4(copy)
    if form == "q4qdq":
        return _qdq(copy)
    # MatMulNBits has no shape inference, so what follows it is looked up in the model as it was
    types = element_types(model) if form.endswith("f16") else {}
    small = _nbits(copy) if form.startswith("q4") else copy
    if not types:
        return small
    scales = {tensor.name: tensor.data_type for tensor in small.graph.initializer}
    return narrow(small, types | scales)


def _dynamic(model: onnx.ModelProto, form: str) -> onnx.ModelProto:
    """Dynamic quantisation of everything that ONNX Runtime quantises so."""
    from onnxruntime.quantization import QuantType, quantize_dynamic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "quantized.onnx"
        kind = QuantType.QInt8 if form == "int8" else QuantType.QUInt8
        quantize_dynamic(model, path, weight_type=kind)
        return onnx.load(path)


def _bnb4(model: onnx.ModelProto) -> onnx.ModelProto:
    from onnxruntime.quantization.matmul_bnb4_quantizer import MatMulBnb4Quantizer

    quantizer = MatMulBnb4Quantizer(model, MatMulBnb4Quantizer.NF4, BNB4_BLOCK)
    quantizer.process()
    proto: onnx.ModelProto = quantizer.model.model
    return proto


def _stored_matrix(node: NodeProto, stored: dict[str, TensorProto]) -> TensorProto | None:
    """The right side of a MatMul where that is a stored float32 matrix."""
    weights = stored.get(node.input[1]) if node.op_type == "MatMul" and not node.domain else None
    return (
        weights if weights is not None and len(weights.dims) == 2 and weights.data_type == TensorProto.FLOAT else None
    )


def _replace_nodes(graph: onnx.GraphProto, nodes: list[NodeProto]) -> None:
    """Put ``nodes`` in place of the graph's, and drop the tensors that none of them reads."""
    names = {name for node in nodes for name in node.input} | {entry.name for entry in graph.output}
    tensors = [tensor for tensor in graph.initializer if tensor.name in names]
    del graph.node[:], graph.initializer[:]
    graph.node.extend(nodes)
    graph.initializer.extend(tensors)


def _nbits(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every MatMul whose right side is a stored matrix as MatMulNBits, symmetric."""
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    packed: dict[str, tuple[int, int]] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        weights = _stored_matrix(node, stored)
        if weights is None:
            nodes.append(node)
            continue
        name = weights.name
        if name not in packed:
            w = numpy_helper.to_array(weights)
            integers, scales = _to_four_bits(w)
            graph.initializer.append(numpy_helper.from_array(integers, f"{name}_Q4"))
            graph.initializer.append(numpy_helper.from_array(scales, f"{name}_scales"))
            packed[name] = w.shape
        k, n = packed[name]
        inputs = [node.input[0], f"{name}_Q4", f"{name}_scales"]
        product = helper.make_node("MatMulNBits", inputs, node.output, node.name, domain=MICROSOFT)
        attributes = {"K": k, "N": n, "bits": 4, "block_size": NBITS_BLOCK}
        product.attribute.extend(helper.make_attribute(*entry) for entry in attributes.items())
        nodes.append(product)
    _replace_nodes(graph, nodes)
    if packed and all(entry.domain != MICROSOFT for entry in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return model


def _to_four_bits(w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Float32 weights ``[K, N]`` as bytes ``[N, blocks, block / 2]`` and scales ``[N, blocks]``."""
    from onnxruntime.capi._pybind_state import quantize_matmul_4bits

    k, n = w.shape
    blocks = -(-k // NBITS_BLOCK)
    padded = np.pad(w, [(0, blocks * NBITS_BLOCK - k), (0, 0)])
    packed = np.zeros((n, blocks, NBITS_BLOCK // 2), np.uint8)
    scales, zero = np.zeros((n, blocks), np.float32), np.zeros((n, -(-blocks // 2)), np.uint8)
    quantize_matmul_4bits(packed, padded, scales, zero, NBITS_BLOCK, n, k, True)
    return packed, scales


def _qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    """Every MatMul whose right side is a stored matrix with a DequantizeLinear of an INT4 tensor, symmetric."""
    if next(entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")) < QDQ_OPSET:
        model = version_converter.convert_version(model, QDQ_OPSET)
    model.ir_version = max(model.ir_version, QDQ_IR)
    graph = model.graph
    stored = {tensor.name: tensor for tensor in graph.initializer}
    dequantized: dict[str, str] = {}
    nodes: list[NodeProto] = []
    for node in graph.node:
        weights = _stored_matrix(node, stored)
        if weights is not None:
            if weights.name not in dequantized:
                tensors = _to_four_bit_tensors(weights)
                graph.initializer.extend(tensors)
                inputs, output = [tensor.name for tensor in tensors], f"{weights.name}_DQ"
                nodes.append(
                    helper.make_node("DequantizeLinear", inputs, [output], output, axis=0, block_size=NBITS_BLOCK)
                )
                dequantized[weights.name] = output
            node.input[1] = dequantized[weights.name]
        nodes.append(node)
    _replace_nodes(graph, nodes)
    return model


def _to_four_bit_tensors(weights: TensorProto) -> list[TensorProto]:
    """Float32 weights ``[K, N]`` as INT4 ``[K, N]`` and scales ``[blocks of K, N]``."""
    from onnxruntime.capi._pybind_state import quantize_qdq_matmul_4bits

    w = numpy_helper.to_array(weights)
    (k, n), blocks = w.shape, -(-w.shape[0] // NBITS_BLOCK)
    packed, zero = (np.zeros(-(-count * n // 2), np.uint8) for count in (k, blocks))
    scales = np.zeros((blocks, n), np.float32)
    quantize_qdq_matmul_4bits(packed, w, scales, zero, NBITS_BLOCK, n, k, True)
    integers = helper.make_tensor(f"{weights.name}_Q4", TensorProto.INT4, w.shape, packed.tobytes(), raw=True)
    return [integers, numpy_helper.from_array(scales, f"{weights.name}_scales")]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("input", type=Path)
    parser.add_argument("output", type=Path)
    parser.add_argument("--form", choices=FORMS, required=True)
    arguments = parser.parse_args()
    # ONNX Runtime warns of each tensor that is no float, of which a network has many
    logging.disable(logging.WARNING)
    onnx.save(quantize(onnx.load(arguments.input), arguments.form), arguments.output)
    print(f"{arguments.output}: {arguments.output.stat().st_size:,} of {arguments.input.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
