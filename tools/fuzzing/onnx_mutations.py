"""Damage to ONNX files: to their bytes, to any field of their protobuf, and to what a field means."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

import numpy as np
import onnx
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError
from onnx import AttributeProto, TensorProto, helper

from tools.fuzzing import byte_mutations

INTEGERS = (0, 1, -1, 2, 3, 5, 7, 64, 1000, -1000, 65536, 10**9, -(10**9), 2**31 - 1, -(2**31), 2**40, 2**62, -(2**63))
FLOATS = (0.0, -0.0, 0.5, 2.0, -1.0, 1e-42, 1e6, 1e12, 1e33, 1e38, -1e38, float("inf"), float("-inf"), float("nan"))
NAMES = ("", "x", "a\nb", "\0", "n" * 5000, "ü", "../x", "%s{}")
PLACES = (
    *("", ".", "..", "../weights.bin", "/etc/hostname", "/dev/zero", "missing.bin", "a\0b", "x" * 1500),
    *("weights.bin/", "./weights.bin", "~/weights.bin", "sub/../weights.bin"),
)
OPERATORS = (
    *("Add", "Mul", "Conv", "ConvTranspose", "MatMul", "Gemm", "Relu", "Softmax", "Reshape", "Transpose", "Concat"),
    *(
        "Slice",
        "Gather",
        "GatherElements",
        "Resize",
        "MaxPool",
        "Pad",
        "Expand",
        "Tile",
        "Range",
        "Shape",
        "If",
        "Loop",
    ),
    *("Cast", "TopK", "Einsum", "ConstantOfShape", "Split", "ReduceSum", "LSTM", "NoSuchOperator"),
)
INTEGER_KINDS = {
    FieldDescriptor.CPPTYPE_INT32: (-(2**31), 2**31 - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(2**63), 2**63 - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, 2**64 - 1),
}
"""The range of each."""
INTS: FieldDescriptor = AttributeProto.DESCRIPTOR.fields_by_name["ints"]  # type: ignore[assignment]  # its C twin
FLOAT_KINDS = {FieldDescriptor.CPPTYPE_FLOAT, FieldDescriptor.CPPTYPE_DOUBLE}

Field = tuple[Any, FieldDescriptor]


def mutate(model: onnx.ModelProto, rng: random.Random) -> bytes:
    """The bytes of a damaged copy: one to four mutations, of a kind for most, or of the bytes alone."""
    if rng.random() < 0.15:
        return byte_mutations.mutate(model.SerializeToString(), rng)
    damaged = onnx.ModelProto()
    damaged.CopyFrom(model)
    for _ in range(rng.choice((1, 1, 1, 1, 2, 3))):
        with suppress(DecodeError):  # nested deeper than protobuf copies
            rng.choice(MUTATIONS)(damaged, rng)
    data = damaged.SerializeToString()
    return byte_mutations.mutate(data, rng) if rng.random() < 0.03 else data


def any_field(model: onnx.ModelProto, rng: random.Random) -> None:
    """Any field of any message."""
    places = list(_fields(model))
    message, field = rng.choice(places)
    if field.is_repeated:
        _change_list(getattr(message, field.name), field, rng)
    elif field.message_type is None:
        setattr(message, field.name, _other(field, getattr(message, field.name), rng))
    else:
        message.ClearField(field.name)


def attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    """An attribute of a node: another number, near or extreme, another length of a list, or none."""
    attributes = [(node, entry) for node in _nodes(model.graph) for entry in node.attribute]
    if not attributes:
        return any_field(model, rng)
    node, entry = rng.choice(attributes)
    if rng.random() < 0.1:
        node.attribute.remove(entry)
    elif entry.type == AttributeProto.INT:
        entry.i = _integer(entry.i, rng)
    elif entry.type == AttributeProto.FLOAT:
        entry.f = rng.choice(FLOATS)
    elif entry.type == AttributeProto.STRING:
        entry.s = rng.choice((b"", b"linear", b"nearest", b"reflect", b"SAME_UPPER", b"ij,jk->ik", b"\xff\xfe"))
    elif entry.type == AttributeProto.TENSOR:
        _damage_tensor(entry.t, rng)
    elif entry.ints:
        _change_list(entry.ints, INTS, rng)
    return None


def tensor(model: onnx.ModelProto, rng: random.Random) -> None:
    """A weight: its dims, dtype, bytes or values."""
    if model.graph.initializer:
        _damage_tensor(rng.choice(model.graph.initializer), rng)
    else:
        any_field(model, rng)


def weights(model: onnx.ModelProto, rng: random.Random) -> None:
    """Values of a weight at the extremes of its type; for integers, which often are shapes, near ones too."""
    stored = [item for item in model.graph.initializer if item.raw_data or item.float_data or item.int64_data]
    if not stored:
        return any_field(model, rng)
    item: Any = rng.choice(stored)
    try:
        array = onnx.numpy_helper.to_array(item).copy()
    except Exception:  # an earlier mutation has damaged it
        return None
    if not array.size:
        return None
    flat = array.reshape(-1)
    for _ in range(rng.choice((1, 1, 1, 8))):
        place = rng.randrange(flat.size)
        if array.dtype.kind == "f":
            with np.errstate(all="ignore"):
                flat[place] = rng.choice(FLOATS)
        elif array.dtype.kind in "iu":
            least, most = np.iinfo(array.dtype).min, np.iinfo(array.dtype).max
            flat[place] = min(max(_integer(int(flat[place]), rng), least), most)
    item.CopyFrom(onnx.numpy_helper.from_array(array, item.name))
    return None


def operator(model: onnx.ModelProto, rng: random.Random) -> None:
    """Another operator takes a node's inputs."""
    if model.graph.node:
        others = [node.op_type for node in model.graph.node]
        rng.choice(model.graph.node).op_type = rng.choice((*OPERATORS, *others))


