"""Small models that mutations begin with: of each kind of network that people have, and the ONNX node tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from engine.graph.unsupported_operators import normalize_domain
from engine.ops import lookup
from tools.graph_builder import GraphBuilder

LARGEST = 40_000
"""Bytes of a node test that is taken."""

DTYPES = {*range(TensorProto.FLOAT, TensorProto.STRING), TensorProto.BOOL, *range(10, 14)}
"""The types of inputs and outputs of a node test that is taken: those that NumPy has."""


@dataclass(frozen=True)
class Seed:
    """A model, and the files beside it by name."""

    name: str
    model: onnx.ModelProto
    files: dict[str, bytes] = field(default_factory=dict)


class _Network(GraphBuilder):
    """A builder whose weights are normal deviates."""

    def __init__(self, opset: int = 17, *, symbolic: bool = False) -> None:
        super().__init__(opset=opset, symbolic=symbolic)
        self.random = np.random.default_rng(5)

    def deviates(self, name: str, *shape: int, dtype: type = np.float32) -> str:
        fan_in = max(1, int(np.prod(shape[1:])))
        return self.weight(name, (self.random.standard_normal(shape) / np.sqrt(fan_in)).astype(dtype))

    def conv(self, x: str, name: str, *shape: int, **attributes: Any) -> str:
        weight, bias = self.deviates(f"{name}.weight", *shape), self.deviates(f"{name}.bias", shape[0])
        return str(self.op("Conv", x, weight, bias, **attributes))


def mask_network() -> onnx.ModelProto:
    """A U-Net of two levels, as U²-Net and IS-Net are of many: a photo to a mask."""
    b = _Network()
    one = b.op("Relu", b.conv("photo", "enc1", 8, 3, 3, 3, pads=[1] * 4))
    half = b.op("MaxPool", one, kernel_shape=[2, 2], strides=[2, 2], ceil_mode=1)
    norms = [b.deviates(f"bn.{part}", 16) for part in ("scale", "shift", "mean")]
    variance = b.weight("bn.variance", np.ones(16, np.float32))
    deep = b.conv(half, "enc2", 16, 8, 3, 3, pads=[2] * 4, dilations=[2, 2])
    two = b.op("Relu", b.op("BatchNormalization", deep, *norms, variance))
    scales = b.weight("scales", np.array([1, 1, 2, 2], np.float32))
    up = b.op("Resize", two, "", scales, mode="linear", coordinate_transformation_mode="half_pixel")
    joined = b.op("Concat", up, one, axis=1)
    mask = b.op("Sigmoid", b.conv(joined, "side", 1, 24, 3, 3, pads=[1] * 4))
    return b.model({"photo": [1, 3, 16, 16]}, {"mask": (mask, [1, 1, 16, 16])})


def wide_network() -> onnx.ModelProto:
    """Layers that the fast algorithms for convolutions take: Winograd, kn2row, depthwise, strides."""
    b = _Network()
    x = b.op("Relu", b.conv("photo", "stem", 32, 3, 3, 3, pads=[1] * 4))
    x = b.op("Relu", b.conv(x, "winograd", 32, 32, 3, 3, pads=[1] * 4))
    x = b.op("Add", x, b.conv(x, "depthwise", 32, 1, 3, 3, pads=[1] * 4, group=32))
    x = b.op("Sigmoid", b.conv(x, "kn2row", 1, 32, 3, 3, pads=[1] * 4))
    return b.model({"photo": [1, 3, 32, 32]}, {"mask": (x, [1, 1, 32, 32])})


def transposed_network() -> onnx.ModelProto:
    """Strides, transposed convolution, instance normalisation and gates, as matting networks have them."""
    b = _Network()
    x = b.op("HardSwish", b.conv("photo", "down", 8, 3, 3, 3, strides=[2, 2], pads=[1] * 4))
    gate = b.op("HardSigmoid", b.conv(b.op("GlobalAveragePool", x), "gate", 8, 8, 1, 1))
    x = b.op("Mul", x, gate)
    x = b.op("InstanceNormalization", x, b.deviates("in.scale", 8), b.deviates("in.bias", 8))
    x = b.op("PRelu", x, b.deviates("slope", 8, 1, 1))
    x = b.op("ConvTranspose", x, b.deviates("up", 8, 4, 2, 2), strides=[2, 2])
    x = b.op("AveragePool", b.op("Pad", x, b.constant([0, 0, 1, 1] * 2), mode="reflect"), kernel_shape=[3, 3])
    x = b.op("Clip", x, b.constant(0, np.float32), b.constant(1, np.float32))
    return b.model({"photo": [1, 3, 16, 16]}, {"mask": (x, [1, 4, 16, 16])})


def attention() -> onnx.ModelProto:
    """One block of a transformer."""
    b = _Network()
    x = b.op("LayerNormalization", "tokens", b.deviates("ln.scale", 16), b.deviates("ln.bias", 16), axis=-1)
    q, k, v = b.op("Split", b.op("MatMul", x, b.deviates("qkv", 16, 48)), axis=2, outputs=3)
    heads = [b.transpose(b.reshape(part, [1, 12, 2, 8]), 0, 2, 1, 3) for part in (q, k, v)]
    scores = b.op("MatMul", heads[0], b.transpose(heads[1], 0, 1, 3, 2))
    weights = b.op("Softmax", b.op("Mul", scores, b.constant(8**-0.5, np.float32)), axis=-1)
    mixed = b.reshape(b.transpose(b.op("MatMul", weights, heads[2]), 0, 2, 1, 3), [1, 12, 16])
    x = b.op("Add", "tokens", b.op("MatMul", mixed, b.deviates("proj", 16, 16)))
    erf = b.op("Erf", b.op("Div", x, b.constant(2**0.5, np.float32)))
    gelu = b.op("Mul", b.op("Mul", x, b.op("Add", erf, b.constant(1, np.float32))), b.constant(0.5, np.float32))
    return b.model({"tokens": [1, 12, 16]}, {"out": (gelu, [1, 12, 16])})


def quantised() -> onnx.ModelProto:
    """Integer convolutions and products, as quantised exports have them."""
    b = _Network()
    levels, scale, zero = b.op("DynamicQuantizeLinear", "photo", outputs=3)
    kernel = b.weight("kernel", b.random.integers(-128, 127, (8, 3, 3, 3)).astype(np.int8))
    sums = b.op("ConvInteger", levels, kernel, zero, pads=[1] * 4)
    x = b.op("Mul", b.op("Cast", sums, to=TensorProto.FLOAT), b.op("Mul", scale, b.constant(0.01, np.float32)))
    fixed, none = b.constant(0.05, np.float32), b.constant(0, np.int8)
    eights = b.op("QuantizeLinear", x, fixed, none)
    other = b.weight("other", b.random.integers(-128, 127, (4, 8, 1, 1)).astype(np.int8))
    x = b.op("QLinearConv", eights, fixed, none, other, fixed, none, fixed, none)
    x = b.op("DequantizeLinear", x, fixed, none)
    return b.model({"photo": [1, 3, 8, 8]}, {"out": (x, [1, 4, 8, 8])})


def shape_arithmetic() -> onnx.ModelProto:
    """What exporters write around symbolic dimensions; most of it is folded at load."""
    b = _Network(symbolic=True)
    height, width = b.dim("x", 2, 6), b.dim("x", 3, 8)
    tokens = b.transpose(b.reshape("x", [1, 4, b.arithmetic("Mul", height, width)]), 0, 2, 1)
    count = b.op("Gather", b.op("Shape", tokens), b.constant(1), axis=0)
    steps = b.op("Cast", b.op("Range", b.constant(0), count, b.constant(1)), to=TensorProto.FLOAT)
    places = b.op("Expand", b.unsqueeze(b.unsqueeze(steps, 0), 2), b.constant([1, 1, 4]))
    filled = b.op("ConstantOfShape", b.op("Shape", tokens), value=helper.make_tensor("v", TensorProto.FLOAT, [1], [2]))
    x = b.op("Add", b.op("Mul", tokens, filled), b.op("Tile", places, b.constant([1, 1, 1])))
    x = b.reshape(b.transpose(b.slice(x, 1, 0, b.arithmetic("Mul", height, width)), 0, 2, 1), [1, 4, height, width])
    x = b.op("Resize", x, "", "", b.op("Concat", b.constant([1, 4]), b.constant([9, 12]), axis=0), mode="cubic")
    return b.model({"x": [1, 4, "h", "w"]}, {"out": (x, [1, 4, 9, 12])})


def sizes() -> onnx.ModelProto:
    """Sizes that stand in the file as numbers, each of which can be made another."""
    b = _Network()
    steps = b.op("Range", *(b.weight(name, np.array(n)) for name, n in (("from", 0), ("to", 4), ("step", 1))))
    steps = b.op("Expand", b.op("Cast", steps, to=TensorProto.FLOAT), b.weight("expanded", np.array([1, 2, 4, 4])))
    filled = b.op("ConstantOfShape", b.weight("filled", np.array([2, 4, 4])))
    x = b.op("Add", b.op("Mul", "x", steps), filled)
    x = b.op("Tile", x, b.weight("repeats", np.array([1, 1, 2, 1])))
    x = b.op("Pad", x, b.weight("pads", np.array([0, 0, 1, 0, 0, 0, 0, 1])))
    x = b.op("Resize", x, "", "", b.weight("resized", np.array([1, 2, 6, 6])), mode="linear")
    x = b.op("Slice", x, *(b.weight(name, np.array([n])) for name, n in (("start", 0), ("end", 4), ("axis", 2))))
    first, second = b.op("Split", x, b.weight("split", np.array([1, 1])), axis=1, outputs=2)
    x = b.op("Reshape", b.op("Add", first, second), b.weight("reshaped", np.array([1, 4, 6])))
    x = b.op("TopK", x, b.weight("k", np.array([2])), outputs=2)[0]
    return b.model({"x": [1, 2, 4, 4]}, {"out": (x, [1, 4, 2])})


def selection() -> onnx.ModelProto:
    """What picks elements by indices: gathers, scatters, orders and comparisons."""
    b = _Network()
    top, where = b.op("TopK", "x", b.constant([3]), axis=1, outputs=2)
    x = b.op("GatherElements", "x", where, axis=1)
    x = b.op("ScatterElements", x, b.constant([[0, 2, 1]] * 4), top, axis=1)
    x = b.op("GatherND", x, b.constant([[0, 1], [3, 2], [1, 0]]))
    best = b.op("OneHot", b.op("ArgMax", "x", axis=1, keepdims=0), b.constant(3), b.constant([0, 1], np.float32))
    x = b.op("Where", b.op("Greater", best, b.constant(0.5, np.float32)), best, b.op("CumSum", x, b.constant(0)))
    return b.model({"x": [4, 6]}, {"out": (x, [4, 3])})


def narrow() -> onnx.ModelProto:
    """float16 between casts."""
    b = _Network()
    x = b.op("Cast", "photo", to=TensorProto.FLOAT16)
    x = b.op("Conv", x, b.deviates("kernel", 4, 3, 3, 3, dtype=np.float16), pads=[1] * 4)
    x = b.op("ReduceMean", b.op("Tanh", x), axes=[1], keepdims=1)
    return b.model({"photo": [1, 3, 8, 8]}, {"out": (b.op("Cast", x, to=TensorProto.FLOAT), [1, 1, 8, 8])})


def packed() -> onnx.ModelProto:
    """Weights of four bits in blocks, of ONNX Runtime's domain."""
    b = _Network()
    weights = b.weight("packed", b.random.integers(0, 255, (8, 2, 8)).astype(np.uint8))
    scales = b.deviates("scales", 16)
    sizes = {"K": 32, "N": 8, "bits": 4, "block_size": 16}
    x = b.op("MatMulNBits", "x", weights, scales, domain="com.microsoft", **sizes)
    model = b.model({"x": [2, 32]}, {"out": (x, [2, 8])})
    model.opset_import.add(domain="com.microsoft", version=1)
    return model


def four_bits() -> onnx.ModelProto:
    """4-bit tensors of ONNX: the weights of a product and of a convolution, and levels that a run makes."""
    b = _Network(opset=21)
    for name, kind, shape in (
        ("w", TensorProto.INT4, (32, 9)),
        ("points", TensorProto.INT4, (2, 9)),
        ("kernel", TensorProto.UINT4, (3, 1, 3, 3)),
        ("middle", TensorProto.UINT4, ()),
    ):
        integers = b.random.integers(0, 255, -(-int(np.prod(shape)) // 2)).astype(np.uint8)
        b.initializers[name] = helper.make_tensor(name, kind, shape, integers.tobytes(), raw=True)
    w = b.op("DequantizeLinear", "w", b.deviates("scales", 2, 9), "points", axis=0, block_size=16)
    kernel = b.op("DequantizeLinear", "kernel", b.weight("step", np.array(0.1, np.float32)), "middle")
    x = b.op("Gemm", "x", w, b.deviates("bias", 9))
    x = b.op("Conv", b.op("Reshape", x, b.weight("side", np.array([2, 1, 3, 3]))), kernel, pads=[1] * 4)
    x = b.op("DequantizeLinear", b.op("QuantizeLinear", x, "step", "middle"), "step", "middle")
    return b.model({"x": [2, 32]}, {"out": (x, [2, 3, 3, 3])})


def branches() -> onnx.ModelProto:
    """An If whose condition is known at load, and a function of the model's own."""
    result = [helper.make_tensor_value_info("taken", TensorProto.FLOAT, None)]
    then = helper.make_graph([helper.make_node("Twice", ["x"], ["taken"], domain="own")], "then", [], result)
    other = helper.make_graph([helper.make_node("Neg", ["x"], ["taken"])], "else", [], result)
    body = [helper.make_node("Add", ["a", "a"], ["b"])]
    twice = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 17)])
    graph = helper.make_graph(
        [helper.make_node("If", ["yes"], ["y"], then_branch=then, else_branch=other)],
        "main",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3])],
        [numpy_helper.from_array(np.array(True), "yes")],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("own", 1)]
    return helper.make_model(graph, functions=[twice], opset_imports=opsets, ir_version=9)