def wires(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node reads another value, even its own; or one input more or less; or makes another's output."""
    nodes = [node for node in model.graph.node if node.input or node.output]
    if not nodes:
        return any_field(model, rng)
    names = [name for node in nodes for name in (*node.input, *node.output)]
    names += [item.name for item in model.graph.initializer] + [item.name for item in model.graph.input]
    node, name = rng.choice(nodes), rng.choice((*names, *names, rng.choice(NAMES)))
    side = node.input if rng.random() < 0.8 and node.input else node.output
    action = rng.randrange(4)
    if action == 0:
        side.append(name)
    elif side and action == 1:
        side.pop()
    elif side:
        side[rng.randrange(len(side))] = name
    return None


def nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    """A node is missing, doubled, or elsewhere in the order."""
    if not model.graph.node:
        return
    node, copy = rng.choice(model.graph.node), onnx.NodeProto()
    copy.CopyFrom(node)
    action = rng.randrange(3)
    if action != 1:
        model.graph.node.remove(node)
    if action != 0:
        model.graph.node.insert(rng.randrange(len(model.graph.node) + 1), copy)


def versions(model: onnx.ModelProto, rng: random.Random) -> None:
    """Another operator set, or IR version."""
    if model.opset_import and rng.random() < 0.9:
        rng.choice(model.opset_import).version = rng.choice((*range(1, 27), 0, -1, 2**62))
    else:
        model.ir_version = rng.choice((0, 3, 8, 10, 13, 99, -1))


def signature(model: onnx.ModelProto, rng: random.Random) -> None:
    """An input's or output's shape, dtype or name."""
    infos = [*model.graph.input, *model.graph.output]
    if not infos:
        return
    info = rng.choice(infos)
    shape = info.type.tensor_type.shape
    action = rng.randrange(5)
    if action == 0:
        info.type.tensor_type.elem_type = rng.randrange(-1, 25)
    elif action == 1:
        info.name = rng.choice((*NAMES, *(other.name for other in infos)))
    elif action == 2 and shape.dim:
        del shape.dim[rng.randrange(len(shape.dim))]
    elif action == 3:
        for _ in range(rng.choice((1, 2, 70))):
            shape.dim.add(dim_value=rng.choice((0, 1, 1, 2, 2**62)))
    elif shape.dim:
        dim = rng.choice(shape.dim)
        if rng.random() < 0.2:
            dim.dim_param = rng.choice(("n", "height", "", "a\nb"))
        else:
            dim.dim_value = _integer(dim.dim_value, rng)


def external(model: onnx.ModelProto, rng: random.Random) -> None:
    """Weights in a file that is not there, is another, or is not to be read."""
    if not model.graph.initializer:
        return
    item = rng.choice(model.graph.initializer)
    item.data_location = TensorProto.EXTERNAL
    entries = {entry.key: entry.value for entry in item.external_data} or {"location": "weights.bin"}
    key = rng.choice(("location", "location", "offset", "length", "checksum", "basepath"))
    entries[key] = rng.choice(PLACES) if key == "location" else rng.choice((str(_integer(0, rng)), "", "x", "1e3"))
    del item.external_data[:]
    for name, value in entries.items():
        item.external_data.add(key=name, value=value)


def nest(model: onnx.ModelProto, rng: random.Random) -> None:
    """The graph within branches within branches, deeper than parsers like."""
    inner = onnx.GraphProto()
    inner.CopyFrom(model.graph)
    del inner.input[:]
    for _ in range(rng.choice((1, 4, 12, 24))):
        outputs = [f"{output.name}_outer" for output in inner.output]
        other = onnx.GraphProto(name="else", output=inner.output)
        node = helper.make_node("If", [rng.choice(("yes", "yes", "x"))], outputs, then_branch=inner, else_branch=other)
        results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        inner = helper.make_graph([node], "outer", [], results)
    inner.input.extend(model.graph.input)
    inner.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [rng.random() < 0.5]))
    model.graph.CopyFrom(inner)