def with_external_data(seed: Seed) -> Seed:
    """The same model, its weights in a file beside it."""
    model, data = onnx.ModelProto(), bytearray()
    model.CopyFrom(seed.model)
    for tensor in model.graph.initializer:
        entries = {"location": "weights.bin", "offset": len(data), "length": len(tensor.raw_data)}
        data += tensor.raw_data
        tensor.ClearField("raw_data")
        tensor.data_location = TensorProto.EXTERNAL
        for key, value in entries.items():
            tensor.external_data.add(key=key, value=str(value))
    return Seed(f"{seed.name}_external", model, {"weights.bin": bytes(data)})


NETWORKS: tuple[Callable[[], onnx.ModelProto], ...] = (
    mask_network,
    wide_network,
    transposed_network,
    attention,
    quantised,
    shape_arithmetic,
    sizes,
    selection,
    narrow,
    packed,
    branches,
    four_bits,
)


@cache
def networks() -> tuple[Seed, ...]:
    """The seeds that this file makes."""
    seeds = [Seed(make.__name__, make()) for make in NETWORKS]
    return (*seeds, with_external_data(seeds[0]), with_external_data(seeds[4]))


@cache
def node_tests() -> tuple[Seed, ...]:
    """The node tests of the installed onnx package whose operators the engine has, by name.

    Integer inputs become initializers: most decide a shape, and must be known at load.
    """
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        tests = sorted(collect_testcases(None), key=lambda test: test.name)
    return tuple(_bound(test) for test in tests if _runs(test.model))


def _runs(model: onnx.ModelProto | None) -> bool:
    if model is None or model.ByteSize() > LARGEST:
        return False
    versions = {normalize_domain(entry.domain): entry.version for entry in model.opset_import}
    if any(info.type.tensor_type.elem_type not in DTYPES for info in (*model.graph.input, *model.graph.output)):
        return False
    return not model.functions and all(
        (domain := normalize_domain(node.domain)) in versions and lookup(domain, node.op_type, versions[domain])
        for node in model.graph.node
    )


def _bound(test: Any) -> Seed:
    model = onnx.ModelProto()
    model.CopyFrom(test.model)
    ((inputs, _),) = test.data_sets
    for info, array in zip(list(model.graph.input), inputs, strict=True):
        if isinstance(array, np.ndarray) and array.dtype.kind in "iu" and array.size <= 64:
            model.graph.input.remove(info)
            model.graph.initializer.append(numpy_helper.from_array(array, info.name))
    return Seed(test.name, model)