MUTATIONS: tuple[Callable[[onnx.ModelProto, random.Random], None], ...] = (
    *(any_field,) * 3,
    *(attribute,) * 6,
    *(weights,) * 8,
    tensor,
    wires,
    signature,
    operator,
    nodes,
    versions,
    external,
    nest,
)


def _damage_tensor(item: onnx.TensorProto, rng: random.Random) -> None:
    action = rng.randrange(4)
    if action == 0 and item.dims:
        place = rng.randrange(len(item.dims))
        item.dims[place] = _integer(item.dims[place], rng)
    elif action == 1:
        item.data_type = rng.randrange(-1, 25)
    elif action == 2:
        del item.dims[:]
        item.dims.extend(rng.choice(((), (0,), (0, 2**62), (2**31, 2**31, 2**31), (1,) * 70, (-1,), (3, 5))))
    elif item.raw_data:
        item.raw_data = byte_mutations.mutate(item.raw_data, rng)


def _integer(now: int, rng: random.Random) -> int:
    """Near ones half of the time: what runs goes deeper than what is refused."""
    near = (now + 1, now - 1, 2 * now, -now, now // 2)
    value = rng.choice(near) if rng.random() < 0.5 else rng.choice(INTEGERS)
    return min(max(value, -(2**63)), 2**63 - 1)


def _fields(message: Any) -> Iterator[Field]:
    """Every field that is set, of the message and of those within; what is long is not gone through."""
    for field, value in message.ListFields():
        yield message, field
        if field.message_type is not None:
            for inner in value if field.is_repeated else (value,):
                yield from _fields(inner)


def _other(field: FieldDescriptor, now: Any, rng: random.Random) -> Any:
    """A value of the field's type."""
    kind = field.cpp_type
    if kind in INTEGER_KINDS:
        bits = 32 if kind == FieldDescriptor.CPPTYPE_INT32 else 64
        least, most = (
            (0, 2**64 - 1) if kind == FieldDescriptor.CPPTYPE_UINT64 else (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1)
        )
        return min(max(_integer(now, rng), least), most)
    if kind in FLOAT_KINDS:
        return rng.choice(FLOATS)
    if kind == FieldDescriptor.CPPTYPE_ENUM:
        return rng.choice([value.number for value in field.enum_type.values])  # type: ignore[union-attr]
    if field.type == FieldDescriptor.TYPE_BYTES:
        return byte_mutations.mutate(now, rng) if now else b"\0" * rng.choice((1, 4, 64))
    return rng.choice((*NAMES, now[:-1], now + "x"))


def _change_list(values: Any, field: FieldDescriptor, rng: random.Random) -> None:
    place, action = rng.randrange(len(values)) if values else 0, rng.randrange(4)
    if not values:
        return
    if action == 0:
        del values[place]
    elif action == 1:
        values.append(values[place])
    elif field.message_type is None:
        values[place] = _other(field, values[place], rng)
    elif len(values) > 1:
        other, copy = rng.randrange(len(values)), type(values[place])()
        copy.CopyFrom(values[place])
        values[place].CopyFrom(values[other])
        values[other].CopyFrom(copy)


def _nodes(graph: onnx.GraphProto) -> Sequence[onnx.NodeProto]:
    nodes = []
    for node in graph.node:
        nodes.append(node)
        for entry in node.attribute:
            if entry.HasField("g"):
                nodes.extend(_nodes(entry.g))
    return nodes
